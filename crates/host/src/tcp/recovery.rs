//! Loss recovery: the states of congestion avoidance and what leads from one to another (`tcp_fastretrans_alert`,
//! `tcp_enter_recovery`, `tcp_enter_loss` in net/ipv4/tcp_input.c), the proportional rate reduction in between (RFC 6937,
//! `tcp_cwnd_reduction`). Undoing it is in `undo`.

mod reno;

use transect_packet::SequenceNumber;
use transect_path::named_enum;

use super::ack::{Flags, Rexmit, Taking};
use super::clock::Context;
use super::congestion::INFINITE_SSTHRESH;
use super::segment::{Marks, after};
use super::sender::{Pending, ProbeEnd, Sender};
use crate::counters::TcpExtCounter;

named_enum! {
    /// The state of congestion avoidance (`enum tcp_ca_state`), in the kernel's order.
    pub enum CaState {
        /// Nothing unusual.
        Open => "open",
        /// Something was reported out of order.
        Disorder => "disorder",
        /// The window shrinks for ECN, a local queue or a tail loss.
        Cwr => "cwr",
        /// Fast recovery.
        Recovery => "recovery",
        /// After a time-out.
        Loss => "loss",
    }
}

/// Loss recovery's part of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Recovery {
    /// The state (`icsk_ca_state`).
    pub(crate) state: CaState,
    /// `snd_nxt` when the state began: it ends when that is acknowledged.
    pub(crate) high_seq: SequenceNumber,
    /// Where the flight begins whose reduction can be undone (`undo_marker`).
    pub(crate) undo_marker: Option<SequenceNumber>,
    /// Retransmissions that DSACKs have not shown to be in vain (`undo_retrans`); nothing: none to be shown (-1).
    pub(super) undo_retrans: Option<u32>,
    /// The threshold before the reduction (`prior_ssthresh`); 0: it cannot be undone.
    pub(super) prior_ssthresh: u32,
    /// F-RTO (RFC 5682) is trying to tell a spurious time-out (`frto`).
    pub(super) frto: bool,
    /// How far segments may be out of order without being lost, in segments (`reordering`).
    pub(crate) reordering: u32,
    /// How often reordering was seen (`reord_seen`).
    pub(crate) reord_seen: u32,
    /// The peer takes reports back (`is_sack_reneg`).
    pub(super) is_reneging: bool,
    /// Segments delivered and sent since the reduction began (`prr_delivered`, `prr_out`).
    pub(super) prr_delivered: u32,
    pub(super) prr_out: u32,
    /// A reduction began: CWR is due (`tcp_ecn_queue_cwr`). Told with the next outcome.
    pub(super) queue_cwr: bool,
    /// It was undone.
    pub(super) withdraw_cwr: bool,
    /// The timestamp that the acknowledgement at hand echoes, in milliseconds.
    pub(super) echo: Option<u32>,
    /// It came in SYN-SENT.
    pub(super) syn_sent: bool,
}

impl Recovery {
    pub(super) fn new(context: &Context<'_>) -> Self {
        Recovery {
            state: CaState::Open,
            high_seq: SequenceNumber(0),
            undo_marker: None,
            undo_retrans: Some(0),
            prior_ssthresh: 0,
            frto: false,
            reordering: context.settings.reordering,
            reord_seen: 0,
            is_reneging: false,
            prr_delivered: 0,
            prr_out: 0,
            queue_cwr: false,
            withdraw_cwr: false,
            echo: None,
            syn_sent: false,
        }
    }

    /// The window is being reduced (`tcp_in_cwnd_reduction`).
    pub(super) fn in_reduction(&self) -> bool {
        matches!(self.state, CaState::Cwr | CaState::Recovery)
    }
}

impl Sender {
    /// `tcp_set_ca_state`.
    pub(super) fn set_state(&mut self, context: &mut Context<'_>, state: CaState) {
        let flight = self.flight();
        self.algorithm.change_state(context, &flight, state);
        self.recovery.state = state;
    }

