//! Control messages (cmsg(3)): made from a script's notation, and compared with it.

use std::time::Duration;

use super::arguments::Arguments;
use super::lower::{field, fields};
use crate::script::Expression;

/// `struct cmsghdr`: the length with the header, level, type; then the data, aligned to a word.
const HEADER: usize = size_of::<usize>() + 8;
const WORD: usize = size_of::<usize>();

/// The bytes of control messages to be sent.
pub(super) fn bytes(arguments: &Arguments<'_>, items: &[Expression]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for item in items {
        let message = fields(item)?;
        let number = |name: &str| {
            let value =
                field(message, name).ok_or_else(|| format!("a control message has {name}"))?;
            arguments.small::<i32>(value)
        };
        let (level, kind) = (number("cmsg_level")?, number("cmsg_type")?);
        let value = field(message, "cmsg_data").ok_or("a control message has cmsg_data")?;
        let data = match (level, kind) {
            // UDP_SEGMENT takes 16 bits, SCM_TXTIME 64.
            (libc::SOL_UDP, libc::UDP_SEGMENT) => {
                arguments.small::<u16>(value)?.to_ne_bytes().to_vec()
            }
            (libc::SOL_SOCKET, libc::SCM_TXTIME) => {
                arguments.integer_of(value)?.to_ne_bytes().to_vec()
            }
            _ => super::lower::option_value(arguments, value)?,
        };
        bytes.extend_from_slice(&(HEADER + data.len()).to_ne_bytes());
        bytes.extend_from_slice(&level.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&data);
        bytes.resize(bytes.len().next_multiple_of(WORD), 0);
    }
    Ok(bytes)
}

/// Level, type and data of each message that the kernel wrote.
pub(crate) fn read(bytes: &[u8]) -> Vec<(i32, i32, &[u8])> {
    let mut messages = Vec::new();
    let mut rest = bytes;
    while let Some(header) = rest.get(..HEADER) {
        let (length, kinds) = header.split_at(WORD);
        let length = length.try_into().map_or(0, usize::from_ne_bytes);
        let int = |offset: usize| {
            let bytes = kinds.get(offset..offset + 4);
            bytes
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, i32::from_ne_bytes)
        };
        let Some(data) = rest.get(HEADER..length) else {
            break;
        };
        messages.push((int(0), int(4), data));
        rest = rest
            .get(length.next_multiple_of(WORD)..)
            .unwrap_or_default();
    }
    messages
}

/// What is needed to compare: the script's clock at the kernel's time, and how far it may be off.
pub(crate) struct Clock<'a> {
    pub(crate) script_time: &'a dyn Fn(Duration) -> Option<Duration>,
    pub(crate) tolerance: Duration,
}

/// Compares the control messages that came with those that the script expects, in order.
pub(super) fn verify(
    arguments: &Arguments<'_>,
    expected: &[Expression],
    actual: &[u8],
    clock: &Clock<'_>,
) -> Result<(), String> {
    let messages = read(actual);
    if messages.len() != expected.len() {
        let kinds: Vec<String> = messages
            .iter()
            .map(|(level, kind, _)| format!("level {level} type {kind}"))
            .collect();
        return Err(format!(
            "expected {} control messages, got {}: {}",
            expected.len(),
            messages.len(),
            kinds.join(", ")
        ));
    }
    for (item, (level, kind, data)) in expected.iter().zip(messages) {
        let message = fields(item)?;
        for (name, actual) in [("cmsg_level", level), ("cmsg_type", kind)] {
            if let Some(value) =
                field(message, name).filter(|value| **value != Expression::Ellipsis)
            {
                let expected = arguments.small::<i32>(value)?;
                if expected != actual {
                    return Err(format!(
                        "{name}: expected {value} ({expected}), got {actual}"
                    ));
                }
            }
        }
        if let Some(value) = field(message, "cmsg_data") {
            verify_data(arguments, value, data, clock)?;
        }
    }
    Ok(())
}

fn verify_data(
    arguments: &Arguments<'_>,
    expected: &Expression,
    data: &[u8],
    clock: &Clock<'_>,
) -> Result<(), String> {
    let actual = match expected {
        Expression::Ellipsis => return Ok(()),
        Expression::Structure(fields) if field(fields, "scm_sec").is_some() => {
            return verify_time(arguments, fields, data, clock);
        }
        Expression::Structure(fields) => return verify_error(arguments, fields, data),
        Expression::Text(text, begun) => {
            let same = if *begun {
                data.starts_with(text)
            } else {
                data == text
            };
            return match same {
                true => Ok(()),
                false => Err(format!(
                    "cmsg_data: expected {expected}, got \"{}\"",
                    data.escape_ascii()
                )),
            };
        }
        _ => number(data, 0, data.len()),
    };
    let expected = arguments.integer_of(expected)?;
    match expected == actual {
        true => Ok(()),
        false => Err(format!("cmsg_data: expected {expected}, got {actual}")),
    }
}

/// A number of so many bytes.
fn number(data: &[u8], offset: usize, size: usize) -> i64 {
    let bytes = data
        .get(offset..offset.saturating_add(size))
        .unwrap_or_default();
    match *bytes {
        [a] => i64::from(a),
        [a, b] => i64::from(u16::from_ne_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_ne_bytes([a, b, c, d])),
        _ => bytes.try_into().map_or(0, i64::from_ne_bytes),
    }
}

/// `struct scm_timestamping`: three times, of which one is set.
fn verify_time(
    arguments: &Arguments<'_>,
    fields: &[(Option<String>, Expression)],
    data: &[u8],
    clock: &Clock<'_>,
) -> Result<(), String> {
    let part = |name: &str| match field(fields, name) {
        Some(value) => arguments.small::<u64>(value),
        None => Ok(0),
    };
    let expected = Duration::from_secs(part("scm_sec")?)
        .saturating_add(Duration::from_nanos(part("scm_nsec")?));
    let actual = data
        .chunks_exact(16)
        .map(|time| (number(time, 0, 8), number(time, 8, 8)))
        .find(|time| *time != (0, 0))
        .and_then(|(seconds, nanos)| {
            let seconds = Duration::from_secs(u64::try_from(seconds).ok()?);
            let time = seconds.checked_add(Duration::from_nanos(u64::try_from(nanos).ok()?))?;
            (clock.script_time)(time)
        })
        .ok_or("the control message has no time")?;
    match actual.abs_diff(expected) <= clock.tolerance {
        true => Ok(()),
        false => Err(format!(
            "the time stamp: expected {expected:?}, got {actual:?}"
        )),
    }
}

/// `struct sock_extended_err`.
fn verify_error(
    arguments: &Arguments<'_>,
    fields: &[(Option<String>, Expression)],
    data: &[u8],
) -> Result<(), String> {
    for (name, value) in fields {
        let (offset, size) = match name.as_deref() {
            Some("ee_errno") => (0, 4),
            Some("ee_origin") => (4, 1),
            Some("ee_type") => (5, 1),
            Some("ee_code") => (6, 1),
            Some("ee_info") => (8, 4),
            Some("ee_data") => (12, 4),
            other => {
                return Err(format!(
                    "`{}` is no field of a control message's data that is known",
                    other.unwrap_or("a value without a name")
                ));
            }
        };
        if *value == Expression::Ellipsis {
            continue;
        }
        let expected = arguments.integer_of(value)?;
        let actual = number(data, offset, size);
        if expected != actual {
            let name = name.as_deref().unwrap_or_default();
            return Err(format!(
                "{name}: expected {value} ({expected}), got {actual}"
            ));
        }
    }
    Ok(())
}
