//! Which rule would decide about the lost packets, and whether its counter agrees. Shared by the causes that are rules.
//!
//! Evaluation alone never accuses: a rule is proven by its counter, which has to have moved by what was lost while the rule
//! was there; a rule that surely decides and whose counter stood still is refuted.

mod bridge;

use std::time::Duration;

use transect_config::ConntrackTuple;
use transect_config::rules::{
    Action, AddressKind, CtStates, RuleDelta, RuleSet, TcpFlags, counter_deltas,
};
use transect_path::{Contradiction, Edge, Hook, Point, RuleBackend, RuleRef, Timestamp, What};
use transect_walk::netfilter::{AddressFamily, Decision, PacketFacts, evaluate};

use crate::case::Case;
use crate::finding::{Amount, Finding, Prediction};
use crate::world::{bounds_line, count, ip_counter, says};
use bridge::{frame_facts, seen_by_ip};

/// A reading takes its time, and comes once in a second.
const GRACE: Duration = Duration::from_secs(1);

/// A rule that would decide, with what it counted.
pub(crate) struct Suspect {
    pub(crate) decision: Decision,
    pub(crate) certain: bool,
    pub(crate) host: usize,
    pub(crate) hook: Hook,
    /// Where the hook lies on the packet's way.
    pub(crate) point: Point,
    /// What its counter says; None: no counter, or not readable twice.
    pub(crate) counted: Option<Counted>,
}

/// A rule's counter over the time of the loss.
pub(crate) struct Counted {
    pub(crate) packets: u64,
    /// How many of the lost packets fall into the time in which the rule was there: at least, at most.
    pub(crate) due: Option<(u64, u64)>,
    pub(crate) appeared: Option<Timestamp>,
}

/// Every rule that would, or may, end the lost packets at a hook inside the bracket.
pub(crate) fn suspects(case: &Case<'_>) -> Vec<Suspect> {
    let mut all = Vec::new();
    for &hook in Hook::ALL {
        // Hosts put packets together before LOCAL_IN, and take them apart behind POST_ROUTING.
        let whole = matches!(hook, Hook::LocalIn | Hook::LocalOut);
        if whole && case.suspicion.what == What::Fragment {
            continue;
        }
        for host in case.hosts_at(hook.point()) {
            let facts = facts(case, host, hook);
            suspects_at(case, host, (hook, hook.point()), &facts, &mut all);
        }
        // A bridge's own chains lie where the bridge has the frame: what came in by a port at `link_input`, what its host sends
        // behind the bridge's queue and tap.
        for (point, own) in [(Point::LinkInput, false), (Point::DriverOut, true)] {
            for host in case.hosts_at(point) {
                if let Some(facts) = frame_facts(case, host, hook, own) {
                    suspects_at(case, host, (hook, point), &facts, &mut all);
                }
            }
        }
    }
    all
}

fn suspects_at(
    case: &Case<'_>,
    host: usize,
    (hook, point): (Hook, Point),
    facts: &PacketFacts,
    all: &mut Vec<Suspect>,
) {
    let series = series(case, host);
    if series.is_empty() {
        return;
    }
    let deltas = counter_deltas(&series);
    let mut seen: Vec<RuleRef> = Vec::new();
    for (_, rules) in versions(&series) {
        let outcome = evaluate(rules, hook, facts);
        let certain = outcome.certain.into_iter().map(|decision| (decision, true));
        let possible = outcome
            .possible
            .into_iter()
            .map(|decision| (decision, false));
        for (decision, certain) in certain.chain(possible) {
            if !ends_the_packet(&decision.action)
                || seen.iter().any(|old| same(old, &decision.rule))
            {
                continue;
            }
            seen.push(decision.rule.clone());
            let counted = counted(case, &decision, &deltas, &series);
            all.push(Suspect {
                decision,
                certain,
                host,
                hook,
                point,
                counted,
            });
        }
    }
}

/// Whether a packet can die of this verdict.
fn ends_the_packet(action: &Action) -> bool {
    action.kills()
        || matches!(
            action,
            Action::Queue { bypass: false, .. } | Action::Stolen(_)
        )
}

