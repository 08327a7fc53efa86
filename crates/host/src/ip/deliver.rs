//! Receiving 11 to 13: reassembly, LOCAL_IN, raw copies, the protocol's handler (`ip_local_deliver`, `ip_protocol_deliver_rcu`;
//! `ip6_input`, `ip6_protocol_deliver_rcu`).

use transect_config::IpVersion;
use transect_packet::protocol;
use transect_path::Point;

use crate::counters::IpCounter;
use crate::device::DeviceId;
use crate::drop_reason::DropReason;
use crate::hooks::{LocalIn, Passed, PreRouting};
use crate::host::Host;
use crate::ip::bytes::{IPV6_HEADER, NEXT_FRAGMENT, addresses, ipv4_header_length, tos, u16_at};
use crate::ip::{Received, User};
use crate::packet::Packet;
use crate::transport::icmp;

/// `IPPROTO_IGMP`.
const IGMP: u8 = 2;
/// IPv6's "no next header".
const NO_NEXT_HEADER: u8 = 59;
/// `IPPROTO_RAW`, and IPv6's routing header and destination options.
const ROUTING: u8 = 43;
const DESTINATION_OPTIONS: u8 = 60;
/// Extension headers in one packet: more are not followed.
const MOST_HEADERS: usize = 16;

impl Host {
    /// Delivers to this host.
    pub(super) fn deliver(&mut self, passed: Passed<PreRouting>, group: bool) {
        let mut packet = passed.into_packet();
        let version = packet.version().unwrap_or(IpVersion::V4);
        // IPv4 puts fragments together before LOCAL_IN; IPv6's fragment header is a handler behind it.
        if version == IpVersion::V4 && u16_at(packet.network(), 6) & 0x3fff != 0 {
            match self.stack.reassemble(packet, 0, User::Delivery) {
                Some(whole) => packet = whole,
                None => return,
            }
        }
        if let Ok(passed) = self.stack.run_hook::<LocalIn>(packet) {
            self.deliver_finish(passed, version, group);
        }
    }

    fn deliver_finish(&mut self, passed: Passed<LocalIn>, version: IpVersion, group: bool) {
        let packet = passed.into_packet();
        let network = packet.network();
        let (source, destination) = addresses(network);
        let byte = |at: usize| network.get(at).copied().unwrap_or_default();
        let (protocol, ttl, offset) = match version {
            IpVersion::V4 => (byte(9), byte(8), ipv4_header_length(network)),
            IpVersion::V6 => (byte(6), byte(7), IPV6_HEADER),
        };
        let received = Received {
            source,
            destination,
            protocol,
            ttl,
            tos: tos(network),
            offset,
            device: packet.in_device.unwrap_or(DeviceId::LOOPBACK),
            group,
        };
        match version {
            IpVersion::V4 => self.deliver_protocol(received, packet, 9),
            IpVersion::V6 => self.deliver_ipv6(received, packet),
        }
    }

    /// Follows IPv6's extension headers to the transport.
    fn deliver_ipv6(&mut self, mut received: Received, mut packet: Packet) {
        let mut named_at = 6;
        for _ in 0..MOST_HEADERS {
            let at = received.offset;
            let skipped = match received.protocol {
                0 | DESTINATION_OPTIONS | ROUTING => {
                    let Some(checked) = self.extension(&received, packet) else {
                        return;
                    };
                    packet = checked;
                    let units = packet.network().get(at + 1).copied().unwrap_or_default();
                    (usize::from(units) + 1) * 8
                }
                NEXT_FRAGMENT => {
                    if u16_at(packet.network(), at + 2) & 0xfff9 != 0 {
                        let Some(whole) = self.stack.reassemble(packet, at, User::Delivery) else {
                            return;
                        };
                        // The header is gone: what it announced stands at its place.
                        received.protocol =
                            whole.network().get(named_at).copied().unwrap_or_default();
                        packet = whole;
                        continue;
                    }
                    // An atomic fragment (RFC 6946).
                    self.stack.counters.ip6.count(IpCounter::ReasmReqds);
                    self.stack.counters.ip6.count(IpCounter::ReasmOKs);
                    crate::ip::bytes::FRAGMENT_HEADER
                }
                _ => {
                    self.deliver_protocol(received, packet, named_at);
                    return;
                }
            };
            named_at = at;
            received.protocol = packet.network().get(at).copied().unwrap_or_default();
            received.offset = at + skipped;
        }
        self.stack.counters.ip6.count(IpCounter::InHdrErrors);
        self.stack
            .drop_packet(packet, Point::TransportInput, DropReason::Ipv6BadExthdr);
    }

