//! C4, C12: no route to the destination, on a router or on the sender itself.

use transect_path::{CauseId, Direction, Point, Setting, SettingKind};
use transect_walk::routing::InputDecision;

use super::routing;
use crate::case::Case;
use crate::finding::{Finding, Prediction};
use crate::world::{ip_counter, says};

const TELL: &str = "InNoRoutes and OutNoRoutes of the host's IP counters; `ip route get`";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for host in routing::hosts_receiving(case) {
        findings.extend(on_the_way_in(case, host));
    }
    for host in case.hosts_at(Point::RouteOutput) {
        findings.extend(on_the_way_out(case, host));
    }
    findings
}

fn on_the_way_in(case: &Case<'_>, host: usize) -> Option<Finding> {
    let counter = if case.v6() {
        "Ip6InNoRoutes"
    } else {
        "IpExtInNoRoutes"
    };
    let answer = routing::input(case, host);
    let (prediction, found) = routing::predicted(answer.as_ref(), |decision| {
        matches!(decision, InputDecision::NoRoute).then_some(())
    });
    let counted = case.counted(CauseId::NoRoute, host, Point::RouteInput, counter, TELL);
    let mut finding = match counted {
        Some(finding) => finding,
        None if case.delta(host, counter).is_some() || found.is_none() => return None,
        None => Finding::new(CauseId::NoRoute, Some(host), Point::RouteInput, TELL),
    };
    // IPv6 counts there also what an unreachable route answers.
    if prediction == Prediction::Unknown && answer.is_some_and(|answer| answer.certain().is_some())
    {
        return None;
    }
    finding.prediction = prediction.max(Prediction::Possible);
    Some(describe(case, host, finding))
}

fn on_the_way_out(case: &Case<'_>, host: usize) -> Option<Finding> {
    if case.suspicion.direction != Direction::ToServer {
        return None;
    }
    let result = routing::output(case, host);
    let missing = result.as_ref().is_some_and(routing::is_no_route);
    let counter = ip_counter(case.v6(), "OutNoRoutes");
    let mut finding = match case.counted(CauseId::NoRoute, host, Point::RouteOutput, &counter, TELL)
    {
        Some(finding) if missing => finding,
        _ if missing => Finding::new(CauseId::NoRoute, Some(host), Point::RouteOutput, TELL),
        _ => return None,
    };
    finding.prediction = Prediction::Certain;
    Some(describe(case, host, finding))
}

fn describe(case: &Case<'_>, host: usize, mut finding: Finding) -> Finding {
    let destination = case.destination_at(host);
    if finding.prediction == Prediction::Certain {
        finding.evidence.push(says(
            case.world.meter(host, "config", "route"),
            format!("no route matches {destination}"),
        ));
    }
    finding.setting = Some(Setting {
        kind: SettingKind::Route,
        name: destination.to_string(),
        value: "none".to_owned(),
    });
    if let Some(device) = routing::device_gone(case, host) {
        routing::blame_device(
            case,
            host,
            &mut finding,
            &device,
            "down, and its routes went with it",
        );
        return finding;
    }
    finding.advice.push(format!(
        "give {} a route to {destination} (see `ip route get {destination}` there)",
        case.world.labels[host]
    ));
    finding
}
