//! Values by key, close together. In: keys and values. Out: the same. Cannot fail.
//!
//! A hash table doubles, so for a while half of it is empty, and where values are wide that is most of the memory. Here the table
//! has only places; keys and values lie in one row, which grows and shrinks piece by piece.

use crate::model::Id;
use crate::pieces::Pieces;
use crate::places::Places;

/// How many keys lie in a piece of the row.
const ROWS: usize = 64;

type Row<V> = Pieces<(Id, V), ROWS>;

/// Values by key.
pub(crate) struct Dense<V> {
    places: Places,
    row: Row<V>,
}

impl<V> Default for Dense<V> {
    fn default() -> Self {
        Dense { places: Places::default(), row: Row::default() }
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
        self.find(key).map(|at| &self.row.at(at).1)
    }

    /// What is kept of a key, to be changed.
    pub fn get_mut(&mut self, key: Id) -> Option<&mut V> {
        self.find(key).map(|at| &mut self.row.at_mut(at).1)
    }

    /// What is kept of a key, to be changed; `made` when nothing is.
    pub fn get_or_insert_with(&mut self, key: Id, made: impl FnOnce() -> V) -> &mut V {
        let at = self.find(key).unwrap_or_else(|| self.push(key, made()));
        &mut self.row.at_mut(at).1
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
        match self.find(key) {
            Some(at) => {
                if !change(&mut self.row.at_mut(at).1) {
                    self.remove(key);
                }
            }
            None => {
                let mut value = V::default();
                if change(&mut value) {
                    self.push(key, value);
                }
            }
        }
    }

    /// Keeps those of which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(Id, &mut V) -> bool) {
        // From the end: the last takes the place of one that goes, and was looked at by then.
        for at in (0..self.row.len()).rev() {
            let (key, value) = self.row.at_mut(at);
            let key = *key;
            if !keep(key, value) {
                self.remove(key);
            }
        }
    }

    /// Keeps nothing of a key any more. The last of the row takes its place.
    pub fn remove(&mut self, key: Id) -> Option<V> {
        let Dense { places, row } = self;
        let at = places.remove(key.for_table(), |place| row.at(place).0 == key)?;
        let mut taken = row.pop()?;
        if at < row.len() {
            places.replace(taken.0.for_table(), row.len(), at);
            taken = std::mem::replace(row.at_mut(at), taken);
        }
        places.shrink(|place| row.at(place).0.for_table());
        Some(taken.1)
    }

    fn find(&self, key: Id) -> Option<usize> {
        self.places.find(key.for_table(), |place| self.row.at(place).0 == key)
    }

    /// Adds a key at the end of the row, and says where that is.
    fn push(&mut self, key: Id, value: V) -> usize {
        let Dense { places, row } = self;
        let place = row.len();
        row.push((key, value));
        places.insert(place, |place| row.at(place).0.for_table());
        place
    }
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
            let is_odd = |value: &u64| value % 2 == 1;
            dense.retain(|_, value| is_odd(value));
            plain.retain(|_, value| is_odd(value));
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
