//! The options of iptables' match modules.

use std::net::IpAddr;

use super::super::names;
use super::super::{
    AddressKind, CtStates, Elements, Family, Field, Key, Match, PacketKind, TcpFlags, Test, Value,
};
use super::{Words, range};

/// The modules that are read option by option.
const READ: &[&str] = &[
    "tcp",
    "udp",
    "udplite",
    "sctp",
    "dccp",
    "icmp",
    "icmp6",
    "icmpv6",
    "multiport",
    "conntrack",
    "state",
    "mark",
    "connmark",
    "comment",
    "addrtype",
    "length",
    "ttl",
    "hl",
    "iprange",
    "mac",
    "pkttype",
    "dscp",
];

/// The whole match, for a module that is not read option by option: `rpfilter`, whose options belong together, and those
/// of which nothing is known beforehand.
pub(super) fn whole(module: &str, words: &mut Words<'_>) -> Option<Match> {
    if READ.contains(&module) {
        return None;
    }
    let begin = words.next;
    while let Some(word) = words.peek() {
        let next = match word {
            "!" => words.words.get(words.next + 1).map(String::as_str),
            word => Some(word),
        };
        // A module's own options are long; one letter is iptables' own again.
        if next.is_some_and(|next| next.starts_with('-') && !next.starts_with("--")) {
            break;
        }
        words.next += 1;
    }
    let options = &words.words[begin..words.next];
    let has = |name: &str| options.iter().any(|word| word == name);
    Some(match module {
        // --validmark and --accept-local change what counts as a route back, and a dump cannot tell whether they do.
        "rpfilter" if !has("--validmark") && !has("--accept-local") => Match {
            negated: has("--invert"),
            test: Test::ReversePath {
                loose: has("--loose"),
            },
        },
        _ => {
            let mut text = format!("-m {module}");
            for word in options {
                text.push(' ');
                text.push_str(word);
            }
            Match::unknown(text)
        }
    })
}

/// One option of a module.
pub(super) fn option(
    family: Family,
    module: &str,
    word: &str,
    negated: bool,
    words: &mut Words<'_>,
) -> Vec<Match> {
    let begin = words.next;
    let arguments = words.arguments();
    match read(family, module, word, &arguments) {
        Some(Read::Nothing) => Vec::new(),
        Some(Read::Test(test)) => vec![Match { negated, test }],
        None => {
            let mut text = String::new();
            if !module.is_empty() {
                text.push_str(&format!("-m {module} "));
            }
            if negated {
                text.push_str("! ");
            }
            text.push_str(word);
            for argument in &words.words[begin..words.next] {
                text.push(' ');
                text.push_str(argument);
            }
            vec![Match::unknown(text)]
        }
    }
}

enum Read {
    Nothing,
    Test(Test),
}

fn read(family: Family, module: &str, word: &str, arguments: &[&str]) -> Option<Read> {
    let first = arguments.first().copied();
    let test = match (module, word) {
        ("comment", _) => return Some(Read::Nothing),
        (_, "--sport" | "--source-port") if module != "multiport" => {
            field(Field::SourcePort, [range(first?, 65535)])
        }
        (_, "--dport" | "--destination-port") if module != "multiport" => {
            field(Field::DestinationPort, [range(first?, 65535)])
        }
        ("multiport", "--sports" | "--source-ports") => field(Field::SourcePort, ports(first?)),
        ("multiport", "--dports" | "--destination-ports") => {
            field(Field::DestinationPort, ports(first?))
        }
        ("multiport", "--ports") => {
            Test::EitherPort(ports(first?).into_iter().map(|port| vec![port]).collect())
        }
        ("tcp", "--syn") => tcp_flags(0x17, 0x02),
        ("tcp", "--tcp-flags") => tcp_flags(flags(first?)?, flags(arguments.get(1)?)?),
        ("icmp" | "icmp6" | "icmpv6", _) => return icmp(family, first?),
        ("state", "--state") | ("conntrack", "--ctstate") => field(Field::CtState, states(first?)?),
        ("mark", "--mark") => masked(Field::Mark, first?)?,
        ("connmark", "--mark") => masked(Field::ConnectionMark, first?)?,
        ("addrtype", "--src-type") => {
            address_kind(family, Field::Source, Field::SourceKind, first?)?
        }
        ("addrtype", "--dst-type") => {
            address_kind(family, Field::Destination, Field::DestinationKind, first?)?
        }
        ("length", "--length") => field(Field::Length, [range(first?, 65535)]),
        ("ttl", "--ttl-eq" | "--ttl") | ("hl", "--hl-eq" | "--hl") => {
            field(Field::Ttl, [range(first?, 255)])
        }
        ("ttl", "--ttl-lt") | ("hl", "--hl-lt") => {
            let limit = names::number(first?)?.checked_sub(1)?;
            field(Field::Ttl, [Value::Numbers(0, limit)])
        }
        ("ttl", "--ttl-gt") | ("hl", "--hl-gt") => {
            let limit = names::number(first?)?.saturating_add(1);
            field(Field::Ttl, [Value::Numbers(limit, 255)])
        }
        ("iprange", "--src-range") => field(Field::Source, [addresses(first?)?]),
        ("iprange", "--dst-range") => field(Field::Destination, [addresses(first?)?]),
        ("mac", "--mac-source") => field(Field::SourceMac, [Value::Mac(names::mac(first?)?)]),
        ("pkttype", "--pkt-type") => {
            let name = if first? == "host" { "unicast" } else { first? };
            let kind: PacketKind = name.parse().ok()?;
            field(Field::PacketType, [Value::Number(kind.number())])
        }
        ("dscp", "--dscp" | "--dscp-class") => {
            field(Field::Dscp, [Value::Number(names::dscp(first?)?.into())])
        }
        _ => return None,
    };
    Some(Read::Test(test))
}

