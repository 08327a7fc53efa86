//! One frame, taken apart: link header, IP, and what it carries.
//!
//! Lengths come from the IP headers, never from how much was captured, so that a file of short snaps says the same as one
//! of whole frames. No allocation; every read is checked against the captured bytes.

mod arp;
mod icmp;
mod ip;
mod link;
mod tcp;

use std::net::IpAddr;

pub use arp::{ArpOperation, ArpPacket};
pub use icmp::{IcmpMessage, IcmpVersion, NeighborDiscovery, Quoted};
pub use tcp::{SackBlock, SequenceNumber, TcpFlags, TcpHeader, TcpOptions, TcpTimestamps};

use crate::{LinkType, MacAddress};

/// What one frame says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dissection<'a> {
    /// The link header.
    pub link: LinkHeader,
    /// What it carries.
    pub network: Network<'a>,
}

/// The link header's fields, as far as the link type has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkHeader {
    /// The sender's MAC address.
    pub source: Option<MacAddress>,
    /// The receiver's MAC address.
    pub destination: Option<MacAddress>,
    /// The outermost VLAN identifier.
    pub vlan: Option<u16>,
    /// How the capturing host classified the frame (SLL and SLL2 only).
    pub packet_type: Option<PacketType>,
    /// The capturing host's index of the interface (SLL2 only; 0 when the kernel did not say).
    pub interface_index: Option<u32>,
}

/// The packet type of a Linux cooked capture (`PACKET_HOST` …, <linux/if_packet.h>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketType {
    /// To this host.
    Host,
    /// Broadcast.
    Broadcast,
    /// Multicast.
    Multicast,
    /// To another host: a promiscuous capture sees it, the IP layer does not take it.
    OtherHost,
    /// Sent by this host.
    Outgoing,
}

/// What the link header announces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Network<'a> {
    /// IPv4 or IPv6.
    Ip(IpHeader<'a>),
    /// ARP for IPv4.
    Arp(ArpPacket),
    /// Another EtherType (for 802.3 frames: the length).
    Other(u16),
    /// Too little was captured to say, or the header is damaged.
    #[default]
    Truncated,
}

/// An IPv4 or IPv6 header with what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpHeader<'a> {
    /// Where the packet comes from.
    pub source: IpAddr,
    /// Where it goes to.
    pub destination: IpAddr,
    /// The transport's protocol number (behind IPv6's extension headers).
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// Header and payload in bytes. Where the header says 0 (segmentation offload, BIG TCP), from the frame's length on
    /// the wire.
    pub total_length: u32,
    /// IPv4 identification; that of IPv6's fragment header; else 0.
    pub identification: u32,
    /// IPv4's "don't fragment"; IPv6 never fragments on the way: true.
    pub dont_fragment: bool,
    /// Set when the packet is a fragment.
    pub fragment: Option<Fragment>,
    /// Whether IPv4's header checksum holds; nothing for IPv6.
    pub header_checksum_ok: Option<bool>,
    /// Where the IP header starts in the frame, in bytes.
    pub offset: u16,
    /// Where the transport header starts in the frame, in bytes.
    pub transport_offset: u16,
    /// What it carries.
    pub transport: Transport<'a>,
}

impl IpHeader<'_> {
    /// Bytes behind the IP header and its extensions.
    pub fn payload_length(&self) -> u32 {
        let headers = self.transport_offset.saturating_sub(self.offset);
        self.total_length.saturating_sub(u32::from(headers))
    }
}

/// A fragment's place (RFC 791 section 3.1, RFC 8200 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// In bytes from the start of the unfragmented packet's payload.
    pub offset: u32,
    /// Whether more fragments follow.
    pub more: bool,
}

/// What an IP packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport<'a> {
    /// TCP.
    Tcp(TcpHeader<'a>),
    /// UDP or UDP-Lite.
    Udp(UdpHeader),
    /// ICMP or ICMPv6.
    Icmp(IcmpMessage),
    /// A fragment that is not the first one: its transport header is in another packet.
    Fragment,
    /// Another protocol.
    Other,
    /// Too little was captured to say, or the header is damaged.
    Truncated,
}

/// A UDP header (RFC 768).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpHeader {
    /// Where it comes from.
    pub source_port: u16,
    /// Where it goes to.
    pub destination_port: u16,
    /// Header and payload in bytes, as the header says (0 in an IPv6 jumbogram).
    pub length: u16,
    /// The checksum as it stands in the header; 0: none. With offload it is unfinished (see [`crate::transport_checksum`]).
    pub checksum: u16,
}

impl UdpHeader {
    /// Bytes of payload.
    pub const fn payload_length(&self) -> u32 {
        (self.length as u32).saturating_sub(8)
    }
}

/// Takes a frame apart. `data` is what was captured of it, `original_length` its length on the wire.
///
/// Never fails: what cannot be read is `Truncated` or `Other`.
pub fn dissect(link: LinkType, data: &[u8], original_length: u32) -> Dissection<'_> {
    let mut dissection = Dissection::default();
    dissection.fill(link, data, original_length);
    dissection
}

impl<'a> Dissection<'a> {
    /// As [`dissect`], into an empty value that is there already: for whoever goes through millions of frames.
    #[inline(always)]
    pub fn fill(&mut self, link: LinkType, data: &'a [u8], original_length: u32) {
        *self = Dissection::default();
        match link::dissect_link(link, data, &mut self.link) {
            link::Payload::Ip(offset) => {
                ip::dissect_ip(data, offset, original_length, &mut self.network);
            }
            link::Payload::Arp(offset) => self.network = arp::dissect_arp(data, offset),
            link::Payload::Other(kind) => self.network = Network::Other(kind),
            link::Payload::Truncated => {}
        }
    }
}

/// Big-endian 16 bits at `at`.
#[inline]
fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// Big-endian 32 bits at `at`.
#[inline]
fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// `N` bytes at `at`.
#[inline]
fn array_at<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The MAC address at `at`.
#[inline]
fn mac_at(data: &[u8], at: usize) -> Option<MacAddress> {
    array_at(data, at).map(MacAddress)
}

#[cfg(test)]
mod tests;