    /// Something is unusual: the state machine (`tcp_fastretrans_alert`).
    pub(super) fn alert(
        &mut self,
        context: &mut Context<'_>,
        duplicates: u32,
        taking: &mut Taking,
    ) {
        if self.queue.packets_out == 0 {
            self.queue.sacked_out = 0;
        }
        if taking.flags.any(Flags::ECE) {
            self.recovery.prior_ssthresh = 0;
        }
        if self.check_reneging(context, taking) {
            return;
        }
        if self.recovery.state == CaState::Open {
            self.retrans_stamp = 0;
        } else if !self.snd_una.is_before(self.recovery.high_seq) && self.finish_state(context) {
            return;
        }
        match self.recovery.state {
            CaState::Recovery => {
                if !self.alert_in_recovery(context, duplicates, taking) {
                    return;
                }
            }
            CaState::Loss => {
                self.process_loss(context, duplicates, taking);
                self.identify_loss(context, taking);
                if self.recovery.state != CaState::Open && !taking.flags.any(Flags::LOST_RETRANS) {
                    return;
                }
                if !self.alert_otherwise(context, duplicates, taking) {
                    return;
                }
            }
            _ => {
                if !self.alert_otherwise(context, duplicates, taking) {
                    return;
                }
            }
        }
        taking.rexmit = Rexmit::Lost;
    }

    /// All that was in flight when the state began is acknowledged (part D). True: nothing more is to be done.
    fn finish_state(&mut self, context: &mut Context<'_>) -> bool {
        match self.recovery.state {
            CaState::Cwr if self.snd_una != self.recovery.high_seq => {
                self.end_reduction(context);
                self.set_state(context, CaState::Open);
            }
            CaState::Recovery => {
                if !self.sack {
                    self.queue.sacked_out = 0;
                }
                if self.try_undo_recovery(context) {
                    return true;
                }
                self.end_reduction(context);
            }
            _ => {}
        }
        false
    }

    /// In fast recovery. False: nothing more is to be done.
    fn alert_in_recovery(
        &mut self,
        context: &mut Context<'_>,
        duplicates: u32,
        taking: &mut Taking,
    ) -> bool {
        if !taking.flags.any(Flags::SND_UNA_ADVANCED) {
            if !self.sack {
                self.add_reno_sack(context, duplicates, taking.flags.any(Flags::ECE));
            }
        } else if self.try_undo_partial(context, taking.prior_una) {
            return false;
        }
        if self.try_undo_dsack(context) {
            self.try_to_open(context, taking.flags);
        }
        self.identify_loss(context, taking);
        if self.recovery.state != CaState::Recovery {
            if self.queue.lost_out == 0 {
                return false;
            }
            self.enter_recovery(context, taking.flags.any(Flags::ECE));
        }
        true
    }

    /// In Open, Disorder and CWR, or out of Loss. False: nothing is lost.
    fn alert_otherwise(
        &mut self,
        context: &mut Context<'_>,
        duplicates: u32,
        taking: &mut Taking,
    ) -> bool {
        let ece = taking.flags.any(Flags::ECE);
        if !self.sack {
            if taking.flags.any(Flags::SND_UNA_ADVANCED) {
                self.queue.sacked_out = 0;
            }
            self.add_reno_sack(context, duplicates, ece);
        }
        if self.recovery.state <= CaState::Disorder {
            self.try_undo_dsack(context);
        }
        self.identify_loss(context, taking);
        // tcp_time_to_recover
        if self.queue.lost_out == 0 {
            self.try_to_open(context, taking.flags);
            return false;
        }
        if self.recovery.state < CaState::Cwr
            && let Some(probe) = self.mtu_probe
            && self.snd_una == probe.start
        {
            // Too large for the path: no sign of congestion. Sending it took one from the window.
            self.mtu_probe = None;
            self.congestion
                .set_window(self.congestion.snd_cwnd.saturating_add(1));
            taking.probe_end = Some(ProbeEnd::Lost(probe.size));
            return false;
        }
        self.enter_recovery(context, ece);
        true
    }

    /// `tcp_identify_packet_loss`.
    fn identify_loss(&mut self, context: &mut Context<'_>, taking: &mut Taking) {
        if self.queue.is_empty() {
            return;
        }
        if !self.sack {
            self.mark_head_lost(context, taking.flags.any(Flags::SND_UNA_ADVANCED));
            return;
        }
        let retransmitted = self.queue.retrans_out;
        if self.mark_lost_by_time(context) {
            taking.flags.clear(Flags::SET_XMIT_TIMER);
        }
        if retransmitted > self.queue.retrans_out {
            taking.flags.set(Flags::LOST_RETRANS);
        }
    }

