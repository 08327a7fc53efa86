//! Flows in which nothing was lost and nothing moves: the receiver's window is closed, or the application is silent.

use std::time::Duration;

use transect_config::{Socket, SocketProtocol, SocketState, TimerKind};
use transect_path::{
    CauseId, Direction, Edge, HostEdge, Outcome, Point, Setting, SettingKind, Symptom, Timestamp,
    What,
};

use crate::causes::listener_name;
use crate::chain::Chain;
use crate::fate::{self, Fate};
use crate::finding::{Amount, Finding, Prediction};
use crate::tcp::Tcp;
use crate::world::{bounds_line, count, says};

/// An answer may take as long as this before its absence means anything.
const PATIENCE: Duration = Duration::from_millis(900);

/// G3: the receiving application does not read, so the window is closed and the sender waits.
pub(crate) fn window_closed(tcp: &Tcp<'_, '_>) -> Option<Fate> {
    Direction::ALL
        .iter()
        .find_map(|&direction| window_closed_for(tcp, direction))
}

fn window_closed_for(tcp: &Tcp<'_, '_>, direction: Direction) -> Option<Fate> {
    let back = direction.reversed();
    let tallies = || {
        tcp.view
            .seen
            .iter()
            .flat_map(|seen| &seen.conversation.tallies)
    };
    let advertised = tallies().filter(|tally| tally.direction == back);
    let mut closed = 0;
    for tally in advertised {
        if tally.zero_windows > 0 && tally.window == Some(0) {
            closed = closed.max(tally.zero_windows);
        }
    }
    if closed == 0 || tcp.view.any(back, What::Rst) > 0 {
        return None;
    }
    let probes = tallies()
        .filter(|tally| tally.direction == direction)
        .map(|tally| tally.probes)
        .max();
    let sender = tcp.sockets_at(back);
    let persisting = sender.iter().any(|(_, socket)| {
        socket
            .timer
            .is_some_and(|timer| timer.kind == TimerKind::Persist)
            || socket
                .tcp
                .as_ref()
                .is_some_and(|tcp| tcp.notsent.unwrap_or(0) > 0)
    });
    if probes.unwrap_or(0) == 0 && !persisting {
        return None;
    }
    let receiver = tcp.end(direction);
    let mut finding = Finding::new(
        CauseId::ReceiverWindowClosed,
        receiver,
        Point::AppReceive,
        "Recv-Q of the receiving socket (`ss -tn`), and what its program is doing",
    );
    finding.amount = Amount::Exact;
    finding.prediction = Prediction::Certain;
    finding.own_meter = true;
    finding.evidence.push(says(
        capture_meter(tcp, receiver),
        format!(
            "the receiver advertised a window of zero ({})",
            count(u64::from(closed), "time")
        ),
    ));
    if let Some(probes) = probes.filter(|&probes| probes > 0) {
        finding.evidence.push(says(
            capture_meter(tcp, receiver),
            format!(
                "the sender probed the closed window ({})",
                count(u64::from(probes), "probe")
            ),
        ));
    }
    if let Some(host) = receiver {
        unread(tcp, host, direction, &mut finding);
    }
    finding.advice.push(
        "nothing is lost: the receiving program does not read; find out what it waits for"
            .to_owned(),
    );
    let mut fate = Fate::new(Outcome::Stalled, Symptom::WindowClosed);
    fate.settled = Some((finding, chain(tcp, direction)));
    Some(fate)
}

