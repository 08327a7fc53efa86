//! Values in snippets, as Python has them.

use std::cmp::Ordering;
use std::fmt::{self, Display, Formatter};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
}

impl Value {
    /// Whether it counts as true.
    pub(crate) fn holds(&self) -> bool {
        match self {
            Value::None => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::List(items) => !items.is_empty(),
        }
    }

    /// As a whole number; booleans are numbers, too.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            Value::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// As a number of any kind.
    #[expect(
        clippy::cast_precision_loss,
        reason = "Python's floats have 53 bits as well"
    )]
    pub(crate) fn float(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            other => other.integer().map(|value| value as f64),
        }
    }

    /// The order of two values; nothing where Python has none.
    pub(crate) fn order(&self, other: &Value) -> Option<Ordering> {
        if let (Some(left), Some(right)) = (self.integer(), other.integer()) {
            return Some(left.cmp(&right));
        }
        match (self, other) {
            (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
            _ => self.float()?.partial_cmp(&other.float()?),
        }
    }

    /// Whether two are the same.
    pub(crate) fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::None, Value::None) => true,
            (Value::List(left), Value::List(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(a, b)| a.equals(b))
            }
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }

    /// What kind of value it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a truth value",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::None => f.write_str("None"),
            Value::Bool(true) => f.write_str("True"),
            Value::Bool(false) => f.write_str("False"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value:?}"),
            Value::Text(text) => f.write_str(text),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
        }
    }
}