    /// The peer took a report back: the time-out will sort it out, soon (`tcp_check_sack_reneging`).
    fn check_reneging(&mut self, context: &mut Context<'_>, taking: &mut Taking) -> bool {
        let reneging =
            taking.flags.any(Flags::SACK_RENEGING) && taking.flags.any(Flags::SND_UNA_ADVANCED);
        if reneging {
            let clock = &context.clock;
            let delay = clock
                .jiffies_of_us(u64::from(self.rtt.srtt_us >> 4))
                .max(clock.jiffies_of_us(10_000));
            self.reset_timer(context, Pending::Retransmit, delay);
            taking.flags.clear(Flags::SET_XMIT_TIMER);
        }
        reneging
    }

    /// After a time-out (`tcp_process_loss`).
    fn process_loss(&mut self, context: &mut Context<'_>, duplicates: u32, taking: &mut Taking) {
        let recovered = !self.snd_una.is_before(self.recovery.high_seq);
        let advanced = taking.flags.any(Flags::SND_UNA_ADVANCED);
        if advanced && self.try_undo_loss(context, false) {
            return;
        }
        if self.recovery.frto {
            if taking.flags.any(Flags::ORIG_SACK_ACKED) && self.try_undo_loss(context, true) {
                return;
            }
            if after(self.snd_nxt, self.recovery.high_seq) {
                if taking.flags.any(Flags::DATA_SACKED) || duplicates > 0 {
                    self.recovery.frto = false;
                }
            } else if advanced && !recovered {
                self.recovery.high_seq = self.snd_nxt;
                if taking.unsent && after(self.wnd_end(), self.snd_nxt) {
                    taking.rexmit = Rexmit::New;
                    return;
                }
                self.recovery.frto = false;
            }
        }
        if recovered {
            self.try_undo_recovery(context);
            return;
        }
        if !self.sack {
            if after(self.snd_nxt, self.recovery.high_seq) && duplicates > 0 {
                self.add_reno_sack(context, duplicates, taking.flags.any(Flags::ECE));
            } else if advanced {
                self.queue.sacked_out = 0;
            }
        }
        taking.rexmit = Rexmit::Lost;
    }

    /// F-RTO's new data could not be sent (`tcp_xmit_recovery`).
    pub(crate) fn stop_frto(&mut self) {
        self.recovery.frto = false;
    }

    /// Fast recovery begins (`tcp_enter_recovery`).
    pub(super) fn enter_recovery(&mut self, context: &mut Context<'_>, ece: bool) {
        if !self.queue.any_retransmitted() {
            self.retrans_stamp = 0;
        }
        context.counters.tcp_ext.count(if self.sack {
            TcpExtCounter::TCPSackRecovery
        } else {
            TcpExtCounter::TCPRenoRecovery
        });
        self.recovery.prior_ssthresh = 0;
        self.begin_undo();
        if !self.recovery.in_reduction() {
            if !ece {
                self.recovery.prior_ssthresh = self.congestion.current_ssthresh(false);
            }
            self.begin_reduction();
        }
        self.set_state(context, CaState::Recovery);
    }

    /// The window is to shrink, for ECN or a local queue (`tcp_enter_cwr`).
    pub(crate) fn enter_cwr(&mut self, context: &mut Context<'_>) {
        self.recovery.prior_ssthresh = 0;
        if self.recovery.state < CaState::Cwr {
            self.recovery.undo_marker = None;
            self.begin_reduction();
            self.set_state(context, CaState::Cwr);
        }
    }

    /// `tcp_try_to_open`.
    pub(super) fn try_to_open(&mut self, context: &mut Context<'_>, flags: Flags) {
        if !self.queue.any_retransmitted() {
            self.retrans_stamp = 0;
        }
        if flags.any(Flags::ECE) {
            self.enter_cwr(context);
        }
        if self.recovery.state != CaState::Cwr {
            self.try_keep_open(context);
        }
    }

    /// Open, or Disorder where something is amiss (`tcp_try_keep_open`).
    pub(super) fn try_keep_open(&mut self, context: &mut Context<'_>) {
        let state = if self.queue.left_out() > 0 || self.queue.any_retransmitted() {
            CaState::Disorder
        } else {
            CaState::Open
        };
        if self.recovery.state != state {
            self.set_state(context, state);
            self.recovery.high_seq = self.snd_nxt;
        }
    }

    /// The window begins to shrink (`tcp_init_cwnd_reduction`).
    pub(super) fn begin_reduction(&mut self) {
        self.recovery.high_seq = self.snd_nxt;
        self.tlp_high_seq = None;
        self.congestion.snd_cwnd_cnt = 0;
        self.congestion.prior_cwnd = self.congestion.snd_cwnd;
        self.recovery.prr_delivered = 0;
        self.recovery.prr_out = 0;
        self.congestion.snd_ssthresh = self.algorithm.ssthresh(&self.congestion);
        self.recovery.queue_cwr = true;
    }

