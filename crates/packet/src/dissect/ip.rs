//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::icmp::{IcmpVersion, dissect_icmp};
use super::tcp::dissect_tcp;
use super::{Fragment, IpHeader, Network, Transport, UdpHeader, array_at, u16_at, u32_at};
use crate::checksum::ones_complement_sum;
use crate::protocol;

// The functions on the way of every packet write their result in place: returned, it would be copied from one to the next,
// and a copy right behind narrow writes waits for each of them.

/// IPv6 packets with a longer chain of extension headers are not followed.
const MAX_EXTENSIONS: usize = 16;

/// Fills `network`, which is [`Network::Truncated`] on entry and stays so where the header is damaged.
#[inline(always)]
pub(super) fn dissect_ip<'a>(
    data: &'a [u8],
    offset: usize,
    original_length: u32,
    network: &mut Network<'a>,
) {
    // Nothing to report when it ends early: what was found so far stands in `network`.
    let _ = match data.get(offset).map(|first| first >> 4) {
        Some(4) => ipv4(data, offset, original_length, network),
        Some(6) => ipv6(data, offset, original_length, network),
        _ => None,
    };
}

/// The frame's bytes from `offset` on, on the wire.
fn rest_of_frame(offset: usize, original_length: u32) -> u32 {
    original_length.saturating_sub(u32::try_from(offset).unwrap_or(u32::MAX))
}

#[inline(always)]
fn ipv4<'a>(
    data: &'a [u8],
    offset: usize,
    original_length: u32,
    network: &mut Network<'a>,
) -> Option<()> {
    let packet = data.get(offset..)?;
    let fixed = packet.first_chunk::<20>()?;
    let header_length = usize::from(fixed[0] & 0x0f) * 4;
    if header_length < 20 {
        return None;
    }
    let &[
        _,
        tos,
        l0,
        l1,
        i0,
        i1,
        f0,
        f1,
        ttl,
        protocol,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
    ] = fixed;
    let total_length = match u16::from_be_bytes([l0, l1]) {
        // With segmentation offload a captured super-packet may not know its length yet.
        0 => rest_of_frame(offset, original_length),
        length => u32::from(length),
    };
    let payload_length = total_length.checked_sub(header_length as u32)?;
    let transport_offset = offset.checked_add(header_length)?;
    let fragment_field = u16::from_be_bytes([f0, f1]);
    let fragment = (fragment_field & 0x3fff != 0).then_some(Fragment {
        offset: u32::from(fragment_field & 0x1fff) * 8,
        more: fragment_field & 0x2000 != 0,
    });
    *network = Network::Ip(IpHeader {
        source: IpAddr::V4(Ipv4Addr::new(s0, s1, s2, s3)),
        destination: IpAddr::V4(Ipv4Addr::new(d0, d1, d2, d3)),
        protocol,
        ttl,
        tos,
        total_length,
        identification: u32::from(u16::from_be_bytes([i0, i1])),
        dont_fragment: fragment_field & 0x4000 != 0,
        fragment,
        header_checksum_ok: packet
            .get(..header_length)
            .map(|header| header_checksum(fixed, header) == 0xffff),
        offset: u16::try_from(offset).ok()?,
        transport_offset: u16::try_from(transport_offset).ok()?,
        transport: transport(
            data,
            transport_offset,
            protocol,
            payload_length,
            fragment,
            IcmpVersion::V4,
        ),
    });
    Some(())
}

/// The folded sum over an IPv4 header; nearly all are 20 bytes long, which needs no loop.
#[inline(always)]
fn header_checksum(fixed: &[u8; 20], header: &[u8]) -> u16 {
    if header.len() == fixed.len() {
        ones_complement_sum(0, fixed)
    } else {
        ones_complement_sum(0, header)
    }
}

