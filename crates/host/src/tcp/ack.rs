//! What an acknowledgement does to the output half of a connection (`tcp_ack` and `tcp_clean_rtx_queue` in
//! net/ipv4/tcp_input.c).

mod clean;

use transect_packet::{SackBlock, SequenceNumber};

use super::clock::Context;
use super::rate::RateSample;
use super::recovery::CaState;
use super::segment::{after, distance};
use super::sender::{ProbeEnd, Sender};
use crate::counters::TcpExtCounter;

pub(super) use clean::is_before_ms;

/// Where an acknowledgement number lies (the first checks of `tcp_ack`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckKind {
    /// Within `snd_una ..= snd_nxt`.
    Valid,
    /// Older than what is acknowledged already: only its SACKs are looked at.
    Old,
    /// Older than any window that there was (RFC 5961 section 5): a challenge ACK, drop reason TCP_TOO_OLD_ACK.
    TooOld,
    /// For what was never sent: drop reason TCP_ACK_UNSENT_DATA.
    Unsent,
}

/// An acknowledgement as it came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack<'a> {
    /// The segment's sequence number.
    pub(crate) seq: SequenceNumber,
    /// Behind its last one.
    pub(crate) end_seq: SequenceNumber,
    /// The acknowledgement number.
    pub(crate) ack: SequenceNumber,
    /// The window, scaled.
    pub(crate) window: u32,
    /// Its SACK blocks (only where SACK was agreed on).
    pub(crate) sacks: &'a [SackBlock],
    /// The timestamp that it echoes, without the connection's offset, in milliseconds (`rcv_tsecr`); nothing where it carries
    /// none or it is 0.
    pub(crate) echo: Option<u32>,
    /// ECE is set on a connection that does ECN, and the segment carries no SYN (`tcp_ecn_rcv_ecn_echo`).
    pub(crate) ece: bool,
    /// It did not take the fast path (`FLAG_SLOWPATH`).
    pub(crate) slow_path: bool,
    /// How many segments GRO or the backlog made one of (`gso_segs`), at least 1.
    pub(crate) segments: u16,
    /// Something waits in the write queue.
    pub(crate) unsent: bool,
    /// The connection is in SYN-SENT.
    pub(crate) syn_sent: bool,
}

/// What there is to send after an acknowledgement (`REXMIT_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Rexmit {
    /// What the windows allow, as after every segment.
    #[default]
    None,
    /// Lost segments: the retransmission walk.
    Lost,
    /// New data first (F-RTO, RFC 5682); if none could be sent (`snd_nxt` is not behind `high_seq`), then
    /// [`Sender::stop_frto`] and the walk.
    New,
}

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AckOutcome {
    /// Sequence numbers that are acknowledged now and were not before.
    pub(crate) acked: u32,
    /// The SYN is among them (`FLAG_SYN_ACKED`).
    pub(crate) syn_acked: bool,
    /// Data is among them (`FLAG_DATA_ACKED`).
    pub(crate) data_acked: bool,
    /// The send window changed or moved (`FLAG_WIN_UPDATE`).
    pub(crate) window_updated: bool,
    /// The largest window ever seen grew: `tcp_sync_mss`.
    pub(crate) max_window_grew: bool,
    /// What to send now (`tcp_xmit_recovery`).
    pub(crate) rexmit: Rexmit,
    /// Bytes of the send buffer (with overhead) that are free again.
    pub(crate) freed: u32,
    /// The segment acknowledges progress, or brings something new: the neighbour is confirmed (`sk_dst_confirm`).
    pub(crate) confirms_neighbor: bool,
    /// Nothing was in flight: the window probes' timer is looked at anew (`tcp_ack_probe`).
    pub(crate) probe_window: bool,
    /// The congestion window is reduced from now on: CWR goes out with the next new data (`tcp_ecn_queue_cwr`).
    pub(crate) enter_cwr: bool,
    /// That reduction was undone (`tcp_ecn_withdraw_cwr`).
    pub(crate) withdraw_cwr: bool,
    /// A path MTU probe ended.
    pub(crate) probe_end: Option<ProbeEnd>,
}

/// What an acknowledgement brought (`FLAG_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flags(u32);

