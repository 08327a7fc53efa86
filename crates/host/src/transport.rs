//! Everything above IP that is not TCP: UDP, ICMP with its ping sockets, raw and packet sockets.
//!
//! The sockets are of one make ([`Socket`]): they differ in how a packet finds them (`udp`, `raw`) and in how one is sent
//! (`send`).

mod bind;
pub(crate) mod icmp;
mod icmp_input;
mod inquiry;
pub(crate) mod memory;
mod raw;
mod receive;
mod render;
mod send;
mod udp;

use std::collections::VecDeque;
use std::net::IpAddr;

use hashbrown::HashMap;
use transect_config::IpVersion;
use transect_packet::protocol;

use crate::device::DeviceId;
use crate::error_queue::ErrorQueue;
use crate::ip::Route;
use crate::packet::{LINK_HEADER, Packet};
use crate::socket::{Errno, Event, SocketAddress, SocketId, SocketKind, SocketOption};
use crate::stack::Stack;

/// The least receive and send buffer (`SOCK_MIN_RCVBUF`, `SOCK_MIN_SNDBUF`), in bytes.
const LEAST_RECEIVE_BUFFER: u32 = 2304;
const LEAST_SEND_BUFFER: u32 = 4608;

/// A datagram that waits to be read.
#[derive(Debug)]
struct Datagram {
    /// From whom, as the program is told.
    from: SocketAddress,
    packet: Packet,
    /// What the program is given of it, counted from the network header.
    start: usize,
    /// What it costs the receive buffer.
    cost: u64,
    /// Its checksum is verified only when it is read (`udp_recvmsg`).
    unverified: bool,
}

/// A socket that is not TCP's (`struct sock`, `struct inet_sock`).
#[derive(Debug)]
struct Socket {
    id: SocketId,
    kind: SocketKind,
    version: IpVersion,
    /// Bound address; unspecified for any. IPv4 addresses are kept as such in IPv6 sockets, too.
    local: IpAddr,
    /// Bound port; ping: the identifier; raw: 0.
    port: u16,
    /// The address was chosen by `bind`, not by `connect`.
    bound: bool,
    peer: Option<SocketAddress>,
    device: Option<DeviceId>,
    /// `sk_rcvbuf`, `sk_sndbuf`: twice what the program asked for.
    receive_buffer: u32,
    send_buffer: u32,
    /// Bytes that received datagrams, and packets on their way out, hold.
    received: u64,
    sent: u64,
    drops: u64,
    queue: VecDeque<Datagram>,
    error: Option<Errno>,
    error_queue: ErrorQueue,
    /// `IP_RECVERR`
    receive_errors: bool,
    /// `SO_ATTACH_FILTER`: whether it accepts.
    filter: Option<bool>,
    reuse: bool,
    broadcast: bool,
    v6_only: bool,
    mark: u32,
    priority: u32,
    ttl: Option<u8>,
    tos: u8,
    min_ttl: u8,
    /// `IP_MTU_DISCOVER`.
    discover: u8,
    /// IPv4 identification of the next packet, where the socket is connected.
    identification: u16,
    /// … and what its flow label is made from (`sk_txhash`).
    flow_hash: Option<std::num::NonZeroU32>,
    /// A send found no room: the program waits for it.
    wants_room: bool,
    /// The way to the peer, where it was looked up (`sk_dst_cache`); forgotten when anything changes that it depends on.
    route: Option<Route>,
}

/// Sockets other than TCP's.
#[derive(Debug, Default)]
pub(crate) struct Transport {
    /// Never walked through in this order.
    sockets: HashMap<SocketId, Socket>,
    /// By protocol and port (raw: 0), the newest first; never walked through.
    ports: HashMap<u32, Vec<SocketId>>,
}

