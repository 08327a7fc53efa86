//! From nft's JSON expressions to the common form: statements.
//!
//! The schema is that of libnftables-json(5). nft's text is brought into it too (`nft_words`), so that both forms mean the
//! same by construction.

mod actions;
mod values;

use serde_json::Value as Json;

use super::arguments::CONTINUE_TARGETS;
use super::nft_render::render;
use super::{
    Action, Counter, Elements, Field, Key, MapEntries, Match, SetElement, Statement, Test, Value,
};

use values::value;
pub(super) use values::{element, field_of_type, fields_of_expression};

/// What became of a rule's expressions.
#[derive(Debug, Clone, Default)]
pub(super) struct Lowered {
    /// The steps.
    pub(super) statements: Vec<Statement>,
    /// The first counter's values.
    pub(super) counter: Option<Counter>,
}

/// Lowers a rule's `expr`.
pub(super) fn lower_rule(expressions: &[Json]) -> Lowered {
    let mut lowered = Lowered::default();
    for expression in expressions {
        lowered.statement(expression);
    }
    lowered
}

impl Lowered {
    fn push(&mut self, statement: Statement) {
        self.statements.push(statement);
    }

    fn unknown(&mut self, expression: &Json) {
        let text = render(expression);
        self.push(Statement::Match(Match::unknown(text)));
    }

    fn other(&mut self, expression: &Json) {
        let text = render(expression);
        self.push(Statement::Other(text));
    }

    fn statement(&mut self, expression: &Json) {
        let Some((name, body)) = single(expression) else {
            return self.unknown(expression);
        };
        match name {
            "match" => self.comparison(expression, body),
            "counter" => self.counter(expression, body),
            "vmap" => self.verdict_map(expression, body),
            "mangle" => self.mangle(expression, body),
            "notrack" => self.push(Statement::NoTrack { certain: true }),
            "xt" => self.xtables(expression, body),
            // They change nothing that rules look at, and never end a rule.
            "log" | "comment" | "ct helper" | "ct timeout" | "ct expectation" | "secmark"
            | "dup" | "flow" => self.other(expression),
            // A set that is full ends the rule; a statement inside of it may.
            "set" if body.get("stmt").is_none() => self.other(expression),
            _ => match actions::action(name, body, expression) {
                Some(action) => self.push(Statement::Verdict(action)),
                // limit, quota, meter, ct count, connlimit, and whatever later versions bring.
                None => self.unknown(expression),
            },
        }
    }

    fn counter(&mut self, expression: &Json, body: &Json) {
        let number = |name| body.get(name).and_then(Json::as_u64);
        if let (Some(packets), Some(bytes)) = (number("packets"), number("bytes")) {
            self.counter.get_or_insert(Counter { packets, bytes });
            self.push(Statement::Counter);
        } else if body.is_null() {
            self.push(Statement::Counter);
        } else {
            self.other(expression);
        }
    }

    fn comparison(&mut self, expression: &Json, body: &Json) {
        let (Some(left), Some(right)) = (body.get("left"), body.get("right")) else {
            return self.unknown(expression);
        };
        let operator = body.get("op").and_then(Json::as_str).unwrap_or("==");
        if let Some(test) = values::fib(left, operator, right) {
            return self.push(Statement::Match(test));
        }
        let Some(left) = values::left(left) else {
            return self.unknown(expression);
        };
        let Some(test) = compare(&left.key, operator, right) else {
            return self.unknown(expression);
        };
        self.require(&left);
        self.push(Statement::Match(test));
    }

    /// The protocol that looking at its header requires. nft does not print it.
    fn require(&mut self, left: &values::Left) {
        for test in &left.requires {
            self.push(Statement::Match(test.clone()));
        }
    }

