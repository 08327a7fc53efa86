//! IPVS: its services (/proc/net/ip_vs) and statistics (/proc/net/ip_vs_stats).
//!
//! IPVS takes packets out of LOCAL_IN, LOCAL_OUT and FORWARD and sends them on; what it redirects is not seen here, but that
//! a flow's target is one of its services is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::counters::Counters;
use transect_config::Parsed;

use crate::text::numbered;

/// A virtual service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpvsService {
    /// What it serves.
    pub target: IpvsTarget,
    /// The scheduler (`rr`, `wlc`, …).
    pub scheduler: String,
    /// The real servers.
    pub destinations: Vec<IpvsDestination>,
}

/// What a virtual service serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IpvsTarget {
    /// An address and port.
    Address {
        /// `TCP`, `UDP` or `SCTP`.
        protocol: String,
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// Packets with this firewall mark.
    Mark(u32),
}

/// A real server of a virtual service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpvsDestination {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// `Masq`, `Route`, `Tunnel`, `Local`.
    pub forward: String,
    /// The weight; zero takes no new connections.
    pub weight: u32,
}

/// Reads /proc/net/ip_vs (`ip_vs_info_seq_show`); addresses and ports are hexadecimal there.
pub fn ip_vs(text: &str) -> Parsed<Vec<IpvsService>> {
    let mut read: Parsed<Vec<IpvsService>> = Parsed::default();
    for (number, line) in numbered(text) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            [] | ["IP", "Virtual", ..] | ["Prot", ..] | ["->", "RemoteAddress:Port", ..] => {}
            ["->", at, forward, weight, ..] => {
                let destination = address_and_port(at).zip(weight.parse().ok()).map(
                    |((address, port), weight)| IpvsDestination {
                        address,
                        port,
                        forward: forward.to_owned(),
                        weight,
                    },
                );
                match (destination, read.value.last_mut()) {
                    (Some(destination), Some(service)) => service.destinations.push(destination),
                    _ => read.problem(number, "a real server below a service", line),
                }
            }
            ["FWM", mark, scheduler, ..] => match u32::from_str_radix(mark, 16) {
                Ok(mark) => read.value.push(service(IpvsTarget::Mark(mark), scheduler)),
                Err(_) => read.problem(number, "a firewall mark", mark),
            },
            [protocol @ ("TCP" | "UDP" | "SCTP"), at, scheduler, ..] => {
                match address_and_port(at) {
                    Some((address, port)) => {
                        let protocol = protocol.to_owned();
                        let target = IpvsTarget::Address {
                            protocol,
                            address,
                            port,
                        };
                        read.value.push(service(target, scheduler));
                    }
                    None => read.problem(number, "ADDRESS:PORT in hexadecimal", at),
                }
            }
            _ => read.problem(number, "an IPVS service or real server", line),
        }
    }
    read
}

fn service(target: IpvsTarget, scheduler: &str) -> IpvsService {
    IpvsService {
        target,
        scheduler: scheduler.to_owned(),
        destinations: Vec::new(),
    }
}

/// `C0A80101:0050` or `[2001:0db8:…]:0050`.
fn address_and_port(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = match address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(six) => IpAddr::V6(six.parse::<Ipv6Addr>().ok()?),
        None if address.len() == 8 => {
            IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?))
        }
        None => return None,
    };
    Some((address, port))
}

/// Reads /proc/net/ip_vs_stats (`ip_vs_stats_show`) as `ip_vs.NAME`: the first line of numbers holds the totals.
pub fn ip_vs_stats(text: &str) -> Parsed<Counters> {
    const NAMES: [&str; 5] = [
        "connections",
        "in_packets",
        "out_packets",
        "in_bytes",
        "out_bytes",
    ];
    let mut read = Parsed::default();
    let totals = text.lines().find_map(|line| {
        let values: Option<Vec<u64>> = line
            .split_ascii_whitespace()
            .map(|word| u64::from_str_radix(word, 16).ok())
            .collect();
        values.filter(|values| values.len() == NAMES.len())
    });
    match totals {
        Some(values) => {
            read.value = NAMES
                .iter()
                .zip(values)
                .map(|(name, value)| (format!("ip_vs.{name}"), value))
                .collect();
        }
        None => read.problem(1, "a line of five hexadecimal totals", text),
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SERVICES: &str = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  C0A80101:0050 rr
  -> 0A000002:0050      Masq    1      0          0
UDP  [2001:0db8:0000:0000:0000:0000:0000:0001]:0035 wlc persistent 300
FWM  00000007 wlc
";

    #[test]
    fn services_and_servers() {
        let read = ip_vs(SERVICES);
        assert_eq!(read.problems, []);
        assert_eq!(read.value.len(), 3);
        assert_eq!(
            read.value[0],
            IpvsService {
                target: IpvsTarget::Address {
                    protocol: "TCP".into(),
                    address: "192.168.1.1".parse().unwrap(),
                    port: 80
                },
                scheduler: "rr".into(),
                destinations: vec![IpvsDestination {
                    address: "10.0.0.2".parse().unwrap(),
                    port: 80,
                    forward: "Masq".into(),
                    weight: 1
                }],
            }
        );
        assert_eq!(read.value[2].target, IpvsTarget::Mark(7));
        assert_eq!(
            ip_vs("  -> 0A000002:0050 Masq 1 0 0\nTCP x rr\nwhat\n")
                .problems
                .len(),
            3
        );
    }

    #[test]
    fn totals() {
        let text = "   Total Incoming Outgoing         Incoming         Outgoing\n   Conns  Packets  Packets            Bytes            Bytes\n       a       1f        0              FFF                0\n\n Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n       0        0        0                0                0\n";
        let read = ip_vs_stats(text);
        assert_eq!(read.value.get("ip_vs.connections"), Some(10));
        assert_eq!(read.value.get("ip_vs.in_bytes"), Some(4095));
        assert_eq!(ip_vs_stats("x").problems.len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}", at in "[0-9A-F:\\[\\]]{0,20}") {
            ip_vs(&text);
            ip_vs(&format!("TCP {at} rr\n-> {at} Masq 1"));
            ip_vs_stats(&text);
        }
    }
}
