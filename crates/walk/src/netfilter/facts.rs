//! What is known about a packet when rules look at it.

use std::net::IpAddr;

use transect_config::rules::{AddressKind, CtStates, PacketKind, TcpFlags};
use transect_path::named_enum;

use super::Ternary;

named_enum! {
    /// Which tables see the packet.
    pub enum AddressFamily {
        /// IPv4: `ip` and `inet`.
        Ip => "ip",
        /// IPv6: `ip6` and `inet`.
        Ip6 => "ip6",
        /// ARP.
        Arp => "arp",
        /// A frame in a bridge.
        Bridge => "bridge",
    }
}

/// What is known about one packet. Everything that is `None` makes a match on it "depends".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketFacts {
    /// Which tables see it.
    pub family: AddressFamily,
    /// The transport protocol, behind all extension headers.
    pub protocol: Option<u8>,
    /// Source address.
    pub source: Option<IpAddr>,
    /// Destination address.
    pub destination: Option<IpAddr>,
    /// Source port, of a protocol that has ports.
    pub source_port: Option<u16>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// TCP flags.
    pub tcp_flags: Option<TcpFlags>,
    /// ICMP or ICMPv6 type.
    pub icmp_type: Option<u8>,
    /// ICMP or ICMPv6 code.
    pub icmp_code: Option<u8>,
    /// The interface by which it came; the empty name: it came by none. At LOCAL_OUT that goes without saying.
    pub in_interface: Option<String>,
    /// The interface by which it leaves; the empty name: by none. At PRE_ROUTING and LOCAL_IN that goes without saying.
    pub out_interface: Option<String>,
    /// Length from the IP header on, in bytes.
    pub length: Option<u32>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// DSCP.
    pub dscp: Option<u8>,
    /// The packet's mark.
    pub mark: Option<u32>,
    /// The connection's mark.
    pub connection_mark: Option<u32>,
    /// The connection tracking states that are possible.
    pub ct_states: CtStates,
    /// Whether it is the first packet of its connection tracking entry, for which alone NAT rules are asked. None: it may be,
    /// if it is NEW (a retransmitted SYN is NEW, and not the first).
    pub first_of_connection: Option<bool>,
    /// What kind of address the source is on this host.
    pub source_kind: Option<AddressKind>,
    /// What kind of address the destination is on this host.
    pub destination_kind: Option<AddressKind>,
    /// Offset of a fragment, in units of 8 bytes; 0: whole, or a first fragment.
    pub fragment_offset: Option<u16>,
    /// For whom the frame was.
    pub packet_kind: Option<PacketKind>,
    /// The frame's EtherType, where no IP version tells it (a frame in a bridge).
    pub ether_type: Option<u16>,
    /// Source MAC address.
    pub source_mac: Option<[u8; 6]>,
    /// Destination MAC address.
    pub destination_mac: Option<[u8; 6]>,
    /// Whether a route back to the source leaves by the input interface.
    pub reverse_path: Option<bool>,
    /// Whether there is any route back to the source.
    pub reverse_path_loose: Option<bool>,
}

impl PacketFacts {
    /// A packet of which nothing else is known.
    pub fn new(family: AddressFamily) -> Self {
        PacketFacts {
            family,
            protocol: None,
            source: None,
            destination: None,
            source_port: None,
            destination_port: None,
            tcp_flags: None,
            icmp_type: None,
            icmp_code: None,
            in_interface: None,
            out_interface: None,
            length: None,
            ttl: None,
            dscp: None,
            mark: None,
            connection_mark: None,
            ct_states: CtStates::ALL,
            first_of_connection: None,
            source_kind: None,
            destination_kind: None,
            fragment_offset: None,
            packet_kind: None,
            ether_type: None,
            source_mac: None,
            destination_mac: None,
            reverse_path: None,
            reverse_path_loose: None,
        }
    }

    /// Whether the packet has a connection tracking entry.
    pub fn is_tracked(&self) -> Ternary {
        let without = CtStates::INVALID.union(CtStates::UNTRACKED);
        if without.contains(self.ct_states) {
            Ternary::No
        } else if self.ct_states.intersection(without).is_empty() {
            Ternary::Yes
        } else {
            Ternary::Maybe
        }
    }

    /// What holds for both: everything on which they differ becomes unknown.
    pub fn merged(&self, other: &PacketFacts) -> PacketFacts {
        fn both<T: Clone + PartialEq>(a: &Option<T>, b: &Option<T>) -> Option<T> {
            if a == b { a.clone() } else { None }
        }
        macro_rules! merge {
            ($($field:ident),+ $(,)?) => {
                PacketFacts {
                    family: self.family,
                    ct_states: self.ct_states.union(other.ct_states),
                    $( $field: both(&self.$field, &other.$field), )+
                }
            };
        }
        merge!(
            protocol,
            source,
            destination,
            source_port,
            destination_port,
            tcp_flags,
            icmp_type,
            icmp_code,
            in_interface,
            out_interface,
            length,
            ttl,
            dscp,
            mark,
            connection_mark,
            first_of_connection,
            source_kind,
            destination_kind,
            fragment_offset,
            packet_kind,
            ether_type,
            source_mac,
            destination_mac,
            reverse_path,
            reverse_path_loose,
        )
    }
}