/// The rule sets from the last reading before the loss to the first behind it.
fn series<'a>(case: &Case<'a>, host: usize) -> Vec<(Timestamp, &'a RuleSet)> {
    let readings = &case.world.host(host).readings;
    let bounds = case.world.bounds(host, case.suspicion.window, |reading| {
        reading.rules.as_deref()
    });
    let (from, to) = match bounds {
        Some(((first, _), (last, _))) => (first.time, last.time),
        None => (Timestamp::MIN, Timestamp::MAX),
    };
    readings
        .iter()
        .filter(|reading| reading.time >= from && reading.time <= to)
        .filter_map(|reading| Some((reading.time, reading.rules.as_deref()?)))
        .collect()
}

/// The readings between which rules came or went; counters alone make no new version.
fn versions<'s, 'a>(series: &'s [(Timestamp, &'a RuleSet)]) -> Vec<&'s (Timestamp, &'a RuleSet)> {
    let shape = |rules: &RuleSet| -> Vec<(String, String, usize)> {
        rules
            .tables
            .iter()
            .flat_map(|table| {
                table.chains.iter().map(|chain| {
                    let texts = chain
                        .rules
                        .iter()
                        .map(|rule| rule.text.len())
                        .sum::<usize>();
                    let policy = chain.base.as_ref().map_or(0, |base| base.policy as usize);
                    let size = texts.wrapping_mul(31) + chain.rules.len() * 2 + policy;
                    (table.name.clone(), chain.name.clone(), size)
                })
            })
            .collect()
    };
    let mut last = None;
    series
        .iter()
        .filter(|(_, rules)| {
            let now = Some(shape(rules));
            let changed = now != last;
            last = now;
            changed
        })
        .collect()
}

/// Whether two references name one rule: never by its number, unless nothing else tells them apart.
fn same(one: &RuleRef, other: &RuleRef) -> bool {
    one.family == other.family
        && one.table == other.table
        && one.chain == other.chain
        && match (one.handle, other.handle) {
            (Some(one), Some(other)) => one == other,
            _ => one.text == other.text && one.number == other.number,
        }
}

fn counted(
    case: &Case<'_>,
    decision: &Decision,
    deltas: &[RuleDelta],
    series: &[(Timestamp, &RuleSet)],
) -> Option<Counted> {
    let same_words = |delta: &&RuleDelta| {
        let (one, other) = (&delta.rule, &decision.rule);
        one.family == other.family
            && one.table == other.table
            && one.chain == other.chain
            && match (one.handle, other.handle) {
                (Some(one), Some(other)) => one == other,
                _ => one.text == other.text,
            }
    };
    let delta = deltas
        .iter()
        .find(|delta| same(&delta.rule, &decision.rule))
        .or_else(|| deltas.iter().find(same_words))?;
    // nf_tables keeps no counters for policies, though iptables-nft-save prints them, as zero.
    if decision.rule.number.is_none() && decision.rule.backend != RuleBackend::IptablesLegacy {
        return None;
    }
    let packets = delta.packets?;
    // With one reading there is no difference, unless the rule came during the observation.
    if series.len() < 2 && delta.appeared.is_none() {
        return None;
    }
    Some(Counted {
        packets,
        due: due(case, delta, series),
        appeared: delta.appeared,
    })
}

/// How many of the lost packets were lost while the rule was there.
fn due(case: &Case<'_>, delta: &RuleDelta, series: &[(Timestamp, &RuleSet)]) -> Option<(u64, u64)> {
    let lost = case.lost()?;
    let times = &case.suspicion.times;
    if delta.appeared.is_none() && delta.vanished.is_none() {
        return Some((lost, lost));
    }
    if times.len() as u64 != lost {
        return Some((0, lost));
    }
    let before = |time: Timestamp| {
        series
            .iter()
            .map(|&(at, _)| at)
            .filter(|&at| at < time)
            .max()
            .unwrap_or(Timestamp::MIN)
    };
    let within = |from: Timestamp, to: Timestamp| {
        times
            .iter()
            .filter(|&&time| time >= from && time <= to)
            .count() as u64
    };
    let (surely_from, perhaps_from) = match delta.appeared {
        Some(first_seen) => (first_seen, before(first_seen)),
        None => (Timestamp::MIN, Timestamp::MIN),
    };
    let (surely_to, perhaps_to) = match delta.vanished {
        Some(gone) => (before(gone), gone),
        None => (Timestamp::MAX, Timestamp::MAX),
    };
    Some((
        within(surely_from, surely_to),
        within(perhaps_from, perhaps_to),
    ))
}

