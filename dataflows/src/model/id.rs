//! Keys as integers: a string becomes a stable 64-bit hash at the edge, the same in every process and every run. The strings
//! themselves stay in the shell's dictionary, which also detects collisions.

use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// What kind of name an [`Id`] stands for. Two namespaces never share an id, so a user and an anonymous visitor of the
/// same text stay two customers (ARCHITECTURE, "Records").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Namespace {
    /// A known user: `userId`, `user_id`.
    User = 1,
    /// A visitor known by a device only: `anonymousId`, `anonymous_id`.
    Anonymous = 2,
    /// A cart id.
    Cart = 3,
    /// A stock-keeping unit.
    Sku = 4,
    /// An order id.
    Order = 5,
    /// An inventory location.
    Location = 6,
    /// Anything that is only displayed: a currency, a search query.
    Text = 7,
}

impl Namespace {
    /// The seed of its hashes. Of short texts XXH3 hashes little more than `text ^ seed`: seeds that differed in their low bits alone
    /// would give `"a"` here and `"b"` there one id. These differ in the high bit of some byte, as no two texts of ASCII do.
    const fn seed(self) -> u64 {
        (self as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

/// An interned string: the low 64 bits of XXH3-128 seeded by its namespace. All of them differ, so a variable length would be a longer
/// one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id(#[serde(with = "postcard::fixint::le")] pub u64);

impl Id {
    /// No name. Stands where an optional name is missing.
    pub const NONE: Id = Id(0);

    /// The id of `text`, and 32 further hash bits by which the dictionary tells two texts of one id apart.
    pub fn of(namespace: Namespace, text: &str) -> (Id, u32) {
        let hash = xxh3_128_with_seed(text.as_bytes(), namespace.seed());
        (Id(hash as u64), (hash >> 64) as u32)
    }

    /// Whether this stands for a missing name.
    pub fn is_none(self) -> bool {
        self == Id::NONE
    }

    /// Its hash in a table. It is one already; turned, because the workers share ids out by their lowest bits, and shards by their
    /// highest, which are then equal in a table.
    pub fn for_table(self) -> u64 {
        self.0.rotate_right(20)
    }

    /// Its place among so many tables, of which the further on the wider, the last twice as wide as the first. Were all alike, they would
    /// all grow within a short time, which would take so much longer for it, and be half empty at the same time.
    pub fn shard(self, shards: usize) -> usize {
        const WHOLE: u64 = 1 << u32::BITS;
        const BEND: u64 = 3;
        let part = self.0 / WHOLE;
        let bent = part + part * (WHOLE - part) / (BEND * WHOLE);
        (bent * shards as u64 / WHOLE) as usize
    }
}

/// Hashes an [`Id`], and nothing else.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(false, "only ids are hashed here, not {} bytes", bytes.len());
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = Id(id).for_table();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn shards_are_all_used_and_the_last_is_twice_as_wide_as_the_first() {
        const SHARDS: usize = 256;
        let mut widths = [0; SHARDS];
        (0..1 << 20).for_each(|part: u64| widths[Id(part << 44).shard(SHARDS)] += 1);
        let of_all = |shard: usize| f64::from(widths[shard]) * SHARDS as f64 / f64::from(1 << 20);
        assert!((0.74..0.76).contains(&of_all(0)) && (1.48..1.51).contains(&of_all(SHARDS - 1)));
        assert!(widths.is_sorted_by(|one, next| *one <= next + 1), "{widths:?}");
        assert_eq!([0, u64::MAX].map(|key| Id(key).shard(SHARDS)), [0, SHARDS - 1]);
    }

    #[test]
    fn short_texts_of_different_namespaces_have_different_ids() {
        use Namespace::*;
        let mut seen = HashMap::new();
        let letters = || (b'!'..=b'~').map(char::from);
        let pairs = letters().flat_map(|first| letters().map(move |second| format!("{first}{second}")));
        let words = pairs.flat_map(|pair| {
            [pair[..1].to_owned(), format!("{pair}7"), format!("sku{pair}"), format!("item-{pair}x"), pair]
        });
        for text in words {
            for namespace in [User, Anonymous, Cart, Sku, Order, Location, Text] {
                let id = Id::of(namespace, &text).0;
                let first = seen.entry(id).or_insert_with(|| (namespace, text.clone()));
                assert_eq!(*first, (namespace, text.clone()), "one id {id:?} for two");
            }
        }
    }
}
