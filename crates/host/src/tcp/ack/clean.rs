//! What is acknowledged leaves the retransmission queue, and tells round trips (`tcp_clean_rtx_queue`, `tcp_ack_update_rtt`).

use transect_packet::{SequenceNumber, TcpFlags};

use super::super::clock::Context;
use super::super::rack::Sent;
use super::super::segment::{Marks, Segment, after, distance, earlier};
use super::super::sender::{ProbeEnd, Sender};
use super::{Flags, Taking};

impl Sender {
    /// Takes acknowledged segments off the queue, with the round trips that they tell (`tcp_clean_rtx_queue`).
    pub(super) fn clean_queue(
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
        let now = context.clock.arrived_us();
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
            self.check_mtu_probe(context, taking);
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

    /// A path MTU probe that was acknowledged passed: as many bytes as before may be in flight, in fewer segments
    /// (`tcp_mtup_probe_success`).
    fn check_mtu_probe(&mut self, context: &Context<'_>, taking: &mut Taking) {
        let Some(probe) = self
            .mtu_probe
            .filter(|probe| !after(probe.end, self.snd_una))
        else {
            return;
        };
        self.mtu_probe = None;
        let in_reduction = self.recovery.in_reduction();
        self.recovery.prior_ssthresh = self.congestion.current_ssthresh(in_reduction);
        let headers = probe.size.saturating_sub(distance(probe.start, probe.end));
        let usual = u64::from(self.mss_cache) + u64::from(headers);
        let window = u64::from(self.congestion.snd_cwnd) * usual / u64::from(probe.size.max(1));
        self.congestion
            .set_window(u32::try_from(window).unwrap_or(u32::MAX).max(1));
        self.congestion.snd_cwnd_cnt = 0;
        self.congestion.snd_cwnd_stamp = context.clock.jiffies();
        self.congestion.snd_ssthresh = self.congestion.current_ssthresh(in_reduction);
        taking.probe_end = Some(ProbeEnd::Passed(probe.size));
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
        let sent = Sent::of(head);
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
        self.account_acked(context, (pcount, marks, sent), ece, taking);
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
        (pcount, marks, sent): (u32, Marks, Sent),
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
                    .is_some_and(|echo| is_before_ms(echo, (sent.us / 1000) as u32));
            if !spurious {
                let now = context.clock.arrived_us();
                let min = self.rtt.min_us();
                self.rack.advance(now, min, marks, sent);
            }
        }
    }

    /// A round trip, from the times of segments or, failing that, from the timestamp that came back
    /// (`tcp_ack_update_rtt`, RFC 7323 section 4). Also returns the youngest segment's.
    pub(super) fn update_rtt(
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
}

/// Whether one moment of the timestamp clock is before another (`tcp_tsopt_ecr_before`).
pub(in super::super) const fn is_before_ms(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() < 0
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
    pub(in super::super) fn is_behind(&self, seq: SequenceNumber) -> bool {
        !after(self.end_seq, seq)
    }
}
