//! Live collectors: captures, readings, namespaces, the observation.
//!
//! [`Observation`] watches one or several hosts (network namespaces) and writes what it saw as a bundle's folder: a pcapng
//! capture of all interfaces, and readings of every counter, socket, route and rule, before, after and in between. It
//! returns raw texts with times and changes nothing on the host. What it is not: it parses nothing and concludes nothing;
//! that is done afterwards, from the folder, by crates that need no rights.

mod capture;
mod error;
mod filter;
mod namespace;
mod observe;
mod readings;
mod stop;
mod wait;

pub use capture::{CaptureOptions, CaptureSummary, InterfaceSummary};
pub use error::Error;
pub use filter::Filter;
pub use namespace::{HostPlan, Namespace, NamespaceId, NamespaceRef, in_namespace};
pub use observe::{
    CommandOutput, HostSummary, LogPlan, Observation, Plan, Progress, Summary, run, run_with,
};
pub use readings::{RawFile, RawReading, ReadingSource, Scope};
pub use stop::{StopSignal, Urgency};
