//! The retransmission queue (`tcp_rtx_queue`): what is in flight, what of it the peer reported, what is believed lost, and in
//! which order it was sent (`tsorted_sent_queue`). Memory grows with what is in flight and with nothing else.

use std::collections::VecDeque;

use transect_packet::SequenceNumber;

use super::segment::{Marks, Segment, after};
use crate::counters::{Counters, TcpExtCounter};

/// Segments in flight, with the counts of their marks (`packets_out`, `sacked_out`, `lost_out`, `retrans_out`).
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    /// By sequence number.
    pub(super) segments: VecDeque<Segment>,
    /// By time of transmission: the order and the first sequence number. An entry whose segment is gone, or carries another
    /// order by now, means nothing.
    by_time: VecDeque<(u64, SequenceNumber)>,
    last_order: u64,
    /// Wire segments that were sent and are not acknowledged.
    pub(crate) packets_out: u32,
    /// … that the peer reported, or that duplicate ACKs stand for.
    pub(crate) sacked_out: u32,
    /// … that are believed lost.
    pub(crate) lost_out: u32,
    /// … whose retransmission is on the way.
    pub(crate) retrans_out: u32,
    /// Segments ever marked lost (`lost`).
    pub(crate) lost: u32,
    /// Behind the highest one that the peer reported (`highest_sack`); means something only with `sacked_out`.
    pub(super) highest_sack: SequenceNumber,
    /// Where the next walk over lost segments begins (`retransmit_skb_hint`).
    pub(super) retransmit_hint: Option<SequenceNumber>,
}

impl Scoreboard {
    /// The oldest segment in flight (`tcp_rtx_queue_head`).
    pub(crate) fn head(&self) -> Option<&Segment> {
        self.segments.front()
    }

    /// The youngest one (`tcp_rtx_queue_tail`).
    pub(crate) fn tail(&self) -> Option<&Segment> {
        self.segments.back()
    }

    /// Nothing is in flight (`tcp_rtx_queue_empty`).
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Segments that have left the network, or so it is believed (`tcp_left_out`).
    pub(crate) fn left_out(&self) -> u32 {
        self.sacked_out.saturating_add(self.lost_out)
    }

    /// Segments believed in flight (`tcp_packets_in_flight`).
    pub(crate) fn in_flight(&self) -> u32 {
        self.packets_out
            .saturating_add(self.retrans_out)
            .saturating_sub(self.left_out())
    }

    /// Behind the highest sequence number that the peer reported (`tcp_highest_sack_seq`).
    pub(super) fn highest_sack_seq(&self, snd_una: SequenceNumber) -> SequenceNumber {
        if self.sacked_out == 0 {
            snd_una
        } else {
            self.highest_sack
        }
    }

    /// The segment that holds a sequence number; the oldest one for numbers before it.
    pub(super) fn index_of(&self, seq: SequenceNumber) -> Option<usize> {
        let index = self
            .segments
            .partition_point(|segment| !seq.is_before(segment.end_seq));
        (index < self.segments.len()).then_some(index)
    }

    /// Appends a segment that was sent just now, for the first time.
    pub(super) fn push(&mut self, mut segment: Segment) {
        segment.order = self.next_order(segment.seq);
        self.packets_out = self.packets_out.saturating_add(u32::from(segment.pcount));
        self.segments.push_back(segment);
    }

    /// A segment was sent again just now: it goes to the end of the order of transmissions (`list_move_tail`).
    pub(super) fn sent_again(&mut self, index: usize) {
        let Some(seq) = self.segments.get(index).map(|segment| segment.seq) else {
            return;
        };
        let order = self.next_order(seq);
        if let Some(segment) = self.segments.get_mut(index) {
            segment.order = order;
        }
    }

    fn next_order(&mut self, seq: SequenceNumber) -> u64 {
        self.last_order += 1;
        self.by_time.push_back((self.last_order, seq));
        self.forget_stale();
        self.last_order
    }

    /// Drops entries that mean nothing any more, so that there are never many more of them than segments.
    fn forget_stale(&mut self) {
        while let Some(&(order, seq)) = self.by_time.front() {
            if order == self.last_order || self.timed(order, seq).is_some() {
                break;
            }
            self.by_time.pop_front();
        }
        if self.by_time.len() > 2 * self.segments.len() + 32 {
            let mut entries = std::mem::take(&mut self.by_time);
            entries.retain(|&(order, seq)| {
                order == self.last_order || self.timed(order, seq).is_some()
            });
            self.by_time = entries;
        }
    }

