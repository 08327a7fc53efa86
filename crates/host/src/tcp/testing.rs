//! What the tests of the mechanisms share: a moment, settings and counters without a host.

use std::time::Duration;

use transect_config::Sysctls;
use transect_path::Timestamp;

use super::clock::{Clock, Context};
use crate::counters::Counters;
use crate::settings::Settings;
use crate::timer::Ticks;

/// A host's part that the mechanisms see.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) now: Timestamp,
    pub(crate) settings: Settings,
    pub(crate) counters: Counters,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Bench {
            now: Timestamp(1_000_000_000_000),
            settings: Settings::new(std::iter::empty(), &Sysctls::default()).unwrap(),
            counters: Counters::default(),
        }
    }

    pub(crate) fn context(&mut self) -> Context<'_> {
        Context {
            clock: Clock {
                now: self.now,
                arrived: self.now,
                ticks: Ticks::new(250, Timestamp(0)),
            },
            settings: &self.settings.tcp,
            counters: &mut self.counters,
        }
    }

    pub(crate) fn advance_us(&mut self, us: u64) {
        self.now = self.now + Duration::from_micros(us);
    }

    pub(crate) fn advance_ms(&mut self, ms: u64) {
        self.advance_us(ms * 1000);
    }
}
