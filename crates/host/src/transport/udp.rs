//! UDP (RFC 768): what arrives, and errors about what was sent (`__udp4_lib_rcv`, `udp_queue_rcv_one_skb`, `__udp4_lib_err`;
//! `__udp6_lib_rcv`, `__udp6_lib_err`).

use transect_config::IpVersion;
use transect_packet::protocol;
use transect_path::Point;

use crate::counters::UdpCounter;
use crate::device::DeviceId;
use crate::drop_reason::DropReason;
use crate::ip::bytes::{transport_checksum_ok, u16_at};
use crate::ip::{Received, RouteKey, version_of};
use crate::packet::{ChecksumState, LINK_HEADER, Packet};
use crate::socket::{Errno, Event, SocketAddress, SocketId, SocketKind};
use crate::stack::Stack;
use crate::tcp::IcmpError;
use crate::transport::receive::Arrival;
use crate::transport::{Socket, Transport, icmp};

/// Up to this length a checksum is verified at once, behind it when the datagram is read (`CHECKSUM_BREAK`).
const CHECKSUM_BREAK: usize = 76;

impl Transport {
    /// Receiving 13 to 16 of UDP.
    pub(crate) fn udp_input(&mut self, stack: &mut Stack, received: &Received, mut packet: Packet) {
        stack.enter(&mut packet, Point::TransportInput);
        let version = received.version();
        let available = packet.len().saturating_sub(received.offset);
        let length = match usize::from(u16_at(packet.network(), received.offset + 4)) {
            // A jumbogram says 0.
            0 if version == IpVersion::V6 => available,
            length => length,
        };
        if available < 8 || length < 8 || length > available {
            return udp_dies(
                stack,
                packet,
                version,
                Point::TransportInput,
                DropReason::PktTooSmall,
            );
        }
        packet.data.truncate(LINK_HEADER + received.offset + length);
        let checksum = u16_at(packet.network(), received.offset + 6);
        if checksum == 0 {
            if version == IpVersion::V6 {
                // RFC 8200 section 8.1: IPv6 has no datagrams without.
                stack.counters.udp6.count(UdpCounter::InCsumErrors);
                return udp_dies(
                    stack,
                    packet,
                    version,
                    Point::TransportInput,
                    DropReason::UdpCsum,
                );
            }
            packet.checksum = ChecksumState::Verified;
        }
        let unverified = packet.checksum == ChecksumState::None;
        if unverified && length <= CHECKSUM_BREAK && !transport_checksum_ok(&packet, received) {
            return udp_bad_checksum(stack, packet, version);
        }
        let unverified = unverified && length > CHECKSUM_BREAK;
        stack.cross(&mut packet, Point::TransportInput, Point::SocketLookup);
        if received.group {
            return self.udp_group(stack, received, packet, unverified);
        }
        let port = u16_at(packet.network(), received.offset + 2);
        let from = received.sender(u16_at(packet.network(), received.offset));
        let local = SocketAddress::new(received.destination, port);
        let Some(id) = self.find_udp(local, from, Some(received.device)) else {
            if unverified && !transport_checksum_ok(&packet, received) {
                return udp_bad_checksum(stack, packet, version);
            }
            stack.counters.udp(version).count(UdpCounter::NoPorts);
            stack.icmp_port_unreachable(&packet);
            stack.drop_packet(packet, Point::SocketLookup, DropReason::NoSocket);
            return;
        };
        stack.leave(&mut packet, Point::SocketLookup);
        self.udp_to_socket(stack, id, received, packet, unverified);
    }