impl Socket {
    fn new(id: SocketId, kind: SocketKind, version: IpVersion, stack: &mut Stack) -> Self {
        let settings = stack.ip_settings();
        Socket {
            id,
            kind,
            version,
            local: version.unspecified(),
            port: 0,
            bound: false,
            peer: None,
            device: None,
            receive_buffer: settings.rmem.0,
            send_buffer: settings.wmem.0,
            received: 0,
            sent: 0,
            drops: 0,
            queue: VecDeque::new(),
            error: None,
            error_queue: ErrorQueue::default(),
            receive_errors: false,
            filter: None,
            reuse: false,
            broadcast: false,
            v6_only: version == IpVersion::V6 && settings.bind_v6_only,
            mark: 0,
            priority: 0,
            ttl: None,
            tos: 0,
            min_ttl: 0,
            // Discovery on (`IP_PMTUDISC_WANT`), unless the host has it off.
            discover: u8::from(settings.no_pmtu_disc == 0),
            identification: 0,
            flow_hash: None,
            wants_room: false,
            route: None,
        }
    }

    /// The IP protocol; 0 for packet sockets, which have none.
    fn protocol(&self) -> u8 {
        match (self.kind, self.version) {
            (SocketKind::Tcp, _) => protocol::TCP,
            (SocketKind::Udp, _) => protocol::UDP,
            (SocketKind::Icmp, IpVersion::V4) => protocol::ICMP,
            (SocketKind::Icmp, IpVersion::V6) => protocol::ICMPV6,
            (SocketKind::Raw { protocol, .. }, _) => protocol,
            (SocketKind::Packet { .. }, _) => 0,
        }
    }

    /// An address as the program of this socket sees it: IPv4 mapped into IPv6 on an IPv6 socket (RFC 4291 section 2.5.5.2).
    fn shown(&self, address: SocketAddress) -> SocketAddress {
        match (self.version, address.address) {
            (IpVersion::V6, IpAddr::V4(v4)) if v4.is_unspecified() => {
                SocketAddress::new(IpVersion::V6.unspecified(), address.port)
            }
            (IpVersion::V6, IpAddr::V4(v4)) => {
                SocketAddress::new(v4.to_ipv6_mapped(), address.port)
            }
            _ => address,
        }
    }

    /// Whether the socket can have to do with an address of this family.
    fn speaks(&self, version: IpVersion) -> bool {
        self.version == version
            || self.version == IpVersion::V6
                && !self.v6_only
                && (self.local.is_unspecified() || self.local.is_ipv4())
    }

    /// Whether it is of a kind that has a port, and has none yet.
    fn lacks_port(&self) -> bool {
        let has_none = matches!(
            self.kind,
            SocketKind::Raw { .. } | SocketKind::Packet { .. }
        );
        self.port == 0 && !has_none
    }

    fn is_connected(&self) -> bool {
        self.peer.is_some()
    }
}

/// Under which number the sockets of a protocol and port are listed.
fn listing(protocol: u8, port: u16) -> u32 {
    u32::from(protocol) << 16 | u32::from(port)
}

/// A mapped address as the IPv4 address that it means.
fn canonical(address: SocketAddress) -> SocketAddress {
    SocketAddress::new(address.address.to_canonical(), address.port)
}

impl Transport {
    /// How many sockets there are.
    pub(crate) fn held(&self) -> usize {
        self.sockets.len()
    }

    /// `socket(2)`.
    pub(crate) fn open(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        kind: SocketKind,
        version: IpVersion,
    ) {
        let mut socket = Socket::new(id, kind, version, stack);
        if let SocketKind::Raw { .. } = kind {
            self.list(socket.protocol(), 0, id);
        }
        socket.identification = stack.random.u16(..);
        self.sockets.insert(id, socket);
    }

    /// `close(2)`: what was not read is freed.
    pub(crate) fn close(&mut self, stack: &mut Stack, id: SocketId) -> Result<(), Errno> {
        let mut socket = self.sockets.remove(&id).ok_or(Errno::Ebadf)?;
        self.unlist(socket.protocol(), socket.port, id);
        for datagram in socket.queue.drain(..) {
            stack.drop_packet(
                datagram.packet,
                transect_path::Point::ReceiveBuffer,
                crate::drop_reason::DropReason::QueuePurge,
            );
        }
        Ok(())
    }

    /// `SO_ERROR`, taken.
    pub(crate) fn take_error(&mut self, id: SocketId) -> Result<Option<Errno>, Errno> {
        let socket = self.sockets.get_mut(&id).ok_or(Errno::Ebadf)?;
        Ok(socket.error.take())
    }

