//! The place in a script's text up to which it has been read.

use std::time::Duration;

use super::ParseError;

/// A place in a text. Every method skips white space and comments first, unless it says otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    rest: &'a str,
    line: u32,
    /// Nested expressions; bounded, since each takes room on the stack.
    depth: u32,
    /// What `-D` and `--define` say.
    defines: &'a Defines,
}

/// Names that stand for something else.
pub type Defines = std::collections::BTreeMap<String, String>;

/// The most parentheses, brackets and braces inside of each other.
const DEEPEST: u32 = 64;

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str, defines: &'a Defines) -> Self {
        Cursor {
            rest: text,
            line: 1,
            depth: 0,
            defines,
        }
    }

    /// The same place, with other definitions.
    pub(crate) fn with_defines<'b>(&self, defines: &'b Defines) -> Cursor<'b>
    where
        'a: 'b,
    {
        Cursor {
            defines,
            ..self.clone()
        }
    }

    /// What a name is defined as.
    pub(crate) fn defined(&self, name: &str) -> Option<&'a str> {
        self.defines.get(name).map(String::as_str)
    }

    /// The line of what comes next; of what was looked at last.
    pub(crate) fn line(&self) -> u32 {
        self.line
    }

    /// One level deeper.
    pub(crate) fn enter(&mut self) -> Result<(), ParseError> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > DEEPEST {
            return Err(self.error(format!("nested more than {DEEPEST} deep")));
        }
        Ok(())
    }

    /// And back.
    pub(crate) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// The first line of an executable script says which program runs it.
    pub(crate) fn skip_shebang(&mut self) {
        if self.rest.starts_with("#!") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.take(end);
        }
    }

    /// Goes on by so many bytes, counting lines.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        let lines = taken.bytes().filter(|byte| *byte == b'\n').count();
        self.line = self
            .line
            .saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.rest = rest;
        taken
    }

    /// Goes on behind white space and comments.
    pub(crate) fn skip(&mut self) -> Result<(), ParseError> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.take(blank);
            if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.take(end);
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                match comment.find("*/") {
                    Some(end) => self.take(end.saturating_add(4)),
                    None => return Err(self.error("the comment `/*` has no end".to_owned())),
                };
            } else {
                return Ok(());
            }
        }
    }

    /// What is left.
    pub(crate) fn rest(&mut self) -> Result<&'a str, ParseError> {
        self.skip()?;
        Ok(self.rest)
    }

    /// The next character.
    pub(crate) fn peek(&mut self) -> Result<Option<char>, ParseError> {
        self.skip()?;
        Ok(self.rest.chars().next())
    }

    /// The next character, nothing skipped.
    pub(crate) fn bare(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Goes on behind a character, which was looked at.
    pub(crate) fn advance(&mut self, character: char) {
        self.take(character.len_utf8());
    }

    /// Whether this stands here; if so, goes on behind it.
    pub(crate) fn eat(&mut self, token: &str) -> Result<bool, ParseError> {
        let here = self.rest()?.starts_with(token);
        if here {
            self.take(token.len());
        }
        Ok(here)
    }

    /// Goes on behind this, which must stand here.
    pub(crate) fn expect(&mut self, token: &str) -> Result<(), ParseError> {
        if self.eat(token)? {
            Ok(())
        } else {
            Err(self.expected(&format!("`{token}`")))
        }
    }

    /// The word that stands here, without going on; empty where there is none.
    pub(crate) fn peek_word(&mut self) -> Result<&'a str, ParseError> {
        let rest = self.rest()?;
        let end = rest
            .find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
            .unwrap_or(rest.len());
        Ok(rest.get(..end).unwrap_or_default())
    }

    /// Whether this very word stands here; if so, goes on behind it.
    pub(crate) fn eat_word(&mut self, word: &str) -> Result<bool, ParseError> {
        let here = self.peek_word()? == word;
        if here {
            self.take(word.len());
        }
        Ok(here)
    }

    /// A word; `what` says what it is for.
    pub(crate) fn word(&mut self, what: &str) -> Result<&'a str, ParseError> {
        let word = self.peek_word()?;
        if word.is_empty() {
            return Err(self.expected(what));
        }
        self.take(word.len());
        Ok(word)
    }

    /// Everything up to white space or one of these characters.
    pub(crate) fn until(&mut self, stops: &[char]) -> Result<&'a str, ParseError> {
        let rest = self.rest()?;
        let end = rest
            .find(|letter: char| letter.is_whitespace() || stops.contains(&letter))
            .unwrap_or(rest.len());
        Ok(self.take(end))
    }

    /// A number without sign that fits, decimal or hexadecimal.
    pub(crate) fn number<T: TryFrom<u64>>(&mut self, what: &str) -> Result<T, ParseError> {
        let word = self.peek_word()?;
        let value = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        };
        let value = value.and_then(|value| T::try_from(value).ok());
        let Some(value) = value else {
            return Err(self.expected(what));
        };
        self.take(word.len());
        Ok(value)
    }

    /// A decimal number of seconds. `0...1` is `0`, and three dots behind it.
    pub(crate) fn seconds(&mut self) -> Result<Duration, ParseError> {
        let rest = self.rest()?;
        let digits = |text: &str| {
            text.find(|digit: char| !digit.is_ascii_digit())
                .unwrap_or(text.len())
        };
        let mut end = digits(rest);
        let fraction = rest.get(end..).and_then(|rest| rest.strip_prefix('.'));
        if let Some(fraction) = fraction.filter(|fraction| !fraction.starts_with("..")) {
            end = end.saturating_add(1).saturating_add(digits(fraction));
        }
        let text = rest.get(..end).unwrap_or_default();
        let Some(time) = super::seconds(text) else {
            return Err(self.expected("a time in seconds"));
        };
        self.take(end);
        Ok(time)
    }

    /// What stands between two of these quotation marks; a backslash keeps the character behind it from ending it.
    pub(crate) fn quoted(&mut self, mark: char) -> Result<String, ParseError> {
        self.skip()?;
        let start = self.clone();
        let mut escaped = false;
        let body = self.rest.strip_prefix(mark).unwrap_or(self.rest);
        let end = body.find(|letter: char| {
            let ends = letter == mark && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        });
        let Some(end) = end else {
            return Err(start.error(format!("the text behind {mark} has no end")));
        };
        let text = body.get(..end).unwrap_or_default().to_owned();
        self.take(end.saturating_add(2 * mark.len_utf8()));
        Ok(text)
    }

    /// What stands between `%{` and `}%`.
    pub(crate) fn snippet(&mut self) -> Result<String, ParseError> {
        self.expect("%{")?;
        let Some(end) = self.rest.find("}%") else {
            return Err(self.error("`%{` has no `}%`".to_owned()));
        };
        let text = self.take(end).to_owned();
        self.take(2);
        Ok(text)
    }

    /// Something else was expected here.
    pub(crate) fn expected(&self, what: &str) -> ParseError {
        let mut ahead = self.clone();
        // An open comment has its own error.
        if let Err(error) = ahead.skip() {
            return error;
        }
        let line = ahead.rest.lines().next().unwrap_or_default().trim_end();
        let found = if ahead.rest.is_empty() {
            "the script ends".to_owned()
        } else if line.chars().count() > 60 {
            format!("found `{}…`", line.chars().take(60).collect::<String>())
        } else {
            format!("found `{line}`")
        };
        ParseError {
            line: ahead.line,
            message: format!("expected {what}; {found}"),
        }
    }

    /// An error here.
    pub(crate) fn error(&self, message: String) -> ParseError {
        ParseError {
            line: self.line,
            message,
        }
    }
}
