//! ICMP messages that this host sends: errors with their limits, and replies (`__icmp_send`, `icmp_reply`, `icmpv4_xrlim_allow`;
//! `icmp6_send`, `icmpv6_echo_reply`; RFC 1122 section 3.2.2, RFC 4443 section 2.4).

use std::collections::BTreeMap;
use std::net::IpAddr;

use transect_config::{IpVersion, RouteKind};
use transect_packet::protocol;
use transect_path::Point;

use crate::conntrack::Tracking;
use crate::counters::{Icmp6Counter, IcmpCounter, IpCounter};
use crate::device::DeviceId;
use crate::drop_reason::DropReason;
use crate::ip::bytes::{
    addresses, fold, ipv4_header_length, ipv6_upper, ones_sum, pseudo_header, put, tos, u16_at,
};
use crate::ip::{Outgoing, Route, RouteKey, version_of};
use crate::packet::{ChecksumState, Packet};
use crate::socket::Errno;
use crate::stack::Stack;

/// ICMP: destination unreachable.
pub(crate) const DESTINATION_UNREACHABLE: u8 = 3;
/// ICMP: time exceeded.
pub(crate) const TIME_EXCEEDED: u8 = 11;
/// ICMP: parameter problem.
pub(crate) const PARAMETER_PROBLEM: u8 = 12;
/// Code of "destination unreachable": no route.
pub(crate) const NET_UNREACHABLE: u8 = 0;
/// Code: the host does not answer.
pub(crate) const HOST_UNREACHABLE: u8 = 1;
/// Code: nobody takes this protocol.
pub(crate) const PROTOCOL_UNREACHABLE: u8 = 2;
/// Code: nobody listens on the port.
pub(crate) const PORT_UNREACHABLE: u8 = 3;
/// Code: too big, and not to be fragmented.
pub(crate) const FRAGMENTATION_NEEDED: u8 = 4;
/// Code: administratively prohibited.
pub(crate) const PACKET_FILTERED: u8 = 13;
/// Code of "time exceeded": on the way.
pub(crate) const TTL_EXCEEDED: u8 = 0;
/// Code: fragments did not come together.
pub(crate) const REASSEMBLY_TIME_EXCEEDED: u8 = 1;
/// ICMP: echo request.
pub(crate) const ECHO: u8 = 8;
/// ICMP: echo reply.
pub(crate) const ECHO_REPLY: u8 = 0;

/// ICMPv6: destination unreachable.
pub(crate) const V6_DESTINATION_UNREACHABLE: u8 = 1;
/// ICMPv6: packet too big.
pub(crate) const V6_PACKET_TOO_BIG: u8 = 2;
/// ICMPv6: time exceeded.
pub(crate) const V6_TIME_EXCEEDED: u8 = 3;
/// ICMPv6: parameter problem.
pub(crate) const V6_PARAMETER_PROBLEM: u8 = 4;
/// Code of ICMPv6's "destination unreachable": no route.
pub(crate) const V6_NO_ROUTE: u8 = 0;
/// Code: administratively prohibited.
pub(crate) const V6_PROHIBITED: u8 = 1;
/// Code: beyond the scope of the source address.
pub(crate) const V6_NOT_NEIGHBOR: u8 = 2;
/// Code: the address does not answer.
pub(crate) const V6_ADDRESS_UNREACHABLE: u8 = 3;
/// Code: nobody listens on the port.
pub(crate) const V6_PORT_UNREACHABLE: u8 = 4;
/// Code of "parameter problem": a header field.
pub(crate) const V6_HEADER_FIELD: u8 = 0;
/// Code: next header not known.
pub(crate) const V6_UNKNOWN_NEXT_HEADER: u8 = 1;
/// Code: option not known.
pub(crate) const V6_UNKNOWN_OPTION: u8 = 2;
/// ICMPv6: echo request.
pub(crate) const V6_ECHO: u8 = 128;
/// ICMPv6: echo reply.
pub(crate) const V6_ECHO_REPLY: u8 = 129;

/// The highest type that Linux knows (`NR_ICMP_TYPES`).
pub(crate) const HIGHEST_TYPE: u8 = 18;
/// `INADDR_DUMMY`: the source of a host that has no address (RFC 7600 section 22).
const DUMMY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 0, 8));
/// An ICMP error is no longer than this with its IP header (RFC 1122 says 576, less fits in 548 quoted bytes).
const LONGEST_V4: usize = 576;
/// IPv6's least MTU: no error is longer (RFC 4443 section 2.4 (c)).
const LONGEST_V6: usize = 1280;
/// Messages that a target may get at once (`XRLIM_BURST_FACTOR`).
const BURST_FACTOR: u64 = 6;
/// Targets that are remembered (`inet_peer_threshold`'s part).
const MOST_TARGETS: usize = 8192;

