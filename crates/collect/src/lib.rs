//! Live collectors: captures, readings, namespaces, the observation.

mod readings;

pub use readings::{RawFile, RawReading, ReadingSource, Scope};
