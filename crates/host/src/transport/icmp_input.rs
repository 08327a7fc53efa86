//! ICMP messages that arrive (`icmp_rcv`, `icmp_unreach`, `icmp_socket_deliver`; `icmpv6_rcv`, `icmpv6_notify`).

use transect_config::IpVersion;
use transect_packet::protocol;
use transect_path::Point;

use crate::conntrack::Tracking;
use crate::counters::{Icmp6Counter, IcmpCounter};
use crate::drop_reason::DropReason;
use crate::host::Host;
use crate::ip::bytes::{
    FRAGMENT_HEADER, IPV4_HEADER, IPV6_HEADER, NEXT_FRAGMENT, addresses, fold, ipv4_header_length,
    ipv6_upper, ones_sum, pseudo_header, put, u16_at, u32_at,
};
use crate::ip::{Received, RouteKey};
use crate::packet::{ChecksumState, Packet};
use crate::stack::Stack;
use crate::tcp::IcmpError;
use crate::transport::icmp::{self, Message};

/// `ICMP_TIMESTAMP`, and its reply.
const TIMESTAMP: u8 = 13;
const REDIRECT: u8 = 5;
const TIMESTAMP_REPLY: u8 = 14;

/// What becomes of a message: freed in silence, or with a reason; and whether it counts as an error.
type Fate = Result<(), (DropReason, bool)>;

impl Host {
    /// `icmp_rcv`.
    pub(crate) fn icmp_input(&mut self, received: &Received, mut packet: Packet) {
        self.stack.enter(&mut packet, Point::TransportInput);
        self.stack.counters.icmp.count(IcmpCounter::InMsgs);
        let message = packet.network().get(received.offset..).unwrap_or_default();
        if packet.checksum == ChecksumState::None && fold(ones_sum(0, message)) != 0xffff {
            self.stack.counters.icmp.count(IcmpCounter::InCsumErrors);
            return self.icmp_end(packet, Err((DropReason::IcmpCsum, true)));
        }
        let (Some(kind), true) = (message.first().copied(), message.len() >= 8) else {
            return self.icmp_end(packet, Err((DropReason::NotSpecified, true)));
        };
        if let Some(counter) = in_counter(kind) {
            self.stack.counters.icmp.count(counter);
        }
        *self.stack.counters.icmp_types[0].entry(kind).or_default() += 1;
        let code = message.get(1).copied().unwrap_or_default();
        let settings = self.stack.ip_settings();
        let fate = match kind {
            _ if kind > icmp::HIGHEST_TYPE => Err((DropReason::UnhandledProto, true)),
            icmp::ECHO | TIMESTAMP if received.group && settings.echo_ignore_broadcasts => {
                Err((DropReason::InvalidProto, true))
            }
            _ if received.group && !matches!(kind, icmp::ECHO | TIMESTAMP | 17 | 18) => {
                Err((DropReason::InvalidProto, true))
            }
            // `icmp_timestamp`, `icmp_redirect`: nothing to answer, no header that is spoken of.
            TIMESTAMP if message.len() < 12 => Err((DropReason::PktTooSmall, true)),
            REDIRECT if message.len() < 8 + IPV4_HEADER => Err((DropReason::PktTooSmall, true)),
            icmp::ECHO if settings.echo_ignore_all => Err((DropReason::NotSpecified, false)),
            icmp::ECHO | TIMESTAMP => {
                self.stack.icmp_reply(received, &packet, kind);
                Ok(())
            }
            icmp::ECHO_REPLY => {
                self.transport.ping_input(&mut self.stack, received, packet);
                return;
            }
            icmp::DESTINATION_UNREACHABLE | 4 | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM => {
                self.icmp_error_input(received, &packet, kind, code)
            }
            // Redirects are not taken; address masks and the like have no handler.
            _ => Ok(()),
        };
        self.icmp_end(packet, fate);
    }

    fn icmp_end(&mut self, mut packet: Packet, fate: Fate) {
        match fate {
            Ok(()) => self.stack.leave(&mut packet, Point::TransportInput),
            Err((reason, error)) => {
                if error {
                    self.stack.counters.icmp.count(IcmpCounter::InErrors);
                }
                self.stack
                    .drop_packet(packet, Point::TransportInput, reason);
            }
        }
    }