/// Whether a type of ICMP reports an error (`icmp_pointers[type].error`).
pub(crate) const fn is_error(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12)
}

/// A bucket of one target (`struct inet_peer`), in ticks.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: u64,
    last: u64,
}

/// The limits on messages sent.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    credit: i64,
    /// The tick of the last refill.
    stamp: Option<u64>,
    targets: BTreeMap<IpAddr, Bucket>,
}

/// Whom an error is for, read from the packet that it is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    source: IpAddr,
    destination: IpAddr,
    tos: u8,
}

impl Target {
    /// Nothing where no error may be told: later fragments, ICMP errors, senders that are no single host.
    pub(crate) fn of(network: &[u8]) -> Option<Self> {
        let (source, destination) = addresses(network);
        let target = Target {
            source,
            destination,
            tos: tos(network),
        };
        let answerable = match version_of(source) {
            IpVersion::V4 => {
                let header = ipv4_header_length(network);
                let about_icmp = network.get(9) == Some(&protocol::ICMP);
                let inner = network.get(header).copied();
                u16_at(network, 6) & 0x1fff == 0
                    && !(about_icmp
                        && inner.is_none_or(|kind| kind > HIGHEST_TYPE || is_error(kind)))
            }
            IpVersion::V6 => is_eligible(network),
        };
        (answerable && !source.is_unspecified() && !source.is_multicast()).then_some(target)
    }
}

/// Whether an ICMPv6 error may be sent about a packet (`is_ineligible`).
fn is_eligible(network: &[u8]) -> bool {
    let Some((mut next, mut offset)) = ipv6_upper(network) else {
        return true;
    };
    if next == crate::ip::bytes::NEXT_FRAGMENT {
        if u16_at(network, offset + 2) & 0xfff8 != 0 {
            return true;
        }
        next = network.get(offset).copied().unwrap_or_default();
        offset += crate::ip::bytes::FRAGMENT_HEADER;
    }
    next != protocol::ICMPV6 || network.get(offset).is_some_and(|kind| kind & 0x80 != 0)
}

impl Stack {
    /// An ICMP error about a packet, to its source; `kind` and `code` are those of the packet's own family. It may come to
    /// nothing: no error is told about errors, to groups, or beyond the limits. `info` is what follows the checksum.
    pub(crate) fn icmp_error(&mut self, packet: &Packet, kind: u8, code: u8, info: u32) {
        let Some(target) = self.error_target(packet) else {
            return;
        };
        match version_of(target.source) {
            IpVersion::V4 => self.send_error_v4(packet, target, kind, code, info),
            IpVersion::V6 => self.send_error_v6(packet, target, kind, code, info),
        }
    }

    /// "Fragmentation needed", or "packet too big".
    pub(crate) fn icmp_too_big(&mut self, packet: &Packet, mtu: u32) {
        match packet.version() {
            Some(IpVersion::V6) => self.icmp_error(packet, V6_PACKET_TOO_BIG, 0, mtu),
            _ => self.icmp_error(packet, DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED, mtu),
        }
    }

    /// "Port unreachable", of either family.
    pub(crate) fn icmp_port_unreachable(&mut self, packet: &Packet) {
        match packet.version() {
            Some(IpVersion::V6) => {
                self.icmp_error(packet, V6_DESTINATION_UNREACHABLE, V6_PORT_UNREACHABLE, 0)
            }
            _ => self.icmp_error(packet, DESTINATION_UNREACHABLE, PORT_UNREACHABLE, 0),
        }
    }

    /// The next hop of a packet does not answer (`arp_error_report`, `ndisc_error_report`: `dst_link_failure`): the sender is
    /// told, and the packet is freed.
    pub(crate) fn neighbor_failed(&mut self, packet: Packet) {
        match packet.version() {
            Some(IpVersion::V6) => self.icmp_error(
                &packet,
                V6_DESTINATION_UNREACHABLE,
                V6_ADDRESS_UNREACHABLE,
                0,
            ),
            _ => self.icmp_error(&packet, DESTINATION_UNREACHABLE, HOST_UNREACHABLE, 0),
        }
        self.drop_packet(packet, Point::Neighbor, DropReason::NeighFailed);
    }

