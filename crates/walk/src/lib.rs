//! What the kernel would decide for one packet in a configuration.
//!
//! Pure: a configuration and a packet's facts in, decisions out. Everything is three-valued: what depends on something that is not known
//! is said to depend on it, and no guess is made. Both modules are held against the running kernel by their tests.
//!
//! This crate sends nothing, keeps no state between packets, and does not know what was observed: that is for
//! `transect-diagnose` to set against it.

pub mod netfilter;
pub mod routing;
