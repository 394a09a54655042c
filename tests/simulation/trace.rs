//! What happened, in order, and how often. In: events of all parts. Out: a text that is the same to the byte whenever the seed is, and
//! the first breach of a rule, if there was one. Cannot fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// What all parts write to.
#[derive(Clone)]
pub struct Trace {
    begin: Instant,
    begin_ms: u64,
    told: Arc<Mutex<Told>>,
}

/// What was told.
#[derive(Default)]
pub struct Told {
    /// One line an event.
    pub events: Vec<String>,
    /// How often each kind of event was.
    pub counts: BTreeMap<String, u64>,
    /// The first rule that was broken.
    pub breach: Option<String>,
}

impl Trace {
    /// Nothing told; the virtual clock shows `begin_ms` now, epoch ms.
    pub fn new(begin_ms: u64) -> Trace {
        Trace { begin: Instant::now(), begin_ms, told: Arc::default() }
    }

    /// What the virtual clock shows, epoch ms.
    pub fn now_ms(&self) -> u64 {
        self.begin_ms + self.begin.elapsed().as_millis() as u64
    }

    /// Something of a kind that is counted happened.
    pub fn tell(&self, kind: &str, what: impl std::fmt::Display) {
        let now_ms = self.now_ms() - self.begin_ms;
        let mut told = self.told();
        *told.counts.entry(kind.to_owned()).or_default() += 1;
        told.events.push(format!("{now_ms:>9} {kind} {what}"));
    }

    /// A rule was broken.
    pub fn breach(&self, what: String) {
        self.tell("breach", &what);
        self.told().breach.get_or_insert(what);
    }

    /// Whether a rule was broken.
    pub fn is_broken(&self) -> bool {
        self.told().breach.is_some()
    }

    /// All that was told.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
