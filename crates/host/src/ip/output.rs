//! Sending 4 to 7: the IP header, LOCAL_OUT, POST_ROUTING, the MTU (`__ip_queue_xmit`, `ip6_xmit`, `__ip_local_out`,
//! `ip_finish_output`, `ip6_finish_output`).

use std::net::IpAddr;

use transect_config::IpVersion;
use transect_packet::protocol;
use transect_path::Point;

use crate::conntrack::Tracking;
use crate::counters::IpCounter;
use crate::drop_reason::DropReason;
use crate::hooks::{BeforePostRouting, LocalOut, Passed, PostRouting};
use crate::ip::bytes::{
    IPV4_HEADER, IPV6_HEADER, addresses, finish_ipv4_header, ipv4_header_sum, put, tos, u16_at,
};
use crate::ip::route::{Route, RouteKey};
use crate::ip::{Outgoing, version_of};
use crate::packet::Packet;
use crate::socket::Errno;
use crate::stack::Stack;

/// The longest IPv4 packet, and the longest payload of an IPv6 packet, in bytes.
const MAX_LENGTH: usize = 65_535;

impl Stack {
    /// Sending 4 to 7 and on: builds the header, passes the hooks, fragments, and hands on. An error is what the hooks or the
    /// queue said (EPERM, ENOBUFS).
    pub(crate) fn ip_output(&mut self, out: &Outgoing<'_>) -> Result<(), Errno> {
        self.ip_output_tracked(out, Tracking::None)
    }

    /// Likewise, of a packet that is about another one, and belongs to its connection (`nf_ct_attach`).
    pub(crate) fn ip_output_tracked(
        &mut self,
        out: &Outgoing<'_>,
        tracking: Tracking,
    ) -> Result<(), Errno> {
        let version = version_of(out.destination);
        let mut packet = self.build(out, version)?;
        packet.tracking = tracking;
        self.begin_journey(&mut packet);
        if out.owner.is_some() {
            self.pass(&mut packet, Point::AppSend);
        }
        // A raw socket has no transport: its packets join at `route_output`.
        if !out.header.is_empty() {
            if out.owner.is_some() {
                self.pass(&mut packet, Point::SendBuffer);
            }
            self.pass(&mut packet, Point::TransportOutput);
        }
        self.enter(&mut packet, Point::RouteOutput);
        if version == IpVersion::V6
            && packet.len() > out.route.mtu as usize
            && !packet.ignore_df
            && packet.segmentation.is_none()
        {
            // `ip6_xmit`: what does not fit does not come as far as the hook.
            self.count_ip(version, IpCounter::FragFails);
            self.drop_packet(packet, Point::RouteOutput, DropReason::PktTooBig);
            return Err(Errno::Emsgsize);
        }
        self.local_out(packet, out.route)
    }

    /// A raw socket's packet with its own IP header, or another that is whole already: from `route_output` on.
    /// (`raw_send_hdrinc`.)
    pub(crate) fn ip_output_whole(
        &mut self,
        mut packet: Packet,
        route: &Route,
        count: bool,
    ) -> Result<(), Errno> {
        self.begin_journey(&mut packet);
        self.pass(&mut packet, Point::AppSend);
        self.enter(&mut packet, Point::RouteOutput);
        if count {
            return self.local_out(packet, route);
        }
        self.hook_local_out(packet, route)
    }

    /// What Netfilter makes, whole (`ip_local_out`, `ip6_local_out`): from `route_output` on. IPv6 counts a request before that
    /// (`ip6_xmit`), where such a packet does not come by.
    pub(crate) fn ip_local_out(&mut self, mut packet: Packet, route: &Route) -> Result<(), Errno> {
        self.begin_journey(&mut packet);
        self.enter(&mut packet, Point::RouteOutput);
        match version_of(route.destination) {
            IpVersion::V4 => self.local_out(packet, route),
            IpVersion::V6 => self.hook_local_out(packet, route),
        }
    }

