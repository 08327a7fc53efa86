//! From what was typed to what will be done: the one conversion, and every usage error that needs more than the words.

#[cfg(feature = "live")]
mod observe;

#[cfg(feature = "live")]
pub(crate) use observe::{failure, observation, wait_for};
