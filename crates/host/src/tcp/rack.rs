//! RACK (RFC 8985; net/ipv4/tcp_recovery.c).

/// RACK's state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rack {}
