//! Reading the JSON that iproute2 prints, element by element, as far as it is whole.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::parse::Parsed;

/// Whether a text is JSON rather than what a tool prints for people.
pub(crate) fn is_json(text: &str) -> bool {
    matches!(text.trim_start().as_bytes().first(), Some(b'[' | b'{'))
}

/// The objects of one or more JSON arrays that stand behind one another, each with its number from 1. What precedes damage is
/// kept.
pub(crate) fn objects(text: &str) -> Parsed<Vec<(usize, Map<String, Value>)>> {
    let mut parsed: Parsed<Vec<(usize, Map<String, Value>)>> = Parsed::default();
    let mut values = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        // `tc filter show` prints one array for each place asked, so several may follow one another.
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Damaged>();
        let before = values.len();
        match stream.next() {
            None => break,
            Some(Ok(Damaged(value))) => match value {
                Value::Array(elements) => values.extend(elements),
                other => values.push(other),
            },
            Some(Err(error)) => {
                salvage(rest, &mut values);
                parsed.problem(
                    values.len() + 1,
                    format!("JSON ({error})"),
                    excerpt(rest, &error),
                );
                break;
            }
        }
        let offset = stream.byte_offset();
        if offset == 0 && values.len() == before {
            break;
        }
        rest = rest.get(offset..).unwrap_or("").trim_start();
    }
    for (index, value) in values.into_iter().enumerate() {
        match value {
            // iproute2 prints {} for objects that it was asked to leave out.
            Value::Object(map) if map.is_empty() => {}
            Value::Object(map) => parsed.value.push((index + 1, map)),
            other => parsed.problem(index + 1, "an object", &other.to_string()),
        }
    }
    parsed
}

/// The line of the text where the JSON broke.
fn excerpt<'a>(text: &'a str, error: &serde_json::Error) -> &'a str {
    let line = text
        .lines()
        .nth(error.line().saturating_sub(1))
        .unwrap_or("");
    let mut start = error.column().saturating_sub(40).min(line.len());
    while !line.is_char_boundary(start) {
        start -= 1;
    }
    line.get(start..).unwrap_or("")
}

/// Reads as many elements of an array as are whole.
fn salvage(text: &str, values: &mut Vec<Value>) {
    struct Salvage<'a>(&'a mut Vec<Value>);
    impl<'de> Visitor<'de> for Salvage<'_> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of objects")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
            while let Some(value) = sequence.next_element()? {
                self.0.push(value);
            }
            Ok(())
        }
        fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
            Ok(())
        }
    }
    impl<'de> DeserializeSeed<'de> for Salvage<'_> {
        type Value = ();
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_any(self)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // The error is the one already reported; what counts is what was pushed before it.
    let _ = Salvage(values).deserialize(&mut deserializer);
}

/// A value of any kind: `Value` under a name, so that the stream's type is written once.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Damaged(Value);

/// The objects of `tc -j`, each with its `kind`, without which it is a problem.
pub(crate) fn objects_of_kind(text: &str) -> Parsed<Vec<(String, Map<String, Value>)>> {
    let elements = objects(text);
    let mut parsed = Parsed {
        value: Vec::new(),
        problems: elements.problems,
    };
    for (place, map) in elements.value {
        match string(&map, "kind").map(str::to_owned) {
            Some(kind) => parsed.value.push((kind, map)),
            None => {
                let found = Value::Object(map).to_string();
                parsed.problem(place, "an object with \"kind\"", &found);
            }
        }
    }
    parsed
}

/// A string member.
pub(crate) fn string<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key)?.as_str()
}

/// A string member, owned.
pub(crate) fn text(map: &Map<String, Value>, key: &str) -> Option<String> {
    match map.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A number member: a number, or one in quotes, decimal or `0x…`.
pub(crate) fn number<T: TryFrom<u64>>(map: &Map<String, Value>, key: &str) -> Option<T> {
    let value = match map.get(key)? {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => crate::text::unsigned(text)?,
        _ => return None,
    };
    T::try_from(value).ok()
}

/// An object member.
pub(crate) fn object<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Map<String, Value>> {
    map.get(key)?.as_object()
}

/// The strings of an array member.
pub(crate) fn strings(map: &Map<String, Value>, key: &str) -> Vec<String> {
    map.get(key)
        .and_then(Value::as_array)
        .map(|array| {
            array
                .iter()
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect()
        })
        .unwrap_or_default()
}

/// Whether a member is there and not false; iproute2 writes flags as `true` or as `null`.
pub(crate) fn flag(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key)
        .is_some_and(|value| *value != Value::Bool(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_behind_one_another() {
        let parsed = objects("[{\"a\":1},{}]\n[{\"b\":2}]");
        assert!(parsed.problems.is_empty());
        assert_eq!(parsed.value.len(), 2);
        assert_eq!(parsed.value[1].0, 3);
    }

    #[test]
    fn what_precedes_damage_is_kept() {
        let parsed = objects("[{\"a\":1},{\"b\":2},{\"c\":");
        assert_eq!(parsed.value.len(), 2);
        assert_eq!(parsed.problems.len(), 1);
        assert_eq!(parsed.problems[0].line, 3);
        assert!(
            parsed.problems[0].expected.contains("EOF"),
            "{:?}",
            parsed.problems
        );
    }

    #[test]
    fn other_values_are_named() {
        let parsed = objects("[1, {\"a\":1}] true");
        assert_eq!(parsed.value.len(), 1);
        assert_eq!(parsed.problems.len(), 2);
    }
}
