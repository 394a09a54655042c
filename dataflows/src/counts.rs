//! What the graph sets aside without effect, counted by stream. Shared by all workers of a process.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::model::Stream;

/// Counters by stream, which only ever grow, and how many carts are open.
#[derive(Debug, Default)]
pub struct Counts {
    stale: [AtomicU64; Stream::ALL.len()],
    duplicates: [AtomicU64; Stream::ALL.len()],
    carts_open: AtomicI64,
}

impl Counts {
    /// A record whose key has a greater write already.
    pub fn stale(&self, stream: Stream) {
        self.stale[stream as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A message seen before.
    pub fn duplicate(&self, stream: Stream) {
        self.duplicates[stream as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// So many more carts are open, or when negative, fewer.
    pub fn opened_carts(&self, carts: i64) {
        self.carts_open.fetch_add(carts, Ordering::Relaxed);
    }

    /// Carts with lines that are still to be bought.
    pub fn carts_open(&self) -> i64 {
        self.carts_open.load(Ordering::Relaxed)
    }

    /// Stale records of a stream so far.
    pub fn stale_records(&self, stream: Stream) -> u64 {
        self.stale[stream as usize].load(Ordering::Relaxed)
    }

    /// Duplicates of a stream so far.
    pub fn duplicate_records(&self, stream: Stream) -> u64 {
        self.duplicates[stream as usize].load(Ordering::Relaxed)
    }
}