    /// Destination options and routing headers (`ipv6_destopt_rcv`, `ipv6_rthdr_rcv`).
    fn extension(&mut self, received: &Received, packet: Packet) -> Option<Packet> {
        if received.protocol != ROUTING {
            let point = Point::TransportInput;
            return self.stack.receive_options(packet, received.offset, point);
        }
        let left = packet.network().get(received.offset + 3).copied();
        if left == Some(0) {
            return Some(packet);
        }
        // What still has somewhere to go is refused: type 0 is deprecated (RFC 5095), the others need their settings.
        self.stack.counters.ip6.count(IpCounter::InHdrErrors);
        let place = received.offset as u32 + 2;
        self.stack.icmp_error(
            &packet,
            icmp::V6_PARAMETER_PROBLEM,
            icmp::V6_HEADER_FIELD,
            place,
        );
        self.stack
            .drop_packet(packet, Point::TransportInput, DropReason::NotSpecified);
        None
    }

    /// Raw copies, then the handler; `named_at` is where the protocol's number stands.
    fn deliver_protocol(&mut self, received: Received, mut packet: Packet, named_at: usize) {
        let version = received.version();
        self.stack.enter(&mut packet, Point::RawTap);
        let raw = self
            .transport
            .raw_input(&mut self.stack, &received, &packet);
        self.stack.leave(&mut packet, Point::RawTap);
        let known = match received.protocol {
            protocol::TCP | protocol::UDP => true,
            protocol::ICMP | IGMP => version == IpVersion::V4,
            protocol::ICMPV6 | NO_NEXT_HEADER => version == IpVersion::V6,
            _ => false,
        };
        if known || raw {
            self.stack.count_ip(version, IpCounter::InDelivers);
        }
        match (received.protocol, version) {
            (protocol::TCP, _) => {
                self.tcp.input(&mut self.stack, &received, packet);
            }
            (protocol::UDP, _) => {
                self.transport.udp_input(&mut self.stack, &received, packet);
            }
            (protocol::ICMP, IpVersion::V4) => self.icmp_input(&received, packet),
            (protocol::ICMPV6, IpVersion::V6) => self.icmp6_input(&received, packet),
            // What came to its end: groups are not kept, "no next header" says so itself, raw sockets have their copies.
            _ if known || raw => {}
            _ => self.unknown_protocol(&received, packet, named_at),
        }
    }

    #[cold]
    fn unknown_protocol(&mut self, received: &Received, mut packet: Packet, named_at: usize) {
        let version = received.version();
        self.stack.enter(&mut packet, Point::TransportInput);
        self.stack.count_ip(version, IpCounter::InUnknownProtos);
        match version {
            IpVersion::V4 => self.stack.icmp_error(
                &packet,
                icmp::DESTINATION_UNREACHABLE,
                icmp::PROTOCOL_UNREACHABLE,
                0,
            ),
            IpVersion::V6 => self.stack.icmp_error(
                &packet,
                icmp::V6_PARAMETER_PROBLEM,
                icmp::V6_UNKNOWN_NEXT_HEADER,
                named_at as u32,
            ),
        }
        self.stack
            .drop_packet(packet, Point::TransportInput, DropReason::IpNoproto);
    }
}
