//! C3: the destination is not an address of this host, and the host does not forward.

use transect_path::{CauseId, Point, Setting, SettingKind};
use transect_walk::routing::{InputDecision, RouteDecision, RouteQuery, route};

use super::routing;
use crate::case::Case;
use crate::finding::{Finding, Prediction};
use crate::world::{ip_counter, says};

const TELL: &str = "InAddrErrors, the host's addresses, and its forwarding setting";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    routing::hosts_receiving(case)
        .into_iter()
        .filter_map(|host| at(case, host))
        .collect()
}

fn at(case: &Case<'_>, host: usize) -> Option<Finding> {
    let destination = case.destination_at(host);
    if case.world.owns(host, destination) == Some(true) {
        return None;
    }
    let counter = ip_counter(case.v6(), "InAddrErrors");
    let mut finding = case.counted(CauseId::NotLocal, host, Point::RouteInput, &counter, TELL)?;
    let answer = routing::input(case, host);
    let (prediction, setting) = routing::predicted(answer.as_ref(), |decision| match decision {
        InputDecision::NotLocal { setting } => Some(setting.clone()),
        _ => None,
    });
    finding.prediction = prediction.max(Prediction::Possible);
    finding.evidence.push(says(
        case.world.meter(host, "config", "address"),
        format!("{destination} is not an address of this host"),
    ));
    if let Some(other) = uses_as_router(case, host) {
        finding.cause = CauseId::ForwardingDisabled;
        finding.evidence.push(says(
            case.world.meter(other, "config", "route"),
            format!(
                "{} sends to {destination} by this host",
                case.world.labels[other]
            ),
        ));
        finding.advice.push("turn forwarding on (net.ipv4.ip_forward=1, net.ipv6.conf.all.forwarding=1), if this host is meant to be a router".to_owned());
    } else {
        finding.advice.push(format!("who sends to {destination} has a wrong address, route or neighbour entry, or this host lacks the address"));
    }
    finding.setting = setting.map(|name| {
        let value = case
            .config(host)
            .and_then(|config| config.sysctls.number(&name));
        Setting {
            kind: SettingKind::Sysctl,
            value: value.map_or_else(|| "0".to_owned(), |value| value.to_string()),
            name,
        }
    });
    Some(finding)
}

/// An observed host whose route to the destination has this host as its next hop.
fn uses_as_router(case: &Case<'_>, router: usize) -> Option<usize> {
    let destination = case.destination_at(router);
    case.world.hosts().find(|&other| {
        let gateway = (other != router)
            .then(|| case.config(other))
            .flatten()
            .and_then(|config| {
                let query = RouteQuery::output(destination, None);
                match route(config, &query).certain()?.decision {
                    RouteDecision::Unicast { gateway, .. } => gateway,
                    _ => None,
                }
            });
        gateway.is_some_and(|gateway| case.world.owns(router, gateway) == Some(true))
    })
}
