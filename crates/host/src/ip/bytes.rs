//! Numbers in packets, and the internet checksum (RFC 1071) as something that is to be written, not only verified.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ip::Received;
use crate::packet::{ChecksumState, Packet};

/// Length of an IPv4 header without options, in bytes.
pub(crate) const IPV4_HEADER: usize = 20;
/// Length of the IPv6 header, in bytes.
pub(crate) const IPV6_HEADER: usize = 40;
/// Length of IPv6's fragment header, in bytes.
pub(crate) const FRAGMENT_HEADER: usize = 8;
/// IPv6's next header number of the fragment header.
pub(crate) const NEXT_FRAGMENT: u8 = 44;

/// Big-endian 16 bits at `at`; 0 where there are none.
#[inline]
pub(crate) fn u16_at(data: &[u8], at: usize) -> u16 {
    match data.get(at..) {
        Some([high, low, ..]) => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

/// Big-endian 32 bits at `at`; 0 where there are none.
#[inline]
pub(crate) fn u32_at(data: &[u8], at: usize) -> u32 {
    match data.get(at..) {
        Some([a, b, c, d, ..]) => u32::from_be_bytes([*a, *b, *c, *d]),
        _ => 0,
    }
}

/// Writes bytes at `at`; nothing happens where there is no room.
#[inline]
pub(crate) fn put(data: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = data.get_mut(at..at.saturating_add(bytes.len())) {
        place.copy_from_slice(bytes);
    }
}

/// The IPv4 address at `at`.
#[inline]
pub(crate) fn ipv4_at(data: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32_at(data, at))
}

/// The IPv6 address at `at`.
#[inline]
pub(crate) fn ipv6_at(data: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    if let Some(bytes) = data.get(at..at.saturating_add(16)) {
        octets.copy_from_slice(bytes);
    }
    Ipv6Addr::from(octets)
}

/// The one's complement sum of bytes, added to `start` (`csum_partial`). An odd last byte counts as high.
pub(crate) fn ones_sum(start: u32, bytes: &[u8]) -> u32 {
    // Words in the machine's own order: the sum only comes out with its bytes swapped (RFC 1071 section 2 (B)).
    let sum = match bytes.len() {
        0..BLOCK => short_sum(bytes),
        _ => long_sum(bytes),
    };
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let folded = u16::from_be(fold(sum as u32));
    u32::from(fold(start)) + u32::from(folded)
}

/// Bytes that are summed up at once where there are many.
const BLOCK: usize = 32;

/// Of less than a block: a header. Far from overflowing.
#[inline]
fn short_sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum = 0;
    for word in words {
        sum += u64::from(u32::from_ne_bytes(*word));
    }
    let rest = match *rest {
        [] => return sum,
        [a] => [a, 0, 0, 0],
        [a, b] => [a, b, 0, 0],
        [a, b, c, ..] => [a, b, c, 0],
    };
    sum + u64::from(u32::from_ne_bytes(rest))
}

/// Of any number of bytes, in at most 36 bits.
fn long_sum(bytes: &[u8]) -> u64 {
    // Four sums at once, each with its carries put back, so that none waits for another.
    let mut lanes = [0u64; 4];
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            let (added, carry) = lane.overflowing_add(u64::from_ne_bytes(*word));
            *lane = added.wrapping_add(u64::from(carry));
        }
    }
    let sum: u64 = lanes
        .iter()
        .map(|lane| (lane & 0xffff_ffff) + (lane >> 32))
        .sum();
    sum + short_sum(rest)
}

/// The same of an IPv4 header without options (`ip_fast_csum`), in 16 bits.
#[inline]
pub(crate) fn ipv4_header_sum(header: &[u8; IPV4_HEADER]) -> u16 {
    let sum = short_sum(header);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    u16::from_be(fold(sum as u32))
}

/// A sum in 16 bits (`csum_fold` without the complement).
#[inline]
pub(crate) fn fold(sum: u32) -> u16 {
    // The first addition may carry once more, the second cannot.
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The sum of TCP's and UDP's pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1). `length` is the transport header's and
/// what follows it.
#[inline]
pub(crate) fn pseudo_header(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    length: usize,
) -> u32 {
    let mut sum = u32::from(protocol) + (length as u32 & 0xffff) + (length as u32 >> 16);
    for address in [source, destination] {
        sum += match address {
            IpAddr::V4(address) => {
                let bits = address.to_bits();
                (bits >> 16) + (bits & 0xffff)
            }
            IpAddr::V6(address) => ones_sum(0, &address.octets()),
        };
    }
    sum
}

