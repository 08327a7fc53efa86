//! Selective acknowledgements (RFC 2018, 2883; `tcp_sacktag_write_queue` in net/ipv4/tcp_input.c).

use transect_packet::{SackBlock, SequenceNumber};

use super::ack::{Ack, Flags, Taking};
use super::clock::Context;
use super::rack::Sent;
use super::recovery::CaState;
use super::segment::{Marks, after, distance, later};
use super::sender::Sender;
use crate::counters::TcpExtCounter;

/// The blocks of the last acknowledgement (`recv_sack_cache`): what lies in them has been looked at.
pub(super) type SackCache = [Option<SackBlock>; 4];

/// A block on its way over the queue.
#[derive(Debug, Clone, Copy)]
struct Walk {
    block: SackBlock,
    /// It tells of a duplicate.
    duplicate: bool,
    /// A duplicate's block that comes next, and may lie within this one.
    inner: Option<SackBlock>,
}

impl Sender {
    /// Takes in the blocks of an acknowledgement.
    pub(super) fn take_sacks(
        &mut self,
        context: &mut Context<'_>,
        ack: &Ack<'_>,
        taking: &mut Taking,
    ) {
        if self.queue.sacked_out == 0 {
            self.queue.highest_sack = self.snd_una;
            self.sack_cache = [None; 4];
        }
        let duplicate = self.check_dsack(context, ack, taking);
        if ack.ack.is_before(taking.prior_una - self.max_window) || self.queue.packets_out == 0 {
            return;
        }
        let (mut blocks, mut used) = ([(SackBlock::default(), false); 4], 0);
        for (place, block) in ack.sacks.iter().enumerate() {
            let duplicate = duplicate && place == 0;
            if !self.is_usable(context, ack, block, duplicate, taking) {
                continue;
            }
            if let Some(slot) = blocks.get_mut(used) {
                *slot = (*block, duplicate);
                used += 1;
            }
        }
        let blocks = blocks.get_mut(..used).unwrap_or_default();
        let una = self.snd_una;
        blocks.sort_by_key(|(block, _)| block.start.offset_from(una));
        let mut walked_to = una;
        for place in 0..blocks.len() {
            let Some(&(block, duplicate)) = blocks.get(place) else {
                break;
            };
            let next = blocks.get(place + 1).filter(|(_, duplicate)| *duplicate);
            let walk = Walk {
                block,
                duplicate,
                inner: next.map(|(inner, _)| *inner),
            };
            self.walk_block(context, &walk, &mut walked_to, taking);
        }
        self.sack_cache = [None; 4];
        for (slot, (block, _)) in self.sack_cache.iter_mut().zip(blocks.iter()) {
            *slot = Some(*block);
        }
        if self.recovery.state != CaState::Loss || self.recovery.undo_marker.is_some() {
            self.check_sack_reordering(context, taking.reord, false);
        }
    }

    /// Whether the first block tells of a duplicate (`tcp_check_dsack`).
    fn check_dsack(
        &mut self,
        context: &mut Context<'_>,
        ack: &Ack<'_>,
        taking: &mut Taking,
    ) -> bool {
        let counters = &mut context.counters.tcp_ext;
        let Some(first) = ack.sacks.first() else {
            return false;
        };
        if first.start.is_before(ack.ack) {
            counters.count(TcpExtCounter::TCPDSACKRecv);
        } else if let Some(second) = ack.sacks.get(1) {
            if after(first.end, second.end) || first.start.is_before(second.start) {
                return false;
            }
            counters.count(TcpExtCounter::TCPDSACKOfoRecv);
        } else {
            return false;
        }
        let segments = self.see_dsack(first, taking);
        if segments == 0 {
            counters.count(TcpExtCounter::TCPDSACKIgnoredDubious);
            return false;
        }
        counters.add(TcpExtCounter::TCPDSACKRecvSegs, u64::from(segments));
        // For what is acknowledged and forgotten already.
        let recovery = &mut self.recovery;
        if let (Some(marker), Some(undo @ 1..)) = (recovery.undo_marker, recovery.undo_retrans)
            && !after(first.end, taking.prior_una)
            && after(first.end, marker)
        {
            recovery.undo_retrans = Some(undo.saturating_sub(segments));
        }
        true
    }

