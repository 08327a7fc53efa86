//! When to acknowledge: delayed and quick ACKs, pingpong mode, compressed ACKs, challenge ACKs (`icsk_ack`,
//! `tcp_event_data_recv`, `__tcp_ack_snd_check`, `tcp_send_delayed_ack`, `tcp_cleanup_rbuf`, `tcp_send_challenge_ack`).

use std::time::Duration;

use transect_config::SocketState;
use transect_path::Timestamp;

use super::clock::{Clock, Context, Timer};
use super::connection::Connection;
use super::incoming::Incoming;
use super::receive_buffer::{Pushed, Queued};
use crate::counters::TcpExtCounter;
use crate::stack::Stack;

/// `TCP_MAX_QUICKACKS`.
const MAX_QUICK: u32 = 16;
/// `TCP_DELACK_MAX`.
const DELACK_MAX: Duration = Duration::from_millis(200);
/// `TCP_DELACK_MIN`, `TCP_ATO_MIN`.
const DELACK_MIN: Duration = Duration::from_millis(40);
/// `TCP_FASTRETRANS_THRESH`: so many duplicate ACKs go out at once.
const FAST_RETRANSMIT: u8 = 3;

/// The state of acknowledging (`icsk_ack`).
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a bit of icsk_ack.pending"
)]
pub(super) struct AckState {
    /// `ICSK_ACK_SCHED`.
    pub(super) scheduled: bool,
    /// `ICSK_ACK_TIMER`.
    pub(super) delayed: bool,
    /// `ICSK_ACK_PUSHED`.
    pushed: bool,
    /// `ICSK_ACK_PUSHED2`.
    pushed_twice: bool,
    /// `ICSK_ACK_NOW`.
    pub(super) now: bool,
    /// ACKs still to be sent at once (`quick`).
    quick: u32,
    /// The route wants every segment acknowledged at once (`RTAX_QUICKACK`).
    pub(super) always_quick: bool,
    /// Answers sent in a row (`pingpong`): from one on the connection is interactive.
    pingpong: u8,
    /// The delay to use, in ticks; 0: no data has come (`ato`).
    pub(super) ato: u64,
    /// When data came last, in ticks (`lrcvtime`).
    pub(super) received_at: u64,
    timer: Timer,
    /// Duplicate ACKs at this place, sent at once so far (`dup_ack_counter`).
    duplicates: u8,
    /// … and the place (`compressed_ack_rcv_nxt`).
    duplicates_at: transect_packet::SequenceNumber,
    /// ACKs held back (`compressed_ack`).
    compressed: u32,
    /// When one goes out for all of them.
    compressed_until: Option<Timestamp>,
}

impl AckState {
    pub(super) fn new(jiffies: u64) -> Self {
        AckState {
            scheduled: false,
            delayed: false,
            pushed: false,
            pushed_twice: false,
            now: false,
            quick: 0,
            always_quick: false,
            pingpong: 0,
            ato: 0,
            received_at: jiffies,
            timer: Timer::default(),
            duplicates: 0,
            duplicates_at: transect_packet::SequenceNumber(0),
            compressed: 0,
            compressed_until: None,
        }
    }

    /// No ACK is due any more (`inet_csk_clear_xmit_timer(ICSK_TIME_DACK)`).
    pub(super) fn clear(&mut self) {
        self.scheduled = false;
        self.delayed = false;
        self.pushed = false;
        self.pushed_twice = false;
        self.now = false;
        self.compressed = 0;
        self.compressed_until = None;
    }

    /// `inet_csk_in_pingpong_mode`, with `tcp_pingpong_thresh` 1.
    pub(super) fn in_pingpong(&self) -> bool {
        self.pingpong >= 1
    }

    /// `inet_csk_enter_pingpong_mode`.
    pub(super) fn enter_pingpong(&mut self) {
        self.pingpong = 1;
    }

    /// `inet_csk_exit_pingpong_mode`.
    fn exit_pingpong(&mut self) {
        self.pingpong = 0;
    }

    /// `inet_csk_inc_pingpong_cnt`.
    pub(super) fn answered(&mut self) {
        self.pingpong = self.pingpong.saturating_add(1);
    }

    /// `tcp_in_quickack_mode`.
    fn is_quick(&self) -> bool {
        self.always_quick || self.quick > 0 && !self.in_pingpong()
    }

