//! The congestion window (`snd_cwnd` and its like in `struct tcp_sock`), its validation (RFC 7661 in spirit:
//! `tcp_cwnd_validate`, `tcp_cwnd_restart`), and what the algorithms that move it have in common (`struct tcp_congestion_ops`).

use std::fmt;

use transect_packet::SequenceNumber;

use super::clock::Context;
use super::cubic::Cubic;
use super::new_reno::NewReno;
use super::recovery::CaState;

/// The initial window (RFC 6928, `TCP_INIT_CWND`), in segments.
pub(crate) const INITIAL_WINDOW: u32 = 10;
/// A slow-start threshold that is none (`TCP_INFINITE_SSTHRESH`).
pub(crate) const INFINITE_SSTHRESH: u32 = 0x7fff_ffff;

/// The congestion window.
#[derive(Debug, Clone)]
pub(crate) struct Congestion {
    /// The window in segments (`snd_cwnd`).
    pub(crate) snd_cwnd: u32,
    /// What it begins with (`tcp_init_cwnd`): the route's, or ten.
    pub(crate) initial: u32,
    /// The slow-start threshold in segments (`snd_ssthresh`).
    pub(crate) snd_ssthresh: u32,
    /// What the window may never exceed (`snd_cwnd_clamp`).
    pub(crate) snd_cwnd_clamp: u32,
    /// Acknowledged segments that have not made it grow yet (`snd_cwnd_cnt`).
    pub(super) snd_cwnd_cnt: u32,
    /// The most that was used of it lately (`snd_cwnd_used`).
    pub(super) snd_cwnd_used: u32,
    /// When it was changed or used up last, in ticks (`snd_cwnd_stamp`).
    pub(super) snd_cwnd_stamp: u64,
    /// The window before the reduction (`prior_cwnd`).
    pub(super) prior_cwnd: u32,
    /// It was the limit in this round trip (`is_cwnd_limited`).
    pub(super) is_cwnd_limited: bool,
    /// The most in flight in this round trip (`max_packets_out`).
    pub(super) max_packets_out: u32,
    /// Where this round trip ends (`cwnd_usage_seq`).
    pub(super) cwnd_usage_seq: SequenceNumber,
}

impl Default for Congestion {
    fn default() -> Self {
        Congestion {
            snd_cwnd: INITIAL_WINDOW,
            initial: INITIAL_WINDOW,
            snd_ssthresh: INFINITE_SSTHRESH,
            snd_cwnd_clamp: u32::MAX,
            snd_cwnd_cnt: 0,
            snd_cwnd_used: 0,
            snd_cwnd_stamp: 0,
            prior_cwnd: 0,
            is_cwnd_limited: false,
            max_packets_out: 0,
            cwnd_usage_seq: SequenceNumber(0),
        }
    }
}

impl Congestion {
    /// Below the threshold (`tcp_in_slow_start`).
    pub(crate) fn in_slow_start(&self) -> bool {
        self.snd_cwnd < self.snd_ssthresh
    }

    /// Whether the window is the limit, so that it may grow (`tcp_is_cwnd_limited`).
    pub(super) fn is_limited(&self) -> bool {
        self.is_cwnd_limited
            || (self.in_slow_start() && self.snd_cwnd < self.max_packets_out.saturating_mul(2))
    }

    /// Sets the window; it is one at least.
    pub(super) fn set_window(&mut self, segments: u32) {
        self.snd_cwnd = segments.max(1);
    }

    /// What the threshold would be if the window were reduced now (`tcp_current_ssthresh`).
    pub(super) fn current_ssthresh(&self, in_reduction: bool) -> u32 {
        if in_reduction {
            self.snd_ssthresh
        } else {
            self.snd_ssthresh
                .max((self.snd_cwnd >> 1).saturating_add(self.snd_cwnd >> 2))
        }
    }

    /// Slow start (RFC 5681 section 3.1, `tcp_slow_start`): what is left of the acknowledged segments at the threshold.
    pub(super) fn slow_start(&mut self, acked: u32) -> u32 {
        let window = self.snd_cwnd.saturating_add(acked).min(self.snd_ssthresh);
        let left = acked.saturating_sub(window.saturating_sub(self.snd_cwnd));
        self.set_window(window.min(self.snd_cwnd_clamp));
        left
    }

    /// One segment more for every `per` acknowledged ones (`tcp_cong_avoid_ai`).
    pub(super) fn additive_increase(&mut self, per: u32, acked: u32) {
        let per = per.max(1);
        if self.snd_cwnd_cnt >= per {
            self.snd_cwnd_cnt = 0;
            self.set_window(self.snd_cwnd.saturating_add(1));
        }
        self.snd_cwnd_cnt = self.snd_cwnd_cnt.saturating_add(acked);
        if self.snd_cwnd_cnt >= per {
            let more = self.snd_cwnd_cnt / per;
            self.snd_cwnd_cnt -= more * per;
            self.set_window(self.snd_cwnd.saturating_add(more));
        }
        self.set_window(self.snd_cwnd.min(self.snd_cwnd_clamp));
    }

