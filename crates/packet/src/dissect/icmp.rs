//! ICMP (RFC 792), ICMPv6 (RFC 4443) and the part of neighbour discovery that resolves addresses (RFC 4861).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{SequenceNumber, Transport, array_at, mac_at, u16_at, u32_at};
use crate::{Endpoint, MacAddress, Tuple, protocol};

/// Which ICMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IcmpVersion {
    /// ICMP for IPv4.
    V4,
    /// ICMPv6.
    V6,
}

/// An ICMP or ICMPv6 message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IcmpMessage {
    /// Which ICMP.
    pub version: IcmpVersion,
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// Identifier and sequence number of an echo request or reply.
    pub echo: Option<(u16, u16)>,
    /// The next hop's MTU that "fragmentation needed" and "packet too big" name; nothing where an old router says 0.
    pub mtu: Option<u32>,
    /// The packet that an error is about, as far as it is quoted.
    pub quoted: Option<Quoted>,
    /// A neighbour solicitation or advertisement.
    pub neighbor: Option<NeighborDiscovery>,
}

impl IcmpMessage {
    /// Whether it reports an error about another packet.
    pub const fn is_error(&self) -> bool {
        match self.version {
            IcmpVersion::V4 => matches!(self.kind, 3 | 4 | 5 | 11 | 12),
            IcmpVersion::V6 => self.kind < 128,
        }
    }

    /// Whether it is an echo request.
    pub const fn is_echo_request(&self) -> bool {
        matches!(
            (self.version, self.kind),
            (IcmpVersion::V4, 8) | (IcmpVersion::V6, 128)
        )
    }

    /// Whether it is an echo reply.
    pub const fn is_echo_reply(&self) -> bool {
        matches!(
            (self.version, self.kind),
            (IcmpVersion::V4, 0) | (IcmpVersion::V6, 129)
        )
    }
}

/// The head of the packet that an ICMP error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted {
    /// Where it came from.
    pub source: IpAddr,
    /// Where it went to.
    pub destination: IpAddr,
    /// Its protocol.
    pub protocol: u8,
    /// Its ports, when enough is quoted; an echo's identifier.
    pub source_port: Option<u16>,
    /// Likewise.
    pub destination_port: Option<u16>,
    /// TCP's sequence number; an echo's.
    pub sequence: Option<SequenceNumber>,
}

impl Quoted {
    /// The flow that the quoted packet belongs to, in its own direction; nothing when its ports are not quoted.
    pub fn tuple(&self) -> Option<Tuple> {
        Some(Tuple {
            protocol: self.protocol,
            source: Endpoint::new(self.source, self.source_port?),
            destination: Endpoint::new(self.destination, self.destination_port?),
        })
    }
}

/// A neighbour solicitation or advertisement (RFC 4861 sections 4.3 and 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighborDiscovery {
    /// Solicitation (true) or advertisement.
    pub solicitation: bool,
    /// The address asked for, or answered.
    pub target: Ipv6Addr,
    /// The link-layer address option: the asker's in a solicitation, the target's in an advertisement.
    pub mac: Option<MacAddress>,
}

pub(super) fn dissect_icmp(data: &[u8], offset: usize, version: IcmpVersion) -> Transport<'_> {
    parse(data, offset, version).map_or(Transport::Truncated, Transport::Icmp)
}

fn parse(data: &[u8], offset: usize, version: IcmpVersion) -> Option<IcmpMessage> {
    let [kind, code, _, _] = array_at::<4>(data, offset)?;
    let mut message = IcmpMessage {
        version,
        kind,
        code,
        echo: None,
        mtu: None,
        quoted: None,
        neighbor: None,
    };
    if message.is_echo_request() || message.is_echo_reply() {
        message.echo = Some((u16_at(data, offset + 4)?, u16_at(data, offset + 6)?));
    } else if message.is_error() {
        message.mtu = match (version, kind, code) {
            (IcmpVersion::V4, 3, 4) => u16_at(data, offset + 6).map(u32::from),
            (IcmpVersion::V6, 2, _) => u32_at(data, offset + 4),
            _ => None,
        }
        .filter(|&mtu| mtu != 0);
        message.quoted = match version {
            IcmpVersion::V4 => quoted_v4(data, offset + 8),
            IcmpVersion::V6 => quoted_v6(data, offset + 8),
        };
    } else if version == IcmpVersion::V6 && matches!(kind, 135 | 136) {
        message.neighbor = neighbor(data, offset, kind == 135);
    }
    Some(message)
}

