//! Receiving 8 to 10: the header's checks, PRE_ROUTING, the route (`ip_rcv_core`, `ip_rcv_finish_core`, `ip_error`; `ip6_rcv_core`,
//! `ip6_rcv_finish`, `ip6_pkt_drop`).

use std::net::IpAddr;

use transect_config::IpVersion;
use transect_packet::PacketType;
use transect_path::Point;
use transect_walk::routing::MartianSource;

use crate::counters::{IpCounter, TcpExtCounter};
use crate::device::DeviceId;
use crate::drop_reason::DropReason;
use crate::hooks::{Passed, PreRouting};
use crate::host::Host;
use crate::ip::bytes::{
    IPV4_HEADER, IPV6_HEADER, addresses, fold, ipv4_header_length, ipv4_header_sum, ipv6_at,
    ones_sum, tos, u16_at,
};
use crate::ip::options;
use crate::ip::route::{InputKey, InputRoute};
use crate::packet::{LINK_HEADER, Packet};
use crate::stack::Stack;
use crate::transport::icmp::{self, Target};

impl Host {
    /// Receiving 8 to 12, then to the transports; or forwarded.
    pub(crate) fn ip_input(&mut self, mut packet: Packet) {
        self.stack.enter(&mut packet, Point::IpInput);
        let received = match packet.version() {
            Some(IpVersion::V4) => self.stack.receive_ipv4(packet),
            Some(IpVersion::V6) => self.stack.receive_ipv6(packet),
            None => {
                // The link layer hands up nothing else.
                self.stack
                    .drop_packet(packet, Point::IpInput, DropReason::UnhandledProto);
                return;
            }
        };
        let Some(mut packet) = received else {
            return;
        };
        self.stack.leave(&mut packet, Point::IpInput);
        // Whoever was stopped there is freed and counted.
        if let Ok(passed) = self.stack.run_hook::<PreRouting>(packet) {
            self.route_received(passed);
        }
    }

    /// Receiving 10: local, forward, or an error.
    fn route_received(&mut self, mut passed: Passed<PreRouting>) {
        let packet = passed.packet_mut();
        self.stack.enter(packet, Point::RouteInput);
        let (source, destination) = addresses(packet.network());
        let key = InputKey {
            source,
            destination,
            device: packet.in_device.unwrap_or(DeviceId::LOOPBACK),
            mark: packet.mark,
            tos: tos(packet.network()),
        };
        let route = match packet.packet_type {
            // This host's own broadcast keeps the route that it was sent by.
            PacketType::Outgoing => InputRoute::Local { group: true },
            _ => self.stack.route_input(&key),
        };
        self.stack.count_group(packet, route, destination);
        if let Some(option) = options::problem(packet.network()) {
            let packet = passed.into_packet();
            self.stack.refuse_options(packet, option);
            return;
        }
        match route {
            InputRoute::Local { group } => {
                self.stack.leave(packet, Point::RouteInput);
                self.deliver(passed, group);
            }
            InputRoute::Forward {
                device,
                next_hop,
                mtu,
            } => {
                self.stack.leave(packet, Point::RouteInput);
                packet.out_device = Some(device);
                packet.next_hop = Some(next_hop);
                packet.mtu = mtu;
                self.stack.forward(passed);
            }
            refused => {
                let packet = passed.into_packet();
                self.stack.refuse_route(packet, refused);
            }
        }
    }
}

impl Stack {
    /// `ip_rcv_core`, in its order. Nothing: the packet died.
    fn receive_ipv4(&mut self, packet: Packet) -> Option<Packet> {
        let counters = &mut self.counters.ip4;
        counters.count(IpCounter::InReceives);
        counters.add(IpCounter::InOctets, packet.len() as u64);
        self.check_ipv4(packet, Point::IpInput)
    }

    /// The header's checks; what is bridged (`br_validate_ipv4`) meets them at PRE_ROUTING, and is counted only where it fails.
    pub(crate) fn check_ipv4(&mut self, packet: Packet, point: Point) -> Option<Packet> {
        let bytes = packet.network();
        let length = bytes.len();
        let first = bytes.first().copied().unwrap_or_default();
        let header = ipv4_header_length(bytes);
        if length < IPV4_HEADER || header < IPV4_HEADER || first >> 4 != 4 {
            return self.bad_header(packet, IpVersion::V4, point, DropReason::IpInhdr);
        }
        if point == Point::IpInput {
            let segments = packet.segmentation.map_or(1, |gso| gso.segments.max(1));
            let counter = ecn_counter(bytes.get(1).copied().unwrap_or_default());
            self.counters.ip4.add(counter, u64::from(segments));
        }
        let Some(head) = bytes.get(..header) else {
            return self.bad_header(packet, IpVersion::V4, point, DropReason::IpInhdr);
        };
        let sum = match head.try_into() {
            Ok(head) => ipv4_header_sum(head),
            // With options.
            Err(_) => fold(ones_sum(0, head)),
        };
        if sum != 0xffff {
            self.counters.ip4.count(IpCounter::InCsumErrors);
            return self.bad_header(packet, IpVersion::V4, point, DropReason::IpCsum);
        }
        let total = usize::from(u16_at(bytes, 2));
        if length < total {
            self.counters.ip4.count(IpCounter::InTruncatedPkts);
            self.drop_packet(packet, point, DropReason::PktTooSmall);
            return None;
        }
        if total < header {
            return self.bad_header(packet, IpVersion::V4, point, DropReason::IpInhdr);
        }
        Some(trimmed(packet, total))
    }

