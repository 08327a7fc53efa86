//! Raw and ping sockets: copies of what arrives, and errors (`raw_v4_input`, `raw_rcv`, `raw_err`; `ipv6_raw_deliver`, `rawv6_rcv`;
//! `ping_rcv`, `ping_err`).

use transect_config::IpVersion;
use transect_packet::protocol;
use transect_path::Point;

use crate::drop_reason::DropReason;
use crate::ip::Received;
use crate::ip::bytes::u16_at;
use crate::packet::Packet;
use crate::socket::{SocketId, SocketKind};
use crate::stack::Stack;
use crate::tcp::IcmpError;
use crate::transport::receive::Arrival;
use crate::transport::{Socket, Transport};

impl Transport {
    /// Gives each raw socket that wants it a copy. True: there was one.
    pub(crate) fn raw_input(
        &mut self,
        stack: &mut Stack,
        received: &Received,
        packet: &Packet,
    ) -> bool {
        let wanting: Vec<SocketId> = self
            .listed(received.protocol, 0)
            .filter(|socket| wants(socket, received))
            .map(|socket| socket.id)
            .collect();
        for id in &wanting {
            let Some(socket) = self.sockets.get_mut(id) else {
                continue;
            };
            if socket.filter == Some(false) {
                socket.drops += 1;
                continue;
            }
            let mut copy = packet.clone();
            copy.owner = None;
            // IPv4's raw sockets see the IP header, IPv6's do not (RFC 3542 section 3).
            let start = match received.version() {
                IpVersion::V4 => 0,
                IpVersion::V6 => received.offset,
            };
            let arrival = Arrival {
                packet: copy,
                from: received.sender(0),
                start,
                unverified: false,
            };
            if let Some(copy) = socket.enqueue(stack, arrival) {
                stack.drop_packet(copy, Point::RawTap, DropReason::SocketRcvbuff);
            }
        }
        !wanting.is_empty()
    }

    /// An ICMP error about something that a raw socket may have sent.
    pub(crate) fn raw_error(&mut self, stack: &mut Stack, error: &IcmpError<'_>, protocol: u8) {
        let sending: Vec<SocketId> = self
            .listed(protocol, 0)
            .filter(|socket| {
                socket.version == error.version()
                    && (socket.local.is_unspecified() || socket.local == error.source)
                    && socket
                        .peer
                        .is_none_or(|peer| peer.address == error.destination)
            })
            .map(|socket| socket.id)
            .collect();
        for id in sending {
            if let Some(socket) = self.sockets.get_mut(&id) {
                socket.told(stack, error);
            }
        }
    }

    /// An echo reply, to the ping socket with its identifier.
    pub(crate) fn ping_input(
        &mut self,
        stack: &mut Stack,
        received: &Received,
        mut packet: Packet,
    ) {
        stack.cross(&mut packet, Point::TransportInput, Point::SocketLookup);
        let identifier = u16_at(packet.network(), received.offset + 4);
        let protocol = received.protocol;
        let found = self
            .listed(protocol, identifier)
            .find(|socket| {
                socket.kind == SocketKind::Icmp
                    && (socket.local.is_unspecified() || socket.local == received.destination)
                    && socket.device.is_none_or(|device| device == received.device)
            })
            .map(|socket| socket.id);
        let Some(socket) = found.and_then(|id| self.sockets.get_mut(&id)) else {
            stack.drop_packet(packet, Point::SocketLookup, DropReason::NoSocket);
            return;
        };
        stack.leave(&mut packet, Point::SocketLookup);
        stack.pass(&mut packet, Point::SocketInput);
        let arrival = Arrival {
            packet,
            from: received.sender(0),
            start: received.offset,
            unverified: false,
        };
        if let Some(packet) = socket.enqueue(stack, arrival) {
            stack.drop_packet(packet, Point::ReceiveBuffer, DropReason::SocketRcvbuff);
        }
    }

    /// An ICMP error about an echo request of a ping socket.
    pub(crate) fn ping_error(&mut self, stack: &mut Stack, error: &IcmpError<'_>) {
        let identifier = u16_at(error.transport, 4);
        let protocol = match error.version() {
            IpVersion::V4 => protocol::ICMP,
            IpVersion::V6 => protocol::ICMPV6,
        };
        let found = self
            .listed(protocol, identifier)
            .find(|socket| socket.kind == SocketKind::Icmp)
            .map(|socket| socket.id);
        if let Some(socket) = found.and_then(|id| self.sockets.get_mut(&id)) {
            socket.told(stack, error);
        }
    }
}

/// Whether a raw socket takes a packet (`raw_v4_match`, `raw_v6_match`).
fn wants(socket: &Socket, received: &Received) -> bool {
    matches!(socket.kind, SocketKind::Raw { .. })
        && socket.version == received.version()
        && (socket.local.is_unspecified() || socket.local == received.destination)
        && socket
            .peer
            .is_none_or(|peer| peer.address == received.source)
        && socket.device.is_none_or(|device| device == received.device)
}
