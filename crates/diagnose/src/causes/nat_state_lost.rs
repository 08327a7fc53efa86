//! E11: a router forgot that it translates a connection (time-out, flush, failover) and lets its packets pass as they are; the
//! server knows no connection with these addresses and answers with resets, which may have no way back.

use transect_path::{CauseId, Point};

use super::netfilter;
use crate::case::Case;
use crate::finding::{Amount, Finding, Prediction};
use crate::world::says;

const TELL: &str =
    "captures on both sides of the router: the addresses before and after; `conntrack -L` there";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    let former = case.suspicion.former;
    former
        .and_then(|(host, known)| at(case, host, known))
        .into_iter()
        .collect()
}

fn at(case: &Case<'_>, host: usize, known: transect_packet::Tuple) -> Option<Finding> {
    if !case.possible_at(Some(host), Point::SocketLookup) {
        return None;
    }
    let mut finding = Finding::new(CauseId::NatStateLost, Some(host), Point::SocketLookup, TELL);
    // Each of the lost packets was captured with the wrong addresses: nothing is left to count.
    finding.amount = Amount::Exact;
    finding.accounted = case.lost();
    finding.prediction = Prediction::Certain;
    let now = case.suspicion.sample.tuple;
    finding.evidence.push(says(
        case.world
            .meter(host, "capture", case.input(host).unwrap_or("")),
        format!(
            "the connection began with {}, and these packets came with {}: nobody translated them",
            known.source, now.source
        ),
    ));
    // IPv4 counts a reset also where there is no way back for it, IPv6 does not.
    if let Some(resets) = case.delta(host, "TcpOutRsts").filter(|&resets| resets > 0) {
        finding.evidence.push(says(
            case.world.meter(host, "counter", "TcpOutRsts"),
            format!("TcpOutRsts rose by {resets}"),
        ));
    }
    for passage in &case.suspicion.interfaces {
        if passage.host != host && netfilter::entry_lost(case, passage.host) {
            finding.evidence.push(says(
                case.world.meter(passage.host, "conntrack", ""),
                "connection tracking had an entry for the flow, and has none any more",
            ));
        }
    }
    finding.advice.push(
        "find out why the router forgot the connection (time-out, `conntrack -F`, failover, out-of-window packets taken for \
         INVALID), and let it drop what is INVALID rather than pass it on untranslated"
            .to_owned(),
    );
    Some(finding)
}
