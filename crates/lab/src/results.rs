//! What comes out of a run: one result for each experiment, and the published JSON (`transect.lab/1`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use transect_path::Verdict;

use crate::scenario::Expectation;

/// The name and version of the schema of [`LabReport`].
pub const LAB_SCHEMA: &str = "transect.lab/1";

/// The answer of `lab run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabReport {
    /// Always [`LAB_SCHEMA`].
    pub schema: String,
    /// One for each experiment, in the order in which they were asked for.
    pub experiments: Vec<ExperimentResult>,
}

impl LabReport {
    /// Wraps results in the published schema.
    pub fn new(experiments: Vec<ExperimentResult>) -> Self {
        LabReport {
            schema: LAB_SCHEMA.to_owned(),
            experiments,
        }
    }

    /// Whether every experiment ended as it says it must.
    pub fn passed(&self) -> bool {
        self.experiments.iter().all(|result| result.passed)
    }
}

/// How one experiment ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentResult {
    /// The experiment's full name.
    pub name: String,
    /// Whether it ended as its file says it must.
    pub passed: bool,
    /// What its file says it must end in.
    pub expected: Vec<Expectation>,
    /// What the diagnosis said, worst first; empty when the experiment did not get so far.
    pub got: Vec<Verdict>,
    /// Everything that is wrong, one sentence or block of lines each; empty when it passed.
    pub problems: Vec<String>,
    /// Wall time in seconds, set-up and removal included.
    pub seconds: f64,
    /// In the model world: virtual time in seconds, set-up included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_seconds: Option<f64>,
    /// The kept bundle folder, with [`crate::RunOptions::keep`].
    pub bundle: Option<PathBuf>,
    /// With [`crate::RunOptions::counters`]: host → counter → how far it moved while observed. Only those that moved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, BTreeMap<String, u64>>,
}
