//! Filter expressions, compiled to classic BPF without libpcap: the part of pcap-filter(7) that people type.
//!
//! Understood are the protocols `ip`, `ip6`, `arp`, `tcp`, `udp`, `sctp`, `icmp`, `icmp6`; `host`, `net`, `port` and
//! `portrange` with `src`, `dst`, a protocol before them, or neither; bytes (`tcp[13] & 2 != 0`, `ip[6:2] & 0x1fff != 0`);
//! `and`, `or`, `not`, parentheses. As in libpcap, `tcp port 80 or 443` means `tcp port 80 or tcp port 443`, and `and` and `or`
//! bind alike, from left to right. What is not understood is an error that says so.

mod code;
mod words;

use std::net::IpAddr;

use thiserror::Error;

use self::code::{Check, Condition};
use self::words::Words;
use super::Program;
use crate::{LinkType, protocol};

/// Why an expression cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the filter expression \"{expression}\": {what}")]
pub struct ExpressionError {
    /// The expression.
    pub expression: String,
    /// What was not understood, or what was expected.
    pub what: String,
}

/// How deep parentheses may be.
const DEPTH: u32 = 64;

/// Compiles an expression for frames of one link type: Ethernet, or raw IP.
///
/// # Errors
/// What is not understood, a link type that is neither, or a program that would be too long for its jumps.
pub fn compile(expression: &str, link_type: LinkType) -> Result<Program, ExpressionError> {
    let error = |what: String| ExpressionError {
        expression: expression.to_owned(),
        what,
    };
    let layout = Layout::of(link_type).ok_or_else(|| {
        error(format!(
            "cannot be compiled for the link type {}",
            link_type.0
        ))
    })?;
    let mut parser = Parser {
        words: Words::new(expression).map_err(error)?,
        layout,
        last: None,
        depth: 0,
    };
    let condition = parser.expression().map_err(error)?;
    if let Some(word) = parser.words.next() {
        return Err(error(format!(
            "expected \"and\" or \"or\", found \"{word}\""
        )));
    }
    let instructions = code::generate(&condition)
        .ok_or_else(|| error("is too long for the jumps of classic BPF".to_owned()))?;
    Ok(Program {
        link_type,
        instructions,
    })
}

/// Where headers stand in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    /// Bytes before the IP header.
    network: u32,
    /// Whether an EtherType says what follows; else the IP version does.
    ethertype: bool,
}

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
/// IPv6's fragment header.
const FRAGMENT: u8 = 44;

impl Layout {
    fn of(link_type: LinkType) -> Option<Self> {
        match link_type {
            LinkType::ETHERNET => Some(Layout {
                network: 14,
                ethertype: true,
            }),
            LinkType::RAW => Some(Layout {
                network: 0,
                ethertype: false,
            }),
            _ => None,
        }
    }

    /// What the frame carries.
    fn carries(self, ethertype: u16) -> Condition {
        if self.ethertype {
            return Check::half(12, u32::from(ethertype)).into();
        }
        let version = match ethertype {
            IPV4 => 0x40,
            IPV6 => 0x60,
            _ => return Condition::Never,
        };
        Check::byte(0, version).under(0xf0).into()
    }

    /// An IPv4 packet of this protocol.
    fn v4(self, protocol: u8) -> Condition {
        Condition::all([
            self.carries(IPV4),
            Check::byte(self.network + 9, u32::from(protocol)).into(),
        ])
    }

    /// An IPv6 packet of this protocol, right behind the header or a fragment header.
    fn v6(self, protocol: u8) -> Condition {
        let next = |at: u32, protocol: u8| Condition::from(Check::byte(at, u32::from(protocol)));
        Condition::all([
            self.carries(IPV6),
            Condition::any([
                next(self.network + 6, protocol),
                Condition::all([
                    next(self.network + 6, FRAGMENT),
                    next(self.network + 40, protocol),
                ]),
            ]),
        ])
    }

