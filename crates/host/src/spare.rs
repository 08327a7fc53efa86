//! Memory that was used and will be again: a packet's bytes, a journey's steps, a buffer that fills and empties. Allocating such a
//! block costs more than most of the points that a packet passes, and giving a large one back to the system costs it again.
//!
//! What is kept belongs to the thread, so that what one host frees serves the other one; it is bounded, and nothing shows of it.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::journey::Journey;
use crate::packet::Fields;

/// Blocks of at most this many bytes are small: a frame of Ethernet's usual MTU is one.
const SMALL: usize = 2048;
/// Larger than this is not kept: the largest packet, a buffer of a connection that is not tuned up.
const LARGE: usize = 256 << 10;
/// How many of each are kept: 1 MiB, 4 MiB, and as many journeys and whole packets with small blocks.
const MOST_SMALL: usize = 512;
const MOST_LARGE: usize = 16;
const MOST_JOURNEYS: usize = 512;
const MOST_PACKETS: usize = 512;

struct Spare {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    #[expect(clippy::vec_box, reason = "the box is what is spared")]
    journeys: Vec<Box<Journey>>,
    #[expect(clippy::vec_box, reason = "likewise")]
    packets: Vec<Box<Fields>>,
}

thread_local! {
    static SPARE: RefCell<Spare> = const {
        RefCell::new(Spare {
            small: Vec::new(),
            large: Vec::new(),
            journeys: Vec::new(),
            packets: Vec::new(),
        })
    };
}

/// Something of what is spare; nothing where a thread ends, or where there is none.
#[inline]
fn with<T>(what: impl FnOnce(&mut Spare) -> Option<T>) -> Option<T> {
    let found = SPARE.try_with(|spare| match spare.try_borrow_mut() {
        Ok(mut spare) => what(&mut spare),
        Err(_) => None,
    });
    found.ok().flatten()
}

/// Empty, with room for that many bytes at least.
pub(crate) fn bytes(room: usize) -> Vec<u8> {
    let found = with(|spare| match room {
        0..=SMALL => spare.small.pop(),
        _ => spare.large.pop(),
    });
    match found {
        Some(mut found) => {
            found.reserve(room);
            found
        }
        None if room <= SMALL => Vec::with_capacity(SMALL),
        None => Vec::with_capacity(room),
    }
}

/// Bytes that nobody needs any more.
pub(crate) fn give_back(mut bytes: Vec<u8>) {
    let capacity = bytes.capacity();
    if !(SMALL..=LARGE).contains(&capacity) {
        return;
    }
    bytes.clear();
    with(|spare| {
        let (kept, most) = match capacity {
            SMALL => (&mut spare.small, MOST_SMALL),
            _ => (&mut spare.large, MOST_LARGE),
        };
        if kept.len() < most {
            kept.push(bytes);
        }
        Some(())
    });
}

/// A packet without a byte, all of its fields at their defaults but EtherType and time, with room for that many bytes at least.
#[inline]
pub(crate) fn packet(room: usize) -> Option<Box<Fields>> {
    match room {
        0..=SMALL => with(|spare| spare.packets.pop()),
        _ => None,
    }
}

/// A packet whose fields are as [`packet`] says.
#[inline]
pub(crate) fn give_back_packet(packet: Box<Fields>) {
    if packet.data.capacity() != SMALL {
        return;
    }
    let left = with(|spare| match spare.packets.len() < MOST_PACKETS {
        true => {
            spare.packets.push(packet);
            None
        }
        // Dropped outside: its bytes come back to this place.
        false => Some(packet),
    });
    drop(left);
}

/// An empty ring, with room for that many bytes at least.
pub(crate) fn ring(room: usize) -> VecDeque<u8> {
    bytes(room.max(SMALL + 1)).into()
}

/// Takes a ring's memory, where it is empty.
pub(crate) fn give_back_ring(ring: &mut VecDeque<u8>) {
    if ring.is_empty() {
        give_back(std::mem::take(ring).into());
    }
}

/// A journey without steps.
pub(crate) fn journey(packet: u64) -> Box<Journey> {
    match with(|spare| spare.journeys.pop()) {
        Some(mut journey) => {
            journey.packet = packet;
            journey
        }
        None => Box::new(Journey::new(packet)),
    }
}

/// The journey so far of what is cut out of a packet.
pub(crate) fn journey_like(whole: &Journey) -> Box<Journey> {
    let mut part = journey(whole.packet);
    part.copy(whole);
    part
}

/// A journey that nobody follows any more.
pub(crate) fn give_back_journey(mut journey: Box<Journey>) {
    if !journey.clear() {
        return;
    }
    with(|spare| {
        if spare.journeys.len() < MOST_JOURNEYS {
            spare.journeys.push(journey);
        }
        Some(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_comes_again_empty() {
        let mut first = bytes(1514);
        first.extend([1; 1514]);
        let place = first.as_ptr();
        give_back(first);
        let again = bytes(60);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert!(again.capacity() >= 60);
    }

    #[test]
    fn no_more_is_kept_than_the_limits_say() {
        for _ in 0..2 * MOST_SMALL {
            give_back(Vec::with_capacity(SMALL));
            give_back(Vec::with_capacity(LARGE));
            give_back(Vec::with_capacity(LARGE + 1));
            give_back(Vec::new());
        }
        SPARE.with_borrow(|spare| {
            assert_eq!(spare.small.len(), MOST_SMALL);
            assert_eq!(spare.large.len(), MOST_LARGE);
        });
    }

    #[test]
    fn a_ring_that_holds_something_is_left_alone() {
        let mut used = ring(10);
        used.extend([1, 2, 3]);
        give_back_ring(&mut used);
        assert_eq!(used, [1, 2, 3]);
        used.clear();
        give_back_ring(&mut used);
        assert_eq!(used.capacity(), 0);
    }
}
