//! When events are due, and how far they may be off.

use std::time::Duration;

use super::Runner;
use crate::script::EventTime;

/// When something happened, by the world's clock. What takes time has a beginning and an end, and what it causes may lie between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Moment {
    pub(super) started: Duration,
    pub(super) ended: Duration,
}

impl Moment {
    /// At once.
    pub(super) fn at(time: Duration) -> Self {
        Moment {
            started: time,
            ended: time,
        }
    }

    /// So much later.
    pub(super) fn after(self, time: Duration) -> Self {
        Moment {
            started: self.started.saturating_add(time),
            ended: self.ended.saturating_add(time),
        }
    }
}

/// By how much a timer that runs so long may be late: the kernel's timer wheel (kernel/time/timer.c) has levels of 64 slots, each
/// eight times as coarse as the one below, and rounds up; one tick more passes before a tick that has begun counts.
pub(super) fn wheel(length: Duration, tick: Duration) -> Duration {
    let mut granularity = tick;
    let mut reach = tick.saturating_mul(64);
    // Nine levels; beyond them timers are cut off.
    for _ in 1..9 {
        if length < reach {
            break;
        }
        granularity = granularity.saturating_mul(8);
        reach = reach.saturating_mul(8);
    }
    granularity.saturating_add(tick)
}

impl Runner<'_> {
    /// The moment between whose ends an event's own time lies; nothing for one that may happen whenever.
    fn base(&self, time: EventTime) -> Option<(Moment, Duration, Duration)> {
        let zero = Moment::at(self.zero.unwrap_or_default());
        match time {
            EventTime::Before | EventTime::Any => None,
            EventTime::At(time) => Some((zero, time, time)),
            EventTime::Between(from, to) => Some((zero, from, to)),
            EventTime::After(time) => Some((self.previous, time, time)),
            EventTime::AfterBetween(from, to) => Some((self.previous, from, to)),
        }
    }

    /// When an event is to be made to happen.
    pub(super) fn due(&self, time: EventTime) -> Option<Duration> {
        let (base, from, _) = self.base(time)?;
        Some(base.ended.saturating_add(from))
    }

    /// How far an event may be off that is expected so long after the one before.
    pub(super) fn tolerance(&self, length: Duration) -> Duration {
        let percent = self.options.tolerance_percent / 100.0;
        self.options.tolerance.max(length.mul_f64(percent))
    }

    /// Between which times, by the world's clock, something of the host's must happen; nothing where it may be whenever.
    pub(super) fn window(&self, time: EventTime) -> Option<(Duration, Duration)> {
        let (base, from, to) = self.base(time)?;
        let since_previous = |time: Duration| time.saturating_sub(self.previous.started);
        let earliest = base.started.saturating_add(from);
        let latest = base.ended.saturating_add(to);
        let tolerance = self.tolerance(since_previous(latest));
        // A timer that goes off now was set when the host last sent something, or later.
        let running = latest.saturating_sub(self.last_sent.unwrap_or(self.previous.started));
        let late = match since_previous(latest) {
            // What follows at once is no timer's doing.
            Duration::ZERO => Duration::ZERO,
            _ => wheel(running, self.world.tick()),
        };
        Some((
            earliest.saturating_sub(tolerance),
            latest.saturating_add(tolerance).saturating_add(late),
        ))
    }

    /// A time of the world's clock on the script's, as messages show it.
    pub(super) fn shown(&self, time: Duration) -> String {
        let zero = self.zero.unwrap_or_default();
        format!("{:.6}", time.saturating_sub(zero).as_secs_f64())
    }

    /// Whether something happened in its window; the error says both, by the script's clock.
    pub(super) fn in_time(
        &self,
        what: &str,
        window: Option<(Duration, Duration)>,
        actual: Duration,
    ) -> Result<(), String> {
        let Some((earliest, latest)) = window else {
            return Ok(());
        };
        if (earliest..=latest).contains(&actual) {
            return Ok(());
        }
        let side = if actual < earliest { "early" } else { "late" };
        Err(format!(
            "{what} too {side}: expected between {} and {}, it was {}",
            self.shown(earliest),
            self.shown(latest),
            self.shown(actual)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wheel_is_coarser_for_longer_timers() {
        let tick = Duration::from_millis(4);
        let late = |millis| wheel(Duration::from_millis(millis), tick).as_millis();
        assert_eq!(late(40), 8);
        assert_eq!(late(200), 8);
        assert_eq!(late(256), 36);
        assert_eq!(late(1000), 36);
        assert_eq!(late(2048), 260);
        assert_eq!(late(60_000), 2052);
    }
}