    /// A port or a range of ports, of one of these protocols; first fragments only.
    fn ports(self, protocols: &[u8], ends: Ends, low: u16, high: u16) -> Condition {
        let of = |base: u32, indexed: bool| {
            let end = |at: u32| {
                let check = Check::half(base + at, u32::from(low)).to(u32::from(high));
                let check = if indexed {
                    check.behind_ipv4(self.network)
                } else {
                    check
                };
                Condition::from(check)
            };
            ends.condition(end(0), end(2))
        };
        let any_of = |at: u32| {
            let numbers = protocols.iter();
            Condition::any(
                numbers.map(|number| Condition::from(Check::byte(at, u32::from(*number)))),
            )
        };
        let first = Check::half(self.network + 6, 0).under(0x1fff);
        Condition::any([
            Condition::all([
                self.carries(IPV6),
                any_of(self.network + 6),
                of(self.network + 40, false),
            ]),
            Condition::all([
                self.carries(IPV4),
                any_of(self.network + 9),
                first.into(),
                of(self.network, true),
            ]),
        ])
    }

    /// An address, or those that share its first bits.
    fn addresses(self, ends: Ends, address: IpAddr, length: u8) -> Condition {
        match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(length.min(32)))
                    .unwrap_or(0);
                let value = u32::from(address) & mask;
                let at =
                    |at: u32| Condition::from(Check::word(self.network + at, value).under(mask));
                Condition::any([
                    Condition::all([self.carries(IPV4), ends.condition(at(12), at(16))]),
                    Condition::all([self.carries(ARP), ends.condition(at(14), at(24))]),
                ])
            }
            IpAddr::V6(address) => {
                let end = |from: u32| {
                    let bits = u128::from(address);
                    let words = (0..4_u32).filter_map(|index| {
                        let left = u32::from(length.min(128))
                            .saturating_sub(32 * index)
                            .min(32);
                        let mask = u32::MAX.checked_shl(32 - left).unwrap_or(0);
                        let value = (bits >> (96 - 32 * index)) as u32 & mask;
                        (mask != 0).then(|| {
                            let check = Check::word(self.network + from + 4 * index, value);
                            Condition::from(check.under(mask))
                        })
                    });
                    Condition::all(words)
                };
                Condition::all([self.carries(IPV6), ends.condition(end(8), end(24))])
            }
        }
    }
}

/// Which end of a packet is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Either,
    Both,
    Source,
    Destination,
}

impl Ends {
    fn condition(self, source: Condition, destination: Condition) -> Condition {
        match self {
            Ends::Either => Condition::any([source, destination]),
            Ends::Both => Condition::all([source, destination]),
            Ends::Source => source,
            Ends::Destination => destination,
        }
    }
}

/// What a value stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    Port,
    PortRange,
}

/// What stands before a value, and before those behind `or` that bring nothing along.
#[derive(Debug, Clone, Copy)]
struct Qualifiers {
    protocol: Option<Protocol>,
    ends: Ends,
    kind: Kind,
}

/// A protocol by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Ip,
    Ip6,
    Arp,
    /// Over both.
    Transport(u8),
    Icmp,
    Icmp6,
}

impl Protocol {
    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "ip" => Protocol::Ip,
            "ip6" => Protocol::Ip6,
            "arp" => Protocol::Arp,
            "tcp" => Protocol::Transport(protocol::TCP),
            "udp" => Protocol::Transport(protocol::UDP),
            "sctp" => Protocol::Transport(protocol::SCTP),
            "icmp" => Protocol::Icmp,
            "icmp6" => Protocol::Icmp6,
            _ => return None,
        })
    }

    fn condition(self, layout: Layout) -> Condition {
        match self {
            Protocol::Ip => layout.carries(IPV4),
            Protocol::Ip6 => layout.carries(IPV6),
            Protocol::Arp => layout.carries(ARP),
            Protocol::Transport(number) => Condition::any([layout.v6(number), layout.v4(number)]),
            Protocol::Icmp => layout.v4(protocol::ICMP),
            Protocol::Icmp6 => layout.v6(protocol::ICMPV6),
        }
    }
}

struct Parser<'a> {
    words: Words<'a>,
    layout: Layout,
    last: Option<Qualifiers>,
    depth: u32,
}