/// G9: the request was acknowledged, and the application does not answer.
pub(crate) fn application_silent(tcp: &Tcp<'_, '_>) -> Option<Fate> {
    let spoke = tcp.view.any(Direction::ToClient, What::Data) > 0;
    let asked = tcp.view.any(Direction::ToServer, What::Data) > 0;
    if tcp.view.any(Direction::ToClient, What::Rst) > 0 || spoke && !asked {
        return None;
    }
    let last = |direction| {
        let tallies = tcp
            .view
            .seen
            .iter()
            .flat_map(|seen| &seen.conversation.tallies);
        tallies
            .filter(|tally| tally.direction == direction)
            .filter_map(|tally| tally.latest_data.map(|note| note.time))
            .max()
    };
    let asked_at = last(Direction::ToServer).or(tcp.view.first())?;
    if last(Direction::ToClient).is_some_and(|answered| answered >= asked_at) {
        return None;
    }
    let until = tcp
        .world
        .evidence
        .window
        .map(|(_, end)| end)
        .or(tcp.view.last())?;
    let closed_by_client = first_fin(tcp, Direction::ToServer);
    if closed_by_client.unwrap_or(until).since(asked_at) < PATIENCE {
        return None;
    }
    // Who was asked nothing and closed in its turn is not silent: the client only knocked.
    if !asked && !spoke && first_fin(tcp, Direction::ToClient).is_some() {
        return None;
    }
    let server = tcp.end(Direction::ToServer)?;
    let mut finding = Finding::new(
        CauseId::ApplicationSilent,
        Some(server),
        Point::AppReceive,
        "Recv-Q of the server's socket, and what its program is doing",
    );
    let unread = unread(tcp, server, Direction::ToServer, &mut finding);
    let unaccepted = unaccepted(tcp, server, asked_at, &mut finding);
    let gave_up = tcp
        .world
        .evidence
        .command
        .as_ref()
        .is_some_and(|run| run.status != Some(0));
    if !unread && !unaccepted {
        // Without a queue to show for it, silence is only a failure where the client took it for one.
        if !gave_up || !asked && spoke {
            return None;
        }
        finding.prediction = Prediction::Certain;
    } else {
        finding.prediction = Prediction::Certain;
        finding.amount = Amount::Exact;
        finding.own_meter = true;
    }
    if asked {
        finding.evidence.push(says(
            tcp.world.meter(server, "capture", ""),
            "the request was acknowledged by the kernel, and nothing was answered",
        ));
    }
    finding.advice.push(
        "this is not packet loss: look at the server's program (is it blocked, or overloaded?)"
            .to_owned(),
    );
    let mut fate = Fate::new(Outcome::Stalled, Symptom::RequestUnanswered);
    fate::processed(tcp.world, tcp.view, server, Direction::ToServer, &mut fate);
    fate.settled = Some((finding, chain(tcp, Direction::ToServer)));
    Some(fate)
}

fn first_fin(tcp: &Tcp<'_, '_>, direction: Direction) -> Option<Timestamp> {
    let tallies = tcp
        .view
        .seen
        .iter()
        .flat_map(|seen| &seen.conversation.tallies);
    tallies
        .filter(|tally| tally.direction == direction)
        .flat_map(|tally| &tally.notes)
        .filter(|note| note.what == What::Fin)
        .map(|note| note.time)
        .min()
}

fn chain(tcp: &Tcp<'_, '_>, direction: Direction) -> Chain {
    tcp.view.chain(tcp.world, direction)
}

fn capture_meter(tcp: &Tcp<'_, '_>, host: Option<usize>) -> String {
    let host = host
        .or(tcp.view.seen.first().map(|seen| seen.host))
        .unwrap_or(0);
    tcp.world.meter(host, "capture", "")
}

/// Bytes that wait in the receiving socket, unread.
fn unread(tcp: &Tcp<'_, '_>, host: usize, direction: Direction, finding: &mut Finding) -> bool {
    let sightings = tcp.sockets_at(direction);
    let waiting = |socket: &&(Timestamp, &Socket)| {
        socket.1.recv_queue > 0 && socket.1.state != Some(SocketState::Listen)
    };
    let Some((_, socket)) = sightings.iter().rev().find(waiting) else {
        return false;
    };
    let edge = HostEdge::new(
        tcp.world.labels[host].clone(),
        Edge::left(Point::ReceiveBuffer),
    );
    finding.evidence.push(bounds_line(
        tcp.world.meter(host, "socket", &listener_name(socket)),
        edge,
        Some(1),
        None,
        format!(
            "{} bytes wait in the receive queue, unread",
            socket.recv_queue
        ),
    ));
    finding.setting = Some(Setting {
        kind: SettingKind::Socket,
        name: listener_name(socket),
        value: format!("Recv-Q {}", socket.recv_queue),
    });
    true
}

/// Connections that wait at the listener, not accepted.
fn unaccepted(tcp: &Tcp<'_, '_>, host: usize, since: Timestamp, finding: &mut Finding) -> bool {
    let tuple = tcp.view.tuple_on(host);
    let local = (tuple.destination.address, tuple.destination.port);
    let peer = (tuple.source.address, tuple.source.port);
    let mut waiting = None;
    for (time, socket) in tcp.world.sockets(host) {
        let listens = socket.protocol == SocketProtocol::Tcp && socket.is_listening();
        if listens && time >= since && socket.accepts(local, peer, None) && socket.recv_queue > 0 {
            waiting = Some(socket);
        }
    }
    // Not accepted: the connection's own socket belongs to no process yet (inode 0).
    let orphan = tcp
        .sockets_at(Direction::ToServer)
        .iter()
        .any(|(_, socket)| {
            socket.inode == Some(0) && socket.state == Some(SocketState::Established)
        });
    let Some(socket) = waiting.filter(|_| orphan) else {
        return false;
    };
    finding.evidence.push(says(
        tcp.world.meter(host, "socket", &listener_name(socket)),
        format!(
            "{} wait to be accepted",
            count(socket.recv_queue, "connection")
        ),
    ));
    finding.setting.get_or_insert(Setting {
        kind: SettingKind::Socket,
        name: listener_name(socket),
        value: format!("{} not accepted", count(socket.recv_queue, "connection")),
    });
    true
}