fn field(field: Field, values: impl IntoIterator<Item = Value>) -> Test {
    Match::field(field, values, false).test
}

fn ports(text: &str) -> Vec<Value> {
    text.split(',').map(|part| range(part, 65535)).collect()
}

fn tcp_flags(mask: u8, value: u8) -> Test {
    Test::In {
        key: vec![Key {
            field: Field::TcpFlags,
            mask: Some(mask.into()),
        }],
        elements: Elements::Inline(vec![vec![Value::Number(value.into())]]),
    }
}

fn flags(text: &str) -> Option<u8> {
    if let Some(number) = names::number(text) {
        return u8::try_from(number).ok();
    }
    text.split(',')
        .try_fold(0, |bits, name| Some(bits | TcpFlags::from_name(name)?.0))
}

fn states(text: &str) -> Option<Vec<Value>> {
    // DNAT and SNAT, which --ctstate also knows, are no states but a translation: `from_name` refuses them.
    text.split(',')
        .map(|name| CtStates::from_name(name).map(|state| Value::Number(state.0.into())))
        .collect()
}

/// `--src-type LOCAL`: for IPv4 one of the kinds that the routing table knows. IPv6 (`match_type6`) asks the routing table
/// only for some of them; UNICAST and MULTICAST are about the address itself there, one of this host's own included.
fn address_kind(family: Family, address: Field, kind: Field, text: &str) -> Option<Test> {
    let range = |first: u128, last: u128| {
        let ends = [first, last].map(|bits| IpAddr::V6(bits.into()));
        field(address, [Value::Addresses(ends[0], ends[1])])
    };
    const MULTICAST: u128 = 0xff << 120;
    if family == Family::Ip6 {
        match text {
            "UNICAST" => return Some(range(1, MULTICAST - 1)),
            "MULTICAST" => return Some(range(MULTICAST, u128::MAX)),
            "UNSPEC" => return Some(range(0, 0)),
            _ => {}
        }
    }
    let kinds = text.split(',').map(|name| {
        let kind: AddressKind = name.to_ascii_lowercase().parse().ok()?;
        let asked = matches!(
            kind,
            AddressKind::Local | AddressKind::Anycast | AddressKind::Unreachable
        );
        (family != Family::Ip6 || asked).then(|| Value::Number(kind.number()))
    });
    Some(field(kind, kinds.collect::<Option<Vec<_>>>()?))
}

fn addresses(text: &str) -> Option<Value> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
    (first.is_ipv4() == last.is_ipv4()).then_some(Value::Addresses(first, last))
}

/// `VALUE[/MASK]`.
fn masked(field: Field, text: &str) -> Option<Test> {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (value, Some(u32::try_from(names::number(mask)?).ok()?)),
        None => (text, None),
    };
    Some(Test::In {
        key: vec![Key { field, mask }],
        elements: Elements::Inline(vec![vec![Value::Number(names::number(value)?)]]),
    })
}

/// `8`, `3/4`, `echo-request`, `any`.
fn icmp(family: Family, text: &str) -> Option<Read> {
    if text == "any" || (family == Family::Ip && text == "255") {
        return Some(Read::Nothing);
    }
    let (kind_field, code_field) = match family {
        Family::Ip6 => (Field::Icmp6Type, Field::Icmp6Code),
        _ => (Field::IcmpType, Field::IcmpCode),
    };
    let (kind, code) = names::icmp_type_and_code(family, text)?;
    let kind = Value::Number(kind.into());
    Some(Read::Test(match code {
        None => field(kind_field, [kind]),
        Some(code) => Test::In {
            key: vec![Key::whole(kind_field), Key::whole(code_field)],
            elements: Elements::Inline(vec![vec![kind, Value::Number(code.into())]]),
        },
    }))
}