impl Flags {
    /// It carried data itself.
    pub(super) const DATA: u32 = 0x01;
    /// The window changed.
    pub(super) const WIN_UPDATE: u32 = 0x02;
    /// Data was acknowledged.
    pub(super) const DATA_ACKED: u32 = 0x04;
    /// Retransmitted data was.
    pub(super) const RETRANS_DATA_ACKED: u32 = 0x08;
    /// The SYN was.
    pub(super) const SYN_ACKED: u32 = 0x10;
    /// Something was reported for the first time.
    pub(super) const DATA_SACKED: u32 = 0x20;
    /// ECE.
    pub(super) const ECE: u32 = 0x40;
    /// A retransmission is lost.
    pub(super) const LOST_RETRANS: u32 = 0x80;
    /// `snd_una` moved.
    pub(super) const SND_UNA_ADVANCED: u32 = 0x400;
    /// A DSACK came.
    pub(super) const DSACKING_ACK: u32 = 0x800;
    /// The timer is to be set anew.
    pub(super) const SET_XMIT_TIMER: u32 = 0x1000;
    /// The head had been reported before: the peer takes reports back.
    pub(super) const SACK_RENEGING: u32 = 0x2000;
    /// What was never retransmitted arrived.
    pub(super) const ORIG_SACK_ACKED: u32 = 0x4000;
    /// The DSACK is for the tail loss probe.
    pub(super) const DSACK_TLP: u32 = 0x8000;
    /// The acknowledgement was probably held back.
    pub(super) const ACK_MAYBE_DELAYED: u32 = 0x1_0000;

    /// Something was acknowledged.
    pub(super) const ACKED: u32 = Self::DATA_ACKED | Self::SYN_ACKED;
    /// It is no duplicate.
    pub(super) const NOT_DUP: u32 = Self::DATA | Self::WIN_UPDATE | Self::ACKED;
    /// Congestion avoidance must look at it.
    pub(super) const CA_ALERT: u32 = Self::DATA_SACKED | Self::ECE | Self::DSACKING_ACK;
    /// Something arrived.
    pub(super) const FORWARD_PROGRESS: u32 = Self::ACKED | Self::DATA_SACKED;

    pub(super) const fn any(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    pub(super) const fn set(&mut self, bits: u32) {
        self.0 |= bits;
    }

    pub(super) const fn clear(&mut self, bits: u32) {
        self.0 &= !bits;
    }
}

/// What is gathered while an acknowledgement is taken in (`struct tcp_sacktag_state` and `tcp_ack`'s own variables).
#[derive(Debug, Clone, Copy)]
pub(super) struct Taking {
    pub(super) flags: Flags,
    /// The lowest number that was reported out of order.
    pub(super) reord: SequenceNumber,
    /// When the first and the last of the segments were sent that were reported now, in microseconds; 0: none.
    pub(super) first_sacked_us: u64,
    pub(super) last_sacked_us: u64,
    /// Segments that reports tell to have arrived.
    pub(super) sack_delivered: u32,
    pub(super) rate: RateSample,
    pub(super) prior_una: SequenceNumber,
    pub(super) echo: Option<u32>,
    pub(super) unsent: bool,
    pub(super) rexmit: Rexmit,
    pub(super) probe_end: Option<ProbeEnd>,
    /// Cost of the segments that went.
    freed: u32,
}

impl Sender {
    /// Where an acknowledgement number lies; to be asked first.
    pub(crate) fn classify(&self, ack: SequenceNumber) -> AckKind {
        if after(ack, self.snd_nxt) {
            return AckKind::Unsent;
        }
        if !ack.is_before(self.snd_una) {
            return AckKind::Valid;
        }
        let acked = u32::try_from(self.bytes_acked).unwrap_or(u32::MAX);
        if ack.is_before(self.snd_una - self.max_window.min(acked)) {
            AckKind::TooOld
        } else {
            AckKind::Old
        }
    }

