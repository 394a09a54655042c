//! Keys as integers: a string becomes a stable 64-bit hash at the edge, the same in every process and every run. The strings
//! themselves stay in the shell's dictionary, which also detects collisions.

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

/// An interned string: the low 64 bits of XXH3-128 seeded by its namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id(pub u64);

impl Id {
    /// No name. Stands where an optional name is missing.
    pub const NONE: Id = Id(0);

    /// The id of `text`, and 32 further hash bits by which the dictionary tells two texts of one id apart.
    pub fn of(namespace: Namespace, text: &str) -> (Id, u32) {
        let hash = xxh3_128_with_seed(text.as_bytes(), namespace as u64);
        (Id(hash as u64), (hash >> 64) as u32)
    }

    /// Whether this stands for a missing name.
    pub fn is_none(self) -> bool {
        self == Id::NONE
    }
}
