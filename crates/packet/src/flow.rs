//! Names of flows: endpoints, five-tuples, protocols.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// IP protocol numbers (IANA) that Transect treats by name.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDP_LITE: u8 = 136;
}

/// `tcp`, `udp`, `icmp`, `icmpv6`, else the number.
pub fn protocol_name(number: u8) -> Cow<'static, str> {
    match number {
        protocol::TCP => Cow::Borrowed("tcp"),
        protocol::UDP => Cow::Borrowed("udp"),
        protocol::ICMP => Cow::Borrowed("icmp"),
        protocol::ICMPV6 => Cow::Borrowed("icmpv6"),
        other => Cow::Owned(other.to_string()),
    }
}

/// One end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// The IP address.
    pub address: IpAddr,
    /// The port; an ICMP echo's identifier; 0 where the protocol has none.
    pub port: u16,
}

impl Endpoint {
    /// An end of a flow.
    pub const fn new(address: IpAddr, port: u16) -> Self {
        Endpoint { address, port }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Endpoint::new(address.ip(), address.port())
    }
}

/// `192.0.2.1:80`, `[2001:db8::1]:80`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// A flow's five values: protocol, source, destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tuple {
    /// The IP protocol's number.
    pub protocol: u8,
    /// Where it comes from.
    pub source: Endpoint,
    /// Where it goes to.
    pub destination: Endpoint,
}

impl Tuple {
    /// The same flow in the other direction. An ICMP echo's identifier stays at both ends.
    pub const fn reversed(self) -> Self {
        Tuple {
            protocol: self.protocol,
            source: self.destination,
            destination: self.source,
        }
    }

    /// Whether both ends are IPv6.
    pub const fn is_ipv6(&self) -> bool {
        self.source.address.is_ipv6()
    }
}

/// `tcp 192.0.2.1:40000 > 192.0.2.2:80`.
impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} > {}",
            protocol_name(self.protocol),
            self.source,
            self.destination
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_are_written_as_people_expect() {
        let v6 = Tuple {
            protocol: protocol::TCP,
            source: Endpoint::new("2001:db8::1".parse().unwrap(), 40000),
            destination: Endpoint::new("2001:db8::2".parse().unwrap(), 80),
        };
        assert_eq!(v6.to_string(), "tcp [2001:db8::1]:40000 > [2001:db8::2]:80");
        assert_eq!(v6.reversed().reversed(), v6);
        assert_eq!(
            v6.reversed().to_string(),
            "tcp [2001:db8::2]:80 > [2001:db8::1]:40000"
        );
        assert_eq!(
            Endpoint::new("192.0.2.1".parse().unwrap(), 80).to_string(),
            "192.0.2.1:80"
        );
        assert_eq!(protocol_name(132), "132");
    }
}