    /// A broadcast address of this host's networks, or 255.255.255.255.
    #[inline]
    pub(crate) fn is_broadcast(&mut self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else {
            return false;
        };
        address.is_broadcast() || self.broadcasts().contains(&address)
    }

    fn send_error_v4(&mut self, packet: &Packet, target: Target, kind: u8, code: u8, info: u32) {
        let destination = target.destination;
        if destination.is_multicast() || self.is_broadcast(destination) {
            return;
        }
        let limited = self.is_limited(kind, code);
        let Some(limited) = self.allow_all(packet.in_device, limited) else {
            return;
        };
        let source = if self.is_local(destination) {
            Some(destination)
        } else if self.ip_settings().icmp_inbound_address {
            packet
                .in_device
                .and_then(|device| self.address_of(device, IpVersion::V4))
        } else {
            None
        };
        let key = RouteKey {
            destination: target.source,
            source,
            device: None,
            mark: 0,
            tos: target.tos & 0x1e,
        };
        let Ok(route) = self.route(&key) else {
            return;
        };
        let timeout = self.ip_settings().icmp_ratelimit;
        let timeout = self.milliseconds(timeout);
        if !self.allow_target(limited, &route, timeout) {
            self.counters.icmp.count(IcmpCounter::OutRateLimitHost);
            return;
        }
        let room = (route.mtu as usize).min(LONGEST_V4).saturating_sub(20 + 8);
        if room <= 20 {
            return;
        }
        let quoted = packet.network();
        let quoted = quoted.get(..room).unwrap_or(quoted);
        let mut header = [kind, code, 0, 0, 0, 0, 0, 0];
        put(&mut header, 4, &info.to_be_bytes());
        let source = match route.source {
            address if address.is_unspecified() => DUMMY,
            address => address,
        };
        let message = Message {
            source,
            tos: target.tos & 0x1e | 0xc0,
            header,
            body: quoted,
            counted: kind,
            tracking: packet.tracking.related(),
        };
        self.send_icmp(&route, &message);
    }

    fn send_error_v6(&mut self, packet: &Packet, target: Target, kind: u8, code: u8, info: u32) {
        let destination = target.destination;
        let mut source = self.is_local(destination).then_some(destination);
        if destination.is_multicast() {
            // RFC 4443 section 2.4 (e.3): but for these two.
            let option = kind == V6_PARAMETER_PROBLEM && code == V6_UNKNOWN_OPTION;
            if kind != V6_PACKET_TOO_BIG && !option {
                return;
            }
            source = None;
        }
        let limited = kind & 0x80 == 0
            && kind != V6_PACKET_TOO_BIG
            && self
                .ip_settings()
                .icmp6_ratemask
                .get(usize::from(kind / 32))
                .is_some_and(|word| word & 1 << (kind % 32) != 0);
        let Some(limited) = self.allow_all(packet.in_device, limited) else {
            return;
        };
        let link_local =
            matches!(target.source, IpAddr::V6(source) if source.is_unicast_link_local());
        let key = RouteKey {
            destination: target.source,
            source,
            device: packet.in_device.filter(|_| link_local),
            mark: 0,
            tos: 0,
        };
        let route = match self.route(&key) {
            Ok(route) => route,
            Err(errno) => {
                // The limit looks the route up first, and refuses where there is none (`icmpv6_xrlim_allow`).
                if limited {
                    self.counters.icmp6.count(Icmp6Counter::OutRateLimitHost);
                }
                if limited || errno == Errno::Enetunreach {
                    self.counters.ip6.count(IpCounter::OutNoRoutes);
                }
                return;
            }
        };
        // "Give more bandwidth to wider prefixes."
        let wider = (128 - u32::from(self.prefix_length(target.source))) >> 5;
        let timeout = self.ip_settings().icmp6_ratelimit;
        let timeout = self.milliseconds(timeout) >> wider;
        if !self.allow_target(limited, &route, timeout) {
            self.counters.icmp6.count(Icmp6Counter::OutRateLimitHost);
            return;
        }
        let quoted = packet.network();
        let quoted = quoted.get(..LONGEST_V6 - 40 - 8).unwrap_or(quoted);
        let mut header = [kind, code, 0, 0, 0, 0, 0, 0];
        put(&mut header, 4, &info.to_be_bytes());
        let message = Message {
            source: route.source,
            tos: 0,
            header,
            body: quoted,
            counted: kind,
            tracking: packet.tracking.related(),
        };
        self.send_icmp(&route, &message);
    }