    /// The receive buffer ran short (`quick = 0`).
    pub(super) fn stop_quick(&mut self) {
        self.quick = 0;
    }

    /// The next deadline of delayed and compressed ACKs.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let delayed = self.delayed.then(|| self.timer.fires()).flatten();
        match (delayed, self.compressed_until) {
            (Some(delayed), Some(compressed)) => Some(delayed.min(compressed)),
            (delayed, compressed) => delayed.or(compressed),
        }
    }

    /// An ACK went out, alone or with data (`tcp_event_ack_sent`). Gives the ACKs that it stands for (TCPAckCompressed).
    pub(super) fn sent(&mut self, clock: &Clock) -> u32 {
        let compressed = std::mem::take(&mut self.compressed);
        if self.quick > 0 {
            let packets = u32::from(self.scheduled);
            if packets >= self.quick {
                self.quick = 0;
                self.ato = clock.jiffies_of(DELACK_MIN);
            } else {
                self.quick -= packets;
            }
        }
        self.clear();
        compressed
    }
}

impl Connection {
    /// `tcp_incr_quickack`.
    fn increase_quick(&mut self) {
        let segments = self.receive.rcv_wnd / (2 * self.receive.rcv_mss).max(1);
        let segments = if segments == 0 { 2 } else { segments };
        self.acks.quick = self.acks.quick.max(segments.min(MAX_QUICK));
    }

    /// The next ACKs go out at once (`tcp_enter_quickack_mode`).
    pub(super) fn enter_quick_mode(&mut self, clock: &Clock) {
        self.increase_quick();
        self.acks.exit_pingpong();
        self.acks.ato = clock.jiffies_of(DELACK_MIN);
    }

    /// TCP_QUICKACK (`__tcp_sock_set_quickack`).
    pub(super) fn set_quick_ack(&mut self, stack: &mut Stack, on: bool) {
        if on {
            self.acks.exit_pingpong();
            let connected = matches!(
                self.state,
                SocketState::Established | SocketState::CloseWait
            );
            if connected && self.acks.scheduled {
                self.acks.pushed = true;
                self.clean_up_receive(stack, 1);
            }
        } else {
            self.acks.enter_pingpong();
        }
    }

    /// Data came in order (`tcp_event_data_recv`): the delayed ACK's estimate.
    pub(super) fn data_received(&mut self, clock: &Clock) {
        self.acks.scheduled = true;
        let now = clock.jiffies();
        let minimum = clock.jiffies_of(DELACK_MIN);
        let rto = self.sender.rtt.rto;
        if self.acks.ato == 0 {
            self.increase_quick();
            self.acks.ato = minimum;
        } else {
            let gap = now.saturating_sub(self.acks.received_at);
            if gap <= minimum / 2 {
                self.acks.ato = self.acks.ato / 2 + minimum / 2;
            } else if gap < self.acks.ato {
                self.acks.ato = (self.acks.ato / 2 + gap).min(rto);
            } else if gap > rto {
                self.increase_quick();
            }
        }
        self.acks.received_at = now;
    }

    /// What the receive buffer asks for.
    pub(super) fn note_queued(&mut self, clock: &Clock, queued: &Queued) {
        // tcp_measure_rcv_mss: a short segment, or a full one that says it is the last, ends what the peer wrote.
        self.acks.pushed_twice |= self.acks.pushed && queued.pushed == Pushed::Again;
        self.acks.pushed |= queued.pushed != Pushed::No;
        if queued.received > 0 {
            self.data_received(clock);
        }
        if queued.clear_quick {
            self.acks.quick = 0;
        }
        if queued.one_quick {
            self.acks.quick |= 1;
        }
        self.acks.scheduled |= queued.schedule_ack;
        self.acks.now |= queued.ack_now;
        if queued.quick_ack {
            self.enter_quick_mode(clock);
        }
    }

    /// Behind every segment: acknowledge now, later, or not (`__tcp_ack_snd_check`).
    pub(super) fn check_ack(&mut self, stack: &mut Stack, after_gap: bool) {
        if !self.acks.scheduled {
            return;
        }
        let waiting = self.receive.rcv_nxt.offset_from(self.receive.rcv_wup);
        let two_segments = i64::from(waiting) > i64::from(self.receive.rcv_mss)
            && self.receive.free_window(&Context::of(stack)) >= self.receive.rcv_wnd;
        if self.receive.take_clear_quick() {
            self.acks.stop_quick();
        }
        if two_segments || self.acks.is_quick() || self.acks.now {
            self.send_ack(stack);
        } else if !after_gap || !self.receive.has_gap() {
            self.delay_ack(stack);
        } else {
            self.compress_ack(stack);
        }
    }

