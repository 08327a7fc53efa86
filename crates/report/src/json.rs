//! The one JSON form: compact, one object, one line.

use serde::Serialize;

/// The value as one compact JSON object on one line, without a line break at its end.
///
/// # Errors
/// Only for values that have no JSON form (a map with keys that are not strings); no type of this crate or of
/// `transect-path` is one.
pub fn to_json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string(value)
}
