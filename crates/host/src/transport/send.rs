//! Sending of datagram sockets (`udp_sendmsg`, `udpv6_sendmsg`, `ping_v4_sendmsg`, `raw_sendmsg`, `rawv6_sendmsg`, `packet_snd`).

use std::net::IpAddr;

use transect_config::IpVersion;
use transect_packet::protocol;

use crate::counters::{IpCounter, UdpCounter};
use crate::error_queue::{ErrorOrigin, QueuedError};
use crate::ip::bytes::{
    IPV4_HEADER, IPV6_HEADER, finish_ipv4_header, fold, ipv4_at, ipv4_header_length, ones_sum,
    pseudo_header, put, u16_at,
};
use crate::ip::{FlowHash, Outgoing, Route, version_of};
use crate::packet::{ChecksumState, LINK_HEADER, Packet};
use crate::socket::{Errno, SocketAddress, SocketId, SocketKind};
use crate::stack::Stack;
use crate::transport::memory::truesize;
use crate::transport::{Socket, Transport, canonical, icmp};

/// The longest datagram's payload (`udp_sendmsg`: 0xFFFF), in bytes.
const MAX_DATAGRAM: usize = 65_535;

impl Transport {
    /// `sendto(2)`, `send(2)`: how many bytes went.
    pub(crate) fn send_to(
        &mut self,
        stack: &mut Stack,
        id: SocketId,
        bytes: &[u8],
        to: Option<SocketAddress>,
    ) -> Result<usize, Errno> {
        let socket = self.sockets.get_mut(&id).ok_or(Errno::Ebadf)?;
        if let SocketKind::Packet { bypass } = socket.kind {
            return socket.send_frame(stack, bytes, bypass);
        }
        if bytes.len() > MAX_DATAGRAM {
            return Err(Errno::Emsgsize);
        }
        let named = to.is_some();
        let to = match to.map(canonical) {
            Some(to) if !socket.speaks(version_of(to.address)) => {
                return Err(Errno::Eafnosupport);
            }
            Some(to) => to,
            None => socket.peer.ok_or(Errno::Edestaddrreq)?,
        };
        if socket.kind == SocketKind::Udp && to.port == 0 {
            return Err(Errno::Einval);
        }
        let socket = match socket.lacks_port() {
            true => {
                self.autobind(stack, id)?;
                self.sockets.get_mut(&id).ok_or(Errno::Ebadf)?
            }
            false => socket,
        };
        let route = match named {
            true => socket.route_to(stack, to.address)?,
            false => socket.route_to_peer(stack, to.address)?,
        };
        if socket.kind == SocketKind::Udp {
            // Before a pending error is looked at (`__ip_append_data`).
            socket.check_length(&route, to.port, 8 + bytes.len())?;
        }
        socket.room()?;
        match socket.kind {
            SocketKind::Udp => socket.send_udp(stack, &route, to.port, bytes)?,
            SocketKind::Icmp => socket.send_ping(stack, &route, bytes)?,
            SocketKind::Raw {
                header_included: true,
                ..
            } => socket.send_whole(stack, &route, bytes)?,
            SocketKind::Raw { protocol, .. } => socket.send_raw(stack, &route, protocol, bytes)?,
            SocketKind::Tcp | SocketKind::Packet { .. } => return Err(Errno::Eopnotsupp),
        }
        Ok(bytes.len())
    }
}

impl Socket {
    /// A pending error is told first; then there must be room (`sock_alloc_send_pskb`).
    fn room(&mut self) -> Result<(), Errno> {
        if let Some(errno) = self.error.take() {
            return Err(errno);
        }
        if self.sent >= u64::from(self.send_buffer) {
            self.wants_room = true;
            return Err(Errno::Eagain);
        }
        Ok(())
    }

    /// What no packet can carry is refused, and what would have to be fragmented where it must not be.
    fn check_length(&mut self, route: &Route, port: u16, payload: usize) -> Result<(), Errno> {
        let (header, longest) = match version_of(route.destination) {
            IpVersion::V4 => (IPV4_HEADER, MAX_DATAGRAM),
            IpVersion::V6 => (IPV6_HEADER, MAX_DATAGRAM + IPV6_HEADER),
        };
        let length = header + payload;
        let insists = matches!(self.discover, 2 | 3);
        if length > longest || insists && length > route.mtu as usize {
            self.tell_mtu(route, port);
            return Err(Errno::Emsgsize);
        }
        Ok(())
    }

    /// Who asked for errors is told how much would have been taken (`ip_local_error`, `ipv6_local_error`).
    /// Over IPv4 the port is the connected peer's, over IPv6 that of this datagram.
    fn tell_mtu(&mut self, route: &Route, port: u16) {
        if !self.receive_errors {
            return;
        }
        let port = match version_of(route.destination) {
            IpVersion::V4 => self.peer.map_or(0, |peer| peer.port),
            IpVersion::V6 => port,
        };
        let told = QueuedError {
            errno: Some(Errno::Emsgsize),
            origin: ErrorOrigin::Local,
            kind: (0, 0),
            info: route.mtu,
            data: 0,
            time: None,
            destination: Some(SocketAddress::new(route.destination, port)),
            offender: None,
            payload: Vec::new(),
        };
        self.error_queue.push(told, u64::from(self.receive_buffer));
    }

