//! The diagnosis: evidence in, one report out. A pure function.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::net::IpAddr;

use transect_packet::Tuple;
use transect_path::{Certainty, Outcome, Report, Symptom, Timestamp, VERDICT_SCHEMA, Verdict};

use crate::case::Suspicion;
use crate::datagram;
use crate::fate::Fate;
use crate::flow::{self, FlowView};
use crate::group::{self, Groups, Place};
use crate::judge::judge;
use crate::not_sent;
use crate::tcp;
use crate::unseen_flow;
use crate::world::World;
use transect_evidence::Evidence;

/// Beyond so many conversations flows without a flaw are counted by their addresses, translated or not.
const MOST_TRANSLATED: usize = 20_000;

/// How many times of lost packets a group remembers.
const MOST_TIMES: usize = 4096;

/// Beyond so many groups flows are no longer told apart by the client's address: in a flood every packet has another one.
const MOST_GROUPS: usize = 1000;

/// Says, for every flow that the filter selects, whether it was delivered, and if not, where and why it was lost.
///
/// Pure: the same evidence gives the same report, whether it was observed live, came out of a bundle, or was put together from
/// loose files. Verdicts are sorted worst first (design, section 7).
pub fn explain(evidence: &Evidence) -> Report {
    let world = World::new(evidence);
    let groups = Groups::new(&world);
    let mut delivered = Delivered::default();
    let mut suspects: Vec<&[Place]> = Vec::new();
    let mut rule_sets = evidence.hosts.iter().flat_map(|host| &host.readings);
    let translated = rule_sets.any(|reading| {
        reading
            .rules
            .as_deref()
            .is_some_and(crate::nat::changes_addresses)
    });
    // Behind a translation one flow has two names, so that flows have to be built to be counted.
    let countable = !translated || groups.len() > MOST_TRANSLATED;
    for places in groups.iter() {
        // Clean in every capture: nothing to find, and nothing to build.
        if countable && places.iter().all(|place| place.clean) {
            delivered.count(places);
        } else {
            suspects.push(places);
        }
    }
    let captured = LazyCell::new(|| group::captured_tuples(&world));
    let mut unseen = unseen_flow::by_sockets(&world, &|tuple| captured.contains(tuple));
    if suspects.is_empty() && unseen.is_empty() && delivered.flows == 0 {
        unseen = unseen_flow::by_rules(&world);
    }
    // Flows are built one by one and let go once they are judged: there may be a million of them.
    let (translated, alone) = group::part_translated(&suspects);
    let built = |places: &[Place]| flow::split(&world, places);
    let joined = flow::join_translated(&world, translated.into_iter().flat_map(built).collect());
    let alone = alone.into_iter().flat_map(built);
    let mut verdicts = verdicts(&world, joined.into_iter().chain(alone).chain(unseen));
    verdicts.extend(delivered.verdict(&world));
    if verdicts.is_empty() {
        verdicts.push((Timestamp::MAX, nothing_seen(&world)));
    }
    let verdicts = merge(verdicts);
    Report {
        schema: VERDICT_SCHEMA.to_owned(),
        hosts: world.labels.clone(),
        command: evidence.command.clone(),
        verdicts,
    }
}

/// Flows without a flaw, of which only the first is looked at.
#[derive(Default)]
struct Delivered {
    flows: u64,
    first: Vec<Place>,
}

impl Delivered {
    fn count(&mut self, places: &[Place]) {
        if self.flows == 0 {
            self.first = places.to_vec();
        }
        self.flows += group::connections(places);
    }

    fn verdict(self, world: &World<'_>) -> Option<(Timestamp, Verdict)> {
        let view = flow::split(world, &self.first).into_iter().next()?;
        let fate = examine(world, &view);
        let first = view.first().unwrap_or(Timestamp::MAX);
        Some((first, judge(world, &view, fate, self.flows)))
    }
}

