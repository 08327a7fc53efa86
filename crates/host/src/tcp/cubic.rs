//! CUBIC (RFC 9438; net/ipv4/tcp_cubic.c) with HyStart, in Linux's integers.

use transect_packet::SequenceNumber;

use super::clock::Context;
use super::congestion::{Algorithm, Congestion, Flight};
use super::recovery::CaState;
use super::segment::after;
use crate::counters::TcpExtCounter;

/// Scale of the factors.
const BETA_SCALE: u64 = 1024;
/// 717/1024: what is left of the window after a loss (0.7).
const BETA: u64 = 717;
/// Bits of a second's fraction in CUBIC's own time (`BICTCP_HZ`).
const TIME_BITS: u32 = 10;
/// C of the cubic function, scaled (`cube_rtt_scale`: 41 * 10).
const CUBE_SCALE: u64 = 410;
/// `8 * (1024 + BETA) / 3 / (1024 - BETA)`: how fast Reno would grow.
const RENO_SCALE: u64 = 8 * (BETA_SCALE + BETA) / 3 / (BETA_SCALE - BETA);
/// HyStart looks at windows from here on (`hystart_low_window`), in segments.
const HYSTART_LOW_WINDOW: u32 = 16;
/// ACKs that follow closer than this belong to one train (`hystart_ack_delta_us`), in microseconds.
const HYSTART_ACK_DELTA_US: u64 = 2000;
/// Samples of the delay in each round trip (`HYSTART_MIN_SAMPLES`).
const HYSTART_MIN_SAMPLES: u8 = 8;
/// Bounds of the rise in delay that ends slow start (`HYSTART_DELAY_MIN`, `HYSTART_DELAY_MAX`), in microseconds.
const HYSTART_DELAY_US: (u64, u64) = (4_000, 16_000);

/// CUBIC's state (`struct bictcp`).
#[derive(Debug, Clone, Default)]
pub(super) struct Cubic {
    /// One segment more for so many acknowledged ones (`cnt`).
    cnt: u32,
    /// The window before the last loss (`last_max_cwnd`).
    last_max_cwnd: u32,
    last_cwnd: u32,
    /// When `cnt` was computed last, in ticks.
    last_time: u64,
    /// The plateau (`bic_origin_point`).
    origin_point: u32,
    /// How long until the plateau is reached, in 1/1024 s (`bic_K`).
    k: u64,
    /// The smallest delay, in microseconds.
    delay_min_us: u64,
    /// When this growth began, in ticks.
    epoch_start: Option<u64>,
    ack_cnt: u32,
    /// What Reno's window would be (`tcp_cwnd`).
    reno_cwnd: u32,
    hystart: HyStart,
}

/// HyStart (Ha, Rhee 2008): when to leave slow start before anything is lost.
#[derive(Debug, Clone, Default)]
struct HyStart {
    found: bool,
    samples: u8,
    round_start_us: u64,
    last_ack_us: u64,
    end_seq: SequenceNumber,
    current_rtt_us: u64,
}

impl Cubic {
    /// `bictcp_reset`: everything but HyStart's round.
    fn reset(&mut self) {
        let hystart = HyStart {
            found: false,
            ..self.hystart.clone()
        };
        *self = Cubic {
            hystart,
            ..Cubic::default()
        };
    }

    /// `bictcp_update`.
    fn update(&mut self, context: &Context<'_>, window: u32, acked: u32) {
        let clock = &context.clock;
        let (now, hz) = (clock.jiffies(), u64::from(clock.ticks.hz()));
        self.ack_cnt = self.ack_cnt.saturating_add(acked);
        if self.last_cwnd == window && now.saturating_sub(self.last_time) <= hz / 32 {
            return;
        }
        if self.epoch_start.is_none() || now != self.last_time {
            self.last_cwnd = window;
            self.last_time = now;
            let start = self.begin_epoch(now, window, acked);
            let passed = now.saturating_sub(start) + clock.jiffies_of_us(self.delay_min_us);
            self.cnt = self.count_for((passed << TIME_BITS) / hz, window);
        }
        self.be_friendly(window);
        self.cnt = self.cnt.max(2);
    }

