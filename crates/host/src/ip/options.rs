//! Options: IPv4's (`ip_options_compile`, `ip_rcv_options`; RFC 791 section 3.1) and IPv6's (`ip6_parse_tlv`; RFC 8200
//! section 4.2).

use transect_path::Point;

use crate::counters::IpCounter;
use crate::drop_reason::DropReason;
use crate::ip::bytes::{IPV4_HEADER, ipv4_header_length, ipv6_at};
use crate::packet::Packet;
use crate::stack::Stack;
use crate::transport::icmp;

/// What is wrong with an IPv4 packet's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// They cannot be read; where, in bytes from the header's start.
    Malformed(u8),
    /// They ask for a source route, which `accept_source_route` forbids by default.
    SourceRoute,
}

/// Looks through an IPv4 header's options; IPv6 has none there.
pub(super) fn problem(network: &[u8]) -> Option<Problem> {
    let header = ipv4_header_length(network);
    if header <= IPV4_HEADER || network.first().is_none_or(|first| first >> 4 != 4) {
        return None;
    }
    let mut at = IPV4_HEADER;
    let mut source_route = false;
    while at < header {
        match network.get(at).copied() {
            None | Some(0) => break,
            Some(1) => at += 1,
            Some(kind) => {
                let length = usize::from(network.get(at + 1).copied().unwrap_or_default());
                if at + 1 >= header || length < 2 || at + length > header {
                    return Some(Problem::Malformed(at as u8));
                }
                let pointer = network.get(at + 2).copied().unwrap_or_default();
                let least = match kind {
                    // Loose and strict source route, record route; timestamp.
                    131 | 137 | 7 => Some((3, 4)),
                    68 => Some((4, 5)),
                    _ => None,
                };
                if let Some((shortest, first)) = least {
                    if length < shortest {
                        return Some(Problem::Malformed(at as u8 + 1));
                    }
                    if pointer < first {
                        return Some(Problem::Malformed(at as u8 + 2));
                    }
                }
                source_route |= matches!(kind, 131 | 137);
                at += length;
            }
        }
    }
    source_route.then_some(Problem::SourceRoute)
}

/// What a header of IPv6 options asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tlv {
    /// All is well; what follows begins there.
    Fine,
    /// Cannot be read, or is to be dropped in silence.
    Drop,
    /// To be dropped, and the sender is to be told of the option at this place.
    Tell(usize),
}

impl Stack {
    /// IPv6's hop-by-hop or destination options at `offset`. Nothing: the packet died.
    pub(super) fn receive_options(
        &mut self,
        packet: Packet,
        offset: usize,
        point: Point,
    ) -> Option<Packet> {
        match tlv(packet.network(), offset) {
            Tlv::Fine => Some(packet),
            Tlv::Drop => {
                self.count_ip(transect_config::IpVersion::V6, IpCounter::InHdrErrors);
                self.drop_packet(packet, point, DropReason::IpInhdr);
                None
            }
            Tlv::Tell(place) => {
                self.count_ip(transect_config::IpVersion::V6, IpCounter::InHdrErrors);
                self.icmp_error(
                    &packet,
                    icmp::V6_PARAMETER_PROBLEM,
                    icmp::V6_UNKNOWN_OPTION,
                    place as u32,
                );
                self.drop_packet(packet, point, DropReason::UnhandledProto);
                None
            }
        }
    }
}

fn tlv(network: &[u8], offset: usize) -> Tlv {
    let Some(units) = network.get(offset + 1) else {
        return Tlv::Drop;
    };
    let end = offset + (usize::from(*units) + 1) * 8;
    if end > network.len() {
        return Tlv::Drop;
    }
    let mut at = offset + 2;
    while at < end {
        let Some(kind) = network.get(at).copied() else {
            return Tlv::Drop;
        };
        if kind == 0 {
            at += 1;
            continue;
        }
        let Some(length) = network.get(at + 1) else {
            return Tlv::Drop;
        };
        let next = at + 2 + usize::from(*length);
        if next > end {
            return Tlv::Drop;
        }
        // PadN, router alert, quick-start, tunnel limit, home address: known, and nothing to do here.
        if !matches!(kind, 1 | 4 | 5 | 0xc9) {
            match kind >> 6 {
                0 => {}
                1 => return Tlv::Drop,
                3 if ipv6_at(network, 24).is_multicast() => return Tlv::Drop,
                _ => return Tlv::Tell(at),
            }
        }
        at = next;
    }
    Tlv::Fine
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(options: &[u8]) -> Vec<u8> {
        let words = 5 + options.len() / 4;
        let mut header = vec![0x40 | words as u8];
        header.resize(20, 0);
        header.extend(options);
        header
    }

    #[test]
    fn options_are_read_as_the_kernel_reads_them() {
        assert_eq!(problem(&with(&[])), None);
        assert_eq!(problem(&with(&[1, 1, 0, 9])), None);
        // Record route with room.
        assert_eq!(problem(&with(&[7, 7, 4, 0, 0, 0, 0, 0])), None);
        assert_eq!(
            problem(&with(&[0x44, 9, 0, 0])),
            Some(Problem::Malformed(20)),
            "longer than the header"
        );
        assert_eq!(
            problem(&with(&[0x83, 7, 4, 10, 0, 0, 1, 0])),
            Some(Problem::SourceRoute)
        );
    }

    #[test]
    fn unknown_ipv6_options_are_treated_by_their_first_two_bits() {
        let packet = |kind: u8| {
            let mut bytes = vec![0x60; 1];
            bytes.resize(40, 0);
            bytes.extend([17, 0, kind, 0, 1, 2, 0, 0]);
            bytes
        };
        assert_eq!(tlv(&packet(0x1e), 40), Tlv::Fine);
        assert_eq!(tlv(&packet(0x5e), 40), Tlv::Drop);
        assert_eq!(tlv(&packet(0x9e), 40), Tlv::Tell(42));
        assert_eq!(tlv(&packet(0xde), 40), Tlv::Tell(42));
        // The padding runs out of the header.
        let mut long = packet(1);
        long[43] = 9;
        assert_eq!(tlv(&long, 40), Tlv::Drop);
    }
}
