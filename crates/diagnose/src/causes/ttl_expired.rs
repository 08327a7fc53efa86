//! C9: the TTL or hop limit ran out on a router, in a loop or because the sender set it low.

use transect_path::{CauseId, Point};

use crate::case::Case;
use crate::finding::{Finding, Prediction};
use crate::world::{ip_counter, says};

const TELL: &str = "the TTL in a capture in front of the router; ICMP \"time exceeded\"";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    case.hosts_at(Point::Forward)
        .into_iter()
        .filter_map(|host| at(case, host))
        .collect()
}

fn at(case: &Case<'_>, host: usize) -> Option<Finding> {
    let ttl = case.suspicion.sample.ttl.filter(|&ttl| ttl <= 1)?;
    let counter = ip_counter(case.v6(), "InHdrErrors");
    let mut finding = case.counted(CauseId::TtlExpired, host, Point::Forward, &counter, TELL)?;
    finding.prediction = Prediction::Certain;
    finding.evidence.push(says(
        case.world
            .meter(host, "capture", case.input(host).unwrap_or("")),
        format!("the packets arrived with a TTL of {ttl}"),
    ));
    finding.advice.push(
        "look for a routing loop (`traceroute`), or for a sender that sets a low TTL".to_owned(),
    );
    Some(finding)
}
