//! nft's left-hand sides as keys, and its right-hand sides as values of a field.

use std::net::IpAddr;

use serde_json::Value as Json;

use super::super::names;
use super::super::nft_render::render;
use super::super::{
    AddressKind, CtStates, Element, Field, Key, Match, PacketKind, TcpFlags, Test, Value,
};
use super::single;

/// A left-hand side.
#[derive(Debug, Clone, Default)]
pub(super) struct Left {
    /// What is looked at.
    pub(super) key: Vec<Key>,
    /// What has to hold before it can be looked at.
    pub(super) requires: Vec<Match>,
}

/// Reads a left-hand side; none when any part of it is unknown.
pub(super) fn left(json: &Json) -> Option<Left> {
    let mut left = Left::default();
    match single(json)? {
        ("concat", parts) => {
            for part in parts.as_array()? {
                left.part(part)?;
            }
        }
        _ => left.part(json)?,
    }
    // Without a mask, IPv4's fragment field holds the DF and MF bits too.
    let flags_too = |key: &Key| key.field == Field::FragmentOffset && key.mask.is_none();
    (!left.key.iter().any(flags_too)).then_some(left)
}

impl Left {
    fn part(&mut self, json: &Json) -> Option<()> {
        let (name, body) = single(json)?;
        let key = match name {
            "&" => {
                let [inner, mask] = body.as_array()?.as_slice() else {
                    return None;
                };
                self.part(inner)?;
                let key = self.key.last_mut()?;
                if key.mask.is_some() {
                    return None;
                }
                key.mask = Some(bits(key.field, mask)?);
                return Some(());
            }
            "meta" => Key::whole(meta(body.get("key")?.as_str()?)?),
            "ct" if body.get("dir").is_none() => Key::whole(match body.get("key")?.as_str()? {
                "state" => Field::CtState,
                "mark" => Field::ConnectionMark,
                _ => return None,
            }),
            "payload" => {
                let protocol = body.get("protocol")?.as_str()?;
                let (field, requires) = payload(protocol, body.get("field")?.as_str()?)?;
                self.requires.extend(requires);
                Key::whole(field)
            }
            "fib" => Key::whole(fib_kind(body)?),
            _ => return None,
        };
        self.key.push(key);
        Some(())
    }
}

fn meta(key: &str) -> Option<Field> {
    Some(match key {
        "iif" | "iifname" => Field::InInterface,
        "oif" | "oifname" => Field::OutInterface,
        "l4proto" => Field::Protocol,
        "nfproto" => Field::IpVersion,
        "mark" => Field::Mark,
        "length" => Field::Length,
        "pkttype" => Field::PacketType,
        "protocol" => Field::EtherType,
        _ => return None,
    })
}

/// A header's field, and the protocol that the packet has to have for it.
fn payload(protocol: &str, name: &str) -> Option<(Field, Option<Match>)> {
    let version = |number| {
        Some(Match::field(
            Field::IpVersion,
            [Value::Number(number)],
            false,
        ))
    };
    let transport = |number| {
        Some(Match::field(
            Field::Protocol,
            [Value::Number(number)],
            false,
        ))
    };
    let ports = |number: u64| {
        let field = match name {
            "sport" => Field::SourcePort,
            "dport" => Field::DestinationPort,
            _ => return None,
        };
        Some((field, transport(number)))
    };
    Some(match (protocol, name) {
        ("ip", "saddr") => (Field::Source, version(4)),
        ("ip", "daddr") => (Field::Destination, version(4)),
        ("ip", "protocol") => (Field::Protocol, version(4)),
        ("ip", "ttl") => (Field::Ttl, version(4)),
        ("ip", "length") => (Field::Length, version(4)),
        ("ip", "dscp") => (Field::Dscp, version(4)),
        // Only ever compared under a mask, which `bits` takes care of.
        ("ip", "frag-off") => (Field::FragmentOffset, version(4)),
        ("ip6", "saddr") => (Field::Source, version(6)),
        ("ip6", "daddr") => (Field::Destination, version(6)),
        // The first header behind IPv6's own: the transport protocol, as long as there are no extension headers.
        ("ip6", "nexthdr") => (Field::Protocol, version(6)),
        ("ip6", "hoplimit") => (Field::Ttl, version(6)),
        ("ip6", "dscp") => (Field::Dscp, version(6)),
        ("tcp", "flags") => (Field::TcpFlags, transport(6)),
        ("tcp", _) => ports(6)?,
        ("udp", _) => ports(17)?,
        ("dccp", _) => ports(33)?,
        ("sctp", _) => ports(132)?,
        ("udplite", _) => ports(136)?,
        ("th", "sport") => (Field::SourcePort, None),
        ("th", "dport") => (Field::DestinationPort, None),
        ("icmp", "type") => (Field::IcmpType, transport(1)),
        ("icmp", "code") => (Field::IcmpCode, transport(1)),
        ("icmpv6", "type") => (Field::Icmp6Type, transport(58)),
        ("icmpv6", "code") => (Field::Icmp6Code, transport(58)),
        ("ether", "saddr") => (Field::SourceMac, None),
        ("ether", "daddr") => (Field::DestinationMac, None),
        ("ether", "type") => (Field::EtherType, None),
        _ => return None,
    })
}

