//! C2: a source address that cannot come from outside. Leaves no counter of its own but rt_cache's, which is the machine's.

use transect_path::{CauseId, Point, Setting, SettingKind};
use transect_walk::routing::{InputDecision, MartianSource};

use super::routing;
use crate::case::Case;
use crate::finding::{Amount, Finding, Prediction};
use crate::world::says;

const TELL: &str = "the reason of skb:kfree_skb (IP_LOCAL_SOURCE, IP_INVALID_SOURCE, IP_LOCALNET), or log_martians";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    routing::hosts_receiving(case)
        .into_iter()
        .filter_map(|host| at(case, host))
        .collect()
}

fn at(case: &Case<'_>, host: usize) -> Option<Finding> {
    let answer = routing::input(case, host);
    let (prediction, why) = routing::predicted(answer.as_ref(), |decision| match decision {
        InputDecision::MartianSource(why) => Some(*why),
        _ => None,
    });
    let why = why?;
    let mut finding = Finding::new(CauseId::MartianSource, Some(host), Point::RouteInput, TELL);
    finding.prediction = prediction;
    let source = case.source_at(host);
    let words = match why {
        MartianSource::OwnAddress => "is one of the host's own addresses",
        MartianSource::Loopback => "is a loopback address",
        MartianSource::Zero => "is in 0.0.0.0/8",
        MartianSource::NotUnicast | MartianSource::InvalidSource => "is not a unicast address",
    };
    finding.evidence.push(says(
        case.world.meter(host, "config", "address"),
        format!(
            "the source {source} {words}, and came in by {}",
            case.input(host).unwrap_or("?")
        ),
    ));
    routing::silent(case, host, &mut finding);
    if finding.prediction == Prediction::Unknown {
        return None;
    }
    if let Some(martians) = case
        .delta(host, "rt_cache.in_martian_src")
        .filter(|&n| n > 0)
    {
        finding.amount = finding.amount.max(Amount::compare(martians, case.lost()));
        finding.evidence.push(says(
            case.world.meter(host, "counter", "rt_cache.in_martian_src"),
            format!("the machine counted {martians} packets with impossible sources"),
        ));
    }
    finding.setting = Some(Setting {
        kind: SettingKind::Route,
        name: format!("local {source}"),
        value: format!("source {why}"),
    });
    finding.advice.push(format!(
        "find out who sends with the source {source}: a spoofed packet, a duplicate address, or missing source NAT"
    ));
    Some(finding)
}