    /// It shrinks in proportion to what arrives (`tcp_cwnd_reduction`).
    pub(super) fn reduce_window(&mut self, delivered: u32, newly_lost: u32, advanced: bool) {
        let congestion = &mut self.congestion;
        let recovery = &mut self.recovery;
        if delivered == 0 || congestion.prior_cwnd == 0 {
            return;
        }
        let in_flight = self.queue.in_flight();
        recovery.prr_delivered = recovery.prr_delivered.saturating_add(delivered);
        let out = i64::from(recovery.prr_out);
        let room = i64::from(congestion.snd_ssthresh) - i64::from(in_flight);
        let mut send = if room < 0 {
            let share = u64::from(congestion.snd_ssthresh) * u64::from(recovery.prr_delivered);
            i64::try_from(share.div_ceil(u64::from(congestion.prior_cwnd))).unwrap_or(i64::MAX)
                - out
        } else {
            let send = (i64::from(recovery.prr_delivered) - out).max(i64::from(delivered));
            (send + i64::from(advanced && newly_lost == 0)).min(room)
        };
        // One segment must go out when recovery begins.
        send = send.max(i64::from(recovery.prr_out == 0));
        let window = i64::from(in_flight).saturating_add(send).max(1);
        congestion.set_window(u32::try_from(window).unwrap_or(u32::MAX));
    }

    /// The reduction is complete (`tcp_end_cwnd_reduction`).
    pub(super) fn end_reduction(&mut self, context: &Context<'_>) {
        let threshold = self.congestion.snd_ssthresh;
        if threshold < INFINITE_SSTHRESH
            && (self.recovery.state == CaState::Cwr || self.recovery.undo_marker.is_some())
        {
            self.congestion.set_window(threshold);
            self.congestion.snd_cwnd_stamp = context.clock.jiffies();
        }
    }

    /// Moves the window after an acknowledgement (`tcp_cong_control`).
    pub(super) fn control_window(
        &mut self,
        context: &mut Context<'_>,
        delivered: u32,
        newly_lost: u32,
        flags: Flags,
    ) {
        if self.recovery.in_reduction() {
            let advanced = flags.any(Flags::SND_UNA_ADVANCED);
            self.reduce_window(delivered, newly_lost, advanced);
        } else {
            // tcp_may_raise_cwnd
            let grows = if self.recovery.reordering > context.settings.reordering {
                flags.any(Flags::FORWARD_PROGRESS)
            } else {
                flags.any(Flags::DATA_ACKED)
            };
            if grows {
                self.algorithm
                    .avoid(context, &mut self.congestion, delivered);
                self.congestion.snd_cwnd_stamp = context.clock.jiffies();
            }
        }
        self.update_pacing_rate(context);
    }

    /// The retransmission time-out has come: everything is lost unless F-RTO shows otherwise (`tcp_retransmit_timer`: the
    /// failure counters by state, `tcp_enter_loss`, `tcp_update_rto_stats`). The caller has counted TCPTimeouts and checked
    /// `tcp_write_timeout` before. Then retransmit the head, and [`Sender::back_off`].
    pub(crate) fn enter_loss(&mut self, context: &mut Context<'_>) {
        if self.retransmits == 0 {
            self.count_failure(context);
        }
        self.lose(context);
        self.note_timeout();
    }

    /// `tcp_update_rto_stats`.
    pub(super) fn note_timeout(&mut self) {
        self.retransmits = self.retransmits.saturating_add(1);
        self.total_rto = self.total_rto.saturating_add(1);
    }

    /// What the time-out puts an end to.
    fn count_failure(&self, context: &mut Context<'_>) {
        let counter = match (self.recovery.state, self.sack) {
            (CaState::Recovery, true) => TcpExtCounter::TCPSackRecoveryFail,
            (CaState::Recovery, false) => TcpExtCounter::TCPRenoRecoveryFail,
            (CaState::Loss, _) => TcpExtCounter::TCPLossFailures,
            (state, _) if state != CaState::Disorder && self.queue.sacked_out == 0 => return,
            (_, true) => TcpExtCounter::TCPSackFailures,
            (_, false) => TcpExtCounter::TCPRenoFailures,
        };
        context.counters.tcp_ext.count(counter);
    }

