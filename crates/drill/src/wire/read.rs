//! From bytes to a packet in the script's notation, with the numbers of the wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Ends, ICMP, ICMPV6, TCP, UDP, icmp, options, u16_at, u32_at};
use crate::script::{
    Body, Direction, Echoed, Flags, Icmp, IpInfo, OptionList, Packet, Segment, TypeOfService,
};

/// A packet that the host sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Live {
    /// From whom to whom; ports are 0 where there are none.
    pub(crate) ends: Ends,
    /// Of an ICMP error: from whom to whom the packet went that it quotes.
    pub(crate) quoted: Option<Ends>,
    /// The packet.
    pub(crate) packet: Packet,
}

/// An IP header, read.
struct Ip<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    info: IpInfo,
    body: &'a [u8],
}

/// Reads a packet; nothing where it is neither TCP, UDP nor ICMP, is damaged, or is a fragment that is not the first.
pub(crate) fn read(bytes: &[u8]) -> Option<Live> {
    let ip = ip(bytes)?;
    let mut quoted = None;
    let (ports, body) = match ip.protocol {
        TCP => (ports(ip.body)?, Body::Tcp(tcp(ip.body)?)),
        UDP => (
            ports(ip.body)?,
            Body::Udp(u16_at(ip.body, 4).checked_sub(8)?),
        ),
        ICMP | ICMPV6 => {
            let (message, ends) = message(ip.protocol == ICMPV6, ip.body)?;
            quoted = ends;
            ((0, 0), Body::Icmp(message))
        }
        _ => return None,
    };
    Some(Live {
        ends: Ends {
            source: SocketAddr::new(ip.source, ports.0),
            destination: SocketAddr::new(ip.destination, ports.1),
        },
        quoted,
        packet: Packet {
            direction: Direction::Out,
            ip: ip.info,
            ports: None,
            body,
        },
    })
}

fn ip(bytes: &[u8]) -> Option<Ip<'_>> {
    match bytes.first()? >> 4 {
        4 => {
            let header = usize::from(bytes.first()? & 0xf) * 4;
            let fragment = u16_at(bytes, 6) & 0x1fff;
            if header < 20 || fragment != 0 {
                return None;
            }
            let total = usize::from(u16_at(bytes, 2));
            let end = if total < header {
                bytes.len()
            } else {
                total.min(bytes.len())
            };
            Some(Ip {
                source: Ipv4Addr::from(u32_at(bytes, 12)).into(),
                destination: Ipv4Addr::from(u32_at(bytes, 16)).into(),
                protocol: *bytes.get(9)?,
                info: IpInfo {
                    tos: Some(TypeOfService::Byte(*bytes.get(1)?)),
                    ttl: Some(*bytes.get(8)?),
                    flow_label: None,
                },
                body: bytes.get(header..end)?,
            })
        }
        6 => {
            let address = |offset: usize| -> Option<IpAddr> {
                let octets: [u8; 16] = bytes.get(offset..offset + 16)?.try_into().ok()?;
                Some(Ipv6Addr::from(octets).into())
            };
            let first = u32_at(bytes, 0);
            let tos = u8::try_from(first >> 20 & 0xff).ok()?;
            let length = usize::from(u16_at(bytes, 4));
            // More than 64 KiB at once (BIG TCP) has no length.
            let end = match length {
                0 => bytes.len(),
                length => bytes.len().min(40 + length),
            };
            Some(Ip {
                source: address(8)?,
                destination: address(24)?,
                protocol: *bytes.get(6)?,
                info: IpInfo {
                    tos: Some(TypeOfService::Byte(tos)),
                    ttl: Some(*bytes.get(7)?),
                    flow_label: Some(first & 0xf_ffff),
                },
                body: bytes.get(40..end)?,
            })
        }
        _ => None,
    }
}

fn ports(body: &[u8]) -> Option<(u16, u16)> {
    (body.len() >= 4).then(|| (u16_at(body, 0), u16_at(body, 2)))
}

fn tcp(body: &[u8]) -> Option<Segment> {
    if body.len() < 20 {
        return None;
    }
    let word = u16_at(body, 12);
    let header = usize::from(word >> 12) * 4;
    let list = body.get(20..header)?;
    let flags = Flags(word & 0x1ff);
    let urgent = u16_at(body, 18);
    Some(Segment {
        flags,
        sequence: u32_at(body, 4),
        length: u16::try_from(body.len().saturating_sub(header)).unwrap_or(u16::MAX),
        ack: flags.has(Flags::ACK).then(|| u32_at(body, 8)),
        window: Some(u16_at(body, 14)),
        urgent: (flags.has(Flags::URG) || urgent != 0).then_some(urgent),
        options: OptionList::These(options::read(list)),
    })
}

fn message(v6: bool, body: &[u8]) -> Option<(Icmp, Option<Ends>)> {
    let (kind, code) = (*body.first()?, *body.get(1)?);
    let (kind_name, code_name) = icmp::names(v6, kind, code);
    let has_mtu = match v6 {
        true => kind == icmp::PACKET_TOO_BIG,
        false => kind == icmp::UNREACHABLE && code == icmp::FRAG_NEEDED,
    };
    let inner = match icmp::quotes(v6, kind) {
        true => body.get(8..).and_then(ip),
        false => None,
    };
    let ends = inner.as_ref().and_then(|inner| {
        let (source, destination) = ports(inner.body)?;
        Some(Ends {
            source: SocketAddr::new(inner.source, source),
            destination: SocketAddr::new(inner.destination, destination),
        })
    });
    let message = Icmp {
        kind: kind_name,
        code: code_name,
        mtu: has_mtu.then(|| u32_at(body, 4)),
        id: icmp::is_echo(v6, kind).then(|| u16_at(body, 4)),
        echoed: inner.and_then(|inner| echoed(&inner)),
    };
    Some((message, ends))
}

/// What of a quoted packet is told; its payload's length is what its own header says, as far as it goes.
fn echoed(inner: &Ip<'_>) -> Option<Echoed> {
    match inner.protocol {
        TCP if inner.body.len() >= 8 => {
            let header = usize::from(u16_at(inner.body, 12) >> 12) * 4;
            Some(Echoed::Tcp {
                sequence: u32_at(inner.body, 4),
                length: u16::try_from(inner.body.len().saturating_sub(header)).unwrap_or(0),
            })
        }
        UDP => Some(Echoed::Udp(u16_at(inner.body, 4).saturating_sub(8))),
        _ => None,
    }
}
