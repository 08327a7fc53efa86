//! RACK (RFC 8985; net/ipv4/tcp_recovery.c): a segment is lost when one that was sent after it has arrived, a reordering
//! window ago.

use std::cmp::Ordering;

use transect_packet::SequenceNumber;

use super::clock::Context;
use super::recovery::CaState;
use super::segment::{Marks, Segment, after};
use super::sender::{Pending, Sender};

/// Bits of `tcp_recovery`.
const STATIC_WINDOW: u32 = 0x2;
const NO_DUPTHRESH: u32 = 0x4;
/// How many recoveries a wider window lasts (`TCP_RACK_RECOVERY_THRESH`).
pub(super) const RECOVERIES: u8 = 16;
/// The smallest time-out (`TCP_TIMEOUT_MIN_US`), in microseconds.
pub(super) const TIMEOUT_MIN_US: u64 = 2000;

/// RACK's state (`tp->rack`).
#[derive(Debug, Clone)]
pub(crate) struct Rack {
    /// When the youngest delivered segment was sent (`mstamp`, `end_seq`).
    newest: Sent,
    /// Its round trip, in microseconds.
    rtt_us: u32,
    /// Something was delivered since the last look (`advanced`).
    pub(super) advanced: bool,
    /// A DSACK told of a retransmission in vain (`dsack_seen`).
    pub(super) dsack_seen: bool,
    /// The reordering window, in quarters of the smallest round trip (`reo_wnd_steps`).
    steps: u8,
    /// How many recoveries it stays so wide (`reo_wnd_persist`).
    pub(super) persist: u8,
    /// `delivered` when it was widened last.
    last_delivered: u32,
}

impl Default for Rack {
    fn default() -> Self {
        Rack {
            newest: Sent::default(),
            rtt_us: 0,
            advanced: false,
            dsack_seen: false,
            steps: 1,
            persist: 0,
            last_delivered: 0,
        }
    }
}

/// When a segment was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    /// In microseconds.
    pub(super) us: u64,
    /// Its place among all transmissions; 0: not known any more. On virtual time a whole flight is sent in one moment; the
    /// kernel's clock tells two segments apart.
    order: u64,
    end_seq: SequenceNumber,
}

impl Sent {
    pub(super) fn of(segment: &Segment) -> Self {
        Sent {
            us: segment.sent_us,
            order: segment.order,
            end_seq: segment.end_seq,
        }
    }

    /// Whether it was sent after another (`tcp_skb_sent_after`).
    fn is_after(self, other: Sent) -> bool {
        let known = self.order != 0 && other.order != 0 && self.order != other.order;
        match self.us.cmp(&other.us) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal if known => self.order > other.order,
            Ordering::Equal => after(self.end_seq, other.end_seq),
        }
    }
}

impl Rack {
    /// A segment arrived at the peer (`tcp_rack_advance`).
    pub(super) fn advance(&mut self, now_us: u64, min_rtt_us: u32, marks: Marks, sent: Sent) {
        let rtt_us = u32::try_from(now_us.saturating_sub(sent.us)).unwrap_or(u32::MAX);
        // A retransmission that arrived sooner than ever: it was the original that arrived.
        if rtt_us < min_rtt_us && marks.any(Marks::RETRANS) {
            return;
        }
        self.advanced = true;
        self.rtt_us = rtt_us;
        if sent.is_after(self.newest) {
            self.newest = sent;
        }
    }

    /// How long a segment may still take, in microseconds; 0 and less: it is lost (`tcp_rack_skb_timeout`).
    pub(super) fn time_left(&self, now_us: u64, segment: &Segment, window_us: u32) -> i64 {
        let passed = i64::try_from(now_us.saturating_sub(segment.sent_us)).unwrap_or(i64::MAX);
        i64::from(self.rtt_us) + i64::from(window_us) - passed
    }
}

impl Sender {
    /// The reordering window, in microseconds (`tcp_rack_reo_wnd`).
    fn reordering_window_us(&self, context: &Context<'_>) -> u32 {
        if self.recovery.reord_seen == 0 {
            if self.recovery.state >= CaState::Recovery {
                return 0;
            }
            if self.queue.sacked_out >= self.recovery.reordering
                && context.settings.recovery & NO_DUPTHRESH == 0
            {
                return 0;
            }
        }
        (self.rtt.min_us() >> 2)
            .saturating_mul(u32::from(self.rack.steps))
            .min(self.rtt.srtt_us >> 3)
    }