    /// A transport header and its payload, through IP. The errors of IP count as discards (`ip_send_skb`, `ip6_send_skb`).
    fn send_through_ip(
        &mut self,
        stack: &mut Stack,
        route: &Route,
        header: &[u8],
        payload: &[u8],
        checksum: ChecksumState,
    ) -> Result<(), Errno> {
        let version = version_of(route.destination);
        let ip_header = match version {
            IpVersion::V4 => IPV4_HEADER,
            IpVersion::V6 => IPV6_HEADER,
        };
        // Only what has no ports can fail here: UDP has asked before.
        self.check_length(route, 0, header.len() + payload.len())?;
        let length = ip_header + header.len() + payload.len();
        let insists = matches!(self.discover, 2 | 3);
        let fits = length <= route.mtu as usize;
        let discovers = self.discover == 1 && !route.mtu_locked;
        let identification = self.is_connected().then_some(self.identification);
        if self.is_connected() {
            self.identification = self.identification.wrapping_add(1);
        }
        let out = Outgoing {
            source: route.source,
            destination: route.destination,
            protocol: self.protocol(),
            ttl: self.ttl,
            tos: self.tos,
            flow_hash: FlowHash::of(self.flow_hash),
            identification,
            dont_fragment: insists || discovers && fits,
            may_fragment: !insists,
            mark: self.mark,
            priority: self.priority,
            header,
            payload: [payload, &[]],
            checksum,
            segmentation: None,
            owner: Some(self.id),
            route,
        };
        // Given back when the packet is freed, which may be before the call returns.
        self.sent += truesize(length, self.version);
        let sent = stack.ip_output(&out);
        if sent.is_err() {
            stack.count_ip(version, IpCounter::OutDiscards);
        }
        sent
    }

