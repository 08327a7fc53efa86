//! Round-trip times and the retransmission time-out (RFC 6298 as in `tcp_rtt_estimator`, `tcp_set_rto`,
//! `tcp_update_rtt_min`), with Linux's scales: `srtt_us` is eight times the smoothed time, `mdev_us` four times the deviation.

use transect_packet::SequenceNumber;

use super::clock::{Clock, Context};
use super::segment::after;

/// The initial time-out (`TCP_TIMEOUT_INIT`), in seconds.
const INITIAL_SECONDS: u64 = 1;
/// The time-out where the handshake gave no sample (`TCP_TIMEOUT_FALLBACK`, RFC 6298 section 5.7), in seconds.
const FALLBACK_SECONDS: u64 = 3;

/// What is known of the round trip. Times in microseconds, the time-out in ticks.
#[derive(Debug, Clone)]
pub(crate) struct RttEstimator {
    /// Eight times the smoothed round trip; 0: no sample yet.
    pub(crate) srtt_us: u32,
    /// Four times its mean deviation.
    pub(crate) mdev_us: u32,
    /// The largest `mdev_us` of this round trip.
    mdev_max_us: u32,
    /// What the time-out is built from.
    pub(crate) rttvar_us: u32,
    /// Where this round trip ends.
    rtt_seq: SequenceNumber,
    /// The time-out in force, in ticks (`icsk_rto`).
    pub(crate) rto: u64,
    /// The smallest round trip of the last `tcp_min_rtt_wlen`.
    min: WindowedMinimum,
}

impl RttEstimator {
    /// Nothing known: one second (`tcp_init_sock`).
    pub(crate) fn new(context: &Context<'_>) -> Self {
        let clock = &context.clock;
        RttEstimator {
            srtt_us: 0,
            mdev_us: (INITIAL_SECONDS * 1_000_000) as u32,
            mdev_max_us: 0,
            rttvar_us: 0,
            rtt_seq: SequenceNumber(0),
            rto: INITIAL_SECONDS * u64::from(clock.ticks.hz()),
            min: WindowedMinimum::new(clock.jiffies()),
        }
    }

    /// The smallest round trip (`tcp_min_rtt`), in microseconds; `u32::MAX` before the first sample.
    pub(crate) fn min_us(&self) -> u32 {
        self.min.best()
    }

    /// A round trip was measured: `rtt_us` for the time-out, `latest_us` (of the youngest segment) for the minimum
    /// (`tcp_ack_update_rtt`). `maybe_delayed`: the ACK was probably held back.
    pub(crate) fn sample(
        &mut self,
        context: &Context<'_>,
        rtt_us: u64,
        latest_us: u64,
        maybe_delayed: bool,
        (snd_una, snd_nxt): (SequenceNumber, SequenceNumber),
    ) {
        let clock = &context.clock;
        let latest = u32::try_from(latest_us).unwrap_or(u32::MAX);
        if !(maybe_delayed && latest > self.min_us()) {
            let tick = u32::try_from(clock.us_of_jiffies(1)).unwrap_or(u32::MAX);
            let window = u64::from(context.settings.min_rtt_wlen) * u64::from(clock.ticks.hz());
            let latest = if latest == 0 { tick } else { latest };
            self.min.sample(clock.jiffies(), window, latest);
        }
        self.estimate(
            i64::try_from(rtt_us).unwrap_or(i64::MAX),
            rto_min_us(context),
            snd_una,
            snd_nxt,
        );
        self.set_rto(context);
    }

    /// `tcp_rtt_estimator`.
    fn estimate(
        &mut self,
        rtt_us: i64,
        rto_min_us: u32,
        snd_una: SequenceNumber,
        snd_nxt: SequenceNumber,
    ) {
        let rtt_us = rtt_us.min(i64::from(u32::MAX >> 4));
        if self.srtt_us == 0 {
            self.srtt_us = clamped(rtt_us << 3).max(1);
            self.mdev_us = clamped(rtt_us << 1);
            self.rttvar_us = self.mdev_us.max(rto_min_us);
            self.mdev_max_us = self.rttvar_us;
            self.rtt_seq = snd_nxt;
            return;
        }
        let mut error = rtt_us - i64::from(self.srtt_us >> 3);
        self.srtt_us = clamped(i64::from(self.srtt_us) + error).max(1);
        let deviation = i64::from(self.mdev_us >> 2);
        if error < 0 {
            error = -error - deviation;
            // A falling round trip must not raise the time-out: its growth counts an eighth.
            if error > 0 {
                error >>= 3;
            }
        } else {
            error -= deviation;
        }
        self.mdev_us = clamped(i64::from(self.mdev_us) + error);
        if self.mdev_us > self.mdev_max_us {
            self.mdev_max_us = self.mdev_us;
            self.rttvar_us = self.rttvar_us.max(self.mdev_max_us);
        }
        if after(snd_una, self.rtt_seq) {
            if self.mdev_max_us < self.rttvar_us {
                self.rttvar_us -= (self.rttvar_us - self.mdev_max_us) >> 2;
            }
            self.rtt_seq = snd_nxt;
            self.mdev_max_us = rto_min_us;
        }
    }