    fn verdict_map(&mut self, expression: &Json, body: &Json) {
        let key = body.get("key").and_then(values::left);
        let (Some(left), Some(data)) = (key, body.get("data")) else {
            return self.push(Statement::VerdictMap {
                key: vec![Key::whole(Field::Unknown)],
                entries: any_verdict(expression, body.get("data")),
            });
        };
        let entries = if let Some(name) = set_name(data) {
            MapEntries::Named(name.to_owned())
        } else {
            let pairs = data.get("set").and_then(Json::as_array);
            let fields: Vec<Field> = left.key.iter().map(|key| key.field).collect();
            let entries = pairs
                .into_iter()
                .flatten()
                .map(|pair| map_element(pair, &fields, true))
                .collect();
            MapEntries::Inline(entries)
        };
        self.require(&left);
        self.push(Statement::VerdictMap {
            key: left.key,
            entries,
        });
    }

    fn mangle(&mut self, expression: &Json, body: &Json) {
        let (Some(key), Some(value)) = (body.get("key"), body.get("value")) else {
            return self.unknown(expression);
        };
        let is = |json: &Json, kind: &str| {
            json.get(kind)
                .and_then(|inner| inner.get("key"))
                .and_then(Json::as_str)
                == Some("mark")
        };
        let packet = is(key, "meta");
        if !packet && !is(key, "ct") {
            return self.other(expression);
        }
        if packet && is(value, "ct") {
            return self.push(Statement::RestoreMark);
        }
        if !packet && is(value, "meta") {
            return self.push(Statement::SaveMark);
        }
        let own = if packet { "meta" } else { "ct" };
        let (value, mask) = mark_change(value, |json| is(json, own));
        self.push(match packet {
            true => Statement::SetMark { value, mask },
            false => Statement::SetConnectionMark { value, mask },
        });
    }

    /// A match or target of iptables. nft's JSON says its name only.
    fn xtables(&mut self, expression: &Json, body: &Json) {
        let name = body.get("name").and_then(Json::as_str).unwrap_or_default();
        if body.get("type").and_then(Json::as_str) != Some("target") {
            return match name {
                "comment" => self.other(expression),
                _ => self.unknown(expression),
            };
        }
        let unclear = (None, u32::MAX);
        match name {
            "MARK" => {
                let (value, mask) = unclear;
                self.push(Statement::SetMark { value, mask });
            }
            "CONNMARK" => {
                let (value, mask) = unclear;
                self.push(Statement::SetMark { value, mask });
                self.push(Statement::SetConnectionMark { value, mask });
            }
            "CT" | "NOTRACK" => self.push(Statement::NoTrack { certain: false }),
            _ if CONTINUE_TARGETS.contains(&name) => self.other(expression),
            _ => self.push(Statement::Verdict(actions::xt_target(name, expression))),
        }
    }
}

/// The only member of an object.
fn single(json: &Json) -> Option<(&str, &Json)> {
    let object = json.as_object()?;
    let (name, body) = object.iter().next()?;
    (object.len() == 1).then_some((name.as_str(), body))
}

/// The name behind `@`.
fn set_name(json: &Json) -> Option<&str> {
    json.as_str()?.strip_prefix('@')
}

/// The entries of a map whose key nobody knows: each of its verdicts is possible.
fn any_verdict(expression: &Json, data: Option<&Json>) -> MapEntries {
    if let Some(name) = data.and_then(set_name) {
        return MapEntries::Named(name.to_owned());
    }
    let pairs = data.and_then(|d| d.get("set")).and_then(Json::as_array);
    let mut entries: Vec<SetElement> = pairs
        .into_iter()
        .flatten()
        .map(|pair| map_element(pair, &[Field::Unknown], true))
        .collect();
    if entries.is_empty() {
        entries.push(SetElement {
            key: vec![Value::Any],
            verdict: Some(Action::Unknown(render(expression))),
            data: None,
        });
    }
    MapEntries::Inline(entries)
}