impl Parser<'_> {
    fn expression(&mut self) -> Result<Condition, String> {
        let mut left = self.term()?;
        loop {
            let and = match self.words.peek() {
                Some("and" | "&&") => true,
                Some("or" | "||") => false,
                _ => return Ok(left),
            };
            self.words.next();
            let right = self.term()?;
            left = if and {
                Condition::all([left, right])
            } else {
                Condition::any([left, right])
            };
        }
    }

    fn term(&mut self) -> Result<Condition, String> {
        match self.words.peek() {
            Some("not" | "!") => {
                self.words.next();
                self.deeper()?;
                let term = self.term()?;
                self.depth -= 1;
                Ok(Condition::Not(Box::new(term)))
            }
            Some("(") => {
                self.words.next();
                self.deeper()?;
                let inner = self.expression()?;
                self.depth -= 1;
                self.expect(")")?;
                Ok(inner)
            }
            _ => self.primitive(),
        }
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!(
                "more than {DEPTH} parentheses and \"not\" in each other"
            ));
        }
        Ok(())
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        match self.words.next() {
            Some(found) if found == word => Ok(()),
            Some(found) => Err(format!("expected \"{word}\", found \"{found}\"")),
            None => Err(format!("expected \"{word}\" at the end")),
        }
    }

    fn primitive(&mut self) -> Result<Condition, String> {
        let protocol = match self.words.peek() {
            Some(name) => Protocol::named(name),
            _ => None,
        };
        if let Some(protocol) = protocol {
            self.words.next();
            if self.words.peek() == Some("[") {
                return self.bytes(protocol);
            }
        }
        let ends = self.ends()?;
        let kind = self.kind();
        let bare = ends.is_none() && kind.is_none();
        let qualifiers = match (protocol, bare) {
            (Some(protocol), true) => {
                self.last = None;
                return Ok(protocol.condition(self.layout));
            }
            (None, true) => self.last,
            (protocol, false) => Some(Qualifiers {
                protocol,
                ends: ends.unwrap_or(Ends::Either),
                kind: kind.unwrap_or(Kind::Host),
            }),
        };
        let Some(qualifiers) = qualifiers else {
            return Err(match self.words.next() {
                Some(word) => format!("\"{word}\" is not understood here"),
                None => "ends where a condition was expected".to_owned(),
            });
        };
        self.last = Some(qualifiers);
        self.value(qualifiers)
    }

    fn ends(&mut self) -> Result<Option<Ends>, String> {
        let first = match self.words.peek() {
            Some("src") => Ends::Source,
            Some("dst") => Ends::Destination,
            _ => return Ok(None),
        };
        self.words.next();
        let (Some(joint @ ("or" | "and")), Some("src" | "dst")) =
            (self.words.peek(), self.words.peek_second())
        else {
            return Ok(Some(first));
        };
        self.words.next();
        self.words.next();
        Ok(Some(if joint == "or" {
            Ends::Either
        } else {
            Ends::Both
        }))
    }

    fn kind(&mut self) -> Option<Kind> {
        let kind = match self.words.peek() {
            Some("host") => Kind::Host,
            Some("net") => Kind::Net,
            Some("port") => Kind::Port,
            Some("portrange") => Kind::PortRange,
            _ => return None,
        };
        self.words.next();
        Some(kind)
    }

    fn value(&mut self, qualifiers: Qualifiers) -> Result<Condition, String> {
        let word = self.words.next().ok_or("ends where a value was expected")?;
        let text = word.to_string();
        let number = |text: &str| -> Result<u16, String> {
            text.parse()
                .map_err(|_| format!("expected a port from 0 to 65535, found \"{text}\""))
        };
        let condition = match qualifiers.kind {
            Kind::Port | Kind::PortRange => {
                let (low, high) = match (qualifiers.kind, text.split_once('-')) {
                    (Kind::PortRange, Some((low, high))) => (number(low)?, number(high)?),
                    (Kind::PortRange, None) => {
                        return Err(format!("expected a range such as 80-90, found \"{text}\""));
                    }
                    _ => (number(&text)?, number(&text)?),
                };
                let protocols: &[u8] = match qualifiers.protocol {
                    None | Some(Protocol::Ip | Protocol::Ip6) => {
                        &[protocol::TCP, protocol::UDP, protocol::SCTP]
                    }
                    Some(Protocol::Transport(protocol::TCP)) => &[protocol::TCP],
                    Some(Protocol::Transport(protocol::UDP)) => &[protocol::UDP],
                    Some(Protocol::Transport(_)) => &[protocol::SCTP],
                    Some(_) => return Err("this protocol has no ports".to_owned()),
                };
                self.layout.ports(protocols, qualifiers.ends, low, high)
            }
            Kind::Host | Kind::Net => {
                let (address, length) = address(&text)?;
                self.layout.addresses(qualifiers.ends, address, length)
            }
        };
        Ok(match qualifiers.protocol {
            // Of these the values alone do not say it all.
            Some(protocol @ (Protocol::Ip | Protocol::Ip6 | Protocol::Arp)) => {
                Condition::all([protocol.condition(self.layout), condition])
            }
            Some(protocol) if matches!(qualifiers.kind, Kind::Host | Kind::Net) => {
                Condition::all([protocol.condition(self.layout), condition])
            }
            _ => condition,
        })
    }

    /// `[OFFSET:SIZE] & MASK RELATION NUMBER`, behind a protocol.
    fn bytes(&mut self, of: Protocol) -> Result<Condition, String> {
        self.last = None;
        self.expect("[")?;
        let offset = self.number()?;
        let size = if self.words.peek() == Some(":") {
            self.words.next();
            self.number()?
        } else {
            1
        };
        self.expect("]")?;
        let mask = if self.words.peek() == Some("&") {
            self.words.next();
            Some(self.number()?)
        } else {
            None
        };
        let (relation, value) = (self.words.next(), self.number()?);
        let (guard, base, indexed) = match of {
            Protocol::Ip | Protocol::Ip6 | Protocol::Arp => {
                (of.condition(self.layout), self.layout.network, false)
            }
            Protocol::Transport(number) => (self.first_v4(number), self.layout.network, true),
            Protocol::Icmp => (self.first_v4(protocol::ICMP), self.layout.network, true),
            Protocol::Icmp6 => (
                Condition::all([
                    self.layout.carries(IPV6),
                    Check::byte(self.layout.network + 6, u32::from(protocol::ICMPV6)).into(),
                ]),
                self.layout.network + 40,
                false,
            ),
        };
        let at = base
            .checked_add(offset)
            .filter(|at| *at < 0x1_0000)
            .ok_or("the offset is too large")?;
        let mut check = match size {
            1 => Check::byte(at, value),
            2 => Check::half(at, value),
            4 => Check::word(at, value),
            _ => return Err(format!("bytes are taken 1, 2 or 4 at a time, not {size}")),
        };
        if indexed {
            check = check.behind_ipv4(self.layout.network);
        }
        if let Some(mask) = mask {
            check = check.under(mask);
        }
        let holds = match relation {
            Some("=" | "==") => check.into(),
            Some("!=") => Condition::Not(Box::new(check.into())),
            Some(">=") => check.to(u32::MAX).into(),
            Some("<") => Condition::Not(Box::new(check.to(u32::MAX).into())),
            Some(">") => Condition::Not(Box::new(check.at_zero().into())),
            Some("<=") => check.at_zero().into(),
            other => {
                let found = other.map_or_else(|| "the end".to_owned(), |word| word.to_string());
                return Err(format!("expected a comparison, found \"{found}\""));
            }
        };
        Ok(Condition::all([guard, holds]))
    }

    /// A first fragment, or a whole packet, of IPv4 and this protocol.
    fn first_v4(&self, protocol: u8) -> Condition {
        let first = Check::half(self.layout.network + 6, 0).under(0x1fff);
        Condition::all([self.layout.v4(protocol), first.into()])
    }

    fn number(&mut self) -> Result<u32, String> {
        let word = self
            .words
            .next()
            .ok_or("ends where a number was expected")?;
        let text = word.to_string();
        let parsed = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        parsed.map_err(|_| format!("expected a number, found \"{text}\""))
    }
}

/// An address with or without a prefix length.
fn address(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = || format!("expected an address, found \"{text}\"");
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => bits,
        Some(length) => length
            .parse()
            .ok()
            .filter(|length| *length <= bits)
            .ok_or_else(wrong)?,
    };
    Ok((address, length))
}

#[cfg(test)]
mod tests;