    /// The time-out without any backing off, in ticks (`__tcp_set_rto`).
    pub(crate) fn base_rto(&self, clock: &Clock) -> u64 {
        clock.jiffies_of_us(u64::from(self.srtt_us >> 3) + u64::from(self.rttvar_us))
    }

    /// `tcp_set_rto`.
    fn set_rto(&mut self, context: &Context<'_>) {
        self.rto = self.base_rto(&context.clock).min(rto_max(context));
    }

    /// The handshake is done: without a sample from it the time-out becomes three seconds (`tcp_init_metrics`).
    pub(super) fn establish(&mut self, clock: &Clock) {
        if self.srtt_us == 0 {
            self.rttvar_us = (FALLBACK_SECONDS * 1_000_000) as u32;
            self.mdev_us = self.rttvar_us;
            self.mdev_max_us = self.rttvar_us;
            self.rto = FALLBACK_SECONDS * u64::from(clock.ticks.hz());
        }
    }
}

/// The smallest time-out (`tcp_rto_min_us`).
pub(super) fn rto_min_us(context: &Context<'_>) -> u32 {
    u32::try_from(context.settings.rto_min.as_micros()).unwrap_or(u32::MAX)
}

/// The largest time-out, in ticks (`tcp_rto_max`).
pub(super) fn rto_max(context: &Context<'_>) -> u64 {
    context.clock.jiffies_of(context.settings.rto_max)
}

fn clamped(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

/// The minimum over a window of time, kept as the best three samples (lib/win_minmax.c, after Kathleen Nichols).
#[derive(Debug, Clone, Copy)]
struct WindowedMinimum {
    samples: [(u64, u32); 3],
}

impl WindowedMinimum {
    fn new(now: u64) -> Self {
        WindowedMinimum {
            samples: [(now, u32::MAX); 3],
        }
    }

    fn best(&self) -> u32 {
        self.samples[0].1
    }

    /// `minmax_running_min`, times in ticks.
    fn sample(&mut self, now: u64, window: u64, value: u32) {
        let new = (now, value);
        let [first, second, third] = &mut self.samples;
        if value <= first.1 || now.saturating_sub(third.0) > window {
            self.samples = [new; 3];
            return;
        }
        if value <= second.1 {
            *second = new;
            *third = new;
        } else if value <= third.1 {
            *third = new;
        }
        // minmax_subwin_update
        let age = now.saturating_sub(first.0);
        if age > window {
            *first = *second;
            *second = *third;
            *third = new;
            if now.saturating_sub(first.0) > window {
                *first = *second;
                *second = *third;
                *third = new;
            }
        } else if second.0 == first.0 && age > window / 4 {
            *second = new;
            *third = new;
        } else if third.0 == second.0 && age > window / 2 {
            *third = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    fn feed(estimator: &mut RttEstimator, bench: &mut Bench, samples: &[u64]) {
        for (turn, &us) in samples.iter().enumerate() {
            // Every sample ends a round trip.
            let una = SequenceNumber(1000 * (turn as u32 + 1));
            let context = bench.context();
            estimator.sample(&context, us, us, false, (una, una + 10));
        }
    }

    #[test]
    fn the_time_out_is_the_kernels() {
        let mut bench = Bench::new();
        let mut estimator = RttEstimator::new(&bench.context());
        assert_eq!(estimator.rto, 250);
        // ss on the kernel: rtt:0.054/0.027 rto:204.
        feed(&mut estimator, &mut bench, &[54]);
        assert_eq!((estimator.srtt_us >> 3, estimator.mdev_us >> 2), (54, 27));
        assert_eq!(estimator.rto * 4, 204);
        // A steady 100 ms: the deviation falls, the variance stays at the minimum.
        let mut estimator = RttEstimator::new(&bench.context());
        feed(&mut estimator, &mut bench, &[100_000; 40]);
        assert_eq!(estimator.srtt_us, 800_000);
        assert_eq!(estimator.rto * 4, 300);
        // A jump upwards counts at once: error 900 ms, srtt 212.5 ms, mdev 900 ms + what was left.
        feed(&mut estimator, &mut bench, &[1_000_000]);
        assert_eq!(estimator.srtt_us >> 3, 212_500);
        assert!(
            (900_000..=1_000_000).contains(&estimator.rttvar_us),
            "{}",
            estimator.rttvar_us
        );
    }

    #[test]
    fn without_a_sample_from_the_handshake_it_is_three_seconds() {
        let bench = &mut Bench::new();
        let mut estimator = RttEstimator::new(&bench.context());
        estimator.establish(&bench.context().clock);
        assert_eq!(estimator.rto, 750);
    }

    #[test]
    fn the_minimum_forgets_what_is_older_than_its_window() {
        let mut minimum = WindowedMinimum::new(0);
        minimum.sample(10, 1000, 500);
        minimum.sample(300, 1000, 700);
        minimum.sample(600, 1000, 900);
        assert_eq!(minimum.best(), 500);
        minimum.sample(1011, 1000, 950);
        assert_eq!(minimum.best(), 700);
        minimum.sample(1020, 1000, 100);
        assert_eq!(minimum.best(), 100);
    }
}
