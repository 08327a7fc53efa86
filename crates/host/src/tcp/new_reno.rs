//! NewReno's window (RFC 5681, RFC 6582; net/ipv4/tcp_cong.c): half of it at a loss, one segment more each round trip.

use super::clock::Context;
use super::congestion::{Algorithm, Congestion};

/// The algorithm. It has no state of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewReno;

impl Algorithm for NewReno {
    fn name(&self) -> &'static str {
        "reno"
    }

    /// `tcp_reno_ssthresh`.
    fn ssthresh(&mut self, window: &Congestion) -> u32 {
        (window.snd_cwnd >> 1).max(2)
    }

    /// `tcp_reno_cong_avoid`.
    fn avoid(&mut self, _context: &mut Context<'_>, window: &mut Congestion, acked: u32) {
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
        window.additive_increase(window.snd_cwnd, acked);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn it_doubles_up_to_the_threshold_and_then_grows_by_one_a_round_trip() {
        let mut bench = Bench::new();
        let mut window = Congestion {
            snd_ssthresh: 16,
            is_cwnd_limited: true,
            ..Congestion::default()
        };
        NewReno.avoid(&mut bench.context(), &mut window, 10);
        assert_eq!(window.snd_cwnd, 16);
        for _ in 0..12 {
            NewReno.avoid(&mut bench.context(), &mut window, 1);
        }
        // Four were left over from slow start.
        assert_eq!(window.snd_cwnd, 17);
        assert_eq!(NewReno.ssthresh(&window), 8);
    }

    #[test]
    fn a_window_that_is_no_limit_does_not_grow() {
        let mut bench = Bench::new();
        let mut window = Congestion::default();
        NewReno.avoid(&mut bench.context(), &mut window, 10);
        assert_eq!(window.snd_cwnd, 10);
    }
}
