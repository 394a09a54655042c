//! What is kept of keys, so that it can be written down as of a tick while it changes. In: keys and values. Out: the same; and for a
//! snapshot all of them as they were when it began. Cannot fail.
//!
//! The keys lie in shards. A snapshot walks these, a few at a time; a key that is to change before its shard's turn is written
//! first, and skipped then. While no snapshot is under way that costs one comparison a change.

use std::hash::BuildHasherDefault;
use std::hint::black_box;

use hashbrown::HashSet;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{Id, IdHasher, Tick};
use crate::sharded::{SHARDS, Sharded};
use crate::snapshot::Section;

/// Values by key.
pub(crate) struct Keyed<V> {
    all: Sharded<V>,
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

impl<V> Default for Keyed<V> {
    fn default() -> Self {
        Keyed { all: Sharded::default(), section: None, writing: None }
    }
}

impl<V> Keyed<V> {
    /// What is kept of a key.
    pub fn get(&self, key: Id) -> Option<&V> {
        self.all.get(key)
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All keys, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &V)> {
        self.all.iter()
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
        self.all.get_mut(key)
    }

    /// Keeps a value in the place of what was kept of the key.
    pub fn insert(&mut self, key: Id, value: V) -> Option<V> {
        self.before_change(key);
        self.all.insert(key, value)
    }

    /// Keeps nothing of a key any more.
    pub fn remove(&mut self, key: Id) -> Option<V> {
        self.before_change(key);
        self.all.remove(key)
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
            let Some(shard) = self.all.of_shard(writing.next) else {
                section.end();
                self.writing = None;
                return false;
            };
            for (key, value) in shard.filter(|(key, _)| !writing.ahead.contains(key)) {
                section.write(&(key, value));
                written += 1;
            }
            writing.next += 1;
        }
        true
    }

    /// Keeps, of those whose turn has come by `now`, those of which `keep` says so. None has a turn while a snapshot is under way.
    pub fn look_through(&mut self, turns: &mut Turns, now: Tick, mut keep: impl FnMut(Id, &mut V) -> bool) {
        for shard in turns.due(now).filter(|_| self.writing.is_none()) {
            self.all.retain(shard, &mut keep);
        }
    }

    fn before_change(&mut self, key: Id) {
        if self.writing.is_some() {
            self.write_ahead(key);
        }
    }

    #[cold]
    fn write_ahead(&mut self, key: Id) {
        let (Some(writing), Some(section)) = (&mut self.writing, &mut self.section) else { return };
        if key.shard(SHARDS) >= writing.next
            && writing.ahead.insert(key)
            && let Some(value) = self.all.get(key)
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
        self.all.change(key, change);
    }

    /// What is kept of a key, to be changed; its default when nothing is.
    pub fn get_or_default(&mut self, key: Id) -> &mut V {
        self.before_change(key);
        self.all.get_or_default(key)
    }
}

/// When keys are looked through for what does not matter any more, a shard at a time, by the clock of the records. That costs no memory, and
/// a read now and then; but it is not foreseen when a key is looked at.
pub(crate) struct Turns {
    each_ms: u64,
    taken: u64,
}

impl Turns {
    /// In the time for which a thing matters all are looked through so often.
    const PASSES: u64 = 4;

    /// Things matter so long, ms.
    pub fn within(lasts_ms: u64) -> Turns {
        Turns { each_ms: (lasts_ms / (Turns::PASSES * SHARDS as u64)).max(1), taken: 0 }
    }

    /// The shards whose turn has come since this was last asked; none twice.
    fn due(&mut self, now: Tick) -> impl Iterator<Item = usize> + use<> {
        let turns = now / self.each_ms;
        let first = match std::mem::replace(&mut self.taken, turns) {
            // Whoever has just begun has nothing old, or was looked through before.
            0 => turns,
            taken => taken.max(turns.saturating_sub(SHARDS as u64)),
        };
        (first..turns).map(|turn| turn as usize % SHARDS)
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

    /// Keys of a few shards.
    fn key(number: u64) -> Id {
        Id(number << 53 | number)
    }

    proptest::proptest! {
        /// Whatever changes meanwhile, and however little is written at a time.
        #[test]
        fn a_snapshot_has_each_key_once_as_it_was_when_it_began(
            before in proptest::collection::vec((0u64..40, 0u64..9), 0..60),
            meanwhile in proptest::collection::vec((0u64..60, 0u64..9, 0u8..7), 0..120),
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
            let mut turns = Turns::within(8 * SHARDS as u64);
            for (number, value, what) in meanwhile {
                match what {
                    0 => drop(keyed.insert(key(number), value)),
                    1 => drop(keyed.remove(key(number))),
                    2 => *keyed.get_or_default(key(number)) += value,
                    3 | 4 => keyed.change(key(number), |kept| {
                        *kept += value;
                        what == 3
                    }),
                    5 => keyed.look_through(&mut turns, number, |_, kept| *kept != value),
                    _ => drop(keyed.write_some()),
                }
            }
            while keyed.write_some() {}
            let heard = heard.lock().unwrap();
            proptest::prop_assert_eq!(heard.1, 1);
            proptest::prop_assert_eq!(read(&heard.0), expected.into_iter().collect::<Vec<_>>());
            proptest::prop_assert_eq!(keyed.all.len(), keyed.iter().count());
        }
    }
}