    /// Takes in an acknowledgement (`tcp_ack` behind its first checks), of kind [`AckKind::Valid`] or [`AckKind::Old`]. Counts
    /// TCPHPAcks, TCPPureAcks and everything of loss recovery.
    pub(crate) fn acknowledge(&mut self, context: &mut Context<'_>, ack: &Ack<'_>) -> AckOutcome {
        let mut taking = Taking {
            flags: Flags::default(),
            reord: self.snd_nxt,
            first_sacked_us: 0,
            last_sacked_us: 0,
            sack_delivered: 0,
            rate: RateSample::default(),
            prior_una: self.snd_una,
            echo: ack.echo,
            unsent: ack.unsent,
            rexmit: Rexmit::None,
            probe_end: None,
            freed: 0,
        };
        self.recovery.echo = ack.echo;
        self.recovery.syn_sent = ack.syn_sent;
        self.recovery.withdraw_cwr = false;
        self.recovery.queue_cwr = false;
        let mut outcome = AckOutcome::default();
        if ack.ack.is_before(self.snd_una) {
            self.take_old(context, ack, &mut taking);
        } else {
            self.take(context, ack, &mut taking, &mut outcome);
        }
        outcome.acked = distance(taking.prior_una, self.snd_una);
        outcome.syn_acked = taking.flags.any(Flags::SYN_ACKED);
        outcome.data_acked = taking.flags.any(Flags::DATA_ACKED);
        outcome.window_updated = taking.flags.any(Flags::WIN_UPDATE);
        outcome.rexmit = taking.rexmit;
        outcome.probe_end = taking.probe_end;
        let freed = i64::from(taking.freed) - self.queue_cost;
        outcome.freed = u32::try_from(freed.max(0)).unwrap_or(u32::MAX);
        self.queue_cost = freed.min(0).saturating_neg();
        outcome.enter_cwr = self.recovery.queue_cwr;
        outcome.withdraw_cwr = self.recovery.withdraw_cwr;
        outcome
    }

    /// An old one: only its reports (`old_ack`).
    fn take_old(&mut self, context: &mut Context<'_>, ack: &Ack<'_>, taking: &mut Taking) {
        if ack.sacks.is_empty() {
            return;
        }
        let delivered = self.delivered;
        self.take_sacks(context, ack, taking);
        self.alert(context, 0, taking);
        self.count_delivered(context, delivered, taking.flags);
    }

    fn take(
        &mut self,
        context: &mut Context<'_>,
        ack: &Ack<'_>,
        taking: &mut Taking,
        outcome: &mut AckOutcome,
    ) {
        let prior_packets = self.queue.packets_out;
        let (delivered, lost) = (self.delivered, self.queue.lost);
        let reneging = self.recovery.is_reneging;
        if after(ack.ack, self.snd_una) {
            taking.flags.set(Flags::SND_UNA_ADVANCED);
            self.retransmits = 0;
        }
        let prior_fack = if self.sack {
            self.queue.highest_sack_seq(self.snd_una)
        } else {
            self.snd_una
        };
        if !ack.slow_path && taking.flags.any(Flags::SND_UNA_ADVANCED) {
            self.snd_wl1 = ack.seq;
            self.advance_una(ack.ack);
            taking.flags.set(Flags::WIN_UPDATE);
            context.counters.tcp_ext.count(TcpExtCounter::TCPHPAcks);
        } else {
            self.take_slowly(context, ack, taking, outcome);
        }
        self.probes_out = 0;
        self.rcv_stamp = context.clock.jiffies();
        if prior_packets == 0 {
            self.take_without_queue(context, ack, taking, delivered);
            outcome.probe_window = true;
            return;
        }
        self.clean_queue(context, prior_fack, taking);
        self.update_reordering_window(context, taking.rate.prior_delivered);
        self.process_probe_ack(context, ack.ack, taking.flags);
        if self.is_dubious(taking.flags) {
            let duplicates = duplicates(taking.flags, ack.segments);
            self.alert(context, duplicates, taking);
        }
        if taking.flags.any(Flags::SET_XMIT_TIMER) && !self.schedule_loss_probe(context, true) {
            self.rearm_rto(context);
        }
        outcome.confirms_neighbor =
            taking.flags.any(Flags::FORWARD_PROGRESS) || !taking.flags.any(Flags::NOT_DUP);
        let newly = self.count_delivered(context, delivered, taking.flags);
        let newly_lost = self.queue.lost.wrapping_sub(lost);
        self.delivery.generate(
            &context.clock,
            &taking.rate,
            newly,
            self.delivered,
            self.rtt.min_us(),
            reneging,
        );
        self.control_window(context, newly, newly_lost, taking.flags);
    }

