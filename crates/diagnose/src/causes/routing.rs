//! What routing would do with the lost packets. Shared by the causes that are routes and routing's settings.

use transect_path::{CauseId, Point, Setting, SettingKind};
use transect_walk::routing::{
    InputAnswer, InputDecision, RouteDecision, RouteQuery, RouteResult, input_decision, route,
};

use crate::case::Case;
use crate::finding::{Amount, Finding, Prediction};
use crate::world::{count, says};

/// What the host would decide about the lost packets as they arrive.
pub(crate) fn input(case: &Case<'_>, host: usize) -> Option<InputAnswer> {
    let config = case.config(host)?;
    let device = case.input(host)?;
    let tuple = case.tuple_at(host);
    let query = RouteQuery::input(tuple.source.address, tuple.destination.address, device);
    Some(input_decision(config, &query))
}

/// The certain or possible decision of a kind, with how sure it is.
pub(crate) fn predicted<T>(
    answer: Option<&InputAnswer>,
    pick: impl Fn(&InputDecision) -> Option<T>,
) -> (Prediction, Option<T>) {
    let Some(answer) = answer else {
        return (Prediction::Unknown, None);
    };
    if let Some(only) = answer.certain() {
        return match pick(only) {
            Some(picked) => (Prediction::Certain, Some(picked)),
            None => (Prediction::Unknown, None),
        };
    }
    match answer.decisions.iter().find_map(pick) {
        Some(picked) => (Prediction::Possible, Some(picked)),
        None => (Prediction::Unknown, None),
    }
}

/// The look-up that the host would do to send the lost packets, when it has one answer only.
pub(crate) fn output(case: &Case<'_>, host: usize) -> Option<RouteResult> {
    let config = case.config(host)?;
    let tuple = case.tuple_at(host);
    let query = RouteQuery::output(tuple.destination.address, Some(tuple.source.address));
    route(config, &query).certain().cloned()
}

/// A decision without a counter of its own (blackholes, martians): what the host's identity leaves unexplained is its meter.
pub(crate) fn silent(case: &Case<'_>, host: usize, finding: &mut Finding) {
    match crate::identity::unexplained(case, host) {
        Some(0) => {
            // Nothing vanished in IP at all, so this cannot have happened.
            finding.prediction = Prediction::Unknown;
        }
        Some(vanished) => {
            finding.amount = finding.amount.max(Amount::compare(vanished, case.lost()));
            finding.accounted = Some(vanished);
            finding.evidence.push(says(
                case.world.meter(host, "counter", "InReceives"),
                format!(
                    "{} vanished in IP without a counter of their own",
                    count(vanished, "packet")
                ),
            ));
        }
        None => {}
    }
}

/// The device by which the lost packets went while the host had a route for them, if it is down now: the kernel removes
/// the routes of a device that goes down (`fib_sync_down_dev`).
pub(crate) fn device_gone(case: &Case<'_>, host: usize) -> Option<String> {
    let tuple = case.tuple_at(host);
    let query = RouteQuery::output(tuple.destination.address, None);
    let before = route(case.world.any_config(host)?, &query);
    let RouteDecision::Unicast { device, .. } = &before.certain()?.decision else {
        return None;
    };
    let link = case.config(host)?.link(device)?;
    (!link.flags.is_empty() && !link.is_up()).then(|| device.clone())
}

/// Accuses the device that is down instead of what followed from it (A8).
pub(crate) fn blame_device(
    case: &Case<'_>,
    host: usize,
    finding: &mut Finding,
    device: &str,
    state: &str,
) {
    finding.cause = CauseId::LinkDown;
    finding.tell = "`ip -s link`: state, and dropped on the way out".to_owned();
    finding.evidence.push(says(
        case.world.meter(host, "config", &format!("link/{device}")),
        format!("{device} is {state}"),
    ));
    finding.setting = Some(Setting {
        kind: SettingKind::Link,
        name: device.to_owned(),
        value: state.to_owned(),
    });
    finding.advice = vec![format!(
        "bring {device} up, check its cable or the other end of its pair"
    )];
}

/// Whether the host receives the lost packets (rather than sending them).
pub(crate) fn hosts_receiving(case: &Case<'_>) -> Vec<usize> {
    case.hosts_at(Point::RouteInput)
}

/// Whether a route decision is an answer of this kind.
pub(crate) fn is_no_route(result: &RouteResult) -> bool {
    matches!(result.decision, RouteDecision::NoRoute)
}
