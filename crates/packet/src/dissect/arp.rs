//! ARP (RFC 826) for IPv4 over Ethernet.

use std::net::Ipv4Addr;

use super::{Network, array_at, mac_at, u16_at};
use crate::MacAddress;

/// What an ARP packet wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArpOperation {
    /// Who has `target`? Tell `sender`.
    Request,
    /// `sender` is at `sender_mac`.
    Reply,
    /// Another operation, by number.
    Other(u16),
}

/// An ARP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArpPacket {
    /// What it wants.
    pub operation: ArpOperation,
    /// Who speaks.
    pub sender: Ipv4Addr,
    /// The speaker's MAC address.
    pub sender_mac: MacAddress,
    /// Who is asked for, or answered.
    pub target: Ipv4Addr,
    /// The target's MAC address (zero in a request).
    pub target_mac: MacAddress,
}

pub(super) fn dissect_arp(data: &[u8], offset: usize) -> Network<'_> {
    parse(data, offset).map_or(Network::Truncated, Network::Arp)
}

fn parse(data: &[u8], offset: usize) -> Option<ArpPacket> {
    // Hardware Ethernet (1) or IEEE 802 (6), protocol IPv4, addresses of 6 and 4 bytes.
    let hardware = u16_at(data, offset)?;
    let shape = array_at::<4>(data, offset + 2)?;
    if !matches!(hardware, 1 | 6) || shape != [0x08, 0x00, 6, 4] {
        return None;
    }
    Some(ArpPacket {
        operation: match u16_at(data, offset + 6)? {
            1 => ArpOperation::Request,
            2 => ArpOperation::Reply,
            other => ArpOperation::Other(other),
        },
        sender_mac: mac_at(data, offset + 8)?,
        sender: Ipv4Addr::from(array_at::<4>(data, offset + 14)?),
        target_mac: mac_at(data, offset + 18)?,
        target: Ipv4Addr::from(array_at::<4>(data, offset + 24)?),
    })
}
