//! Sending again (`__tcp_retransmit_skb`, `tcp_xmit_retransmit_queue` in net/ipv4/tcp_output.c) and backing off
//! (`tcp_retransmit_timer` in net/ipv4/tcp_timer.c). The connection transmits; here is decided what.

use transect_config::SocketState;
use transect_packet::{SequenceNumber, TcpFlags};

use super::clock::Context;
use super::congestion::INFINITE_SSTHRESH;
use super::recovery::CaState;
use super::rtt::rto_max;
use super::segment::{Marks, Segment, distance};
use super::sender::{Pending, Sender};
use crate::counters::{TcpCounter, TcpExtCounter};

/// Linear time-outs of thin streams (`TCP_THIN_LINEAR_RETRIES`).
const THIN_LINEAR_RETRIES: u8 = 6;
/// A stream with fewer segments in flight is thin.
const THIN: u32 = 4;

/// Why a segment cannot be retransmitted now (`__tcp_retransmit_skb`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetransmitError {
    /// `-EAGAIN`: outside of a window that shrank.
    OutsideWindow,
    /// There is no such segment.
    Absent,
}

/// A walk over the retransmission queue (`tcp_xmit_retransmit_queue`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetransmitWalk {
    /// Where it goes on.
    at: SequenceNumber,
    max_segments: u32,
    /// A segment was passed that is neither lost nor reported.
    hole: bool,
    /// The oldest segment was sent again: its time-out begins anew.
    rearm: bool,
}

impl Sender {
    /// Begins a walk over lost segments; nothing where nothing is in flight. `max_segments`: of one super-packet.
    pub(crate) fn begin_retransmit(&mut self, max_segments: u32) -> Option<RetransmitWalk> {
        let head = self.queue.head()?;
        Some(RetransmitWalk {
            at: self.queue.retransmit_hint.unwrap_or(head.seq),
            max_segments: max_segments.max(1),
            hole: false,
            rearm: false,
        })
    }

    /// The next segment to be retransmitted, cut to size, if any. Transmit it, then say how it went ([`Sender::walked`]). Counts
    /// RetransSegs.
    pub(crate) fn next_retransmit(
        &mut self,
        context: &mut Context<'_>,
        walk: &mut RetransmitWalk,
    ) -> Option<Segment> {
        let mut index = self.queue.index_of(walk.at)?;
        loop {
            let segment = self.queue.segments.get(index)?;
            let (seq, marks) = (segment.seq, segment.marks);
            if !walk.hole {
                self.queue.retransmit_hint = Some(seq);
            }
            let room = self.congestion.snd_cwnd.saturating_sub(self.in_flight());
            if room == 0 || self.queue.retrans_out >= self.queue.lost_out {
                return None;
            }
            if marks.any(Marks::LOST) {
                if !marks.any(Marks::SACKED | Marks::RETRANSMITTED) {
                    walk.at = segment.end_seq;
                    let segments = room.min(walk.max_segments);
                    return self.prepare_retransmit(context, seq, segments).ok();
                }
            } else if !marks.any(Marks::RETRANSMITTED | Marks::SACKED) {
                walk.hole = true;
            }
            index += 1;
        }
    }

    /// How the transmission went. False: the walk ends.
    pub(crate) fn walked(
        &mut self,
        context: &mut Context<'_>,
        walk: &mut RetransmitWalk,
        segment: &Segment,
        sent: bool,
    ) -> bool {
        self.retransmitted(context, segment, sent);
        if !sent {
            return false;
        }
        let counter = match self.recovery.state {
            CaState::Loss => TcpExtCounter::TCPSlowStartRetrans,
            _ => TcpExtCounter::TCPFastRetrans,
        };
        let pcount = u32::from(segment.pcount);
        context.counters.tcp_ext.add(counter, u64::from(pcount));
        if self.recovery.in_reduction() {
            self.recovery.prr_out = self.recovery.prr_out.saturating_add(pcount);
        }
        let first = self
            .queue
            .head()
            .is_some_and(|head| head.seq == segment.seq);
        walk.rearm |= first && self.timer.pending != Some(Pending::Reordering);
        walk.at = segment.end_seq;
        true
    }

    /// Ends a walk: the timer.
    pub(crate) fn end_retransmit(&mut self, context: &mut Context<'_>, walk: RetransmitWalk) {
        if walk.rearm {
            let rto = self.rtt.rto;
            self.reset_timer(context, Pending::Retransmit, rto);
        }
    }

