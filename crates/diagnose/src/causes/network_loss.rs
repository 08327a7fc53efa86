//! A10, G1, G2: lost between the hosts. Never by its own evidence: by the exclusion of both hosts.

use transect_path::{CauseId, Contradiction, Direction, Point, Setting, SettingKind};

use crate::case::{Case, Suspicion};
use crate::finding::{Amount, Finding, Prediction};
use crate::world::says;

const TELL: &str = "captures on both ends, and the statistics of the devices between them";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    if !case.possible_at(None, Point::Network) {
        return Vec::new();
    }
    // Behind an end that was not observed there is more than a network.
    let ends = case.suspicion.chain.ends_observed();
    if !ends {
        return Vec::new();
    }
    let mut finding = Finding::new(CauseId::NetworkLoss, None, Point::Network, TELL);
    finding.prediction = Prediction::Possible;
    let stations = case.suspicion.chain.between(case.suspicion.bracket);
    let mut hosts: Vec<usize> = stations.iter().filter_map(|station| station.host).collect();
    hosts.dedup();
    let network_has_neighbors = stations.first().is_some_and(|first| first.host.is_some())
        && stations.last().is_some_and(|last| last.host.is_some());
    let mut all_clear = network_has_neighbors;
    for &host in &hosts {
        for station in stations.iter().filter(|station| station.host == Some(host)) {
            match clear(case, host, station.point) {
                Clear::Yes(Some(words)) => finding.evidence.push(says(words.0, words.1)),
                Clear::Yes(None) => {}
                Clear::No(meter, words) => {
                    all_clear = false;
                    finding.against.push(Contradiction { meter, says: words });
                }
                Clear::Unknown => all_clear = false,
            }
        }
    }
    if all_clear {
        // Both captures count exactly what is missing, and nothing on either host can have taken it.
        finding.amount = Amount::Exact;
        finding.accounted = case.lost();
    }
    finding.evidence.dedup();
    finding.advice.push(
        "look at the devices between the hosts: switches, routers, firewalls, the cloud's own filters and limits".to_owned(),
    );
    match asymmetric(case, &finding) {
        Some(asymmetric) => vec![asymmetric],
        None => vec![finding],
    }
}

/// C8: the answers leave by another interface than that by which the flow comes in, and die out there.
fn asymmetric(case: &Case<'_>, lost: &Finding) -> Option<Finding> {
    let Suspicion {
        chain,
        opposite,
        direction,
        ..
    } = case.suspicion;
    if *direction != Direction::ToClient {
        return None;
    }
    let sender = chain.station(chain.start()).host?;
    let (came, leaves) = (opposite.as_deref()?, case.output(sender)?);
    if came == leaves {
        return None;
    }
    let mut finding = Finding {
        cause: CauseId::AsymmetricReturn,
        tell: "captures on all interfaces of the host, and its route back (`ip route get`)"
            .to_owned(),
        ..lost.clone()
    };
    let (label, client) = (&case.world.labels[sender], case.destination_at(sender));
    finding.evidence.push(says(
        case.world.meter(sender, "capture", leaves),
        format!("the flow comes to {label} by {came}, and its answers leave by {leaves}"),
    ));
    finding.setting = Some(Setting {
        kind: SettingKind::Route,
        name: client.to_string(),
        value: format!("dev {leaves}"),
    });
    finding.advice = vec![format!(
        "on {label}, look at `ip route get {client}`: answers leave by {leaves}; route them back by {came}, or find out who \
         drops them on that way (anti-spoofing, stateful firewalls, a gateway that does not exist)"
    )];
    Some(finding)
}

/// Whether a point of a host is excluded.
enum Clear {
    Yes(Option<(String, String)>),
    No(String, String),
    Unknown,
}

fn clear(case: &Case<'_>, host: usize, point: Point) -> Clear {
    match point {
        Point::DriverOut => {
            let Some(device) = case.output(host) else {
                return Clear::Unknown;
            };
            still(
                case,
                host,
                &[
                    &format!("link.{device}.tx_dropped"),
                    &format!("link.{device}.tx_errors"),
                ],
            )
        }
        Point::NicIn => {
            let Some(device) = case.input(host) else {
                return Clear::Unknown;
            };
            still(
                case,
                host,
                &[
                    &format!("link.{device}.rx_dropped"),
                    &format!("link.{device}.rx_errors"),
                ],
            )
        }
        Point::Xdp => {
            let link = case
                .input(host)
                .and_then(|device| case.config(host)?.link(device));
            match link {
                None => Clear::Unknown,
                Some(link) => match link.xdp.first() {
                    None => Clear::Yes(None),
                    Some(_) => Clear::No(
                        case.world
                            .meter(host, "config", &format!("link/{}", link.name)),
                        format!("an XDP program on {} may have dropped them", link.name),
                    ),
                },
            }
        }
        Point::Backlog => still(case, host, &["softnet.dropped"]),
        // The wire itself belongs to what lies between.
        Point::WireIn | Point::WireOut | Point::TapOut | Point::TapIn => Clear::Yes(None),
        _ => Clear::Unknown,
    }
}

/// Counters that have to stand still, and to have been read.
fn still(case: &Case<'_>, host: usize, names: &[&str]) -> Clear {
    for name in names {
        match case.delta(host, name) {
            None => return Clear::Unknown,
            Some(0) => {}
            Some(delta) => {
                return Clear::No(
                    case.world.meter(host, "counter", name),
                    format!("{name} rose by {delta}"),
                );
            }
        }
    }
    let words = format!("{} did not move", names.join(" and "));
    Clear::Yes(Some((
        case.world
            .meter(host, "counter", names.first().copied().unwrap_or("")),
        words,
    )))
}