fn quoted_v4(data: &[u8], offset: usize) -> Option<Quoted> {
    let first = *data.get(offset)?;
    let header_length = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header_length < 20 {
        return None;
    }
    let mut quoted = Quoted {
        protocol: *data.get(offset + 9)?,
        source: Ipv4Addr::from(array_at::<4>(data, offset + 12)?).into(),
        destination: Ipv4Addr::from(array_at::<4>(data, offset + 16)?).into(),
        source_port: None,
        destination_port: None,
        sequence: None,
    };
    // A fragment that is not the first quotes payload where the ports would be.
    if u16_at(data, offset + 6)? & 0x1fff == 0 {
        quote_transport(&mut quoted, data, offset + header_length);
    }
    Some(quoted)
}

fn quoted_v6(data: &[u8], offset: usize) -> Option<Quoted> {
    if data.get(offset)? >> 4 != 6 {
        return None;
    }
    let mut quoted = Quoted {
        protocol: *data.get(offset + 6)?,
        source: Ipv6Addr::from(array_at::<16>(data, offset + 8)?).into(),
        destination: Ipv6Addr::from(array_at::<16>(data, offset + 24)?).into(),
        source_port: None,
        destination_port: None,
        sequence: None,
    };
    if let Some(chain) = super::ip::skip_extensions(data, offset + 40, quoted.protocol) {
        quoted.protocol = chain.protocol;
        if chain.fragment.is_none_or(|fragment| fragment.offset == 0) {
            quote_transport(&mut quoted, data, chain.offset);
        }
    }
    Some(quoted)
}

fn quote_transport(quoted: &mut Quoted, data: &[u8], offset: usize) {
    match quoted.protocol {
        protocol::TCP | protocol::UDP | protocol::UDP_LITE | protocol::SCTP => {
            quoted.source_port = u16_at(data, offset);
            quoted.destination_port = u16_at(data, offset + 2);
            if quoted.protocol == protocol::TCP {
                quoted.sequence = u32_at(data, offset + 4).map(SequenceNumber);
            }
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let echo = match quoted.protocol {
                protocol::ICMP => [0, 8],
                _ => [129, 128],
            };
            if data.get(offset).is_some_and(|kind| echo.contains(kind)) {
                quoted.source_port = u16_at(data, offset + 4);
                quoted.destination_port = quoted.source_port;
                quoted.sequence =
                    u16_at(data, offset + 6).map(|number| SequenceNumber(u32::from(number)));
            }
        }
        // Protocols without ports are quoted well enough by their addresses.
        _ => {
            quoted.source_port = Some(0);
            quoted.destination_port = Some(0);
        }
    }
}

fn neighbor(data: &[u8], offset: usize, solicitation: bool) -> Option<NeighborDiscovery> {
    let target = Ipv6Addr::from(array_at::<16>(data, offset + 8)?);
    // Source link-layer address is option 1, target link-layer address option 2; both one unit of 8 bytes on Ethernet.
    let wanted = if solicitation { 1 } else { 2 };
    let mut at = offset + 24;
    let mut mac = None;
    while let Some([kind, units]) = array_at::<2>(data, at) {
        if units == 0 {
            break;
        }
        if kind == wanted && units == 1 {
            mac = mac_at(data, at + 2);
            break;
        }
        at += usize::from(units) * 8;
    }
    Some(NeighborDiscovery {
        solicitation,
        target,
        mac,
    })
}
