//! What a host holds: what must be gone when connections are.

use crate::host::Host;

/// How much of everything that comes and goes a host holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Sockets of every kind: listeners, connections, also those that no program holds any more.
    pub sockets: usize,
    /// Remainders of connections in TIME_WAIT or FIN_WAIT_2.
    pub time_wait: usize,
    /// Timers that run.
    pub timers: usize,
    /// Tracked connections whose time is not over.
    pub tracked: usize,
}

impl Host {
    /// What it holds now.
    pub fn holdings(&self) -> Holdings {
        let (sockets, time_wait) = self.tcp.held();
        Holdings {
            sockets: sockets.saturating_add(self.transport.held()),
            time_wait,
            timers: self.stack.timers.len(),
            tracked: self.conntrack_entries_text().lines().count(),
        }
    }
}
