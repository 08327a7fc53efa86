//! A link between two devices: how long frames take, and what happens to them on the way.
//!
//! Everything that is random is drawn from the link's own seed, so that what happens on one link does not depend on how
//! busy another one is.

use std::time::Duration;

use transect_host::Packet;
use transect_path::Timestamp;

use crate::scenario::{Conditions, Scenario, Share, Span};

/// What a link does to frames. The default is a veth pair: nothing but a few microseconds of processor time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct WireSetup {
    /// From one end to the other.
    pub(super) delay: Duration,
    /// Bits in a second, each direction on its own; none: at once.
    pub(super) rate: Option<u64>,
    /// How many frames may wait for their turn to be sent, where there is a rate; the next one is lost.
    pub(super) queue: usize,
    /// Of 1,000,000 frames, how many are lost.
    pub(super) loss: u32,
    /// Of 1,000,000 frames, how many are held back by `reorder_delay`, so that later ones pass them.
    pub(super) reorder: u32,
    /// How long.
    pub(super) reorder_delay: Duration,
    /// Of 1,000,000 frames, how many have one bit turned.
    pub(super) corruption: u32,
    /// Of 1,000,000 frames, how many arrive twice.
    pub(super) duplication: u32,
}

/// What handing a frame from one namespace to another takes the kernel, about.
const VETH: Duration = Duration::from_micros(5);

/// Frames that wait at most for a link with a rate.
const QUEUE: usize = 1000;

impl Default for WireSetup {
    fn default() -> Self {
        WireSetup {
            delay: VETH,
            rate: None,
            queue: QUEUE,
            loss: 0,
            reorder: 0,
            reorder_delay: Duration::ZERO,
            corruption: 0,
            duplication: 0,
        }
    }
}

impl WireSetup {
    /// What an experiment asks for.
    pub(crate) fn of(conditions: &Conditions) -> Self {
        let default = WireSetup::default();
        let share = |share: Option<Share>| share.map_or(0, Share::of_a_million);
        let time = |span: Option<Span>, default: Duration| span.map_or(default, |span| span.0);
        let queue = conditions
            .queue
            .and_then(|queue| usize::try_from(queue).ok());
        WireSetup {
            delay: time(conditions.delay, default.delay),
            rate: conditions.rate,
            queue: queue.unwrap_or(default.queue),
            loss: share(conditions.loss),
            reorder: share(conditions.reorder),
            reorder_delay: time(conditions.reorder_delay, Duration::from_millis(1)),
            corruption: share(conditions.corruption),
            duplication: share(conditions.duplication),
        }
    }
}

/// The seeds of an experiment's links, the same in both worlds: what is lost in one is lost in the other.
#[derive(Debug)]
pub(crate) struct WireSeeds(fastrand::Rng);

impl WireSeeds {
    /// From the run's seed, of which each host takes one first.
    pub(crate) fn of(scenario: &Scenario, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in scenario.hosts.keys() {
            let _ = random.u64(..);
        }
        WireSeeds(random)
    }

    /// Those of the next link's two directions.
    pub(crate) fn next_pair(&mut self) -> [u64; 2] {
        [self.0.u64(..), self.0.u64(..)]
    }
}

/// One direction of a link.
#[derive(Debug)]
pub(crate) struct Wire {
    setup: WireSetup,
    random: fastrand::Rng,
    /// When each frame that was given a turn has been sent; the last one is when the next may begin.
    sent: std::collections::VecDeque<Timestamp>,
}

impl Wire {
    /// A direction with a seed of its own.
    pub(crate) fn new(setup: WireSetup, seed: u64) -> Self {
        Wire {
            setup,
            random: fastrand::Rng::with_seed(seed),
            sent: std::collections::VecDeque::new(),
        }
    }

    /// Takes a frame, and says when and as what it arrives: once, not at all, or twice.
    pub(crate) fn carry(&mut self, now: Timestamp, mut frame: Packet) -> Vec<(Timestamp, Packet)> {
        let Some(sent) = self.turn(now, frame.frame().len()) else {
            return Vec::new();
        };
        if self.happens(self.setup.loss) {
            return Vec::new();
        }
        if self.happens(self.setup.corruption) {
            let bits = frame.frame().len().saturating_mul(8).max(1);
            frame.flip_bit(self.random.usize(..bits));
        }
        let mut arrives = later(sent, self.setup.delay);
        if self.happens(self.setup.reorder) {
            arrives = later(arrives, self.setup.reorder_delay);
        }
        if self.happens(self.setup.duplication) {
            return vec![(arrives, frame.clone()), (arrives, frame)];
        }
        vec![(arrives, frame)]
    }

