//! Address families and prefixes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// IPv4 or IPv6.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum IpVersion {
    /// IPv4 (RFC 791).
    V4,
    /// IPv6 (RFC 8200).
    V6,
}

impl IpVersion {
    /// The version of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => IpVersion::V4,
            IpAddr::V6(_) => IpVersion::V6,
        }
    }

    /// Bits of an address: 32 or 128.
    pub fn bits(self) -> u8 {
        match self {
            IpVersion::V4 => 32,
            IpVersion::V6 => 128,
        }
    }

    /// `0.0.0.0` or `::`.
    pub fn unspecified(self) -> IpAddr {
        match self {
            IpVersion::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpVersion::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

/// An address and how many of its leading bits count (RFC 4632). Bits behind the length are kept as written and ignored.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// Leading bits that count, at most 32 or 128.
    pub length: u8,
}

impl Prefix {
    /// A prefix; a length beyond the family's is cut to it.
    pub fn new(address: IpAddr, length: u8) -> Self {
        Prefix {
            address,
            length: length.min(IpVersion::of(address).bits()),
        }
    }

    /// The prefix of this one address.
    pub fn host(address: IpAddr) -> Self {
        Prefix::new(address, u8::MAX)
    }

    /// `0.0.0.0/0` or `::/0`.
    pub fn everything(version: IpVersion) -> Self {
        Prefix::new(version.unspecified(), 0)
    }

    /// The family.
    pub fn version(self) -> IpVersion {
        IpVersion::of(self.address)
    }

    /// Whether the address lies inside. Never across families.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.length.min(32)))
                    .unwrap_or(0);
                u32::from(own) & mask == u32::from(other) & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.length.min(128)))
                    .unwrap_or(0);
                u128::from(own) & mask == u128::from(other) & mask
            }
            _ => false,
        }
    }

    /// As iproute2 writes it: a lone address without its length.
    pub fn shortest(self) -> String {
        if self.length == self.version().bits() {
            self.address.to_string()
        } else {
            self.to_string()
        }
    }

    /// The last address of an IPv4 prefix: its directed broadcast address. None for IPv6, /31 and /32.
    pub fn directed_broadcast(self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(address) if self.length < 31 => {
                let host_bits = u32::MAX.checked_shr(u32::from(self.length)).unwrap_or(0);
                Some(Ipv4Addr::from(u32::from(address) | host_bits))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Prefix {
    type Err = String;

    /// `10.0.0.0/8`, `fd00::/64`, a lone address (all its bits), and iproute2's shortened `10/8`, `192.168/16`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || "an address or prefix such as 10.0.0.0/8 or fd00::/64".to_owned();
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = match address.parse() {
            Ok(address) => address,
            Err(_) if length.is_some() => short_v4(address).ok_or_else(expected)?,
            Err(_) => return Err(expected()),
        };
        let bits = IpVersion::of(address).bits();
        let length = match length {
            None => bits,
            Some(length) => length
                .parse()
                .ok()
                .filter(|length| *length <= bits)
                .ok_or_else(expected)?,
        };
        Ok(Prefix { address, length })
    }
}

/// One to three octets, as old tools shorten a network.
fn short_v4(text: &str) -> Option<IpAddr> {
    let mut octets = [0u8; 4];
    for (index, part) in text.split('.').enumerate() {
        *octets.get_mut(index)? = part.parse().ok()?;
    }
    Some(IpAddr::V4(Ipv4Addr::from(octets)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_at_the_edges() {
        let inside = |prefix: &str, address: &str| {
            prefix
                .parse::<Prefix>()
                .unwrap()
                .contains(address.parse().unwrap())
        };
        assert!(inside("0.0.0.0/0", "255.1.2.3"));
        assert!(inside("::/0", "fe80::1"));
        assert!(!inside("0.0.0.0/0", "::1"));
        assert!(inside("10.0.0.7/24", "10.0.0.255"));
        assert!(!inside("10.0.0.0/24", "10.0.1.0"));
        assert!(inside("10.0.0.1", "10.0.0.1"));
        assert!(!inside("10.0.0.1", "10.0.0.2"));
        assert!(inside("fd00::/9", "fd00::"));
        assert!(!inside("fd00::1/128", "fd00::2"));
    }

    #[test]
    fn reads_and_prints() {
        assert_eq!("10/8".parse::<Prefix>().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(
            "fd00::".parse::<Prefix>().unwrap().to_string(),
            "fd00::/128"
        );
        for bad in ["", "/", "10", "10.0.0.0/33", "::/129", "a/8", "1.2.3.4.5/8"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn broadcast_address() {
        let of = |text: &str| text.parse::<Prefix>().unwrap().directed_broadcast();
        assert_eq!(of("10.0.0.1/24"), Some(Ipv4Addr::new(10, 0, 0, 255)));
        assert_eq!(of("10.0.0.1/30"), Some(Ipv4Addr::new(10, 0, 0, 3)));
        assert_eq!(of("0.0.0.0/0"), Some(Ipv4Addr::BROADCAST));
        assert_eq!(of("10.0.0.1/31"), None);
        assert_eq!(of("fd00::/64"), None);
    }
}
