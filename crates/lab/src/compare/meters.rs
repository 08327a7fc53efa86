//! Counters, sockets and rules at the end of an observation.

use std::collections::BTreeMap;

use transect_config::rules::counter_deltas;
use transect_config::{Socket, SocketProtocol};
use transect_evidence::HostEvidence;
use transect_evidence::counters::Counters;

use super::Both;

type Amounts = BTreeMap<String, Both<u64>>;

/// Which host's, in each world.
type Hosts<'a> = Both<Option<&'a HostEvidence>>;

/// Parts of names that are noise: bytes depend on offloads.
const NOISE: [&str; 1] = ["Octets"];
/// What is compared, by the beginning of its name.
const COMPARED: [&str; 4] = ["Ip", "Icmp", "Tcp", "Udp"];

/// How far the counters moved.
pub(super) fn counters(both: &Hosts<'_>) -> Amounts {
    join(both, |host| {
        let (Some(before), Some(after)) = (host.first(), host.last()) else {
            return BTreeMap::new();
        };
        let moved = Counters::delta(&before.counters, &after.counters);
        moved
            .grown()
            .filter(|(name, _)| is_compared(name))
            .map(|(name, by)| (name.to_owned(), by))
            .collect()
    })
}

fn is_compared(name: &str) -> bool {
    COMPARED.iter().any(|prefix| name.starts_with(prefix))
        && !NOISE.iter().any(|noise| name.contains(noise))
}

/// How many sockets of each kind and state there are in the last reading.
pub(super) fn sockets(both: &Hosts<'_>) -> Amounts {
    join(both, |host| {
        let mut counts = BTreeMap::new();
        let sockets = host.last().and_then(|reading| reading.sockets.clone());
        for socket in sockets.iter().flat_map(|sockets| sockets.iter()) {
            if let Some(words) = socket_words(socket) {
                *counts.entry(words).or_insert(0) += 1;
            }
        }
        counts
    })
}

/// A socket by its protocol, state and the service's port; of those of the observation itself nothing.
fn socket_words(socket: &Socket) -> Option<String> {
    let known = matches!(socket.protocol, SocketProtocol::Tcp | SocketProtocol::Udp);
    let state = socket.state.filter(|_| known)?;
    let ports = [socket.local.port, socket.peer.port];
    // Ephemeral ports are drawn at random.
    let service = ports
        .into_iter()
        .flatten()
        .filter(|port| *port < 32768)
        .min();
    let service = service.map_or_else(|| "*".to_owned(), |port| port.to_string());
    Some(format!("{} {state} {service}", socket.protocol))
}

/// How many packets each rule counted.
pub(super) fn rules(both: &Hosts<'_>) -> Amounts {
    join(both, |host| {
        let readings = host.readings.iter();
        let series: Vec<_> = readings
            .filter_map(|reading| Some((reading.time, reading.rules.as_deref()?)))
            .collect();
        counter_deltas(&series)
            .into_iter()
            .filter_map(|delta| {
                let rule = &delta.rule;
                let words = format!(
                    "{} {} {}: {}",
                    rule.backend, rule.table, rule.chain, rule.text
                );
                Some((words, delta.packets?))
            })
            .collect()
    })
}

fn join(both: &Hosts<'_>, amounts: impl Fn(&HostEvidence) -> BTreeMap<String, u64>) -> Amounts {
    let [kernel, model] =
        [both.kernel, both.model].map(|host| host.map(&amounts).unwrap_or_default());
    let names = kernel.keys().chain(model.keys());
    let of = |world: &BTreeMap<String, u64>, name: &String| world.get(name).copied().unwrap_or(0);
    names
        .map(|name| {
            let amounts = Both {
                kernel: of(&kernel, name),
                model: of(&model, name),
            };
            (name.clone(), amounts)
        })
        .collect()
}
