//! Arguments and results of system calls.

/// An argument, or a result.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// `...`: whatever fits.
    Ellipsis,
    /// A number.
    Integer(i64),
    /// A number written in hexadecimal.
    Hex(u64),
    /// A symbol.
    Word(String),
    /// A text in quotation marks; the flag is for `"text"...`, of which only the beginning is told.
    Text(Vec<u8>, bool),
    /// Two joined by an operator.
    Binary(Operator, Box<Expression>, Box<Expression>),
    /// `~x`.
    Not(Box<Expression>),
    /// `-x`, where x is no number.
    Negative(Box<Expression>),
    /// `[a, b]`.
    List(Vec<Expression>),
    /// `{a=1, ...}`: fields with a name, with `name(…)` in front of the equals sign, or without any.
    Structure(Vec<(Option<String>, Expression)>),
    /// `htons(80)`.
    Function(String, Vec<Expression>),
}

/// What joins two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `|`
    Or,
    /// `&`
    And,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
}

impl Operator {
    /// As it is written.
    pub const fn symbol(self) -> &'static str {
        match self {
            Operator::Or => "|",
            Operator::And => "&",
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::ShiftLeft => "<<",
            Operator::ShiftRight => ">>",
        }
    }

    /// How strongly it binds; C's order.
    pub(crate) const fn binding(self) -> u8 {
        match self {
            Operator::Or => 1,
            Operator::And => 2,
            Operator::ShiftLeft | Operator::ShiftRight => 3,
            Operator::Add | Operator::Subtract => 4,
            Operator::Multiply | Operator::Divide => 5,
        }
    }

    /// The value of both; nothing where it has none.
    pub(crate) fn apply(self, left: i64, right: i64) -> Option<i64> {
        let shift = || u32::try_from(right).ok();
        match self {
            Operator::Or => Some(left | right),
            Operator::And => Some(left & right),
            Operator::Add => left.checked_add(right),
            Operator::Subtract => left.checked_sub(right),
            Operator::Multiply => left.checked_mul(right),
            Operator::Divide => left.checked_div(right),
            Operator::ShiftLeft => left.checked_shl(shift()?),
            Operator::ShiftRight => left.checked_shr(shift()?),
        }
    }
}
