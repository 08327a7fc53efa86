//! Reads system calls.

use std::time::Duration;

use super::{Cursor, ParseError};
use crate::script::{CallSpec, Expression, Operator};

/// `name(arguments) = result ERRNO (note)`.
pub(super) fn call(
    cursor: &mut Cursor<'_>,
    until: Option<Duration>,
) -> Result<CallSpec, ParseError> {
    let name = cursor.word("the name of a system call")?.to_owned();
    cursor.expect("(")?;
    let arguments = list(cursor, ")")?;
    cursor.expect("=")?;
    // No sums here: the `+` behind a result belongs to the next event's time.
    let mut result = primary(cursor)?;
    while cursor.eat("|")? {
        result = binary(Operator::Or, result, primary(cursor)?);
    }
    let starts_errno = |next: char| next.is_ascii_uppercase();
    let errno = match cursor.peek()? {
        Some(next) if starts_errno(next) => Some(cursor.word("an error's name")?.to_owned()),
        _ => None,
    };
    let note = match cursor.eat("(")? {
        true => {
            let mut words = Vec::new();
            while !cursor.eat(")")? {
                let word = cursor.until(&[')'])?;
                if word.is_empty() {
                    return Err(cursor.expected("`)`"));
                }
                words.push(word);
            }
            Some(words.join(" "))
        }
        false => None,
    };
    Ok(CallSpec {
        until,
        name,
        arguments,
        result,
        errno,
        note,
    })
}

/// Expressions between commas, up to the closing bracket.
fn list(cursor: &mut Cursor<'_>, close: &str) -> Result<Vec<Expression>, ParseError> {
    let mut items = Vec::new();
    if cursor.eat(close)? {
        return Ok(items);
    }
    loop {
        items.push(expression(cursor, 0)?);
        if cursor.eat(close)? {
            return Ok(items);
        }
        if !cursor.eat(",")? {
            return Err(cursor.expected(&format!("`,` or `{close}`")));
        }
    }
}

/// An expression whose operators bind at least so strongly.
pub(super) fn expression(cursor: &mut Cursor<'_>, binding: u8) -> Result<Expression, ParseError> {
    cursor.enter()?;
    let mut left = primary(cursor)?;
    while let Some(operator) = operator(cursor)? {
        if operator.binding() < binding {
            break;
        }
        cursor.expect(operator.symbol())?;
        let right = expression(cursor, operator.binding().saturating_add(1))?;
        left = binary(operator, left, right);
    }
    cursor.leave();
    Ok(left)
}

fn binary(operator: Operator, left: Expression, right: Expression) -> Expression {
    Expression::Binary(operator, Box::new(left), Box::new(right))
}

/// The operator that stands here, if one does.
fn operator(cursor: &mut Cursor<'_>) -> Result<Option<Operator>, ParseError> {
    let rest = cursor.rest()?;
    let all = [
        Operator::Or,
        Operator::And,
        Operator::Add,
        Operator::Subtract,
        Operator::Multiply,
        Operator::Divide,
        Operator::ShiftLeft,
        Operator::ShiftRight,
    ];
    Ok(all
        .into_iter()
        .find(|operator| rest.starts_with(operator.symbol())))
}

fn primary(cursor: &mut Cursor<'_>) -> Result<Expression, ParseError> {
    cursor.enter()?;
    let what = "a number, a name, a text, `...`, `[`, `{` or `(`";
    let expression = match cursor.peek()? {
        Some('.') if cursor.eat("...")? => Expression::Ellipsis,
        Some('0'..='9') => number(cursor)?,
        Some('-') => {
            cursor.expect("-")?;
            match primary(cursor)? {
                Expression::Integer(value) => Expression::Integer(value.saturating_neg()),
                other => Expression::Negative(Box::new(other)),
            }
        }
        Some('~') => {
            cursor.expect("~")?;
            Expression::Not(Box::new(primary(cursor)?))
        }
        Some('"') => {
            let mut text = text(cursor)?;
            // Texts behind each other are one, as in C.
            while cursor.peek()? == Some('"') {
                text.append(&mut self::text(cursor)?);
            }
            let begun = cursor.eat("...")?;
            Expression::Text(text, begun)
        }
        Some('[') => {
            cursor.expect("[")?;
            Expression::List(list(cursor, "]")?)
        }
        Some('{') => {
            cursor.expect("{")?;
            Expression::Structure(fields(cursor)?)
        }
        Some('(') => {
            cursor.expect("(")?;
            let inner = expression(cursor, 0)?;
            cursor.expect(")")?;
            inner
        }
        Some('&') => {
            // `&sin6_addr`: where the result goes. It is where it is.
            cursor.expect("&")?;
            Expression::Word(cursor.word("a name")?.to_owned())
        }
        Some(next) if next.is_ascii_alphabetic() || next == '_' => {
            let word = cursor.word(what)?.to_owned();
            match cursor.eat("(")? {
                true => Expression::Function(word, list(cursor, ")")?),
                false => match cursor.defined(&word).and_then(quoted) {
                    Some(text) => Expression::Text(text.as_bytes().to_vec(), false),
                    None => Expression::Word(word),
                },
            }
        }
        _ => return Err(cursor.expected(what)),
    };
    cursor.leave();
    Ok(expression)
}

/// What stands in quotation marks.
fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"')
}

fn number(cursor: &mut Cursor<'_>) -> Result<Expression, ParseError> {
    let word = cursor.peek_word()?;
    if word.starts_with("0x") || word.starts_with("0X") {
        return Ok(Expression::Hex(cursor.number("a number of 64 bits")?));
    }
    let value: u64 = cursor.number("a number")?;
    // As in C: what does not fit is the same bits with a sign.
    Ok(Expression::Integer(value.cast_signed()))
}

/// Fields of a structure: `name=value`, `name(…)=value`, or values alone.
fn fields(cursor: &mut Cursor<'_>) -> Result<Vec<(Option<String>, Expression)>, ParseError> {
    let mut fields = Vec::new();
    if cursor.eat("}")? {
        return Ok(fields);
    }
    loop {
        let value = expression(cursor, 0)?;
        let field = if cursor.eat("=")? {
            match value {
                Expression::Word(name) | Expression::Function(name, _) => {
                    (Some(name), expression(cursor, 0)?)
                }
                _ => return Err(cursor.error("only a name can stand in front of `=`".to_owned())),
            }
        } else {
            (None, value)
        };
        fields.push(field);
        if cursor.eat("}")? {
            return Ok(fields);
        }
        if !cursor.eat(",")? {
            return Err(cursor.expected("`,` or `}`"));
        }
    }
}

/// A text in quotation marks, with C's escapes.
fn text(cursor: &mut Cursor<'_>) -> Result<Vec<u8>, ParseError> {
    let start = cursor.clone();
    let text = cursor.quoted('"')?;
    let mut bytes = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            let mut room = [0; 4];
            bytes.extend_from_slice(letter.encode_utf8(&mut room).as_bytes());
            continue;
        }
        bytes.push(match letters.next() {
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('0') => 0,
            Some(kept @ ('\\' | '"' | '\'')) => u8::try_from(kept).unwrap_or(b'?'),
            Some('x') => {
                let digits: String = letters.by_ref().take(2).collect();
                match u8::from_str_radix(&digits, 16) {
                    Ok(byte) if digits.len() == 2 => byte,
                    _ => return Err(start.error("`\\x` takes two hexadecimal digits".to_owned())),
                }
            }
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(start.error(format!("`\\{other}` is no escape that a text can have")));
            }
        });
    }
    Ok(bytes)
}