    /// When the frame's last bit has been sent; nothing where too many wait before it.
    fn turn(&mut self, now: Timestamp, bytes: usize) -> Option<Timestamp> {
        let Some(rate) = self.setup.rate.filter(|rate| *rate > 0) else {
            return Some(now);
        };
        while self.sent.front().is_some_and(|sent| *sent <= now) {
            self.sent.pop_front();
        }
        if self.sent.len() > self.setup.queue {
            return None;
        }
        let begins = self.sent.back().copied().unwrap_or(now);
        let nanoseconds = (bytes as u128)
            .saturating_mul(8_000_000_000)
            .div_ceil(u128::from(rate));
        let takes = u64::try_from(nanoseconds).unwrap_or(u64::MAX);
        let sent = Timestamp(begins.0.saturating_add(takes));
        self.sent.push_back(sent);
        Some(sent)
    }

    /// Whether something happens that happens to so many of a million.
    fn happens(&mut self, of_a_million: u32) -> bool {
        // Drawn only where it can happen, so that a link without the fault draws nothing.
        of_a_million > 0 && self.random.u32(..1_000_000) < of_a_million
    }
}

/// A moment after another one.
pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
    let nanoseconds = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
    Timestamp(at.0.saturating_add(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: usize) -> Packet {
        Packet::from_frame(vec![0; bytes])
    }

    fn at(microseconds: u64) -> Timestamp {
        Timestamp(microseconds * 1000)
    }

    #[test]
    fn a_frame_takes_its_time_on_a_link_with_a_rate_and_the_next_waits_for_it() {
        let setup = WireSetup {
            delay: Duration::from_micros(100),
            rate: Some(8_000_000),
            queue: 2,
            ..WireSetup::default()
        };
        let mut wire = Wire::new(setup, 1);
        let mut arrives = |now, bytes| {
            let carried = wire.carry(at(now), frame(bytes));
            carried.first().map(|(at, _)| *at)
        };
        // 1000 bytes at a byte each microsecond.
        assert_eq!(arrives(0, 1000), Some(at(1100)));
        assert_eq!(arrives(10, 500), Some(at(1600)));
        assert_eq!(arrives(20, 500), Some(at(2100)));
        // Two wait behind the one that is being sent.
        assert_eq!(arrives(30, 500), None);
        assert_eq!(arrives(1001, 100), Some(at(2200)));
    }

    #[test]
    fn what_happens_is_drawn_from_the_seed_in_the_share_that_was_asked_for() {
        let setup = WireSetup {
            loss: 100_000,
            duplication: 50_000,
            corruption: 20_000,
            reorder: 10_000,
            reorder_delay: Duration::from_millis(1),
            ..WireSetup::default()
        };
        let run = |seed| {
            let mut wire = Wire::new(setup, seed);
            let carried = (0..10_000).map(|_| wire.carry(at(0), frame(100)));
            carried
                .map(|frames| {
                    let damaged = |packet: &Packet| packet.frame().iter().any(|byte| *byte != 0);
                    let shown = frames
                        .iter()
                        .map(|(when, packet)| (*when > at(5), damaged(packet)));
                    shown.collect::<Vec<_>>()
                })
                .collect::<Vec<_>>()
        };
        let first = run(7);
        assert_eq!(first, run(7));
        assert_ne!(first, run(8));
        let count = |wanted: fn(&[(bool, bool)]) -> bool| {
            first.iter().filter(|frames| wanted(frames)).count()
        };
        assert!((900..1100).contains(&count(|frames| frames.is_empty())));
        assert!((400..500).contains(&count(|frames| frames.len() == 2)));
        assert!((140..220).contains(&count(|frames| frames.iter().any(|one| one.1))));
        assert!((60..130).contains(&count(|frames| frames.iter().any(|one| one.0))));
    }
}