    /// An error about something that this host sent, or is said to have sent (`icmp_unreach`).
    fn icmp_error_input(
        &mut self,
        received: &Received,
        packet: &Packet,
        kind: u8,
        code: u8,
    ) -> Fate {
        let message = packet.network().get(received.offset..).unwrap_or_default();
        let quoted = message.get(8..).unwrap_or_default();
        let header = ipv4_header_length(quoted);
        if quoted.len() < IPV4_HEADER || header < IPV4_HEADER {
            return Err((DropReason::NotSpecified, true));
        }
        let info = match (kind, code) {
            (icmp::DESTINATION_UNREACHABLE, icmp::FRAGMENTATION_NEEDED) => {
                match self.stack.ip_settings().no_pmtu_disc {
                    0 | 3 => u32::from(u16_at(message, 6)),
                    _ => 0,
                }
            }
            (icmp::DESTINATION_UNREACHABLE, 16..) => return Ok(()),
            (icmp::TIME_EXCEEDED, icmp::REASSEMBLY_TIME_EXCEEDED) => return Ok(()),
            _ => 0,
        };
        let Some(transport) = quoted.get(header..).filter(|rest| rest.len() >= 8) else {
            self.stack.counters.icmp.count(IcmpCounter::InErrors);
            return Ok(());
        };
        let protocol = quoted.get(9).copied().unwrap_or_default();
        let (source, destination) = addresses(quoted);
        let error = IcmpError {
            source,
            destination,
            offender: received.source,
            transport,
            kind,
            code,
            mtu: info,
            device: Some(received.device),
        };
        if !self.deliver_error(&error, protocol) {
            self.stack.counters.icmp.count(IcmpCounter::InErrors);
        }
        Ok(())
    }

    /// To whoever sent it. False: nobody did (UDP alone says so here; TCP counts by itself).
    fn deliver_error(&mut self, error: &IcmpError<'_>, protocol: u8) -> bool {
        self.transport.raw_error(&mut self.stack, error, protocol);
        match protocol {
            protocol::TCP => {
                self.tcp.handle_icmp(&mut self.stack, error);
                true
            }
            protocol::UDP => self.transport.udp_error(&mut self.stack, error),
            protocol::ICMP | protocol::ICMPV6 => {
                self.transport.ping_error(&mut self.stack, error);
                true
            }
            _ => true,
        }
    }

    /// `icmpv6_rcv`.
    pub(crate) fn icmp6_input(&mut self, received: &Received, mut packet: Packet) {
        self.stack.enter(&mut packet, Point::TransportInput);
        self.stack.counters.icmp6.count(Icmp6Counter::InMsgs);
        let message = packet.network().get(received.offset..).unwrap_or_default();
        let pseudo = pseudo_header(
            received.source,
            received.destination,
            protocol::ICMPV6,
            message.len(),
        );
        if packet.checksum == ChecksumState::None && fold(ones_sum(pseudo, message)) != 0xffff {
            self.stack.counters.icmp6.count(Icmp6Counter::InCsumErrors);
            return self.icmp6_end(packet, Err((DropReason::IcmpCsum, true)));
        }
        let (Some(kind), true) = (message.first().copied(), message.len() >= 8) else {
            return self.icmp6_end(packet, Err((DropReason::NotSpecified, true)));
        };
        if let Some(counter) = in_counter_v6(kind) {
            self.stack.counters.icmp6.count(counter);
        }
        *self.stack.counters.icmp6_types[0].entry(kind).or_default() += 1;
        let code = message.get(1).copied().unwrap_or_default();
        let fate = match kind {
            icmp::V6_ECHO => {
                self.stack.icmp_reply(received, &packet, kind);
                Ok(())
            }
            icmp::V6_ECHO_REPLY => {
                self.transport.ping_input(&mut self.stack, received, packet);
                return;
            }
            // What it announces is not followed: the configuration says what the host has.
            134 => {
                self.stack.router_was_heard(received.device);
                Ok(())
            }
            133..=137 => self
                .stack
                .neighbor_discovery_input(&packet)
                .map_err(|reason| (reason, false)),
            // Other messages that inform: groups are not kept.
            _ if kind >= 128 => Ok(()),
            _ => self.icmp6_error_input(received, &packet, kind, code),
        };
        self.icmp6_end(packet, fate);
    }

    fn icmp6_end(&mut self, mut packet: Packet, fate: Fate) {
        match fate {
            Ok(()) => self.stack.leave(&mut packet, Point::TransportInput),
            Err((reason, error)) => {
                if error {
                    self.stack.counters.icmp6.count(Icmp6Counter::InErrors);
                }
                self.stack
                    .drop_packet(packet, Point::TransportInput, reason);
            }
        }
    }

