//! What the stages have done so far, for progress bars, the live summary and the metrics. Written by every thread, read by
//! whoever shows it; nothing is decided by it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use beckon_dataflows::model::{Stream, Tick};

use crate::decision::{Decision, Outcome, Reason};

/// Counters that only grow, and a few readings of now.
#[derive(Default)]
pub struct Meter {
    records: [AtomicU64; Stream::ALL.len()],
    bad: Mutex<BTreeMap<(Stream, &'static str), u64>>,
    late: AtomicU64,
    skewed: AtomicU64,
    decisions: Mutex<BTreeMap<(Outcome, Option<Reason>), u64>>,
    undecided: Mutex<BTreeMap<Arc<str>, (u64, String)>>,
    episodes: AtomicU64,
    as_of: AtomicU64,
    watermarks: Mutex<BTreeMap<(Stream, u32), Tick>>,
    newest_ms: AtomicU64,
}

impl Meter {
    /// Records of a stream were read, bad ones among them.
    pub fn read(&self, stream: Stream, records: u64) {
        self.records[stream as usize].fetch_add(records, Ordering::Relaxed);
    }

    /// A record could not be used.
    pub fn bad(&self, stream: Stream, kind: &'static str) {
        *self.bad.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).entry((stream, kind)).or_default() += 1;
    }

    /// So many more records were late, and skewed.
    pub fn rebound(&self, late: u64, skewed: u64) {
        self.late.fetch_add(late, Ordering::Relaxed);
        self.skewed.fetch_add(skewed, Ordering::Relaxed);
    }

    /// The greatest event time seen is at least this.
    pub fn newest(&self, event_ms: u64) {
        self.newest_ms.fetch_max(event_ms, Ordering::Relaxed);
    }

    /// A decision was made.
    pub fn decided(&self, decision: &Decision) {
        let mut decisions = self.decisions.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *decisions.entry((decision.outcome, decision.reason)).or_default() += 1;
    }

    /// A condition of a campaign could not be decided, and was taken for false.
    pub fn undecided(&self, campaign: Arc<str>, why: String) {
        let mut undecided = self.undecided.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (count, last) = undecided.entry(campaign).or_default();
        (*count, *last) = (*count + 1, why);
    }

    /// Ticks are closed up to `tick`, and the trigger set has so many episodes.
    pub fn closed(&self, tick: Tick, episodes: usize) {
        self.as_of.fetch_max(tick, Ordering::Relaxed);
        self.episodes.store(episodes as u64, Ordering::Relaxed);
    }

    /// The least tick that is open as far as this partition is concerned.
    pub fn watermark(&self, partition: (Stream, u32), open: Tick) {
        self.watermarks.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(partition, open);
    }

    /// By partition, the least tick that is open as far as it is concerned.
    pub fn watermarks(&self) -> BTreeMap<(Stream, u32), Tick> {
        self.watermarks.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Records read of a stream.
    pub fn records_of(&self, stream: Stream) -> u64 {
        self.records[stream as usize].load(Ordering::Relaxed)
    }

    /// Records read of all streams.
    pub fn records(&self) -> u64 {
        Stream::ALL.into_iter().map(|stream| self.records_of(stream)).sum()
    }

    /// Bad records by stream and kind.
    pub fn bad_records(&self) -> BTreeMap<(Stream, &'static str), u64> {
        self.bad.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Late records.
    pub fn late_records(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Records ahead of the wall clock.
    pub fn skewed_records(&self) -> u64 {
        self.skewed.load(Ordering::Relaxed)
    }

    /// Decisions by outcome and reason.
    pub fn decisions(&self) -> BTreeMap<(Outcome, Option<Reason>), u64> {
        self.decisions.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// By campaign, how many conditions could not be decided, and why the last could not.
    pub fn undecided_conditions(&self) -> BTreeMap<Arc<str>, (u64, String)> {
        self.undecided.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Episodes in the trigger set.
    pub fn episodes(&self) -> u64 {
        self.episodes.load(Ordering::Relaxed)
    }

    /// The newest closed tick, epoch ms.
    pub fn as_of(&self) -> Tick {
        self.as_of.load(Ordering::Relaxed)
    }

    /// The greatest event time read, epoch ms.
    pub fn newest_ms(&self) -> u64 {
        self.newest_ms.load(Ordering::Relaxed)
    }
}
