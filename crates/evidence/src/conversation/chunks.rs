//! A list that grows by chunks: no copy and no doubled memory when it grows, and 32-bit indexes.

/// How many values one chunk holds.
const CHUNK: usize = 4096;

/// The index that stands for "none" in links between records.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Chunks<T> {
    chunks: Vec<Vec<T>>,
}

// Derived, it would ask for `T: Default`.
impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Chunks { chunks: Vec::new() }
    }
}

impl<T> Chunks<T> {
    pub(super) fn len(&self) -> usize {
        match self.chunks.split_last() {
            Some((last, full)) => full.len() * CHUNK + last.len(),
            None => 0,
        }
    }

    /// Appends a value; nothing when 2^32 - 1 values are there already.
    pub(super) fn push(&mut self, value: T) -> Option<u32> {
        let index = u32::try_from(self.len())
            .ok()
            .filter(|&index| index != NONE)?;
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(value),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
        Some(index)
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let index = index as usize;
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let index = index as usize;
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_stay_valid_across_chunks() {
        let mut list = Chunks::default();
        for value in 0..10_000u32 {
            assert_eq!(list.push(value), Some(value));
        }
        assert_eq!(list.len(), 10_000);
        assert!((0..10_000).all(|index| list.get(index) == Some(&index)));
        assert_eq!(list.get(10_000), None);
        assert_eq!(list.get(NONE), None);
    }
}