fn examine(world: &World<'_>, view: &FlowView) -> Fate {
    if view.is_tcp() {
        tcp::examine(world, view)
    } else {
        datagram::examine(world, view)
    }
}

/// Flows that ended alike on the same way, of which causes are asked once.
struct Group {
    view: FlowView,
    fate: Fate,
    flows: u64,
    first: Timestamp,
}

fn verdicts(world: &World<'_>, flows: impl Iterator<Item = FlowView>) -> Vec<(Timestamp, Verdict)> {
    let mut groups: Vec<Group> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for view in flows {
        let fate = examine(world, &view);
        let first = view.first().unwrap_or(Timestamp::MAX);
        let mut key = key(Some(view.tuple.source.address), &view, &fate);
        if groups.len() >= MOST_GROUPS && !index.contains_key(&key) {
            key = self::key(None, &view, &fate);
        }
        match index.get(&key).copied() {
            Some(at) => groups[at].join(fate, first),
            None => {
                index.insert(key, groups.len());
                groups.push(Group {
                    view,
                    fate,
                    flows: 1,
                    first,
                });
            }
        }
    }
    groups
        .into_iter()
        .map(|mut group| {
            for suspicion in &mut group.fate.suspicions {
                keep_first(&mut suspicion.times);
            }
            (
                group.first,
                judge(world, &group.view, group.fate, group.flows),
            )
        })
        .collect()
}

/// Sorts times, and keeps as many of them as a group remembers.
fn keep_first(times: &mut Vec<Timestamp>) {
    times.sort_unstable();
    times.truncate(MOST_TIMES);
}

/// What flows have in common that can have died of one cause: everything but the client's port.
fn key(client: Option<IpAddr>, view: &FlowView, fate: &Fate) -> String {
    let tuple = view.tuple;
    let mut key = format!(
        "{} {client:?} {} {} {}",
        tuple.protocol, tuple.destination, fate.outcome, fate.symptom
    );
    for suspicion in &fate.suspicions {
        let edge = |position| suspicion.chain.edge(position).to_string();
        let Suspicion {
            what,
            direction,
            bracket,
            certain,
            ..
        } = suspicion;
        key += &format!(
            " | {what} {direction} {} {} {certain}",
            edge(bracket.lower),
            edge(bracket.upper)
        );
    }
    if let Some((finding, _)) = &fate.settled {
        key += &format!(" | {} {:?}", finding.cause, finding.setting);
    }
    key
}

impl Group {
    fn join(&mut self, fate: Fate, first: Timestamp) {
        self.flows += 1;
        self.first = self.first.min(first);
        for (own, other) in self.fate.suspicions.iter_mut().zip(fate.suspicions) {
            own.lost = own.lost.zip(other.lost).map(|(one, two)| one + two);
            own.window = own.window.join(other.window);
            for (meter, more) in own.meters.iter_mut().zip(&other.meters) {
                // Captures count flow by flow; the host's own counters already hold all of them.
                if meter.name.contains("/capture/") && meter.name == more.name {
                    meter.lo = meter.lo.zip(more.lo).map(|(one, two)| one + two);
                    meter.hi = meter.hi.zip(more.hi).map(|(one, two)| one + two);
                    meter.says = sum_words(&meter.says, meter.lo);
                }
            }
            own.times.extend(other.times);
            if own.times.len() > 2 * MOST_TIMES {
                keep_first(&mut own.times);
            }
        }
        for recovered in fate.recovered {
            let same = self.fate.recovered.iter_mut().find(|own| {
                own.what == recovered.what
                    && own.direction == recovered.direction
                    && own.between == recovered.between
            });
            match same {
                Some(own) => own.packets += recovered.packets,
                None => self.fate.recovered.push(recovered),
            }
        }
    }
}