    /// `icmpv6_notify`.
    fn icmp6_error_input(
        &mut self,
        received: &Received,
        packet: &Packet,
        kind: u8,
        code: u8,
    ) -> Fate {
        let message = packet.network().get(received.offset..).unwrap_or_default();
        let quoted = message.get(8..).unwrap_or_default();
        if quoted.len() < IPV6_HEADER {
            return Err((DropReason::NotSpecified, true));
        }
        let found = ipv6_upper(quoted).and_then(|(next, offset)| {
            if next != NEXT_FRAGMENT {
                return Some((next, offset));
            }
            // Only the first fragment quotes a transport header.
            (u16_at(quoted, offset + 2) & 0xfff8 == 0)
                .then(|| Some((*quoted.get(offset)?, offset + FRAGMENT_HEADER)))?
        });
        let transport = found.and_then(|(protocol, offset)| {
            let rest = quoted.get(offset..).filter(|rest| rest.len() >= 8)?;
            Some((protocol, rest))
        });
        let Some((protocol, transport)) = transport else {
            return Err((DropReason::NotSpecified, true));
        };
        let (source, destination) = addresses(quoted);
        let error = IcmpError {
            source,
            destination,
            offender: received.source,
            transport,
            kind,
            code,
            mtu: u32_at(message, 4),
            device: Some(received.device),
        };
        if !self.deliver_error(&error, protocol) {
            self.stack.counters.icmp6.count(Icmp6Counter::InErrors);
        }
        Ok(())
    }
}

impl Stack {
    /// Answers an echo or a timestamp request (`icmp_reply`, `icmpv6_echo_reply`).
    fn icmp_reply(&mut self, received: &Received, packet: &Packet, kind: u8) {
        let version = received.version();
        // To a group it is answered from an address of the device.
        let source = if received.group {
            self.address_of(received.device, version)
        } else {
            Some(received.destination)
        };
        let link_local = matches!(
            received.source,
            std::net::IpAddr::V6(source) if source.is_unicast_link_local()
        );
        let key = RouteKey {
            destination: received.source,
            source,
            device: Some(received.device).filter(|_| link_local),
            mark: 0,
            tos: received.tos & 0x1e,
        };
        let Ok(route) = self.route(&key) else {
            return;
        };
        let message = packet.network().get(received.offset..).unwrap_or_default();
        let mut header = [0; 8];
        for (place, byte) in header.iter_mut().zip(message) {
            *place = *byte;
        }
        let (reply, counted) = match (version, kind) {
            (IpVersion::V6, _) => (icmp::V6_ECHO_REPLY, icmp::V6_ECHO_REPLY),
            // Linux 6.18 sends type 14 and counts type 0.
            (IpVersion::V4, TIMESTAMP) => (TIMESTAMP_REPLY, icmp::ECHO_REPLY),
            (IpVersion::V4, _) => (icmp::ECHO_REPLY, icmp::ECHO_REPLY),
        };
        put(&mut header, 0, &[reply, 0, 0, 0]);
        let body = message.get(8..).unwrap_or_default();
        let mut times = [0; 12];
        let body = if kind == TIMESTAMP && version == IpVersion::V4 {
            for (place, byte) in times.iter_mut().zip(body) {
                *place = *byte;
            }
            // Milliseconds since midnight UT (RFC 792), received and sent.
            let now = (self.now.0 / 1_000_000 % 86_400_000) as u32;
            put(&mut times, 4, &now.to_be_bytes());
            put(&mut times, 8, &now.to_be_bytes());
            &times[..]
        } else {
            body
        };
        let tos = match version {
            IpVersion::V4 => received.tos,
            IpVersion::V6 => 0,
        };
        let message = Message {
            source: route.source,
            tos,
            header,
            body,
            counted,
            tracking: Tracking::None,
        };
        self.send_icmp(&route, &message);
    }
}

fn in_counter(kind: u8) -> Option<IcmpCounter> {
    Some(match kind {
        0 => IcmpCounter::InEchoReps,
        3 => IcmpCounter::InDestUnreachs,
        4 => IcmpCounter::InSrcQuenchs,
        5 => IcmpCounter::InRedirects,
        8 => IcmpCounter::InEchos,
        11 => IcmpCounter::InTimeExcds,
        12 => IcmpCounter::InParmProbs,
        13 => IcmpCounter::InTimestamps,
        14 => IcmpCounter::InTimestampReps,
        17 => IcmpCounter::InAddrMasks,
        18 => IcmpCounter::InAddrMaskReps,
        _ => return None,
    })
}

fn in_counter_v6(kind: u8) -> Option<Icmp6Counter> {
    Some(match kind {
        1 => Icmp6Counter::InDestUnreachs,
        2 => Icmp6Counter::InPktTooBigs,
        3 => Icmp6Counter::InTimeExcds,
        4 => Icmp6Counter::InParmProblems,
        128 => Icmp6Counter::InEchos,
        129 => Icmp6Counter::InEchoReplies,
        130 => Icmp6Counter::InGroupMembQueries,
        131 => Icmp6Counter::InGroupMembResponses,
        132 => Icmp6Counter::InGroupMembReductions,
        133 => Icmp6Counter::InRouterSolicits,
        134 => Icmp6Counter::InRouterAdvertisements,
        135 => Icmp6Counter::InNeighborSolicits,
        136 => Icmp6Counter::InNeighborAdvertisements,
        137 => Icmp6Counter::InRedirects,
        143 => Icmp6Counter::InMLDv2Reports,
        _ => return None,
    })
}
