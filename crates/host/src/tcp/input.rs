//! A segment for a connection (net/ipv4/tcp_input.c): `tcp_rcv_established`, `tcp_rcv_state_process`, `tcp_data_queue`, `tcp_fin`.

use transect_config::SocketState;
use transect_packet::SackBlock;

use super::clock::Context;
use super::connection::{Connection, TIME_WAIT};
use super::incoming::Incoming;
use super::receive_buffer::Arrived;
use super::sender::{Ack, AckKind};
use crate::counters::TcpExtCounter;
use crate::drop_reason::DropReason;
use crate::stack::Stack;

/// Bytes of a page.
const PAGE: u32 = 4096;

/// What became of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It did its work; freed without a reason being given.
    Consumed,
    /// Its payload is in the receive buffer.
    Queued,
    /// It was dropped.
    Dropped(DropReason),
    /// … and is to be answered with a reset (`tcp_v4_send_reset`).
    Reset(DropReason),
}

/// How an acknowledgement fared (`tcp_ack`'s result).
enum Acked {
    /// Taken in.
    Yes,
    /// An old one: nothing new in it.
    Old,
    /// Refused.
    Refused(DropReason),
}

impl Connection {
    /// Any segment (`tcp_v4_do_rcv` for a connection).
    pub(super) fn receive(
        &mut self,
        stack: &mut Stack,
        segment: &Incoming,
        payload: &[u8],
    ) -> Verdict {
        self.note_arrival(segment);
        self.process(stack, segment, payload)
    }

    /// Counts it for `ss` (`tcp_segs_in`).
    pub(super) fn note_arrival(&mut self, segment: &Incoming) {
        self.segs_in = self.segs_in.wrapping_add(u32::from(segment.segments));
        if segment.length > 0 {
            self.data_segs_in = self.data_segs_in.wrapping_add(u32::from(segment.segments));
        }
    }

    /// … that is counted already: it waited in the backlog.
    pub(super) fn process(
        &mut self,
        stack: &mut Stack,
        segment: &Incoming,
        payload: &[u8],
    ) -> Verdict {
        match self.state {
            SocketState::Established => self.receive_established(stack, segment, payload),
            SocketState::SynSent => self.receive_in_syn_sent(stack, segment, payload),
            SocketState::Unconnected => Verdict::Dropped(DropReason::TcpClose),
            _ => self.receive_in_state(stack, segment, payload),
        }
    }

    /// Everything is as last time, and the segment is next in line (header prediction).
    fn is_predicted(&self, segment: &Incoming) -> bool {
        use transect_packet::TcpFlags;
        let flags = segment.flags.0 & !TcpFlags::PSH;
        let timestamps = match segment.options.timestamps {
            Some(timestamps) => {
                self.timestamps.ok
                    && segment.header_length == 32
                    && timestamps
                        .value
                        .wrapping_sub(self.timestamps.recent)
                        .cast_signed()
                        >= 0
            }
            None => !self.timestamps.ok && segment.header_length == 20,
        };
        self.fast_path
            && flags == TcpFlags::ACK
            // AE of accurate ECN is no bit to be looked over (`TCP_HP_BITS`).
            && segment.reserved & 1 == 0
            && u32::from(segment.window) << self.snd_wscale == self.sender.snd_wnd
            && segment.seq == self.receive.rcv_nxt
            && !self.sender.snd_nxt.is_before(segment.ack)
            && timestamps
            && !self.receive.has_gap()
            && !self.urgent.is_marked()
    }

    /// Whether the next segments may take the fast path (`tcp_fast_path_check`).
    fn check_fast_path(&mut self) {
        self.fast_path = !self.receive.has_gap()
            && self.receive.rcv_wnd > 0
            && self.receive.rmem_alloc < self.receive.rcvbuf;
    }

    /// Memory that is reserved in whole pages and not used yet (`sk_forward_alloc`).
    pub(super) fn forward_alloc(&self) -> u32 {
        let used = self.used_memory();
        used.next_multiple_of(PAGE) - used
    }

    /// What is charged to the socket, both ways.
    fn used_memory(&self) -> u32 {
        self.receive
            .rmem_alloc
            .saturating_add(self.queued_memory())
            .min(u32::MAX - PAGE)
    }

    /// `sk_wmem_queued`.
    pub(super) fn queued_memory(&self) -> u32 {
        let queued = i64::from(self.send_buffer.wmem_queued) + self.sender.queue_cost;
        u32::try_from(queued.max(0)).unwrap_or(u32::MAX)
    }

