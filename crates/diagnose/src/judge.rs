//! From suspicions and findings to the verdict: who is accused, how surely, and what else it could be.

use transect_path::{
    CauseId, Certainty, Edge, Evidence, HostEdge, Lost, Outcome, Point, Symptom, Unseen, Verdict,
};

use crate::case::{Case, Suspicion};
use crate::causes;
use crate::chain::{Bracket, Chain};
use crate::fate::Fate;
use crate::finding::{Amount, Finding, Prediction};
use crate::flow::FlowView;
use crate::world::{World, bounds_line};

/// More alternatives help nobody.
const MOST_ALTERNATIVES: usize = 8;

/// One finding, and the suspicion that it answers.
struct Candidate {
    suspicion: usize,
    finding: Finding,
}

/// The verdict about a flow (or a group of alike ones, of which `view` is the first).
pub(crate) fn judge(world: &World<'_>, view: &FlowView, fate: Fate, flows: u64) -> Verdict {
    let mut verdict = blank(view, &fate, flows);
    if let Some((finding, chain)) = &fate.settled {
        settle(world, &mut verdict, finding, chain);
    } else {
        accuse(world, &mut verdict, &fate);
    }
    verdict.evidence.extend(fate.evidence.iter().cloned());
    if verdict.outcome != Outcome::Delivered {
        verdict.unseen = unseen(world, view);
        doubt_ends(world, view, &mut verdict);
    }
    verdict
}

/// Captures that show neither directions nor addresses: at which end they were taken is concluded, not known.
fn doubt_ends(world: &World<'_>, view: &FlowView, verdict: &mut Verdict) {
    use crate::chain::Role;
    let undirected = view.undirected(world);
    let roles = view.placement(world, transect_path::Direction::ToServer);
    for &host in &undirected {
        let label = &world.labels[host];
        let role = roles.iter().find(|node| node.0 == host).map(|node| node.1);
        let taken = match role {
            Some(Role::Sender) => "taken for the client's end by the packets alone",
            Some(Role::Receiver) => "taken for the server's end by the packets alone",
            _ => "at which end it was taken stays open",
        };
        verdict.unseen.push(Unseen {
            meter: format!("{label}/capture/*"),
            why: format!("shows neither directions nor the host's addresses; {taken}"),
        });
        if verdict.cause.is_some() || verdict.outcome == Outcome::Delivered {
            continue;
        }
        let own = verdict.host.as_ref() == Some(label);
        if own {
            verdict.place_certainty = verdict.place_certainty.min(Certainty::Likely);
        }
        if own || !matches!(role, Some(Role::Sender | Role::Receiver)) {
            verdict.next = Some(format!(
                "say whose addresses are whose: give the output of `ip -j address` on this host as well ({label}=FILE); \
                 captures by `tcpdump -i any` show directions"
            ));
        }
    }
}

fn blank(view: &FlowView, fate: &Fate, flows: u64) -> Verdict {
    Verdict {
        flow: Some(view.name()),
        flows,
        reached: fate.reached.clone(),
        misled: fate.misled.clone(),
        recovered: fate.recovered.clone(),
        ..Verdict::bare(fate.outcome, fate.symptom)
    }
}

/// A cause that the flow itself shows.
fn settle(world: &World<'_>, verdict: &mut Verdict, finding: &Finding, chain: &Chain) {
    verdict.cause = Some(finding.cause);
    verdict.certainty = finding.certainty().min(Certainty::Strong);
    verdict.host = finding.host.map(|host| world.labels[host].clone());
    verdict.point = Some(finding.point);
    verdict.between = own_edges(chain, finding);
    verdict.place_certainty = verdict.certainty;
    verdict.rule = finding.rule.clone();
    verdict.setting = finding.setting.clone();
    verdict.evidence.extend(finding.evidence.iter().cloned());
    verdict.against.extend(finding.against.iter().cloned());
    verdict.advice.extend(finding.advice.iter().cloned());
}

fn own_edges(chain: &Chain, finding: &Finding) -> Option<[HostEdge; 2]> {
    let entered = chain.position(finding.host, Edge::entered(finding.point))?;
    let left = chain.position(finding.host, Edge::left(finding.point))?;
    Some([chain.edge(entered), chain.edge(left)])
}

