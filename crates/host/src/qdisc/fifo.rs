//! First in, first out: `pfifo` and `bfifo` (sch_fifo.c), and `pfifo_fast` with its three bands (sch_generic.c).

use std::collections::VecDeque;

use super::Waiting;

/// Which band a priority belongs to (`sch_default_prio2band`).
pub(super) const PRIORITY_TO_BAND: [u8; 16] = [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];

/// One queue with a limit.
#[derive(Debug)]
pub(super) struct Fifo {
    queue: VecDeque<Waiting>,
    bytes: u64,
    limit: Limit,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    Packets(u64),
    Bytes(u64),
}

impl Fifo {
    /// `pfifo`.
    pub(super) fn packets(limit: u64) -> Self {
        Self::with(Limit::Packets(limit))
    }

    /// `bfifo`.
    pub(super) fn bytes(limit: u64) -> Self {
        Self::with(Limit::Bytes(limit))
    }

    fn with(limit: Limit) -> Self {
        Fifo {
            queue: VecDeque::new(),
            bytes: 0,
            limit,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self.limit {
            Limit::Packets(_) => "pfifo",
            Limit::Bytes(_) => "bfifo",
        }
    }

    pub(super) fn limit(&self) -> u64 {
        match self.limit {
            Limit::Packets(limit) | Limit::Bytes(limit) => limit,
        }
    }

    /// `pfifo_enqueue`, `bfifo_enqueue`. What has no room comes back.
    pub(super) fn enqueue(&mut self, waiting: Waiting) -> Option<Waiting> {
        let room = match self.limit {
            Limit::Packets(limit) => (self.queue.len() as u64) < limit,
            Limit::Bytes(limit) => self.bytes.saturating_add(waiting.length) <= limit,
        };
        if !room {
            return Some(waiting);
        }
        self.bytes = self.bytes.saturating_add(waiting.length);
        self.queue.push_back(waiting);
        None
    }

    /// How long the next one is.
    pub(super) fn peek_length(&self) -> Option<u64> {
        self.queue.front().map(|waiting| waiting.length)
    }

    pub(super) fn dequeue(&mut self) -> Option<Waiting> {
        let waiting = self.queue.pop_front()?;
        self.bytes = self.bytes.saturating_sub(waiting.length);
        Some(waiting)
    }

    pub(super) fn purge(&mut self) -> Vec<Waiting> {
        self.bytes = 0;
        self.queue.drain(..).collect()
    }
}

/// Three queues, each with room for `txqueuelen` packets; the lower band always goes first.
#[derive(Debug)]
pub(super) struct PfifoFast {
    bands: [Fifo; 3],
}

impl PfifoFast {
    pub(super) fn new(queue_length: u32) -> Self {
        // A ring of no slots cannot be: `pfifo_fast_init` refuses it, and the kernel falls back to noqueue.
        let limit = u64::from(queue_length.max(1));
        PfifoFast {
            bands: std::array::from_fn(|_| Fifo::packets(limit)),
        }
    }

    /// `pfifo_fast_enqueue`. What has no room comes back.
    pub(super) fn enqueue(&mut self, waiting: Waiting) -> Option<Waiting> {
        let priority = (waiting.packet.priority & 15) as usize;
        let band = PRIORITY_TO_BAND.get(priority).copied().unwrap_or(1);
        match self.bands.get_mut(usize::from(band)) {
            Some(band) => band.enqueue(waiting),
            None => Some(waiting),
        }
    }

    /// `pfifo_fast_dequeue`.
    pub(super) fn dequeue(&mut self) -> Option<Waiting> {
        self.bands.iter_mut().find_map(Fifo::dequeue)
    }

    pub(super) fn purge(&mut self) -> Vec<Waiting> {
        self.bands.iter_mut().flat_map(Fifo::purge).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;

    fn waiting(priority: u32, length: u64) -> Waiting {
        let mut packet = Packet::from_network(&[0x45, 0, 0, 20]);
        packet.priority = priority;
        Waiting { packet, length }
    }

    #[test]
    fn the_urgent_band_goes_first_and_each_has_its_own_limit() {
        let mut queue = PfifoFast::new(2);
        for priority in [0, 2, 6] {
            assert!(queue.enqueue(waiting(priority, 100)).is_none());
            assert!(queue.enqueue(waiting(priority, 100)).is_none());
            assert!(queue.enqueue(waiting(priority, 100)).is_some());
        }
        let order: Vec<u32> = std::iter::from_fn(|| queue.dequeue())
            .map(|waiting| waiting.packet.priority)
            .collect();
        assert_eq!(order, [6, 6, 0, 0, 2, 2]);
    }

    #[test]
    fn bytes_are_counted_back_when_they_leave() {
        let mut queue = Fifo::bytes(1600);
        assert!(queue.enqueue(waiting(0, 1000)).is_none());
        assert!(queue.enqueue(waiting(0, 601)).is_some());
        assert!(queue.enqueue(waiting(0, 600)).is_none());
        assert_eq!(queue.dequeue().map(|first| first.length), Some(1000));
        assert!(queue.enqueue(waiting(0, 1000)).is_none());
        assert_eq!(queue.purge().len(), 2);
        assert!(queue.enqueue(waiting(0, 1600)).is_none());
    }

    #[test]
    fn packets_are_limited_by_number() {
        let mut queue = Fifo::packets(1);
        assert!(queue.enqueue(waiting(0, 9000)).is_none());
        assert!(queue.enqueue(waiting(0, 1)).is_some());
        assert_eq!((queue.kind(), queue.limit()), ("pfifo", 1));
    }
}