    /// `ip6_rcv_core`, in its order.
    fn receive_ipv6(&mut self, packet: Packet) -> Option<Packet> {
        let length = packet.len();
        let segments = packet.segmentation.map_or(1, |gso| gso.segments.max(1));
        let counters = &mut self.counters.ip6;
        counters.count(IpCounter::InReceives);
        counters.add(IpCounter::InOctets, length as u64);
        if self.ipv6_disabled(packet.in_device) {
            self.counters.ip6.count(IpCounter::InDiscards);
            self.drop_packet(packet, Point::IpInput, DropReason::Ipv6disabled);
            return None;
        }
        let bytes = packet.network();
        if length < IPV6_HEADER {
            return self.bad_header(packet, IpVersion::V6, Point::IpInput, DropReason::IpInhdr);
        }
        if bytes.first().is_none_or(|first| first >> 4 != 6) {
            return self.bad_header(
                packet,
                IpVersion::V6,
                Point::IpInput,
                DropReason::UnhandledProto,
            );
        }
        let class = tos(bytes);
        self.counters
            .ip6
            .add(ecn_counter(class), u64::from(segments));
        let (source, destination) = (ipv6_at(bytes, 8), ipv6_at(bytes, 24));
        let from_loopback = packet.in_device == Some(DeviceId::LOOPBACK);
        let scope = destination.octets()[1] & 0x0f;
        if !from_loopback && (source.is_loopback() || destination.is_loopback())
            || destination.is_multicast() && (scope == 0 || scope == 1 && !from_loopback)
            || source.is_multicast()
        {
            return self.bad_header(packet, IpVersion::V6, Point::IpInput, DropReason::IpInhdr);
        }
        let packet = self.check_ipv6(packet, Point::IpInput)?;
        if packet.network().get(6).copied() == Some(0) {
            return self.receive_options(packet, IPV6_HEADER, Point::IpInput);
        }
        Some(packet)
    }

    /// The header's checks of version and length; what is bridged (`br_validate_ipv6`) meets them at PRE_ROUTING.
    pub(crate) fn check_ipv6(&mut self, packet: Packet, point: Point) -> Option<Packet> {
        let bytes = packet.network();
        let length = bytes.len();
        if length < IPV6_HEADER || bytes.first().is_none_or(|first| first >> 4 != 6) {
            return self.bad_header(packet, IpVersion::V6, point, DropReason::IpInhdr);
        }
        let payload = usize::from(u16_at(bytes, 4));
        if payload == 0 && bytes.get(6).copied() == Some(0) {
            // A jumbogram: longer than any packet here can be.
            return self.bad_header(packet, IpVersion::V6, point, DropReason::IpInhdr);
        }
        if payload + IPV6_HEADER > length {
            self.counters.ip6.count(IpCounter::InTruncatedPkts);
            self.drop_packet(packet, point, DropReason::PktTooSmall);
            return None;
        }
        Some(trimmed(packet, payload + IPV6_HEADER))
    }

    fn ipv6_disabled(&self, device: Option<DeviceId>) -> bool {
        // One that nothing was said about is on.
        let sysctls = &self.config.sysctls;
        let device = device.and_then(|id| self.link.device(id));
        device.is_some_and(|device| sysctls.disable_ipv6(&device.name) == Some(true))
    }

    #[cold]
    fn bad_header(
        &mut self,
        packet: Packet,
        version: IpVersion,
        point: Point,
        reason: DropReason,
    ) -> Option<Packet> {
        self.count_ip(version, IpCounter::InHdrErrors);
        self.drop_packet(packet, point, reason);
        None
    }

    /// Broadcast and multicast are counted once the route is known (`ip_rcv_finish_core`, `ip6_mc_input`).
    fn count_group(&mut self, packet: &Packet, route: InputRoute, destination: IpAddr) {
        let length = packet.len() as u64;
        let (packets, octets) = match route {
            InputRoute::Local { group: true } | InputRoute::OtherGroup
                if destination.is_multicast() =>
            {
                if destination.is_ipv4() && route == InputRoute::OtherGroup {
                    return;
                }
                (IpCounter::InMcastPkts, IpCounter::InMcastOctets)
            }
            InputRoute::Local { group: true } => (IpCounter::InBcastPkts, IpCounter::InBcastOctets),
            _ => return,
        };
        let counters = self.counters.ip(crate::ip::version_of(destination));
        counters.count(packets);
        counters.add(octets, length);
    }

