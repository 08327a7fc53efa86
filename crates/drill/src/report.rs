//! How runs ended: for people, and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// The name and version of the schema.
pub const DRILL_SCHEMA: &str = "transect.drill/1";

/// All runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrillReport {
    /// [`DRILL_SCHEMA`]
    pub schema: &'static str,
    /// `kernel` or `model`.
    pub world: &'static str,
    /// In the order in which they ran.
    pub scripts: Vec<ScriptResult>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScriptResult {
    /// The script's path as it was given, or found below a folder.
    pub path: String,
    /// Whether everything happened as it says.
    pub passed: bool,
    /// How long the run took by the clock of its world, in seconds.
    pub seconds: f64,
    /// What went wrong.
    pub failure: Option<ScriptFailure>,
    /// Printed texts, and what was ignored.
    pub notes: Vec<String>,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScriptFailure {
    /// The line, from 1 on; 0 where it is no line's fault.
    pub line: u32,
    /// What was expected, and what happened; packets in the script's notation, on lines of their own.
    pub message: String,
    /// The script's clock in seconds; nothing before it had started.
    pub time: Option<f64>,
}

impl DrillReport {
    /// Whether all passed.
    pub fn passed(&self) -> bool {
        self.scripts.iter().all(|script| script.passed)
    }

    /// For people: failures in full, then how many there were.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for script in &self.scripts {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", script.text());
        }
        let passed = self.scripts.iter().filter(|script| script.passed).count();
        let _ = writeln!(
            text,
            "{passed} of {} passed in the {} world",
            self.scripts.len(),
            self.world
        );
        text
    }
}

impl ScriptResult {
    /// For people: one line where it passed, else what went wrong.
    pub fn text(&self) -> String {
        let mut text = match &self.failure {
            None => format!("ok      {} ({:.3} s)", self.path, self.seconds),
            Some(failure) => {
                let place = match failure.line {
                    0 => self.path.clone(),
                    line => format!("{}:{line}", self.path),
                };
                let time = failure
                    .time
                    .map_or(String::new(), |time| format!(" (at {time:.6} s)"));
                let (first, rest) = match failure.message.split_once('\n') {
                    Some((first, rest)) => (first, format!("\n{rest}")),
                    None => (failure.message.as_str(), String::new()),
                };
                format!("FAILED  {place}: {first}{time}{rest}")
            }
        };
        for note in &self.notes {
            let _ = write!(text, "\n  note: {note}");
        }
        text
    }
}
