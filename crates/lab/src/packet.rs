//! Packets built by hand: IPv4 or IPv6 around a TCP SYN or a UDP datagram, with a right or a wrong checksum.

use std::net::{IpAddr, SocketAddr};

use crate::scenario::Segment;

/// What to build.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PacketPlan {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) segment: Segment,
    /// Payload of a datagram.
    pub(crate) bytes: u16,
    pub(crate) bad_checksum: bool,
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const HOP_LIMIT: u8 = 64;

/// The IP packet. `None` when the two addresses are of different families or the packet would be too long.
pub(crate) fn build(plan: &PacketPlan) -> Option<Vec<u8>> {
    let (protocol, mut segment) = match plan.segment {
        Segment::Syn => (TCP, syn(plan)),
        Segment::Datagram => (UDP, datagram(plan)?),
    };
    let checksum_at = match plan.segment {
        Segment::Syn => 16,
        Segment::Datagram => 6,
    };
    let mut sum = transport_checksum(plan.from.ip(), plan.to.ip(), protocol, &segment);
    if plan.bad_checksum {
        sum = !sum;
    }
    // RFC 768: zero says that there is none.
    if sum == 0 && protocol == UDP {
        sum = 0xffff;
    }
    segment
        .get_mut(checksum_at..checksum_at + 2)?
        .copy_from_slice(&sum.to_be_bytes());
    let length = u16::try_from(segment.len()).ok()?;
    let mut packet = match (plan.from.ip(), plan.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0x45, 0];
            header.extend(length.checked_add(20)?.to_be_bytes());
            // Identification 0 and DF: RFC 6864.
            header.extend([0, 0, 0x40, 0, HOP_LIMIT, protocol, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            let sum = checksum(&header, 0);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            header
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length.to_be_bytes());
            header.extend([protocol, HOP_LIMIT]);
            header.extend(from.octets());
            header.extend(to.octets());
            header
        }
        _ => return None,
    };
    packet.extend(segment);
    Some(packet)
}

/// RFC 9293, section 3.1, with a maximum segment size of 1460 (section 3.7.1).
fn syn(plan: &PacketPlan) -> Vec<u8> {
    let mut segment = Vec::with_capacity(24);
    segment.extend(plan.from.port().to_be_bytes());
    segment.extend(plan.to.port().to_be_bytes());
    // Distinct for each source port, like a kernel's.
    segment.extend((0x1000_0000 + u32::from(plan.from.port())).to_be_bytes());
    segment.extend([0; 4]);
    segment.extend([6 << 4, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend([2, 4, 0x05, 0xb4]);
    segment
}

/// RFC 768.
fn datagram(plan: &PacketPlan) -> Option<Vec<u8>> {
    let mut segment = Vec::with_capacity(8 + usize::from(plan.bytes));
    segment.extend(plan.from.port().to_be_bytes());
    segment.extend(plan.to.port().to_be_bytes());
    segment.extend(plan.bytes.checked_add(8)?.to_be_bytes());
    segment.extend([0, 0]);
    segment.resize(8 + usize::from(plan.bytes), b'x');
    Some(segment)
}

/// RFC 9293, section 3.1 and RFC 8200, section 8.1: over a pseudo-header and the segment, whose own field is zero.
fn transport_checksum(from: IpAddr, to: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    let mut pseudo = Vec::new();
    for address in [from, to] {
        match address {
            IpAddr::V4(address) => pseudo.extend(address.octets()),
            IpAddr::V6(address) => pseudo.extend(address.octets()),
        }
    }
    let pseudo_sum = words(&pseudo) + u64::from(protocol) + segment.len() as u64;
    checksum(segment, pseudo_sum)
}

/// RFC 1071.
fn checksum(bytes: &[u8], start: u64) -> u16 {
    let mut sum = start + words(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // The loop leaves sixteen bits.
    !(sum as u16)
}

fn words(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| {
            let low = pair.get(1).copied().unwrap_or(0);
            u64::from(u16::from_be_bytes([pair[0], low]))
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(from: &str, to: &str, segment: Segment) -> PacketPlan {
        PacketPlan {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            segment,
            bytes: 5,
            bad_checksum: false,
        }
    }

    /// A right checksum makes the sum over pseudo-header and segment zero.
    fn verifies(plan: &PacketPlan) -> bool {
        let packet = build(plan).unwrap();
        let header = if plan.from.is_ipv4() { 20 } else { 40 };
        let protocol = packet[if plan.from.is_ipv4() { 9 } else { 6 }];
        let own = transport_checksum(plan.from.ip(), plan.to.ip(), protocol, &packet[header..]);
        if plan.from.is_ipv4() {
            assert_eq!(checksum(&packet[..20], 0), 0, "IP header");
        }
        own == 0
    }

    #[test]
    fn checksums_are_right_unless_they_are_to_be_wrong() {
        for (from, to) in [
            ("10.0.0.1:40000", "10.0.0.2:80"),
            ("[fd00::1]:40000", "[fd00::2]:80"),
        ] {
            for segment in [Segment::Syn, Segment::Datagram] {
                let mut plan = plan(from, to, segment);
                assert!(verifies(&plan), "{plan:?}");
                plan.bad_checksum = true;
                assert!(!verifies(&plan), "{plan:?}");
            }
        }
    }

    #[test]
    fn mixed_families_and_giants_are_refused() {
        let mixed = plan("10.0.0.1:1", "[fd00::2]:80", Segment::Syn);
        assert!(build(&mixed).is_none());
        let mut giant = plan("10.0.0.1:1", "10.0.0.2:80", Segment::Datagram);
        giant.bytes = u16::MAX;
        assert!(build(&giant).is_none());
    }
}
