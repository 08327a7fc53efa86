//! The arguments of a call as numbers, texts and lists.

use crate::parse::Defines;
use crate::script::{CallSpec, Expression};
use crate::symbols;

/// The arguments of one call, and what names stand for.
pub(crate) struct Arguments<'a> {
    pub(crate) call: &'a CallSpec,
    pub(crate) defines: &'a Defines,
}

/// More data than a script has any use for.
const LONGEST: i64 = 256 << 20;

impl<'a> Arguments<'a> {
    /// How many there must be.
    pub(crate) fn count(&self, counts: &[usize]) -> Result<(), String> {
        let found = self.call.arguments.len();
        if counts.contains(&found) {
            return Ok(());
        }
        let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
        Err(format!(
            "{}() takes {} arguments, not {found}",
            self.call.name,
            counts.join(" or ")
        ))
    }

    pub(crate) fn get(&self, index: usize) -> Result<&'a Expression, String> {
        self.call
            .arguments
            .get(index)
            .ok_or_else(|| format!("{}() has too few arguments", self.call.name))
    }

    /// A number.
    pub(crate) fn integer(&self, index: usize) -> Result<i64, String> {
        self.integer_of(self.get(index)?)
    }

    /// A number that the kernel takes as an int: the same 32 bits, with or without a sign.
    pub(crate) fn int(&self, index: usize) -> Result<i32, String> {
        let value = self.integer(index)?;
        int(value).ok_or_else(|| format!("{value} does not fit into an int"))
    }

    /// A number, or another one for `...`.
    pub(crate) fn int_or(&self, index: usize, ellipsis: i32) -> Result<i32, String> {
        match self.get(index)? {
            Expression::Ellipsis => Ok(ellipsis),
            _ => self.int(index),
        }
    }

    /// How many bytes.
    pub(crate) fn length(&self, index: usize) -> Result<usize, String> {
        self.length_of(self.get(index)?)
    }

    pub(crate) fn length_of(&self, value: &Expression) -> Result<usize, String> {
        let value = self.integer_of(value)?;
        if !(0..=LONGEST).contains(&value) {
            return Err(format!("{value} is no length that a script can use"));
        }
        usize::try_from(value).map_err(|_| format!("{value} is too long"))
    }

    /// A number that fits into something smaller.
    pub(crate) fn small<T: TryFrom<i64>>(&self, value: &Expression) -> Result<T, String> {
        let number = self.integer_of(value)?;
        T::try_from(number).map_err(|_| format!("{number} is out of range"))
    }

    /// The value of an expression that is a number.
    pub(crate) fn integer_of(&self, expression: &Expression) -> Result<i64, String> {
        integer(expression, self.defines)
    }

    /// Data to be written: a text, filled up with zeros or cut to the length, or zeros for `...`.
    pub(crate) fn data(&self, value: &Expression, length: usize) -> Result<Vec<u8>, String> {
        let mut data = match value {
            Expression::Ellipsis => Vec::new(),
            Expression::Text(text, _) => text.clone(),
            Expression::Word(word) if word == "NULL" => Vec::new(),
            other => return Err(format!("`{other}` is no data; expected `...` or a text")),
        };
        data.resize(length, 0);
        Ok(data)
    }

    /// The pieces of a vector: `[{..., 1000}, {"ab", 2}]`.
    pub(crate) fn pieces(
        &self,
        vector: &'a Expression,
    ) -> Result<Vec<(&'a Expression, usize)>, String> {
        let wrong = || format!("`{vector}` is no vector; expected `[{{..., 1000}}]`");
        let Expression::List(items) = vector else {
            return Err(wrong());
        };
        items
            .iter()
            .map(|item| match item {
                Expression::Structure(fields) => match fields.as_slice() {
                    [(_, data), (_, length)] => Ok((data, self.length_of(length)?)),
                    _ => Err(wrong()),
                },
                _ => Err(wrong()),
            })
            .collect()
    }
}

/// A number in 32 bits.
pub(crate) fn int(value: i64) -> Option<i32> {
    i32::try_from(value)
        .ok()
        .or_else(|| u32::try_from(value).ok().map(u32::cast_signed))
}

/// The value of an expression that is a number.
pub(crate) fn integer(expression: &Expression, defines: &Defines) -> Result<i64, String> {
    let again = |inner: &Expression| integer(inner, defines);
    match expression {
        Expression::Integer(value) => Ok(*value),
        Expression::Hex(value) => Ok(value.cast_signed()),
        Expression::Word(word) => symbols::value(word, defines).ok_or_else(|| {
            format!("`{word}` is no symbol that is known; -D {word}=VALUE defines it")
        }),
        Expression::Not(inner) => Ok(!again(inner)?),
        Expression::Negative(inner) => Ok(again(inner)?.saturating_neg()),
        Expression::Binary(operator, left, right) => operator
            .apply(again(left)?, again(right)?)
            .ok_or_else(|| format!("`{expression}` has no value")),
        // A list of one number is that number: `[1]`.
        Expression::List(items) => match items.as_slice() {
            [one] => again(one),
            _ => Err(format!("`{expression}` is no number")),
        },
        Expression::Function(name, arguments) => match (name.as_str(), arguments.as_slice()) {
            // Where byte order matters, it is put right when the structure is made.
            ("htons" | "ntohs" | "htonl" | "ntohl", [one]) => again(one),
            _ => Err(format!("`{name}()` is not known here")),
        },
        Expression::Ellipsis | Expression::Text(..) | Expression::Structure(_) => {
            Err(format!("`{expression}` is no number"))
        }
    }
}
