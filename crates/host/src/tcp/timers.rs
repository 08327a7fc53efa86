//! Time-outs of a connection (net/ipv4/tcp_timer.c).

use std::time::Duration;

use transect_config::SocketState;

use super::clock::Context;
use super::connection::{Connection, TIME_WAIT};
use super::sender::Pending;
use crate::counters::TcpExtCounter;
use crate::socket::Errno;
use crate::stack::Stack;

/// `TCP_RESOURCE_PROBE_INTERVAL`: after a local queue refused a packet.
const RESOURCE_PROBE: Duration = Duration::from_millis(500);

impl Connection {
    /// Everything that is due (`tcp_write_timer`, `tcp_delack_timer`, `tcp_keepalive_timer`). `orphans`: sockets without a program on
    /// this host.
    pub(super) fn handle_timers(&mut self, stack: &mut Stack, orphans: usize) {
        if self.held_until().is_some() {
            return;
        }
        let clock = Self::clock(stack);
        self.ack_timers(stack);
        if self.sender.timer.pending.is_some() && self.sender.timer.timer.take_due(&clock) {
            self.handle_transmit_timer(stack, orphans);
        }
        if self.state != SocketState::Unconnected && self.keepalive.take_due(&clock) {
            self.handle_keepalive(stack);
        }
    }

    /// `tcp_write_timer_handler`.
    fn handle_transmit_timer(&mut self, stack: &mut Stack, orphans: usize) {
        if self.state == SocketState::Unconnected {
            return;
        }
        match self.sender.timer.pending {
            Some(Pending::Reordering) => {
                if self.sender.reordering_timeout(&mut Context::of(stack)) {
                    self.retransmit_lost(stack);
                }
                if self.sender.timer.pending != Some(Pending::Retransmit) {
                    self.sender.rearm_rto(&mut Context::of(stack));
                }
            }
            Some(Pending::LossProbe) => self.send_loss_probe(stack),
            Some(Pending::Retransmit) => {
                self.sender.timer.pending = None;
                self.retransmission_timeout(stack, orphans);
            }
            Some(Pending::ZeroWindowProbe) => {
                self.sender.timer.pending = None;
                self.probe_timeout(stack, orphans);
            }
            None => {}
        }
    }

    /// Milliseconds that a number of doubled time-outs takes (`tcp_model_timeout`).
    fn model_timeout(&self, stack: &Stack, boundary: u32) -> u64 {
        let settings = &stack.settings.tcp;
        let base = if matches!(self.state, SocketState::SynSent | SocketState::SynRecv) {
            1000
        } else {
            200
        };
        let most = settings.rto_max.as_millis() as u64;
        let linear_from = (most / base).max(1).ilog2();
        if boundary <= linear_from {
            ((2_u64 << boundary) - 1) * base
        } else {
            ((2_u64 << linear_from) - 1) * base + u64::from(boundary - linear_from) * most
        }
    }

    /// Whether retransmissions have gone on for long enough (`retransmits_timed_out`). `timeout`: milliseconds; 0: what so many
    /// retransmissions take.
    fn retransmits_timed_out(&self, stack: &Stack, boundary: u32, timeout: u32) -> bool {
        if self.sender.retransmits == 0 {
            return false;
        }
        let timeout = match timeout {
            0 => self.model_timeout(stack, boundary),
            timeout => u64::from(timeout),
        };
        let passed = Self::clock(stack)
            .ms()
            .wrapping_sub(self.sender.retrans_stamp)
            .cast_signed();
        i64::from(passed) - i64::try_from(timeout).unwrap_or(i64::MAX) >= 0
    }

    /// How often an orphan tries (`tcp_orphan_retries`).
    fn orphan_retries(&self, stack: &Stack, alive: bool) -> u32 {
        let set = match stack.settings.tcp.orphan_retries {
            _ if self.soft_error.is_some() && !alive => 0,
            retries => retries,
        };
        if set == 0 && alive { 8 } else { set }
    }

