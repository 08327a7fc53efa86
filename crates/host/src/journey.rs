//! What a packet carries about where it has been.

use transect_path::{Point, Timestamp};

use crate::drop_reason::DropReason;

/// One entry or exit of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// Which host (as the world numbers them).
    pub host: u16,
    /// Where.
    pub point: Point,
    /// What happened there.
    pub what: StepKind,
}

/// What happened at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// It came in.
    Entered,
    /// It went on.
    Left,
    /// It died.
    Dropped(DropReason),
}

/// Every point that a packet passed, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journey {
    /// A number that no other packet of the host has; what is split keeps it.
    pub packet: u64,
    /// The steps.
    pub steps: Vec<Step>,
}

/// A packet keeps no more steps than this: enough for several hosts, and no loop of routers can eat the memory.
const MOST_STEPS: usize = 1024;

impl Journey {
    /// Adds a step, unless there are too many.
    #[inline]
    pub(crate) fn push(&mut self, step: Step) {
        if self.steps.len() < MOST_STEPS {
            self.steps.push(step);
        }
    }
}