    /// The moment at which this growth began, in ticks.
    fn begin_epoch(&mut self, now: u64, window: u32, acked: u32) -> u64 {
        if let Some(start) = self.epoch_start {
            return start;
        }
        self.epoch_start = Some(now);
        self.ack_cnt = acked;
        self.reno_cwnd = window;
        if self.last_max_cwnd <= window {
            self.k = 0;
            self.origin_point = window;
        } else {
            let below = u64::from(self.last_max_cwnd - window);
            let factor = (1u64 << (10 + 3 * TIME_BITS)) / CUBE_SCALE;
            self.k = cube_root(factor.saturating_mul(below));
            self.origin_point = self.last_max_cwnd;
        }
        now
    }

    /// W(t) = C (t - K)^3 + Wmax, and how many ACKs per segment lead there.
    fn count_for(&self, time: u64, window: u32) -> u32 {
        let offset = u128::from(time.abs_diff(self.k));
        let delta = (u128::from(CUBE_SCALE) * offset * offset * offset) >> (10 + 3 * TIME_BITS);
        let delta = u32::try_from(delta).unwrap_or(u32::MAX);
        let target = if time < self.k {
            self.origin_point.saturating_sub(delta)
        } else {
            self.origin_point.saturating_add(delta)
        };
        let count = if target > window {
            window / (target - window)
        } else {
            window.saturating_mul(100)
        };
        // The bandwidth is not known yet: 5 % in a round trip at least.
        if self.last_max_cwnd == 0 {
            count.min(20)
        } else {
            count
        }
    }

    /// Never slower than Reno would be (RFC 9438 section 4.3).
    fn be_friendly(&mut self, window: u32) {
        let per = u32::try_from((u64::from(window) * RENO_SCALE) >> 3).unwrap_or(u32::MAX);
        if per > 0 && self.ack_cnt > per {
            // As many whole times as leave something.
            let times = (self.ack_cnt - 1) / per;
            self.ack_cnt -= times * per;
            self.reno_cwnd = self.reno_cwnd.saturating_add(times);
        }
        if self.reno_cwnd > window {
            self.cnt = self.cnt.min(window / (self.reno_cwnd - window));
        }
    }

    /// `bictcp_hystart_reset`.
    fn begin_round(&mut self, context: &Context<'_>, flight: &Flight) {
        let now = context.clock.us();
        self.hystart.round_start_us = now;
        self.hystart.last_ack_us = now;
        self.hystart.end_seq = flight.snd_nxt;
        self.hystart.current_rtt_us = u64::MAX;
        self.hystart.samples = 0;
    }

    /// `hystart_update`.
    fn update_hystart(
        &mut self,
        context: &mut Context<'_>,
        window: &mut Congestion,
        flight: &Flight,
        delay_us: u64,
    ) {
        if after(flight.snd_una, self.hystart.end_seq) {
            self.begin_round(context, flight);
        }
        if window.snd_cwnd < HYSTART_LOW_WINDOW {
            return;
        }
        let now = context.clock.us();
        let hystart = &mut self.hystart;
        if now.saturating_sub(hystart.last_ack_us) <= HYSTART_ACK_DELTA_US {
            hystart.last_ack_us = now;
            let threshold = (self.delay_min_us + ack_delay_us(flight)) >> 1;
            if now.saturating_sub(hystart.round_start_us) > threshold {
                found(
                    context,
                    window,
                    TcpExtCounter::TCPHystartTrainDetect,
                    TcpExtCounter::TCPHystartTrainCwnd,
                );
                hystart.found = true;
            }
        }
        hystart.current_rtt_us = hystart.current_rtt_us.min(delay_us);
        if hystart.samples < HYSTART_MIN_SAMPLES {
            hystart.samples += 1;
            return;
        }
        let (least, most) = HYSTART_DELAY_US;
        let rise = (self.delay_min_us >> 3).clamp(least, most);
        if hystart.current_rtt_us > self.delay_min_us + rise {
            found(
                context,
                window,
                TcpExtCounter::TCPHystartDelayDetect,
                TcpExtCounter::TCPHystartDelayCwnd,
            );
            hystart.found = true;
        }
    }
}

