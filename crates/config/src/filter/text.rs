//! Filters from the text of `tc filter`.

use super::{BpfProgram, TcAction, TcFilter};
use crate::parse::Parsed;
use crate::qdisc::{TcStatistics, statistics_line};
use crate::text::Words;

pub(super) fn read(text: &str) -> Parsed<Vec<TcFilter>> {
    let mut parsed: Parsed<Vec<TcFilter>> = Parsed::default();
    // None: below a header that announces a classifier or a hash table, and is no filter.
    let mut current: Option<TcFilter> = None;
    for (number, line) in text.lines().enumerate() {
        if let Some(rest) = line.strip_prefix("filter ") {
            parsed.value.extend(current.take());
            match header(rest) {
                Some(filter) => current = filter.handle.is_some().then_some(filter),
                None => parsed.problem(
                    number + 1,
                    "a filter, such as \"filter protocol ip pref 10 u32 …\"",
                    line,
                ),
            }
            continue;
        }
        if line.trim().is_empty() {
            continue;
        }
        if !line.starts_with(char::is_whitespace) && !line.starts_with("police") {
            parsed.problem(number + 1, "a line that begins with \"filter\"", line);
            continue;
        }
        if let Some(filter) = &mut current {
            detail(filter, line);
        }
    }
    parsed.value.extend(current);
    parsed
}

/// `protocol ip pref 40 bpf chain 0 handle 0x1 prog.o:[tc] direct-action not_in_hw id 98 name shot_all`
fn header(rest: &str) -> Option<TcFilter> {
    let mut filter = TcFilter::default();
    let mut words = Words::new(rest);
    while let Some(word) = words.next() {
        match word {
            "dev" => filter.device = words.next()?.to_owned(),
            "parent" => filter.parent = words.next()?.to_owned(),
            "ingress" | "egress" if filter.kind.is_empty() => filter.parent = word.to_owned(),
            "protocol" => filter.protocol = words.next()?.to_owned(),
            "pref" => {
                filter.pref = words.value()?;
                filter.kind = words.next()?.to_owned();
            }
            "chain" => {
                words.next();
            }
            "fh" | "handle" => {
                filter.handle = words.next().map(str::to_owned);
                let rest: Vec<&str> = words.by_ref().collect();
                classifier(&mut filter, &rest);
            }
            _ => {}
        }
    }
    filter.text = filter_text(rest);
    (!filter.kind.is_empty()).then_some(filter)
}

/// What stands behind the handle.
fn classifier(filter: &mut TcFilter, words: &[&str]) {
    // A u32 hash table: `fh 800: ht divisor 1`.
    if filter.kind == "u32" && words.starts_with(&["ht", "divisor"]) {
        filter.handle = None;
        return;
    }
    if filter.kind != "bpf" {
        return;
    }
    let after = |name: &str| {
        let place = words.iter().position(|word| *word == name)?;
        words.get(place + 1).copied()
    };
    filter.bpf = Some(BpfProgram {
        name: after("name")
            .or_else(|| words.first().copied())
            .map(str::to_owned),
        id: after("id").and_then(|id| id.parse().ok()),
        direct_action: words.contains(&"direct-action"),
    });
}

/// The text without what does not belong to the rule itself.
fn filter_text(rest: &str) -> String {
    rest.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A line below a filter: a match, an action, or an action's statistics.
fn detail(filter: &mut TcFilter, line: &str) {
    let trimmed = line.trim();
    if let Some(rest) = trimmed.strip_prefix("action order ") {
        let rest = rest.split_once(':').map_or(rest, |(_, rest)| rest);
        filter.actions.push(action(rest));
    } else if trimmed.starts_with("police ") {
        filter.actions.push(action(trimmed));
    } else if trimmed.starts_with("Sent ") || trimmed.starts_with("backlog ") {
        if let Some(action) = filter.actions.last_mut() {
            // A line that is not as expected leaves what was read before it.
            let _ = statistics_line(
                action.statistics.get_or_insert_with(TcStatistics::default),
                trimmed,
            );
        }
        return;
    } else if [
        "index ",
        "ref ",
        "Action statistics",
        "random type",
        "used_hw",
        "installed",
    ]
    .iter()
    .any(|start| trimmed.starts_with(start))
    {
        return;
    }
    filter.text.push(' ');
    filter.text.push_str(trimmed);
}

/// `gact action drop`, `mirred (Egress Redirect to device eth1) stolen`, `police 0x1 rate 1Mbit burst 10Kb mtu 2Kb action drop
/// overhead 0b`, `bpf prog.o:[x] default-action pipe`.
fn action(text: &str) -> TcAction {
    let mut words = Words::new(text);
    let mut action = TcAction {
        kind: words.next().unwrap_or("").to_owned(),
        ..TcAction::default()
    };
    if action.kind == "mirred" {
        let inside = text
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once(')'));
        if let Some((inside, after)) = inside {
            let lower = inside.to_ascii_lowercase();
            let verb = if lower.contains("mirror") {
                "mirror"
            } else {
                "redirect"
            };
            let device = inside.split_whitespace().last().unwrap_or("");
            action.target = Some(format!("{verb} {device}"));
            action.control = after.split_whitespace().next().map(str::to_owned);
        }
        return action;
    }
    while let Some(word) = words.next() {
        if matches!(word, "action" | "default-action") {
            // A policer writes `exceed/conform` when both are set.
            action.control = words
                .next()
                .map(|control| control.split('/').next().unwrap_or(control).to_owned());
            break;
        }
    }
    action
}