    /// Whether a type is among those that `icmp_ratemask` limits (`icmpv4_mask_allow`).
    fn is_limited(&mut self, kind: u8, code: u8) -> bool {
        let exempt = kind == DESTINATION_UNREACHABLE && code == FRAGMENTATION_NEEDED;
        kind <= HIGHEST_TYPE && !exempt && self.ip_settings().icmp_ratemask & 1 << kind != 0
    }

    /// The limit over all targets (`icmpv4_global_allow`): nothing where it refuses, else whether the target's limit is to be
    /// asked.
    fn allow_all(&mut self, from: Option<DeviceId>, limited: bool) -> Option<bool> {
        if from == Some(DeviceId::LOOPBACK) || !limited {
            return Some(false);
        }
        if self.ip.icmp.credit > 0 {
            return Some(true);
        }
        let settings = self.ip_settings();
        let hz = u64::from(self.ticks.hz());
        let now = self.ticks.at(self.now);
        let passed = self.ip.icmp.stamp.map_or(hz, |stamp| (now - stamp).min(hz));
        let refill = settings.icmp_per_second * passed / hz;
        if passed < hz / 50 || refill == 0 {
            self.counters.icmp.count(IcmpCounter::OutRateLimitGlobal);
            return None;
        }
        let limits = &mut self.ip.icmp;
        limits.stamp = Some(now);
        let most = i64::try_from(settings.icmp_burst).unwrap_or(i64::MAX);
        let refill = i64::try_from(refill).unwrap_or(i64::MAX);
        limits.credit = limits.credit.saturating_add(refill).min(most);
        Some(true)
    }

    fn milliseconds(&self, length: u64) -> u64 {
        self.ticks.of(std::time::Duration::from_millis(length))
    }

    /// The target's own limit (`icmpv4_xrlim_allow`, `inet_peer_xrlim_allow`); `timeout` in ticks.
    fn allow_target(&mut self, limited: bool, route: &Route, timeout: u64) -> bool {
        if !limited {
            return true;
        }
        if route.device != DeviceId::LOOPBACK {
            let bucket = self.bucket(route.destination);
            bucket.tokens = bucket.tokens.min(BURST_FACTOR.saturating_mul(timeout));
            if bucket.tokens < timeout {
                return false;
            }
            bucket.tokens -= timeout;
        }
        // Random, so that nobody can count the messages to others (`icmp_global_consume`).
        let consumed = self.random.i64(0..3);
        self.ip.icmp.credit -= consumed;
        true
    }

    /// The limit of route_input's errors (`ip_error`): five at once, then one a second. It shares its bucket with ICMP's own.
    pub(crate) fn icmp_error_allowed(&mut self, packet: &Packet) -> bool {
        let (source, _) = addresses(packet.network());
        let second = u64::from(self.ticks.hz());
        let bucket = self.bucket(source);
        bucket.tokens = bucket.tokens.min(5 * second);
        if bucket.tokens < second {
            return false;
        }
        bucket.tokens -= second;
        true
    }

    /// A target's bucket, filled by the time that has passed; a new one has waited a minute.
    fn bucket(&mut self, target: IpAddr) -> &mut Bucket {
        let now = self.ticks.at(self.now);
        let minute = 60 * u64::from(self.ticks.hz());
        let targets = &mut self.ip.icmp.targets;
        if targets.len() >= MOST_TARGETS && !targets.contains_key(&target) {
            targets.pop_first();
        }
        let bucket = targets.entry(target).or_insert(Bucket {
            tokens: minute,
            last: now,
        });
        bucket.tokens = bucket.tokens.saturating_add(now - bucket.last);
        bucket.last = now;
        bucket
    }

    /// Length of the IPv6 prefix by which a destination is reached.
    fn prefix_length(&self, destination: IpAddr) -> u8 {
        let routes = self.config.routes(IpVersion::V6).unwrap_or_default();
        routes
            .iter()
            .filter(|route| {
                route.kind == RouteKind::Unicast && route.destination.contains(destination)
            })
            .map(|route| route.destination.length)
            .max()
            .unwrap_or(128)
    }

