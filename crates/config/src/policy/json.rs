//! Policy rules from `ip -j rule`.

use serde_json::{Map, Value};

use super::{Mark, PolicyAction, PolicyRule};
use crate::json::{number, objects, string, text as owned};
use crate::parse::Parsed;
use crate::prefix::Prefix;
use crate::route::{self, Table};

/// Members that narrow a rule in ways that are not evaluated.
const OTHERS: &[&str] = &[
    "ipproto",
    "sport",
    "sport_start",
    "sport_end",
    "dport",
    "dport_start",
    "dport_end",
    "uid_start",
    "uid_end",
    "tun_id",
    "l3mdev",
    "dscp",
    "flowlabel",
];

pub(super) fn read(text: &str) -> Parsed<Vec<PolicyRule>> {
    let elements = objects(text);
    let mut parsed = Parsed {
        value: Vec::new(),
        problems: elements.problems,
    };
    for (place, map) in elements.value {
        match rule(&map) {
            Ok(rule) => parsed.value.push(rule),
            Err(expected) => parsed.problem(place, expected, &Value::Object(map).to_string()),
        }
    }
    parsed
}

fn rule(map: &Map<String, Value>) -> Result<PolicyRule, &'static str> {
    let priority = number(map, "priority").ok_or("an object with \"priority\"")?;
    let action = if let Some(target) = number(map, "goto") {
        PolicyAction::Goto(target)
    } else {
        match (string(map, "action"), owned(map, "table")) {
            (Some("blackhole"), _) => PolicyAction::Blackhole,
            (Some("unreachable"), _) => PolicyAction::Unreachable,
            (Some("prohibit"), _) => PolicyAction::Prohibit,
            (Some("nop"), _) => PolicyAction::Nop,
            (Some("to_tbl") | None, Some(table)) => PolicyAction::Lookup(Table::read(&table)),
            (Some(other), _) => PolicyAction::Other(other.to_owned()),
            (None, None) => PolicyAction::Other("nothing".to_owned()),
        }
    };
    let mut rule = PolicyRule {
        not: map.contains_key("not"),
        from: prefix(map, "src", "srclen")?,
        to: prefix(map, "dst", "dstlen")?,
        iif: owned(map, "iif"),
        oif: owned(map, "oif"),
        fwmark: number(map, "fwmark").map(|value| Mark {
            value,
            mask: number(map, "fwmask").unwrap_or(u32::MAX),
        }),
        tos: string(map, "tos").map(route::tos),
        others: OTHERS
            .iter()
            .filter_map(|key| {
                let value = map.get(*key)?;
                Some(match value {
                    Value::Null | Value::Bool(_) => (*key).to_owned(),
                    Value::String(text) => format!("{key} {text}"),
                    other => format!("{key} {other}"),
                })
            })
            .collect(),
        suppress_prefix_length: number(map, "suppress_prefixlen"),
        suppress_group: owned(map, "suppress_ifgroup"),
        ..PolicyRule::new(priority, action)
    };
    rule.text = rule.render();
    Ok(rule)
}

/// A prefix whose length stands beside it; `all` is none.
fn prefix(
    map: &Map<String, Value>,
    address: &str,
    length: &str,
) -> Result<Option<Prefix>, &'static str> {
    let text = match string(map, address) {
        None | Some("all" | "default") => return Ok(None),
        Some(text) => text,
    };
    let prefix: Prefix = text
        .parse()
        .map_err(|_| "an address in \"src\" and \"dst\"")?;
    Ok(Some(match number(map, length) {
        Some(length) => Prefix::new(prefix.address, length),
        None => prefix,
    }))
}
