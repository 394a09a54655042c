//! What is kept of keys, so that it can be written down as of a tick while it changes. In: keys and values. Out: the same; and for a
//! snapshot all of them as they were when it began. Cannot fail.
//!
//! The keys lie in shards. A snapshot walks these, a few at a time; a key that is to change before its shard's turn is written
//! first, and skipped then. While no snapshot is under way that costs one comparison a change. Shards also grow one by
//! one, so that no change ever waits for all of them.

use std::hash::BuildHasherDefault;
use std::hint::black_box;

use hashbrown::HashSet;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::dense::Dense;
use crate::model::{Id, IdHasher, Tick};
use crate::snapshot::Section;

/// Chosen by the highest bits of an id: the lowest say whose it is of the workers, those between are the hash in a shard.
const SHARDS: usize = 256;

/// Shards are the wider the further on, the last twice as wide as the first. Were all alike, they would all grow within a few ticks,
/// which would take so much longer for it.
const BEND: u64 = 3;

/// Values by key.
pub(crate) struct Keyed<V> {
    shards: Box<[Dense<V>]>,
    len: usize,
    /// Where they are written; none: nowhere.
    section: Option<Section>,
    /// Set while a snapshot is under way.
    writing: Option<Box<Writing>>,
}

/// How far a snapshot is.
#[derive(Default)]
struct Writing {
    /// The shards before this one are written.
    next: usize,
    /// Keys of the others that are written already, or were not there when the snapshot began.
    ahead: HashSet<Id, BuildHasherDefault<IdHasher>>,
}

fn shard(key: Id) -> usize {
    const WHOLE: u64 = 1 << u32::BITS;
    let part = key.0 / WHOLE;
    let bent = part + part * (WHOLE - part) / (BEND * WHOLE);
    (bent * SHARDS as u64 / WHOLE) as usize
}

impl<V> Default for Keyed<V> {
    fn default() -> Self {
        Keyed { shards: (0..SHARDS).map(|_| Dense::default()).collect(), len: 0, section: None, writing: None }
    }
}

impl<V> Keyed<V> {
    /// What is kept of a key.
    pub fn get(&self, key: Id) -> Option<&V> {
        self.shards[shard(key)].get(key)
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All keys, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &V)> {
        self.shards.iter().flat_map(Dense::iter)
    }

    /// The tick of a snapshot that is to be begun before the ticks before `upper` are visited whole.
    pub fn due(&self, upper: Option<Tick>) -> Option<Tick> {
        self.section.as_ref()?.due(upper)
    }
}

impl<V: Serialize + DeserializeOwned> Keyed<V> {
    /// What an earlier snapshot has of `section`, which snapshots are written to from now on. Each value that was kept of a key
    /// goes through `place`, which keeps it, or what there is for this worker.
    pub fn in_section(section: Section, mut place: impl FnMut(&mut Self, Id, V)) -> Keyed<V> {
        let mut keyed = Keyed::default();
        section.read(|(key, value)| place(&mut keyed, key, value));
        keyed.section = Some(section);
        keyed
    }
}

impl<V: Serialize> Keyed<V> {
    /// What is kept of a key, to be changed.
    pub fn get_mut(&mut self, key: Id) -> Option<&mut V> {
        self.before_change(key);
        self.shards[shard(key)].get_mut(key)
    }

    /// Keeps a value in the place of what was kept of the key.
    pub fn insert(&mut self, key: Id, value: V) -> Option<V> {
        self.before_change(key);
        let before = self.shards[shard(key)].insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Keeps nothing of a key any more.
    pub fn remove(&mut self, key: Id) -> Option<V> {
        self.before_change(key);
        let before = self.shards[shard(key)].remove(key);
        self.len -= usize::from(before.is_some());
        before
    }

    /// Writes a snapshot of `tick`, as all is now: [`Keyed::write_some`] does it from now on.
    pub fn begin(&mut self, tick: Tick) {
        if let Some(section) = &mut self.section {
            section.begin(tick);
            self.writing = Some(Box::default());
        }
    }

    /// Writes some more keys, if a snapshot is under way. Whether there are still more.
    pub fn write_some(&mut self) -> bool {
        let (Some(writing), Some(section)) = (&mut self.writing, &mut self.section) else { return false };
        let mut written = 0;
        while written < section.pace() {
            let Some(shard) = self.shards.get(writing.next) else {
                section.end();
                self.writing = None;
                return false;
            };
            for (key, value) in shard.iter().filter(|(key, _)| !writing.ahead.contains(key)) {
                section.write(&(key, value));
                written += 1;
            }
            writing.next += 1;
        }
        true
    }

    fn before_change(&mut self, key: Id) {
        if self.writing.is_some() {
            self.write_ahead(key);
        }
    }

    #[cold]
    fn write_ahead(&mut self, key: Id) {
        let (Some(writing), Some(section)) = (&mut self.writing, &mut self.section) else { return };
        if shard(key) >= writing.next
            && writing.ahead.insert(key)
            && let Some(value) = self.shards[shard(key)].get(key)
        {
            section.write(&(key, value));
        }
    }
}

impl<V: Serialize + Default> Keyed<V> {
    /// Changes what is kept of a key, its default when nothing is, and goes on keeping it if `change` says so. A key that comes and
    /// goes at once never gets a place.
    pub fn change(&mut self, key: Id, change: impl FnOnce(&mut V) -> bool) {
        self.before_change(key);
        let shard = &mut self.shards[shard(key)];
        let before = shard.len();
        shard.change(key, change);
        self.len = self.len - before + shard.len();
    }