    /// One segment, by its first sequence number, cut to `segments` of the present MSS and to the window, for retransmission
    /// (first half of `__tcp_retransmit_skb`). It is stamped. Counts RetransSegs, TCPSynRetrans.
    ///
    /// # Errors
    /// It lies outside of a window that shrank, or does not exist.
    pub(crate) fn prepare_retransmit(
        &mut self,
        context: &mut Context<'_>,
        seq: SequenceNumber,
        segments: u32,
    ) -> Result<Segment, RetransmitError> {
        // Sent again, it says nothing of the path any more.
        self.mtu_probe = None;
        let mss = self.mss_cache.max(1);
        let index = self.queue.index_of(seq).ok_or(RetransmitError::Absent)?;
        self.trim_acknowledged(index);
        let (una, end) = (self.snd_una, self.wnd_end());
        let segment = self
            .queue
            .segments
            .get(index)
            .ok_or(RetransmitError::Absent)?;
        let mut window = end.offset_from(segment.seq);
        if window <= 0 {
            // With the window closed, the oldest serves as a probe.
            if segment.seq != una {
                return Err(RetransmitError::OutsideWindow);
            }
            window = i32::try_from(mss).unwrap_or(i32::MAX);
        }
        let window = window.unsigned_abs();
        let mut length = mss.saturating_mul(segments.max(1));
        if length > window {
            length = match window / mss * mss {
                0 => window,
                whole => whole,
            };
        }
        if segment.len() > length {
            self.queue_cost += i64::from(self.queue.split(index, length, mss));
        } else {
            self.count_anew(index, mss);
            self.collapse(index, window.min(mss));
        }
        let mut segment = self
            .queue
            .segments
            .get(index)
            .cloned()
            .ok_or(RetransmitError::Absent)?;
        let pcount = u32::from(segment.pcount);
        context
            .counters
            .tcp
            .add(TcpCounter::RetransSegs, u64::from(pcount));
        if segment.flags & TcpFlags::SYN != 0 {
            context.counters.tcp_ext.count(TcpExtCounter::TCPSynRetrans);
        }
        // Something on the way may not bear ECN (`tcp_ecn_clear_syn`; RFC 3168 section 6.1.1.1).
        let ecn = TcpFlags::ECE | TcpFlags::CWR;
        let asks = TcpFlags::SYN | ecn;
        if segment.flags & asks == asks && context.settings.ecn_fallback {
            segment.flags &= !ecn;
        }
        self.total_retrans = self.total_retrans.saturating_add(pcount);
        self.bytes_retrans = self.bytes_retrans.wrapping_add(u64::from(segment.len()));
        self.stamp(context, &mut segment);
        if let Some(queued) = self.queue.segments.get_mut(index) {
            queued.sent_us = segment.sent_us;
            queued.flags = segment.flags;
        }
        Ok(segment)
    }

    /// What is acknowledged already is not sent again.
    fn trim_acknowledged(&mut self, index: usize) {
        let una = self.snd_una;
        let Some(segment) = self.queue.segments.get_mut(index) else {
            return;
        };
        if segment.seq.is_before(una) {
            let before = segment.pcount;
            let freed = segment.trim_head(distance(segment.seq, una));
            self.queue_cost -= i64::from(freed);
            let (marks, after) = (segment.marks, segment.pcount);
            self.queue
                .adjust_pcount(marks, i64::from(before) - i64::from(after));
        }
    }

    /// With another MSS it may be another number of wire segments.
    fn count_anew(&mut self, index: usize, mss: u32) {
        let Some(segment) = self.queue.segments.get_mut(index) else {
            return;
        };
        let before = segment.pcount;
        segment.set_segments(mss);
        let (marks, after) = (segment.marks, segment.pcount);
        self.queue
            .adjust_pcount(marks, i64::from(before) - i64::from(after));
    }

    /// Takes following small segments along, as far as `room` goes (`tcp_retrans_try_collapse`).
    fn collapse(&mut self, index: usize, room: u32) {
        let Some(first) = self.queue.segments.get(index) else {
            return;
        };
        if first.pcount > 1 || first.flags & TcpFlags::SYN != 0 || first.len() >= room {
            return;
        }
        let mut room = room - first.len();
        while let (Some(first), Some(next)) = (
            self.queue.segments.get(index),
            self.queue.segments.get(index + 1),
        ) {
            let fits = next.pcount == 1
                && !next.marks.any(Marks::SACKED)
                && first.flags & TcpFlags::FIN == 0
                && !first.eor
                && next.len() <= room
                && !next.end_seq.offset_from(self.wnd_end()).is_positive();
            if !fits {
                break;
            }
            room -= next.len();
            let Some(next) = self.queue.segments.remove(index + 1) else {
                break;
            };
            self.queue.adjust_pcount(next.marks, 1);
            if self.queue.retransmit_hint == Some(next.seq) {
                self.queue.retransmit_hint = Some(first_seq(&self.queue.segments, index));
            }
            if let Some(first) = self.queue.segments.get_mut(index) {
                first.end_seq = next.end_seq;
                first.flags |= next.flags;
                first.eor = next.eor;
                first.truesize = first.truesize.saturating_add(next.truesize);
                if next.marks.any(Marks::EVER_RETRANSMITTED) {
                    first.marks.set(Marks::EVER_RETRANSMITTED);
                }
            }
        }
    }

