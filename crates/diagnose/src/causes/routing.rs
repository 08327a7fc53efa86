//! What routing would do with the lost packets. Shared by the causes that are routes and routing's settings.

use transect_path::Point;
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

/// Whether the host receives the lost packets (rather than sending them).
pub(crate) fn hosts_receiving(case: &Case<'_>) -> Vec<usize> {
    case.hosts_at(Point::RouteInput)
}

/// Whether a route decision is an answer of this kind.
pub(crate) fn is_no_route(result: &RouteResult) -> bool {
    matches!(result.decision, RouteDecision::NoRoute)
}