    /// The segment of an entry in the order of transmissions, if the entry still means one.
    fn timed(&self, order: u64, seq: SequenceNumber) -> Option<usize> {
        let index = self.index_of(seq)?;
        (self.segments.get(index)?.order == order).then_some(index)
    }

    /// The entries in the order of transmissions, from a place on; each with its place, and the segment's index.
    pub(super) fn next_by_time(&self, from: usize) -> Option<(usize, usize)> {
        (from..self.by_time.len()).find_map(|place| {
            let &(order, seq) = self.by_time.get(place)?;
            self.timed(order, seq).map(|index| (place, index))
        })
    }

    /// Takes a segment out of the order of transmissions (`list_del_init`).
    pub(super) fn forget_time(&mut self, index: usize) {
        if let Some(segment) = self.segments.get_mut(index) {
            segment.order = 0;
        }
    }

    /// Cuts a segment after `length` payload bytes (`tcp_fragment` in the retransmission queue); what the cut costs the send buffer.
    pub(super) fn split(&mut self, index: usize, length: u32, mss: u32) -> u32 {
        let Some(segment) = self.segments.get_mut(index) else {
            return 0;
        };
        if length == 0 || length >= segment.len() {
            return 0;
        }
        let before = segment.pcount;
        let behind = segment.split(length, mss);
        let pcounts = i64::from(before) - i64::from(segment.pcount) - i64::from(behind.pcount);
        let marks = segment.marks;
        let (order, seq) = (behind.order, behind.seq);
        self.segments.insert(index + 1, behind);
        self.adjust_pcount(marks, pcounts);
        if order != 0 {
            let place = self.by_time.partition_point(|entry| entry.0 <= order);
            self.by_time.insert(place, (order, seq));
        }
        super::segment::OVERHEAD
    }

    /// There are `decrease` fewer wire segments of these marks than was thought (`tcp_adjust_pcount`).
    pub(super) fn adjust_pcount(&mut self, marks: Marks, decrease: i64) {
        if decrease == 0 {
            return;
        }
        let adjust = |count: &mut u32| {
            let adjusted = i64::from(*count).saturating_sub(decrease).max(0);
            *count = u32::try_from(adjusted).unwrap_or(u32::MAX);
        };
        adjust(&mut self.packets_out);
        if marks.any(Marks::SACKED) {
            adjust(&mut self.sacked_out);
        }
        if marks.any(Marks::RETRANSMITTED) {
            adjust(&mut self.retrans_out);
        }
        if marks.any(Marks::LOST) {
            adjust(&mut self.lost_out);
        }
    }

    /// Marks a segment lost, or lost again (`tcp_mark_skb_lost`).
    pub(super) fn mark_lost(&mut self, counters: &mut Counters, index: usize) {
        let (retrans_out, lost_out) = (self.retrans_out, self.lost_out);
        let Some(segment) = self.segments.get_mut(index) else {
            return;
        };
        if segment.marks.any(Marks::SACKED) {
            return;
        }
        // tcp_verify_retransmit_hint
        match self.retransmit_hint {
            None if retrans_out >= lost_out => self.retransmit_hint = Some(segment.seq),
            Some(hint) if segment.seq.is_before(hint) => self.retransmit_hint = Some(segment.seq),
            _ => {}
        }
        let pcount = u32::from(segment.pcount);
        if !segment.marks.any(Marks::LOST) {
            segment.marks.set(Marks::LOST);
            self.lost_out = lost_out.saturating_add(pcount);
            self.lost = self.lost.wrapping_add(pcount);
        } else if segment.marks.any(Marks::RETRANSMITTED) {
            segment.marks.clear(Marks::RETRANSMITTED);
            self.retrans_out = retrans_out.saturating_sub(pcount);
            self.lost = self.lost.wrapping_add(pcount);
            counters
                .tcp_ext
                .add(TcpExtCounter::TCPLostRetransmit, u64::from(pcount));
        }
    }

    /// Nothing is lost after all (`tcp_undo_cwnd_reduction` with `unmark_loss`).
    pub(super) fn unmark_lost(&mut self) {
        for segment in &mut self.segments {
            segment.marks.clear(Marks::LOST);
        }
        self.lost_out = 0;
        self.retransmit_hint = None;
    }