    /// Marks what is lost; the longest time that the others may still take, in microseconds (`tcp_rack_detect_loss`).
    fn detect_loss(&mut self, context: &mut Context<'_>) -> u64 {
        let window_us = self.reordering_window_us(context);
        let now_us = context.clock.us();
        let newest = self.rack.newest;
        let mut longest = 0;
        let mut place = 0;
        while let Some((at, index)) = self.queue.next_by_time(place) {
            place = at + 1;
            let Some(segment) = self.queue.segments.get(index) else {
                break;
            };
            if segment.marks.any(Marks::LOST) && !segment.marks.any(Marks::RETRANSMITTED) {
                continue;
            }
            if !newest.is_after(Sent::of(segment)) {
                break;
            }
            let left = self.rack.time_left(now_us, segment, window_us);
            if left <= 0 {
                self.queue.mark_lost(context.counters, index);
                self.queue.forget_time(index);
            } else {
                longest = longest.max(left.unsigned_abs());
            }
        }
        longest
    }

    /// Looks for losses after something was delivered (`tcp_rack_mark_lost`). True: the timer waits for the reordering window.
    pub(super) fn mark_lost_by_time(&mut self, context: &mut Context<'_>) -> bool {
        if !self.rack.advanced {
            return false;
        }
        self.rack.advanced = false;
        let longest = self.detect_loss(context);
        if longest == 0 {
            return false;
        }
        let ticks = context.clock.jiffies_of_us(longest + TIMEOUT_MIN_US);
        self.set_timer(context, Pending::Reordering, ticks, self.rtt.rto);
        true
    }

    /// The reordering window ended (`tcp_rack_reo_timeout`). True: walk over the lost segments, then [`Sender::rearm_rto`] unless the
    /// retransmission timer runs.
    pub(crate) fn reordering_timeout(&mut self, context: &mut Context<'_>) -> bool {
        let in_flight = self.in_flight();
        let lost = self.queue.lost;
        self.detect_loss(context);
        if self.in_flight() == in_flight {
            return false;
        }
        if self.recovery.state != CaState::Recovery {
            self.enter_recovery(context, false);
            let newly_lost = self.queue.lost.wrapping_sub(lost);
            self.reduce_window(1, newly_lost, false);
        }
        true
    }

    /// Widens the window where DSACKs tell of retransmissions in vain (`tcp_rack_update_reo_wnd`).
    pub(super) fn update_reordering_window(&mut self, context: &Context<'_>, prior_delivered: u32) {
        if context.settings.recovery & STATIC_WINDOW != 0 || prior_delivered == 0 {
            return;
        }
        let delivered = self.delivered;
        let rack = &mut self.rack;
        // No round trip has passed since it was widened.
        if prior_delivered
            .wrapping_sub(rack.last_delivered)
            .cast_signed()
            < 0
        {
            rack.dsack_seen = false;
        }
        if rack.dsack_seen {
            rack.steps = rack.steps.saturating_add(1);
            rack.dsack_seen = false;
            rack.last_delivered = delivered;
            rack.persist = RECOVERIES;
        } else if rack.persist == 0 {
            rack.steps = 1;
        }
    }

    /// Without SACK: the oldest segment is lost after so many duplicates, or when a retransmission was acknowledged in part
    /// (`tcp_newreno_mark_lost`).
    pub(super) fn mark_head_lost(&mut self, context: &mut Context<'_>, advanced: bool) {
        let state = self.recovery.state;
        let enough = state < CaState::Recovery && self.queue.sacked_out >= self.recovery.reordering;
        if !(enough || state == CaState::Recovery && advanced) {
            return;
        }
        let Some(head) = self.queue.head() else {
            return;
        };
        if head.marks.any(Marks::LOST) {
            return;
        }
        let mss = head.mss();
        if head.pcount > 1 && head.len() > mss {
            self.queue_cost += i64::from(self.queue.split(0, mss, mss));
        }
        self.queue.mark_lost(context.counters, 0);
    }
}