fn fib_flags(body: &Json) -> Option<Vec<&str>> {
    match body.get("flags")? {
        Json::String(flag) => Some(vec![flag]),
        Json::Array(flags) => flags.iter().map(Json::as_str).collect(),
        _ => None,
    }
}

/// `fib daddr type`, `fib saddr type`.
fn fib_kind(body: &Json) -> Option<Field> {
    let kind = body.get("result")?.as_str()? == "type";
    match fib_flags(body)?.as_slice() {
        ["daddr"] if kind => Some(Field::DestinationKind),
        ["saddr"] if kind => Some(Field::SourceKind),
        _ => None,
    }
}

/// `fib saddr . iif oif missing`: is there a route back?
pub(super) fn fib(left: &Json, operator: &str, right: &Json) -> Option<Match> {
    let ("fib", body) = single(left)? else {
        return None;
    };
    if body.get("result")?.as_str()? != "oif" {
        return None;
    }
    let loose = match fib_flags(body)?.as_slice() {
        ["saddr"] => true,
        ["saddr", "iif"] | ["iif", "saddr"] => false,
        _ => return None,
    };
    let exists = match right {
        Json::Bool(exists) => *exists,
        Json::String(zero) if zero == "0" => false,
        Json::Number(zero) if zero.as_u64() == Some(0) => false,
        _ => return None,
    };
    let equal = match operator {
        "==" => true,
        "!=" => false,
        _ => return None,
    };
    Some(Match {
        negated: exists != equal,
        test: Test::ReversePath { loose },
    })
}

/// The field whose values a set of this type holds.
pub(in crate::rules) fn field_of_type(kind: &str) -> Field {
    match kind {
        "ipv4_addr" | "ipv6_addr" => Field::Source,
        "inet_service" => Field::DestinationPort,
        "inet_proto" => Field::Protocol,
        "ifname" | "iface_index" => Field::InInterface,
        "mark" => Field::Mark,
        "ether_addr" => Field::SourceMac,
        "ether_type" => Field::EtherType,
        "icmp_type" => Field::IcmpType,
        "icmp_code" => Field::IcmpCode,
        "icmpv6_type" => Field::Icmp6Type,
        "icmpv6_code" => Field::Icmp6Code,
        "ct_state" => Field::CtState,
        "tcp_flag" => Field::TcpFlags,
        "dscp" => Field::Dscp,
        "fib_addrtype" => Field::DestinationKind,
        "nf_proto" => Field::IpVersion,
        "pkt_type" => Field::PacketType,
        _ => Field::Unknown,
    }
}

/// The fields of a set declared with `typeof`.
pub(in crate::rules) fn fields_of_expression(json: &Json) -> Vec<Field> {
    match left(json) {
        Some(left) => left.key.iter().map(|key| key.field).collect(),
        None => vec![Field::Unknown],
    }
}

/// One element, of one field or a concatenation.
pub(in crate::rules) fn element(json: &Json, fields: &[Field]) -> Element {
    // Elements with a counter, a time-out or a comment of their own.
    if let Some(inner) = json.get("elem").and_then(|elem| elem.get("val")) {
        return element(inner, fields);
    }
    match (json.get("concat").and_then(Json::as_array), fields) {
        (Some(parts), _) if parts.len() == fields.len() => parts
            .iter()
            .zip(fields)
            .map(|(part, field)| value(*field, part))
            .collect(),
        (None, [field]) => vec![value(*field, json)],
        // `*`, or something that does not fit the type: one part for each of the key's.
        _ => fields
            .iter()
            .map(|_| match json.as_str() {
                Some("*") => Value::Any,
                _ => Value::Unknown(render(json)),
            })
            .collect(),
    }
}