    /// `tcp_rcv_established`.
    fn receive_established(
        &mut self,
        stack: &mut Stack,
        segment: &Incoming,
        payload: &[u8],
    ) -> Verdict {
        let predicted = self.is_predicted(segment);
        if predicted && segment.length == 0 {
            if self.receive.rcv_nxt == self.receive.rcv_wup {
                self.replace_recent(stack, segment);
            }
            self.acknowledge(stack, segment, false, true);
            self.send_more(stack);
            return Verdict::Consumed;
        }
        if predicted && segment.truesize <= self.forward_alloc() {
            return self.receive_predicted_data(stack, segment, payload);
        }
        if !segment.flags.ack() && !segment.flags.rst() && !segment.flags.syn() {
            return Verdict::Dropped(DropReason::TcpFlags);
        }
        if let Err(reason) = self.validate(stack, segment, true) {
            return reason.map_or(Verdict::Consumed, Verdict::Dropped);
        }
        match self.acknowledge(stack, segment, true, true) {
            Acked::Refused(reason) => return Verdict::Dropped(reason),
            Acked::Yes | Acked::Old => {}
        }
        let verdict = self.queue(stack, segment, payload);
        if self.state != SocketState::Unconnected {
            self.send_more(stack);
            self.check_ack(stack, true);
        }
        verdict
    }

    fn receive_predicted_data(
        &mut self,
        stack: &mut Stack,
        segment: &Incoming,
        payload: &[u8],
    ) -> Verdict {
        if self.receive.rcv_nxt == self.receive.rcv_wup {
            self.replace_recent(stack, segment);
        }
        self.count(stack, TcpExtCounter::TCPHPHits);
        let verdict = self.queue(stack, segment, payload);
        if segment.ack != self.sender.snd_una {
            self.acknowledge(stack, segment, false, true);
            self.send_more(stack);
        } else {
            self.sender.snd_wl1 = segment.seq;
        }
        self.check_ack(stack, false);
        verdict
    }

    /// `tcp_ack`. `challenges`: an acknowledgement that is too old, or of what was never sent, is answered.
    fn acknowledge(
        &mut self,
        stack: &mut Stack,
        segment: &Incoming,
        slow_path: bool,
        challenges: bool,
    ) -> Acked {
        if !segment.flags.ack() {
            return Acked::Old;
        }
        let kind = self.sender.classify(segment.ack);
        match kind {
            AckKind::TooOld => {
                if challenges {
                    self.send_challenge_ack(stack);
                }
                return Acked::Refused(DropReason::TcpTooOldAck);
            }
            AckKind::Unsent => {
                if challenges {
                    self.send_challenge_ack(stack);
                }
                return Acked::Refused(DropReason::TcpAckUnsentData);
            }
            AckKind::Valid => {
                if slow_path {
                    self.replace_recent(stack, segment);
                }
            }
            AckKind::Old => {}
        }
        let scale = if segment.flags.syn() {
            0
        } else {
            self.snd_wscale
        };
        let none: [SackBlock; 0] = [];
        let ack = Ack {
            seq: segment.seq,
            end_seq: segment.end_seq,
            ack: segment.ack,
            window: u32::from(segment.window) << scale,
            sacks: if self.sender.sack {
                segment.options.sacks()
            } else {
                &none
            },
            echo: self.echo(segment),
            ece: self.ecn.ok
                && !segment.flags.syn()
                && segment.flags.0 & transect_packet::TcpFlags::ECE != 0,
            slow_path,
            segments: segment.segments,
            unsent: self.send_buffer.head().is_some(),
            syn_sent: false,
        };
        let window = self.sender.snd_wnd;
        let outcome = self.sender.acknowledge(&mut Context::of(stack), &ack);
        // tcp_ack_update_window: a new window is what the next segments are compared with.
        if self.sender.snd_wnd != window {
            self.check_fast_path();
        }
        if kind == AckKind::Valid {
            self.soft_error = None;
        }
        if outcome.acked > 0 || outcome.freed > 0 {
            let una = self.sender.snd_una;
            self.send_buffer.release(una, outcome.freed);
            self.urgent.acknowledged(una);
            self.stamp_acknowledged(stack);
            let busy = self.sender.queue.packets_out > 0 || self.send_buffer.head().is_some();
            if !busy {
                self.limited
                    .end(stack.tick(), super::limited::Limit::Busy, false);
            }
        }
        if outcome.enter_cwr {
            self.ecn.queue_cwr = self.ecn.ok;
        } else if outcome.withdraw_cwr {
            self.ecn.queue_cwr = false;
        }
        if outcome.max_window_grew {
            let cookie = self.path_mtu.cookie;
            let settings = &stack.settings.tcp;
            self.sync_mss(settings, cookie);
        }
        if outcome.confirms_neighbor
            && let Some(route) = self.route
        {
            stack.confirm_neighbor(route.device, route.next_hop);
        }
        if outcome.probe_window {
            self.check_probe(stack);
        }
        if let Some(end) = outcome.probe_end {
            self.mtu_probe_ended(stack, end);
        }
        self.recover(stack, outcome.rexmit);
        match kind {
            AckKind::Old => Acked::Old,
            _ => Acked::Yes,
        }
    }