    /// How many segments a duplicate's block stands for; 0: it is dubious (`tcp_dsack_seen`).
    fn see_dsack(&mut self, block: &SackBlock, taking: &mut Taking) -> u32 {
        if !block.start.is_before(block.end) {
            return 0;
        }
        let length = distance(block.start, block.end);
        if length > self.max_window {
            return 0;
        }
        let mut segments = 1;
        if length > self.mss_cache {
            segments = length.div_ceil(self.mss_cache.max(1));
        } else if self.tlp_high_seq == Some(block.end) {
            taking.flags.set(Flags::DSACK_TLP);
        }
        self.dsack_dups = self.dsack_dups.saturating_add(segments);
        if self.dsack_dups > self.total_retrans {
            return 0;
        }
        if self.recovery.reord_seen > 0 && !taking.flags.any(Flags::DSACK_TLP) {
            self.rack.dsack_seen = true;
        }
        taking.flags.set(Flags::DSACKING_ACK);
        taking.sack_delivered += segments;
        segments
    }

    /// Whether a block is worth a walk; counts those that are not.
    fn is_usable(
        &self,
        context: &mut Context<'_>,
        ack: &Ack<'_>,
        block: &SackBlock,
        duplicate: bool,
        taking: &Taking,
    ) -> bool {
        if self.is_valid(block, duplicate) {
            return after(block.end, taking.prior_una);
        }
        let counter = if duplicate {
            match self.recovery.undo_marker {
                None => TcpExtCounter::TCPDSACKIgnoredNoUndo,
                Some(_) => TcpExtCounter::TCPDSACKIgnoredOld,
            }
        } else if ack.ack != self.snd_una && !after(block.end, self.snd_una) {
            return false;
        } else {
            TcpExtCounter::TCPSACKDiscard
        };
        context.counters.tcp_ext.count(counter);
        false
    }

    /// `tcp_is_sackblock_valid`.
    fn is_valid(&self, block: &SackBlock, duplicate: bool) -> bool {
        if after(block.end, self.snd_nxt)
            || !block.start.is_before(block.end)
            || !block.start.is_before(self.snd_nxt)
        {
            return false;
        }
        if after(block.start, self.snd_una) {
            return true;
        }
        let (true, Some(marker)) = (duplicate, self.recovery.undo_marker) else {
            return false;
        };
        if after(block.end, self.snd_una) {
            return false;
        }
        if !block.start.is_before(marker) {
            return true;
        }
        after(block.end, marker) && !block.start.is_before(block.end - self.max_window)
    }

    /// Marks what lies in a block, but for what the last acknowledgement's blocks covered.
    fn walk_block(
        &mut self,
        context: &mut Context<'_>,
        walk: &Walk,
        walked_to: &mut SequenceNumber,
        taking: &mut Taking,
    ) {
        let mut from = later(walk.block.start, *walked_to);
        if !walk.duplicate && walk.inner.is_none() {
            let cache = self.sack_cache;
            for seen in cache.iter().flatten() {
                if !after(seen.end, from) || !seen.start.is_before(walk.block.end) {
                    continue;
                }
                if from.is_before(seen.start) {
                    self.walk(context, walk, (from, seen.start), taking);
                }
                from = seen.end;
            }
        }
        if from.is_before(walk.block.end) {
            self.walk(context, walk, (from, walk.block.end), taking);
        }
        *walked_to = later(*walked_to, walk.block.end);
    }

    /// Marks the segments from one number to another that lie within the block (`tcp_sacktag_walk`).
    fn walk(
        &mut self,
        context: &mut Context<'_>,
        walk: &Walk,
        (from, to): (SequenceNumber, SequenceNumber),
        taking: &mut Taking,
    ) {
        let Some(mut index) = self.queue.index_of(from) else {
            return;
        };
        while let Some(segment) = self.queue.segments.get(index) {
            let seq = segment.seq;
            if !seq.is_before(to) {
                break;
            }
            let inner = walk.inner.filter(|inner| seq.is_before(inner.end));
            let within_inner =
                inner.is_some_and(|inner| self.match_segment(index, &inner) == Some(true));
            let within = match within_inner {
                true => Some(true),
                false => self.match_segment(index, &walk.block),
            };
            match within {
                None => break,
                Some(true) => {
                    self.mark_sacked(context, index, walk.duplicate || within_inner, taking);
                }
                Some(false) => {}
            }
            index += 1;
        }
    }

    /// Whether a segment lies within a block, after cutting off what does not where it stands for several
    /// (`tcp_match_skb_to_sack`). Nothing: the walk ends.
    fn match_segment(&mut self, index: usize, block: &SackBlock) -> Option<bool> {
        let segment = self.queue.segments.get(index)?;
        let begins = !after(block.start, segment.seq);
        let covered = begins && !block.end.is_before(segment.end_seq);
        if covered || segment.pcount <= 1 || !after(segment.end_seq, block.start) {
            return Some(covered);
        }
        let mss = segment.mss().max(1);
        let mut length = if begins {
            let length = distance(segment.seq, block.end);
            if length < mss {
                return None;
            }
            length
        } else {
            distance(segment.seq, block.start).max(mss)
        };
        // Reports cover whole segments: what lies before the block is rounded up, what lies in it down.
        if length > mss {
            let whole = length / mss * mss;
            length = if !begins && whole < length {
                whole + mss
            } else {
                whole
            };
        }
        if length >= segment.len() && !begins {
            return Some(false);
        }
        self.queue_cost += i64::from(self.queue.split(index, length, mss));
        Some(begins)
    }

