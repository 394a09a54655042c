//! Updates that wait for their tick to close. In: updates, mostly in the order of their ticks. Out: those of one tick at a time, as
//! they came. Cannot fail.
//!
//! Each tick has a heap of its own, so that what is sorted in it is small enough for a core's own cache, and nothing sorts the
//! ticks. Heaps are used again and again: to let them grow anew cost a tenth of a replay, most of it the kernel's, for clearing
//! pages. One that is larger than what comes lately, such as a preamble's, is given back.

use std::collections::BTreeMap;

use crate::model::{Diff, Tick};

/// A heap with room for more rows is large.
const ROWS_SMALL: usize = 1 << 10;

/// So many empty heaps are kept at most: a replay closes about as many ticks at a time.
const HEAPS_KEPT: usize = 256;

/// So many of them may be large: about as many ticks are open at a time.
const LARGE_KEPT: usize = 4;

/// What comes lately is the most of a tick, which counts by this part less with each later one.
const FADES: usize = 8;

/// Updates by tick.
pub(crate) struct ByTick<D> {
    heaps: BTreeMap<Tick, Vec<(D, Diff)>>,
    small: Vec<Vec<(D, Diff)>>,
    large: Vec<Vec<(D, Diff)>>,
    /// How many rows come at a tick lately.
    lately: usize,
}

impl<D> Default for ByTick<D> {
    fn default() -> Self {
        ByTick { heaps: BTreeMap::new(), small: Vec::new(), large: Vec::new(), lately: 0 }
    }
}

impl<D> ByTick<D> {
    /// Takes up updates.
    pub fn add(&mut self, updates: impl Iterator<Item = (D, Tick, Diff)>) {
        let ByTick { heaps, small, large, lately } = self;
        let mut empty = || if *lately > ROWS_SMALL { large.pop() } else { small.pop() }.unwrap_or_default();
        let mut last = None;
        for (data, tick, diff) in updates {
            let heap = match last {
                Some((at, heap)) if at == tick => heap,
                _ => heaps.entry(tick).or_insert_with(&mut empty),
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
        let heap = self.heaps.remove(&tick).unwrap_or_default();
        self.lately = heap.len().max(self.lately - self.lately / FADES);
        heap
    }

    /// Takes back a heap, to be filled again.
    pub fn give_back(&mut self, mut heap: Vec<(D, Diff)>) {
        heap.clear();
        self.large.retain(|large| large.capacity() <= 2 * self.lately);
        let (kept, most) = match heap.capacity() {
            0 => return,
            1..=ROWS_SMALL => (&mut self.small, HEAPS_KEPT),
            room if room <= 2 * self.lately => (&mut self.large, LARGE_KEPT),
            _ => return,
        };
        if kept.len() < most {
            kept.push(heap);
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
    fn a_large_heap_is_used_again_while_ticks_are_large() {
        let mut waiting = ByTick::default();
        let mut tick = |now, rows: usize| {
            waiting.add((0..rows).map(|row| (row, now, 1)));
            let heap = waiting.take(now);
            let room = heap.capacity();
            waiting.give_back(heap);
            (room, waiting.large.len())
        };
        let (room, kept) = tick(1, 10 * ROWS_SMALL);
        assert!(room >= 10 * ROWS_SMALL && kept == 1);
        assert_eq!(tick(2, 9 * ROWS_SMALL), (room, 1));
        // After a few small ones there is none.
        assert!((3..20).any(|now| tick(now, 1).1 == 0));
        assert!(tick(20, 1).0 < room);
    }
}