/// What is known of the lost packets when a hook of a host looks at them.
fn facts(case: &Case<'_>, host: usize, hook: Hook) -> PacketFacts {
    let sample = &case.suspicion.sample;
    let tuple = match hook {
        Hook::Ingress | Hook::PreRouting => case.arriving_at(host),
        _ => case.tuple_at(host),
    };
    let family = if case.v6() {
        AddressFamily::Ip6
    } else {
        AddressFamily::Ip
    };
    let mut facts = PacketFacts::new(family);
    facts.protocol = Some(tuple.protocol);
    facts.source = Some(tuple.source.address);
    facts.destination = Some(tuple.destination.address);
    let fragment = case.suspicion.what == What::Fragment;
    if sample.icmp.is_none() && !fragment {
        // Port 0 stands for one that nobody saw.
        facts.source_port = Some(tuple.source.port).filter(|&port| port != 0);
        facts.destination_port = Some(tuple.destination.port).filter(|&port| port != 0);
    }
    facts.tcp_flags = sample.tcp_flags.map(TcpFlags);
    facts.icmp_type = sample.icmp.map(|(kind, _)| kind);
    facts.icmp_code = sample.icmp.map(|(_, code)| code);
    facts.length = sample.length;
    facts.ttl = sample.ttl;
    // Later fragments: one such as full-size ones begin with, in units of eight bytes.
    facts.fragment_offset = Some(if fragment { 185 } else { 0 });
    facts.destination_mac = sample.destination_mac.map(|mac| mac.0);
    let input = seen_by_ip(case, host, case.input(host));
    let output = seen_by_ip(case, host, case.output(host));
    match hook {
        // A device's own chains see the device itself.
        Hook::Ingress => facts.in_interface = case.input(host).map(str::to_owned),
        Hook::Egress => facts.out_interface = case.output(host).map(str::to_owned),
        Hook::PreRouting | Hook::LocalIn => facts.in_interface = input,
        Hook::LocalOut => facts.out_interface = output,
        Hook::Forward => {
            facts.in_interface = input;
            facts.out_interface = output;
        }
        Hook::PostRouting => {
            // A packet of this host's own came by no interface.
            let forwarded = case
                .suspicion
                .chain
                .position(Some(host), Edge::entered(Point::Forward));
            facts.in_interface = if forwarded.is_some() {
                input
            } else {
                Some(String::new())
            };
            facts.out_interface = output;
        }
    }
    facts.ct_states = states(case);
    facts.first_of_connection = if case.suspicion.what == What::Syn {
        None
    } else {
        Some(false)
    };
    let kind = |address| {
        case.world.owns(host, address).map(|own| match own {
            true => AddressKind::Local,
            false => AddressKind::Unicast,
        })
    };
    if !tuple.destination.address.is_multicast() {
        facts.destination_kind = kind(tuple.destination.address);
    }
    facts.source_kind = kind(tuple.source.address);
    facts
}

/// The states that connection tracking can give the lost packets. INVALID and UNTRACKED stay possible everywhere: whether a
/// segment fits the tracked window is not seen from outside.
fn states(case: &Case<'_>) -> CtStates {
    let open = CtStates::INVALID.union(CtStates::UNTRACKED);
    match case.suspicion.what {
        What::Syn => open.union(CtStates::NEW),
        What::IcmpError => open.union(CtStates::RELATED),
        // A flow that was never answered stays NEW, however many packets it has.
        What::Datagram | What::EchoRequest
            if !case.suspicion.answered
                && case.suspicion.direction == transect_path::Direction::ToServer =>
        {
            open.union(CtStates::NEW)
        }
        What::Datagram | What::EchoRequest
            if case.suspicion.direction == transect_path::Direction::ToServer =>
        {
            open.union(CtStates::NEW).union(CtStates::ESTABLISHED)
        }
        _ => open.union(CtStates::ESTABLISHED).union(CtStates::NEW),
    }
}

