//! Statements that change the packet itself and decide nothing: TTL, TOS, DSCP, MSS (`xt_HL`, `xt_DSCP`, `xt_TCPMSS`,
//! `nft_payload_set`), and those that do nothing here (logs).

use transect_config::IpVersion;
use transect_packet::{Network, Transport};

use super::checksum;
use crate::packet::{ChecksumState, Packet};
use crate::stack::Stack;

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mangling {
    /// TTL or hop limit: set, or by a difference.
    Ttl(Change),
    /// The bits of the mask are cleared from the TOS or traffic class, then the value is xored in.
    Tos { value: u8, mask: u8 },
    /// The MSS of a SYN is set, where it is greater.
    Mss(u16),
    /// The MSS of a SYN is set to what the route's MTU lets through, where it is greater.
    MssToRoute,
}

/// How a number changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Set(u8),
    Add(u8),
    Subtract(u8),
}

impl Mangling {
    /// Reads a statement in its program's words. Nothing for one that does nothing to the packet.
    ///
    /// # Errors
    /// One that the model does not know.
    pub(super) fn read(text: &str) -> Result<Option<Self>, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |text: &str| -> Option<u8> {
            match text.strip_prefix("0x") {
                Some(hex) => u8::from_str_radix(hex, 16).ok(),
                None => text.parse().ok(),
            }
        };
        let unknown = || format!("\"{text}\"");
        let known = match words.as_slice() {
            [
                "-j",
                "LOG" | "NFLOG" | "ULOG" | "TRACE" | "AUDIT" | "CHECKSUM",
                ..,
            ]
            | ["log" | "comment", ..]
            | ["counter", "name", ..] => return Ok(None),
            ["-j", "TTL", "--ttl-set", value] | ["-j", "HL", "--hl-set", value] => {
                number(value).map(|value| Mangling::Ttl(Change::Set(value)))
            }
            ["-j", "TTL", "--ttl-inc", value] | ["-j", "HL", "--hl-inc", value] => {
                number(value).map(|value| Mangling::Ttl(Change::Add(value)))
            }
            ["-j", "TTL", "--ttl-dec", value] | ["-j", "HL", "--hl-dec", value] => {
                number(value).map(|value| Mangling::Ttl(Change::Subtract(value)))
            }
            ["ip", "ttl", "set", value] | ["ip6", "hoplimit", "set", value] => {
                number(value).map(|value| Mangling::Ttl(Change::Set(value)))
            }
            ["-j", "TOS", "--set-tos", value] => {
                let (value, mask) = value.split_once('/').unwrap_or((value, "0xff"));
                number(value)
                    .zip(number(mask))
                    .map(|(value, mask)| Mangling::Tos { value, mask })
            }
            ["-j", "DSCP", "--set-dscp", value] | ["ip" | "ip6", "dscp", "set", value] => {
                number(value)
                    .filter(|value| *value < 64)
                    .map(|value| Mangling::Tos {
                        value: value << 2,
                        mask: 0xfc,
                    })
            }
            ["-j", "TCPMSS", "--clamp-mss-to-pmtu"] => Some(Mangling::MssToRoute),
            ["-j", "TCPMSS", "--set-mss", value]
            | ["tcp", "option", "maxseg", "size", "set", value]
                if *value != "rt" =>
            {
                value.parse().ok().map(Mangling::Mss)
            }
            ["tcp", "option", "maxseg", "size", "set", "rt", "mtu"] => Some(Mangling::MssToRoute),
            _ => None,
        };
        known.map(Some).ok_or_else(unknown)
    }
}

impl Stack {
    /// Changes the packet.
    pub(super) fn mangle(&mut self, mangling: &Mangling, packet: &mut Packet) {
        match mangling {
            Mangling::Ttl(change) => change_ttl(packet, *change),
            Mangling::Tos { value, mask } => change_tos(packet, *value, *mask),
            Mangling::Mss(most) => lower_mss(packet, *most),
            Mangling::MssToRoute => {
                let headers = match packet.version() {
                    Some(IpVersion::V6) => 60,
                    _ => 40,
                };
                if let Some(most) = packet.mtu.checked_sub(headers) {
                    lower_mss(packet, u16::try_from(most).unwrap_or(u16::MAX));
                }
            }
        }
    }
}

