//! Reads scripts.

mod call;
mod cursor;
mod options;
mod packet;

use std::time::Duration;

use crate::script::{Action, Event, EventTime, Script, ScriptOption};
use crate::snippet::Snippet;

pub(crate) use cursor::Cursor;
pub use cursor::Defines;

/// What is wrong with a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {message}")]
pub struct ParseError {
    /// The line, from 1 on.
    pub line: u32,
    /// What was expected, and what stands there.
    pub message: String,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// The line, what was expected there, and what was found.
    pub fn parse(text: &str) -> Result<Script, ParseError> {
        Script::parse_with(text, &Defines::new())
    }

    /// Reads a script in which some names stand for something else (`-D NAME=VALUE`); those that the script itself defines
    /// (`--define=NAME=VALUE`) do not replace them.
    ///
    /// # Errors
    /// As [`Script::parse`].
    pub fn parse_with(text: &str, defines: &Defines) -> Result<Script, ParseError> {
        let none = Defines::new();
        let mut cursor = Cursor::new(text, &none);
        let mut script = Script {
            options: options_at(&mut cursor)?,
            ..Script::default()
        };
        script.defines = defines.clone();
        let defined = script.options.iter().filter(|one| one.name == "define");
        for (name, value) in defined.filter_map(|one| one.value.split_once('=')) {
            let defined = script.defines.entry(name.to_owned());
            defined.or_insert_with(|| value.to_owned());
        }
        let defines = script.defines.clone();
        let mut cursor = cursor.with_defines(&defines);
        while cursor.peek()? == Some('`') {
            script.events.push(Event {
                line: cursor.line(),
                time: EventTime::Before,
                action: Action::Command(cursor.quoted('`')?),
            });
        }
        while cursor.peek()?.is_some() {
            script.events.push(event(&mut cursor)?);
        }
        Ok(script)
    }
}

/// The options at a script's top, alone.
pub(crate) fn head(text: &str) -> Result<Vec<ScriptOption>, ParseError> {
    let none = Defines::new();
    options_at(&mut Cursor::new(text, &none))
}

fn options_at(cursor: &mut Cursor<'_>) -> Result<Vec<ScriptOption>, ParseError> {
    let mut options = Vec::new();
    cursor.skip_shebang();
    while cursor.rest()?.starts_with("--") {
        options.push(option(cursor)?);
    }
    Ok(options)
}

/// `--name`, `--name=value`, `--define=NAME=value`; values may be quoted.
fn option(cursor: &mut Cursor<'_>) -> Result<ScriptOption, ParseError> {
    let line = cursor.line();
    cursor.expect("--")?;
    let name = cursor.word("the option's name")?.to_owned();
    let mut value = String::new();
    if cursor.eat("=")? {
        cursor.skip()?;
        while let Some(next) = cursor.bare().filter(|next| !next.is_whitespace()) {
            if matches!(next, '"' | '`') {
                value.push(next);
                value.push_str(&cursor.quoted(next)?);
                value.push(next);
            } else {
                value.push(next);
                cursor.advance(next);
            }
        }
    }
    Ok(ScriptOption { line, name, value })
}

fn event(cursor: &mut Cursor<'_>) -> Result<Event, ParseError> {
    // A command without a time, behind the events: the clean-up. It runs where it stands.
    if cursor.peek()? == Some('`') {
        return Ok(Event {
            line: cursor.line(),
            time: EventTime::Any,
            action: Action::Command(cursor.quoted('`')?),
        });
    }
    let time = time(cursor)?;
    let until = if cursor.eat("...")? {
        let signed = cursor.eat("+")?;
        let _ = signed;
        Some(cursor.seconds()?)
    } else {
        None
    };
    let next = cursor.peek()?;
    let line = cursor.line();
    let action = match next {
        Some('<' | '>') if until.is_none() => Action::Packet(packet::packet(cursor)?),
        Some('`') if until.is_none() => Action::Command(cursor.quoted('`')?),
        Some('%') if until.is_none() => {
            let text = cursor.snippet()?;
            Action::Snippet(Snippet::parse(&text).map_err(|error| ParseError {
                line: line.saturating_add(error.line),
                message: error.message,
            })?)
        }
        Some(letter) if letter.is_ascii_alphabetic() || letter == '_' => {
            Action::Call(call::call(cursor, until)?)
        }
        _ if until.is_some() => return Err(cursor.expected("a system call")),
        _ => {
            return Err(cursor.expected(
                "`<` or `>` and a packet, a system call, a command in back-ticks, or `%{`",
            ));
        }
    };
    Ok(Event { line, time, action })
}

/// When an event happens.
fn time(cursor: &mut Cursor<'_>) -> Result<EventTime, ParseError> {
    if cursor.eat("*")? {
        return Ok(EventTime::Any);
    }
    let relative = cursor.eat("+")?;
    let is_number = |next: char| next.is_ascii_digit() || next == '.';
    if !cursor.peek()?.is_some_and(is_number) {
        return Err(cursor.expected("a time: `0.1`, `+0.1`, `0.1~0.2`, `+0.1~+0.2` or `*`"));
    }
    let from = cursor.seconds()?;
    if !cursor.eat("~")? {
        return Ok(match relative {
            true => EventTime::After(from),
            false => EventTime::At(from),
        });
    }
    if cursor.eat("+")? != relative {
        return Err(cursor.expected("both ends of the range with a `+`, or both without"));
    }
    let to = cursor.seconds()?;
    if to < from {
        return Err(cursor.error("the range ends before it begins".to_owned()));
    }
    Ok(match relative {
        true => EventTime::AfterBetween(from, to),
        false => EventTime::Between(from, to),
    })
}

/// Reads a decimal number of seconds without rounding; nothing where it is none, or too large for anybody to wait.
pub(crate) fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let nanos: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    // A year: beyond it nobody waits, and sums cannot overflow.
    (whole <= 31_536_000).then(|| Duration::new(whole, nanos.parse().unwrap_or(0)))
}

/// The value of a sum such as `15*1024*1024`.
pub(crate) fn arithmetic(text: &str) -> Option<i64> {
    let none = Defines::new();
    let mut cursor = Cursor::new(text, &none);
    let value = call::expression(&mut cursor, 0).ok()?;
    cursor.peek().ok()?.is_none().then_some(())?;
    crate::call::integer(&value, &none).ok()
}

#[cfg(test)]
mod tests;
