//! What a rejected packet's sender is told (`nf_reject_ipv4`, `nf_reject_ipv6`).

use std::net::IpAddr;

use transect_config::IpVersion;
use transect_config::rules::Family;
use transect_packet::{Network, Transport, protocol};
use transect_path::Hook;

use super::checksum;
use crate::ip::RouteKey;
use crate::packet::{ChecksumState, Packet};
use crate::stack::Stack;

/// An answer to a rejected packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A TCP reset.
    Reset,
    /// "Destination unreachable" with this code, for IPv4 and for IPv6.
    Unreachable {
        /// ICMP's code.
        v4: u8,
        /// ICMPv6's code.
        v6: u8,
    },
}

impl Answer {
    /// What a rule says, in its program's words; by default a port is unreachable.
    ///
    /// # Errors
    /// Words that the model does not know.
    pub(super) fn of(family: Family, with: Option<&str>) -> Result<Self, String> {
        let of = |v4, v6| Ok(Answer::Unreachable { v4, v6 });
        let Some(with) = with else {
            return of(3, 4);
        };
        let words: Vec<&str> = with.split_whitespace().collect();
        match words.as_slice() {
            ["tcp-reset"] | ["tcp", "reset"] => Ok(Answer::Reset),
            [name] => match name
                .strip_prefix("icmp6-")
                .or_else(|| name.strip_prefix("icmp-"))
            {
                Some(code) if family == Family::Ip6 => {
                    of(0, code_v6(code).ok_or_else(|| quoted(with))?)
                }
                Some(code) => of(code_v4(code).ok_or_else(|| quoted(with))?, 0),
                None => Err(quoted(with)),
            },
            ["icmp", code] => of(code_v4(code).ok_or_else(|| quoted(with))?, 4),
            ["icmpv6", code] => of(3, code_v6(code).ok_or_else(|| quoted(with))?),
            // `nft_reject_icmp_code`, `nft_reject_icmpv6_code`.
            ["icmpx", code] => match *code {
                "no-route" | "0" => of(0, 0),
                "port-unreachable" | "1" => of(3, 4),
                "host-unreachable" | "2" => of(1, 3),
                "admin-prohibited" | "3" => of(13, 1),
                _ => Err(quoted(with)),
            },
            _ => Err(quoted(with)),
        }
    }
}

fn quoted(with: &str) -> String {
    format!("reject with \"{with}\"")
}

fn code_v4(name: &str) -> Option<u8> {
    Some(match name {
        "net-unreachable" => 0,
        "host-unreachable" => 1,
        "proto-unreachable" | "prot-unreachable" => 2,
        "port-unreachable" => 3,
        "net-prohibited" => 9,
        "host-prohibited" => 10,
        "admin-prohibited" => 13,
        other => return other.parse().ok(),
    })
}

fn code_v6(name: &str) -> Option<u8> {
    Some(match name {
        "no-route" => 0,
        "adm-prohibited" | "admin-prohibited" => 1,
        "addr-unreachable" => 3,
        "port-unreachable" => 4,
        "policy-fail" => 5,
        "reject-route" => 6,
        other => return other.parse().ok(),
    })
}

/// What of a TCP segment its reset needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
    destination_port: u16,
    sequence: u32,
    acknowledgment: u32,
    has_ack: bool,
    /// What it takes of the sequence space.
    length: u32,
}

impl Stack {
    /// Tells the sender. The packet itself is freed by the caller.
    pub(super) fn reject(&mut self, hook: Hook, packet: &Packet, answer: Answer) {
        match (answer, packet.version()) {
            (Answer::Reset, Some(_)) => self.reset(hook, packet),
            (Answer::Unreachable { v4, .. }, Some(IpVersion::V4)) => {
                // `nf_send_unreach` answers no later fragment, and no packet whose checksum is wrong.
                if !is_later_fragment(packet) && checksum::holds(hook, packet) {
                    self.icmp_error(packet, 3, v4, 0);
                }
            }
            (Answer::Unreachable { v6, .. }, Some(IpVersion::V6)) => {
                if checksum::holds(hook, packet) {
                    self.icmp_error(packet, 1, v6, 0);
                }
            }
            (_, None) => {}
        }
    }

    /// `nf_send_reset`, `nf_send_reset6`: no answer to a reset, to a later fragment, to a wrong checksum, to and from groups.
    fn reset(&mut self, hook: Hook, packet: &Packet) {
        if is_later_fragment(packet) || !checksum::holds(hook, packet) {
            return;
        }
        let Some(segment) = rejected(packet) else {
            return;
        };
        let is_group = |address: IpAddr| match address {
            IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
            IpAddr::V6(address) => address.is_multicast() || address.is_unspecified(),
        };
        if is_group(segment.destination) || is_group(segment.source) && segment.source.is_ipv6() {
            return;
        }
        // The reset goes from the rejected packet's destination, whosever address that is (`ip_route_me_harder`).
        let source = self
            .is_local(segment.destination)
            .then_some(segment.destination);
        let Ok(route) = self.route(&RouteKey {
            destination: segment.source,
            source,
            device: None,
            mark: 0,
            tos: 0,
        }) else {
            return;
        };
        let ttl = self.hop_limit(&route);
        let network = reset_bytes(&segment, ttl);
        if network.len() > route.mtu as usize {
            return;
        }
        let version = crate::ip::version_of(segment.source);
        let mut reset = self.make_packet(version, &network);
        if version == IpVersion::V4 {
            reset.checksum = ChecksumState::Partial;
        }
        reset.tracking = packet.tracking.related();
        self.connection_closing(&packet.tracking);
        // Whether it gets out is nobody's business but the counters'.
        let _ = self.ip_local_out(reset, &route);
    }
}

