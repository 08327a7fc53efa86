//! What an acknowledgement does to the output half of a connection (`tcp_ack` and `tcp_clean_rtx_queue` in
//! net/ipv4/tcp_input.c).

use transect_packet::{SackBlock, SequenceNumber, TcpFlags};

use super::clock::Context;
use super::rate::RateSample;
use super::recovery::CaState;
use super::segment::{Marks, Segment, after, distance, earlier};
use super::sender::Sender;
use crate::counters::TcpExtCounter;

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

    /// Takes acknowledged segments off the queue, with the round trips that they tell (`tcp_clean_rtx_queue`).
    fn clean_queue(
        &mut self,
        context: &mut Context<'_>,
        prior_fack: SequenceNumber,
        taking: &mut Taking,
    ) {
        let prior_sacked = self.queue.sacked_out;
        let mut cleaning = Cleaning {
            flags: Flags::default(),
            first_us: 0,
            last_us: 0,
            reord: self.snd_nxt,
            acked: 0,
            fully: true,
        };
        let ece = taking.flags.any(Flags::ECE);
        while self.clean_head(context, ece, taking, &mut cleaning) {}
        self.queue.advance_highest_sack(self.snd_una);
        if self
            .queue
            .head()
            .is_some_and(|head| head.marks.any(Marks::SACKED))
        {
            cleaning.flags.set(Flags::SACK_RENEGING);
        }
        let now = context.clock.us();
        let since = |us: u64| (us != 0).then(|| now.saturating_sub(us));
        let (mut rtt, mut latest) = (None, None);
        if cleaning.first_us != 0 && !cleaning.flags.any(Flags::RETRANS_DATA_ACKED) {
            rtt = since(cleaning.first_us);
            latest = since(cleaning.last_us);
            if self.maybe_delayed(&cleaning, prior_sacked, taking) {
                cleaning.flags.set(Flags::ACK_MAYBE_DELAYED);
            }
        }
        let sack_rtt = since(taking.first_sacked_us);
        if sack_rtt.is_some() {
            latest = since(taking.last_sacked_us);
        }
        let (updated, latest) = self.update_rtt(context, cleaning.flags, rtt.or(sack_rtt), latest);
        taking.flags.set(cleaning.flags.0);
        if cleaning.flags.any(Flags::ACKED) {
            self.note_acked(context, prior_fack, &cleaning, taking);
        } else if let (true, Some(sack_rtt), Some(head)) = (updated, sack_rtt, self.queue.head())
            && sack_rtt > now.saturating_sub(head.sent_us)
        {
            // What was sent after the head has arrived: the time-out begins anew.
            taking.flags.set(Flags::SET_XMIT_TIMER);
        }
        let flight = self.flight();
        self.algorithm
            .acknowledged(context, &mut self.congestion, &flight, latest);
    }

    /// The last part, where anything was acknowledged.
    fn note_acked(
        &mut self,
        context: &mut Context<'_>,
        prior_fack: SequenceNumber,
        cleaning: &Cleaning,
        taking: &mut Taking,
    ) {
        taking.flags.set(Flags::SET_XMIT_TIMER);
        if self.sack {
            if cleaning.reord.is_before(prior_fack) {
                self.check_sack_reordering(context, cleaning.reord, false);
            }
        } else {
            let ece = taking.flags.any(Flags::ECE);
            self.remove_reno_sacks(context, cleaning.acked, ece);
            if cleaning.flags.any(Flags::RETRANS_DATA_ACKED) {
                taking.flags.clear(Flags::ORIG_SACK_ACKED);
            }
        }
    }

    /// A lone small segment, acknowledged after a round trip: probably held back.
    fn maybe_delayed(&self, cleaning: &Cleaning, prior_sacked: u32, taking: &Taking) -> bool {
        cleaning.acked == 1
            && cleaning.fully
            && prior_sacked == 0
            && distance(taking.prior_una, self.snd_una) < self.mss_cache
            && taking.rate.prior_delivered.wrapping_add(1) == self.delivered
            && !taking.flags.any(Flags::CA_ALERT)
            && !cleaning.flags.any(Flags::SYN_ACKED)
    }

    /// One segment, if it is acknowledged, whole or in part. False: that was the last one.
    fn clean_head(
        &mut self,
        context: &mut Context<'_>,
        ece: bool,
        taking: &mut Taking,
        cleaning: &mut Cleaning,
    ) -> bool {
        let una = self.snd_una;
        let Some(head) = self.queue.segments.front_mut() else {
            return false;
        };
        let (start, marks, sent_us) = (head.seq, head.marks, head.sent_us);
        let mut pcount = u32::from(head.pcount);
        let end_seq = head.end_seq;
        let syn = head.flags & TcpFlags::SYN != 0;
        if after(end_seq, una) {
            if head.pcount <= 1 || !after(una, start) {
                return false;
            }
            taking.freed += head.trim_head(distance(start, una));
            pcount = pcount.saturating_sub(u32::from(head.pcount));
            if pcount == 0 {
                return false;
            }
            cleaning.fully = false;
        }
        self.account_acked(context, (pcount, marks, end_seq, sent_us), ece, taking);
        if marks.any(Marks::RETRANS) {
            cleaning.flags.set(Flags::RETRANS_DATA_ACKED);
        } else if !marks.any(Marks::SACKED) {
            cleaning.last_us = sent_us;
            if cleaning.first_us == 0 {
                cleaning.first_us = sent_us;
            }
            cleaning.reord = earlier(cleaning.reord, start);
            if !after(end_seq, self.recovery.high_seq) {
                cleaning.flags.set(Flags::ORIG_SACK_ACKED);
            }
        }
        cleaning.acked += pcount;
        if let Some(head) = self.queue.segments.front_mut() {
            self.delivery.delivered(head, &mut taking.rate);
        }
        if syn {
            cleaning.flags.set(Flags::SYN_ACKED);
            self.retrans_stamp = 0;
        } else {
            cleaning.flags.set(Flags::DATA_ACKED);
        }
        if !cleaning.fully {
            return false;
        }
        if let Some(gone) = self.queue.pop_head() {
            taking.freed = taking.freed.saturating_add(gone.truesize);
        }
        true
    }

    /// The counts that a segment stood in.
    fn account_acked(
        &mut self,
        context: &Context<'_>,
        (pcount, marks, end_seq, sent_us): (u32, Marks, SequenceNumber, u64),
        ece: bool,
        taking: &Taking,
    ) {
        let queue = &mut self.queue;
        if marks.any(Marks::RETRANSMITTED) {
            queue.retrans_out = queue.retrans_out.saturating_sub(pcount);
        }
        if marks.any(Marks::LOST) {
            queue.lost_out = queue.lost_out.saturating_sub(pcount);
        }
        queue.packets_out = queue.packets_out.saturating_sub(pcount);
        if marks.any(Marks::SACKED) {
            queue.sacked_out = queue.sacked_out.saturating_sub(pcount);
        } else if self.sack {
            self.deliver(pcount, ece);
            // tcp_skb_spurious_retrans: the echo is older than the retransmission.
            let spurious = marks.any(Marks::RETRANS)
                && taking
                    .echo
                    .is_some_and(|echo| is_before_ms(echo, (sent_us / 1000) as u32));
            if !spurious {
                let now = context.clock.us();
                let min = self.rtt.min_us();
                self.rack.advance(now, min, marks, end_seq, sent_us);
            }
        }
    }

    /// A round trip, from the times of segments or, failing that, from the timestamp that came back
    /// (`tcp_ack_update_rtt`, RFC 7323 section 4). Also returns the youngest segment's.
    fn update_rtt(
        &mut self,
        context: &Context<'_>,
        flags: Flags,
        rtt: Option<u64>,
        latest: Option<u64>,
    ) -> (bool, Option<u64>) {
        let (rtt, latest) = match (rtt, self.recovery.echo) {
            (None, Some(echo)) if flags.any(Flags::ACKED) => {
                let ms = context.clock.ms().wrapping_sub(echo);
                let us = (ms < u32::MAX / 2 / 1000).then(|| u64::from(ms.max(1)) * 1000);
                (us, us)
            }
            (rtt, _) => (rtt, latest),
        };
        let Some(rtt) = rtt else {
            return (false, latest);
        };
        let delayed = flags.any(Flags::ACK_MAYBE_DELAYED);
        let range = (self.snd_una, self.snd_nxt);
        self.rtt
            .sample(context, rtt, latest.unwrap_or(rtt), delayed, range);
        self.backoff = 0;
        (true, latest)
    }

    /// The round trip of the SYN-ACK whose ACK made this connection (`tcp_synack_rtt_meas`); nothing measured where it was
    /// retransmitted.
    pub(crate) fn synack_rtt(&mut self, context: &Context<'_>, sent_us: u64, retransmitted: bool) {
        let rtt = (!retransmitted).then(|| context.clock.us().saturating_sub(sent_us));
        let mut flags = Flags::default();
        flags.set(Flags::SYN_ACKED);
        self.update_rtt(context, flags, rtt, rtt);
    }
}

/// Whether one moment of the timestamp clock is before another (`tcp_tsopt_ecr_before`).
pub(super) const fn is_before_ms(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() < 0
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

/// What [`Sender::clean_queue`] gathers.
#[derive(Debug, Clone, Copy)]
struct Cleaning {
    flags: Flags,
    /// When the first and the last segment were sent that were acknowledged without being retransmitted, in microseconds.
    first_us: u64,
    last_us: u64,
    /// The lowest number that was acknowledged without being retransmitted or reported.
    reord: SequenceNumber,
    acked: u32,
    /// The last segment went as a whole.
    fully: bool,
}

impl Segment {
    /// All of it lies before a number.
    pub(super) fn is_behind(&self, seq: SequenceNumber) -> bool {
        !after(self.end_seq, seq)
    }
}
