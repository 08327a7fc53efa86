//! Sockets as `ss -H -O -n -e -m -i -o -u -w -a` prints them, one line each.

use std::fmt::Write;
use std::net::IpAddr;

use transect_config::IpVersion;

use crate::socket::{SocketAddress, SocketId, SocketKind};
use crate::stack::Stack;
use crate::transport::{Socket, Transport};

impl Transport {
    /// One line for each raw, UDP and ping socket.
    pub(crate) fn render(&self, stack: &Stack) -> Vec<String> {
        let mut lines: Vec<((u8, SocketId), String)> = self
            .sockets
            .values()
            .filter_map(|socket| {
                let (order, line) = line(socket, stack)?;
                Some(((order, socket.id), line))
            })
            .collect();
        // Raw sockets first, as `ss` asks for them.
        lines.sort_by_key(|(order, _)| *order);
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// How many UDP sockets there are, and how many raw ones (`sockstat`), of one family.
    pub(crate) fn in_use(&self, version: IpVersion) -> (usize, usize) {
        let of = |wanted: fn(SocketKind) -> bool| {
            self.sockets
                .values()
                .filter(|socket| socket.version == version && wanted(socket.kind))
                .count()
        };
        (
            of(|kind| kind == SocketKind::Udp),
            of(|kind| matches!(kind, SocketKind::Raw { .. })),
        )
    }
}

fn line(socket: &Socket, stack: &Stack) -> Option<(u8, String)> {
    let (order, name, port) = match (socket.kind, socket.version) {
        (SocketKind::Raw { protocol, .. }, _) => (0, "raw", u16::from(protocol)),
        (SocketKind::Udp, _) => (1, "udp", socket.port),
        (SocketKind::Icmp, IpVersion::V4) => (2, "icmp", socket.port),
        (SocketKind::Icmp, IpVersion::V6) => (2, "icmp6", socket.port),
        _ => return None,
    };
    // A socket without a port is in no table that `ss` reads.
    if port == 0 {
        return None;
    }
    let state = if socket.is_connected() {
        "ESTAB"
    } else {
        "UNCONN"
    };
    let device = socket
        .device
        .and_then(|id| stack.link.device(id))
        .map(|device| device.name.as_str());
    let local = SocketAddress::new(
        socket.shown(SocketAddress::new(socket.local, 0)).address,
        port,
    );
    let local = endpoint(local, device, socket);
    let peer = match socket.peer {
        Some(peer) => endpoint(socket.shown(peer), None, socket),
        None => endpoint(
            SocketAddress::new(socket.version.unspecified(), 0),
            None,
            socket,
        ),
    };
    let mut text = format!(
        "{name} {state} {} {} {local} {peer} ino:{} sk:{:x}",
        socket.received, socket.sent, socket.id.0, socket.id.0
    );
    if socket.mark != 0 {
        let _ = write!(text, " fwmark:{:#x}", socket.mark);
    }
    if socket.version == IpVersion::V6 && socket.kind == SocketKind::Udp {
        let _ = write!(text, " v6only:{}", u8::from(socket.v6_only));
    }
    let _ = write!(
        text,
        " skmem:(r{},rb{},t{},tb{},f0,w0,o0,bl0,d{})",
        socket.received, socket.receive_buffer, socket.sent, socket.send_buffer, socket.drops
    );
    Some((order, text))
}

/// An end as `ss` writes it: `*` for any address of both families.
fn endpoint(address: SocketAddress, device: Option<&str>, socket: &Socket) -> String {
    let host = match address.address {
        IpAddr::V6(host) if host.is_unspecified() && !socket.v6_only => "*".to_owned(),
        IpAddr::V6(host) => format!("[{host}]"),
        IpAddr::V4(host) => host.to_string(),
    };
    let device = device.map(|name| format!("%{name}")).unwrap_or_default();
    match address.port {
        0 => format!("{host}{device}:*"),
        port => format!("{host}{device}:{port}"),
    }
}