fn is_later_fragment(packet: &Packet) -> bool {
    let later = packet.ip(|ip| ip.fragment.is_some_and(|fragment| fragment.offset != 0));
    later.unwrap_or(true)
}

fn rejected(packet: &Packet) -> Option<Segment> {
    let dissection = packet.dissect();
    let Network::Ip(ip) = &dissection.network else {
        return None;
    };
    let Transport::Tcp(tcp) = &ip.transport else {
        return None;
    };
    if ip.protocol != protocol::TCP || tcp.flags.rst() {
        return None;
    }
    Some(Segment {
        source: ip.source,
        destination: ip.destination,
        source_port: tcp.source_port,
        destination_port: tcp.destination_port,
        sequence: tcp.sequence.0,
        acknowledgment: tcp.acknowledgment.0,
        has_ack: tcp.flags.ack(),
        length: tcp.sequence_length(),
    })
}

/// The reset with its IP header (`nf_reject_iphdr_put`, `nf_reject_ip_tcphdr_put`): IPv4's checksum is left to the device,
/// IPv6's is complete.
fn reset_bytes(segment: &Segment, ttl: u8) -> Vec<u8> {
    let mut tcp = [0u8; 20];
    checksum::write(&mut tcp, 0, &segment.destination_port.to_be_bytes());
    checksum::write(&mut tcp, 2, &segment.source_port.to_be_bytes());
    let (sequence, acknowledgment, flags) = match segment.has_ack {
        true => (segment.acknowledgment, 0, 0x04),
        false => (0, segment.sequence.wrapping_add(segment.length), 0x14),
    };
    checksum::write(&mut tcp, 4, &sequence.to_be_bytes());
    checksum::write(&mut tcp, 8, &acknowledgment.to_be_bytes());
    checksum::write(&mut tcp, 12, &[5 << 4, flags]);
    let mut pseudo = Vec::with_capacity(40);
    let mut network = Vec::with_capacity(60);
    match (segment.destination, segment.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            pseudo.extend(from.octets().into_iter().chain(to.octets()));
            pseudo.extend([0, 6, 0, 20]);
            network.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, ttl, 6, 0, 0]);
            network.extend(from.octets().into_iter().chain(to.octets()));
            let header = checksum::checksum_of(0, &network);
            checksum::write(&mut network, 10, &header.to_be_bytes());
            let partial = !checksum::checksum_of(0, &pseudo);
            checksum::write(&mut tcp, 16, &partial.to_be_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            pseudo.extend(from.octets().into_iter().chain(to.octets()));
            pseudo.extend([0, 0, 0, 20, 0, 0, 0, 6]);
            network.extend([0x60, 0, 0, 0, 0, 20, 6, ttl]);
            network.extend(from.octets().into_iter().chain(to.octets()));
            let pseudo = !checksum::checksum_of(0, &pseudo);
            let whole = checksum::checksum_of(pseudo.into(), &tcp);
            checksum::write(&mut tcp, 16, &whole.to_be_bytes());
        }
        _ => {}
    }
    network.extend(tcp);
    network
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(has_ack: bool) -> Segment {
        Segment {
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            source_port: 40000,
            destination_port: 80,
            sequence: 1000,
            acknowledgment: 7,
            has_ack,
            length: 1,
        }
    }

    #[test]
    fn a_reset_answers_a_syn_with_an_acknowledgment() {
        let bytes = reset_bytes(&segment(false), 64);
        assert_eq!(bytes.len(), 40);
        assert_eq!(&bytes[12..20], [10, 0, 0, 2, 10, 0, 0, 1]);
        assert_eq!(
            checksum::checksum_of(0, &bytes[..20]),
            0,
            "the header's checksum"
        );
        assert_eq!((bytes[6], bytes[33]), (0x40, 0x14));
        assert_eq!(bytes[28..32], 1001u32.to_be_bytes());
        let bytes = reset_bytes(&segment(true), 64);
        assert_eq!((&bytes[24..28], bytes[33]), (&7u32.to_be_bytes()[..], 0x04));
    }

    #[test]
    fn answers_in_both_programs_words() {
        let of = |v4, v6| Ok(Answer::Unreachable { v4, v6 });
        for (family, with, answer) in [
            (Family::Ip, None, of(3, 4)),
            (Family::Ip, Some("tcp-reset"), Ok(Answer::Reset)),
            (Family::Ip, Some("icmp-host-prohibited"), of(10, 0)),
            (Family::Ip6, Some("icmp6-adm-prohibited"), of(0, 1)),
            (Family::Inet, Some("icmpx admin-prohibited"), of(13, 1)),
            (Family::Inet, Some("icmpx port-unreachable"), of(3, 4)),
            (Family::Inet, Some("tcp reset"), Ok(Answer::Reset)),
            (Family::Inet, Some("icmpv6 no-route"), of(3, 0)),
        ] {
            assert_eq!(Answer::of(family, with), answer, "{with:?}");
        }
        assert!(Answer::of(Family::Ip, Some("flowers")).is_err());
    }
}
