//! Link headers.

use super::{LinkHeader, PacketType, mac_at, u16_at, u32_at};
use crate::LinkType;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// 802.1Q, 802.1ad, and the older 0x9100 that switches used for stacked tags.
const ETHERTYPE_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// More tags than this are no frame that a network carries.
const MAX_TAGS: usize = 8;

/// What follows the link header, and where.
pub(super) enum Payload {
    Ip(usize),
    Arp(usize),
    Other(u16),
    Truncated,
}

/// Fills `header`, which is the default one on entry: in place, as all that is on the way of every frame (see `ip`).
#[inline(always)]
pub(super) fn dissect_link(link: LinkType, data: &[u8], header: &mut LinkHeader) -> Payload {
    match link {
        LinkType::ETHERNET => ethernet(data, header),
        LinkType::LINUX_SLL => cooked(data, header),
        LinkType::LINUX_SLL2 => cooked2(data, header),
        LinkType::RAW
        | LinkType::RAW_BSD
        | LinkType::RAW_OPENBSD
        | LinkType::IPV4
        | LinkType::IPV6 => raw(data, 0),
        // The address family (AF_INET6 differs between systems, and NULL has the writer's byte order) says no more
        // than the version of the IP header that follows.
        LinkType::NULL | LinkType::LOOP => raw(data, 4),
        LinkType(other) => Payload::Other(other),
    }
}

fn raw(data: &[u8], offset: usize) -> Payload {
    match data.get(offset).map(|first| first >> 4) {
        Some(4 | 6) => Payload::Ip(offset),
        Some(_) => Payload::Other(0),
        None => Payload::Truncated,
    }
}

#[inline(always)]
fn ethernet(data: &[u8], header: &mut LinkHeader) -> Payload {
    header.destination = mac_at(data, 0);
    header.source = mac_at(data, 6);
    match u16_at(data, 12) {
        Some(kind) => ethertype(data, kind, 14, header),
        None => Payload::Truncated,
    }
}

#[inline(always)]
fn ethertype(data: &[u8], kind: u16, offset: usize, header: &mut LinkHeader) -> Payload {
    match kind {
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => Payload::Ip(offset),
        ETHERTYPE_ARP => Payload::Arp(offset),
        kind if ETHERTYPE_VLAN.contains(&kind) => tagged(data, offset, header),
        other => Payload::Other(other),
    }
}

fn tagged(data: &[u8], mut offset: usize, header: &mut LinkHeader) -> Payload {
    for _ in 0..MAX_TAGS {
        let (Some(tag), Some(kind)) = (u16_at(data, offset), u16_at(data, offset + 2)) else {
            return Payload::Truncated;
        };
        header.vlan.get_or_insert(tag & 0x0fff);
        offset += 4;
        match kind {
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => return Payload::Ip(offset),
            ETHERTYPE_ARP => return Payload::Arp(offset),
            kind if ETHERTYPE_VLAN.contains(&kind) => {}
            other => return Payload::Other(other),
        }
    }
    Payload::Other(ETHERTYPE_VLAN[0])
}

fn packet_type(number: u16) -> Option<PacketType> {
    Some(match number {
        0 => PacketType::Host,
        1 => PacketType::Broadcast,
        2 => PacketType::Multicast,
        3 => PacketType::OtherHost,
        4 => PacketType::Outgoing,
        _ => return None,
    })
}

/// LINKTYPE_LINUX_SLL: packet type, hardware type, address length, address (8), protocol.
fn cooked(data: &[u8], header: &mut LinkHeader) -> Payload {
    header.source = match u16_at(data, 4) {
        Some(6) => mac_at(data, 6),
        _ => None,
    };
    header.packet_type = u16_at(data, 0).and_then(packet_type);
    match u16_at(data, 14) {
        Some(kind) => ethertype(data, kind, 16, header),
        None => Payload::Truncated,
    }
}

/// LINKTYPE_LINUX_SLL2: protocol, reserved, interface index, hardware type, packet type, address length, address (8).
fn cooked2(data: &[u8], header: &mut LinkHeader) -> Payload {
    header.source = match data.get(11) {
        Some(6) => mac_at(data, 12),
        _ => None,
    };
    header.packet_type = data.get(10).and_then(|&kind| packet_type(u16::from(kind)));
    header.interface_index = u32_at(data, 4);
    match u16_at(data, 0) {
        Some(kind) if data.len() >= 20 => ethertype(data, kind, 20, header),
        _ => Payload::Truncated,
    }
}