    /// After a round of sending: was the window the limit (`tcp_cwnd_validate`)? `idle_for` (`tcp_cwnd_application_limited`): the
    /// state is Open, the program was not short of buffer, and `tcp_slow_start_after_idle` is on.
    pub(super) fn validate(
        &mut self,
        (snd_una, snd_nxt): (SequenceNumber, SequenceNumber),
        packets_out: u32,
        is_cwnd_limited: bool,
        now: u64,
        application_limited: Option<ApplicationLimited>,
    ) {
        if !snd_una.is_before(self.cwnd_usage_seq)
            || is_cwnd_limited
            || (!self.is_cwnd_limited && packets_out > self.max_packets_out)
        {
            self.is_cwnd_limited = is_cwnd_limited;
            self.max_packets_out = packets_out;
            self.cwnd_usage_seq = snd_nxt;
        }
        if self.is_limited() {
            self.snd_cwnd_used = 0;
            self.snd_cwnd_stamp = now;
            return;
        }
        self.snd_cwnd_used = self.snd_cwnd_used.max(packets_out);
        let Some(limited) = application_limited else {
            return;
        };
        if now.saturating_sub(self.snd_cwnd_stamp) < limited.rto {
            return;
        }
        // tcp_cwnd_application_limited
        if limited.may_shrink {
            let used = self.snd_cwnd_used.max(self.initial);
            if used < self.snd_cwnd {
                self.snd_ssthresh = self.current_ssthresh(false);
                self.set_window((self.snd_cwnd.saturating_add(used)) >> 1);
            }
            self.snd_cwnd_used = 0;
        }
        self.snd_cwnd_stamp = now;
    }

    /// After a pause of `idle` ticks: half the window for every time-out that passed (RFC 2861, `tcp_cwnd_restart`).
    pub(super) fn restart(&mut self, idle: u64, rto: u64, in_reduction: bool, now: u64) {
        self.snd_ssthresh = self.current_ssthresh(in_reduction);
        let least = self.initial.min(self.snd_cwnd);
        let rto = rto.max(1);
        let mut window = self.snd_cwnd;
        let mut left = idle;
        while left > rto && window > least {
            left -= rto;
            window >>= 1;
        }
        self.set_window(window.max(least));
        self.snd_cwnd_stamp = now;
        self.snd_cwnd_used = 0;
    }
}

/// What [`Congestion::validate`] needs where a window that is not used shall shrink.
#[derive(Debug, Clone, Copy)]
pub(super) struct ApplicationLimited {
    /// The time-out in force, in ticks.
    pub(super) rto: u64,
    /// The state is Open and the program had room to write.
    pub(super) may_shrink: bool,
}

/// What an algorithm may know of the connection beside its window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flight {
    /// The first sequence number that is not acknowledged.
    pub(crate) snd_una: SequenceNumber,
    /// The next one to be sent.
    pub(crate) snd_nxt: SequenceNumber,
    /// `sk_pacing_rate`, bytes per second.
    pub(crate) pacing_rate: u64,
    /// `sk_gso_max_size`, bytes.
    pub(crate) gso_max_size: u32,
    /// When data was sent last, in ticks.
    pub(crate) lsndtime: u64,
}

/// An algorithm (`struct tcp_congestion_ops`).
pub(crate) trait Algorithm: fmt::Debug + Send + Sync {
    /// Its name, as `ss -i` and `tcp_congestion_control` have it.
    fn name(&self) -> &'static str;

    /// The connection is established (`init`).
    fn init(&mut self, _context: &mut Context<'_>, _flight: &Flight) {}

    /// The threshold for a reduction that begins now (`ssthresh`).
    fn ssthresh(&mut self, window: &Congestion) -> u32;

    /// Segments were acknowledged and the window may grow (`cong_avoid`).
    fn avoid(&mut self, context: &mut Context<'_>, window: &mut Congestion, acked: u32);

    /// The window that a reduction without cause is to be undone to (`undo_cwnd`).
    fn undo(&self, window: &Congestion) -> u32 {
        window.snd_cwnd.max(window.prior_cwnd)
    }

    /// The state changes (`set_state`).
    fn change_state(&mut self, _context: &mut Context<'_>, _flight: &Flight, _state: CaState) {}

    /// Data goes out with nothing in flight (`CA_EVENT_TX_START`).
    fn start_sending(&mut self, _context: &Context<'_>, _flight: &Flight) {}

    /// An acknowledgement came, with the round trip of its youngest segment in microseconds where it gives one (`pkts_acked`).
    fn acknowledged(
        &mut self,
        _context: &mut Context<'_>,
        _window: &mut Congestion,
        _flight: &Flight,
        _rtt_us: Option<u64>,
    ) {
    }
}

/// The algorithm of this name; nothing where the model has none of it (`tcp_ca_find`).
pub(crate) fn algorithm(name: &str) -> Option<Box<dyn Algorithm>> {
    match name {
        "cubic" => Some(Box::new(Cubic::default())),
        "reno" => Some(Box::new(NewReno)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_halves_the_window_once_for_each_time_out_and_never_below_ten() {
        let mut window = Congestion {
            snd_cwnd: 100,
            ..Congestion::default()
        };
        // 51 ticks RTO, idle for 160: three have passed.
        window.restart(160, 51, false, 1000);
        assert_eq!(window.snd_cwnd, 12);
        assert_eq!(window.snd_ssthresh, INFINITE_SSTHRESH);
        window.restart(10_000, 51, false, 2000);
        assert_eq!(window.snd_cwnd, 10);
    }

    #[test]
    fn a_window_that_is_not_used_shrinks_after_a_time_out() {
        let seq = SequenceNumber;
        let mut window = Congestion {
            snd_cwnd: 80,
            snd_ssthresh: 40,
            ..Congestion::default()
        };
        let limited = Some(ApplicationLimited {
            rto: 51,
            may_shrink: true,
        });
        window.validate((seq(1), seq(2000)), 2, false, 10, limited);
        assert_eq!(window.snd_cwnd, 80);
        window.validate((seq(2000), seq(4000)), 2, false, 61, limited);
        assert_eq!((window.snd_cwnd, window.snd_ssthresh), (45, 60));
    }
}