#[inline]
fn ipv6<'a>(
    data: &'a [u8],
    offset: usize,
    original_length: u32,
    network: &mut Network<'a>,
) -> Option<()> {
    let [v0, v1, _, _, l0, l1, next, hop_limit] = array_at::<8>(data, offset)?;
    let source = array_at::<16>(data, offset + 8)?;
    let destination = array_at::<16>(data, offset + 24)?;
    let total_length = match u16::from_be_bytes([l0, l1]) {
        // A jumbogram (RFC 2675; BIG TCP), or segmentation offload.
        0 => rest_of_frame(offset, original_length).max(40),
        length => u32::from(length) + 40,
    };
    let chain = skip_extensions(data, offset + 40, next);
    let known = chain.as_ref();
    let transport_offset = known.map_or(offset + 40, |chain| chain.offset);
    let headers = u32::try_from(transport_offset - offset).ok()?;
    *network = Network::Ip(IpHeader {
        source: IpAddr::V6(Ipv6Addr::from(source)),
        destination: IpAddr::V6(Ipv6Addr::from(destination)),
        protocol: known.map_or(next, |chain| chain.protocol),
        ttl: hop_limit,
        tos: v0 << 4 | v1 >> 4,
        total_length,
        identification: known.map_or(0, |chain| chain.identification),
        dont_fragment: true,
        fragment: known.and_then(|chain| chain.fragment),
        header_checksum_ok: None,
        offset: u16::try_from(offset).ok()?,
        transport_offset: u16::try_from(transport_offset).ok()?,
        transport: match known {
            Some(chain) => transport(
                data,
                chain.offset,
                chain.protocol,
                total_length.saturating_sub(headers),
                chain.fragment,
                IcmpVersion::V6,
            ),
            None => Transport::Truncated,
        },
    });
    Some(())
}

/// Where a chain of IPv6 extension headers ends.
pub(super) struct Chain {
    pub(super) protocol: u8,
    pub(super) offset: usize,
    pub(super) fragment: Option<Fragment>,
    pub(super) identification: u32,
}

/// Follows the extension headers from `offset` to the transport; nothing when they are cut off or absurdly many.
#[inline]
pub(super) fn skip_extensions(data: &[u8], offset: usize, next: u8) -> Option<Chain> {
    let mut chain = Chain {
        protocol: next,
        offset,
        fragment: None,
        identification: 0,
    };
    for _ in 0..MAX_EXTENSIONS {
        let length = match chain.protocol {
            // Hop-by-hop options, routing, destination options, mobility, HIP, shim6: units of 8 behind the first 8.
            0 | 43 | 60 | 135 | 139 | 140 => (usize::from(*data.get(chain.offset + 1)?) + 1) * 8,
            // Authentication header (RFC 4302): units of 4, less 2.
            51 => (usize::from(*data.get(chain.offset + 1)?) + 2) * 4,
            44 => {
                let field = u16_at(data, chain.offset + 2)?;
                chain.identification = u32_at(data, chain.offset + 4)?;
                // An atomic fragment (RFC 6946) is a whole packet.
                chain.fragment = (field & 0xfff9 != 0).then_some(Fragment {
                    offset: u32::from(field & 0xfff8),
                    more: field & 1 != 0,
                });
                8
            }
            _ => return Some(chain),
        };
        let next = *data.get(chain.offset)?;
        chain.offset = chain.offset.checked_add(length)?;
        chain.protocol = next;
        if chain.fragment.is_some_and(|fragment| fragment.offset > 0) {
            return Some(chain);
        }
    }
    None
}

#[inline(always)]
fn transport(
    data: &[u8],
    offset: usize,
    number: u8,
    length: u32,
    fragment: Option<Fragment>,
    icmp: IcmpVersion,
) -> Transport<'_> {
    if fragment.is_some_and(|fragment| fragment.offset > 0) {
        return Transport::Fragment;
    }
    match (number, icmp) {
        (protocol::TCP, _) => {
            dissect_tcp(data, offset, length).map_or(Transport::Truncated, Transport::Tcp)
        }
        (protocol::UDP | protocol::UDP_LITE, _) => udp(data, offset),
        (protocol::ICMP, IcmpVersion::V4) | (protocol::ICMPV6, IcmpVersion::V6) => {
            dissect_icmp(data, offset, icmp)
        }
        _ => Transport::Other,
    }
}

fn udp(data: &[u8], offset: usize) -> Transport<'_> {
    match array_at::<8>(data, offset) {
        Some([s0, s1, d0, d1, l0, l1, c0, c1]) => Transport::Udp(UdpHeader {
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            length: u16::from_be_bytes([l0, l1]),
            checksum: u16::from_be_bytes([c0, c1]),
        }),
        None => Transport::Truncated,
    }
}
