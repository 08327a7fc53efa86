//! From a packet in the script's notation, with the numbers of the wire, to bytes.

use std::net::IpAddr;

use super::{Ends, ICMP, ICMPV6, TCP, UDP, checksum, icmp, options, pseudo_header};
use crate::script::{Body, Ecn, Icmp, IpInfo, OptionList, Packet, Segment, TypeOfService};

/// Why a packet cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BuildError(pub(crate) String);

/// What the host itself sends: the hop limit of packets whose script does not say one.
const TTL: u8 = 255;

/// The bytes of a packet; `quoted` is what an ICMP error quotes, from its IP header on. Payload is zeros.
pub(crate) fn build(packet: &Packet, ends: Ends, quoted: &[u8]) -> Result<Vec<u8>, BuildError> {
    let v6 = ends.source.is_ipv6();
    let (protocol, body) = match &packet.body {
        Body::Tcp(segment) => (TCP, tcp(segment, ends)?),
        Body::Udp(length) => (UDP, udp(*length, ends)),
        Body::Icmp(message) if v6 => (ICMPV6, self::icmp(message, ends, quoted)?),
        Body::Icmp(message) => (ICMP, self::icmp(message, ends, quoted)?),
    };
    let tos = match packet.ip.tos {
        None => 0,
        Some(TypeOfService::Byte(byte)) => byte,
        Some(TypeOfService::Ecn(ecn)) => match ecn {
            Ecn::None => 0,
            Ecn::Ect0 => 2,
            Ecn::Ect1 => 1,
            Ecn::Ce => 3,
            Ecn::Ect01 => {
                return Err(BuildError(
                    "`ect01` is for packets that are expected; one that is sent has ect0 or ect1"
                        .to_owned(),
                ));
            }
        },
    };
    ip(ends, protocol, tos, packet.ip, &body)
}

fn ip(ends: Ends, protocol: u8, tos: u8, info: IpInfo, body: &[u8]) -> Result<Vec<u8>, BuildError> {
    let ttl = info.ttl.unwrap_or(TTL);
    let too_long = |_| BuildError(format!("{} bytes do not fit into a packet", body.len()));
    let mut out = Vec::with_capacity(40 + body.len());
    match (ends.source.ip(), ends.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = u16::try_from(body.len().saturating_add(20)).map_err(too_long)?;
            out.extend_from_slice(&[0x45, tos]);
            out.extend_from_slice(&length.to_be_bytes());
            // No identification, don't fragment.
            out.extend_from_slice(&[0, 0, 0x40, 0, ttl, protocol, 0, 0]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
            let sum = checksum(&[&out]).to_be_bytes();
            put(&mut out, 10, sum);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = u16::try_from(body.len()).map_err(too_long)?;
            let label = info.flow_label.unwrap_or(0) & 0xf_ffff;
            let first = 6 << 28 | u32::from(tos) << 20 | label;
            out.extend_from_slice(&first.to_be_bytes());
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&[protocol, ttl]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
        _ => {
            return Err(BuildError(
                "an IPv4 and an IPv6 address in one packet".to_owned(),
            ));
        }
    }
    out.extend_from_slice(body);
    Ok(out)
}

/// Writes two bytes over others.
fn put(bytes: &mut [u8], offset: usize, value: [u8; 2]) {
    if let Some(place) = bytes.get_mut(offset..offset.saturating_add(2)) {
        place.copy_from_slice(&value);
    }
}

fn transport_checksum(ends: Ends, protocol: u8, bytes: &[u8]) -> [u8; 2] {
    let pseudo = pseudo_header(
        ends.source.ip(),
        ends.destination.ip(),
        protocol,
        bytes.len(),
    );
    checksum(&[&pseudo, bytes]).to_be_bytes()
}

/// A TCP header without its checksum, and its options.
fn tcp_header(segment: &Segment, ends: Ends) -> Result<Vec<u8>, BuildError> {
    let OptionList::These(list) = &segment.options else {
        return Err(BuildError(
            "`<...>` is for packets that are expected; one that is sent has its options".to_owned(),
        ));
    };
    let mut options = options::bytes(list);
    // What is missing to a multiple of four is the end of the list.
    options.resize(options.len().next_multiple_of(4), 0);
    let words = u16::try_from(5 + options.len() / 4)
        .ok()
        .filter(|words| *words <= 15)
        .ok_or_else(|| {
            BuildError(format!(
                "the options take {} bytes; a TCP header has room for 40",
                options.len()
            ))
        })?;
    let mut out = Vec::with_capacity(60);
    out.extend_from_slice(&ends.source.port().to_be_bytes());
    out.extend_from_slice(&ends.destination.port().to_be_bytes());
    out.extend_from_slice(&segment.sequence.to_be_bytes());
    out.extend_from_slice(&segment.ack.unwrap_or(0).to_be_bytes());
    out.extend_from_slice(&(words << 12 | segment.flags.0).to_be_bytes());
    out.extend_from_slice(&segment.window.unwrap_or(0).to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&segment.urgent.unwrap_or(0).to_be_bytes());
    out.extend_from_slice(&options);
    Ok(out)
}

fn tcp(segment: &Segment, ends: Ends) -> Result<Vec<u8>, BuildError> {
    let mut out = tcp_header(segment, ends)?;
    out.resize(out.len().saturating_add(usize::from(segment.length)), 0);
    let sum = transport_checksum(ends, TCP, &out);
    put(&mut out, 16, sum);
    Ok(out)
}

fn udp(length: u16, ends: Ends) -> Vec<u8> {
    let total = length.saturating_add(8);
    let mut out = Vec::with_capacity(usize::from(total));
    out.extend_from_slice(&ends.source.port().to_be_bytes());
    out.extend_from_slice(&ends.destination.port().to_be_bytes());
    out.extend_from_slice(&total.to_be_bytes());
    out.resize(usize::from(total), 0);
    let sum = match transport_checksum(ends, UDP, &out) {
        // Zero would mean that there is none.
        [0, 0] => [0xff, 0xff],
        sum => sum,
    };
    put(&mut out, 6, sum);
    out
}

fn icmp(message: &Icmp, ends: Ends, quoted: &[u8]) -> Result<Vec<u8>, BuildError> {
    let v6 = ends.source.is_ipv6();
    let (kind, code) =
        icmp::numbers(v6, &message.kind, message.code.as_deref()).map_err(BuildError)?;
    let mut out = vec![kind, code, 0, 0];
    let rest = if icmp::is_echo(v6, kind) {
        u32::from(message.id.unwrap_or(0)) << 16
    } else {
        message.mtu.unwrap_or(0)
    };
    out.extend_from_slice(&rest.to_be_bytes());
    if icmp::quotes(v6, kind) {
        // RFC 1812 section 4.3.2.3 and RFC 4443 section 2.4 (c): as much as fits.
        let most = if v6 { 1232 } else { 548 };
        out.extend_from_slice(quoted.get(..most).unwrap_or(quoted));
    }
    let sum = match v6 {
        true => transport_checksum(ends, ICMPV6, &out),
        false => checksum(&[&out]).to_be_bytes(),
    };
    put(&mut out, 2, sum);
    Ok(out)
}
