//! F7, H3: no socket takes the packet; a reset or "port unreachable" goes back.

use transect_config::SocketProtocol;
use transect_path::{CauseId, Direction, Point, Setting, SettingKind};

use super::listener::name;
use crate::case::Case;
use crate::finding::{Finding, Prediction};
use crate::world::says;

const TELL: &str = "`ss -lnp` on the server: does a socket listen at this very address and port?";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    if case.suspicion.direction != Direction::ToServer {
        return Vec::new();
    }
    case.hosts_at(Point::SocketLookup)
        .into_iter()
        .filter_map(|host| at(case, host))
        .collect()
}

fn at(case: &Case<'_>, host: usize) -> Option<Finding> {
    let (counter, protocol) = match (case.is_tcp(), case.is_udp(), case.v6()) {
        (true, ..) => ("TcpOutRsts", SocketProtocol::Tcp),
        (_, true, false) => ("UdpNoPorts", SocketProtocol::Udp),
        (_, true, true) => ("Udp6NoPorts", SocketProtocol::Udp),
        _ => return None,
    };
    let tuple = case.tuple_at(host);
    let local = (tuple.destination.address, tuple.destination.port);
    let peer = (tuple.source.address, tuple.source.port);
    let same_port: Vec<_> = case
        .world
        .sockets(host)
        .map(|(_, socket)| socket)
        .filter(|socket| socket.protocol == protocol && socket.local.port == Some(local.1))
        .filter(|socket| protocol == SocketProtocol::Udp || socket.is_listening())
        .collect();
    let fits = same_port
        .iter()
        .any(|socket| socket.accepts(local, peer, case.input(host)));
    let read = case.world.socket_readings(host, crate::world::Window::ALL) > 0;
    if fits {
        return None;
    }
    let delta = case.delta(host, counter).filter(|&delta| delta > 0);
    let mut finding = match delta {
        Some(delta) => case.metered(
            CauseId::NoListener,
            host,
            Point::SocketLookup,
            counter,
            delta,
            TELL,
        ),
        // The counter was read and stood still: nobody's look-up failed here.
        None if case.delta(host, counter).is_some() => return None,
        None => Finding::new(CauseId::NoListener, Some(host), Point::SocketLookup, TELL),
    };
    if read {
        finding.prediction = Prediction::Certain;
        let elsewhere: Vec<String> = same_port.iter().map(|socket| name(socket)).collect();
        let words = match elsewhere.first() {
            Some(other) => format!(
                "no socket takes {}; {other} does not fit",
                tuple.destination
            ),
            None => format!("no socket has port {}", local.1),
        };
        finding
            .evidence
            .push(says(case.world.meter(host, "sockets", ""), words));
    }
    finding.setting = Some(Setting {
        kind: SettingKind::Socket,
        name: format!("{protocol} {}", tuple.destination),
        value: same_port
            .first()
            .map_or_else(|| "none".to_owned(), |socket| name(socket)),
    });
    finding.advice.push(match same_port.first() {
        Some(socket) => format!(
            "the program listens at {} only: bind it to {} or to any address",
            name(socket),
            tuple.destination
        ),
        None => format!(
            "start the program that should listen at {}, or correct the port",
            tuple.destination
        ),
    });
    Some(finding)
}
