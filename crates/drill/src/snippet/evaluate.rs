//! What a snippet comes to.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Kind, Statement, Term, Value};

/// Why a snippet failed, and in which of its lines (from 0 on).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnippetFailure {
    pub(crate) line: u32,
    pub(crate) message: String,
}

/// What names stand for: values that the script named, and else what `look_up` says.
pub(crate) struct Names<'a> {
    pub(crate) own: &'a mut BTreeMap<String, Value>,
    pub(crate) look_up: &'a dyn Fn(&str) -> Result<i64>,
}

type Result<T> = std::result::Result<T, String>;

/// Runs statements in order, up to the first failure.
pub(super) fn run(
    statements: &[Statement],
    names: &mut Names<'_>,
    printed: &mut Vec<String>,
) -> std::result::Result<(), SnippetFailure> {
    for statement in statements {
        let line = statement.line;
        let failure = |message| SnippetFailure { line, message };
        match &statement.kind {
            Kind::Pass => {}
            Kind::Assert(condition, message) => {
                if !names.value(condition).map_err(failure)?.holds() {
                    let why = names.explain(condition, message.as_ref());
                    return Err(failure(why));
                }
            }
            Kind::Print(terms) => {
                let values: Result<Vec<_>> = terms.iter().map(|term| names.value(term)).collect();
                let values: Vec<String> = values
                    .map_err(failure)?
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                printed.push(values.join(" "));
            }
            Kind::Assign(name, term) => {
                let value = names.value(term).map_err(failure)?;
                names.own.insert(name.clone(), value);
            }
            Kind::If(condition, body) => {
                if names.value(condition).map_err(failure)?.holds() {
                    run(body, names, printed)?;
                }
            }
        }
    }
    Ok(())
}

