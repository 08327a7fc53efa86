//! Tail loss probes (RFC 8985 section 7; `tcp_schedule_loss_probe`, `tcp_send_loss_probe`, `tcp_process_tlp_ack`).

use transect_packet::SequenceNumber;

use super::ack::Flags;
use super::clock::Context;
use super::rack::TIMEOUT_MIN_US;
use super::recovery::CaState;
use super::rtt::rto_min_us;
use super::segment::{Segment, after};
use super::sender::{Pending, Sender};
use crate::counters::TcpExtCounter;

impl Sender {
    /// Sets the tail loss probe's timer where one is due (`tcp_schedule_loss_probe`). False: none is. `advancing_rto`: the
    /// retransmission time-out would begin now; otherwise with the oldest segment.
    pub(crate) fn schedule_loss_probe(
        &mut self,
        context: &mut Context<'_>,
        advancing_rto: bool,
    ) -> bool {
        if self.handshake_pending
            || !matches!(context.settings.early_retrans, 3 | 4)
            || self.queue.packets_out == 0
            || !self.sack
            || !matches!(self.recovery.state, CaState::Open | CaState::Cwr)
        {
            return false;
        }
        let clock = &context.clock;
        let mut ticks = if self.rtt.srtt_us == 0 {
            u64::from(clock.ticks.hz())
        } else {
            let held_back = if self.queue.packets_out == 1 {
                u64::from(rto_min_us(context))
            } else {
                TIMEOUT_MIN_US
            };
            clock.jiffies_of_us(u64::from(self.rtt.srtt_us >> 2) + held_back)
        };
        let rto_us = if advancing_rto {
            i64::try_from(clock.us_of_jiffies(self.rtt.rto)).unwrap_or(i64::MAX)
        } else {
            self.rto_left_us(clock)
        };
        // The kernel's variable is unsigned: a time-out that has passed counts as far away.
        if rto_us != 0 {
            let rto_us = u64::from(rto_us as u32);
            ticks = ticks.min(clock.jiffies_of_us(rto_us));
        }
        self.reset_timer(context, Pending::LossProbe, ticks);
        true
    }

    /// The last wire segment in flight, to be sent again as a probe where there is no new data for one (second part of
    /// `tcp_send_loss_probe`; not while [`Sender::tlp_high_seq`] is set). Transmit it, then [`Sender::retransmitted`] and
    /// [`Sender::loss_probe_sent`], or [`Sender::rearm_rto`] where it did not leave.
    pub(crate) fn prepare_loss_probe(&mut self, context: &mut Context<'_>) -> Option<Segment> {
        let mss = self.mss_cache.max(1);
        let Some(last) = self.queue.tail() else {
            self.clear_timer();
            return None;
        };
        let whole = u32::from(last.pcount).saturating_sub(1).saturating_mul(mss);
        if last.pcount > 1 && last.len() > whole {
            let index = self.queue.segments.len().saturating_sub(1);
            self.queue_cost += i64::from(self.queue.split(index, whole, mss));
        }
        let seq = self.queue.tail()?.seq;
        let segment = self.prepare_retransmit(context, seq, 1).ok()?;
        self.probing = Some(seq);
        Some(segment)
    }

    /// A probe went out: new data, or (`again`) a retransmission. Counts TCPLossProbes and sets the time-out from now on.
    pub(crate) fn loss_probe_sent(&mut self, context: &mut Context<'_>, again: bool) {
        self.tlp_retrans = again;
        self.tlp_high_seq = Some(self.snd_nxt);
        context.counters.tcp_ext.count(TcpExtCounter::TCPLossProbes);
        self.clear_timer();
        self.rearm_rto(context);
    }

    /// An acknowledgement came while a probe is out: does it tell of a loss that the probe repaired (`tcp_process_tlp_ack`)?
    pub(super) fn process_probe_ack(
        &mut self,
        context: &mut Context<'_>,
        ack: SequenceNumber,
        flags: Flags,
    ) {
        let Some(high) = self.tlp_high_seq else {
            return;
        };
        if ack.is_before(high) {
            return;
        }
        if !self.tlp_retrans || flags.any(Flags::DSACK_TLP) {
            self.tlp_high_seq = None;
        } else if after(ack, high) {
            self.begin_reduction();
            self.set_state(context, CaState::Cwr);
            self.end_reduction(context);
            self.try_keep_open(context);
            context
                .counters
                .tcp_ext
                .count(TcpExtCounter::TCPLossProbeRecovery);
        } else if !flags.any(Flags::SND_UNA_ADVANCED | Flags::NOT_DUP | Flags::DATA_SACKED) {
            self.tlp_high_seq = None;
        }
    }
}