/// Asks the catalogue about every suspicion and names the one cause that stands out, if one does.
fn accuse(world: &World<'_>, verdict: &mut Verdict, fate: &Fate) {
    let mut candidates: Vec<Candidate> = Vec::new();
    for (index, suspicion) in fate.suspicions.iter().enumerate() {
        let case = Case { world, suspicion };
        for finding in causes::examine(&case) {
            if fits_outcome(fate.outcome, finding.cause)
                && (!suspicion.needs_proof || finding.is_proof())
            {
                candidates.push(Candidate {
                    suspicion: index,
                    finding,
                });
            }
        }
    }
    candidates.sort_by_key(|candidate| std::cmp::Reverse(weight(candidate, fate)));
    let winner = stands_out(&candidates, fate);
    let suspicion = match winner {
        Some(winner) => fate.suspicions.get(candidates[winner].suspicion),
        None => fate
            .suspicions
            .iter()
            .find(|suspicion| suspicion.certain)
            .or(fate.suspicions.first()),
    };
    let Some(suspicion) = suspicion else { return };
    if let Some(winner) = winner {
        let finding = &candidates[winner].finding;
        name_the_cause(verdict, suspicion, finding);
    } else if matches!(fate.outcome, Outcome::Delivered | Outcome::Undetermined) {
        // Nothing says that anything was lost: the suspicion stays a question.
        if fate.outcome == Outcome::Delivered {
            return;
        }
        place(world, verdict, fate, suspicion);
    } else {
        verdict.lost = Some(lost(suspicion, None));
        place(world, verdict, fate, suspicion);
    }
    verdict.evidence.splice(0..0, meters(suspicion));
    let rest = candidates.iter().enumerate().filter(|(index, candidate)| {
        Some(*index) != winner
            && !winner.is_some_and(|winner| {
                candidates[winner]
                    .finding
                    .accuses_the_same(&candidate.finding)
            })
            && worth_mentioning(
                &candidate.finding,
                winner.map(|winner| &candidates[winner].finding),
            )
    });
    for (_, candidate) in rest.take(MOST_ALTERNATIVES) {
        let chain = &fate.suspicions[candidate.suspicion].chain;
        let alternative = candidate.finding.alternative(chain);
        if !verdict.alternatives.contains(&alternative) {
            verdict.alternatives.push(alternative);
        }
    }
    if verdict.cause.is_none() || verdict.certainty < Certainty::Strong {
        verdict.next = next(verdict, &candidates, suspicion);
    }
}

/// Whether a cause can end like this: who was told no was told so by somebody.
fn fits_outcome(outcome: Outcome, cause: CauseId) -> bool {
    use CauseId::*;
    let tells = matches!(
        cause,
        NoListener
            | NetfilterReject
            | NoRoute
            | ProhibitRoute
            | NeighborUnresolved
            | LinkDown
            | TtlExpired
            | UnknownProtocol
            | NatStateLost
            | AcceptQueueFull
            | StaleConnection
            | FragmentLost
    );
    match outcome {
        Outcome::Refused => tells,
        _ => true,
    }
}

/// The stronger the evidence the heavier; between equals what is known to be lost, then what dies first on the path.
fn weight(
    candidate: &Candidate,
    fate: &Fate,
) -> (
    Certainty,
    bool,
    Amount,
    bool,
    Prediction,
    std::cmp::Reverse<usize>,
) {
    let finding = &candidate.finding;
    let suspicion = &fate.suspicions[candidate.suspicion];
    let at = suspicion
        .chain
        .position(finding.host, Edge::entered(finding.point));
    (
        finding.certainty(),
        suspicion.certain,
        finding.amount,
        finding.own_meter,
        finding.prediction,
        std::cmp::Reverse(at.map_or(usize::MAX, |position| position.0)),
    )
}