    /// What became of it (second half of `__tcp_retransmit_skb`, and `tcp_retransmit_skb`). Counts TCPRetransFail.
    pub(crate) fn retransmitted(
        &mut self,
        context: &mut Context<'_>,
        segment: &Segment,
        sent: bool,
    ) {
        let pcount = u32::from(segment.pcount);
        let probe = self.probing.take() == Some(segment.seq);
        if !sent {
            context
                .counters
                .tcp_ext
                .add(TcpExtCounter::TCPRetransFail, u64::from(pcount));
        }
        let index = self
            .queue
            .index_of(segment.seq)
            .filter(|index| first_seq(&self.queue.segments, *index) == segment.seq);
        if let Some(index) = index {
            if sent {
                self.queue.sent_again(index);
                self.refresh_rate_sample(index);
            }
            if let Some(queued) = self.queue.segments.get_mut(index) {
                queued.marks.set(Marks::EVER_RETRANSMITTED);
                if sent && !probe {
                    queued.marks.set(Marks::RETRANS);
                    self.queue.retrans_out = self.queue.retrans_out.saturating_add(pcount);
                }
            }
        }
        if probe {
            return;
        }
        self.stamp_retransmission(segment.sent_us, pcount);
    }

    /// A retransmission that came to nothing before there was a packet counts as one, too (end of `tcp_retransmit_skb`).
    pub(crate) fn retransmission_attempted(&mut self, seq: SequenceNumber) {
        let index = self.queue.index_of(seq);
        let segment = index.and_then(|index| self.queue.segments.get(index));
        if let Some((sent_us, pcount)) = segment.map(|segment| (segment.sent_us, segment.pcount)) {
            self.stamp_retransmission(sent_us, u32::from(pcount));
        }
    }

    fn stamp_retransmission(&mut self, sent_us: u64, pcount: u32) {
        if self.retrans_stamp == 0 {
            self.retrans_stamp = (sent_us / 1000) as u32;
        }
        let undo = self.recovery.undo_retrans.unwrap_or(0);
        self.recovery.undo_retrans = Some(undo.saturating_add(pcount));
    }

    /// `tcp_rate_skb_sent` for a retransmission.
    fn refresh_rate_sample(&mut self, index: usize) {
        let (packets_out, delivered) = (self.queue.packets_out, self.delivered);
        if let Some(segment) = self.queue.segments.get_mut(index) {
            self.delivery.sent(segment, packets_out, delivered);
        }
    }

    /// Doubles the time-out and sets the timer (`tcp_retransmit_timer` at `out_reset_timer`). Thin streams of established
    /// connections may go on linearly, and so do the first SYNs (`tcp_syn_linear_timeouts`). `user_timeout_left`: ticks until the user time-out, which the timer does not exceed (`tcp_clamp_rto_to_user_timeout`).
    pub(crate) fn back_off(
        &mut self,
        context: &mut Context<'_>,
        state: SocketState,
        user_timeout_left: Option<u64>,
    ) {
        let settings = context.settings;
        let most = rto_max(context);
        let thin = state == SocketState::Established
            && settings.thin_linear_timeouts
            && self.queue.packets_out < THIN
            && self.congestion.snd_ssthresh < INFINITE_SSTHRESH
            && self.retransmits <= THIN_LINEAR_RETRIES;
        if thin {
            self.backoff = 0;
            let least = context.clock.jiffies_of(settings.rto_min);
            self.rtt.rto = self.rtt.base_rto(&context.clock).max(least).min(most);
        } else if state != SocketState::SynSent
            || u32::from(self.total_rto) > settings.syn_linear_timeouts
        {
            self.backoff = self.backoff.saturating_add(1);
            self.rtt.rto = (self.rtt.rto << 1).min(most);
        }
        let ticks = user_timeout_left.map_or(self.rtt.rto, |left| self.rtt.rto.min(left));
        self.reset_timer(context, Pending::Retransmit, ticks);
    }
}

fn first_seq(segments: &std::collections::VecDeque<Segment>, index: usize) -> SequenceNumber {
    segments
        .get(index)
        .map_or(SequenceNumber(0), |segment| segment.seq)
}
