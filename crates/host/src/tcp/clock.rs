//! The moment of a call in the units that TCP counts in, and its timers (`tcp_mstamp`, `tcp_jiffies32`, `sk_reset_timer`).

use std::time::Duration;

use transect_path::Timestamp;

use crate::counters::Counters;
use crate::settings::TcpSettings;
use crate::stack::Stack;
use crate::timer::Ticks;

/// The moment of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// The moment.
    pub(crate) now: Timestamp,
    /// When what is being taken in arrived; in a backlog it may have waited.
    pub(crate) arrived: Timestamp,
    /// The host's ticks.
    pub(crate) ticks: Ticks,
}

impl Clock {
    /// Microseconds (`tcp_mstamp`). Never 0, which stands for "never" in the kernel's fields.
    pub(crate) fn us(&self) -> u64 {
        (self.now.0 / 1000).max(1)
    }

    /// Microseconds up to which a round trip is measured. For the kernel that is the moment at which the ACK is taken in; but there a
    /// call that holds the socket is over with the answer, and in a model's world it goes on for a fixed time.
    pub(crate) fn arrived_us(&self) -> u64 {
        (self.arrived.0 / 1000).max(1)
    }

    /// Milliseconds, as they stand in the timestamps option before the connection's offset is added (`tcp_time_stamp_ms`).
    pub(crate) fn ms(&self) -> u32 {
        (self.us() / 1000) as u32
    }

    /// Ticks (`tcp_jiffies32`).
    pub(crate) fn jiffies(&self) -> u64 {
        self.ticks.at(self.now)
    }

    /// A length in ticks, rounded up (`usecs_to_jiffies`).
    pub(crate) fn jiffies_of_us(&self, us: u64) -> u64 {
        self.ticks.of(Duration::from_micros(us))
    }

    /// A length in ticks, rounded up.
    pub(crate) fn jiffies_of(&self, length: Duration) -> u64 {
        self.ticks.of(length)
    }

    /// Microseconds of a length in ticks (`jiffies_to_usecs`).
    pub(crate) fn us_of_jiffies(&self, jiffies: u64) -> u64 {
        jiffies.saturating_mul(1_000_000) / u64::from(self.ticks.hz())
    }
}

/// What every mechanism is given with a call.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// The moment.
    pub(crate) clock: Clock,
    /// The host's settings.
    pub(crate) settings: &'a TcpSettings,
    /// The host's counters.
    pub(crate) counters: &'a mut Counters,
}

impl<'a> Context<'a> {
    /// Of a host, at its present moment.
    pub(crate) fn of(stack: &'a mut Stack) -> Self {
        Context {
            clock: Clock {
                now: stack.now,
                arrived: stack.arrived.unwrap_or(stack.now),
                ticks: stack.ticks,
            },
            settings: &stack.settings.tcp,
            counters: &mut stack.counters,
        }
    }
}

/// A `struct timer_list`: a deadline in ticks, and when the wheel really fires it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Timer {
    armed: Option<(u64, Timestamp)>,
}

impl Timer {
    /// Sets or moves it (`mod_timer`). Set again to the same tick, it keeps its place in the wheel.
    pub(crate) fn set(&mut self, clock: &Clock, expires: u64) {
        if let Some((old, _)) = self.armed
            && old == expires
        {
            return;
        }
        self.armed = Some((expires, clock.ticks.wheel(clock.now, expires)));
    }

    /// Takes it off the wheel (`timer_delete`).
    pub(crate) fn cancel(&mut self) {
        self.armed = None;
    }

    /// When it fires; nothing where it is not set.
    pub(crate) fn fires(&self) -> Option<Timestamp> {
        self.armed.map(|(_, fires)| fires)
    }

    /// The tick for which it was set.
    pub(crate) fn expires(&self) -> Option<u64> {
        self.armed.map(|(expires, _)| expires)
    }

    /// Whether its moment has come; if so it is off the wheel from now on.
    pub(crate) fn take_due(&mut self, clock: &Clock) -> bool {
        let due = self.fires().is_some_and(|fires| fires <= clock.now);
        if due {
            self.armed = None;
        }
        due
    }
}
