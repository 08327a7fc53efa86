//! Undoing a reduction that had no cause: what was believed lost was late (Eifel, RFC 3522, by timestamps; DSACK, RFC 3708;
//! F-RTO, RFC 5682). `tcp_try_undo_recovery` and its like in net/ipv4/tcp_input.c.

use transect_packet::SequenceNumber;

use super::ack::is_before_ms;
use super::clock::Context;
use super::rack::RECOVERIES;
use super::recovery::CaState;
use super::sender::Sender;
use crate::counters::TcpExtCounter;

impl Sender {
    /// From here on a reduction can be undone (`tcp_init_undo`).
    pub(super) fn begin_undo(&mut self) {
        self.recovery.undo_marker = Some(self.snd_una);
        // Retransmissions under way can be reported in vain, the tail loss probe too.
        let probe = u32::from(self.tlp_high_seq.is_some() && self.tlp_retrans);
        self.recovery.undo_retrans = match self.queue.retrans_out.saturating_add(probe) {
            0 => None,
            out => Some(out),
        };
    }

    /// What was acknowledged was sent before the first retransmission (`tcp_packet_delayed`).
    fn is_delayed(&self) -> bool {
        if self.retrans_stamp != 0 {
            return self
                .recovery
                .echo
                .is_some_and(|echo| is_before_ms(echo, self.retrans_stamp));
        }
        // Nothing has been retransmitted, unless the stamp was cleared for another reason.
        let held_open = !self.sack && !self.snd_una.is_before(self.recovery.high_seq);
        !held_open && !self.recovery.syn_sent
    }

    /// `tcp_may_undo`.
    fn may_undo(&self) -> bool {
        self.recovery.undo_marker.is_some()
            && (self.recovery.undo_retrans == Some(0) || self.is_delayed())
    }

    /// `tcp_undo_cwnd_reduction`.
    fn undo(&mut self, context: &Context<'_>, unmark_lost: bool) {
        if unmark_lost {
            self.queue.unmark_lost();
        }
        if self.recovery.prior_ssthresh != 0 {
            let window = self.algorithm.undo(&self.congestion);
            self.congestion.set_window(window);
            if self.recovery.prior_ssthresh > self.congestion.snd_ssthresh {
                self.congestion.snd_ssthresh = self.recovery.prior_ssthresh;
                self.recovery.queue_cwr = false;
                self.recovery.withdraw_cwr = true;
            }
        }
        self.congestion.snd_cwnd_stamp = context.clock.jiffies();
        self.recovery.undo_marker = None;
        self.rack.advanced = true;
    }

    /// Recovery is over; was it needed (`tcp_try_undo_recovery`)? True: without SACK the state stays until more is acknowledged.
    pub(super) fn try_undo_recovery(&mut self, context: &mut Context<'_>) -> bool {
        if self.may_undo() {
            self.undo(context, false);
            let counter = match self.recovery.state {
                CaState::Loss => TcpExtCounter::TCPLossUndo,
                _ => TcpExtCounter::TCPFullUndo,
            };
            context.counters.tcp_ext.count(counter);
        } else {
            self.rack.persist = self.rack.persist.saturating_sub(1);
        }
        if self.prevents_reopening() {
            return true;
        }
        self.set_state(context, CaState::Open);
        self.recovery.is_reneging = false;
        false
    }

    /// Every retransmission was in vain (`tcp_try_undo_dsack`).
    pub(super) fn try_undo_dsack(&mut self, context: &mut Context<'_>) -> bool {
        if self.recovery.undo_marker.is_none() || self.recovery.undo_retrans != Some(0) {
            return false;
        }
        self.rack.persist = self.rack.persist.saturating_add(1).min(RECOVERIES);
        self.undo(context, false);
        context.counters.tcp_ext.count(TcpExtCounter::TCPDSACKUndo);
        true
    }

    /// A hole was filled by what was late (`tcp_try_undo_partial`). True: nothing more is to be done.
    pub(super) fn try_undo_partial(
        &mut self,
        context: &mut Context<'_>,
        prior_una: SequenceNumber,
    ) -> bool {
        if self.recovery.undo_marker.is_none() || !self.is_delayed() {
            return false;
        }
        self.check_sack_reordering(context, prior_una, true);
        if self.queue.retrans_out > 0 {
            return true;
        }
        if !self.queue.any_retransmitted() {
            self.retrans_stamp = 0;
        }
        self.undo(context, true);
        context
            .counters
            .tcp_ext
            .count(TcpExtCounter::TCPPartialUndo);
        self.try_keep_open(context);
        false
    }

    /// The time-out was too early (`tcp_try_undo_loss`); `frto`: F-RTO says so.
    pub(super) fn try_undo_loss(&mut self, context: &mut Context<'_>, frto: bool) -> bool {
        if !frto && !self.may_undo() {
            return false;
        }
        self.undo(context, true);
        context.counters.tcp_ext.count(TcpExtCounter::TCPLossUndo);
        if frto {
            context
                .counters
                .tcp_ext
                .count(TcpExtCounter::TCPSpuriousRTOs);
        }
        self.retransmits = 0;
        if self.prevents_reopening() {
            return true;
        }
        if frto || self.sack {
            self.set_state(context, CaState::Open);
            self.recovery.is_reneging = false;
        }
        true
    }

    /// Without SACK the state is held until something above `high_seq` is acknowledged, lest duplicates of the recovery begin
    /// another (RFC 6582 section 5; `tcp_is_non_sack_preventing_reopen`).
    fn prevents_reopening(&mut self) -> bool {
        let holds = !self.sack && self.snd_una == self.recovery.high_seq;
        if holds && !self.queue.any_retransmitted() {
            self.retrans_stamp = 0;
        }
        holds
    }
}
