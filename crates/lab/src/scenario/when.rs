//! The condition under which a part of a file applies.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Axis → the values for which the part applies, joined by `|`; all axes named must match.
///
/// Besides the axes of the file's `[matrix]` there are `family` (`ipv4`, `ipv6`) and `twin` (`yes`, `no`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct When(pub BTreeMap<String, String>);

impl When {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the part applies to an experiment with these values.
    pub fn holds(&self, values: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(axis, wanted)| {
            values
                .get(axis)
                .is_some_and(|value| wanted.split('|').any(|one| one == value))
        })
    }
}
