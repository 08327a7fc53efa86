//! What a packet carries about where it has been.

use std::fmt;

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

/// What a step is beside its host and moment.
pub(crate) type Mark = (Point, StepKind);

/// Where a packet was when, from a step on: it passes many points of one host in one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stay {
    at: Timestamp,
    host: u16,
    /// The first step of it.
    first: u16,
}

/// Every point that a packet passed, in order.
#[derive(Clone)]
pub struct Journey {
    /// A number that no other packet of the host has; what is split keeps it.
    pub packet: u64,
    /// Moment and host of the last stay.
    at: Timestamp,
    host: u16,
    /// How many of `near` there are.
    used: usize,
    /// The first steps, which are all of most journeys.
    near: [Mark; NEAR],
    /// The others.
    far: Vec<Mark>,
    stays: Vec<Stay>,
}

/// A packet keeps no more steps than this: enough for several hosts, and no loop of routers can eat the memory.
const MOST_STEPS: usize = 1024;
/// Steps of a packet that crosses two hosts.
const NEAR: usize = 72;
/// Moments that there is room for at once.
const STAYS: usize = 8;

impl Journey {
    /// Without a step.
    pub(crate) fn new(packet: u64) -> Self {
        Journey {
            packet,
            at: Timestamp::MIN,
            host: 0,
            used: 0,
            near: [(Point::AppSend, StepKind::Entered); NEAR],
            far: Vec::new(),
            stays: Vec::with_capacity(STAYS),
        }
    }

    /// How many steps there are.
    fn len(&self) -> usize {
        self.used + self.far.len()
    }

    /// The steps, in order.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        let near = self.near.get(..self.used).unwrap_or_default();
        let mut stays = self.stays.iter().peekable();
        let (mut at, mut host) = (self.at, self.host);
        near.iter()
            .chain(&self.far)
            .enumerate()
            .map(move |(number, (point, what))| {
                while let Some(stay) = stays.next_if(|stay| usize::from(stay.first) <= number) {
                    (at, host) = (stay.at, stay.host);
                }
                Step {
                    at,
                    host,
                    point: *point,
                    what: *what,
                }
            })
    }

    /// Adds steps, unless there are too many.
    #[inline]
    pub(crate) fn extend<const N: usize>(&mut self, at: Timestamp, host: u16, marks: [Mark; N]) {
        if self.at != at || self.host != host || self.used == 0 {
            self.stay(at, host);
        }
        match self.near.get_mut(self.used..self.used + N) {
            Some(place) if self.far.is_empty() => {
                place.copy_from_slice(&marks);
                self.used += N;
            }
            _ => self.go_far(&marks),
        }
    }

    /// What follows happens elsewhere, or later.
    #[cold]
    fn stay(&mut self, at: Timestamp, host: u16) {
        if self.len() < MOST_STEPS {
            let first = self.len() as u16;
            (self.at, self.host) = (at, host);
            self.stays.push(Stay { at, host, first });
        }
    }

    #[cold]
    fn go_far(&mut self, marks: &[Mark]) {
        let room = MOST_STEPS.saturating_sub(self.len());
        self.far.extend(marks.iter().take(room));
    }

    /// Becomes like another one, in the memory that it has.
    pub(crate) fn copy(&mut self, other: &Journey) {
        (self.packet, self.at, self.host) = (other.packet, other.at, other.host);
        (self.used, self.near) = (other.used, other.near);
        self.far.clone_from(&other.far);
        self.stays.clone_from(&other.stays);
    }

    /// Forgets the steps. False: it has grown, and is not worth keeping.
    pub(crate) fn clear(&mut self) -> bool {
        self.used = 0;
        self.stays.clear();
        self.far.capacity() == 0 && self.stays.capacity() == STAYS
    }
}

impl PartialEq for Journey {
    fn eq(&self, other: &Self) -> bool {
        self.packet == other.packet && self.steps().eq(other.steps())
    }
}

impl Eq for Journey {}

impl fmt::Debug for Journey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<Step> = self.steps().collect();
        f.debug_struct("Journey")
            .field("packet", &self.packet)
            .field("steps", &steps)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_out_as_they_went_in() {
        let mut journey = Journey::new(7);
        let (first, second) = (Timestamp(1), Timestamp(2));
        let entered = (Point::AppSend, StepKind::Entered);
        let left = (Point::AppSend, StepKind::Left);
        let dropped = (Point::Qdisc, StepKind::Dropped(DropReason::QdiscDrop));
        journey.extend(first, 1, [entered, left]);
        journey.extend(first, 2, [entered]);
        journey.extend(second, 2, [left, dropped]);
        let steps: Vec<_> = journey
            .steps()
            .map(|step| (step.at.0, step.host, (step.point, step.what)))
            .collect();
        assert_eq!(
            steps,
            [
                (1, 1, entered),
                (1, 1, left),
                (1, 2, entered),
                (2, 2, left),
                (2, 2, dropped),
            ]
        );
    }

    #[test]
    fn a_journey_without_an_end_stops_growing() {
        let mut journey = Journey::new(1);
        for moment in 0..2000 {
            let entered = (Point::Qdisc, StepKind::Entered);
            journey.extend(Timestamp(moment), 1, [entered; 3]);
        }
        assert_eq!(journey.steps().count(), MOST_STEPS);
        assert!(journey.stays.len() <= MOST_STEPS);
        assert!(!journey.clear(), "it has grown");
        let last = journey.steps().last().unwrap();
        assert_eq!(last.at, Timestamp(341));
    }
}
