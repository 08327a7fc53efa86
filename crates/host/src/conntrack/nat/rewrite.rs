//! The bytes that a translation changes, with every checksum over them.

use std::net::IpAddr;

use transect_packet::protocol;

use super::super::icmp::{QUOTED, quoted_header};
use super::super::tuple::Tuple;
use super::Manipulation;
use crate::netfilter::checksum::{checksum_after, checksum_of, read, sum_after, write};
use crate::packet::{ChecksumState, Packet};

/// An address's bytes.
fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Rewrites one end of a packet to what `target` says (`nf_nat_manip_pkt`). False: its headers are damaged.
pub(crate) fn rewrite(packet: &mut Packet, what: Manipulation, target: &Tuple) -> bool {
    let partial = packet.checksum == ChecksumState::Partial;
    rewrite_at(packet.network_mut(), 0, what, target, partial)
}

/// Rewrites an ICMP error: the packet that it quotes, whose ends stand the other way round, and its own header
/// (`nf_nat_icmp_reply_translation`). False: its headers are damaged.
pub(crate) fn rewrite_quoted(
    packet: &mut Packet,
    what: Manipulation,
    inner: &Tuple,
    outer: &Tuple,
) -> bool {
    let v6 = inner.source.is_ipv6();
    let network = packet.network_mut();
    let Some((_, _, _, icmp)) = quoted_header(network, v6) else {
        return false;
    };
    if !rewrite_at(network, icmp + QUOTED, what.other(), inner, false) {
        return false;
    }
    // The error's own addresses; its identifier is none.
    let address = match what {
        Manipulation::Source => outer.source,
        Manipulation::Destination => outer.destination,
    };
    put_address(network, 0, what, address);
    if packet.checksum != ChecksumState::Partial {
        finish_icmp(packet.network_mut(), icmp, v6);
    }
    true
}

/// The checksum of an ICMP message, computed anew.
fn finish_icmp(network: &mut [u8], icmp: usize, v6: bool) {
    write(network, icmp + 2, &[0, 0]);
    let message = network.get(icmp..).unwrap_or_default();
    let pseudo = match v6 {
        false => 0,
        true => {
            let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
            let mut bytes = network.get(8..40).unwrap_or_default().to_vec();
            bytes.extend(length.to_be_bytes());
            bytes.extend([0, 0, 0, protocol::ICMPV6]);
            u32::from(!checksum_of(0, &bytes))
        }
    };
    let checksum = checksum_of(pseudo, message);
    write(network, icmp + 2, &checksum.to_be_bytes());
}

/// Where an address stands in the IP header.
fn address_at(what: Manipulation, v6: bool) -> usize {
    match (what, v6) {
        (Manipulation::Source, false) => 12,
        (Manipulation::Destination, false) => 16,
        (Manipulation::Source, true) => 8,
        (Manipulation::Destination, true) => 24,
    }
}

/// Writes an address into an IP header, and IPv4's checksum with it. The bytes before come back.
fn put_address(network: &mut [u8], base: usize, what: Manipulation, address: IpAddr) -> Vec<u8> {
    let v6 = address.is_ipv6();
    let new = octets(address);
    let at = base + address_at(what, v6);
    let old = network.get(at..at + new.len()).unwrap_or_default().to_vec();
    if old.len() == new.len() {
        write(network, at, &new);
        if !v6 {
            let checksum = checksum_after(read(network, base + 10), &old, &new);
            write(network, base + 10, &checksum.to_be_bytes());
        }
    }
    old
}

fn rewrite_at(
    network: &mut [u8],
    base: usize,
    what: Manipulation,
    target: &Tuple,
    partial: bool,
) -> bool {
    let v6 = target.source.is_ipv6();
    let rest = network.get(base..).unwrap_or_default();
    let Some((_, _, protocol, transport)) = quoted_header(rest, v6) else {
        return false;
    };
    let (address, key) = match what {
        Manipulation::Source => (target.source, target.source_key),
        Manipulation::Destination => (target.destination, target.destination_key),
    };
    let old = put_address(network, base, what, address);
    let new = octets(address);
    let at = base + transport;
    match protocol {
        protocol::TCP | protocol::UDP | protocol::UDP_LITE => {
            let port = at + if what == Manipulation::Source { 0 } else { 2 };
            let field = at + if protocol == protocol::TCP { 16 } else { 6 };
            let before = read(network, port).to_be_bytes();
            write(network, port, &key.to_be_bytes());
            // An ICMP error may quote less than the whole header.
            if network.len() < field + 2 {
                return true;
            }
            let checksum = read(network, field);
            if protocol == protocol::UDP && checksum == 0 && !partial {
                return true;
            }
            let checksum = match partial {
                true => sum_after(checksum, &old, &new),
                false => {
                    let checksum = checksum_after(checksum, &old, &new);
                    match checksum_after(checksum, &before, &key.to_be_bytes()) {
                        // 0 would mean that there is none (RFC 768).
                        0 if protocol != protocol::TCP => 0xffff,
                        checksum => checksum,
                    }
                }
            };
            write(network, field, &checksum.to_be_bytes());
        }
        protocol::ICMP | protocol::ICMPV6 => {
            rewrite_icmp(network, at, protocol, target, (&old, &new))
        }
        _ => {}
    }
    true
}

/// An echo's identifier; ICMPv6's checksum covers the addresses too.
fn rewrite_icmp(
    network: &mut [u8],
    at: usize,
    protocol: u8,
    target: &Tuple,
    (old, new): (&[u8], &[u8]),
) {
    let v6 = protocol == protocol::ICMPV6;
    let mut checksum = read(network, at + 2);
    if v6 {
        checksum = checksum_after(checksum, old, new);
    }
    let kind = network.get(at).copied().unwrap_or(0);
    let has_identifier = match v6 {
        false => matches!(kind, 0 | 8 | 13..=18),
        true => matches!(kind, 128 | 129),
    };
    if has_identifier {
        let before = read(network, at + 4).to_be_bytes();
        let key = target.source_key.to_be_bytes();
        write(network, at + 4, &key);
        checksum = checksum_after(checksum, &before, &key);
    }
    write(network, at + 2, &checksum.to_be_bytes());
}