    /// Too many orphans: this one goes (`tcp_out_of_resources`).
    fn out_of_resources(&mut self, stack: &mut Stack, reset: bool, orphans: usize) -> bool {
        let most = u64::from(stack.settings.tcp.max_orphans);
        let clock = Self::clock(stack);
        let recent = clock.jiffies().saturating_sub(self.sender.lsndtime)
            <= 2 * clock.jiffies_of(stack.settings.tcp.rto_max);
        // Who is unlikely to live on counts more.
        let shift = u32::from(recent) + u32::from(self.soft_error.is_some());
        if (orphans as u64) << shift <= most {
            return false;
        }
        let sent_lately =
            clock.jiffies().saturating_sub(self.sender.lsndtime) <= clock.jiffies_of(TIME_WAIT);
        let closed = self.sender.snd_wnd == 0 && self.sender.queue.packets_out == 0;
        if reset || sent_lately || closed {
            self.send_active_reset(stack);
        }
        self.done(stack);
        self.count(stack, TcpExtCounter::TCPAbortOnMemory);
        true
    }

    /// Whether the connection is given up (`tcp_write_timeout`); if so it is over.
    fn write_timeout(&mut self, stack: &mut Stack, orphans: usize) -> bool {
        let settings = stack.settings.tcp.clone();
        let mut expired = false;
        let retry_until;
        if matches!(self.state, SocketState::SynSent | SocketState::SynRecv) {
            retry_until = self.options.syn_count.unwrap_or(settings.syn_retries);
            let mut most = retry_until;
            if self.state == SocketState::SynSent {
                most = most.saturating_add(settings.syn_linear_timeouts);
            }
            expired = u32::from(self.sender.retransmits) >= most;
        } else {
            if self.retransmits_timed_out(stack, settings.retries1, 0) {
                self.suspect_black_hole(stack);
                self.route = None;
            }
            let mut until = settings.retries2;
            if self.orphan {
                let rto_max = Self::clock(stack).jiffies_of(settings.rto_max);
                let alive = self.sender.rtt.rto < rto_max;
                until = self.orphan_retries(stack, alive);
                let reset = alive || !self.retransmits_timed_out(stack, until, 0);
                if self.out_of_resources(stack, reset, orphans) {
                    return true;
                }
            }
            retry_until = until;
        }
        if !expired {
            expired = self.retransmits_timed_out(stack, retry_until, self.options.user_timeout);
        }
        self.detect_black_hole(stack, expired);
        if expired {
            self.timed_out(stack);
            return true;
        }
        if self.rethink_flow_hash(stack) {
            self.count(stack, TcpExtCounter::TcpTimeoutRehash);
        }
        false
    }

    /// The retransmission time-out (`tcp_retransmit_timer`).
    pub(super) fn retransmission_timeout(&mut self, stack: &mut Stack, orphans: usize) {
        if self.sender.handshake_pending {
            return self.fast_open_timeout(stack);
        }
        if self.sender.queue.packets_out == 0 {
            return;
        }
        let shrunk = self.sender.snd_wnd == 0
            && !self.orphan
            && !matches!(self.state, SocketState::SynSent | SocketState::SynRecv);
        if shrunk {
            // The peer took its window back: what is sent again serves as a probe, and answers keep the connection alive.
            if self.window_probe_timed_out(stack) {
                return self.timed_out(stack);
            }
            self.sender.enter_loss(&mut Context::of(stack));
            let _ = self.retransmit(stack, self.sender.snd_una, 1);
            self.route = None;
            return self.back_off(stack);
        }
        self.count(stack, TcpExtCounter::TCPTimeouts);
        if self.write_timeout(stack, orphans) {
            return;
        }
        self.sender.enter_loss(&mut Context::of(stack));
        if self.retransmit(stack, self.sender.snd_una, 1) == Err(Errno::Enobufs) {
            // The local queue is full: soon again, without backing off.
            let context = Context::of(stack);
            let ticks = context.clock.jiffies_of(RESOURCE_PROBE);
            return self
                .sender
                .reset_timer(&context, Pending::Retransmit, ticks);
        }
        self.back_off(stack);
    }

    /// The next time-out is longer (`out_reset_timer`).
    fn back_off(&mut self, stack: &mut Stack) {
        let left = self.user_timeout_left(stack, self.sender.retrans_stamp);
        let state = self.state;
        self.sender.back_off(&mut Context::of(stack), state, left);
        if self.retransmits_timed_out(stack, stack.settings.tcp.retries1 + 1, 0) {
            self.route = None;
        }
    }

