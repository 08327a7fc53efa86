//! Whether a call ended as its script says.

use super::arguments::Arguments;
use super::control::{self, Clock};
use super::lower::{event_data, field, fields, option_value, structures};
use super::{Outcome, Output};
use crate::parse::Defines;
use crate::script::{CallSpec, Expression};
use crate::symbols::{error_name, flag_names};

/// What is needed to compare.
pub(crate) struct Expectation<'a> {
    pub(crate) call: &'a CallSpec,
    pub(crate) defines: &'a Defines,
    pub(crate) clock: Clock<'a>,
}

/// Whether the call returns a descriptor, which the script numbers as it likes.
fn makes_descriptor(name: &str) -> bool {
    matches!(
        name,
        "socket" | "accept" | "accept4" | "dup" | "open" | "epoll_create" | "epoll_create1"
    )
}

/// Compares what came with what was expected; the error says both.
pub(crate) fn verify(with: &Expectation<'_>, outcome: &Outcome) -> Result<(), String> {
    let arguments = Arguments {
        call: with.call,
        defines: with.defines,
    };
    result(&arguments, outcome)?;
    if outcome.errno == 0 {
        output(&arguments, outcome, &with.clock)?;
    }
    Ok(())
}

fn result(arguments: &Arguments<'_>, outcome: &Outcome) -> Result<(), String> {
    let call = arguments.call;
    let actual = || match outcome.errno {
        0 => format!("{}", outcome.value),
        errno => format!("-1 {}", error_name(errno)),
    };
    if call.result == Expression::Ellipsis {
        return Ok(());
    }
    let expected = arguments.integer_of(&call.result)?;
    let any_descriptor = makes_descriptor(&call.name) && expected >= 0 && outcome.errno == 0;
    let same = expected == outcome.value || any_descriptor;
    let errno = match &call.errno {
        Some(name) => Some(
            arguments
                .integer_of(&Expression::Word(name.clone()))
                .map_err(|_| format!("`{name}` is no error that is known"))?,
        ),
        None => None,
    };
    let same_error = errno.is_none_or(|errno| errno == i64::from(outcome.errno));
    if same && same_error {
        return Ok(());
    }
    let note = call
        .errno
        .as_ref()
        .map_or(String::new(), |name| format!(" {name}"));
    Err(format!("expected {}{note}, got {}", call.result, actual()))
}

fn output(arguments: &Arguments<'_>, outcome: &Outcome, clock: &Clock<'_>) -> Result<(), String> {
    let call = arguments.call;
    match &outcome.output {
        Output::None | Output::Pipe(..) => Ok(()),
        Output::Integer(actual) => match call.arguments.get(2) {
            None | Some(Expression::Ellipsis) => Ok(()),
            Some(value) => same_number(
                "the value",
                arguments.integer_of(value)?,
                i64::from(*actual),
            ),
        },
        Output::Address(bytes) => match call.arguments.get(1) {
            Some(Expression::Structure(_)) => {
                let any = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
                let version = crate::options::IpVersion::V4;
                let expected = super::address::argument(arguments, 1, any, version)?;
                let (expected, actual) = (super::endpoint(&expected), super::endpoint(bytes));
                match expected == actual {
                    true => Ok(()),
                    false => Err(format!(
                        "the address: expected {expected:?}, got {actual:?}"
                    )),
                }
            }
            _ => Ok(()),
        },
        Output::Bytes(actual) => option(arguments, actual),
        Output::Message {
            data,
            control,
            flags,
            ..
        } => message(arguments, data, control, *flags, clock),
        Output::Polled(actual) => {
            for (fields, actual) in structures(arguments.get(0)?)?.into_iter().zip(actual) {
                let Some(expected) = field(fields, "revents") else {
                    continue;
                };
                same_flags("revents", "POLL", arguments, expected, i64::from(*actual))?;
            }
            Ok(())
        }
        Output::Events(actual) => {
            for (fields, (events, data)) in structures(arguments.get(1)?)?.into_iter().zip(actual) {
                if let Some(expected) = field(fields, "events") {
                    same_flags("events", "EPOLL", arguments, expected, i64::from(*events))?;
                }
                let expected = event_data(arguments, fields)?;
                if expected != *data {
                    return Err(format!("the event's data: expected {expected}, got {data}"));
                }
            }
            Ok(())
        }
    }
}