    fn build(&mut self, out: &Outgoing<'_>, version: IpVersion) -> Result<Packet, Errno> {
        let [first, second] = out.payload;
        let payload = out.header.len() + first.len() + second.len();
        let header = match version {
            IpVersion::V4 => IPV4_HEADER,
            IpVersion::V6 => IPV6_HEADER,
        };
        let longest = match version {
            IpVersion::V4 => MAX_LENGTH - header,
            // The field counts what follows the header.
            IpVersion::V6 => MAX_LENGTH,
        };
        if payload > longest {
            return Err(Errno::Emsgsize);
        }
        let mut packet = Packet::with_room(header + payload, version, self.now);
        let data = &mut packet.data;
        match (out.source, out.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let dont_fragment =
                    out.dont_fragment && !(out.route.mtu_locked && out.protocol == protocol::TCP);
                let identification = match out.identification {
                    Some(number) => number,
                    None if dont_fragment && !out.may_fragment => 0,
                    None => self.random.u16(..),
                };
                let ttl = out.ttl.unwrap_or_else(|| self.hop_limit(out.route));
                let length = ((header + payload) as u16).to_be_bytes();
                let [high, low] = identification.to_be_bytes();
                let fragments = u8::from(dont_fragment) << 6;
                let [a, b, c, d] = source.octets();
                let [e, f, g, h] = destination.octets();
                let mut network = [
                    0x45,
                    out.tos,
                    length[0],
                    length[1],
                    high,
                    low,
                    fragments,
                    0,
                    ttl,
                    out.protocol,
                    0,
                    0,
                    a,
                    b,
                    c,
                    d,
                    e,
                    f,
                    g,
                    h,
                ];
                let sum = !ipv4_header_sum(&network);
                [network[10], network[11]] = sum.to_be_bytes();
                data.extend_from_slice(&network);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let ttl = out.ttl.unwrap_or_else(|| self.hop_limit(out.route));
                let first = 6 << 28 | u32::from(out.tos) << 20 | self.flow_label(out);
                data.extend_from_slice(&first.to_be_bytes());
                data.extend_from_slice(&(payload as u16).to_be_bytes());
                data.extend_from_slice(&[out.protocol, ttl]);
                data.extend_from_slice(&source.octets());
                data.extend_from_slice(&destination.octets());
            }
            _ => return Err(Errno::Einval),
        }
        data.extend_from_slice(out.header);
        data.extend_from_slice(first);
        data.extend_from_slice(second);
        packet.checksum = out.checksum;
        packet.segmentation = out.segmentation;
        packet.mark = out.mark;
        packet.priority = out.priority;
        packet.ignore_df = out.may_fragment;
        packet.owner = out.owner;
        packet.late = self.next_lateness();
        Ok(packet)
    }

    /// `ip4_dst_hoplimit`, `ip6_dst_hoplimit`; what goes to a group stays on the link unless the sender says otherwise.
    pub(crate) fn hop_limit(&mut self, route: &Route) -> u8 {
        let settings = self.known_ip_settings();
        match route.destination {
            destination if destination.is_multicast() => 1,
            IpAddr::V4(_) => settings.ttl,
            IpAddr::V6(_) => settings.hop_limit,
        }
    }

    /// `__ip_local_out`, `ip6_local_out`: counted, then LOCAL_OUT.
    fn local_out(&mut self, packet: Packet, route: &Route) -> Result<(), Errno> {
        self.count_ip(version_of(route.destination), IpCounter::OutRequests);
        self.hook_local_out(packet, route)
    }

    fn hook_local_out(&mut self, mut packet: Packet, route: &Route) -> Result<(), Errno> {
        packet.out_device = Some(route.device);
        packet.next_hop = Some(route.next_hop);
        packet.mtu = route.mtu;
        self.leave(&mut packet, Point::RouteOutput);
        let passed = match self.run_hook::<LocalOut>(packet) {
            Ok(passed) if passed.packet().reroute => self.reroute(passed)?,
            Ok(passed) => passed,
            Err(stopped) => return stopped.told(),
        };
        self.post_routing(passed)
    }

    /// The route anew, as LOCAL_OUT changed what it was looked up by (`ip_route_me_harder`, `ip6_route_me_harder`).
    fn reroute(&mut self, mut passed: Passed<LocalOut>) -> Result<Passed<LocalOut>, Errno> {
        let packet = passed.packet_mut();
        packet.reroute = false;
        let (source, destination) = addresses(packet.network());
        let key = RouteKey {
            destination,
            source: self.is_local(source).then_some(source),
            device: None,
            mark: packet.mark,
            tos: tos(packet.network()),
        };
        self.enter(packet, Point::RouteOutput);
        match self.route(&key) {
            Ok(route) => {
                packet.out_device = Some(route.device);
                packet.next_hop = Some(route.next_hop);
                packet.mtu = route.mtu;
                self.leave(packet, Point::RouteOutput);
                Ok(passed)
            }
            Err(errno) => {
                let packet = passed.into_packet();
                self.drop_packet(packet, Point::LocalOut, DropReason::NetfilterDrop);
                Err(errno)
            }
        }
    }

    /// POST_ROUTING, and on (`ip_output`, `ip6_output`): for what this host sends, and for what it forwards.
    pub(super) fn post_routing<H: BeforePostRouting>(
        &mut self,
        passed: Passed<H>,
    ) -> Result<(), Errno> {
        let packet = passed.packet();
        if packet.version() == Some(IpVersion::V4)
            && packet.in_device.is_none()
            && self.is_broadcast(addresses(packet.network()).1)
        {
            self.loop_back(packet.clone());
        }
        match self.run_hook::<PostRouting>(passed.into_packet()) {
            Ok(passed) => self.ip_finish(passed),
            Err(stopped) => stopped.told(),
        }
    }

    /// A broadcast's copy for this host itself, before the others get theirs (`ip_mc_output`, `dev_loopback_xmit`).
    fn loop_back(&mut self, mut copy: Packet) {
        copy.owner = None;
        if let Ok(passed) = self.run_hook::<PostRouting>(copy) {
            let mut copy = passed.into_packet();
            copy.in_device = copy.out_device;
            copy.checksum = crate::packet::ChecksumState::Verified;
            self.ip.looped.push_back(copy);
        }
    }

    /// Sending 7: the MTU (`__ip_finish_output`, `__ip6_finish_output`).
    fn ip_finish(&mut self, mut passed: Passed<PostRouting>) -> Result<(), Errno> {
        let packet = passed.packet_mut();
        self.enter(packet, Point::IpFinish);
        let mtu = packet.mtu as usize;
        let largest = usize::from(packet.largest_fragment);
        // What came in fragments leaves in fragments that are no larger.
        if network_length(packet) <= mtu && largest == 0 {
            return self.ip_transmit(passed);
        }
        let version = packet.version().unwrap_or(IpVersion::V4);
        let keeps = match version {
            IpVersion::V4 => {
                u16_at(packet.network(), 6) & 0x4000 != 0 && (!packet.ignore_df || largest > mtu)
            }
            IpVersion::V6 => !packet.ignore_df || largest > mtu,
        } || packet.segmentation.is_some();
        if keeps {
            return self.too_big(passed.into_packet(), version);
        }
        self.fragment(passed, version)
    }

    /// It must not be fragmented: the sender is told (`ip_fragment`, `ip6_fragment`).
    #[cold]
    fn too_big(&mut self, packet: Packet, version: IpVersion) -> Result<(), Errno> {
        let times = packet.segmentation.map_or(1, |gso| gso.segments.max(1));
        let counters = self.counters.ip(version);
        counters.add(IpCounter::FragFails, u64::from(times));
        let mtu = packet.mtu;
        self.icmp_too_big(&packet, mtu);
        self.drop_packet(packet, Point::IpFinish, DropReason::PktTooBig);
        Err(Errno::Emsgsize)
    }

    /// Counted as sent, and handed to the next hop's neighbour entry (`ip_finish_output2`, `ip6_finish_output2`).
    pub(super) fn ip_transmit(&mut self, mut passed: Passed<PostRouting>) -> Result<(), Errno> {
        let packet = passed.packet_mut();
        let length = packet.len() as u64;
        let version = packet.version().unwrap_or(IpVersion::V4);
        let (_, destination) = addresses(packet.network());
        let counters = self.counters.ip(version);
        counters.count(IpCounter::OutTransmits);
        counters.add(IpCounter::OutOctets, length);
        if destination.is_multicast() {
            counters.count(IpCounter::OutMcastPkts);
            counters.add(IpCounter::OutMcastOctets, length);
        } else if version == IpVersion::V4 && self.is_broadcast(destination) {
            let counters = self.counters.ip(version);
            counters.count(IpCounter::OutBcastPkts);
            counters.add(IpCounter::OutBcastOctets, length);
        }
        let packet = passed.packet_mut();
        self.leave(packet, Point::IpFinish);
        self.neighbor_output(passed)
    }
}