    /// Ticks until TCP_USER_TIMEOUT, at least one (`tcp_clamp_rto_to_user_timeout`); nothing where there is none.
    fn user_timeout_left(&self, stack: &Stack, since_ms: u32) -> Option<u64> {
        let timeout = self.options.user_timeout;
        if timeout == 0 || since_ms == 0 {
            return None;
        }
        let clock = Self::clock(stack);
        let passed = clock.ms().wrapping_sub(since_ms);
        let left = Duration::from_millis(u64::from(timeout.saturating_sub(passed)));
        Some(clock.jiffies_of(left).max(1))
    }

    /// `tcp_rtx_probe0_timed_out`: nothing was heard for too long.
    fn window_probe_timed_out(&self, stack: &Stack) -> bool {
        let clock = Self::clock(stack);
        let silent = clock.jiffies().saturating_sub(self.sender.rcv_stamp);
        let user = u64::from(self.options.user_timeout);
        let timeout = if user == 0 {
            clock.jiffies_of(stack.settings.tcp.rto_max) * 2
        } else {
            clock.jiffies_of(Duration::from_millis(user))
        };
        silent > timeout
    }

    /// The next window probe is due (`tcp_probe_timer`).
    fn probe_timeout(&mut self, stack: &mut Stack, orphans: usize) {
        if self.sender.queue.packets_out > 0 || self.send_buffer.head().is_none() {
            self.sender.probes_out = 0;
            self.sender.probes_stamp = 0;
            return;
        }
        let clock = Self::clock(stack);
        let user = Duration::from_millis(u64::from(self.options.user_timeout));
        if self.sender.probes_stamp == 0 {
            self.sender.probes_stamp = clock.jiffies().max(1);
        } else if !user.is_zero()
            && clock.jiffies().saturating_sub(self.sender.probes_stamp) >= clock.jiffies_of(user)
        {
            return self.timed_out(stack);
        }
        let mut most = stack.settings.tcp.retries2;
        if self.orphan {
            let rto_max = clock.jiffies_of(stack.settings.tcp.rto_max);
            let backed_off = self
                .sender
                .rtt
                .rto
                .checked_shl(u32::from(self.sender.backoff))
                .unwrap_or(u64::MAX);
            let alive = backed_off < rto_max;
            most = self.orphan_retries(stack, alive);
            if !alive && u32::from(self.sender.backoff) >= most {
                return self.timed_out(stack);
            }
            if self.out_of_resources(stack, true, orphans) {
                return;
            }
        }
        if u32::from(self.sender.probes_out) >= most {
            self.timed_out(stack);
        } else {
            self.send_window_probe(stack);
        }
    }

    /// `tcp_send_probe0`.
    fn send_window_probe(&mut self, stack: &mut Stack) {
        let result = self.write_wakeup(stack, TcpExtCounter::TCPWinProbe);
        if self.sender.queue.packets_out > 0 || self.send_buffer.head().is_none() {
            self.sender.probes_out = 0;
            self.sender.backoff = 0;
            self.sender.probes_stamp = 0;
            return;
        }
        self.sender.probes_out = self.sender.probes_out.saturating_add(1);
        let ticks = if result == Err(Errno::Enobufs) {
            let ticks = Self::clock(stack).jiffies_of(RESOURCE_PROBE);
            self.within_user_timeout(stack, ticks)
        } else {
            if u32::from(self.sender.backoff) < stack.settings.tcp.retries2 {
                self.sender.backoff = self.sender.backoff.saturating_add(1);
            }
            self.probe_interval(stack)
        };
        self.sender
            .reset_timer(&Context::of(stack), Pending::ZeroWindowProbe, ticks);
    }

    /// Ticks to the next window probe (`tcp_probe0_when`).
    fn probe_interval(&self, stack: &Stack) -> u64 {
        let clock = Self::clock(stack);
        let settings = &stack.settings.tcp;
        let rto_min = clock.jiffies_of(settings.rto_min);
        let rto_max = clock.jiffies_of(settings.rto_max);
        let most_doublings = (rto_max / rto_min.max(1)).max(1).ilog2() + 1;
        let doublings = u32::from(self.sender.backoff).min(most_doublings);
        let base = self.sender.rtt.rto.max(rto_min);
        let interval = base.checked_shl(doublings).unwrap_or(u64::MAX).min(rto_max);
        self.within_user_timeout(stack, interval)
    }