    /// Marks one segment as reported (`tcp_sacktag_one`).
    fn mark_sacked(
        &mut self,
        context: &mut Context<'_>,
        index: usize,
        duplicate: bool,
        taking: &mut Taking,
    ) {
        let highest = self.queue.highest_sack_seq(self.snd_una);
        let Some(segment) = self.queue.segments.get_mut(index) else {
            return;
        };
        let (seq, end_seq) = (segment.seq, segment.end_seq);
        let pcount = u32::from(segment.pcount);
        let recovery = &mut self.recovery;
        if duplicate && segment.marks.any(Marks::RETRANS) {
            if let (Some(marker), Some(undo @ 1..)) = (recovery.undo_marker, recovery.undo_retrans)
                && after(end_seq, marker)
            {
                recovery.undo_retrans = Some(undo.saturating_sub(pcount));
            }
            if segment.marks.any(Marks::SACKED) && seq.is_before(taking.reord) {
                taking.reord = seq;
            }
        }
        if segment.is_behind(self.snd_una) {
            return;
        }
        if !segment.marks.any(Marks::SACKED) {
            let (now, min) = (context.clock.arrived_us(), self.rtt.min_us());
            let (sent, sent_us) = (Sent::of(segment), segment.sent_us);
            self.rack.advance(now, min, segment.marks, sent);
            let lost = segment.marks.any(Marks::LOST);
            if segment.marks.any(Marks::RETRANSMITTED) {
                // Not marked lost, its retransmission may still be under way.
                if lost {
                    segment.marks.clear(Marks::LOST | Marks::RETRANSMITTED);
                    self.queue.lost_out = self.queue.lost_out.saturating_sub(pcount);
                    self.queue.retrans_out = self.queue.retrans_out.saturating_sub(pcount);
                }
            } else {
                if !segment.marks.any(Marks::RETRANS) {
                    // Out of a hole, and never retransmitted: it was overtaken.
                    if seq.is_before(highest) && seq.is_before(taking.reord) {
                        taking.reord = seq;
                    }
                    if !after(end_seq, recovery.high_seq) {
                        taking.flags.set(Flags::ORIG_SACK_ACKED);
                    }
                    if taking.first_sacked_us == 0 {
                        taking.first_sacked_us = sent_us;
                    }
                    taking.last_sacked_us = sent_us;
                }
                if lost {
                    segment.marks.clear(Marks::LOST);
                    self.queue.lost_out = self.queue.lost_out.saturating_sub(pcount);
                }
            }
            segment.marks.set(Marks::SACKED);
            taking.flags.set(Flags::DATA_SACKED);
            self.queue.sacked_out = self.queue.sacked_out.saturating_add(pcount);
            taking.sack_delivered += pcount;
        }
        if duplicate && segment.marks.any(Marks::RETRANSMITTED) {
            segment.marks.clear(Marks::RETRANSMITTED);
            self.queue.retrans_out = self.queue.retrans_out.saturating_sub(pcount);
        }
        self.delivery.delivered(segment, &mut taking.rate);
        self.queue.forget_time(index);
        if !seq.is_before(self.queue.highest_sack_seq(self.snd_una)) {
            self.queue.highest_sack = end_seq;
        }
    }

    /// Something arrived behind what was sent after it: how far is the reordering (`tcp_check_sack_reordering`)?
    pub(super) fn check_sack_reordering(
        &mut self,
        context: &mut Context<'_>,
        low: SequenceNumber,
        by_timestamp: bool,
    ) {
        let fack = self.queue.highest_sack_seq(self.snd_una);
        if !low.is_before(fack) {
            return;
        }
        let metric = distance(low, fack);
        let mss = self.mss_cache;
        if mss > 0 && metric > self.recovery.reordering.saturating_mul(mss) {
            self.recovery.reordering = metric.div_ceil(mss).min(context.settings.max_reordering);
        }
        self.recovery.reord_seen = self.recovery.reord_seen.saturating_add(1);
        context.counters.tcp_ext.count(if by_timestamp {
            TcpExtCounter::TCPTSReorder
        } else {
            TcpExtCounter::TCPSACKReorder
        });
    }
}
