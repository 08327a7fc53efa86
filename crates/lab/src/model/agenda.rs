//! What is going to happen, in order of time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use transect_path::Timestamp;

/// One entry: what happens earlier comes first; of the same moment, what was entered first.
#[derive(Debug)]
struct Entry<T> {
    at: Timestamp,
    number: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Things to come. Entering and taking out are O(log n).
#[derive(Debug)]
pub(super) struct Agenda<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    entered: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Agenda {
            heap: BinaryHeap::new(),
            entered: 0,
        }
    }
}

impl<T> Agenda<T> {
    /// Enters something.
    pub(super) fn enter(&mut self, at: Timestamp, what: T) {
        self.entered += 1;
        self.heap.push(Reverse(Entry {
            at,
            number: self.entered,
            what,
        }));
    }

    /// How many things are to come.
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// When the next thing happens.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Takes out the next thing.
    pub(super) fn pop(&mut self) -> Option<T> {
        self.heap.pop().map(|Reverse(entry)| entry.what)
    }
}

/// Deadlines, at most one for each owner, so that asking again and again for the same one costs no memory.
#[derive(Debug)]
pub(super) struct Deadlines<K> {
    by_time: BTreeSet<(Timestamp, K)>,
    by_owner: BTreeMap<K, Timestamp>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Deadlines {
            by_time: BTreeSet::new(),
            by_owner: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Copy> Deadlines<K> {
    /// Sets or moves an owner's deadline; with nothing, takes it back.
    pub(super) fn set(&mut self, owner: K, deadline: Option<Timestamp>) {
        let old = match deadline {
            Some(deadline) => self.by_owner.insert(owner, deadline),
            None => self.by_owner.remove(&owner),
        };
        if let Some(old) = old {
            self.by_time.remove(&(old, owner));
        }
        if let Some(deadline) = deadline {
            self.by_time.insert((deadline, owner));
        }
    }

    /// The next one.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out the owner of the next one.
    pub(super) fn pop(&mut self) -> Option<K> {
        let (_, owner) = self.by_time.pop_first()?;
        self.by_owner.remove(&owner);
        Some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_comes_first_and_of_one_moment_what_was_entered_first() {
        let mut agenda = Agenda::default();
        for (at, what) in [(3, 'd'), (1, 'a'), (2, 'b'), (2, 'c')] {
            agenda.enter(Timestamp(at), what);
        }
        assert_eq!(agenda.next(), Some(Timestamp(1)));
        let order: String = std::iter::from_fn(|| agenda.pop()).collect();
        assert_eq!(order, "abcd");
        assert_eq!(agenda.next(), None);
    }

    #[test]
    fn an_owner_has_one_deadline_and_the_last_word_counts() {
        let mut deadlines = Deadlines::default();
        deadlines.set(1, Some(Timestamp(10)));
        deadlines.set(2, Some(Timestamp(5)));
        deadlines.set(1, Some(Timestamp(1)));
        deadlines.set(2, None);
        assert_eq!(deadlines.next(), Some(Timestamp(1)));
        assert_eq!((deadlines.pop(), deadlines.pop()), (Some(1), None));
    }
}
