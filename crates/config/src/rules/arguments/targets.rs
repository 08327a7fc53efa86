//! iptables' targets.

use std::net::IpAddr;

use super::super::names;
use super::super::{Action, Nat, NatKind, Statement};
use super::Words;

/// Targets after which the next rule is asked, and which change nothing that rules look at.
pub(in crate::rules) const CONTINUE: &[&str] = &[
    "LOG",
    "NFLOG",
    "ULOG",
    "TRACE",
    "TCPMSS",
    "TCPOPTSTRIP",
    "DSCP",
    "TOS",
    "TTL",
    "HL",
    "ECN",
    "CLASSIFY",
    "CHECKSUM",
    "SET",
    "AUDIT",
    "IDLETIMER",
    "LED",
    "RATEEST",
    "SECMARK",
    "CONNSECMARK",
    "TEE",
    "ACCOUNT",
    "HMARK",
    "CONTINUE",
];

/// Reads a target and its options, up to the end of the rule.
pub(super) fn parse(
    name: &str,
    words: &mut Words<'_>,
    is_chain: &dyn Fn(&str) -> bool,
) -> Vec<Statement> {
    let options: Vec<&str> = std::iter::from_fn(|| words.take()).collect();
    let after = |option: &str| {
        let at = options.iter().position(|word| *word == option)?;
        options.get(at + 1).copied()
    };
    let has = |option: &str| options.contains(&option);
    let text = || {
        let mut text = format!("-j {name}");
        for option in &options {
            text.push(' ');
            text.push_str(option);
        }
        text
    };
    let action = match name {
        "ACCEPT" => Action::Accept,
        "DROP" => Action::Drop,
        "RETURN" => Action::Return,
        "REJECT" => Action::Reject {
            with: after("--reject-with").map(str::to_owned),
        },
        "QUEUE" | "NFQUEUE" => queue(after("--queue-num"), after("--queue-balance"), has),
        "DNAT" => nat(NatKind::Destination, after("--to-destination")),
        "SNAT" => nat(NatKind::Source, after("--to-source")),
        "MASQUERADE" => nat(NatKind::Masquerade, after("--to-ports")),
        "REDIRECT" => nat(NatKind::Redirect, after("--to-ports")),
        "NETMAP" => Action::Nat(Nat {
            kind: NatKind::Destination,
            addresses: None,
            ports: None,
            computed: true,
        }),
        "TPROXY" => Action::Tproxy {
            accepts: true,
            text: text(),
        },
        "SYNPROXY" | "STEAL" => Action::Stolen(text()),
        _ if is_chain(name) => Action::Jump(name.to_owned()),
        "MARK" => return mark(&after, false),
        "CONNMARK" => return connection_mark(&after, has),
        "NOTRACK" => return vec![Statement::NoTrack { certain: true }],
        "CT" if has("--notrack") => return vec![Statement::NoTrack { certain: true }],
        "CT" => return vec![Statement::Other(text())],
        _ if CONTINUE.contains(&name) => return vec![Statement::Other(text())],
        _ => Action::Unknown(text()),
    };
    vec![Statement::Verdict(action)]
}

fn queue(number: Option<&str>, balance: Option<&str>, has: impl Fn(&str) -> bool) -> Action {
    let number = number.and_then(|n| n.parse().ok());
    let balance = balance
        .and_then(|range| range.split_once(':'))
        .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let (first, last) = match (number, balance) {
        (_, Some(range)) => range,
        (Some(number), None) => (number, number),
        // Both targets use queue 0 where nothing is said.
        (None, None) => (0, 0),
    };
    Action::Queue {
        first,
        last,
        bypass: has("--queue-bypass"),
    }
}

/// `ADDRESS[-ADDRESS][:PORT[-PORT][/BASE]]`, `[ADDRESS6]:PORT`, or the ports alone.
fn nat(kind: NatKind, to: Option<&str>) -> Action {
    let read = |to: &str| match kind {
        NatKind::Masquerade | NatKind::Redirect => Some((None, Some(port_range(to)?))),
        NatKind::Destination | NatKind::Source => address_and_ports(to),
    };
    let (addresses, ports, computed) = match to.map(read) {
        Some(Some((addresses, ports))) => (addresses, ports, false),
        Some(None) => (None, None, true),
        None => (None, None, false),
    };
    Action::Nat(Nat {
        kind,
        addresses,
        ports,
        computed,
    })
}

type AddressRange = (IpAddr, IpAddr);
type PortRange = (u16, u16);

fn address_and_ports(to: &str) -> Option<(Option<AddressRange>, Option<PortRange>)> {
    let (addresses, ports) = if let Some(inner) = to.strip_prefix('[') {
        let (addresses, rest) = inner.rsplit_once(']')?;
        (addresses, rest.strip_prefix(':'))
    } else if to.matches(':').count() > 1 {
        (to, None)
    } else {
        match to.split_once(':') {
            Some((addresses, ports)) => (addresses, Some(ports)),
            None => (to, None),
        }
    };
    let addresses = match addresses {
        "" => None,
        text => {
            // Ranges of IPv6 are printed as [a]-[b].
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let strip = |part: &str| part.trim_matches(['[', ']']).parse::<IpAddr>().ok();
            Some((strip(first)?, strip(last)?))
        }
    };
    let ports = match ports {
        Some(ports) => Some(port_range(ports)?),
        None => None,
    };
    Some((addresses, ports))
}

fn port_range(text: &str) -> Option<PortRange> {
    let text = text.split('/').next()?;
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// `--set-xmark VALUE/MASK`, and the older spellings.
fn mark<'a>(after: &dyn Fn(&str) -> Option<&'a str>, connection: bool) -> Vec<Statement> {
    let (value, mask) = set_mark(after).map_or((None, u32::MAX), |(v, m)| (Some(v), m));
    vec![match connection {
        true => Statement::SetConnectionMark { value, mask },
        false => Statement::SetMark { value, mask },
    }]
}

fn set_mark<'a>(after: &dyn Fn(&str) -> Option<&'a str>) -> Option<(u32, u32)> {
    let number = |text: &str| u32::try_from(names::number(text)?).ok();
    let pair = |text: &str| match text.split_once('/') {
        Some((value, mask)) => Some((number(value)?, number(mask)?)),
        None => Some((number(text)?, u32::MAX)),
    };
    if let Some(text) = after("--set-xmark") {
        return pair(text);
    }
    if let Some(text) = after("--set-mark") {
        return pair(text).map(|(value, mask)| (value, mask | value));
    }
    if let Some(bits) = after("--and-mark").and_then(number) {
        return Some((0, !bits));
    }
    if let Some(bits) = after("--or-mark").and_then(number) {
        return Some((bits, bits));
    }
    let bits = after("--xor-mark").and_then(number)?;
    Some((bits, 0))
}

fn connection_mark<'a>(
    after: &dyn Fn(&str) -> Option<&'a str>,
    has: impl Fn(&str) -> bool,
) -> Vec<Statement> {
    let full = |option: &str| {
        after(option).is_none_or(|mask| names::number(mask) == Some(u32::MAX.into()))
    };
    let plain = full("--nfmask") && full("--ctmask") && full("--mask");
    let unknown = (None, u32::MAX);
    if has("--restore-mark") {
        let (value, mask) = unknown;
        return vec![match plain {
            true => Statement::RestoreMark,
            false => Statement::SetMark { value, mask },
        }];
    }
    if has("--save-mark") {
        let (value, mask) = unknown;
        return vec![match plain {
            true => Statement::SaveMark,
            false => Statement::SetConnectionMark { value, mask },
        }];
    }
    mark(after, true)
}