impl Names<'_> {
    /// Why an assertion does not hold: its message, and what the names in it stand for.
    fn explain(&self, condition: &Term, message: Option<&Term>) -> String {
        let mut named = Vec::new();
        collect(condition, &mut named);
        named.dedup();
        let values: Vec<String> = named
            .iter()
            .filter(|name| !name.chars().any(|letter| letter.is_ascii_uppercase()))
            .filter_map(|name| Some(format!("{name} is {}", self.name(name).ok()?)))
            .collect();
        let said = message.map(|message| match self.value(message) {
            Ok(value) => value.to_string(),
            Err(error) => error,
        });
        let mut text = "the assertion does not hold".to_owned();
        for part in said.into_iter().chain(values) {
            text.push_str("; ");
            text.push_str(&part);
        }
        text
    }

    fn name(&self, name: &str) -> Result<Value> {
        match self.own.get(name) {
            Some(value) => Ok(value.clone()),
            None => (self.look_up)(name).map(Value::Int),
        }
    }

    fn value(&self, term: &Term) -> Result<Value> {
        match term {
            Term::Value(value) => Ok(value.clone()),
            Term::Name(name) => self.name(name),
            Term::List(items) => {
                let items: Result<Vec<_>> = items.iter().map(|item| self.value(item)).collect();
                items.map(Value::List)
            }
            Term::Unary(operator, inner) => unary(operator, &self.value(inner)?),
            Term::Binary("and", left, right) => match self.value(left)? {
                left if left.holds() => self.value(right),
                left => Ok(left),
            },
            Term::Binary("or", left, right) => match self.value(left)? {
                left if left.holds() => Ok(left),
                _ => self.value(right),
            },
            Term::Binary(operator, left, right) => {
                binary(operator, &self.value(left)?, &self.value(right)?)
            }
            Term::Compare(first, others) => {
                let mut left = self.value(first)?;
                for (operator, right) in others {
                    let right = self.value(right)?;
                    if !compare(operator, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            Term::Conditional { condition, yes, no } => match self.value(condition)?.holds() {
                true => self.value(yes),
                false => self.value(no),
            },
            Term::Call(name, arguments) => {
                let values: Result<Vec<_>> =
                    arguments.iter().map(|item| self.value(item)).collect();
                function(name, values?)
            }
        }
    }
}

/// The names in a term.
fn collect<'a>(term: &'a Term, names: &mut Vec<&'a str>) {
    match term {
        Term::Value(_) => {}
        Term::Name(name) => names.push(name),
        Term::List(items) | Term::Call(_, items) => {
            for item in items {
                collect(item, names);
            }
        }
        Term::Unary(_, inner) => collect(inner, names),
        Term::Binary(_, left, right) => {
            collect(left, names);
            collect(right, names);
        }
        Term::Compare(first, others) => {
            collect(first, names);
            for (_, other) in others {
                collect(other, names);
            }
        }
        Term::Conditional { condition, yes, no } => {
            for term in [condition, yes, no] {
                collect(term, names);
            }
        }
    }
}

fn unary(operator: &str, value: &Value) -> Result<Value> {
    let wrong = || format!("`{operator}` cannot be applied to {}", value.kind());
    match operator {
        "not" => Ok(Value::Bool(!value.holds())),
        "~" => value
            .integer()
            .map(|value| Value::Int(!value))
            .ok_or_else(wrong),
        _ => {
            let negative = operator == "-";
            match (value.integer(), value.float()) {
                (Some(value), _) if negative => Ok(Value::Int(value.saturating_neg())),
                (Some(value), _) => Ok(Value::Int(value)),
                (None, Some(value)) => Ok(Value::Float(if negative { -value } else { value })),
                (None, None) => Err(wrong()),
            }
        }
    }
}

fn binary(operator: &str, left: &Value, right: &Value) -> Result<Value> {
    if let (Value::Text(format), "%") = (left, operator) {
        return formatted(format, right).map(Value::Text);
    }
    if let (Value::Text(left), Value::Text(right), "+") = (left, right, operator) {
        return Ok(Value::Text(format!("{left}{right}")));
    }
    if let (Some(a), Some(b)) = (left.integer(), right.integer())
        && operator != "/"
    {
        return integers(operator, a, b)
            .map(Value::Int)
            .ok_or_else(|| format!("{a} {operator} {b} has no value"));
    }
    if let (Some(a), Some(b)) = (left.float(), right.float()) {
        let value = match operator {
            "+" => Some(a + b),
            "-" => Some(a - b),
            "*" => Some(a * b),
            "/" if b != 0.0 => Some(a / b),
            "//" if b != 0.0 => Some((a / b).floor()),
            "%" if b != 0.0 => Some(a - b * (a / b).floor()),
            _ => None,
        };
        return value
            .map(Value::Float)
            .ok_or_else(|| format!("{a} {operator} {b} has no value"));
    }
    Err(format!(
        "`{operator}` cannot join {} and {}",
        left.kind(),
        right.kind()
    ))
}

fn integers(operator: &str, a: i64, b: i64) -> Option<i64> {
    let shift = u32::try_from(b).ok();
    match operator {
        "+" => a.checked_add(b),
        "-" => a.checked_sub(b),
        "*" => a.checked_mul(b),
        // Python rounds down.
        "//" => a
            .checked_div(b)?
            .checked_sub(i64::from(a.checked_rem(b)? != 0 && (a < 0) != (b < 0))),
        "%" => match a.checked_rem(b)? {
            rest if rest != 0 && (rest < 0) != (b < 0) => rest.checked_add(b),
            rest => Some(rest),
        },
        "|" => Some(a | b),
        "&" => Some(a & b),
        "^" => Some(a ^ b),
        "<<" => a.checked_shl(shift?),
        ">>" => a.checked_shr(shift?),
        _ => None,
    }
}

fn compare(operator: &str, left: &Value, right: &Value) -> Result<bool> {
    let order = || {
        left.order(right)
            .ok_or_else(|| format!("{} and {} have no order", left.kind(), right.kind()))
    };
    Ok(match operator {
        "==" => left.equals(right),
        "!=" => !left.equals(right),
        "<" => order()? == Ordering::Less,
        "<=" => order()? != Ordering::Greater,
        ">" => order()? == Ordering::Greater,
        ">=" => order()? != Ordering::Less,
        _ => {
            let within = match (left, right) {
                (left, Value::List(items)) => items.iter().any(|item| item.equals(left)),
                (Value::Text(left), Value::Text(right)) => right.contains(left.as_str()),
                _ => return Err(format!("nothing can be in {}", right.kind())),
            };
            within == (operator == "in")
        }
    })
}

fn function(name: &str, mut values: Vec<Value>) -> Result<Value> {
    let wrong = || format!("{name}() does not take that");
    match name {
        "min" | "max" => {
            if let [Value::List(items)] = values.as_mut_slice() {
                values = std::mem::take(items);
            }
            let mut values = values.into_iter();
            let mut best = values.next().ok_or_else(wrong)?;
            let better = if name == "min" {
                Ordering::Less
            } else {
                Ordering::Greater
            };
            for value in values {
                if value.order(&best).ok_or_else(wrong)? == better {
                    best = value;
                }
            }
            Ok(best)
        }
        "abs" | "int" | "float" | "str" | "len" | "hex" | "bool" => match values.as_slice() {
            [value] => convert(name, value).ok_or_else(wrong),
            _ => Err(wrong()),
        },
        _ => Err(format!(
            "{name}() is not known; abs, bool, float, hex, int, len, max, min and str are"
        )),
    }
}

fn convert(name: &str, value: &Value) -> Option<Value> {
    match (name, value) {
        ("str", value) => Some(Value::Text(value.to_string())),
        ("bool", value) => Some(Value::Bool(value.holds())),
        ("hex", value) => Some(Value::Text(format!("{:#x}", value.integer()?))),
        ("len", Value::Text(text)) => i64::try_from(text.chars().count()).ok().map(Value::Int),
        ("len", Value::List(items)) => i64::try_from(items.len()).ok().map(Value::Int),
        ("float", Value::Text(text)) => text.trim().parse().ok().map(Value::Float),
        ("float", value) => value.float().map(Value::Float),
        ("int", Value::Text(text)) => text.trim().parse().ok().map(Value::Int),
        ("int", Value::Float(value)) => truncated(*value).map(Value::Int),
        ("int", value) => value.integer().map(Value::Int),
        ("abs", Value::Float(value)) => Some(Value::Float(value.abs())),
        ("abs", value) => value.integer()?.checked_abs().map(Value::Int),
        _ => None,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what does not fit was turned away before"
)]
fn truncated(value: f64) -> Option<i64> {
    (value.is_finite() && value.abs() < 9.0e18).then_some(value as i64)
}

/// `'%d of %d' % (a, b)`.
fn formatted(format: &str, values: &Value) -> Result<String> {
    let mut values = match values {
        Value::List(items) => items.clone(),
        one => vec![one.clone()],
    }
    .into_iter();
    let mut out = String::new();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = letters.next_if(|next| !next.is_ascii_alphabetic() && *next != '%') {
            flags.push(flag);
        }
        let kind = letters.next();
        if kind == Some('%') {
            out.push('%');
            continue;
        }
        let value = values
            .next()
            .ok_or_else(|| "the text has more places than values".to_owned())?;
        let digits = flags
            .split_once('.')
            .and_then(|(_, digits)| digits.parse::<usize>().ok());
        let text = match (kind, value.integer(), value.float()) {
            (Some('s' | 'r'), ..) => value.to_string(),
            (Some('d' | 'u' | 'i'), Some(value), _) => value.to_string(),
            (Some('d' | 'u' | 'i'), None, Some(value)) => format!("{:.0}", value.trunc()),
            (Some('x'), Some(value), _) => format!("{value:x}"),
            (Some('X'), Some(value), _) => format!("{value:X}"),
            (Some('f' | 'g' | 'e'), _, Some(value)) => {
                format!("{value:.*}", digits.unwrap_or(6).min(17))
            }
            _ => {
                return Err(format!(
                    "`%{}` does not fit {}",
                    kind.unwrap_or(' '),
                    value.kind()
                ));
            }
        };
        out.push_str(&text);
    }
    Ok(out)
}