/// The words of a capture's meter with another number in front.
fn sum_words(says: &str, number: Option<u64>) -> String {
    let Some(number) = number else {
        return says.to_owned();
    };
    match says.split_once(' ') {
        Some((old, rest)) if old.parse::<u64>().is_ok() => {
            let mut words = rest.split(' ').map(str::to_owned).collect::<Vec<_>>();
            if old == "1" && number != 1 && words.len() > 1 {
                let noun = words.len() - 2;
                words[noun].push('s');
            }
            format!("{number} {}", words.join(" "))
        }
        _ => says.to_owned(),
    }
}

/// Joins verdicts that say the same of different flows, and sorts them: worst first, then by packets, time, flow.
fn merge(verdicts: Vec<(Timestamp, Verdict)>) -> Vec<Verdict> {
    let mut merged: Vec<(Timestamp, Verdict)> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for (first, verdict) in verdicts {
        let lost = verdict
            .lost
            .as_ref()
            .map(|lost| (lost.what, lost.direction));
        let server = verdict
            .flow
            .as_ref()
            .map(|flow| (&flow.protocol, &flow.server));
        let key = format!(
            "{:?} {:?} {lost:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            verdict.outcome,
            verdict.symptom,
            verdict.host,
            verdict.point,
            verdict.cause,
            verdict.certainty,
            verdict.rule,
            verdict.setting,
            // What was delivered is one answer, whoever it went to.
            if verdict.outcome == Outcome::Delivered {
                None
            } else {
                server
            },
        );
        match index.get(&key).copied() {
            Some(at) => {
                let (time, own) = &mut merged[at];
                own.flows += verdict.flows;
                if first < *time {
                    *time = first;
                    own.flow = verdict.flow;
                }
                if let (Some(own), Some(lost)) = (&mut own.lost, verdict.lost) {
                    own.packets += lost.packets;
                }
                for recovered in verdict.recovered {
                    let same = own.recovered.iter_mut().find(|own| {
                        own.what == recovered.what
                            && own.direction == recovered.direction
                            && own.between == recovered.between
                    });
                    match same {
                        Some(own) => own.packets += recovered.packets,
                        None => own.recovered.push(recovered),
                    }
                }
            }
            None => {
                index.insert(key, merged.len());
                merged.push((first, verdict));
            }
        }
    }
    merged.sort_by(|(one_time, one), (two_time, two)| {
        let packets = |verdict: &Verdict| verdict.lost.as_ref().map_or(0, |lost| lost.packets);
        one.outcome
            .cmp(&two.outcome)
            .then(packets(two).cmp(&packets(one)))
            .then(one_time.cmp(two_time))
            .then(one.flow.cmp(&two.flow))
    });
    merged.into_iter().map(|(_, verdict)| verdict).collect()
}

/// The verdict when no packet of the filtered flow was seen anywhere.
fn nothing_seen(world: &World<'_>) -> Verdict {
    let view = FlowView {
        tuple: Tuple {
            protocol: 0,
            source: transect_packet::Endpoint::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0),
            destination: transect_packet::Endpoint::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0),
        },
        seen: Vec::new(),
    };
    let filter = world.evidence.filter.as_deref().unwrap_or_default();
    let destinations = unseen_flow::named_addresses(filter);
    if let Some(verdict) = not_sent::examine(world, &view, &destinations) {
        return verdict;
    }
    let mut verdict = judge(
        world,
        &view,
        Fate::new(Outcome::Undetermined, Symptom::NoPacketSeen),
        0,
    );
    verdict.flow = None;
    verdict.certainty = Certainty::Undetermined;
    let what = world.evidence.filter.as_deref().map_or_else(
        || "no packet".to_owned(),
        |filter| format!("no packet that matches \"{filter}\""),
    );
    verdict.evidence.insert(
        0,
        transect_path::Evidence {
            meter: "*/capture/*".to_owned(),
            edge: None,
            lo: None,
            hi: None,
            says: format!(
                "{what} was seen on any observed host, nor a socket that tries to send one"
            ),
        },
    );
    verdict.next = Some("check the filter and the hosts named with --netns; let the command run again while observing".to_owned());
    verdict
}
