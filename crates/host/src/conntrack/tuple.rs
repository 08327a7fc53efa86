//! A flow's direction as connection tracking names it (`struct nf_conntrack_tuple`).

use std::net::IpAddr;

use transect_packet::{IpHeader, Transport, protocol};

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    /// The source port; an ICMP echo's identifier; 0 where the protocol has none.
    pub(crate) source_key: u16,
    /// The destination port; ICMP's type and code.
    pub(crate) destination_key: u16,
}

impl Tuple {
    /// The tuple of a packet (`nf_ct_get_tuple`). None: it has none (fragments, damaged headers).
    pub(crate) fn of(ip: &IpHeader<'_>) -> Option<Self> {
        let (source_key, destination_key) = match &ip.transport {
            Transport::Tcp(tcp) => (tcp.source_port, tcp.destination_port),
            Transport::Udp(udp) => (udp.source_port, udp.destination_port),
            Transport::Icmp(icmp) => {
                let id = icmp.echo.map_or(0, |(id, _)| id);
                (id, u16::from_be_bytes([icmp.kind, icmp.code]))
            }
            Transport::Other => (0, 0),
            Transport::Fragment | Transport::Truncated => return None,
        };
        Some(Tuple {
            source: ip.source,
            destination: ip.destination,
            protocol: ip.protocol,
            source_key,
            destination_key,
        })
    }

    /// The tuple of a packet that an ICMP error quotes, from its IP header on: the first eight bytes of its transport header
    /// are enough.
    pub(crate) fn of_quoted(quoted: &[u8], v6: bool) -> Option<Self> {
        let (source, destination, protocol, at) = super::icmp::quoted_header(quoted, v6)?;
        let word = |at: usize| match quoted.get(at..at + 2) {
            Some([high, low]) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        };
        let (source_key, destination_key) = match protocol {
            protocol::TCP | protocol::UDP | protocol::UDP_LITE | protocol::SCTP | 33 => {
                (word(at)?, word(at + 2)?)
            }
            protocol::ICMP | protocol::ICMPV6 => (word(at + 4)?, word(at)?),
            _ => (0, 0),
        };
        Some(Tuple {
            source,
            destination,
            protocol,
            source_key,
            destination_key,
        })
    }

    /// The direction in which answers go (`nf_ct_invert_tuple`). None: to such a message there is no answer.
    pub(crate) fn inverted(&self) -> Option<Self> {
        let (source_key, destination_key) = match self.protocol {
            protocol::ICMP | protocol::ICMPV6 => {
                let [kind, code] = self.destination_key.to_be_bytes();
                let answer = match (self.protocol, kind) {
                    // Echo, timestamp, information, address mask (RFC 792, RFC 950).
                    (protocol::ICMP, 0) => 8,
                    (protocol::ICMP, 8) => 0,
                    (protocol::ICMP, 13 | 15 | 17) => kind + 1,
                    (protocol::ICMP, 14 | 16 | 18) => kind - 1,
                    // Echo, node information.
                    (protocol::ICMPV6, 128 | 139) => kind + 1,
                    (protocol::ICMPV6, 129 | 140) => kind - 1,
                    _ => return None,
                };
                (self.source_key, u16::from_be_bytes([answer, code]))
            }
            _ => (self.destination_key, self.source_key),
        };
        Some(Tuple {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
            source_key,
            destination_key,
        })
    }

    /// Protocol, source address and source port alone.
    pub(crate) fn source_only(&self) -> Self {
        let unspecified = match self.source {
            IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        Tuple {
            destination: unspecified,
            destination_key: 0,
            ..*self
        }
    }

    /// ICMP's type and code.
    pub(crate) fn icmp(&self) -> Option<[u8; 2]> {
        matches!(self.protocol, protocol::ICMP | protocol::ICMPV6)
            .then(|| self.destination_key.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_echo_and_to_nothing() {
        let tuple = |protocol, kind: u8| Tuple {
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            protocol,
            source_key: 77,
            destination_key: u16::from_be_bytes([kind, 0]),
        };
        let answer = tuple(protocol::ICMP, 8).inverted().unwrap();
        assert_eq!((answer.icmp(), answer.source_key), (Some([0, 0]), 77));
        assert_eq!(answer.inverted(), Some(tuple(protocol::ICMP, 8)));
        assert_eq!(
            tuple(protocol::ICMPV6, 128).inverted().unwrap().icmp(),
            Some([129, 0])
        );
        assert_eq!(tuple(protocol::ICMP, 3).inverted(), None);
    }
}