    /// Whether anything was retransmitted that is not acknowledged (`tcp_any_retrans_done`).
    pub(super) fn any_retransmitted(&self) -> bool {
        self.retrans_out > 0
            || self
                .head()
                .is_some_and(|head| head.marks.any(Marks::EVER_RETRANSMITTED))
    }

    /// Takes the oldest segment off: it is acknowledged.
    pub(super) fn pop_head(&mut self) -> Option<Segment> {
        let segment = self.segments.pop_front()?;
        if self.retransmit_hint == Some(segment.seq) {
            self.retransmit_hint = None;
        }
        if self.segments.is_empty() {
            // An idle connection keeps nothing: there may be very many of them.
            self.segments = VecDeque::new();
            self.by_time = VecDeque::new();
        }
        Some(segment)
    }

    /// Acknowledged up to here: the highest reported one is never before that.
    pub(super) fn advance_highest_sack(&mut self, snd_una: SequenceNumber) {
        if after(snd_una, self.highest_sack) {
            self.highest_sack = snd_una;
        }
    }

    /// Drops everything (`tcp_write_queue_purge`).
    pub(crate) fn clear(&mut self) {
        *self = Scoreboard::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::segment::OVERHEAD;
    use super::*;

    fn flight(sizes: &[u32]) -> Scoreboard {
        let mut board = Scoreboard::default();
        let mut seq = SequenceNumber(u32::MAX - 1000);
        for &size in sizes {
            let mut segment = Segment::control(seq, 0x10);
            segment.end_seq = seq + size;
            segment.truesize = OVERHEAD + size;
            segment.set_segments(1000);
            seq = segment.end_seq;
            board.push(segment);
        }
        board
    }

    fn order(board: &Scoreboard) -> Vec<u32> {
        let mut found = Vec::new();
        let mut place = 0;
        while let Some((at, index)) = board.next_by_time(place) {
            found.push(board.segments[index].seq.0.wrapping_sub(u32::MAX - 1000));
            place = at + 1;
        }
        found
    }

    #[test]
    fn segments_are_found_by_any_of_their_numbers_across_the_wrap() {
        let board = flight(&[1000, 3000, 500]);
        let at =
            |offset: u32| board.index_of(SequenceNumber((u32::MAX - 1000).wrapping_add(offset)));
        assert_eq!(at(0), Some(0));
        assert_eq!(at(999), Some(0));
        assert_eq!(at(1000), Some(1));
        assert_eq!(at(3999), Some(1));
        assert_eq!(at(4499), Some(2));
        assert_eq!(at(4500), None);
        assert_eq!(board.packets_out, 5);
    }

    #[test]
    fn the_order_of_transmissions_survives_splits_retransmissions_and_acknowledgements() {
        let mut board = flight(&[1000, 3000, 1000]);
        board.split(1, 1000, 1000);
        assert_eq!(order(&board), [0, 1000, 2000, 4000]);
        assert_eq!(board.packets_out, 5);
        board.sent_again(1);
        assert_eq!(order(&board), [0, 2000, 4000, 1000]);
        board.pop_head();
        assert_eq!(order(&board), [2000, 4000, 1000]);
        board.forget_time(1);
        assert_eq!(order(&board), [4000, 1000]);
    }

    #[test]
    fn a_lost_retransmission_is_counted_once_and_leaves_the_flight() {
        let mut board = flight(&[1000, 1000]);
        let mut counters = Counters::default();
        board.mark_lost(&mut counters, 0);
        assert_eq!((board.lost_out, board.in_flight(), board.lost), (1, 1, 1));
        board.segments[0].marks.set(Marks::RETRANS);
        board.retrans_out += 1;
        assert_eq!(board.in_flight(), 2);
        board.mark_lost(&mut counters, 0);
        assert_eq!(
            (
                board.lost_out,
                board.retrans_out,
                board.in_flight(),
                board.lost
            ),
            (1, 0, 1, 2)
        );
        assert_eq!(counters.tcp_ext.of(TcpExtCounter::TCPLostRetransmit), 1);
    }

    #[test]
    fn endless_retransmission_keeps_the_order_short() {
        let mut board = flight(&[1000; 4]);
        for turn in 0..10_000 {
            board.sent_again(turn % 3 + 1);
        }
        assert!(board.by_time.len() < 64, "{}", board.by_time.len());
    }
}
