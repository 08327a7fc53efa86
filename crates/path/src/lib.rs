//! The vocabulary of Transect, as plain data: the points of the path and their edges, the causes that kill packets, and
//! the verdict that names them.
//!
//! Every other crate speaks in these types. What it is not: it decides nothing, reads nothing and renders nothing beyond
//! the stable names.

mod cause;
mod class;
mod named;
mod point;
mod time;
mod verdict;

pub use cause::{CauseFacts, CauseId};
pub use class::{Certainty, Direction, Outcome, Symptom, What};
pub use point::{Edge, Half, Hook, HostEdge, Layer, Point, Region, Side};
pub use time::Timestamp;
pub use verdict::*;
