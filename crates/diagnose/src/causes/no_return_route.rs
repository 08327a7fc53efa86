//! C7: the server has no route back to the client, so the answer to a SYN is never made.
//!
//! Easily misread as a full backlog: ListenDrops rises as well. OutNoRoutes tells (causes.md C7).

use transect_path::{CauseId, Direction, Point, Setting, SettingKind, What};

use super::routing;
use crate::case::Case;
use crate::finding::{Finding, Prediction};
use crate::world::{ip_counter, says};

const TELL: &str = "OutNoRoutes rising with ListenDrops; `ip route get CLIENT` on the server";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    if case.suspicion.direction != Direction::ToClient {
        return Vec::new();
    }
    case.hosts_at(Point::RouteOutput)
        .into_iter()
        .filter_map(|host| at(case, host))
        .collect()
}

fn at(case: &Case<'_>, host: usize) -> Option<Finding> {
    let missing = routing::output(case, host)
        .as_ref()
        .is_some_and(routing::is_no_route);
    let counter = ip_counter(case.v6(), "OutNoRoutes");
    let mut finding = match case.counted(
        CauseId::NoReturnRoute,
        host,
        Point::RouteOutput,
        &counter,
        TELL,
    ) {
        Some(finding) => finding,
        None if missing => {
            Finding::new(CauseId::NoReturnRoute, Some(host), Point::RouteOutput, TELL)
        }
        None => return None,
    };
    let client = case.destination_at(host);
    if missing {
        finding.prediction = Prediction::Certain;
        finding.evidence.push(says(
            case.world.meter(host, "config", "route"),
            format!("no route matches {client}"),
        ));
    } else if routing::output(case, host).is_some() {
        // There is a route: somebody else's packets had none.
        return None;
    }
    let listen_drops = case
        .delta(host, "TcpExtListenDrops")
        .filter(|&drops| drops > 0);
    if case.suspicion.what == What::SynAck
        && let Some(drops) = listen_drops
    {
        finding.evidence.push(says(
            case.world.meter(host, "counter", "TcpExtListenDrops"),
            format!("the listener dropped {drops} SYNs that it could not answer"),
        ));
    }
    if missing && let Some(device) = routing::device_gone(case, host) {
        let state = "down, and its routes went with it";
        routing::blame_device(case, host, &mut finding, &device, state);
        return Some(finding);
    }
    finding.setting = Some(Setting {
        kind: SettingKind::Route,
        name: client.to_string(),
        value: "none".to_owned(),
    });
    finding.advice.push(format!(
        "give {} a route back to {client} (see `ip route get {client}` there)",
        case.world.labels[host]
    ));
    Some(finding)
}
