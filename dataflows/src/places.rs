//! Where in a row each key is. In: hashes and places. Out: places. Cannot fail.
//!
//! Places take two bytes for as long as that is enough, which is what a shard of millions of keys in all has.

use hashbrown::HashTable;

/// A hash table of places. Whoever asks knows whose key is at a place.
pub(crate) enum Places {
    Narrow(HashTable<u16>),
    /// There is no memory for as many keys as a place could not tell apart.
    Wide(HashTable<u32>),
}

impl Default for Places {
    fn default() -> Self {
        Places::Narrow(HashTable::new())
    }
}

impl Places {
    /// The place of a hash that `is` the one.
    pub fn find(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            Places::Narrow(places) => {
                places.find(hash, |place| is(usize::from(*place))).map(|place| usize::from(*place))
            }
            Places::Wide(places) => places.find(hash, |place| is(*place as usize)).map(|place| *place as usize),
        }
    }

    /// Adds a place that is not there yet. `hash` says of any other what its is.
    pub fn insert(&mut self, place: usize, hash: impl Fn(usize) -> u64) {
        if let Places::Narrow(narrow) = self
            && place > usize::from(u16::MAX)
        {
            let mut wide = HashTable::with_capacity(place + 1);
            for place in narrow.drain().map(u32::from) {
                wide.insert_unique(hash(place as usize), place, |place| hash(*place as usize));
            }
            *self = Places::Wide(wide);
        }
        match self {
            Places::Narrow(places) => {
                places.insert_unique(hash(place), place as u16, |place| hash(usize::from(*place)));
            }
            Places::Wide(places) => {
                places.insert_unique(hash(place), place as u32, |place| hash(*place as usize));
            }
        }
    }

    /// Takes the place of a hash away that `is` the one.
    pub fn remove(&mut self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            Places::Narrow(places) => {
                let place = places.find_entry(hash, |place| is(usize::from(*place))).ok()?;
                Some(usize::from(place.remove().0))
            }
            Places::Wide(places) => {
                let place = places.find_entry(hash, |place| is(*place as usize)).ok()?;
                Some(place.remove().0 as usize)
            }
        }
    }

    /// What was at one place is now at an earlier one.
    pub fn replace(&mut self, hash: u64, was: usize, is: usize) {
        match self {
            Places::Narrow(places) => {
                places
                    .find_mut(hash, |place| usize::from(*place) == was)
                    .into_iter()
                    .for_each(|place| *place = is as u16);
            }
            Places::Wide(places) => {
                places.find_mut(hash, |place| *place as usize == was).into_iter().for_each(|place| *place = is as u32);
            }
        }
    }

    /// Gives back memory when only a quarter of it is used.
    pub fn shrink(&mut self, hash: impl Fn(usize) -> u64) {
        match self {
            Places::Narrow(places) if places.len() < places.capacity() / 4 => {
                places.shrink_to(2 * places.len(), |place| hash(usize::from(*place)));
            }
            Places::Wide(places) if places.len() < places.capacity() / 4 => {
                places.shrink_to(2 * places.len(), |place| hash(*place as usize));
            }
            _ => {}
        }
    }

    /// For how many there is memory.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        match self {
            Places::Narrow(places) => places.capacity(),
            Places::Wide(places) => places.capacity(),
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
