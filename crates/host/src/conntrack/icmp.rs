//! ICMP and ICMPv6: errors belong to the connection of the packet that they quote (`nf_conntrack_inet_error`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use transect_packet::{IcmpMessage, IcmpVersion, IpHeader};

use super::{Connections, Info, Tracking, Tuple};

/// Where an ICMP error's quoted packet begins, behind the ICMP header.
pub(super) const QUOTED: usize = 8;

/// Source, destination, protocol and the place of the transport header of a packet that may be cut off, from its IP header on.
pub(super) fn quoted_header(bytes: &[u8], v6: bool) -> Option<(IpAddr, IpAddr, u8, usize)> {
    match v6 {
        false => {
            let header = bytes.first_chunk::<20>()?;
            let length = usize::from(header[0] & 0x0f) * 4;
            let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
            if header[0] >> 4 != 4 || length < 20 || offset != 0 {
                return None;
            }
            let address = |at: usize| {
                let bytes: [u8; 4] = header.get(at..at + 4)?.try_into().ok()?;
                Some(IpAddr::V4(Ipv4Addr::from(bytes)))
            };
            Some((address(12)?, address(16)?, header[9], length))
        }
        true => {
            let header = bytes.first_chunk::<40>()?;
            if header[0] >> 4 != 6 {
                return None;
            }
            let address = |at: usize| {
                let bytes: [u8; 16] = header.get(at..at + 16)?.try_into().ok()?;
                Some(IpAddr::V6(Ipv6Addr::from(bytes)))
            };
            let (protocol, at) = skip_extensions(bytes, header[6])?;
            Some((address(8)?, address(24)?, protocol, at))
        }
    }
}

/// Past IPv6's extension headers (`ipv6_skip_exthdr`); a later fragment has no transport header.
fn skip_extensions(bytes: &[u8], mut next: u8) -> Option<(u8, usize)> {
    let mut at = 40;
    // RFC 8200 section 4.1 knows seven; more are a damaged packet.
    for _ in 0..8 {
        let (kind, length) = (*bytes.get(at)?, usize::from(*bytes.get(at + 1)?));
        let step = match next {
            0 | 43 | 60 => (length + 1) * 8,
            51 => (length + 2) * 4,
            44 => {
                let offset = u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]);
                if offset & 0xfff8 != 0 {
                    return None;
                }
                8
            }
            _ => return Some((next, at)),
        };
        next = kind;
        at += step;
    }
    None
}

/// What is to be done with an ICMP message before it is looked for in the table.
#[derive(Debug)]
pub(super) enum Seen {
    /// It is no error: it has a connection of its own.
    Message,
    /// This is what is known of it.
    Settled(Tracking),
    /// An error about nothing that is known, or damaged.
    Nothing,
}

impl Connections {
    /// Looks at an ICMP message (`nf_conntrack_icmpv4_error`, `nf_conntrack_icmpv6_error`).
    pub(super) fn look_at_icmp(
        &mut self,
        ip: &IpHeader<'_>,
        icmp: &IcmpMessage,
        network: &[u8],
        jiffies: u64,
    ) -> Seen {
        let v6 = icmp.version == IcmpVersion::V6;
        // Neighbour and router discovery, multicast listeners: they have no connection at all.
        if v6 && matches!(icmp.kind, 130..=136 | 143) {
            return Seen::Settled(Tracking::Untracked);
        }
        // `NR_ICMP_TYPES`
        if !v6 && icmp.kind > 18 {
            return Seen::Nothing;
        }
        // Redirects of IPv6 quote behind options; they are about no connection that has to be known.
        if !icmp.is_error() {
            return Seen::Message;
        }
        let at = usize::from(ip.transport_offset) + QUOTED;
        let quoted = network.get(at..).unwrap_or_default();
        let Some(tuple) = Tuple::of_quoted(quoted, v6) else {
            return Seen::Nothing;
        };
        // The quoted packet's answers: in the direction in which the error goes.
        let Some((id, reply)) = tuple
            .inverted()
            .and_then(|tuple| self.find(&tuple, jiffies))
        else {
            return Seen::Nothing;
        };
        let goes_to = self.get(id).map(|connection| match reply {
            true => connection.reply.destination,
            false => connection.original.destination,
        });
        if goes_to != Some(ip.destination) {
            return Seen::Nothing;
        }
        let info = if reply {
            Info::RelatedReply
        } else {
            Info::Related
        };
        Seen::Settled(Tracking::Entry { id, info })
    }
}
