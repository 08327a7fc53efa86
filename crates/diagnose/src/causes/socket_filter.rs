//! F9: a filter on the socket (SO_ATTACH_FILTER, a reuseport program) throws the packet away.
//!
//! No counter names it. What tells is the socket's own drop count (`sk_drops`), rising while every counter of the other
//! reasons for which a socket drops stands still (`tcp_v4_rcv`, `udp_queue_rcv_one_skb`).

use transect_config::SocketProtocol;
use transect_path::{CauseId, Direction, Point, Setting, SettingKind, What};

use super::listener::{self, Listener};
use crate::case::Case;
use crate::finding::{Amount, Finding, Prediction};
use crate::world::says;

const TELL: &str = "`ss -0b` or `ss -tlnb` for the socket's filter; the drop reason SOCKET_FILTER of skb:kfree_skb";

/// Counters of the other reasons for which a listener's own drop count rises.
const LISTENER: [&str; 8] = [
    "TcpExtListenDrops",
    "TcpExtListenOverflows",
    "TcpExtTCPMinTTLDrop",
    "TcpExtTCPMD5NotFound",
    "TcpExtTCPMD5Unexpected",
    "TcpExtTCPMD5Failure",
    "TcpExtTCPAOBad",
    "TcpExtTCPBacklogDrop",
];

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    if case.suspicion.direction != Direction::ToServer {
        return Vec::new();
    }
    case.hosts_at(Point::SocketInput)
        .into_iter()
        .filter_map(|host| match case.is_udp() {
            true => datagrams(case, host),
            false => connection(case, host),
        })
        .collect()
}

fn connection(case: &Case<'_>, host: usize) -> Option<Finding> {
    if !listener::concerns(case) || case.suspicion.what != What::Syn {
        return None;
    }
    let listener = Listener::of(case, host)?;
    let drops = listener.drops.filter(|&drops| drops > 0)?;
    let named = LISTENER
        .iter()
        .any(|name| case.delta(host, name).is_none_or(|delta| delta > 0) && !optional(name));
    // Some of the counters only newer kernels have: those have to stand still where they are.
    let newer = LISTENER
        .iter()
        .any(|name| optional(name) && case.delta(host, name).unwrap_or(0) > 0);
    if named || newer {
        return None;
    }
    Some(describe(case, host, &listener.name, drops))
}

fn optional(name: &str) -> bool {
    name.contains("AO") || name.contains("MinTTL")
}

fn datagrams(case: &Case<'_>, host: usize) -> Option<Finding> {
    let prefix = if case.v6() { "Udp6" } else { "Udp" };
    let delta = |name: &str| case.delta(host, &format!("{prefix}{name}"));
    let named = delta("RcvbufErrors")? + delta("InCsumErrors")? + delta("MemErrors").unwrap_or(0);
    let failed = delta("InErrors")?
        .checked_sub(named)
        .filter(|&failed| failed > 0)?;
    let tuple = case.tuple_at(host);
    let local = (tuple.destination.address, tuple.destination.port);
    let peer = (tuple.source.address, tuple.source.port);
    let mut seen = None;
    let (mut first, mut most) = (None, 0);
    for (_, socket) in case.world.sockets(host) {
        if socket.protocol == SocketProtocol::Udp && socket.accepts(local, peer, case.input(host)) {
            let drops = socket.dropped().unwrap_or(0);
            first.get_or_insert(drops);
            most = most.max(drops);
            seen = Some(socket);
        }
    }
    let name = listener::name(seen?);
    let own = most.saturating_sub(first.unwrap_or(0)).min(failed);
    (own > 0).then(|| describe(case, host, &name, own))
}

fn describe(case: &Case<'_>, host: usize, socket: &str, drops: u64) -> Finding {
    let mut finding = Finding::new(CauseId::SocketFilter, Some(host), Point::SocketInput, TELL);
    let meter = case.world.meter(host, "socket", socket);
    finding.amount = Amount::compare(drops, case.lost());
    finding.prediction = Prediction::Possible;
    finding.own_meter = true;
    finding.accounted = Some(drops);
    finding.evidence.push(says(
        meter.clone(),
        format!(
            "the socket itself dropped {drops}, and no counter of queues, memory, checksums or signatures moved"
        ),
    ));
    finding.meter = Some(meter);
    finding.setting = Some(Setting {
        kind: SettingKind::Socket,
        name: socket.to_owned(),
        value: "filter".to_owned(),
    });
    finding.advice.push(format!(
        "look for a filter that the program attached to {socket} (`ss -nb`, SO_ATTACH_FILTER, SO_ATTACH_REUSEPORT_EBPF)"
    ));
    finding
}