/// Whether the suspect was there from the beginning and would let the packet pass as long as connection tracking knew its
/// flow, as it did before: the flow is open, so that packets of it got by.
pub(crate) fn spares_tracked(case: &Case<'_>, suspect: &Suspect) -> bool {
    let open = matches!(case.suspicion.what, What::Data | What::Fin | What::Ack);
    if !case.is_tcp() || !open || !case.suspicion.answered {
        return false;
    }
    let readings = &case.world.host(suspect.host).readings;
    let Some(rules) = readings.iter().find_map(|reading| reading.rules.as_deref()) else {
        return false;
    };
    let decides = |states: CtStates| {
        let mut facts = facts(case, suspect.host, suspect.hook);
        facts.ct_states = states;
        let outcome = evaluate(rules, suspect.hook, &facts);
        let mut decisions = outcome.certain.iter().chain(&outcome.possible);
        decisions.any(|decision| same(&decision.rule, &suspect.decision.rule))
    };
    !decides(CtStates::ESTABLISHED) && decides(CtStates::INVALID.union(CtStates::NEW))
}

/// Whether a host's connection tracking had an entry for the flow and was seen without it while packets were lost.
pub(crate) fn entry_lost(case: &Case<'_>, host: usize) -> bool {
    let (arriving, routed) = (case.arriving_at(host), case.tuple_at(host));
    let is = |tuple: &ConntrackTuple| {
        [arriving, arriving.reversed(), routed, routed.reversed()]
            .iter()
            .any(|own| {
                tuple.source == own.source.address
                    && tuple.destination == own.destination.address
                    && tuple.source_port == Some(own.source.port)
                    && tuple.destination_port == Some(own.destination.port)
            })
    };
    let mut had = false;
    for reading in &case.world.host(host).readings {
        let Some(entries) = reading.conntrack.as_deref() else {
            continue;
        };
        let known = entries.iter().any(|entry| {
            entry.protocol == case.suspicion.sample.tuple.protocol
                && (is(&entry.original) || entry.reply.as_ref().is_some_and(is))
        });
        if had && !known && reading.time <= case.suspicion.window.to + GRACE {
            return true;
        }
        had |= known;
    }
    false
}

/// The finding for one suspect: how its counter agrees with what was lost.
pub(crate) fn finding(
    case: &Case<'_>,
    suspect: &Suspect,
    cause: transect_path::CauseId,
) -> Option<Finding> {
    let point = suspect.point;
    let decision = &suspect.decision;
    let mut finding = Finding::new(
        cause,
        Some(suspect.host),
        point,
        "the rule's counter, read before and after, or a trace of the rules (nft monitor trace)",
    );
    finding.prediction = if suspect.certain {
        Prediction::Certain
    } else {
        Prediction::Possible
    };
    finding.rule = Some(decision.rule.clone());
    let meter = case
        .world
        .meter(suspect.host, "rule", &rule_name(&decision.rule));
    match &suspect.counted {
        Some(counted) => {
            // It was there, it would have decided, and it saw nothing: not this rule.
            if counted.packets == 0 {
                return None;
            }
            finding.own_meter = true;
            finding.meter = Some(meter.clone());
            finding.accounted = Some(counted.packets);
            finding.amount = amount(case, suspect, counted, &mut finding.evidence);
            let entered = Edge::entered(point);
            let edge =
                transect_path::HostEdge::new(case.world.labels[suspect.host].clone(), entered);
            let mut words = format!("the rule counted {}", count(counted.packets, "packet"));
            if counted.appeared.is_some() {
                words.push_str(" since it appeared during the observation");
            }
            finding.evidence.insert(
                0,
                bounds_line(
                    meter,
                    edge,
                    Some(counted.packets),
                    Some(counted.packets),
                    words,
                ),
            );
        }
        None => {
            finding.evidence.push(says(
                meter,
                "the rule matches the lost packets; it has no counter that was read twice",
            ));
            // IP's counters know nothing of what passes a bridge.
            if decision.rule.family != "bridge" {
                identity(case, suspect, &mut finding);
            }
        }
    }
    if !decision.unknowns.is_empty() {
        finding.against.push(Contradiction {
            meter: case.world.meter(suspect.host, "rules", ""),
            says: format!(
                "whether the rule matches depends on {}",
                decision.unknowns.join(", ")
            ),
        });
    }
    Some(finding)
}

fn amount(
    case: &Case<'_>,
    suspect: &Suspect,
    counted: &Counted,
    evidence: &mut Vec<transect_path::Evidence>,
) -> Amount {
    match counted.due {
        Some((lo, _)) if counted.packets < lo => Amount::Partial,
        Some((_, hi)) if counted.packets <= hi => Amount::Exact,
        Some(_) => Amount::Covers,
        None => match killed_on_the_way_out(case, suspect) {
            Some(killed) if killed == counted.packets => {
                let name = ip_counter(case.v6(), "OutRequests");
                evidence.push(says(
                    case.world.meter(suspect.host, "counter", &name),
                    format!("{} were handed to IP and never transmitted (OutRequests less OutTransmits)", count(killed, "packet")),
                ));
                Amount::Exact
            }
            _ => Amount::Covers,
        },
    }
}

