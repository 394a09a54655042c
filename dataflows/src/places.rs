//! Where in a row each key is. In: hashes and places. Out: places. Cannot fail.
//!
//! Places take two bytes for as long as that is enough, which is what a shard of millions of keys in all has.

use hashbrown::HashTable;

/// A hash table of places. Whoever asks knows whose key is at a place.
pub(crate) enum Places {
    Narrow(Table<u16>),
    /// There is no memory for as many keys as a place could not tell apart.
    Wide(Table<u32>),
}

/// Places of one width.
pub(crate) struct Table<P>(HashTable<P>);

/// A place as it lies in a table.
pub(crate) trait Place: Copy {
    fn of(place: usize) -> Self;
    fn at(self) -> usize;
}

impl Place for u16 {
    fn of(place: usize) -> u16 {
        place as u16
    }

    fn at(self) -> usize {
        self.into()
    }
}

impl Place for u32 {
    fn of(place: usize) -> u32 {
        place as u32
    }

    fn at(self) -> usize {
        self as usize
    }
}

impl Default for Places {
    fn default() -> Self {
        Places::Narrow(Table(HashTable::new()))
    }
}

impl Places {
    /// The place of a hash that `is` the one.
    pub fn find(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            Places::Narrow(places) => places.find(hash, is),
            Places::Wide(places) => places.find(hash, is),
        }
    }

    /// Adds a place that is not there yet. `hash` says of any other what its is.
    pub fn insert(&mut self, place: usize, hash: impl Fn(usize) -> u64) {
        if let Places::Narrow(narrow) = self
            && place > usize::from(u16::MAX)
        {
            let mut wide = Table(HashTable::with_capacity(place + 1));
            narrow.0.drain().for_each(|place| wide.insert(place.at(), &hash));
            *self = Places::Wide(wide);
        }
        match self {
            Places::Narrow(places) => places.insert(place, &hash),
            Places::Wide(places) => places.insert(place, &hash),
        }
    }

    /// Takes the place of a hash away that `is` the one.
    pub fn remove(&mut self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            Places::Narrow(places) => places.remove(hash, is),
            Places::Wide(places) => places.remove(hash, is),
        }
    }

    /// What was at one place is now at an earlier one.
    pub fn replace(&mut self, hash: u64, was: usize, is: usize) {
        match self {
            Places::Narrow(places) => places.replace(hash, was, is),
            Places::Wide(places) => places.replace(hash, was, is),
        }
    }

    /// Gives back memory when only a quarter of it is used.
    pub fn shrink(&mut self, hash: impl Fn(usize) -> u64) {
        match self {
            Places::Narrow(places) => places.shrink(hash),
            Places::Wide(places) => places.shrink(hash),
        }
    }

    /// For how many there is memory.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        match self {
            Places::Narrow(places) => places.0.capacity(),
            Places::Wide(places) => places.0.capacity(),
        }
    }
}

impl<P: Place> Table<P> {
    fn find(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        self.0.find(hash, |place| is(place.at())).map(|place| place.at())
    }

    fn insert(&mut self, place: usize, hash: &impl Fn(usize) -> u64) {
        self.0.insert_unique(hash(place), P::of(place), |place| hash(place.at()));
    }

    fn remove(&mut self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        let place = self.0.find_entry(hash, |place| is(place.at())).ok()?;
        Some(place.remove().0.at())
    }

    fn replace(&mut self, hash: u64, was: usize, is: usize) {
        if let Some(place) = self.0.find_mut(hash, |place| place.at() == was) {
            *place = P::of(is);
        }
    }

    fn shrink(&mut self, hash: impl Fn(usize) -> u64) {
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(2 * self.0.len(), |place| hash(place.at()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_also_when_there_are_more_than_two_bytes_tell_apart() {
        let (mut places, count) = (Places::default(), 70_000);
        let hash = |place: usize| (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let find = |places: &Places, at: usize| places.find(hash(at), |place| place == at);
        for place in 0..count {
            places.insert(place, hash);
            assert_eq!((find(&places, place), find(&places, place + 1)), (Some(place), None));
            assert_eq!(matches!(places, Places::Narrow(_)), place <= usize::from(u16::MAX));
        }
        assert!((0..count).all(|place| find(&places, place) == Some(place)));
        for place in 1..count {
            assert_eq!(places.remove(hash(place), |at| at == place), Some(place));
            places.shrink(hash);
        }
        assert_eq!((find(&places, 0), places.capacity() <= 16), (Some(0), true));
    }
}
