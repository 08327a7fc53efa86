//! Experiments: a fault, made on purpose, and the verdict that it must end in.
//!
//! An experiment is one TOML file ([`scenario`](crate::Scenario)): hosts, links, rules, programs, steps in time, and what the
//! diagnosis must say. One file makes several experiments, one for each combination of its axes (IPv4 and IPv6, the rule
//! programs) and a **twin** without the fault, which must not be accused of it. The **kernel world** runs it in network
//! namespaces of its own: they are anonymous, held open by this process alone, so that the kernel removes them with it
//! whatever ends it.
//!
//! What it is not: it diagnoses nothing. It observes with `transect-collect`, asks `transect-diagnose` as `transect why` does, and
//! compares the answer with what the file says; what a file expects is written from the catalogue of causes, never from the
//! program's output.

mod check;
mod compare;
mod counters;
mod error;
mod experiment;
mod folder;
mod library;
mod model;
mod observation;
mod packet;
mod results;
mod run;
mod scenario;
mod words;
#[cfg(feature = "live")]
mod world;

pub use compare::{
    Both, COMPARE_SCHEMA, Comparison, ComparisonReport, Differences, HostComparison, PacketRow,
    Summary, compare, comparison_text, summary_text,
};
pub use counters::counters_document;
pub use error::LabError;
#[cfg(feature = "live")]
pub use model::real::{
    AttachKind, AttachPlan, ErrandPlan, ErrandReport, HOST_SCHEMA, HostReport, Left, ServiceKind,
    ServicePlan, ServiceReport, attach,
};
pub use results::{ExperimentResult, LAB_SCHEMA, LabReport};
pub use run::{ExperimentInfo, Progress, RunOptions, Selection, WorldKind, list, run};
pub use scenario::*;
