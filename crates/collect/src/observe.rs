//! The observation: captures and readings of all hosts from before COMMAND to after it, written as a bundle's folder.

mod plan;

pub use plan::{CommandOutput, HostSummary, LogPlan, Plan, Progress, Summary};