fn same_number(what: &str, expected: i64, actual: i64) -> Result<(), String> {
    match expected == actual {
        true => Ok(()),
        false => Err(format!("{what}: expected {expected}, got {actual}")),
    }
}

fn same_flags(
    what: &str,
    prefix: &str,
    arguments: &Arguments<'_>,
    expected: &Expression,
    actual: i64,
) -> Result<(), String> {
    if *expected == Expression::Ellipsis {
        return Ok(());
    }
    let value = arguments.integer_of(expected)? & 0xffff_ffff;
    match value == actual & 0xffff_ffff {
        true => Ok(()),
        false => Err(format!(
            "{what}: expected {}, got {}",
            flag_names(prefix, value),
            flag_names(prefix, actual)
        )),
    }
}

/// The value and the length that getsockopt(2) gave.
fn option(arguments: &Arguments<'_>, actual: &[u8]) -> Result<(), String> {
    if let Some(Expression::List(items)) = arguments.call.arguments.get(4)
        && let [size] = items.as_slice()
        && *size != Expression::Ellipsis
    {
        let expected = arguments.integer_of(size)?;
        let length = i64::try_from(actual.len()).unwrap_or(i64::MAX);
        // The length that is passed in is no more than a bound for texts.
        if length > expected {
            return same_number("the length", expected, length);
        }
    }
    let text = |text: &[u8]| {
        let end = actual
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(actual.len());
        match actual.get(..end) == Some(text) {
            true => Ok(()),
            false => Err(format!(
                "the value: expected \"{}\", got \"{}\"",
                text.escape_ascii(),
                actual.escape_ascii()
            )),
        }
    };
    let value = arguments.get(3)?;
    match value {
        Expression::Ellipsis => return Ok(()),
        Expression::Text(expected, _) => return text(expected),
        Expression::List(items) => match items.as_slice() {
            [Expression::Ellipsis] => return Ok(()),
            [Expression::Text(expected, _)] => return text(expected),
            _ => {}
        },
        _ => {}
    }
    let expected = option_value(arguments, value)?;
    let common = expected.len().min(actual.len());
    if expected.get(..common) == actual.get(..common) {
        return Ok(());
    }
    let ints: Vec<String> = actual
        .chunks_exact(4)
        .filter_map(|four| four.try_into().ok().map(i32::from_ne_bytes))
        .map(|value| value.to_string())
        .collect();
    Err(format!(
        "the value: expected {value}, got [{}]",
        ints.join(", ")
    ))
}

/// What was read, with flags and control messages where the script names them.
fn message(
    arguments: &Arguments<'_>,
    data: &[u8],
    control: &[u8],
    flags: i32,
    clock: &Clock<'_>,
) -> Result<(), String> {
    let name = arguments.call.name.as_str();
    let second = arguments.get(1)?;
    if name != "recvmsg" && name != "readv" {
        return same_data(second, data);
    }
    let vector = match name {
        "readv" => Some(second),
        _ => field(fields(second)?, "msg_iov"),
    };
    let mut rest = data;
    for (expected, length) in vector.map_or(Ok(Vec::new()), |vector| arguments.pieces(vector))? {
        let (piece, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        same_data(expected, piece)?;
        rest = behind;
    }
    if name == "readv" {
        return Ok(());
    }
    let message = fields(second)?;
    if let Some(expected) = field(message, "msg_flags") {
        same_flags("msg_flags", "MSG_", arguments, expected, i64::from(flags))?;
    }
    match field(message, "msg_control") {
        Some(Expression::List(expected)) => control::verify(arguments, expected, control, clock),
        _ => Ok(()),
    }
}

/// Data against `...`, `"text"` or `"text"...`.
fn same_data(expected: &Expression, data: &[u8]) -> Result<(), String> {
    let Expression::Text(text, begun) = expected else {
        return Ok(());
    };
    let same = if *begun {
        data.starts_with(text)
    } else {
        data == text
    };
    match same {
        true => Ok(()),
        false => Err(format!(
            "the data: expected {expected}, got \"{}\"",
            data.get(..64).unwrap_or(data).escape_ascii()
        )),
    }
}
