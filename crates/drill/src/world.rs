//! Where a script runs.

mod journal;
mod kernel;
mod model;
mod shell;

use std::path::Path;
use std::time::Duration;

pub(crate) use journal::Journal;
pub(crate) use kernel::KernelWorld;
pub(crate) use model::ModelWorld;

use crate::call::{Call, Fd, Outcome};
use crate::tcp_info::TcpInfo;

/// What keeps a world from going on; not the script's fault, or not one that can be told better.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WorldError(pub(crate) String);

impl WorldError {
    /// What was being done, for errors of the system.
    pub(crate) fn doing<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> WorldError + '_ {
        move |error| WorldError(format!("{what}: {error}"))
    }
}

/// A packet that the host sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Captured {
    /// When, by the world's clock.
    pub(crate) time: Duration,
    /// From its IP header on.
    pub(crate) bytes: Vec<u8>,
}

/// A system call that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finished {
    /// When it began and ended, by the world's clock.
    pub(crate) started: Duration,
    pub(crate) ended: Duration,
    pub(crate) outcome: Outcome,
}

/// A host under test, the wire to it, and a clock. One system call is under way at most.
pub(crate) trait World {
    /// The clock.
    fn now(&mut self) -> Duration;

    /// Waits; packets that the host sends meanwhile are kept.
    fn sleep_until(&mut self, time: Duration) -> Result<(), WorldError>;

    /// A packet arrives at the host.
    fn inject(&mut self, packet: &[u8]) -> Result<(), WorldError>;

    /// The next packet of the host, in order; nothing where none comes by then.
    fn capture(&mut self, deadline: Duration) -> Result<Option<Captured>, WorldError>;

    /// Begins a system call.
    fn start(&mut self, call: Call) -> Result<(), WorldError>;

    /// The end of the system call; nothing where it goes on then.
    fn finished(&mut self, deadline: Duration) -> Result<Option<Finished>, WorldError>;

    /// `TCP_INFO` of a socket.
    fn tcp_info(&mut self, fd: Fd) -> Result<TcpInfo, String>;

    /// Runs commands; what there is to say about them. The folder is the script's.
    fn command(&mut self, text: &str, folder: &Path) -> Result<Vec<String>, WorldError>;

    /// The world's clock at a time of the host's own (CLOCK_REALTIME).
    fn at_real_time(&self, time: Duration) -> Option<Duration>;

    /// Length of a tick (1/HZ), by which the host's timers are rounded.
    fn tick(&self) -> Duration;

    /// How late the world itself may be in noticing something: nothing in virtual time.
    fn grace(&self) -> Duration;
}
