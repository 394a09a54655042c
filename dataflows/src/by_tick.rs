//! Updates that wait for their tick to close. In: updates, mostly in the order of their ticks. Out: those of one tick at a time, as
//! they came. Cannot fail.
//!
//! Each tick has a heap of its own, so that what is sorted in it is small enough for a core's own cache, and nothing sorts the
//! ticks. The heaps of small ticks are used again and again: to let them grow anew cost a tenth of a replay, most of it the
//! kernel's, for clearing pages. That of a large one, such as a preamble's, is given back.

use std::collections::BTreeMap;

use crate::model::{Diff, Tick};

/// A heap with room for more rows is given back.
const ROWS_KEPT: usize = 1 << 10;

/// So many empty heaps are kept at most: a replay closes about as many ticks at a time.
const HEAPS_KEPT: usize = 256;

/// Updates by tick.
pub(crate) struct ByTick<D> {
    heaps: BTreeMap<Tick, Vec<(D, Diff)>>,
    empty: Vec<Vec<(D, Diff)>>,
}

impl<D> Default for ByTick<D> {
    fn default() -> Self {
        ByTick { heaps: BTreeMap::new(), empty: Vec::new() }
    }
}

impl<D> ByTick<D> {
    /// Takes up updates.
    pub fn add(&mut self, updates: impl Iterator<Item = (D, Tick, Diff)>) {
        let ByTick { heaps, empty } = self;
        let mut last = None;
        for (data, tick, diff) in updates {
            let heap = match last {
                Some((at, heap)) if at == tick => heap,
                _ => heaps.entry(tick).or_insert_with(|| empty.pop().unwrap_or_default()),
            };
            heap.push((data, diff));
            last = Some((tick, heap));
        }
    }

    /// The first tick of which there is any.
    pub fn first(&self) -> Option<Tick> {
        self.heaps.first_key_value().map(|(tick, _)| *tick)
    }

    /// Takes the updates of `tick`. Whoever has dealt with them gives the heap back.
    pub fn take(&mut self, tick: Tick) -> Vec<(D, Diff)> {
        self.heaps.remove(&tick).unwrap_or_default()
    }

    /// Takes back a heap, to be filled again.
    pub fn give_back(&mut self, mut heap: Vec<(D, Diff)>) {
        heap.clear();
        if (1..=ROWS_KEPT).contains(&heap.capacity()) && self.empty.len() < HEAPS_KEPT {
            self.empty.push(heap);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tick_has_its_own_as_they_came() {
        let mut waiting = ByTick::default();
        waiting.add([('a', 2, 1), ('b', 1, 1), ('c', 2, -1)].into_iter());
        waiting.add([('d', 1, 1)].into_iter());
        assert_eq!(waiting.first(), Some(1));
        let heap = waiting.take(1);
        assert_eq!(heap, [('b', 1), ('d', 1)]);
        waiting.give_back(heap);
        assert_eq!((waiting.take(2), waiting.first()), (vec![('a', 1), ('c', -1)], None));
        waiting.add([('e', 3, 1)].into_iter());
        assert_eq!(waiting.take(3), [('e', 1)]);
        assert_eq!(waiting.take(3), []);
    }

    #[test]
    fn a_heap_that_grew_large_is_given_back() {
        let mut waiting = ByTick::default();
        waiting.add((0..10 * ROWS_KEPT).map(|row| (row, 1, 1)));
        let heap = waiting.take(1);
        waiting.give_back(heap);
        assert!(waiting.empty.is_empty());
    }
}