    /// The timestamp that the segment echoes, in this host's clock.
    pub(super) fn echo(&self, segment: &Incoming) -> Option<u32> {
        self.timestamps_of(segment)
            .filter(|timestamps| timestamps.echo != 0)
            .map(|timestamps| timestamps.echo.wrapping_sub(self.timestamps.offset))
    }

    /// Payload and FIN (`tcp_data_queue`).
    fn queue(&mut self, stack: &mut Stack, segment: &Incoming, payload: &[u8]) -> Verdict {
        self.receive_urgent(stack, segment, payload);
        if segment.seq == segment.end_seq {
            return Verdict::Consumed;
        }
        self.note_ecn(segment);
        let arrived = Arrived {
            seq: segment.seq,
            payload,
            syn: segment.flags.syn(),
            fin: segment.flags.fin(),
            psh: segment.flags.psh(),
            header_length: u32::try_from(segment.header_length).unwrap_or(u32::MAX),
            truesize: segment.truesize,
            gso_size: segment.gso_size,
            segments: segment.segments,
            shared_until: self.shared_until(stack).filter(|_| !segment.copied),
            written: segment.written,
            echo: self.echo(segment),
        };
        let next = self.receive.rcv_nxt;
        if segment.seq != next && !next.is_before(segment.end_seq) {
            self.receive_known_data(stack, segment);
        }
        let queued = self.receive.queue(&mut Context::of(stack), &arrived);
        if queued.received > 0 || queued.out_of_order {
            self.note_flow_label(segment);
        }
        self.note_queued(&Self::clock(stack), &queued);
        if queued.send_compressed {
            self.send_compressed_ack(stack);
        }
        if queued.fin {
            self.fin(stack);
        }
        if queued.readable {
            self.data_ready(stack);
        }
        match queued.dropped {
            Some(reason) => {
                self.drops = self.drops.saturating_add(u32::from(matches!(
                    reason,
                    DropReason::ProtoMem | DropReason::TcpZerowindow
                )));
                Verdict::Dropped(reason)
            }
            None => {
                if queued.received > 0 && !self.fast_path {
                    self.check_fast_path();
                }
                Verdict::Queued
            }
        }
    }

    /// Congestion marks of data (`tcp_ecn_accept_cwr`, `tcp_data_ecn_check`).
    fn note_ecn(&mut self, segment: &Incoming) {
        if !self.ecn.ok {
            return;
        }
        if segment.flags.0 & transect_packet::TcpFlags::CWR != 0 {
            self.ecn.demand_cwr = false;
            // The sender reacted: it shall learn soon whether that sufficed.
            if segment.length > 0 {
                self.acks.now = true;
            }
        }
        match segment.received.tos & 3 {
            0 => {
                if self.ecn.seen {
                    self.acks.now = true;
                }
            }
            3 => {
                if !self.ecn.demand_cwr {
                    self.acks.now = true;
                    self.ecn.demand_cwr = true;
                }
                self.ecn.seen = true;
            }
            _ => self.ecn.seen = true,
        }
    }

    /// The peer's FIN, in order (`tcp_fin`).
    pub(super) fn fin(&mut self, stack: &mut Stack) {
        self.acks.scheduled = true;
        self.shut_read = true;
        self.fin_received = true;
        match self.state {
            SocketState::SynRecv | SocketState::Established => {
                self.set_state(stack, SocketState::CloseWait);
                self.acks.enter_pingpong();
            }
            SocketState::FinWait1 => {
                self.send_ack(stack);
                self.set_state(stack, SocketState::Closing);
            }
            SocketState::FinWait2 => {
                self.send_ack(stack);
                self.time_wait(stack, SocketState::TimeWait, TIME_WAIT);
            }
            _ => {}
        }
        self.receive.forget_out_of_order();
        self.state_changed(stack);
    }

