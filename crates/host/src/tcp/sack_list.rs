//! What this end reports of what lies out of order (`selective_acks`, `duplicate_sack`; RFC 2018, 2883): the block that changed
//! last comes first, a duplicate's before all.

use transect_packet::{SackBlock, SequenceNumber};

use super::segment::after;

/// How many blocks are kept (`TCP_NUM_SACKS`).
const BLOCKS: usize = 4;
/// With more than this many in use, a compressed ACK goes out at once (`TCP_SACK_BLOCKS_EXPECTED`).
const EXPECTED: usize = 2;

/// The blocks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SackList {
    blocks: [SackBlock; BLOCKS],
    used: u8,
    duplicate: Option<SackBlock>,
}

/// Joins a range to a block that it touches (`tcp_sack_extend`).
fn extend(block: &mut SackBlock, start: SequenceNumber, end: SequenceNumber) -> bool {
    let touches = !after(start, block.end) && !after(block.start, end);
    if touches {
        if start.is_before(block.start) {
            block.start = start;
        }
        if after(end, block.end) {
            block.end = end;
        }
    }
    touches
}

impl SackList {
    /// A range arrived out of order (`tcp_sack_new_ofo_skb`). True: an ACK that is held back has to go out.
    pub(super) fn add(&mut self, start: SequenceNumber, end: SequenceNumber) -> bool {
        let used = usize::from(self.used);
        let known = self
            .blocks
            .iter_mut()
            .take(used)
            .position(|block| extend(block, start, end));
        if let Some(place) = known {
            if let Some(front) = self.blocks.get_mut(..=place) {
                front.rotate_right(1);
            }
            self.join();
            return place >= EXPECTED;
        }
        self.used = (used + 1).min(BLOCKS) as u8;
        self.blocks.rotate_right(1);
        self.blocks[0] = SackBlock { start, end };
        used >= EXPECTED
    }

    /// The first block grew: others may lie in it now (`tcp_sack_maybe_coalesce`).
    fn join(&mut self) {
        let mut place = 1;
        while place < usize::from(self.used) {
            let [first, ..] = &mut self.blocks;
            let mut joined = *first;
            let joins = self
                .blocks
                .get(place)
                .is_some_and(|other| extend(&mut joined, other.start, other.end));
            if joins {
                self.blocks[0] = joined;
                self.remove(place);
            } else {
                place += 1;
            }
        }
    }

    fn remove(&mut self, place: usize) {
        if let Some(behind) = self.blocks.get_mut(place..usize::from(self.used)) {
            behind.rotate_left(1);
            self.used -= 1;
        }
    }

    /// What is in order now is reported no more (`tcp_sack_remove`).
    pub(super) fn remove_before(&mut self, rcv_nxt: SequenceNumber, nothing_left: bool) {
        if nothing_left {
            self.used = 0;
            return;
        }
        let mut place = 0;
        while let Some(block) = self.blocks.get(place) {
            if place >= usize::from(self.used) {
                break;
            }
            if rcv_nxt.is_before(block.start) {
                place += 1;
            } else {
                self.remove(place);
            }
        }
    }

    /// The end of what lies farthest ahead.
    pub(super) fn rightmost(&self) -> Option<SequenceNumber> {
        self.blocks
            .iter()
            .take(usize::from(self.used))
            .map(|block| block.end)
            .reduce(super::segment::later)
    }

    /// Forgets all (`tcp_sack_reset`).
    pub(super) fn clear(&mut self) {
        *self = SackList::default();
    }

    /// A duplicate arrived (`tcp_dsack_set`, without its counters).
    pub(super) fn set_duplicate(&mut self, start: SequenceNumber, end: SequenceNumber) {
        self.duplicate = Some(SackBlock { start, end });
    }

    /// More of it did (`tcp_dsack_extend`). False: there is none to extend.
    pub(super) fn extend_duplicate(&mut self, start: SequenceNumber, end: SequenceNumber) -> bool {
        match &mut self.duplicate {
            Some(block) => {
                extend(block, start, end);
                true
            }
            None => false,
        }
    }

    /// It was told, or another segment came.
    pub(super) fn forget_duplicate(&mut self) {
        self.duplicate = None;
    }

    /// The blocks for the next segment, at most `room` of them.
    pub(super) fn blocks(&self, room: usize) -> ([SackBlock; BLOCKS], usize) {
        let mut blocks = [SackBlock::default(); BLOCKS];
        let used = self.blocks.iter().take(usize::from(self.used));
        let mut count = 0;
        for (slot, block) in blocks
            .iter_mut()
            .zip(self.duplicate.iter().chain(used))
            .take(room)
        {
            *slot = *block;
            count += 1;
        }
        (blocks, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seq(number: u32) -> SequenceNumber {
        SequenceNumber(number)
    }

    fn shown(list: &SackList, room: usize) -> Vec<(u32, u32)> {
        let (blocks, count) = list.blocks(room);
        blocks[..count]
            .iter()
            .map(|block| (block.start.0, block.end.0))
            .collect()
    }

    #[test]
    fn the_block_that_changed_last_comes_first() {
        let mut list = SackList::default();
        assert!(!list.add(seq(100), seq(200)));
        assert!(!list.add(seq(300), seq(400)));
        assert!(list.add(seq(500), seq(600)));
        assert_eq!(shown(&list, 4), [(500, 600), (300, 400), (100, 200)]);
        assert!(list.add(seq(200), seq(250)));
        assert_eq!(shown(&list, 4), [(100, 250), (500, 600), (300, 400)]);
        // It fills the gap between two: they become one.
        assert!(list.add(seq(250), seq(300)) || shown(&list, 4)[0] == (100, 400));
        assert_eq!(shown(&list, 4), [(100, 400), (500, 600)]);
        list.remove_before(seq(400), false);
        assert_eq!(shown(&list, 4), [(500, 600)]);
    }

    #[test]
    fn the_fifth_pushes_the_oldest_out_and_a_duplicate_comes_before_all() {
        let mut list = SackList::default();
        for start in [100, 300, 500, 700, 900] {
            list.add(seq(start), seq(start + 10));
        }
        list.set_duplicate(seq(10), seq(20));
        assert!(list.extend_duplicate(seq(20), seq(25)));
        assert_eq!(shown(&list, 3), [(10, 25), (900, 910), (700, 710)]);
        list.forget_duplicate();
        assert_eq!(
            shown(&list, 4),
            [(900, 910), (700, 710), (500, 510), (300, 310)]
        );
    }
}