    /// What is kept of a key, to be changed; its default when nothing is.
    pub fn get_or_default(&mut self, key: Id) -> &mut V {
        self.before_change(key);
        let Keyed { shards, len, .. } = self;
        shards[shard(key)].get_or_insert_with(key, || {
            *len += 1;
            V::default()
        })
    }
}

/// Looks for keys before it is their turn. Memory is far away, and to look for many of which none waits for another takes hardly longer
/// than for one.
pub(crate) struct Ahead {
    /// It is looked again when no more rows than this are left.
    left: usize,
}

impl Default for Ahead {
    fn default() -> Self {
        Ahead { left: usize::MAX }
    }
}

impl Ahead {
    /// So many rows at a time: what they need stays in a core's own cache until their turn.
    const ROWS: usize = 32;

    /// To be called before the first of these `rows` has its turn, each time with those that are left.
    pub fn look<T, V>(&mut self, keyed: &Keyed<V>, rows: &[T], key: impl Fn(&T) -> Id) {
        if rows.len() <= self.left {
            let next = &rows[..rows.len().min(Ahead::ROWS)];
            for row in next {
                black_box(keyed.get(key(row)).is_some());
            }
            self.left = rows.len() - next.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::snapshot::{Pace, Seat, Snapshots, Told};

    /// What is written of the snapshots of one section.
    type Heard = Arc<Mutex<(Vec<u8>, usize)>>;

    fn keyed(pace: usize) -> (Snapshots, Keyed<u64>, Heard) {
        let heard = Heard::default();
        let listener = heard.clone();
        let listen = Box::new(move |_, told| {
            let mut heard = listener.lock().unwrap();
            match told {
                Told::Part { bytes, .. } => heard.0.extend(bytes),
                Told::Done => heard.1 += 1,
            }
        });
        let snapshots = Snapshots::new(Seat::ALONE, Pace(pace), Some(listen), None);
        let keyed = Keyed::in_section(snapshots.section("a section"), |_, _, _: u64| unreachable!("nothing is there"));
        (snapshots, keyed, heard)
    }

    fn read(mut bytes: &[u8]) -> Vec<(u64, u64)> {
        let mut rows = Vec::new();
        while !bytes.is_empty() {
            let ((key, value), rest) = postcard::take_from_bytes::<(Id, u64)>(bytes).unwrap();
            rows.push((key.0, value));
            bytes = rest;
        }
        rows.sort_unstable();
        rows
    }

    #[test]
    fn shards_are_all_used_and_the_last_is_twice_as_wide_as_the_first() {
        let mut widths = [0; SHARDS];
        (0..1 << 20).for_each(|part: u64| widths[shard(Id(part << 44))] += 1);
        let of_all = |shard: usize| f64::from(widths[shard]) * SHARDS as f64 / f64::from(1 << 20);
        assert!((0.74..0.76).contains(&of_all(0)) && (1.48..1.51).contains(&of_all(SHARDS - 1)));
        assert!(widths.is_sorted_by(|one, next| *one <= next + 1), "{widths:?}");
        assert_eq!([0, u64::MAX].map(|key| shard(Id(key))), [0, SHARDS - 1]);
    }

    /// Keys of a few shards.
    fn key(number: u64) -> Id {
        Id(number << 53 | number)
    }

    proptest::proptest! {
        /// Whatever changes meanwhile, and however little is written at a time.
        #[test]
        fn a_snapshot_has_each_key_once_as_it_was_when_it_began(
            before in proptest::collection::vec((0u64..40, 0u64..9), 0..60),
            meanwhile in proptest::collection::vec((0u64..60, 0u64..9, 0u8..6), 0..120),
            pace in 1usize..5,
        ) {
            let (snapshots, mut keyed, heard) = keyed(pace);
            for (number, value) in before {
                keyed.insert(key(number), value);
            }
            let expected: BTreeMap<u64, u64> = keyed.iter().map(|(key, value)| (key.0, *value)).collect();
            snapshots.take(7);
            proptest::prop_assert_eq!((keyed.due(Some(7)), keyed.due(Some(8))), (None, Some(7)));
            keyed.begin(7);
            for (number, value, what) in meanwhile {
                match what {
                    0 => drop(keyed.insert(key(number), value)),
                    1 => drop(keyed.remove(key(number))),
                    2 => *keyed.get_or_default(key(number)) += value,
                    3 | 4 => keyed.change(key(number), |kept| {
                        *kept += value;
                        what == 3
                    }),
                    _ => drop(keyed.write_some()),
                }
            }
            while keyed.write_some() {}
            let heard = heard.lock().unwrap();
            proptest::prop_assert_eq!(heard.1, 1);
            proptest::prop_assert_eq!(read(&heard.0), expected.into_iter().collect::<Vec<_>>());
            proptest::prop_assert_eq!(keyed.len, keyed.iter().count());
        }
    }
}
