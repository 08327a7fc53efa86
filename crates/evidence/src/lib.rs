//! What was observed: the types, the readers of every kind of file that is not one host's configuration, and the bundle.
//!
//! Everything here is pure: files and bytes in, evidence out, the same whether a host was watched live, a bundle came from
//! elsewhere or loose dumps were found in a folder. What it is not: it collects nothing from a running host, and it draws no
//! conclusion.

pub mod bundle;
pub mod conversation;
pub mod counters;
mod input;
mod load;
pub mod log;
mod model;
mod problem;
pub mod recognize;
mod text;

pub use input::{Input, Role};
pub use load::{LoadError, LoadOptions, load};
pub use model::{Capture, Evidence, HostEvidence, Log, Reading};
pub use problem::Problem;
