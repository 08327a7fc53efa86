//! What rules look at in a packet: everything is known here.

use std::net::IpAddr;

use transect_config::IpVersion;
use transect_config::rules::{AddressKind, CtStates, PacketKind, TcpFlags};
use transect_packet::{Network, PacketType, Transport};
use transect_path::Hook;
use transect_walk::netfilter::{AddressFamily, PacketFacts};
use transect_walk::routing::{RouteDecision, RouteQuery, route};

use crate::device::{DeviceId, DeviceKind};
use crate::packet::Packet;
use crate::stack::Stack;

impl Stack {
    /// A packet's facts as the chains of a hook see them.
    pub(super) fn packet_facts(&self, hook: Hook, packet: &Packet) -> PacketFacts {
        let family = match packet.version() {
            Some(IpVersion::V4) => AddressFamily::Ip,
            Some(IpVersion::V6) => AddressFamily::Ip6,
            None => AddressFamily::Arp,
        };
        let name = |device: Option<DeviceId>| {
            let name = device.map(|device| self.device_name(device).to_owned());
            Some(name.unwrap_or_default())
        };
        let (came, leaves) = match hook {
            Hook::Ingress | Hook::PreRouting | Hook::LocalIn => (packet.in_device, None),
            Hook::LocalOut | Hook::Egress => (None, packet.out_device),
            Hook::Forward | Hook::PostRouting => (packet.in_device, packet.out_device),
        };
        let mut facts = PacketFacts {
            in_interface: name(came),
            out_interface: name(leaves),
            length: u32::try_from(packet.len()).ok(),
            mark: Some(packet.mark),
            connection_mark: Some(0),
            ct_states: CtStates::INVALID,
            packet_kind: Some(packet_kind(packet.packet_type)),
            ..PacketFacts::new(family)
        };
        self.tracking_facts(packet, &mut facts);
        let ethernet = |device: DeviceId| {
            self.link.device(device).is_some_and(|device| {
                matches!(device.kind, DeviceKind::Ethernet | DeviceKind::Bridge)
            })
        };
        if came.is_some_and(ethernet) {
            let mac = |at: usize| packet.frame().get(at..at + 6)?.try_into().ok();
            facts.destination_mac = mac(0);
            facts.source_mac = mac(6);
        }
        header_facts(packet, &mut facts);
        if self.netfilter.plan.kinds {
            facts.source_kind = facts.source.map(|address| self.address_kind(address));
            facts.destination_kind = facts.destination.map(|address| self.address_kind(address));
        }
        if self.netfilter.plan.reverse_path {
            self.reverse_path_facts(&mut facts);
        }
        facts
    }

    /// A frame's facts as the chains of a bridge's hook see them (`nft_do_chain_bridge`): the devices are ports.
    pub(super) fn frame_facts(&self, hook: Hook, packet: &Packet) -> PacketFacts {
        let name = |device: Option<DeviceId>| {
            let name = device.map(|device| self.device_name(device).to_owned());
            Some(name.unwrap_or_default())
        };
        let (came, leaves) = match hook {
            Hook::Forward => (packet.in_device, packet.out_device),
            Hook::LocalOut | Hook::PostRouting | Hook::Egress => (None, packet.out_device),
            Hook::PreRouting | Hook::LocalIn | Hook::Ingress => (packet.in_device, None),
        };
        let mac = |at: usize| packet.frame().get(at..at + 6)?.try_into().ok();
        let mut facts = PacketFacts {
            in_interface: name(came),
            out_interface: name(leaves),
            length: u32::try_from(packet.len()).ok(),
            mark: Some(packet.mark),
            packet_kind: Some(packet_kind(packet.packet_type)),
            ether_type: Some(packet.ethertype),
            destination_mac: mac(0),
            source_mac: mac(6),
            ct_states: CtStates::INVALID,
            ..PacketFacts::new(AddressFamily::Bridge)
        };
        if packet.version().is_some() {
            header_facts(packet, &mut facts);
        }
        facts
    }

    /// What connection tracking says of the packet.
    pub(super) fn tracking_facts(&self, packet: &Packet, facts: &mut PacketFacts) {
        facts.ct_states = packet.tracking.states();
        let connection = self.netfilter.connections.of(&packet.tracking);
        facts.connection_mark = Some(connection.map_or(0, |connection| connection.mark));
    }

    /// `inet_addr_type`, `ipv6_addr_type` with `fib6`: what kind of address one is here.
    fn address_kind(&self, address: IpAddr) -> AddressKind {
        if address.is_multicast() {
            return AddressKind::Multicast;
        }
        match route(&self.config, &RouteQuery::output(address, None)).decision() {
            Some(RouteDecision::Local) => AddressKind::Local,
            Some(RouteDecision::Broadcast { .. }) => AddressKind::Broadcast,
            Some(RouteDecision::Multicast { .. }) => AddressKind::Multicast,
            Some(RouteDecision::Blackhole) => AddressKind::Blackhole,
            Some(RouteDecision::Unreachable) => AddressKind::Unreachable,
            Some(RouteDecision::Prohibit) => AddressKind::Prohibit,
            _ => AddressKind::Unicast,
        }
    }

    /// Whether there is a route back to the source, and whether it leaves by the device of arrival (`rpfilter_lookup_reverse`).
    fn reverse_path_facts(&self, facts: &mut PacketFacts) {
        let Some(source) = facts.source else { return };
        let answer = route(&self.config, &RouteQuery::output(source, facts.destination));
        let (strict, loose) = match answer.decision() {
            Some(RouteDecision::Unicast { device, .. }) => {
                (Some(device) == facts.in_interface.as_ref(), true)
            }
            Some(RouteDecision::Local) => (facts.in_interface.as_deref() == Some("lo"), true),
            _ => (false, false),
        };
        facts.reverse_path = Some(strict);
        facts.reverse_path_loose = Some(loose);
    }
}

/// What stands in the IP and transport headers.
fn header_facts(packet: &Packet, facts: &mut PacketFacts) {
    let dissection = packet.dissect();
    let Network::Ip(ip) = &dissection.network else {
        return;
    };
    facts.protocol = Some(ip.protocol);
    facts.source = Some(ip.source);
    facts.destination = Some(ip.destination);
    facts.ttl = Some(ip.ttl);
    facts.dscp = Some(ip.tos >> 2);
    let offset = ip.fragment.map_or(0, |fragment| fragment.offset / 8);
    facts.fragment_offset = Some(u16::try_from(offset).unwrap_or(u16::MAX));
    match &ip.transport {
        Transport::Tcp(tcp) => {
            facts.source_port = Some(tcp.source_port);
            facts.destination_port = Some(tcp.destination_port);
            facts.tcp_flags = Some(TcpFlags(tcp.flags.0));
        }
        Transport::Udp(udp) => {
            facts.source_port = Some(udp.source_port);
            facts.destination_port = Some(udp.destination_port);
        }
        Transport::Icmp(icmp) => {
            facts.icmp_type = Some(icmp.kind);
            facts.icmp_code = Some(icmp.code);
        }
        _ => {}
    }
}

fn packet_kind(kind: PacketType) -> PacketKind {
    match kind {
        PacketType::Broadcast => PacketKind::Broadcast,
        PacketType::Multicast => PacketKind::Multicast,
        PacketType::OtherHost => PacketKind::Other,
        // What the host sends has 0 there (`PACKET_HOST`) until the link layer sets it.
        PacketType::Host | PacketType::Outgoing => PacketKind::Host,
    }
}
