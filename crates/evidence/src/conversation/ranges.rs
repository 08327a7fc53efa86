//! Sets of byte ranges, bounded.

use std::ops::Range;

/// Disjoint ranges in ascending order, never touching each other; at most `limit` of them.
///
/// When there would be more, the two with the smallest gap between them are joined, and the set is rough from then on: it
/// says more than was put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RangeSet {
    ranges: Vec<Range<u64>>,
    limit: usize,
    rough: bool,
}

impl RangeSet {
    pub(super) fn new(limit: usize) -> Self {
        RangeSet {
            ranges: Vec::new(),
            limit: limit.max(1),
            rough: false,
        }
    }

    pub(super) fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    pub(super) fn is_rough(&self) -> bool {
        self.rough
    }

    /// Adds a range; the answer is how many of its bytes were there already.
    pub(super) fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        // The ranges that touch or overlap the new one are `from..to`.
        let from = self.ranges.partition_point(|old| old.end < range.start);
        let to = from
            + self
                .ranges
                .get(from..)
                .unwrap_or_default()
                .partition_point(|old| old.start <= range.end);
        let touched = self.ranges.get(from..to).unwrap_or_default();
        let known: u64 = touched
            .iter()
            .map(|old| {
                old.end
                    .min(range.end)
                    .saturating_sub(old.start.max(range.start))
            })
            .sum();
        let joined = match (touched.first(), touched.last()) {
            (Some(first), Some(last)) => first.start.min(range.start)..last.end.max(range.end),
            _ => range,
        };
        self.ranges.splice(from..to, [joined]);
        if self.ranges.len() > self.limit {
            self.join_closest();
        }
        known
    }

    fn join_closest(&mut self) {
        let closest = self
            .ranges
            .windows(2)
            .enumerate()
            .min_by_key(|(_, pair)| pair[1].start - pair[0].end)
            .map(|(index, _)| index);
        let Some(index) = closest else { return };
        if index + 1 < self.ranges.len() {
            let next = self.ranges.remove(index + 1);
            self.ranges[index].end = next.end;
            self.rough = true;
        }
    }

    /// Forgets everything before `offset`.
    pub(super) fn forget_before(&mut self, offset: u64) {
        self.ranges.retain_mut(|range| {
            range.start = range.start.max(offset);
            !range.is_empty()
        });
    }
}

/// The union of range lists.
pub(super) fn union(lists: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut all: Vec<Range<u64>> = lists.filter(|range| !range.is_empty()).collect();
    all.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(all.len());
    for range in all {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// What is in `ranges` and not in `holes`; both sorted and disjoint.
pub(super) fn subtract(ranges: &[Range<u64>], holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    for range in ranges {
        let mut start = range.start;
        for hole in holes {
            if hole.end <= start || hole.start >= range.end {
                continue;
            }
            if hole.start > start {
                left.push(start..hole.start);
            }
            start = start.max(hole.end);
        }
        if start < range.end {
            left.push(start..range.end);
        }
    }
    left
}

/// How many bytes the ranges hold; they must be disjoint.
pub(super) fn length(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "lists of one range are what is meant"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn joins_what_touches() {
        let mut set = RangeSet::new(8);
        assert_eq!(set.insert(10..20), 0);
        assert_eq!(set.insert(30..40), 0);
        assert_eq!(set.insert(20..25), 0);
        assert_eq!(set.ranges(), [10..25, 30..40]);
        assert_eq!(set.insert(24..31), 2);
        assert_eq!(set.ranges(), [10..40]);
        assert_eq!(set.insert(0..50), 30);
        assert_eq!(set.ranges(), [0..50]);
        assert!(!set.is_rough());
    }

    #[test]
    fn says_when_it_gave_up_a_gap() {
        let mut set = RangeSet::new(2);
        set.insert(0..1);
        set.insert(10..11);
        set.insert(13..14);
        assert_eq!(set.ranges(), [0..1, 10..14]);
        assert!(set.is_rough());
    }

    proptest! {
        #[test]
        fn agrees_with_a_table_of_bytes(inserted in prop::collection::vec((0u64..200, 0u64..20), 0..40)) {
            let mut set = RangeSet::new(1000);
            let mut table = [false; 256];
            for (start, length) in inserted {
                let cells = &mut table[start as usize..(start + length) as usize];
                let known = cells.iter().filter(|cell| **cell).count() as u64;
                cells.fill(true);
                prop_assert_eq!(set.insert(start..start + length), known);
            }
            let mut expected = [false; 256];
            for range in set.ranges() {
                expected[range.start as usize..range.end as usize].fill(true);
            }
            prop_assert_eq!(table, expected);
            prop_assert!(set.ranges().windows(2).all(|pair| pair[0].end < pair[1].start));
        }

        #[test]
        fn subtraction_leaves_what_is_in_no_hole(
            ranges in prop::collection::vec((0u64..200, 1u64..20), 0..20),
            holes in prop::collection::vec((0u64..200, 1u64..20), 0..20),
        ) {
            let list = |pairs: Vec<(u64, u64)>| union(pairs.into_iter().map(|(start, length)| start..start + length));
            let (ranges, holes) = (list(ranges), list(holes));
            let left = subtract(&ranges, &holes);
            for byte in 0..256u64 {
                let inside = |list: &[Range<u64>]| list.iter().any(|range| range.contains(&byte));
                prop_assert_eq!(inside(&left), inside(&ranges) && !inside(&holes));
            }
        }
    }
}