    /// To every socket that wants it (`__udp4_lib_mcast_deliver`).
    fn udp_group(
        &mut self,
        stack: &mut Stack,
        received: &Received,
        packet: Packet,
        unverified: bool,
    ) {
        let port = u16_at(packet.network(), received.offset + 2);
        let from = received.sender(u16_at(packet.network(), received.offset));
        let local = SocketAddress::new(received.destination, port);
        let wanting: Vec<SocketId> = self
            .listed(protocol::UDP, port)
            .filter(|socket| score(socket, local, from, Some(received.device)).is_some())
            .map(|socket| socket.id)
            .collect();
        if wanting.is_empty() {
            let udp = stack.counters.udp(received.version());
            udp.count(UdpCounter::IgnoredMulti);
            stack.drop_packet(packet, Point::SocketLookup, DropReason::NotSpecified);
            return;
        }
        let (last, others) = wanting.split_at(wanting.len() - 1);
        for id in others {
            let mut copy = packet.clone();
            stack.leave(&mut copy, Point::SocketLookup);
            self.udp_to_socket(stack, *id, received, copy, unverified);
        }
        if let Some(id) = last.first() {
            let mut packet = packet;
            stack.leave(&mut packet, Point::SocketLookup);
            self.udp_to_socket(stack, *id, received, packet, unverified);
        }
    }

    /// `udp_queue_rcv_one_skb`.
    fn udp_to_socket(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        received: &Received,
        mut packet: Packet,
        unverified: bool,
    ) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        let version = received.version();
        stack.enter(&mut packet, Point::SocketInput);
        if let Some(accepts) = socket.filter {
            // A filter sees nothing that is not verified.
            if unverified && !transport_checksum_ok(&packet, received) {
                socket.drops += 1;
                return udp_bad_checksum(stack, packet, version);
            }
            if !accepts {
                socket.drops += 1;
                let point = Point::SocketInput;
                return udp_dies(stack, packet, version, point, DropReason::SocketFilter);
            }
        }
        stack.leave(&mut packet, Point::SocketInput);
        let from = received.sender(u16_at(packet.network(), received.offset));
        let arrival = Arrival {
            packet,
            from,
            start: received.offset + 8,
            unverified: unverified && socket.filter.is_none(),
        };
        if let Some(packet) = socket.enqueue(stack, arrival) {
            stack.counters.udp(version).count(UdpCounter::RcvbufErrors);
            let point = Point::ReceiveBuffer;
            udp_dies(stack, packet, version, point, DropReason::SocketRcvbuff);
        }
    }

    /// The socket for a datagram (`__udp4_lib_lookup`): first those bound to the address, then those bound to any.
    fn find_udp(
        &self,
        local: SocketAddress,
        from: SocketAddress,
        device: Option<DeviceId>,
    ) -> Option<SocketId> {
        let mut best: Option<((bool, u32), SocketId)> = None;
        for socket in self.listed(protocol::UDP, local.port) {
            // Of equals the newest, which comes first.
            if let Some(score) = score(socket, local, from, device) {
                let rank = (!socket.local.is_unspecified(), score);
                if best.is_none_or(|(other, _)| rank > other) {
                    best = Some((rank, socket.id));
                }
            }
        }
        best.map(|(_, id)| id)
    }

    /// An ICMP error about a datagram. False: no socket sent it.
    pub(crate) fn udp_error(&mut self, stack: &mut Stack, error: &IcmpError<'_>) -> bool {
        let local = SocketAddress::new(error.source, u16_at(error.transport, 0));
        let peer = SocketAddress::new(error.destination, u16_at(error.transport, 2));
        let Some(id) = self.find_udp(local, peer, error.device) else {
            return false;
        };
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.told(stack, error);
        }
        true
    }
}

impl Socket {
    /// What an ICMP error does to a datagram socket: the path MTU, and an error for a connected one if it is a hard one,
    /// or for any that has asked for it.
    pub(super) fn told(&mut self, stack: &mut Stack, error: &IcmpError<'_>) {
        let Some((errno, hard)) = meaning(error) else {
            return;
        };
        let mut hard = hard;
        if errno == Errno::Emsgsize {
            let key = RouteKey {
                destination: error.destination,
                source: Some(error.source),
                device: self.device,
                mark: self.mark,
                tos: self.tos & 0x1e,
            };
            stack.update_path_mtu(&key, error.mtu);
            hard = self.discover != 0;
            if !hard && error.version() == IpVersion::V4 {
                return;
            }
        }
        if self.receive_errors {
            // UDP's header is not told (`udp_err`), raw and ping sockets' is (`raw_err`, `ping_err`).
            let (port, from) = match self.kind {
                SocketKind::Udp => (u16_at(error.transport, 2), 8),
                _ => (0, 0),
            };
            let queued = error.queued(errno, port, from);
            self.error_queue
                .push(queued, u64::from(self.receive_buffer));
        }
        if self.receive_errors || hard && self.is_connected() {
            self.error = Some(errno);
            stack.events.push_back(Event::Failed(self.id));
        }
    }
}

