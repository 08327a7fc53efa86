//! nft's verdicts, and the statements that end like one.

use std::net::IpAddr;

use serde_json::Value as Json;

use super::super::nft_render::render;
use super::super::{Action, Field, Nat, NatKind, Value};
use super::values;

/// The verdict of this statement; none for a statement that gives none.
pub(super) fn action(name: &str, body: &Json, expression: &Json) -> Option<Action> {
    let target = || {
        let target = body.get("target").unwrap_or(body);
        target.as_str().map(str::to_owned)
    };
    Some(match name {
        "accept" => Action::Accept,
        "drop" => Action::Drop,
        "return" => Action::Return,
        "continue" => Action::Continue,
        "jump" => Action::Jump(target()?),
        "goto" => Action::Goto(target()?),
        "reject" => Action::Reject {
            with: reject_with(body),
        },
        "queue" => queue(body),
        "dnat" => nat(NatKind::Destination, body),
        "snat" => nat(NatKind::Source, body),
        "masquerade" => nat(NatKind::Masquerade, body),
        "redirect" => nat(NatKind::Redirect, body),
        "tproxy" => Action::Tproxy {
            accepts: false,
            text: render(expression),
        },
        "fwd" | "synproxy" => Action::Stolen(render(expression)),
        _ => return None,
    })
}

/// A target of iptables, whose options nft's JSON leaves out.
pub(super) fn xt_target(name: &str, expression: &Json) -> Action {
    let computed = |kind| {
        Action::Nat(Nat {
            kind,
            addresses: None,
            ports: None,
            computed: true,
        })
    };
    match name {
        "REJECT" => Action::Reject { with: None },
        "NFQUEUE" | "QUEUE" => Action::Queue {
            first: 0,
            last: u16::MAX,
            bypass: false,
        },
        "DNAT" => computed(NatKind::Destination),
        "SNAT" => computed(NatKind::Source),
        "MASQUERADE" => computed(NatKind::Masquerade),
        "REDIRECT" => computed(NatKind::Redirect),
        "TPROXY" => Action::Tproxy {
            accepts: true,
            text: render(expression),
        },
        "SYNPROXY" => Action::Stolen(render(expression)),
        _ => Action::Unknown(render(expression)),
    }
}

/// `tcp reset`, `icmp port-unreachable`, `icmpx admin-prohibited`.
fn reject_with(body: &Json) -> Option<String> {
    let kind = body.get("type")?.as_str()?;
    Some(match body.get("expr").map(values::plain) {
        Some(code) => format!("{kind} {code}"),
        None => kind.to_owned(),
    })
}

fn queue(body: &Json) -> Action {
    let flags = body.get("flags");
    let bypass = match flags {
        Some(Json::String(flag)) => flag == "bypass",
        Some(Json::Array(flags)) => flags.iter().any(|flag| flag == "bypass"),
        _ => false,
    };
    let whole = |json: &Json| values::number(json).and_then(|n| u16::try_from(n).ok());
    let (first, last) = match body.get("num") {
        None => (0, 0),
        Some(number) => {
            let range = number.get("range").and_then(Json::as_array);
            let ends = match range.map(Vec::as_slice) {
                Some([first, last]) => whole(first).zip(whole(last)),
                _ => whole(number).map(|n| (n, n)),
            };
            // A hash or a map over queues: any of them.
            ends.unwrap_or((0, u16::MAX))
        }
    };
    Action::Queue {
        first,
        last,
        bypass,
    }
}

fn nat(kind: NatKind, body: &Json) -> Action {
    let addresses = body.get("addr").map(addresses);
    let ports = body.get("port").map(ports);
    let computed = addresses == Some(None) || ports == Some(None);
    Action::Nat(Nat {
        kind,
        addresses: addresses.flatten(),
        ports: ports.flatten(),
        computed,
    })
}

fn addresses(json: &Json) -> Option<(IpAddr, IpAddr)> {
    match values::value(Field::Source, json) {
        Value::Addresses(first, last) => Some((first, last)),
        _ => None,
    }
}

fn ports(json: &Json) -> Option<(u16, u16)> {
    let port = |number: u64| u16::try_from(number).ok();
    match values::value(Field::SourcePort, json) {
        Value::Number(number) => Some((port(number)?, port(number)?)),
        Value::Numbers(first, last) => Some((port(first)?, port(last)?)),
        _ => None,
    }
}