    /// Behind a gap, the first ACKs go at once, the others together (`tcp_comp_sack_*`).
    fn compress_ack(&mut self, stack: &mut Stack) {
        let settings = &stack.settings.tcp;
        let (most, longest) = (settings.comp_sack_nr, settings.comp_sack_delay);
        if !self.sender.sack || self.acks.compressed >= most {
            return self.send_ack(stack);
        }
        if self.acks.duplicates_at != self.receive.rcv_nxt {
            self.acks.duplicates_at = self.receive.rcv_nxt;
            self.acks.duplicates = 0;
        }
        if self.acks.duplicates < FAST_RETRANSMIT {
            self.acks.duplicates += 1;
            return self.send_ack(stack);
        }
        self.acks.compressed += 1;
        if self.acks.compressed_until.is_none() {
            // 5 % of the round trip.
            let rtt = Duration::from_micros(self.round_trip_us());
            self.acks.compressed_until = Some(stack.now + (rtt / 20).min(longest));
        }
    }

    /// The shorter of the sender's and the receiver's estimate, in microseconds.
    fn round_trip_us(&self) -> u64 {
        let receiver = self.receive.rcv_rtt_us();
        match u64::from(self.sender.rtt.srtt_us >> 3) {
            0 => receiver,
            sender => sender.min(receiver),
        }
    }

    /// Sets the delayed ACK's timer (`tcp_send_delayed_ack`).
    fn delay_ack(&mut self, stack: &mut Stack) {
        let clock = Self::clock(stack);
        let minimum = clock.jiffies_of(DELACK_MIN);
        let mut ato = self.acks.ato;
        if ato > minimum {
            let interactive = self.acks.in_pingpong() || self.acks.pushed;
            let mut most = if interactive {
                clock.jiffies_of(DELACK_MAX)
            } else {
                u64::from(clock.ticks.hz()) / 2
            };
            let srtt = u64::from(self.sender.rtt.srtt_us >> 3);
            if srtt > 0 {
                most = most.min(clock.jiffies_of_us(srtt).max(minimum));
            }
            ato = ato.min(most);
        }
        let rto_min = clock.jiffies_of(stack.settings.tcp.rto_min);
        ato = ato
            .min(clock.jiffies_of(DELACK_MAX))
            .min(rto_min.max(2) - 1);
        self.set_delayed_ack(stack, ato);
    }

    /// … to a number of ticks from now, unless an earlier one runs.
    fn set_delayed_ack(&mut self, stack: &mut Stack, ato: u64) {
        let clock = Self::clock(stack);
        let now = clock.jiffies();
        let mut timeout = now + ato;
        if self.acks.delayed
            && let Some(old) = self.acks.timer.expires()
        {
            if old <= now + ato / 4 {
                return self.send_ack(stack);
            }
            timeout = timeout.min(old);
        }
        self.acks.scheduled = true;
        self.acks.delayed = true;
        self.acks.timer.set(&clock, timeout);
    }

    /// The handshake's ACK waits for data that is about to be written (`tcp_rcv_synsent_state_process`).
    pub(super) fn postpone_handshake_ack(&mut self, stack: &mut Stack) {
        let clock = Self::clock(stack);
        self.acks.scheduled = true;
        self.enter_quick_mode(&clock);
        self.acks.delayed = true;
        let timeout = clock.jiffies() + clock.jiffies_of(DELACK_MAX);
        self.acks.timer.set(&clock, timeout);
    }

    /// One ACK for all that were held back (`tcp_sack_compress_send_ack`).
    pub(super) fn send_compressed_ack(&mut self, stack: &mut Stack) {
        self.acks.compressed_until = None;
        if self.acks.compressed > 0 {
            // The ACK that goes out now is not one of those that were spared.
            self.acks.compressed -= 1;
            self.send_ack(stack);
        }
    }