/// Which error an ICMP message means for a socket, and whether it is a hard one (`icmp_err_convert`, `icmpv6_err_convert`).
pub(super) fn meaning(error: &IcmpError<'_>) -> Option<(Errno, bool)> {
    Some(match (error.version(), error.kind, error.code) {
        (IpVersion::V4, icmp::TIME_EXCEEDED, _) => (Errno::Ehostunreach, false),
        (IpVersion::V4, icmp::PARAMETER_PROBLEM, _) => (Errno::Eproto, true),
        (IpVersion::V4, icmp::DESTINATION_UNREACHABLE, code) => match code {
            0 | 11 => (Errno::Enetunreach, false),
            1 | 12 => (Errno::Ehostunreach, false),
            2 => (Errno::Enoprotoopt, true),
            3 => (Errno::Econnrefused, true),
            4 => (Errno::Emsgsize, false),
            5 => (Errno::Eopnotsupp, false),
            6 | 9 => (Errno::Enetunreach, true),
            7 => (Errno::Ehostdown, true),
            8 => (Errno::Enonet, true),
            10 | 13..=15 => (Errno::Ehostunreach, true),
            _ => (Errno::Ehostunreach, false),
        },
        (IpVersion::V4, ..) => return None,
        (IpVersion::V6, icmp::V6_DESTINATION_UNREACHABLE, code) => match code {
            icmp::V6_NO_ROUTE => (Errno::Enetunreach, false),
            icmp::V6_PROHIBITED | 5 | 6 => (Errno::Eacces, true),
            icmp::V6_PORT_UNREACHABLE => (Errno::Econnrefused, true),
            2 | 3 => (Errno::Ehostunreach, false),
            _ => (Errno::Eproto, true),
        },
        (IpVersion::V6, icmp::V6_PACKET_TOO_BIG, _) => (Errno::Emsgsize, false),
        (IpVersion::V6, icmp::V6_PARAMETER_PROBLEM, _) => (Errno::Eproto, true),
        (IpVersion::V6, icmp::V6_TIME_EXCEEDED, _) => (Errno::Ehostunreach, false),
        (IpVersion::V6, ..) => (Errno::Eproto, false),
    })
}

/// How well a socket fits a datagram; nothing: not at all (`compute_score`).
fn score(
    socket: &Socket,
    local: SocketAddress,
    from: SocketAddress,
    device: Option<DeviceId>,
) -> Option<u32> {
    let version = version_of(local.address);
    if socket.kind != SocketKind::Udp || !socket.speaks(version) {
        return None;
    }
    let mut score = if socket.version == version { 2 } else { 1 };
    if !socket.local.is_unspecified() && socket.local != local.address {
        return None;
    }
    if let Some(peer) = socket.peer {
        if peer != from {
            return None;
        }
        score += 8;
    }
    if let Some(own) = socket.device {
        if device.is_some_and(|device| device != own) {
            return None;
        }
        score += 4;
    }
    Some(score)
}

#[cold]
fn udp_bad_checksum(stack: &mut Stack, packet: Packet, version: IpVersion) {
    stack.counters.udp(version).count(UdpCounter::InCsumErrors);
    udp_dies(
        stack,
        packet,
        version,
        Point::TransportInput,
        DropReason::UdpCsum,
    );
}

#[cold]
fn udp_dies(
    stack: &mut Stack,
    packet: Packet,
    version: IpVersion,
    point: Point,
    reason: DropReason,
) {
    stack.counters.udp(version).count(UdpCounter::InErrors);
    stack.drop_packet(packet, point, reason);
}