/// The length that must fit the MTU: of a packet that stands for several, each one's (`skb_gso_validate_network_len`).
pub(super) fn network_length(packet: &Packet) -> usize {
    let Some(gso) = packet.segmentation else {
        return packet.len();
    };
    packet
        .len()
        .min(headers_length(packet.network()) + usize::from(gso.size))
}

/// IP and transport headers of a packet that is to be segmented.
fn headers_length(network: &[u8]) -> usize {
    let (next, offset) = match network.first().map(|first| first >> 4) {
        Some(6) => crate::ip::bytes::ipv6_upper(network).unwrap_or((0, IPV6_HEADER)),
        _ => (
            network.get(9).copied().unwrap_or_default(),
            crate::ip::bytes::ipv4_header_length(network),
        ),
    };
    match next {
        protocol::TCP => {
            let words = network.get(offset + 12).copied().unwrap_or_default() >> 4;
            offset + usize::from(words) * 4
        }
        _ => offset + 8,
    }
}

/// Writes a new total length, and the header's checksum where there is one.
pub(super) fn set_length(network: &mut [u8]) {
    let length = network.len();
    if network.first().is_some_and(|first| first >> 4 == 6) {
        let payload = u16::try_from(length.saturating_sub(IPV6_HEADER)).unwrap_or(0);
        put(network, 4, &payload.to_be_bytes());
    } else {
        let length = u16::try_from(length).unwrap_or(0);
        put(network, 2, &length.to_be_bytes());
        finish_ipv4_header(network);
    }
}
