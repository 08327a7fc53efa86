//! C1: the route back to the source uses another interface than the packet came by. IPv4 only.

use transect_path::{CauseId, Point, Setting, SettingKind};
use transect_walk::routing::InputDecision;

use super::routing;
use crate::case::Case;
use crate::finding::{Finding, Prediction};
use crate::world::says;

const TELL: &str = "TcpExtIPReversePathFilter, which only this cause moves";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    if case.v6() {
        return Vec::new();
    }
    routing::hosts_receiving(case)
        .into_iter()
        .filter_map(|host| at(case, host))
        .collect()
}

fn at(case: &Case<'_>, host: usize) -> Option<Finding> {
    let counter = "TcpExtIPReversePathFilter";
    let mut finding = case.counted(
        CauseId::ReversePathFilter,
        host,
        Point::RouteInput,
        counter,
        TELL,
    )?;
    let answer = routing::input(case, host);
    let (prediction, way_back) = routing::predicted(answer.as_ref(), |decision| match decision {
        InputDecision::ReversePath { way_back, .. } => Some(way_back.clone()),
        _ => None,
    });
    finding.prediction = prediction.max(Prediction::Possible);
    let source = case.source_at(host);
    let device = case.input(host).unwrap_or("?");
    if prediction == Prediction::Certain {
        let words = match way_back.flatten() {
            Some(route) => format!("the way back to {source} is `{route}`, not by {device}"),
            None => format!("there is no way back to {source}"),
        };
        finding
            .evidence
            .push(says(case.world.meter(host, "config", "route"), words));
    }
    let config = case.config(host);
    let value = |name: &str| {
        let key = format!("net.ipv4.conf.{name}.rp_filter");
        let number = config.and_then(|config| config.sysctls.number(&key));
        number.map(|number| (key, number))
    };
    // The greater of both is in force (ip-sysctl.rst); the interface's own is named when they are alike.
    let (all, own) = (value("all"), value(device));
    let in_force = match (all, own) {
        (Some(all), Some(own)) => Some(if own.1 >= all.1 { own } else { all }),
        (all, own) => own.or(all),
    };
    finding.setting = in_force.map(|(name, value)| Setting {
        kind: SettingKind::Sysctl,
        name,
        value: value.to_string(),
    });
    finding.advice.push(format!(
        "give the host a route to {source} by {device}, or loosen the filter for asymmetric routing (rp_filter=2)"
    ));
    Some(finding)
}