/// Whether the transport's checksum over the pseudo header holds; what the device verified, or is still to finish, counts as
/// right (`skb_csum_unnecessary`).
pub(crate) fn transport_checksum_ok(packet: &Packet, received: &Received) -> bool {
    if packet.checksum != ChecksumState::None {
        return true;
    }
    let segment = packet.network().get(received.offset..).unwrap_or_default();
    let pseudo = pseudo_header(
        received.source,
        received.destination,
        received.protocol,
        segment.len(),
    );
    fold(ones_sum(pseudo, segment)) == 0xffff
}

/// Writes an IPv4 header's checksum anew (`ip_send_check`).
pub(crate) fn finish_ipv4_header(network: &mut [u8]) {
    let length = ipv4_header_length(network);
    put(network, 10, &[0, 0]);
    let sum = fold(ones_sum(0, network.get(..length).unwrap_or_default()));
    put(network, 10, &(!sum).to_be_bytes());
}

/// What an IPv4 header says of its own length, in bytes.
#[inline]
pub(crate) fn ipv4_header_length(network: &[u8]) -> usize {
    usize::from(network.first().copied().unwrap_or_default() & 0x0f) * 4
}

/// Source and destination of an IP packet, by the version in its first byte.
#[inline]
pub(crate) fn addresses(network: &[u8]) -> (IpAddr, IpAddr) {
    if network.first().is_some_and(|first| first >> 4 == 6) {
        (ipv6_at(network, 8).into(), ipv6_at(network, 24).into())
    } else {
        (ipv4_at(network, 12).into(), ipv4_at(network, 16).into())
    }
}

/// TOS or traffic class of an IP packet.
#[inline]
pub(crate) fn tos(network: &[u8]) -> u8 {
    match network {
        [first, second, ..] if first >> 4 == 6 => first << 4 | second >> 4,
        [_, second, ..] => *second,
        _ => 0,
    }
}

/// Where IPv6's upper layer begins, and its number (`ipv6_skip_exthdr`): behind hop-by-hop, routing and destination options. The
/// fragment header is not passed. Nothing where the chain is cut off.
pub(crate) fn ipv6_upper(network: &[u8]) -> Option<(u8, usize)> {
    let mut next = *network.get(6)?;
    let mut offset = IPV6_HEADER;
    // No sane chain is longer.
    for _ in 0..16 {
        let length = match next {
            0 | 43 | 60 | 135 | 139 | 140 => {
                (usize::from(*network.get(offset + 1)?) + 1).saturating_mul(8)
            }
            51 => (usize::from(*network.get(offset + 1)?) + 2).saturating_mul(4),
            _ => return Some((next, offset)),
        };
        next = *network.get(offset)?;
        offset = offset.saturating_add(length);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_rfc_1071() {
        // RFC 1071 section 3.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(ones_sum(0, &bytes)), 0xddf2);
        // An odd byte is high; what was there is added.
        assert_eq!(fold(ones_sum(0, &[0xab])), 0xab00);
        assert_eq!(fold(ones_sum(0x1234, &[0x00, 0x01, 0x02])), 0x1435);
        // A carry out of 16 bits comes back.
        assert_eq!(fold(ones_sum(0xffff, &[0x00, 0x02])), 0x0002);
    }

    #[test]
    fn long_sums_are_those_of_their_words() {
        let bytes: Vec<u8> = (0..3000u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80)
            .collect();
        for length in [31, 32, 33, 64, 1447, 1448, 3000] {
            let mut sum = 7u64;
            for pair in bytes[..length].chunks(2) {
                sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
            }
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            assert_eq!(
                u64::from(fold(ones_sum(7, &bytes[..length]))),
                sum,
                "{length} bytes"
            );
        }
        assert_eq!(fold(ones_sum(0, &[0xff; 64])), 0xffff);
    }

    #[test]
    fn a_header_checks_out_once_it_is_finished() {
        let mut header = [
            0x45, 0, 0, 60, 0x1c, 0x46, 0x40, 0, 64, 6, 0xaa, 0xaa, 172, 16, 10, 99, 172, 16, 10,
            12,
        ];
        finish_ipv4_header(&mut header);
        // The well-known example.
        assert_eq!(u16_at(&header, 10), 0xb1e6);
        assert_eq!(fold(ones_sum(0, &header)), 0xffff);
    }

    #[test]
    fn extension_headers_are_passed_the_fragment_header_is_not() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 24, 0, 64];
        packet.resize(40, 0);
        packet.extend([60, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend([17, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(ipv6_upper(&packet), Some((17, 56)));
        packet.truncate(41);
        assert_eq!(ipv6_upper(&packet), None);
    }
}
