//! What the kernel would decide for one packet in a configuration.

pub mod netfilter;
pub mod routing;