/// `[KEY, VERDICT]` or `[KEY, DATA]` of a map.
pub(super) fn map_element(pair: &Json, fields: &[Field], verdicts: bool) -> SetElement {
    let (key, to) = match pair.as_array().map(Vec::as_slice) {
        Some([key, to]) => (key, to),
        _ => (pair, &Json::Null),
    };
    let verdict = verdicts.then(|| {
        single(to)
            .and_then(|(name, body)| actions::action(name, body, to))
            .unwrap_or_else(|| Action::Unknown(render(to)))
    });
    let data = (!verdicts).then(|| value(Field::Mark, to));
    SetElement {
        key: element(key, fields),
        verdict,
        data,
    }
}

/// The test that compares a key with nft's right-hand side.
fn compare(key: &[Key], operator: &str, right: &Json) -> Option<Match> {
    let fields: Vec<Field> = key.iter().map(|key| key.field).collect();
    let membership = matches!(operator, "==" | "in" | "!=");
    let negated = operator == "!=";
    let test = |key: Vec<Key>, elements, negated| {
        Some(Match {
            negated,
            test: Test::In { key, elements },
        })
    };
    if membership {
        if let Some(name) = set_name(right) {
            return test(key.to_vec(), Elements::Named(name.to_owned()), negated);
        }
        if let Some(list) = right.get("set").and_then(Json::as_array) {
            let elements = list.iter().map(|item| element(item, &fields)).collect();
            return test(key.to_vec(), Elements::Inline(elements), negated);
        }
    }
    if let ([Key { field, mask }], true) = (key, matches!(operator, "in" | "!")) {
        // `tcp flags syn,ack`: any of them; `tcp flags ! syn`: none of them.
        let bits = values::bits(*field, right)?;
        let mask = mask.unwrap_or(u32::MAX) & bits;
        let key = vec![Key {
            field: *field,
            mask: Some(mask),
        }];
        let none = Elements::Inline(vec![vec![Value::Number(0)]]);
        return test(key, none, operator == "in");
    }
    if membership {
        // A list without braces is all of its bits at once. `!=` with one has changed its meaning between versions.
        if negated && right.as_array().is_some_and(|list| list.len() > 1) {
            return None;
        }
        let elements = Elements::Inline(vec![element(right, &fields)]);
        return test(key.to_vec(), elements, negated);
    }
    let [Key { field, .. }] = key else {
        return None;
    };
    let Value::Number(bound) = value(*field, right) else {
        return None;
    };
    let values = match operator {
        "<" => bound.checked_sub(1).map(|last| Value::Numbers(0, last)),
        "<=" => Some(Value::Numbers(0, bound)),
        ">" => bound
            .checked_add(1)
            .map(|first| Value::Numbers(first, u64::MAX)),
        ">=" => Some(Value::Numbers(bound, u64::MAX)),
        _ => return None,
    };
    let elements = values.into_iter().map(|value| vec![value]).collect();
    test(key.to_vec(), Elements::Inline(elements), false)
}

/// What is xored into a mark and the bits that are cleared before: `9`, `mark & 0xff`, `mark | 0x10`, both.
fn mark_change(value: &Json, is_mark: impl Fn(&Json) -> bool + Copy) -> (Option<u32>, u32) {
    let unknown = (None, u32::MAX);
    if let Some(number) = values::number(value) {
        return match u32::try_from(number) {
            Ok(number) => (Some(number), u32::MAX),
            Err(_) => unknown,
        };
    }
    let Some((operator, parts)) = single(value) else {
        return unknown;
    };
    let Some([left, right]) = parts.as_array().map(Vec::as_slice) else {
        return unknown;
    };
    let Some(bits) = values::number(right).and_then(|bits| u32::try_from(bits).ok()) else {
        return unknown;
    };
    // new = (mark & keep) ^ flip
    let (keep, flip) = if is_mark(left) {
        (u32::MAX, 0)
    } else {
        match mark_change(left, is_mark) {
            (Some(flip), mask) => (!mask, flip),
            (None, _) => return unknown,
        }
    };
    let (keep, flip) = match operator {
        "&" => (keep & bits, flip & bits),
        "|" => (keep & !bits, (flip & !bits) | bits),
        "^" => (keep, flip ^ bits),
        _ => return unknown,
    };
    (Some(flip), !keep)
}