/// The one candidate that stands out: at least likely, and nobody else as sure of something else.
fn stands_out(candidates: &[Candidate], fate: &Fate) -> Option<usize> {
    let first = candidates.first()?;
    let certainty = first.finding.certainty();
    if certainty < Certainty::Likely {
        return None;
    }
    // Nothing was missed: to say that something died takes more than a configuration that would do it.
    let invisible = matches!(fate.outcome, Outcome::Delivered | Outcome::Undetermined);
    if invisible && (certainty < Certainty::Strong || first.finding.amount < Amount::Covers) {
        return None;
    }
    let rivals: Vec<&Candidate> = candidates[1..]
        .iter()
        .filter(|other| other.finding.certainty() == certainty)
        .filter(|other| !other.finding.accuses_the_same(&first.finding))
        .collect();
    if certainty == Certainty::Proven || rivals.is_empty() {
        return Some(0);
    }
    let outweighs = |other: &&&Candidate| {
        let (one, two) = (&first.finding, &other.finding);
        one.amount > two.amount
            || one.amount == two.amount && one.own_meter && !two.own_meter
            || one.amount == two.amount && one.prediction > two.prediction
            // What comes first on the path and surely ends the packet leaves nothing to what comes later.
            || comes_first(first, other, fate)
    };
    rivals.iter().all(|other| outweighs(&other)).then_some(0)
}

fn comes_first(one: &Candidate, other: &Candidate, fate: &Fate) -> bool {
    if one.suspicion != other.suspicion || one.finding.prediction != Prediction::Certain {
        return false;
    }
    let chain = &fate.suspicions[one.suspicion].chain;
    let at = |candidate: &Candidate| {
        chain.position(
            candidate.finding.host,
            Edge::entered(candidate.finding.point),
        )
    };
    at(one) < at(other)
}

/// Alternatives are what the evidence does not exclude; behind a proven cause nothing remains.
fn worth_mentioning(finding: &Finding, winner: Option<&Finding>) -> bool {
    match winner.map(Finding::certainty) {
        Some(Certainty::Proven) => false,
        Some(certainty) => {
            finding.certainty() >= Certainty::Likely && finding.certainty() <= certainty
        }
        None => true,
    }
}

fn name_the_cause(verdict: &mut Verdict, suspicion: &Suspicion, finding: &Finding) {
    let chain = &suspicion.chain;
    if matches!(verdict.outcome, Outcome::Delivered | Outcome::Undetermined) {
        verdict.outcome = Outcome::Lost;
        verdict.symptom = match verdict.symptom {
            Symptom::None => Symptom::DatagramsMissing,
            other => other,
        };
    }
    let missing = lost(suspicion, Some(finding));
    let sent = suspicion.meters.iter().filter_map(|meter| meter.lo).max();
    if verdict.symptom == Symptom::DatagramUnanswered
        && sent.is_some_and(|sent| missing.packets < sent)
    {
        verdict.symptom = Symptom::DatagramsMissing;
    }
    verdict.lost = Some(missing);
    verdict.cause = Some(finding.cause);
    verdict.certainty = finding.certainty();
    verdict.host = Some(chain.label(finding.host));
    verdict.point = Some(finding.point);
    let single = chain.between(suspicion.bracket).len() == 1;
    let terminal = finding.own_meter && finding.amount >= Amount::Covers;
    verdict.between = if terminal || single {
        own_edges(chain, finding)
    } else {
        Some(edges(chain, suspicion.bracket))
    };
    verdict.place_certainty = if single {
        Certainty::Proven
    } else {
        verdict.certainty
    };
    verdict.rule = finding.rule.clone();
    verdict.setting = finding.setting.clone();
    verdict.evidence.extend(finding.evidence.iter().cloned());
    verdict.against.extend(finding.against.iter().cloned());
    verdict.advice.extend(finding.advice.iter().cloned());
}