    /// `getsockname(2)`.
    pub(crate) fn local_address(&self, id: SocketId) -> Result<SocketAddress, Errno> {
        let socket = self.sockets.get(&id).ok_or(Errno::Ebadf)?;
        Ok(socket.shown(SocketAddress::new(socket.local, socket.port)))
    }

    /// `getpeername(2)`.
    pub(crate) fn peer_address(&self, id: SocketId) -> Result<SocketAddress, Errno> {
        let socket = self.sockets.get(&id).ok_or(Errno::Ebadf)?;
        let peer = socket.peer.ok_or(Errno::Enotconn)?;
        Ok(socket.shown(peer))
    }

    /// `setsockopt(2)`.
    pub(crate) fn set_option(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        option: &SocketOption,
    ) -> Result<(), Errno> {
        let socket = self.sockets.get_mut(&id).ok_or(Errno::Ebadf)?;
        let settings = stack.ip_settings();
        socket.route = None;
        match option {
            SocketOption::ReceiveBuffer(bytes) => {
                let asked = (*bytes).min(settings.rmem.1);
                socket.receive_buffer = asked.saturating_mul(2).max(LEAST_RECEIVE_BUFFER);
            }
            SocketOption::SendBuffer(bytes) => {
                let asked = (*bytes).min(settings.wmem.1);
                socket.send_buffer = asked.saturating_mul(2).max(LEAST_SEND_BUFFER);
            }
            SocketOption::ReuseAddress(on) => socket.reuse = *on,
            SocketOption::BindToDevice(name) if name.is_empty() => socket.device = None,
            SocketOption::BindToDevice(name) => {
                socket.device = Some(stack.device_named(name).ok_or(Errno::Enodev)?);
            }
            SocketOption::Mark(mark) => socket.mark = *mark,
            SocketOption::Priority(priority) => socket.priority = *priority,
            SocketOption::Filter(accepts) => socket.filter = Some(*accepts),
            SocketOption::Ttl(ttl) => socket.ttl = Some(*ttl),
            SocketOption::Tos(tos) => socket.tos = *tos,
            SocketOption::MinTtl(ttl) => socket.min_ttl = *ttl,
            SocketOption::MtuDiscover(mode) if *mode <= 5 => socket.discover = *mode,
            SocketOption::MtuDiscover(_) => return Err(Errno::Einval),
            SocketOption::ReceiveErrors(on) => socket.receive_errors = *on,
            SocketOption::V6Only(on) if socket.port == 0 => socket.v6_only = *on,
            SocketOption::V6Only(_) => return Err(Errno::Einval),
            SocketOption::Broadcast(on) => socket.broadcast = *on,
            SocketOption::KeepAlive(_) | SocketOption::Linger(_) => {}
            _ => return Err(Errno::Enoprotoopt),
        }
        Ok(())
    }

    /// Packets of a socket left the host or died: its send buffer has room again (`sock_wfree`).
    pub(crate) fn handle_freed(&mut self, stack: &mut Stack, id: SocketId, bytes: usize) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        let length = bytes.saturating_sub(LINK_HEADER);
        let cost = memory::truesize(length, socket.version);
        socket.sent = socket.sent.saturating_sub(cost);
        if socket.wants_room && socket.sent < u64::from(socket.send_buffer) {
            socket.wants_room = false;
            stack.events.push_back(Event::Writable(id));
        }
    }

    fn list(&mut self, protocol: u8, port: u16, id: SocketId) {
        self.ports
            .entry(listing(protocol, port))
            .or_default()
            .insert(0, id);
    }

    fn unlist(&mut self, protocol: u8, port: u16, id: SocketId) {
        if let Some(listed) = self.ports.get_mut(&listing(protocol, port)) {
            listed.retain(|other| *other != id);
            if listed.is_empty() {
                self.ports.remove(&listing(protocol, port));
            }
        }
    }

    /// The sockets of a protocol and port, the newest first.
    fn listed(&self, protocol: u8, port: u16) -> impl Iterator<Item = &Socket> {
        self.ports
            .get(&listing(protocol, port))
            .into_iter()
            .flatten()
            .filter_map(|id| self.sockets.get(id))
    }
}