/// Slow start ends here.
fn found(
    context: &mut Context<'_>,
    window: &mut Congestion,
    detected: TcpExtCounter,
    at: TcpExtCounter,
) {
    context.counters.tcp_ext.count(detected);
    context.counters.tcp_ext.add(at, u64::from(window.snd_cwnd));
    window.snd_ssthresh = window.snd_cwnd;
}

/// What GRO and batching at the sender may add to the delay (`hystart_ack_delay`), in microseconds.
fn ack_delay_us(flight: &Flight) -> u64 {
    match flight.pacing_rate {
        0 => 0,
        rate => (u64::from(flight.gso_max_size) * 4 * 1_000_000 / rate).min(1000),
    }
}

/// The whole part of the cube root. (The kernel's own is off by up to 0.2 % in favour of speed.)
fn cube_root(value: u64) -> u64 {
    let mut root = 0u64;
    for bit in (0..22).rev() {
        let candidate = root | 1 << bit;
        if u128::from(candidate).pow(3) <= u128::from(value) {
            root = candidate;
        }
    }
    root
}

impl Algorithm for Cubic {
    fn name(&self) -> &'static str {
        "cubic"
    }

    /// `cubictcp_init`.
    fn init(&mut self, context: &mut Context<'_>, flight: &Flight) {
        self.reset();
        self.begin_round(context, flight);
    }

    /// `cubictcp_recalc_ssthresh`, with fast convergence.
    fn ssthresh(&mut self, window: &Congestion) -> u32 {
        self.epoch_start = None;
        let now = u64::from(window.snd_cwnd);
        self.last_max_cwnd = if window.snd_cwnd < self.last_max_cwnd {
            u32::try_from(now * (BETA_SCALE + BETA) / (2 * BETA_SCALE)).unwrap_or(u32::MAX)
        } else {
            window.snd_cwnd
        };
        u32::try_from(now * BETA / BETA_SCALE)
            .unwrap_or(u32::MAX)
            .max(2)
    }

    /// `cubictcp_cong_avoid`.
    fn avoid(&mut self, context: &mut Context<'_>, window: &mut Congestion, acked: u32) {
        if !window.is_limited() {
            return;
        }
        let mut acked = acked;
        if window.in_slow_start() {
            acked = window.slow_start(acked);
            if acked == 0 {
                return;
            }
        }
        self.update(context, window.snd_cwnd, acked);
        window.additive_increase(self.cnt, acked);
    }

    /// `cubictcp_state`.
    fn change_state(&mut self, context: &mut Context<'_>, flight: &Flight, state: CaState) {
        if state == CaState::Loss {
            self.reset();
            self.begin_round(context, flight);
        }
    }

    /// `cubictcp_cwnd_event`: the pause does not count as time in which the window could have grown.
    fn start_sending(&mut self, context: &Context<'_>, flight: &Flight) {
        let now = context.clock.jiffies();
        let idle = now.saturating_sub(flight.lsndtime);
        if let Some(start) = &mut self.epoch_start {
            *start = start.saturating_add(idle).min(now);
        }
    }

    /// `cubictcp_acked`.
    fn acknowledged(
        &mut self,
        context: &mut Context<'_>,
        window: &mut Congestion,
        flight: &Flight,
        rtt_us: Option<u64>,
    ) {
        let Some(rtt_us) = rtt_us else {
            return;
        };
        let hz = u64::from(context.clock.ticks.hz());
        if let Some(start) = self.epoch_start
            && context.clock.jiffies().saturating_sub(start) < hz
        {
            return;
        }
        let delay_us = rtt_us.max(1);
        if self.delay_min_us == 0 || self.delay_min_us > delay_us {
            self.delay_min_us = delay_us;
        }
        if !self.hystart.found && window.in_slow_start() {
            self.update_hystart(context, window, flight, delay_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    fn flight(una: u32, nxt: u32) -> Flight {
        Flight {
            snd_una: SequenceNumber(una),
            snd_nxt: SequenceNumber(nxt),
            pacing_rate: u64::MAX,
            gso_max_size: 65_536,
            lsndtime: 0,
        }
    }

    #[test]
    fn cube_roots_are_whole_parts() {
        for (value, root) in [
            (0, 0),
            (1, 1),
            (7, 1),
            (8, 2),
            (26, 2),
            (27, 3),
            (u64::MAX, 2_642_245),
        ] {
            assert_eq!(cube_root(value), root, "of {value}");
        }
    }

    #[test]
    fn after_a_loss_it_comes_back_to_the_plateau_in_k_seconds() {
        let mut bench = Bench::new();
        let mut cubic = Cubic::default();
        let mut window = Congestion {
            snd_cwnd: 1000,
            is_cwnd_limited: true,
            ..Congestion::default()
        };
        window.snd_ssthresh = cubic.ssthresh(&window);
        window.snd_cwnd = window.snd_ssthresh;
        assert_eq!(window.snd_cwnd, 700);
        // RFC 9438: K = cubic_root(Wmax (1 - beta) / C) = cubic_root(300 / 0.4) = 9.086 s. The round trip is 100 ms.
        let mut reached = None;
        for turn in 1..200u64 {
            bench.advance_ms(100);
            for _ in 0..window.snd_cwnd {
                cubic.avoid(&mut bench.context(), &mut window, 1);
            }
            if window.snd_cwnd >= 995 && reached.is_none() {
                reached = Some(turn);
            }
        }
        // Five segments below it are reached cubic_root(5 / 0.4) = 2.32 s before.
        let reached = reached.unwrap();
        assert!((66..=70).contains(&reached), "{reached} tenths of a second");
        assert!(window.snd_cwnd > 1200, "{}", window.snd_cwnd);
    }

    #[test]
    fn a_second_loss_below_the_plateau_lowers_it() {
        let mut cubic = Cubic::default();
        let mut window = Congestion {
            snd_cwnd: 1000,
            ..Congestion::default()
        };
        cubic.ssthresh(&window);
        window.snd_cwnd = 800;
        assert_eq!(cubic.ssthresh(&window), 560);
        assert_eq!(cubic.last_max_cwnd, 800 * (1024 + 717) / 2048);
    }

    #[test]
    fn a_rising_delay_ends_slow_start_and_is_counted() {
        let mut bench = Bench::new();
        let mut cubic = Cubic::default();
        let mut window = Congestion {
            snd_cwnd: 40,
            ..Congestion::default()
        };
        cubic.init(&mut bench.context(), &flight(0, 1000));
        cubic.acknowledged(
            &mut bench.context(),
            &mut window,
            &flight(10, 1000),
            Some(50_000),
        );
        assert!(window.in_slow_start());
        bench.advance_ms(60);
        // A new round of more than 8 samples, all above 50 ms + 6.25 ms.
        for una in 0..9 {
            assert!(window.in_slow_start());
            bench.advance_ms(3);
            let at = flight(1001 + una, 3000);
            cubic.acknowledged(&mut bench.context(), &mut window, &at, Some(57_000));
        }
        assert_eq!(window.snd_ssthresh, 40);
        let count = |counter| bench.counters.tcp_ext.of(counter);
        assert_eq!(count(TcpExtCounter::TCPHystartDelayDetect), 1);
        assert_eq!(count(TcpExtCounter::TCPHystartDelayCwnd), 40);
    }
}