/// Where the packets were lost, when no cause is named.
fn place(world: &World<'_>, verdict: &mut Verdict, fate: &Fate, suspicion: &Suspicion) {
    let mut hosts: Vec<Option<usize>> = Vec::new();
    let mut points: Vec<Point> = Vec::new();
    for suspicion in &fate.suspicions {
        for station in suspicion.chain.between(suspicion.bracket) {
            if !hosts.contains(&station.host) {
                hosts.push(station.host);
            }
            if !points.contains(&station.point) {
                points.push(station.point);
            }
        }
    }
    let [first, last] = edges(&suspicion.chain, suspicion.bracket);
    // Two readings of one symptom: the bracket runs from where the one came in to where the other would have gone out.
    let last = match fate.suspicions.as_slice() {
        [_, other] if !suspicion.certain => edges(&other.chain, other.bracket)[1].clone(),
        _ => last,
    };
    verdict.between = Some([first, last]);
    if let [Some(host)] = hosts[..] {
        verdict.host = Some(world.labels[host].clone());
        verdict.place_certainty = Certainty::Strong;
        if let [point] = points[..] {
            verdict.point = Some(point);
            verdict.place_certainty = Certainty::Proven;
        }
    }
}

fn edges(chain: &Chain, bracket: Bracket) -> [HostEdge; 2] {
    [chain.edge(bracket.lower), chain.edge(bracket.upper)]
}

/// How many were lost: as counted by the captures, else as accounted for by the meter.
fn lost(suspicion: &Suspicion, finding: Option<&Finding>) -> Lost {
    let accounted = finding.and_then(|finding| finding.accounted);
    let seen = suspicion.meters.iter().filter_map(|meter| meter.lo).max();
    // Where nobody knows how many were lost, the meter that accounts for them does.
    let counted = if suspicion.certain {
        suspicion.lost
    } else {
        accounted.or(suspicion.lost)
    };
    let packets = counted.or(accounted).or(seen).unwrap_or(0);
    Lost {
        what: suspicion.what,
        direction: suspicion.direction,
        packets,
    }
}

/// The readings that draw the bracket.
fn meters(suspicion: &Suspicion) -> Vec<Evidence> {
    suspicion
        .meters
        .iter()
        .map(|meter| {
            let edge = suspicion.chain.edge(meter.position);
            bounds_line(
                meter.name.clone(),
                edge,
                meter.lo,
                meter.hi,
                meter.says.clone(),
            )
        })
        .collect()
}

/// The next observation that would settle what is open.
fn next(verdict: &Verdict, candidates: &[Candidate], suspicion: &Suspicion) -> Option<String> {
    if let Some(candidate) = candidates.first() {
        return Some(format!("to settle it: {}", candidate.finding.tell));
    }
    let [lower, upper] = verdict.between.as_ref()?;
    let network = suspicion
        .chain
        .between(suspicion.bracket)
        .iter()
        .any(|station| station.host.is_none());
    Some(if network && !suspicion.chain.ends_observed() {
        "observe the other end as well (--netns for each host), or capture there at the same time"
            .to_owned()
    } else if network {
        format!(
            "observe the hosts between {lower} and {upper} as well (--netns for each), or capture on both ends at once"
        )
    } else {
        format!(
            "watch the kernel's drop reasons between {lower} and {upper} (skb:kfree_skb) while it happens again"
        )
    })
}

/// What could not be seen of the hosts, once each.
fn unseen(world: &World<'_>, view: &FlowView) -> Vec<Unseen> {
    use crate::chain::Role;
    let mut all: Vec<Unseen> = Vec::new();
    let mut add = |meter: String, why: &str| {
        let line = Unseen {
            meter,
            why: why.to_owned(),
        };
        if !all.contains(&line) {
            all.push(line);
        }
    };
    let nodes = view.placement(world, transect_path::Direction::ToServer);
    for (role, name) in [(Role::Sender, "client"), (Role::Receiver, "server")] {
        if !nodes.iter().any(|node| node.1 == role) && world.evidence.host(name).is_none() {
            add(format!("{name}/*"), "not observed");
        }
    }
    for host in world.hosts() {
        let evidence = world.host(host);
        let label = &world.labels[host];
        if evidence.captures.is_empty() {
            add(format!("{label}/capture/*"), "no capture");
        }
        if evidence.readings.len() < 2 {
            add(
                format!("{label}/counter/*"),
                "counters were not read before and after",
            );
        }
        for line in &evidence.unseen {
            add(line.meter.clone(), &line.why);
        }
        for line in evidence.readings.iter().flat_map(|reading| &reading.unseen) {
            add(line.meter.clone(), &line.why);
        }
    }
    for problem in &world.evidence.problems {
        add(problem.file.clone(), &problem.message);
    }
    all
}
