//! The listening socket to which a SYN would go, over time. Shared by the causes of the handshake.

use transect_config::{Socket, SocketProtocol};
use transect_path::{Direction, What};

use crate::case::Case;

/// A listener as the readings saw it.
pub(crate) struct Listener {
    /// `tcp 0.0.0.0:80`, as ss shows it.
    pub(crate) name: String,
    /// The longest its accept queue was seen.
    pub(crate) waiting: u64,
    /// How long it may be.
    pub(crate) limit: u64,
    /// By how much its own drop count rose.
    pub(crate) drops: Option<u64>,
}

/// Whether the lost packets belong to a TCP handshake, on their way to a listener.
pub(crate) fn concerns(case: &Case<'_>) -> bool {
    case.is_tcp()
        && case.suspicion.direction == Direction::ToServer
        && matches!(case.suspicion.what, What::Syn | What::Ack)
}

impl Listener {
    /// The listener for the flow's destination on a host, if one was ever seen.
    pub(crate) fn of(case: &Case<'_>, host: usize) -> Option<Listener> {
        let tuple = case.tuple_at(host);
        let local = (tuple.destination.address, tuple.destination.port);
        let peer = (tuple.source.address, tuple.source.port);
        let window = case.suspicion.window;
        let mut seen: Option<&Socket> = None;
        let (mut waiting, mut limit) = (0, 0);
        let (mut before, mut after) = (None, None);
        for (time, socket) in case.world.sockets(host) {
            let fits = socket.protocol == SocketProtocol::Tcp
                && socket.is_listening()
                && socket.accepts(local, peer, case.input(host));
            if !fits {
                continue;
            }
            seen = Some(socket);
            if socket.recv_queue >= waiting {
                (waiting, limit) = (socket.recv_queue, socket.send_queue);
            }
            let timed = time != transect_path::Timestamp::MIN;
            if before.is_none() || timed && time <= window.from {
                before = socket.dropped();
            }
            after = socket.dropped();
        }
        let socket = seen?;
        Some(Listener {
            name: name(socket),
            waiting,
            limit,
            drops: after
                .zip(before)
                .and_then(|(after, before)| after.checked_sub(before)),
        })
    }

    /// Whether the queue was seen at its limit: the kernel accepts one more than the limit (`sk_acceptq_is_full`).
    pub(crate) fn was_full(&self) -> bool {
        self.waiting > self.limit
    }
}

/// A socket as ss shows it: `tcp 0.0.0.0:80`.
pub(crate) fn name(socket: &Socket) -> String {
    let address = match socket.local.address {
        Some(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        Some(address) => address.to_string(),
        None => "*".to_owned(),
    };
    let port = socket
        .local
        .port
        .map_or_else(|| "*".to_owned(), |port| port.to_string());
    let device = socket
        .interface
        .as_deref()
        .map(|device| format!("%{device}"))
        .unwrap_or_default();
    format!("{} {address}{device}:{port}", socket.protocol)
}
