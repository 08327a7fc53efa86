//! The internet checksum (RFC 1071), on demand.

use std::net::IpAddr;

use crate::dissect::{Dissection, Network, Transport};
use crate::protocol;

/// The folded one's complement sum of `bytes` (an odd last byte counts as high), added to `sum`.
#[inline]
pub(crate) fn ones_complement_sum(sum: u64, bytes: &[u8]) -> u16 {
    let mut sum = sum;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        sum += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    sum += match *words.remainder() {
        [a] => u64::from(a) << 8,
        [a, b] => u64::from(u16::from_be_bytes([a, b])),
        [a, b, c] => u64::from(u16::from_be_bytes([a, b])) + (u64::from(c) << 8),
        _ => 0,
    };
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Whether the transport's checksum holds; nothing where the packet was not captured whole, is a fragment, carries no
/// checksum, or is neither TCP, UDP nor ICMP.
///
/// A wrong checksum in a capture usually means **nothing**: with checksum offload the kernel hands packets to the tap
/// before the checksum is finished, on both ends of a virtual link. Only the receiver's counters (`TcpInCsumErrors`,
/// `UdpInCsumErrors`) or drop reasons prove damage.
pub fn transport_checksum(data: &[u8], dissection: &Dissection) -> Option<bool> {
    let Network::Ip(ip) = &dissection.network else {
        return None;
    };
    if ip.fragment.is_some() {
        return None;
    }
    let length = ip.payload_length();
    let start = usize::from(ip.transport_offset);
    let segment = data.get(start..start.checked_add(length as usize)?)?;
    let with_pseudo_header = match &ip.transport {
        Transport::Tcp(_) => true,
        Transport::Udp(udp) if udp.checksum == 0 && ip.source.is_ipv4() => return None,
        // UDP-Lite's checksum covers what its own length field says.
        Transport::Udp(udp) if ip.protocol == protocol::UDP && u32::from(udp.length) == length => {
            true
        }
        Transport::Icmp(_) => ip.protocol == protocol::ICMPV6,
        _ => return None,
    };
    let pseudo = if with_pseudo_header {
        let addresses = match (ip.source, ip.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                u64::from(ones_complement_sum(0, &source.octets()))
                    + u64::from(ones_complement_sum(0, &destination.octets()))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                u64::from(ones_complement_sum(0, &source.octets()))
                    + u64::from(ones_complement_sum(0, &destination.octets()))
            }
            _ => return None,
        };
        addresses + u64::from(ip.protocol) + u64::from(length)
    } else {
        0
    };
    Some(ones_complement_sum(pseudo, segment) == 0xffff)
}
