//! Socket addresses: in scripts, in the kernel's bytes, and which ones `...` stands for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::arguments::Arguments;
use crate::options::IpVersion;
use crate::script::Expression;

/// AF_INET, AF_INET6.
const INET: u16 = 2;
const INET6: u16 = 10;

/// The `sockaddr` of an address, for a socket of the family that the script's sockets have.
pub(crate) fn address_of(address: SocketAddr, version: IpVersion) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    match (address.ip(), version) {
        (IpAddr::V4(ip), IpVersion::V4) => {
            bytes.extend_from_slice(&INET.to_ne_bytes());
            bytes.extend_from_slice(&address.port().to_be_bytes());
            bytes.extend_from_slice(&ip.octets());
            bytes.resize(16, 0);
        }
        (ip, _) => {
            let ip = match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            bytes.extend_from_slice(&INET6.to_ne_bytes());
            bytes.extend_from_slice(&address.port().to_be_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&ip.octets());
            bytes.resize(28, 0);
        }
    }
    bytes
}

/// The address in a `sockaddr`; IPv4 addresses in IPv6's form as what they are on the wire.
pub(crate) fn endpoint(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let ip: IpAddr = match family {
        INET => {
            let octets: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Ipv4Addr::from(octets).into()
        }
        INET6 => {
            let octets: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// What `...` stands for where an address is expected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Endpoints {
    /// In `bind`.
    pub(crate) bind: SocketAddr,
    /// In `connect` and `sendto`.
    pub(crate) connect: SocketAddr,
    /// The family of the script's sockets.
    pub(crate) version: IpVersion,
}

/// An address argument: a structure, `...`, or a family alone (`AF_UNSPEC`).
pub(super) fn argument(
    arguments: &Arguments<'_>,
    index: usize,
    ellipsis: SocketAddr,
    version: IpVersion,
) -> Result<Vec<u8>, String> {
    match arguments.get(index)? {
        Expression::Ellipsis => Ok(address_of(ellipsis, version)),
        Expression::Structure(fields) => structure(arguments, fields),
        // A pointer to nothing.
        Expression::Word(word) if word == "NULL" => Ok(Vec::new()),
        other => {
            let family = arguments.integer_of(other)?;
            let family =
                u16::try_from(family).map_err(|_| format!("{family} is no address family"))?;
            let mut bytes = family.to_ne_bytes().to_vec();
            bytes.resize(16, 0);
            Ok(bytes)
        }
    }
}

/// `{sa_family = AF_INET, sin_port = htons(80), sin_addr = inet_addr("192.0.2.1")}`, or IPv6's with `inet_pton`.
fn structure(
    arguments: &Arguments<'_>,
    fields: &[(Option<String>, Expression)],
) -> Result<Vec<u8>, String> {
    let mut family = None;
    let mut port = 0_u16;
    let mut ip = None;
    let (mut flow, mut scope) = (0_u32, 0_u32);
    for (name, value) in fields {
        match (name.as_deref(), value) {
            (Some("sa_family" | "sin_family" | "sin6_family"), value) => {
                family = Some(arguments.integer_of(value)?);
            }
            (Some("sin_port" | "sin6_port"), value) => {
                port = arguments
                    .small(value)
                    .map_err(|_| format!("`{value}` is no port"))?;
            }
            (Some("sin6_flowinfo"), value) => flow = arguments.small(value)?,
            (Some("sin6_scope_id"), value) => scope = arguments.small(value)?,
            (Some("sin_addr" | "sin6_addr") | None, Expression::Function(_, parameters)) => {
                let text = parameters.iter().find_map(|parameter| match parameter {
                    Expression::Text(text, _) => Some(String::from_utf8_lossy(text).into_owned()),
                    Expression::Word(word) if word == "INADDR_ANY" => Some("0.0.0.0".to_owned()),
                    _ => None,
                });
                ip = Some(
                    text.as_deref()
                        .and_then(|text| text.parse::<IpAddr>().ok())
                        .ok_or_else(|| format!("`{value}` is no IP address"))?,
                );
            }
            (Some("sin_addr"), Expression::Word(word)) if word == "INADDR_ANY" => {
                ip = Some(Ipv4Addr::UNSPECIFIED.into());
            }
            _ => {
                let field = name.as_deref().unwrap_or("a value");
                return Err(format!(
                    "`{field}` is no field of an address; expected sa_family, sin_port, sin_addr, sin6_port, inet_pton"
                ));
            }
        }
    }
    let family = family.ok_or("an address has an sa_family")?;
    let version = if family == i64::from(INET6) {
        IpVersion::V6
    } else {
        IpVersion::V4
    };
    let ip = ip.unwrap_or(match version {
        IpVersion::V6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    });
    let mut bytes = address_of(SocketAddr::new(ip, port), version);
    let family = u16::try_from(family).unwrap_or(u16::MAX).to_ne_bytes();
    for (place, byte) in bytes.iter_mut().zip(family) {
        *place = byte;
    }
    if bytes.len() == 28 {
        let fields = [(4, flow.to_be_bytes()), (24, scope.to_ne_bytes())];
        for (offset, value) in fields {
            if let Some(place) = bytes.get_mut(offset..offset + 4) {
                place.copy_from_slice(&value);
            }
        }
    }
    Ok(bytes)
}