/// One value of a field.
pub(in crate::rules) fn value(field: Field, json: &Json) -> Value {
    read_value(field, json).unwrap_or_else(|| Value::Unknown(render(json)))
}

fn read_value(field: Field, json: &Json) -> Option<Value> {
    if json.as_str() == Some("*") && !matches!(field, Field::InInterface | Field::OutInterface) {
        return Some(Value::Any);
    }
    if let Some([first, last]) = json
        .get("range")
        .and_then(Json::as_array)
        .map(Vec::as_slice)
    {
        return match (read_value(field, first)?, read_value(field, last)?) {
            (Value::Number(first), Value::Number(last)) => Some(Value::Numbers(first, last)),
            (Value::Addresses(first, _), Value::Addresses(_, last))
                if first.is_ipv4() == last.is_ipv4() =>
            {
                Some(Value::Addresses(first, last))
            }
            _ => None,
        };
    }
    match field {
        Field::Source | Field::Destination => match json.get("prefix") {
            Some(prefix) => {
                let address: IpAddr = prefix.get("addr")?.as_str()?.parse().ok()?;
                let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
                Value::prefix(address, length)
            }
            None => json.as_str()?.parse().ok().map(Value::address),
        },
        Field::InInterface | Field::OutInterface => {
            let name = json.as_str()?;
            Some(match name.strip_suffix('*') {
                Some(prefix) => match prefix.strip_suffix('\\') {
                    Some(literal) => Value::Name(format!("{literal}*")),
                    None => Value::NamePrefix(prefix.to_owned()),
                },
                None => Value::Name(name.to_owned()),
            })
        }
        Field::SourceMac | Field::DestinationMac => {
            json.as_str().and_then(names::mac).map(Value::Mac)
        }
        // What cannot be looked at in the packet can be compared with nothing.
        Field::Unknown => None,
        _ => flags(field, json).map(Value::Number),
    }
}

/// A number; or several joined by `|`, or in a list: all their bits together.
fn flags(field: Field, json: &Json) -> Option<u64> {
    let list = json.get("|").unwrap_or(json).as_array();
    match list {
        Some(list) => list
            .iter()
            .try_fold(0, |bits, part| Some(bits | flags(field, part)?)),
        None => named_number(field, json),
    }
}

/// The bits of a mask. IPv4's fragment field loses the flag bits, which are no part of the offset.
pub(super) fn bits(field: Field, json: &Json) -> Option<u32> {
    let bits = u32::try_from(flags(field, json)?).ok()?;
    match field {
        Field::FragmentOffset if bits & !0x1fff != 0 => None,
        _ => Some(bits),
    }
}

/// A number, as JSON's or in a string.
pub(super) fn number(json: &Json) -> Option<u64> {
    json.as_u64()
        .or_else(|| json.as_str().and_then(names::number))
}

/// A value without quotes.
pub(super) fn plain(json: &Json) -> String {
    json.as_str()
        .map_or_else(|| json.to_string(), str::to_owned)
}

fn named_number(field: Field, json: &Json) -> Option<u64> {
    if let Some(number) = number(json) {
        return Some(number);
    }
    let name = json.as_str()?;
    match field {
        Field::Protocol => names::protocol(name).map(u64::from),
        Field::IcmpType => names::icmp_type(name).map(u64::from),
        Field::IcmpCode => names::icmp_code(name).map(u64::from),
        Field::Icmp6Type => names::icmp6_type(name).map(u64::from),
        Field::Icmp6Code => names::icmp6_code(name).map(u64::from),
        Field::Dscp => names::dscp(name).map(u64::from),
        Field::CtState => CtStates::from_name(name).map(|state| state.0.into()),
        Field::TcpFlags => TcpFlags::from_name(name).map(|flag| flag.0.into()),
        Field::SourceKind | Field::DestinationKind => {
            name.parse::<AddressKind>().ok().map(AddressKind::number)
        }
        Field::PacketType => match name {
            "host" => Some(PacketKind::Host.number()),
            name => name.parse::<PacketKind>().ok().map(PacketKind::number),
        },
        Field::IpVersion => match name {
            "ipv4" => Some(4),
            "ipv6" => Some(6),
            _ => None,
        },
        Field::EtherType => match name {
            "ip" => Some(0x0800),
            "arp" => Some(0x0806),
            "vlan" | "8021q" => Some(0x8100),
            "8021ad" => Some(0x88a8),
            "ip6" => Some(0x86dd),
            _ => None,
        },
        _ => None,
    }
}