    /// The slow path's part: window, reports, ECE.
    fn take_slowly(
        &mut self,
        context: &mut Context<'_>,
        ack: &Ack<'_>,
        taking: &mut Taking,
        outcome: &mut AckOutcome,
    ) {
        if ack.seq == ack.end_seq {
            context.counters.tcp_ext.count(TcpExtCounter::TCPPureAcks);
        } else {
            taking.flags.set(Flags::DATA);
        }
        if self.update_window(context, ack, outcome) {
            taking.flags.set(Flags::WIN_UPDATE);
        }
        if !ack.sacks.is_empty() {
            self.take_sacks(context, ack, taking);
        }
        if ack.ece {
            taking.flags.set(Flags::ECE);
        }
        self.deliver(taking.sack_delivered, ack.ece);
    }

    /// Nothing was in flight (`no_queue`).
    fn take_without_queue(
        &mut self,
        context: &mut Context<'_>,
        ack: &Ack<'_>,
        taking: &mut Taking,
        delivered: u32,
    ) {
        if taking.flags.any(Flags::DSACKING_ACK) {
            self.alert(context, 0, taking);
            self.count_delivered(context, delivered, taking.flags);
        }
        self.process_probe_ack(context, ack.ack, taking.flags);
    }

    /// The window that the segment tells (`tcp_ack_update_window`). True: it is newer than what is known.
    fn update_window(
        &mut self,
        context: &mut Context<'_>,
        ack: &Ack<'_>,
        outcome: &mut AckOutcome,
    ) -> bool {
        // tcp_may_update_window
        let newer = after(ack.ack, self.snd_una)
            || after(ack.seq, self.snd_wl1)
            || (ack.seq == self.snd_wl1 && (ack.window > self.snd_wnd || ack.window == 0));
        if newer {
            self.snd_wl1 = ack.seq;
            if self.snd_wnd != ack.window {
                self.snd_wnd = ack.window;
                if ack.unsent {
                    self.slow_start_after_idle(context);
                }
                if ack.window > self.max_window {
                    self.max_window = ack.window;
                    outcome.max_window_grew = true;
                }
            }
        }
        self.advance_una(ack.ack);
        newer
    }

    /// `tcp_snd_una_update`.
    fn advance_una(&mut self, ack: SequenceNumber) {
        let acked = distance(self.snd_una, ack);
        self.bytes_acked = self.bytes_acked.wrapping_add(u64::from(acked));
        self.snd_una = ack;
    }

    /// Segments arrived (`tcp_count_delivered`).
    pub(super) fn deliver(&mut self, segments: u32, ece: bool) {
        self.delivered = self.delivered.wrapping_add(segments);
        if ece {
            self.delivered_ce = self.delivered_ce.wrapping_add(segments);
        }
    }

    /// How many arrived since (`tcp_newly_delivered`).
    fn count_delivered(&mut self, context: &mut Context<'_>, prior: u32, flags: Flags) -> u32 {
        let newly = self.delivered.wrapping_sub(prior);
        let counters = &mut context.counters.tcp_ext;
        counters.add(TcpExtCounter::TCPDelivered, u64::from(newly));
        if flags.any(Flags::ECE) {
            counters.add(TcpExtCounter::TCPDeliveredCE, u64::from(newly));
        }
        newly
    }

    /// Congestion avoidance must look at it (`tcp_ack_is_dubious`).
    fn is_dubious(&self, flags: Flags) -> bool {
        !flags.any(Flags::NOT_DUP)
            || flags.any(Flags::CA_ALERT)
            || self.recovery.state != CaState::Open
    }

    /// The round trip of the SYN-ACK whose ACK made this connection (`tcp_synack_rtt_meas`); nothing measured where it was
    /// retransmitted.
    pub(crate) fn synack_rtt(&mut self, context: &Context<'_>, sent_us: u64, retransmitted: bool) {
        let rtt = (!retransmitted).then(|| context.clock.arrived_us().saturating_sub(sent_us));
        let mut flags = Flags::default();
        flags.set(Flags::SYN_ACKED);
        self.update_rtt(context, flags, rtt, rtt);
    }
}

/// How many duplicate ACKs it stands for.
fn duplicates(flags: Flags, segments: u16) -> u32 {
    if flags.any(Flags::SND_UNA_ADVANCED | Flags::NOT_DUP | Flags::DSACKING_ACK) {
        0
    } else if flags.any(Flags::DATA) {
        1
    } else {
        u32::from(segments.max(1))
    }
}