    fn send_udp(
        &mut self,
        stack: &mut Stack,
        route: &Route,
        port: u16,
        payload: &[u8],
    ) -> Result<(), Errno> {
        let version = version_of(route.destination);
        let length = 8 + payload.len();
        let mut header = [0; 8];
        put(&mut header, 0, &self.port.to_be_bytes());
        put(&mut header, 2, &port.to_be_bytes());
        put(&mut header, 4, &(length as u16).to_be_bytes());
        let pseudo = pseudo_header(route.source, route.destination, protocol::UDP, length);
        let device = stack.link.device(route.device);
        let offload = device.is_some_and(|device| device.features.tx_checksum);
        let whole = length + IPV4_HEADER <= route.mtu as usize;
        let checksum = if offload && whole && !route.group {
            put(&mut header, 6, &fold(pseudo).to_be_bytes());
            ChecksumState::Partial
        } else {
            let header_sum = u32::from(self.port) + u32::from(port) + length as u32;
            let sum = !fold(ones_sum(pseudo + header_sum, payload));
            // 0 would mean "none" (RFC 768).
            let sum = if sum == 0 { 0xffff } else { sum };
            put(&mut header, 6, &sum.to_be_bytes());
            ChecksumState::None
        };
        let sent = self.send_through_ip(stack, route, &header, payload, checksum);
        let udp = stack.counters.udp(version);
        match sent {
            Ok(()) => udp.count(UdpCounter::OutDatagrams),
            // The queue was full: the program is not told (`udp_send_skb`).
            Err(Errno::Enobufs) => udp.count(UdpCounter::SndbufErrors),
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    /// The program writes an echo request; identifier and checksum are the socket's.
    fn send_ping(&mut self, stack: &mut Stack, route: &Route, bytes: &[u8]) -> Result<(), Errno> {
        let version = version_of(route.destination);
        let request = match version {
            IpVersion::V4 => icmp::ECHO,
            IpVersion::V6 => icmp::V6_ECHO,
        };
        let (Some(head), Some(body)) = (bytes.get(..8), bytes.get(8..)) else {
            return Err(Errno::Einval);
        };
        let mut header = [0; 8];
        put(&mut header, 0, head);
        if header[0] != request || header[1] != 0 {
            return Err(Errno::Einval);
        }
        put(&mut header, 2, &[0, 0]);
        put(&mut header, 4, &self.port.to_be_bytes());
        let pseudo = match version {
            IpVersion::V4 => 0,
            IpVersion::V6 => pseudo_header(
                route.source,
                route.destination,
                protocol::ICMPV6,
                bytes.len(),
            ),
        };
        let sum = !fold(ones_sum(ones_sum(pseudo, &header), body));
        put(&mut header, 2, &sum.to_be_bytes());
        stack.count_icmp_out(version, request);
        self.send_through_ip(stack, route, &header, body, ChecksumState::None)
            .or_else(unless_full)
    }

    /// A raw socket's packet; the host writes the IP header.
    fn send_raw(
        &mut self,
        stack: &mut Stack,
        route: &Route,
        protocol: u8,
        bytes: &[u8],
    ) -> Result<(), Errno> {
        let version = version_of(route.destination);
        let is_icmp = match version {
            IpVersion::V4 => protocol == protocol::ICMP,
            IpVersion::V6 => protocol == protocol::ICMPV6,
        };
        if let (true, Some(kind)) = (is_icmp, bytes.first()) {
            stack.count_icmp_out(version, *kind);
        }
        // ICMPv6's checksum is the host's business (RFC 3542 section 3.1).
        let mut filled;
        let bytes = if is_icmp && version == IpVersion::V6 && bytes.len() >= 4 {
            filled = bytes.to_vec();
            put(&mut filled, 2, &[0, 0]);
            let pseudo = pseudo_header(route.source, route.destination, protocol, filled.len());
            let sum = !fold(ones_sum(pseudo, &filled));
            put(&mut filled, 2, &sum.to_be_bytes());
            filled.as_slice()
        } else {
            bytes
        };
        self.send_through_ip(stack, route, &[], bytes, ChecksumState::None)
            .or_else(unless_full)
    }

    /// A raw socket's packet with its own IP header (`raw_send_hdrinc`, `rawv6_send_hdrinc`): it does not count in IPv4's
    /// OutRequests.
    fn send_whole(&mut self, stack: &mut Stack, route: &Route, bytes: &[u8]) -> Result<(), Errno> {
        let version = version_of(route.destination);
        if bytes.len() > route.mtu as usize {
            return Err(Errno::Emsgsize);
        }
        let mut whole = bytes.to_vec();
        match version {
            IpVersion::V4 => complete_ipv4(stack, route, &mut whole)?,
            IpVersion::V6 if whole.len() < IPV6_HEADER => return Err(Errno::Einval),
            IpVersion::V6 => {}
        }
        self.sent += truesize(whole.len(), self.version);
        let mut packet = Packet::outgoing(version, &whole, stack.now);
        packet.mark = self.mark;
        packet.priority = self.priority;
        packet.owner = Some(self.id);
        let sent = stack.ip_output_whole(packet, route, version == IpVersion::V6);
        if sent.is_err() {
            stack.count_ip(version, IpCounter::OutDiscards);
        }
        sent.or_else(unless_full)
    }

    /// A packet socket's frame, from its link header on (`packet_snd`).
    fn send_frame(
        &mut self,
        stack: &mut Stack,
        frame: &[u8],
        bypass: bool,
    ) -> Result<usize, Errno> {
        let id = self.device.ok_or(Errno::Enxio)?;
        let device = stack.link.device(id).ok_or(Errno::Enxio)?;
        if !device.up {
            return Err(Errno::Enetdown);
        }
        if frame.len() < LINK_HEADER {
            return Err(Errno::Einval);
        }
        if frame.len() > device.mtu as usize + LINK_HEADER {
            return Err(Errno::Emsgsize);
        }
        if let Some(errno) = self.error.take() {
            return Err(errno);
        }
        let mut packet = Packet::from_frame(frame.to_vec());
        packet.packet_type = transect_packet::PacketType::Outgoing;
        packet.time = stack.now;
        packet.out_device = Some(id);
        packet.mark = self.mark;
        packet.priority = self.priority;
        stack.begin_journey(&mut packet);
        stack.pass(&mut packet, transect_path::Point::AppSend);
        stack.frame_output(packet, bypass)?;
        Ok(frame.len())
    }
}

/// What IPv4 fills in where the program left it empty, and what it always writes.
fn complete_ipv4(stack: &mut Stack, route: &Route, whole: &mut [u8]) -> Result<(), Errno> {
    let header = ipv4_header_length(whole);
    if whole.len() < IPV4_HEADER || header > whole.len() {
        return Err(Errno::Einval);
    }
    if header < IPV4_HEADER {
        return Ok(());
    }
    if ipv4_at(whole, 12).is_unspecified()
        && let IpAddr::V4(source) = route.source
    {
        put(whole, 12, &source.octets());
    }
    let length = whole.len() as u16;
    put(whole, 2, &length.to_be_bytes());
    if u16_at(whole, 4) == 0 {
        let number = if u16_at(whole, 6) & 0x4000 != 0 {
            0
        } else {
            stack.random.u16(..)
        };
        put(whole, 4, &number.to_be_bytes());
    }
    finish_ipv4_header(whole);
    if whole.get(9) == Some(&protocol::ICMP)
        && whole.len() >= header + 8
        && let Some(kind) = whole.get(header).copied()
    {
        stack.count_icmp_out(IpVersion::V4, kind);
    }
    Ok(())
}

/// A full queue is no error for who has not asked for errors (`IP_RECVERR`).
fn unless_full(errno: Errno) -> Result<(), Errno> {
    match errno {
        Errno::Enobufs => Ok(()),
        other => Err(other),
    }
}