    /// No later than TCP_USER_TIMEOUT ends, counted from the first probe (`tcp_clamp_probe0_to_user_timeout`).
    fn within_user_timeout(&self, stack: &Stack, interval: u64) -> u64 {
        let clock = Self::clock(stack);
        let user = u64::from(self.options.user_timeout);
        if user == 0 || self.sender.probes_stamp == 0 {
            return interval;
        }
        let passed = clock.jiffies().saturating_sub(self.sender.probes_stamp);
        let left = clock
            .jiffies_of(Duration::from_millis(user))
            .saturating_sub(passed);
        interval.min(left.max(2))
    }

    /// An acknowledgement came with nothing in flight: the window may be open now (`tcp_ack_probe`).
    pub(super) fn check_probe(&mut self, stack: &mut Stack) {
        let Some(head) = self.send_buffer.head() else {
            return;
        };
        if !self.sender.wnd_end().is_before(head.end_seq) {
            self.sender.backoff = 0;
            self.sender.probes_stamp = 0;
            self.sender.clear_timer();
        } else {
            let ticks = self.probe_interval(stack);
            self.sender
                .reset_timer(&Context::of(stack), Pending::ZeroWindowProbe, ticks);
        }
    }

    /// Keepalive begins to run (`tcp_reset_keepalive_timer(keepalive_time_when)`).
    pub(super) fn start_keepalive(&mut self, stack: &Stack) {
        let time = self.options.keepalive_time(&stack.settings.tcp);
        self.set_keepalive(stack, Self::clock(stack).jiffies_of(time));
    }

    fn set_keepalive(&mut self, stack: &Stack, ticks: u64) {
        let clock = Self::clock(stack);
        self.keepalive
            .set(&clock, clock.jiffies().saturating_add(ticks));
    }

    /// The program switches keepalive on or off (`tcp_set_keepalive`).
    pub(super) fn switch_keepalive(&mut self, stack: &Stack, on: bool) {
        if matches!(self.state, SocketState::Unconnected | SocketState::Listen) {
            return;
        }
        if on && self.keepalive.fires().is_none() {
            self.start_keepalive(stack);
        } else if !on {
            self.keepalive.cancel();
        }
    }

    /// `tcp_keepalive_timer`.
    fn handle_keepalive(&mut self, stack: &mut Stack) {
        let settings = stack.settings.tcp.clone();
        if self.state == SocketState::FinWait2 && self.orphan {
            let timeout = self.options.fin_time(&settings);
            if self.options.linger2 >= 0 && timeout > TIME_WAIT {
                return self.time_wait(stack, SocketState::FinWait2, timeout - TIME_WAIT);
            }
            self.send_active_reset(stack);
            return self.done(stack);
        }
        if !self.options.keep_alive || self.state == SocketState::SynSent {
            return;
        }
        let clock = Self::clock(stack);
        let time = clock.jiffies_of(self.options.keepalive_time(&settings));
        if self.sender.queue.packets_out > 0 || self.send_buffer.head().is_some() {
            return self.set_keepalive(stack, time);
        }
        let now = clock.jiffies();
        let silent = now
            .saturating_sub(self.acks.received_at)
            .min(now.saturating_sub(self.sender.rcv_stamp));
        if silent < time {
            return self.set_keepalive(stack, time - silent);
        }
        let user = u64::from(self.options.user_timeout);
        let gone = if user == 0 {
            u32::from(self.sender.probes_out) >= self.options.keepalive_probes(&settings)
        } else {
            silent >= clock.jiffies_of(Duration::from_millis(user)) && self.sender.probes_out > 0
        };
        if gone {
            self.send_active_reset(stack);
            return self.timed_out(stack);
        }
        let next = if self.write_wakeup(stack, TcpExtCounter::TCPKeepAlive) == Err(Errno::Enobufs) {
            RESOURCE_PROBE
        } else {
            self.sender.probes_out = self.sender.probes_out.saturating_add(1);
            self.options.keepalive_interval(&settings)
        };
        self.set_keepalive(stack, clock.jiffies_of(next));
    }
}