    /// Sends a message whose header is done but for the checksum, and counts it by its type.
    pub(super) fn send_icmp(&mut self, route: &Route, message: &Message<'_>) {
        let version = version_of(route.destination);
        let mut header = message.header;
        let length = header.len() + message.body.len();
        let pseudo = match version {
            IpVersion::V4 => 0,
            IpVersion::V6 => {
                pseudo_header(message.source, route.destination, protocol::ICMPV6, length)
            }
        };
        let sum = ones_sum(ones_sum(pseudo, &header), message.body);
        put(&mut header, 2, &(!fold(sum)).to_be_bytes());
        let protocol = match version {
            IpVersion::V4 => protocol::ICMP,
            IpVersion::V6 => protocol::ICMPV6,
        };
        self.count_icmp_out(version, message.counted);
        let out = Outgoing {
            source: message.source,
            destination: route.destination,
            protocol,
            ttl: None,
            tos: message.tos,
            flow_hash: crate::ip::FlowHash::Flow,
            identification: None,
            dont_fragment: false,
            may_fragment: true,
            mark: 0,
            priority: 0,
            header: &header,
            payload: [message.body, &[]],
            checksum: ChecksumState::None,
            segmentation: None,
            owner: None,
            route,
        };
        if self
            .ip_output_tracked(&out, message.tracking.clone())
            .is_err()
        {
            self.count_ip(version, IpCounter::OutDiscards);
        }
    }

    /// A message of this type goes out (`icmp_out_count`, `ICMP6MSGOUT_INC_STATS`).
    pub(crate) fn count_icmp_out(&mut self, version: IpVersion, kind: u8) {
        match version {
            IpVersion::V4 => {
                let icmp = &mut self.counters.icmp;
                icmp.count(IcmpCounter::OutMsgs);
                if let Some(counter) = out_counter(kind) {
                    icmp.count(counter);
                }
                *self.counters.icmp_types[1].entry(kind).or_default() += 1;
            }
            IpVersion::V6 => {
                let icmp = &mut self.counters.icmp6;
                icmp.count(Icmp6Counter::OutMsgs);
                if let Some(counter) = out_counter_v6(kind) {
                    icmp.count(counter);
                }
                *self.counters.icmp6_types[1].entry(kind).or_default() += 1;
            }
        }
    }
}

/// A message to be sent.
pub(super) struct Message<'a> {
    pub(super) source: IpAddr,
    pub(super) tos: u8,
    /// With room for the checksum.
    pub(super) header: [u8; 8],
    pub(super) body: &'a [u8],
    /// The type that it counts as.
    pub(super) counted: u8,
    /// What an error has of the packet that it is about.
    pub(super) tracking: Tracking,
}

fn out_counter(kind: u8) -> Option<IcmpCounter> {
    Some(match kind {
        0 => IcmpCounter::OutEchoReps,
        3 => IcmpCounter::OutDestUnreachs,
        4 => IcmpCounter::OutSrcQuenchs,
        5 => IcmpCounter::OutRedirects,
        8 => IcmpCounter::OutEchos,
        11 => IcmpCounter::OutTimeExcds,
        12 => IcmpCounter::OutParmProbs,
        13 => IcmpCounter::OutTimestamps,
        14 => IcmpCounter::OutTimestampReps,
        17 => IcmpCounter::OutAddrMasks,
        18 => IcmpCounter::OutAddrMaskReps,
        _ => return None,
    })
}

fn out_counter_v6(kind: u8) -> Option<Icmp6Counter> {
    Some(match kind {
        1 => Icmp6Counter::OutDestUnreachs,
        2 => Icmp6Counter::OutPktTooBigs,
        3 => Icmp6Counter::OutTimeExcds,
        4 => Icmp6Counter::OutParmProblems,
        128 => Icmp6Counter::OutEchos,
        129 => Icmp6Counter::OutEchoReplies,
        130 => Icmp6Counter::OutGroupMembQueries,
        131 => Icmp6Counter::OutGroupMembResponses,
        132 => Icmp6Counter::OutGroupMembReductions,
        133 => Icmp6Counter::OutRouterSolicits,
        134 => Icmp6Counter::OutRouterAdvertisements,
        135 => Icmp6Counter::OutNeighborSolicits,
        136 => Icmp6Counter::OutNeighborAdvertisements,
        137 => Icmp6Counter::OutRedirects,
        143 => Icmp6Counter::OutMLDv2Reports,
        _ => return None,
    })
}
