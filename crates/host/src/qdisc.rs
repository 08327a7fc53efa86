//! Queueing disciplines.

/// A device's root queueing discipline.
#[derive(Debug, Default)]
pub(crate) enum Qdisc {
    /// None: straight to the driver (veth, loopback, tun without one).
    #[default]
    NoQueue,
}
