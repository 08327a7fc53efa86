//! A5: nobody answers ARP or neighbour discovery for the next hop, so the packet never gets a MAC address.

use std::net::IpAddr;

use transect_config::NeighborState;
use transect_path::{CauseId, Point, Setting, SettingKind};
use transect_walk::routing::{RouteDecision, RouteQuery, route};

use crate::case::Case;
use crate::finding::{Amount, Finding, Prediction};
use crate::world::{Window, count, says};

const TELL: &str = "the neighbour entry (`ip neigh`), and the unanswered requests in a capture";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    case.hosts_at(Point::Neighbor)
        .into_iter()
        .filter_map(|host| at(case, host))
        .collect()
}

/// Whether the packets stop on a host for want of the next hop's address.
pub(super) fn stops(case: &Case<'_>, host: usize) -> bool {
    case.possible_at(Some(host), Point::Neighbor) && at(case, host).is_some()
}

fn at(case: &Case<'_>, host: usize) -> Option<Finding> {
    let (device, next_hop) = next_hop(case, host)?;
    let mut finding = Finding::new(
        CauseId::NeighborUnresolved,
        Some(host),
        Point::Neighbor,
        TELL,
    );
    let (mut requests, mut replies) = (0, 0);
    for resolution in case.world.resolutions(host, next_hop) {
        requests += resolution.requests;
        replies += resolution.replies;
    }
    let state = unresolved(case, host, &device, next_hop);
    // Who answered once may be gone by now: then the entry says so.
    if replies > 0 && state.is_none() {
        return None;
    }
    if requests > 0 && replies == 0 {
        // Each packet of the question was seen, and none of an answer.
        finding.own_meter = true;
        finding.amount = Amount::Covers;
        finding.prediction = Prediction::Certain;
        let protocol = if next_hop.is_ipv6() {
            "neighbour solicitation"
        } else {
            "ARP request"
        };
        finding.evidence.push(says(
            case.world.meter(host, "capture", &device),
            format!(
                "{} for {next_hop}, and no answer",
                count(requests, protocol)
            ),
        ));
    }
    if let Some(state) = state {
        finding.amount = Amount::Covers;
        finding.prediction = Prediction::Certain;
        finding.evidence.push(says(
            case.world
                .meter(host, "config", &format!("neighbor/{device}")),
            format!("{next_hop} on {device} is {state}"),
        ));
    }
    if requests == 0 && state.is_none() {
        return None;
    }
    // Nobody can answer what never left: the device says why.
    let link = case.config(host).and_then(|config| config.link(&device));
    if let Some(link) = link.filter(|link| !link.flags.is_empty())
        && !(link.is_up() && link.has_carrier())
    {
        let state = if link.is_up() {
            "without carrier"
        } else {
            "down"
        };
        super::routing::blame_device(case, host, &mut finding, &device, state);
        return Some(finding);
    }
    finding.setting = Some(Setting {
        kind: SettingKind::Neighbor,
        name: format!("{next_hop} dev {device}"),
        value: state.map_or_else(|| "unanswered".to_owned(), |state| state.to_string()),
    });
    finding.advice.push(format!(
        "is {next_hop} up, in the same VLAN, and willing to answer (arp_ignore, arp_filter)? A capture there tells whether the requests arrive"
    ));
    Some(finding)
}

/// The next hop of the lost packets on a host, and the device it is on.
fn next_hop(case: &Case<'_>, host: usize) -> Option<(String, IpAddr)> {
    let config = case.config(host)?;
    let tuple = case.tuple_at(host);
    let query = match case.input(host) {
        Some(device) => RouteQuery::input(tuple.source.address, tuple.destination.address, device),
        None => RouteQuery::output(tuple.destination.address, Some(tuple.source.address)),
    };
    match &route(config, &query).certain()?.decision {
        RouteDecision::Unicast {
            device, gateway, ..
        } => Some((device.clone(), gateway.unwrap_or(tuple.destination.address))),
        _ => None,
    }
}

/// The state of the next hop's entry, if any reading found it unresolved.
fn unresolved(
    case: &Case<'_>,
    host: usize,
    device: &str,
    next_hop: IpAddr,
) -> Option<NeighborState> {
    let window = case.suspicion.window;
    let later = Window {
        from: window.from,
        to: window.to + std::time::Duration::from_secs(5),
    };
    case.world
        .host(host)
        .readings
        .iter()
        .filter(|reading| reading.time >= later.from && reading.time <= later.to)
        .filter_map(|reading| reading.config.as_deref()?.neighbor(device, next_hop))
        .filter(|neighbor| neighbor.is_unresolved())
        .find_map(|neighbor| neighbor.states.first().copied())
}
