//! Names between processes. In a cluster each process reads names in its own partitions, and one decides: it is told what the
//! others read, and for how long that matters. Cannot fail; a collision is found where the names meet ([`Dictionary::hear`]).
//!
//! Generations begin at their own times in each process. A name is told anew in each generation of its reader. Whatever was read in
//! a generation so stands, where it is heard, in a generation no older than the one that was current when the first was heard of it.
//!
//! [`Dictionary::hear`]: super::Dictionary::hear

use std::collections::{BTreeMap, HashMap};

use beckon_dataflows::model::{Namespace, Tick};
use serde::{Deserialize, Serialize};

/// So many generations of another process are remembered: names are dropped after some ten.
const REMEMBERED: usize = 64;

/// What one dictionary tells another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// A name was read that had not been read in this generation of its reader.
    Name {
        /// The reader's generation.
        generation: u32,
        /// What it names.
        namespace: Namespace,
        /// The name.
        text: String,
    },
    /// A block of records whose decoding began in this generation takes effect at `last` or before.
    Taken {
        /// The reader's generation.
        generation: u32,
        /// The tick of its last record.
        last: Tick,
    },
}

/// By process and generation there, the generation here that was current when the first was heard of it.
#[derive(Default)]
pub(super) struct Heard(HashMap<usize, BTreeMap<u32, u32>>);

impl Heard {
    /// Since when, in generations here, one has heard of `generation` of the process `from`, or a later one: since `now`, if not before.
    pub(super) fn since(&mut self, from: usize, generation: u32, now: u32) -> u32 {
        let known = self.0.entry(from).or_default();
        let since = known.range(generation..).next().map_or(now, |(_, since)| *since);
        known.entry(generation).or_insert(since);
        while known.len() > REMEMBERED {
            known.pop_first();
        }
        since
    }
}
