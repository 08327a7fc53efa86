//! Policy rules from the text of `ip rule`.

use super::{Mark, PolicyAction, PolicyRule};
use crate::parse::Parsed;
use crate::prefix::Prefix;
use crate::route::{self, Table};
use crate::text::{Words, fitting};

pub(super) fn read(text: &str) -> Parsed<Vec<PolicyRule>> {
    let mut parsed: Parsed<Vec<PolicyRule>> = Parsed::default();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match rule(line) {
            Some(rule) => parsed.value.push(rule),
            None => parsed.problem(
                number + 1,
                "a rule, such as \"32766: from all lookup main\"",
                line,
            ),
        }
    }
    parsed
}

fn rule(line: &str) -> Option<PolicyRule> {
    let (priority, rest) = line.split_once(':')?;
    let mut rule = PolicyRule::new(
        priority.trim().parse().ok()?,
        PolicyAction::Other("nothing".to_owned()),
    );
    let mut words = Words::new(rest);
    while let Some(word) = words.next() {
        match word {
            "not" => rule.not = true,
            "from" => rule.from = prefix(words.next()?)?,
            "to" => rule.to = prefix(words.next()?)?,
            "iif" | "dev" => rule.iif = words.next().map(str::to_owned),
            "oif" => rule.oif = words.next().map(str::to_owned),
            "tos" | "dsfield" => rule.tos = words.next().map(route::tos),
            "fwmark" => rule.fwmark = Some(mark(words.next()?)?),
            "lookup" | "table" => {
                let table = words.next()?;
                rule.action = match table {
                    "[l3mdev-table]" => {
                        rule.others.push("l3mdev".to_owned());
                        PolicyAction::Other("lookup [l3mdev-table]".to_owned())
                    }
                    _ => PolicyAction::Lookup(Table::read(table)),
                };
            }
            "goto" => rule.action = PolicyAction::Goto(words.value()?),
            "nop" => rule.action = PolicyAction::Nop,
            "blackhole" => rule.action = PolicyAction::Blackhole,
            "unreachable" => rule.action = PolicyAction::Unreachable,
            "prohibit" => rule.action = PolicyAction::Prohibit,
            "suppress_prefixlength" | "suppress_prefixlen" => {
                rule.suppress_prefix_length = words.value()
            }
            "suppress_ifgroup" => rule.suppress_group = words.next().map(str::to_owned),
            "ipproto" | "sport" | "dport" | "uidrange" | "tun_id" | "dscp" | "flowlabel" => {
                let value = words.next().unwrap_or_default();
                rule.others.push(format!("{word} {value}"));
            }
            "proto" | "realms" => {
                words.next();
            }
            // [detached] and [unresolved] say that what is named does not exist now: it matches nothing then.
            _ => {}
        }
    }
    rule.text = rest.trim().to_owned();
    Some(rule)
}

/// `all` is none.
fn prefix(text: &str) -> Option<Option<Prefix>> {
    match text {
        "all" | "default" => Some(None),
        _ => text.parse().ok().map(Some),
    }
}

fn mark(text: &str) -> Option<Mark> {
    Some(match text.split_once('/') {
        Some((value, mask)) => Mark {
            value: fitting(value)?,
            mask: fitting(mask)?,
        },
        None => Mark {
            value: fitting(text)?,
            mask: u32::MAX,
        },
    })
}
