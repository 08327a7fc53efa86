//! Timers: a queue of deadlines, and the rounding of the kernel's timer wheel.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::time::Duration;

use transect_path::Timestamp;

/// The kernel's tick: timers are set in jiffies, and the wheel (kernel/time/timer.c) rounds them up the coarser the farther
/// they are away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticks {
    /// Ticks per second (`CONFIG_HZ`).
    hz: u32,
    /// The moment of tick 0.
    boot: Timestamp,
}

/// Bits of a level's index (`LVL_BITS`).
const LEVEL_BITS: u32 = 6;
/// Each level is this many bits coarser than the one below (`LVL_CLK_SHIFT`).
const CLOCK_SHIFT: u32 = 3;
/// Levels of the wheel (`LVL_DEPTH`; 9 with HZ above 100).
const LEVELS: u32 = 9;

impl Ticks {
    /// Ticks at a rate, from a moment on.
    pub fn new(hz: u32, boot: Timestamp) -> Self {
        Ticks {
            hz: hz.max(1),
            boot,
        }
    }

    /// Ticks per second.
    pub fn hz(&self) -> u32 {
        self.hz
    }

    /// How many whole ticks have passed (`jiffies`).
    pub fn at(&self, now: Timestamp) -> u64 {
        let passed = now.0.saturating_sub(self.boot.0);
        // Years pass before it does not fit.
        match passed.checked_mul(u64::from(self.hz)) {
            Some(product) => product / 1_000_000_000,
            None => (u128::from(passed) * u128::from(self.hz) / 1_000_000_000) as u64,
        }
    }

    /// The moment at which a tick begins.
    pub fn moment(&self, tick: u64) -> Timestamp {
        // Rounded up: at that moment the tick has begun.
        let passed = match tick.checked_mul(1_000_000_000) {
            Some(product) => product.div_ceil(u64::from(self.hz)),
            None => {
                let passed = (u128::from(tick) * 1_000_000_000).div_ceil(u128::from(self.hz));
                u64::try_from(passed).unwrap_or(u64::MAX)
            }
        };
        Timestamp(self.boot.0.saturating_add(passed))
    }

    /// A length in ticks, rounded up (`msecs_to_jiffies`).
    pub fn of(&self, length: Duration) -> u64 {
        let nanoseconds = u64::try_from(length.as_nanos()).ok();
        match nanoseconds.and_then(|length| length.checked_mul(u64::from(self.hz))) {
            Some(product) => product.div_ceil(1_000_000_000),
            None => {
                let ticks = (length.as_nanos() * u128::from(self.hz)).div_ceil(1_000_000_000);
                u64::try_from(ticks).unwrap_or(u64::MAX)
            }
        }
    }

    /// When a timer that is set now for a tick really fires (`calc_wheel_index`): at the end of its bucket, never early.
    pub fn wheel(&self, now: Timestamp, expires: u64) -> Timestamp {
        let clock = self.at(now);
        let distance = expires.saturating_sub(clock);
        let level = (0..LEVELS)
            .find(|level| distance < level_start(level + 1))
            .unwrap_or(LEVELS - 1);
        let shift = level * CLOCK_SHIFT;
        let granularity = 1u64 << shift;
        let rounded = if expires <= clock {
            clock + 1
        } else {
            (expires.saturating_add(granularity) >> shift) << shift
        };
        self.moment(rounded)
    }
}

/// The first distance that belongs to a level (`LVL_START`).
const fn level_start(level: u32) -> u64 {
    match level {
        0 => 0,
        level => ((1u64 << LEVEL_BITS) - 1) << ((level - 1) * CLOCK_SHIFT),
    }
}

/// Deadlines by owner: each owner has at most one.
#[derive(Debug, Clone)]
pub(crate) struct TimerQueue<K: Ord + Copy + Hash> {
    by_time: BTreeSet<(Timestamp, K)>,
    by_owner: BTreeMap<K, Timestamp>,
}

impl<K: Ord + Copy + Hash> Default for TimerQueue<K> {
    fn default() -> Self {
        TimerQueue {
            by_time: BTreeSet::new(),
            by_owner: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Copy + Hash> TimerQueue<K> {
    /// Sets, moves or (with nothing) cancels an owner's deadline. O(log n).
    pub(crate) fn set(&mut self, owner: K, deadline: Option<Timestamp>) {
        let old = match deadline {
            Some(deadline) => self.by_owner.insert(owner, deadline),
            None => self.by_owner.remove(&owner),
        };
        if old == deadline {
            return;
        }
        if let Some(old) = old {
            self.by_time.remove(&(old, owner));
        }
        if let Some(deadline) = deadline {
            self.by_time.insert((deadline, owner));
        }
    }

    /// How many owners wait.
    pub(crate) fn len(&self) -> usize {
        self.by_time.len()
    }

    /// The next deadline.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(deadline, _)| *deadline)
    }

    /// Takes out the first owner whose deadline has come; those of one moment in the order of their keys.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<K> {
        let (deadline, owner) = *self.by_time.first()?;
        if deadline > now {
            return None;
        }
        self.by_time.remove(&(deadline, owner));
        self.by_owner.remove(&owner);
        Some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fires_after(milliseconds: u64) -> f64 {
        let boot = Timestamp(0);
        let ticks = Ticks::new(250, boot);
        let expires = ticks.at(boot) + ticks.of(Duration::from_millis(milliseconds));
        ticks.wheel(boot, expires).as_secs_f64()
    }

    #[test]
    fn the_wheel_is_as_coarse_as_the_kernels_documentation_says() {
        // linux.md: HZ 250: up to 255 ms by 4 ms; to 2 s by 32 ms; to 16 s by 256 ms; to 131 s by 2.048 s. Set at tick 0, the
        // next boundary is exact.
        for (set, least, most) in [
            (100, 0.100, 0.108),
            (1000, 1.000, 1.064),
            (10_000, 10.000, 10.512),
            (60_000, 60.000, 64.096),
        ] {
            let fires = fires_after(set);
            assert!(
                (least..most).contains(&fires),
                "{set} ms fires after {fires} s"
            );
        }
    }

    #[test]
    fn due_owners_come_in_order_of_time() {
        let mut queue = TimerQueue::default();
        queue.set(1, Some(Timestamp(30)));
        queue.set(2, Some(Timestamp(10)));
        queue.set(3, Some(Timestamp(20)));
        queue.set(3, None);
        queue.set(1, Some(Timestamp(5)));
        assert_eq!(queue.next(), Some(Timestamp(5)));
        assert_eq!(queue.pop_due(Timestamp(4)), None);
        assert_eq!(queue.pop_due(Timestamp(20)), Some(1));
        assert_eq!(queue.pop_due(Timestamp(20)), Some(2));
        assert_eq!(queue.pop_due(Timestamp(20)), None);
    }
}