    /// What route_input refuses (`ip_error`, `ip_route_input_slow`; `ip6_pkt_drop`, `ip6_forward`).
    #[cold]
    fn refuse_route(&mut self, packet: Packet, route: InputRoute) {
        let statistics = &mut self.ip.statistics;
        let statistic = match route {
            InputRoute::NotLocal | InputRoute::NoRoute => Some(&mut statistics.in_no_route),
            InputRoute::MartianSource(_) => Some(&mut statistics.in_martian_src),
            InputRoute::MartianDestination => Some(&mut statistics.in_martian_dst),
            _ => None,
        };
        if let Some(statistic) = statistic.filter(|_| packet.version() == Some(IpVersion::V4)) {
            *statistic = statistic.wrapping_add(1);
        }
        let version = packet.version().unwrap_or(IpVersion::V4);
        let v4 = version == IpVersion::V4;
        let mut reason = DropReason::NotSpecified;
        match route {
            InputRoute::NotLocal => {
                self.count_ip(version, IpCounter::InAddrErrors);
                reason = DropReason::IpInaddrerrors;
            }
            InputRoute::NoRoute => {
                self.count_ip(version, IpCounter::InNoRoutes);
                reason = if v4 {
                    DropReason::IpInnoroutes
                } else {
                    DropReason::NotSpecified
                };
                let code = if v4 {
                    icmp::NET_UNREACHABLE
                } else {
                    icmp::V6_NO_ROUTE
                };
                self.tell_unreachable(&packet, code);
            }
            InputRoute::Unreachable if v4 => {
                self.tell_unreachable(&packet, icmp::HOST_UNREACHABLE);
            }
            InputRoute::Prohibit if v4 => self.tell_unreachable(&packet, icmp::PACKET_FILTERED),
            InputRoute::Unreachable => {
                self.count_ip(version, IpCounter::InNoRoutes);
                self.tell_unreachable(&packet, icmp::V6_NO_ROUTE);
            }
            InputRoute::Prohibit => {
                self.count_ip(version, IpCounter::InNoRoutes);
                self.tell_unreachable(&packet, icmp::V6_PROHIBITED);
            }
            InputRoute::MartianSource(kind) => {
                reason = match kind {
                    MartianSource::OwnAddress => DropReason::IpLocalSource,
                    MartianSource::Loopback => DropReason::IpLocalnet,
                    _ => DropReason::IpInvalidSource,
                };
            }
            InputRoute::MartianDestination => reason = DropReason::IpInvalidDest,
            InputRoute::ReversePath => {
                self.counters
                    .tcp_ext
                    .count(TcpExtCounter::IPReversePathFilter);
                reason = DropReason::IpRpfilter;
            }
            InputRoute::BeyondScope => {
                self.tell_unreachable(&packet, icmp::V6_NOT_NEIGHBOR);
                self.count_ip(version, IpCounter::InAddrErrors);
                reason = DropReason::IpInaddrerrors;
            }
            InputRoute::Blackhole
            | InputRoute::OtherGroup
            | InputRoute::Local { .. }
            | InputRoute::Forward { .. } => {}
        }
        self.drop_packet(packet, Point::RouteInput, reason);
    }

    /// "Destination unreachable" from route_input: IPv4 has a limit of its own for these (`ip_error`).
    fn tell_unreachable(&mut self, packet: &Packet, code: u8) {
        let v4 = packet.version() == Some(IpVersion::V4);
        if v4 && !self.icmp_error_allowed(packet) {
            return;
        }
        let kind = if v4 {
            icmp::DESTINATION_UNREACHABLE
        } else {
            icmp::V6_DESTINATION_UNREACHABLE
        };
        self.icmp_error(packet, kind, code, 0);
    }

    /// IPv4 options that cannot be, or that ask for what is refused (`ip_rcv_options`).
    #[cold]
    fn refuse_options(&mut self, packet: Packet, problem: options::Problem) {
        let reason = match problem {
            options::Problem::Malformed(place) => {
                self.counters.ip4.count(IpCounter::InHdrErrors);
                let info = u32::from(place) << 24;
                self.icmp_error(&packet, icmp::PARAMETER_PROBLEM, 0, info);
                DropReason::IpInhdr
            }
            options::Problem::SourceRoute => DropReason::NotSpecified,
        };
        self.drop_packet(packet, Point::RouteInput, reason);
    }

    /// Whether an error may be told of a packet that came by this: not by broadcast or multicast.
    pub(crate) fn error_target(&self, packet: &Packet) -> Option<Target> {
        let physically_ours = matches!(packet.packet_type, PacketType::Host | PacketType::Outgoing);
        physically_ours.then(|| Target::of(packet.network()))?
    }
}

/// The ECN field's counter (`IPSTATS_MIB_NOECTPKTS` and on, RFC 3168 section 5).
fn ecn_counter(tos: u8) -> IpCounter {
    match tos & 3 {
        0 => IpCounter::InNoECTPkts,
        1 => IpCounter::InECT1Pkts,
        2 => IpCounter::InECT0Pkts,
        _ => IpCounter::InCEPkts,
    }
}

/// Without what the link layer padded it with (`pskb_trim_rcsum`).
fn trimmed(mut packet: Packet, length: usize) -> Packet {
    packet.data.truncate(LINK_HEADER + length);
    packet
}
