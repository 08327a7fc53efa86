//! The diagnosis: evidence in, one report out. A pure function.

use std::collections::{HashMap, HashSet};

use transect_packet::{Tuple, protocol};
use transect_path::{Certainty, Outcome, Report, Symptom, Timestamp, VERDICT_SCHEMA, Verdict};

use crate::case::Suspicion;
use crate::datagram;
use crate::fate::Fate;
use crate::flow::{self, FlowView, Place};
use crate::judge::judge;
use crate::tcp;
use crate::unseen_flow;
use crate::world::World;
use transect_evidence::Evidence;

/// Beyond so many conversations flows without a flaw are counted by their addresses, translated or not.
const MOST_TRANSLATED: usize = 20_000;

/// How many times of lost packets a group remembers.
const MOST_TIMES: usize = 4096;

/// Says, for every flow that the filter selects, whether it was delivered, and if not, where and why it was lost.
///
/// Pure: the same evidence gives the same report, whether it was observed live, came out of a bundle, or was put together from
/// loose files. Verdicts are sorted worst first (design, section 7).
pub fn explain(evidence: &Evidence) -> Report {
    let world = World::new(evidence);
    let groups = flow::group(&world);
    let mut delivered = Delivered::default();
    let mut suspects: Vec<&Vec<Place>> = Vec::new();
    let mut rule_sets = evidence.hosts.iter().flat_map(|host| &host.readings);
    let translated = rule_sets.any(|reading| {
        reading
            .rules
            .as_deref()
            .is_some_and(crate::nat::changes_addresses)
    });
    for (tuple, places) in &groups {
        // Behind a translation one flow has two names, so that flows have to be built to be counted.
        let countable = !translated || groups.len() > MOST_TRANSLATED;
        // Clean in every capture: nothing to find, and nothing to build.
        if countable && tuple.protocol == protocol::TCP && places.iter().all(|place| place.clean) {
            delivered.count(places);
        } else {
            suspects.push(places);
        }
    }
    let flows: Vec<FlowView> = suspects
        .into_iter()
        .flat_map(|places| flow::split(&world, places))
        .collect();
    let mut flows = flow::join_translated(&world, flows);
    let known: HashSet<Tuple> = groups.iter().map(|(tuple, _)| *tuple).collect();
    flows.extend(unseen_flow::by_sockets(&world, &|tuple| {
        known.contains(tuple) || known.contains(&tuple.reversed())
    }));
    if flows.is_empty() && delivered.flows == 0 {
        flows.extend(unseen_flow::by_rules(&world));
    }
    let mut verdicts = verdicts(&world, flows);
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
        // The same addresses may have been used for several connections, one behind the other.
        let most = places.iter().map(|place| (place.host, place.capture)).fold(
            HashMap::new(),
            |mut counts: HashMap<_, u64>, capture| {
                *counts.entry(capture).or_default() += 1;
                counts
            },
        );
        self.flows += most.into_values().max().unwrap_or(1);
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

fn verdicts(world: &World<'_>, flows: Vec<FlowView>) -> Vec<(Timestamp, Verdict)> {
    let mut groups: Vec<Group> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for view in flows {
        let fate = examine(world, &view);
        let first = view.first().unwrap_or(Timestamp::MAX);
        let key = key(&view, &fate);
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
        .map(|group| {
            (
                group.first,
                judge(world, &group.view, group.fate, group.flows),
            )
        })
        .collect()
}

/// What flows have in common that can have died of one cause: everything but the client's port.
fn key(view: &FlowView, fate: &Fate) -> String {
    let tuple = view.tuple;
    let mut key = format!(
        "{} {} {} {} {}",
        tuple.protocol, tuple.source.address, tuple.destination, fate.outcome, fate.symptom
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
            own.times.sort();
            own.times.truncate(MOST_TIMES);
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
