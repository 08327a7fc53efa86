//! C5, C6: a blackhole, prohibit or unreachable route matches the destination.

use transect_path::{CauseId, Point, Setting, SettingKind};
use transect_walk::routing::{InputDecision, RouteDecision};

use super::routing;
use crate::case::Case;
use crate::finding::{Amount, Finding, Prediction};
use crate::world::says;

const TELL: &str = "`ip route get` on this host; a blackhole leaves no counter";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    let received = routing::hosts_receiving(case)
        .into_iter()
        .filter_map(|host| received(case, host));
    let sent = case
        .hosts_at(Point::RouteOutput)
        .into_iter()
        .filter_map(|host| sent(case, host));
    received.chain(sent).collect()
}

fn received(case: &Case<'_>, host: usize) -> Option<Finding> {
    let answer = routing::input(case, host);
    let (prediction, found) = routing::predicted(answer.as_ref(), |decision| match decision {
        InputDecision::Blackhole { text } => Some((CauseId::BlackholeRoute, text.clone())),
        InputDecision::Prohibit { text } | InputDecision::Unreachable { text } => {
            Some((CauseId::ProhibitRoute, text.clone()))
        }
        _ => None,
    });
    let (cause, text) = found?;
    let mut finding = Finding::new(cause, Some(host), Point::RouteInput, TELL);
    finding.prediction = prediction;
    if cause == CauseId::BlackholeRoute {
        routing::silent(case, host, &mut finding);
        if finding.prediction == Prediction::Unknown {
            return None;
        }
    } else if let Some(told) = case
        .delta(
            host,
            if case.v6() {
                "Icmp6OutDestUnreachs"
            } else {
                "IcmpOutDestUnreachs"
            },
        )
        .filter(|&told| told > 0)
    {
        finding.amount = Amount::compare(told, case.lost());
        finding.evidence.push(says(
            case.world.meter(host, "counter", "IcmpOutDestUnreachs"),
            format!("the host sent {told} ICMP errors \"unreachable\""),
        ));
    }
    Some(describe(case, host, finding, text))
}

fn sent(case: &Case<'_>, host: usize) -> Option<Finding> {
    let result = routing::output(case, host)?;
    let cause = match result.decision {
        RouteDecision::Blackhole => CauseId::BlackholeRoute,
        RouteDecision::Prohibit | RouteDecision::Unreachable => CauseId::ProhibitRoute,
        _ => return None,
    };
    let mut finding = Finding::new(cause, Some(host), Point::RouteOutput, TELL);
    finding.prediction = Prediction::Certain;
    Some(describe(case, host, finding, result.text))
}

fn describe(case: &Case<'_>, host: usize, mut finding: Finding, text: Option<String>) -> Finding {
    let destination = case.destination_at(host);
    let text = text.unwrap_or_else(|| finding.cause.id().to_owned());
    finding.evidence.push(says(
        case.world.meter(host, "config", "route"),
        format!("{destination} falls into `{text}`"),
    ));
    finding.setting = Some(Setting {
        kind: SettingKind::Route,
        name: destination.to_string(),
        value: text.clone(),
    });
    finding.advice.push(format!(
        "on {}, remove the route `{text}` or add a narrower one",
        case.world.labels[host]
    ));
    finding
}