    /// Every state but SYN-SENT, ESTABLISHED and CLOSE (`tcp_rcv_state_process`).
    fn receive_in_state(
        &mut self,
        stack: &mut Stack,
        segment: &Incoming,
        payload: &[u8],
    ) -> Verdict {
        if self.sender.handshake_pending
            && let Some(verdict) = self.check_fast_open(stack, segment)
        {
            return verdict;
        }
        if !segment.flags.ack() && !segment.flags.rst() && !segment.flags.syn() {
            return Verdict::Dropped(DropReason::TcpFlags);
        }
        if let Err(reason) = self.validate(stack, segment, false) {
            return reason.map_or(Verdict::Consumed, Verdict::Dropped);
        }
        let acked = self.acknowledge(stack, segment, true, false);
        match (acked, self.state) {
            (Acked::Old, SocketState::SynRecv) => {
                return Verdict::Reset(DropReason::TcpOldAck);
            }
            (Acked::Refused(reason), SocketState::SynRecv) => {
                return Verdict::Reset(reason);
            }
            (Acked::Refused(reason), _) => {
                self.send_challenge_ack(stack);
                return Verdict::Dropped(reason);
            }
            _ => {}
        }
        if let Some(verdict) = self.advance(stack, segment) {
            return verdict;
        }
        self.text_in_state(stack, segment, payload)
    }

    /// Step five of RFC 9293 section 3.10.7.4: what the acknowledgement makes of the state. A verdict ends the segment's way.
    fn advance(&mut self, stack: &mut Stack, segment: &Incoming) -> Option<Verdict> {
        let all_acked = self.sender.snd_una == self.send_buffer.write_seq;
        if self.state == SocketState::FinWait1 {
            self.confirm_fast_open(stack);
        }
        match self.state {
            SocketState::SynRecv if self.sender.handshake_pending => {
                self.establish_fast(stack, segment);
            }
            SocketState::SynRecv => self.establish_passive(stack, segment),
            SocketState::FinWait1 if all_acked => return self.fin_acknowledged(stack, segment),
            SocketState::Closing if all_acked => {
                self.time_wait(stack, SocketState::TimeWait, TIME_WAIT);
                return Some(Verdict::Consumed);
            }
            SocketState::LastAck if all_acked => {
                self.save_metrics(stack);
                self.done(stack);
                return Some(Verdict::Consumed);
            }
            _ => {}
        }
        None
    }

    /// Our FIN is acknowledged: FIN_WAIT_2, or what an orphan has of it.
    fn fin_acknowledged(&mut self, stack: &mut Stack, segment: &Incoming) -> Option<Verdict> {
        self.set_state(stack, SocketState::FinWait2);
        self.shut_write = true;
        if !self.orphan {
            self.state_changed(stack);
            return None;
        }
        let new_data =
            segment.has_sequence() && self.receive.rcv_nxt.is_before(segment.end_without_fin());
        if self.options.linger2 < 0 || new_data {
            self.done(stack);
            self.count(stack, TcpExtCounter::TCPAbortOnData);
            return Some(Verdict::Reset(DropReason::TcpAbortOnData));
        }
        let clock = Self::clock(stack);
        let timeout = self.fin_timeout(stack);
        if timeout > TIME_WAIT {
            let ticks = clock.jiffies_of(timeout - TIME_WAIT);
            self.keepalive.set(&clock, clock.jiffies() + ticks);
        } else if segment.flags.fin() {
            let ticks = clock.jiffies_of(timeout);
            self.keepalive.set(&clock, clock.jiffies() + ticks);
        } else {
            self.time_wait(stack, SocketState::FinWait2, timeout);
            return Some(Verdict::Consumed);
        }
        None
    }

    /// Steps six and seven: the text.
    fn text_in_state(&mut self, stack: &mut Stack, segment: &Incoming, payload: &[u8]) -> Verdict {
        let closed_by_peer = matches!(
            self.state,
            SocketState::CloseWait | SocketState::Closing | SocketState::LastAck
        );
        let mut verdict = Verdict::Dropped(DropReason::NotSpecified);
        if !closed_by_peer || segment.seq.is_before(self.receive.rcv_nxt) {
            if self.state != SocketState::Established
                && self.shut_read
                && segment.has_sequence()
                && self.receive.rcv_nxt.is_before(segment.end_without_fin())
            {
                self.count(stack, TcpExtCounter::TCPAbortOnData);
                self.reset(stack);
                return Verdict::Reset(DropReason::TcpAbortOnData);
            }
            verdict = self.queue(stack, segment, payload);
        }
        if self.state != SocketState::Unconnected {
            self.send_more(stack);
            self.check_ack(stack, true);
        }
        if verdict == Verdict::Dropped(DropReason::NotSpecified) && segment.flags.ack() {
            // A bare ACK in these states is freed at the end of the function: no loss.
            return Verdict::Consumed;
        }
        verdict
    }
}
