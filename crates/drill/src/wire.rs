//! Packets as bytes, from the IP header on.

mod build;
mod icmp;
mod options;
mod read;

use std::net::{IpAddr, SocketAddr};

pub(crate) use build::build;
pub(crate) use read::{Live, read};

/// TCP's, UDP's, ICMP's and ICMPv6's number in IP headers.
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// From whom to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

impl Ends {
    /// The other way round.
    pub(crate) fn reversed(self) -> Ends {
        Ends {
            source: self.destination,
            destination: self.source,
        }
    }
}

/// The internet checksum (RFC 1071) of these pieces, each of even length but the last.
fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for piece in pieces {
        for word in piece.chunks(2) {
            let word = match *word {
                [high, low] => u16::from_be_bytes([high, low]),
                [high] => u16::from_be_bytes([high, 0]),
                _ => 0,
            };
            sum = sum.wrapping_add(u64::from(word));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// The pseudo header of a transport's checksum (RFC 9293 section 3.1, RFC 8200 section 8.1).
fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut header = Vec::with_capacity(40);
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => header.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => header.extend_from_slice(&address.octets()),
        }
    }
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    header.extend_from_slice(&length.to_be_bytes());
    header.extend_from_slice(&[0, 0, 0, protocol]);
    header
}

/// Two bytes at an offset; zero where there are none.
fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    match bytes.get(offset..) {
        Some([high, low, ..]) => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

/// Four bytes at an offset; zero where there are none.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    match bytes.get(offset..) {
        Some([a, b, c, d, ..]) => u32::from_be_bytes([*a, *b, *c, *d]),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
