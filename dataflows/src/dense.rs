//! Values by key, close together. In: keys and values. Out: the same. Cannot fail.
//!
//! A hash table doubles, so for a while half of it is empty, and where values are wide that is most of the memory. Here the table
//! has only places, of four bytes; keys and values lie in one row, which grows and shrinks piece by piece.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::model::Id;
use crate::pieces::Pieces;

/// How many keys lie in a piece of the row.
const ROWS: usize = 64;

type Row<V> = Pieces<(Id, V), ROWS>;

/// Values by key.
pub(crate) struct Dense<V> {
    /// Where in the row each key is. There is no memory for as many keys as a place could not tell apart.
    places: HashTable<u32>,
    row: Row<V>,
}

impl<V> Default for Dense<V> {
    fn default() -> Self {
        Dense { places: HashTable::new(), row: Row::default() }
    }
}

impl<V> Dense<V> {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.row.len()
    }

    /// All keys, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &V)> {
        self.row.iter().map(|(key, value)| (*key, value))
    }

    /// What is kept of a key.
    pub fn get(&self, key: Id) -> Option<&V> {
        let Dense { places, row } = self;
        let place = places.find(key.for_table(), |place| key_at(row, *place) == key)?;
        Some(&row.at(*place as usize).1)
    }

    /// What is kept of a key, to be changed.
    pub fn get_mut(&mut self, key: Id) -> Option<&mut V> {
        let Dense { places, row } = self;
        let place = places.find(key.for_table(), |place| key_at(row, *place) == key)?;
        Some(&mut row.at_mut(*place as usize).1)
    }

    /// What is kept of a key, to be changed; `made` when nothing is.
    pub fn get_or_insert_with(&mut self, key: Id, made: impl FnOnce() -> V) -> &mut V {
        let Dense { places, row } = self;
        let place = match entry(places, row, key) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(place) => *place.insert(push(row, key, made())).get(),
        };
        &mut row.at_mut(place as usize).1
    }

    /// Keeps a value in the place of what was kept of the key.
    pub fn insert(&mut self, key: Id, value: V) -> Option<V> {
        match self.get_mut(key) {
            Some(kept) => Some(std::mem::replace(kept, value)),
            None => {
                self.get_or_insert_with(key, || value);
                None
            }
        }
    }

    /// Changes what is kept of a key, its default when nothing is, and goes on keeping it if `change` says so.
    pub fn change(&mut self, key: Id, change: impl FnOnce(&mut V) -> bool)
    where
        V: Default,
    {
        let Dense { places, row } = self;
        match entry(places, row, key) {
            Entry::Occupied(place) => {
                let at = *place.get();
                if !change(&mut row.at_mut(at as usize).1) {
                    place.remove();
                    self.take(at);
                }
            }
            Entry::Vacant(place) => {
                let mut value = V::default();
                if change(&mut value) {
                    place.insert(push(row, key, value));
                }
            }
        }
    }

    /// Keeps nothing of a key any more.
    pub fn remove(&mut self, key: Id) -> Option<V> {
        let Dense { places, row } = self;
        let place = places.find_entry(key.for_table(), |place| key_at(row, *place) == key).ok()?;
        let (at, _) = place.remove();
        self.take(at)
    }

    /// Takes what is at a place that is no key's any more, and gives the place to the last.
    fn take(&mut self, at: u32) -> Option<V> {
        let Dense { places, row } = self;
        let mut taken = row.pop()?;
        let was = row.len() as u32;
        if at != was {
            let moved = taken.0;
            taken = std::mem::replace(row.at_mut(at as usize), taken);
            if let Some(place) = places.find_mut(moved.for_table(), |place| *place == was) {
                *place = at;
            }
        }
        if row.len() < places.capacity() / 4 {
            places.shrink_to(2 * row.len(), |place| key_at(row, *place).for_table());
        }
        Some(taken.1)
    }
}

fn key_at<V>(row: &Row<V>, place: u32) -> Id {
    row.at(place as usize).0
}

/// Adds a key at the end of the row, and says where that is.
fn push<V>(row: &mut Row<V>, key: Id, value: V) -> u32 {
    let place = row.len() as u32;
    row.push((key, value));
    place
}

fn entry<'p, V>(places: &'p mut HashTable<u32>, row: &Row<V>, key: Id) -> Entry<'p, u32> {
    places.entry(key.for_table(), |place| key_at(row, *place) == key, |place| key_at(row, *place).for_table())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    proptest::proptest! {
        /// Whatever comes and goes, among keys that share their hash's lowest bits.
        #[test]
        fn it_has_what_a_plain_map_has(changes in proptest::collection::vec((0u64..60, 0u64..9, 0u8..6), 0..400)) {
            let (mut dense, mut plain) = (Dense::<u64>::default(), HashMap::<u64, u64>::new());
            for (number, value, what) in changes {
                let key = Id(number << 32);
                match what {
                    0 | 1 => proptest::prop_assert_eq!(dense.insert(key, value), plain.insert(key.0, value)),
                    2 => proptest::prop_assert_eq!(dense.remove(key), plain.remove(&key.0)),
                    3 => {
                        let of = (dense.get_or_insert_with(key, || value), plain.entry(key.0).or_insert(value));
                        proptest::prop_assert_eq!(&of.0, &of.1);
                        (*of.0, *of.1) = (value, value);
                    }
                    _ => {
                        let mut before = 0;
                        dense.change(key, |kept| {
                            before = std::mem::replace(kept, value);
                            what == 4
                        });
                        let plainly = if what == 4 { plain.insert(key.0, value) } else { plain.remove(&key.0) };
                        proptest::prop_assert_eq!(before, plainly.unwrap_or_default());
                    }
                }
                proptest::prop_assert_eq!(dense.get(key).copied(), plain.get(&key.0).copied());
            }
            proptest::prop_assert_eq!(dense.len(), plain.len());
            let all: HashMap<u64, u64> = dense.iter().map(|(key, value)| (key.0, *value)).collect();
            proptest::prop_assert!(all.iter().all(|(key, value)| dense.get(Id(*key)) == Some(value)));
            proptest::prop_assert_eq!(all, plain);
        }
    }

    #[test]
    fn it_takes_no_more_memory_than_what_lives() {
        let mut dense = Dense::default();
        let key = |number: u64| Id(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for number in 0..10_000 {
            dense.insert(key(number), [0u64; 8]);
            assert!(dense.row.room() <= 2 * dense.len() && dense.row.room() <= dense.len() + ROWS);
        }
        for number in 0..10_000 {
            dense.remove(key(number));
            assert!(dense.row.room() <= dense.len() + ROWS);
            assert!(dense.places.capacity() <= dense.len() * 4 + 16);
        }
    }
}