fn change_ttl(packet: &mut Packet, change: Change) {
    let version = packet.version();
    let at = match version {
        Some(IpVersion::V4) => 8,
        Some(IpVersion::V6) => 7,
        None => return,
    };
    let Some(own) = packet.network().get(at).copied() else {
        return;
    };
    let new = match change {
        Change::Set(value) => value,
        Change::Add(value) => own.saturating_add(value),
        Change::Subtract(value) => own.saturating_sub(value),
    };
    let network = packet.network_mut();
    match version {
        Some(IpVersion::V4) => {
            checksum::write_under(network, 8, &[new], 0, 10);
        }
        _ => checksum::write(network, at, &[new]),
    }
}

fn change_tos(packet: &mut Packet, value: u8, mask: u8) {
    let version = packet.version();
    let network = packet.network_mut();
    let (Some(first), Some(second)) = (network.first().copied(), network.get(1).copied()) else {
        return;
    };
    match version {
        Some(IpVersion::V4) => {
            let tos = (second & !mask) ^ value;
            checksum::write_under(network, 1, &[tos], 0, 10);
        }
        Some(IpVersion::V6) => {
            let class = (first << 4) | (second >> 4);
            let class = (class & !mask) ^ value;
            let bytes = [
                (first & 0xf0) | (class >> 4),
                (class << 4) | (second & 0x0f),
            ];
            checksum::write(network, 0, &bytes);
        }
        None => {}
    }
}

/// Lowers the MSS option of a SYN (`tcpmss_mangle_packet`), and its checksum with it. A SYN without the option is left alone.
fn lower_mss(packet: &mut Packet, most: u16) {
    let Some((start, at)) = mss_option(packet) else {
        return;
    };
    let partial = packet.checksum == ChecksumState::Partial;
    let network = packet.network_mut();
    let new = most.to_be_bytes();
    match checksum::read(network, at) > most {
        // The device's sum will take the new bytes.
        true if partial => checksum::write(network, at, &new),
        true => checksum::write_under(network, at, &new, start, start + 16),
        false => {}
    }
}

/// Where a SYN's TCP header begins, and where the value of its MSS option stands.
fn mss_option(packet: &Packet) -> Option<(usize, usize)> {
    let dissection = packet.dissect();
    let Network::Ip(ip) = &dissection.network else {
        return None;
    };
    let Transport::Tcp(tcp) = &ip.transport else {
        return None;
    };
    if !tcp.flags.syn() {
        return None;
    }
    let start = usize::from(ip.transport_offset);
    let mut at = 0;
    let options = tcp.option_bytes;
    while let Some(kind) = options.get(at) {
        match kind {
            0 => return None,
            1 => at += 1,
            2 if options.get(at + 1) == Some(&4) => return Some((start, start + 20 + at + 2)),
            _ => at += usize::from(*options.get(at + 1)?).max(2),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_in_both_programs_words() {
        for (text, mangling) in [
            ("-j LOG --log-prefix x", None),
            ("log prefix \"x\"", None),
            ("-j TTL --ttl-set 5", Some(Mangling::Ttl(Change::Set(5)))),
            ("ip ttl set 5", Some(Mangling::Ttl(Change::Set(5)))),
            (
                "-j TOS --set-tos 0x10/0xff",
                Some(Mangling::Tos {
                    value: 0x10,
                    mask: 0xff,
                }),
            ),
            (
                "-j DSCP --set-dscp 0x0a",
                Some(Mangling::Tos {
                    value: 0x28,
                    mask: 0xfc,
                }),
            ),
            ("-j TCPMSS --clamp-mss-to-pmtu", Some(Mangling::MssToRoute)),
            ("tcp option maxseg size set 1200", Some(Mangling::Mss(1200))),
        ] {
            assert_eq!(Mangling::read(text), Ok(mangling), "{text}");
        }
        assert!(Mangling::read("-j TEE --gateway 10.0.0.1").is_err());
    }
}
