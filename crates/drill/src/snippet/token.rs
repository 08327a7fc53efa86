//! A snippet's text in pieces.

use super::SnippetError;

/// A piece of a snippet.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int(i64),
    Float(f64),
    Text(String),
    /// Operators and brackets.
    Symbol(&'static str),
    /// The end of a statement: a line break outside of brackets, or `;`.
    End,
}

/// Longer ones first.
const SYMBOLS: [&str; 37] = [
    "//=", "*=", "/=", "%=", "|=", "&=", "**", "//", "<<", ">>", "<=", ">=", "==", "!=", "<>",
    "+=", "-=", "(", ")", "[", "]", ",", ":", "+", "-", "*", "/", "%", "<", ">", "=", "|", "&",
    "^", "~", "{", "}",
];

/// All pieces, each with its line, from 0 on.
pub(super) fn tokens(text: &str) -> Result<Vec<(u32, Token)>, SnippetError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 0_u32;
    let mut open = 0_u32;
    while let Some(next) = rest.chars().next() {
        let error = |message: String| SnippetError { line, message };
        if let Some(joined) = rest
            .strip_prefix("\\\r\n")
            .or_else(|| rest.strip_prefix("\\\n"))
        {
            line = line.saturating_add(1);
            rest = joined;
        } else if next == '\n' || next == ';' {
            if open == 0 {
                tokens.push((line, Token::End));
            }
            line = line.saturating_add(u32::from(next == '\n'));
            rest = after(rest, 1);
        } else if next.is_whitespace() {
            rest = after(rest, next.len_utf8());
        } else if next == '#' {
            rest = after(rest, rest.find('\n').unwrap_or(rest.len()));
        } else if next.is_ascii_digit() {
            let (token, length) = number(rest).map_err(error)?;
            tokens.push((line, token));
            rest = after(rest, length);
        } else if next.is_ascii_alphabetic() || next == '_' {
            let length = rest
                .find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
                .unwrap_or(rest.len());
            let name = rest.get(..length).unwrap_or_default();
            tokens.push((line, Token::Name(name.to_owned())));
            rest = after(rest, length);
        } else if matches!(next, '"' | '\'') {
            let (text, length) = quoted(rest, next).map_err(error)?;
            tokens.push((line, Token::Text(text)));
            rest = after(rest, length);
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            match *symbol {
                "(" | "[" | "{" => open = open.saturating_add(1),
                ")" | "]" | "}" => open = open.saturating_sub(1),
                _ => {}
            }
            tokens.push((line, Token::Symbol(symbol)));
            rest = after(rest, symbol.len());
        } else {
            return Err(error(format!("a snippet cannot have `{next}` here")));
        }
    }
    tokens.push((line, Token::End));
    Ok(tokens)
}

fn after(text: &str, bytes: usize) -> &str {
    text.get(bytes..).unwrap_or_default()
}

/// A number and its length.
fn number(text: &str) -> Result<(Token, usize), String> {
    let length = text
        .find(|digit: char| !(digit.is_ascii_alphanumeric() || digit == '.' || digit == '_'))
        .unwrap_or(text.len());
    let digits = text.get(..length).unwrap_or_default();
    let plain = digits.replace('_', "");
    let token = match plain
        .strip_prefix("0x")
        .or_else(|| plain.strip_prefix("0X"))
    {
        Some(hex) => i64::from_str_radix(hex, 16).ok().map(Token::Int),
        None => plain
            .parse()
            .map(Token::Int)
            .or_else(|_| plain.parse().map(Token::Float))
            .ok(),
    };
    match token {
        Some(token) => Ok((token, length)),
        None => Err(format!("`{digits}` is no number")),
    }
}

/// A text in quotation marks and its length with them.
fn quoted(text: &str, mark: char) -> Result<(String, usize), String> {
    let mut value = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            _ if letter == mark => return Ok((value, at.saturating_add(1))),
            '\n' => break,
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, other)) => value.push(other),
                None => break,
            },
            _ => value.push(letter),
        }
    }
    Err(format!("the text behind {mark} has no end"))
}