    /// Delayed and compressed ACKs that are due (`tcp_delack_timer_handler`, `tcp_compressed_ack_kick`).
    pub(super) fn ack_timers(&mut self, stack: &mut Stack) {
        let clock = Self::clock(stack);
        if self
            .acks
            .compressed_until
            .is_some_and(|until| until <= stack.now)
        {
            self.send_compressed_ack(stack);
        }
        if !self.acks.delayed || !self.acks.timer.take_due(&clock) {
            return;
        }
        self.acks.delayed = false;
        if !self.acks.scheduled {
            return;
        }
        if self.acks.in_pingpong() {
            self.acks.exit_pingpong();
            self.acks.ato = clock.jiffies_of(DELACK_MIN);
        } else {
            self.acks.ato = (self.acks.ato * 2).min(self.sender.rtt.rto);
        }
        self.send_ack(stack);
        self.count(stack, TcpExtCounter::DelayedACKs);
    }

    /// A program read: an ACK, or a window update, may be due (`tcp_cleanup_rbuf`).
    pub(super) fn clean_up_receive(&mut self, stack: &mut Stack, copied: usize) {
        let mut time_to_ack = false;
        if self.acks.scheduled {
            let waiting = self.receive.rcv_nxt.offset_from(self.receive.rcv_wup);
            let drained = self.receive.readable() == 0;
            let pushed = self.acks.pushed_twice || self.acks.pushed && !self.acks.in_pingpong();
            time_to_ack = i64::from(waiting) > i64::from(self.receive.rcv_mss)
                || copied > 0 && pushed && drained;
        }
        if copied > 0 && !time_to_ack && !self.shut_read {
            let now = self.receive.receive_window();
            if u64::from(now) * 2 <= u64::from(self.receive.window_clamp) {
                let new = self.receive.free_window(&Context::of(stack));
                time_to_ack = new > 0 && u64::from(new) >= 2 * u64::from(now);
            }
        }
        if time_to_ack {
            self.send_ack(stack);
        }
    }

    /// A challenge ACK, within the limits (`tcp_send_challenge_ack`; RFC 5961).
    pub(super) fn send_challenge_ack(&mut self, stack: &mut Stack) {
        if self.oow_rate_limited(stack, TcpExtCounter::TCPACKSkippedChallenge) {
            return;
        }
        if !stack.take_challenge() {
            return;
        }
        self.count(stack, TcpExtCounter::TCPChallengeACK);
        self.send_ack(stack);
    }

    /// A duplicate ACK for something out of the window (`tcp_send_dupack`).
    pub(super) fn send_duplicate_ack(&mut self, stack: &mut Stack, segment: &Incoming) {
        if segment.has_sequence() && segment.seq.is_before(self.receive.rcv_nxt) {
            self.count(stack, TcpExtCounter::DelayedACKLost);
            self.enter_quick_mode(&Self::clock(stack));
            if self.sender.sack && stack.settings.tcp.dsack {
                self.receive_known_data(stack, segment);
                let end = if self.receive.rcv_nxt.is_before(segment.end_seq) {
                    self.receive.rcv_nxt
                } else {
                    segment.end_seq
                };
                self.receive
                    .note_duplicate(&mut Context::of(stack), segment.seq, end);
            }
        }
        self.send_ack(stack);
    }
}

impl Stack {
    /// Whether the host may send one more challenge ACK in this second (`tcp_challenge_ack_limit`).
    fn take_challenge(&mut self) -> bool {
        let limit = self.settings.tcp.challenge_ack_limit;
        if limit == i32::MAX.unsigned_abs() {
            return true;
        }
        let second = Connection::seconds(self);
        if self.challenges.0 != second {
            let half = limit.div_ceil(2);
            let most = limit.saturating_add(half).saturating_sub(1).max(half);
            self.challenges = (second, self.random.u32(half..=most));
        }
        let left = self.challenges.1;
        self.challenges.1 = left.saturating_sub(1);
        left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::Ticks;

    #[test]
    fn quick_acks_run_out_and_leave_the_least_delay() {
        let clock = Clock {
            now: Timestamp(1_000_000_000),
            arrived: Timestamp(1_000_000_000),
            ticks: Ticks::new(250, Timestamp(0)),
        };
        let mut acks = AckState::new(0);
        acks.quick = 2;
        acks.ato = 50;
        acks.scheduled = true;
        acks.sent(&clock);
        assert_eq!((acks.quick, acks.ato, acks.scheduled), (1, 50, false));
        // Not scheduled: data carried the ACK for nothing new, none of the quick ones is used up.
        acks.sent(&clock);
        assert_eq!(acks.quick, 1);
        acks.scheduled = true;
        acks.sent(&clock);
        assert_eq!((acks.quick, acks.ato), (0, 10));
    }
}