fn forwarded_counter(case: &Case<'_>) -> &'static str {
    if case.v6() {
        "OutForwDatagrams"
    } else {
        "ForwDatagrams"
    }
}

/// Packets that died between LOCAL_OUT or FORWARD and the neighbour layer (causes.md 2.3): OutRequests and ForwDatagrams
/// less OutTransmits.
fn killed_on_the_way_out(case: &Case<'_>, suspect: &Suspect) -> Option<u64> {
    if !matches!(
        suspect.hook,
        Hook::LocalOut | Hook::PostRouting | Hook::Forward
    ) {
        return None;
    }
    let requests = case.ip_delta(suspect.host, "OutRequests")?;
    let transmits = case.ip_delta(suspect.host, "OutTransmits")?;
    // Kernels with OutTransmits count what they forward before the FORWARD hook (causes.md 2.3).
    let forwarded = case.ip_delta(suspect.host, forwarded_counter(case))?;
    requests.checked_add(forwarded)?.checked_sub(transmits)
}

/// A rule without counter: the host's counters show that so many packets died where only rules leave no trace.
fn identity(case: &Case<'_>, suspect: &Suspect, finding: &mut Finding) {
    let vanished = match suspect.hook {
        Hook::LocalOut | Hook::PostRouting | Hook::Forward => killed_on_the_way_out(case, suspect),
        Hook::PreRouting | Hook::LocalIn => crate::identity::unexplained(case, suspect.host),
        _ => None,
    };
    if let Some(vanished) = vanished.filter(|&vanished| vanished > 0) {
        finding.amount = Amount::compare(vanished, case.lost());
        finding.accounted = Some(vanished);
        let name = match suspect.hook {
            Hook::LocalOut | Hook::PostRouting => "OutRequests",
            Hook::Forward => forwarded_counter(case),
            _ => "InReceives",
        };
        finding.evidence.push(says(
            case.world
                .meter(suspect.host, "counter", &ip_counter(case.v6(), name)),
            format!(
                "{} vanished in IP without a counter of their own, as Netfilter leaves it",
                count(vanished, "packet")
            ),
        ));
    }
}

/// `iptables-legacy/filter/INPUT/1`.
fn rule_name(rule: &RuleRef) -> String {
    let place = rule
        .number
        .map_or_else(|| "policy".to_owned(), |number| number.to_string());
    format!("{}/{}/{}/{place}", rule.backend, rule.table, rule.chain)
}

/// How a user sees or undoes a rule.
pub(crate) fn advice(rule: &RuleRef, host: &str) -> String {
    use transect_path::RuleBackend::*;
    let tool = match (rule.backend, rule.family.as_str()) {
        (IptablesLegacy, "ip6") => "ip6tables-legacy",
        (IptablesLegacy, _) => "iptables-legacy",
        (IptablesNft, "ip6") => "ip6tables-nft",
        (IptablesNft, _) => "iptables-nft",
        (Nft, _) => "nft",
    };
    match (rule.backend, rule.number) {
        (Nft, Some(_)) => {
            let handle = rule
                .handle
                .map_or_else(|| "HANDLE".to_owned(), |handle| handle.to_string());
            format!(
                "on {host}, look at `nft -a list chain {} {} {}`; the rule goes with `nft delete rule {} {} {} handle {handle}`",
                rule.family, rule.table, rule.chain, rule.family, rule.table, rule.chain
            )
        }
        (Nft, None) => format!(
            "on {host}, look at `nft list chain {} {} {}`: no rule accepts the packet before the policy",
            rule.family, rule.table, rule.chain
        ),
        (_, Some(number)) => format!(
            "on {host}, look at `{tool} -t {} -nvL {} --line-numbers`; the rule goes with `{tool} -t {} -D {} {number}`",
            rule.table, rule.chain, rule.table, rule.chain
        ),
        (_, None) => format!(
            "on {host}, look at `{tool} -t {} -nvL {}`: no rule accepts the packet before the policy",
            rule.table, rule.chain
        ),
    }
}
