//! What the decider remembers: which episodes were decided, and to whom what was sent lately. Bounded by the longest window
//! and by how long an episode can come back.

use std::collections::BTreeMap;

use beckon_dataflows::model::{Id, Tick};
use hashbrown::{HashMap, HashSet};

use crate::decision::DecisionId;

/// A decided send.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// The campaign's index.
    pub campaign: u16,
    /// When.
    pub at: Tick,
}

/// The decider's memory.
pub struct Memory {
    /// Sends older than this, ms, are of no interest.
    window_ms: u64,
    sends: HashMap<Id, Vec<Sent>>,
    sent_at: BTreeMap<Tick, Vec<Id>>,
    decided: HashSet<DecisionId>,
    over_at: BTreeMap<Tick, Vec<DecisionId>>,
}

impl Memory {
    /// A memory for windows of at most `window_ms`.
    pub fn new(window_ms: u64) -> Memory {
        let (sends, sent_at) = (HashMap::new(), BTreeMap::new());
        Memory { window_ms, sends, sent_at, decided: HashSet::new(), over_at: BTreeMap::new() }
    }

    /// Forgets what no longer matters at `tick`.
    pub fn advance(&mut self, tick: Tick) {
        while let Some(entry) = self.over_at.first_entry().filter(|entry| *entry.key() < tick) {
            for id in entry.remove() {
                self.decided.remove(&id);
            }
        }
        let oldest = tick.saturating_sub(self.window_ms);
        while let Some(entry) = self.sent_at.first_entry().filter(|entry| *entry.key() < oldest) {
            for customer in entry.remove() {
                if let Some(sends) = self.sends.get_mut(&customer) {
                    sends.retain(|send| send.at >= oldest);
                    if sends.is_empty() {
                        self.sends.remove(&customer);
                    }
                }
            }
        }
    }

    /// Whether it was decided before.
    pub fn is_decided(&self, id: DecisionId) -> bool {
        self.decided.contains(&id)
    }

    /// Remembers a decision. After `over`, if that is ever, the episode cannot come back, and need not be remembered.
    pub fn decided(&mut self, id: DecisionId, over: Option<Tick>) {
        if let (true, Some(over)) = (self.decided.insert(id), over) {
            self.over_at.entry(over).or_default().push(id);
        }
    }

    /// Remembers a send.
    pub fn sent(&mut self, customer: Id, campaign: u16, at: Tick) {
        if self.window_ms > 0 {
            self.sends.entry(customer).or_default().push(Sent { campaign, at });
            self.sent_at.entry(at).or_default().push(customer);
        }
    }

    /// The remembered sends to a customer, under all their `ids`, before `tick`.
    pub fn sends_before(&self, ids: &[Id], tick: Tick) -> impl Iterator<Item = &Sent> {
        ids.iter().filter_map(|id| self.sends.get(id)).flatten().filter(move |send| send.at < tick)
    }
}
