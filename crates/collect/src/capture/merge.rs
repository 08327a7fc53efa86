//! Frames of many taps, put in the order of their times.
//!
//! Taps are read one after the other, so frames come in runs. Each is held until no tap can deliver an earlier one any more,
//! then all that are older are written in order. A frame that the kernel hands over still later than [`HOLD`] is written
//! out of order rather than lost.

use std::time::Duration;

use transect_packet::FrameDirection;
use transect_path::Timestamp;

/// How much later than its time stamp the kernel may hand a frame over.
pub(super) const HOLD: Duration = Duration::from_millis(50);

/// Frames that are held at most; with more the oldest half is written, in order as far as known.
const MOST: usize = 1 << 16;

/// A frame that waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldFrame {
    pub(super) time: Timestamp,
    /// The interface's number in the file.
    pub(super) interface: u32,
    pub(super) direction: FrameDirection,
    pub(super) original_length: u32,
    pub(super) data: Box<[u8]>,
}

/// The frames that wait.
#[derive(Debug, Default)]
pub(super) struct Merge {
    held: Vec<HeldFrame>,
}

impl Merge {
    /// Takes a frame in.
    pub(super) fn push(&mut self, frame: HeldFrame) {
        self.held.push(frame);
    }

    /// Nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// It is time to call [`release`](Self::release): so many wait that it is worth it, or they have waited long.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let long = |frame: &HeldFrame| frame.time + HOLD.saturating_mul(2) < now;
        self.held.len() >= MOST || self.held.first().is_some_and(long)
    }

    /// Takes out, in order, all frames that nothing earlier can follow, given that all taps were read at `now`.
    pub(super) fn release(&mut self, now: Timestamp) -> std::vec::Drain<'_, HeldFrame> {
        let old = now - HOLD;
        // Runs of sorted frames: the stable sort merges them.
        self.held.sort_by_key(|frame| frame.time);
        let mut count = self.held.partition_point(|frame| frame.time < old);
        if self.held.len() >= MOST {
            count = count.max(self.held.len() / 2);
        }
        self.held.drain(..count)
    }

    /// Takes out all frames in order: nothing more will come.
    pub(super) fn finish(&mut self) -> std::vec::Drain<'_, HeldFrame> {
        self.held.sort_by_key(|frame| frame.time);
        self.held.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(milliseconds: u64, interface: u32) -> HeldFrame {
        HeldFrame {
            time: Timestamp(0) + Duration::from_millis(milliseconds),
            interface,
            direction: FrameDirection::In,
            original_length: 60,
            data: Box::new([]),
        }
    }

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp(0) + Duration::from_millis(milliseconds)
    }

    #[test]
    fn runs_of_two_taps_become_one_order() {
        let mut merge = Merge::default();
        for time in [10, 20, 95] {
            merge.push(frame(time, 0));
        }
        for time in [5, 15, 25] {
            merge.push(frame(time, 1));
        }
        let order: Vec<_> = merge.release(at(100)).collect();
        let order: Vec<_> = order
            .iter()
            .map(|frame| (frame.time.0 / 1_000_000, frame.interface))
            .collect();
        assert_eq!(order, [(5, 1), (10, 0), (15, 1), (20, 0), (25, 1)]);
        // The last one is too young: another tap may still deliver an earlier frame.
        merge.push(frame(90, 1));
        let order: Vec<_> = merge.finish().map(|frame| frame.interface).collect();
        assert_eq!(order, [1, 0]);
        assert!(merge.is_empty());
    }

    #[test]
    fn frames_of_one_moment_stay_in_the_order_in_which_they_came() {
        let mut merge = Merge::default();
        for interface in [3, 1, 2] {
            merge.push(frame(7, interface));
        }
        let order: Vec<_> = merge.finish().map(|frame| frame.interface).collect();
        assert_eq!(order, [3, 1, 2]);
    }

    #[test]
    fn memory_is_bounded_when_time_stands_still() {
        let mut merge = Merge::default();
        for _ in 0..MOST - 1 {
            merge.push(frame(7, 0));
        }
        assert!(!merge.is_due(at(7)));
        merge.push(frame(7, 0));
        assert!(merge.is_due(at(7)));
        assert_eq!(merge.release(at(7)).count(), MOST / 2);
    }
}