    /// `tcp_enter_loss`.
    pub(super) fn lose(&mut self, context: &mut Context<'_>) {
        let new_recovery = self.recovery.state < CaState::Recovery;
        self.mark_lost_by_timeout(context);
        let state = self.recovery.state;
        if state <= CaState::Disorder
            || !after(self.recovery.high_seq, self.snd_una)
            || (state == CaState::Loss && self.retransmits == 0)
        {
            let in_reduction = self.recovery.in_reduction();
            self.recovery.prior_ssthresh = self.congestion.current_ssthresh(in_reduction);
            self.congestion.prior_cwnd = self.congestion.snd_cwnd;
            self.congestion.snd_ssthresh = self.algorithm.ssthresh(&self.congestion);
            self.begin_undo();
        }
        self.congestion
            .set_window(self.queue.in_flight().saturating_add(1));
        self.congestion.snd_cwnd_cnt = 0;
        self.congestion.snd_cwnd_stamp = context.clock.jiffies();
        let reordering = context.settings.reordering;
        if state <= CaState::Disorder && self.queue.sacked_out >= reordering {
            self.recovery.reordering = self.recovery.reordering.min(reordering);
        }
        self.set_state(context, CaState::Loss);
        self.recovery.high_seq = self.snd_nxt;
        self.tlp_high_seq = None;
        self.recovery.queue_cwr = true;
        self.recovery.frto = context.settings.frto != 0
            && (new_recovery || self.retransmits > 0)
            && self.mtu_probe.is_none();
    }

    /// `tcp_timeout_mark_lost`.
    fn mark_lost_by_timeout(&mut self, context: &mut Context<'_>) {
        let reneging = self
            .queue
            .head()
            .is_some_and(|head| head.marks.any(Marks::SACKED));
        if reneging {
            context
                .counters
                .tcp_ext
                .count(TcpExtCounter::TCPSACKReneging);
            self.queue.sacked_out = 0;
            self.recovery.is_reneging = true;
        } else if !self.sack {
            self.queue.sacked_out = 0;
        }
        let now = context.clock.us();
        for index in 0..self.queue.segments.len() {
            let Some(segment) = self.queue.segments.get_mut(index) else {
                break;
            };
            if reneging {
                segment.marks.clear(Marks::SACKED);
            } else if index > 0 && self.rack.time_left(now, segment, 0) > 0 {
                continue;
            }
            self.queue.mark_lost(context.counters, index);
        }
        self.queue.retransmit_hint = None;
    }

    /// The path takes smaller segments only: those that are too large are lost, without anything being congested
    /// (`tcp_simple_retransmit`). True: walk over them.
    pub(crate) fn simple_retransmit(&mut self, context: &mut Context<'_>, mss: u32) -> bool {
        for index in 0..self.queue.segments.len() {
            let Some(segment) = self.queue.segments.get(index) else {
                break;
            };
            if segment.segment_length() > mss {
                self.queue.mark_lost(context.counters, index);
            }
        }
        if self.queue.lost_out == 0 {
            return false;
        }
        if !self.sack {
            self.limit_reno_sacked();
        }
        self.lose_without_congestion(context);
        true
    }

    /// Everything in flight is lost, and not for congestion: the data of a SYN that a peer does not take, or that did not fit the
    /// path.
    pub(crate) fn lose_everything(&mut self, context: &mut Context<'_>) {
        for index in 0..self.queue.segments.len() {
            self.queue.mark_lost(context.counters, index);
        }
        self.lose_without_congestion(context);
    }

    /// `tcp_non_congestion_loss_retransmit`, without the walk.
    fn lose_without_congestion(&mut self, context: &mut Context<'_>) {
        if self.recovery.state != CaState::Loss {
            self.recovery.high_seq = self.snd_nxt;
            let in_reduction = self.recovery.in_reduction();
            self.congestion.snd_ssthresh = self.congestion.current_ssthresh(in_reduction);
            self.recovery.prior_ssthresh = 0;
            self.recovery.undo_marker = None;
            self.set_state(context, CaState::Loss);
        }
    }

    /// The SYN-ACK of a child that fast open made is acknowledged (`tcp_rcv_synrecv_state_fastopen`): a time-out of it may have been
    /// in vain.
    pub(crate) fn confirm_syn_ack(&mut self, context: &mut Context<'_>) {
        if self.recovery.state == CaState::Loss && self.queue.packets_out == 0 {
            self.try_undo_recovery(context);
        }
        self.retransmits = 0;
        // tcp_retrans_stamp_cleanup.
        if !self.queue.any_retransmitted() {
            self.retrans_stamp = 0;
        }
    }
}
