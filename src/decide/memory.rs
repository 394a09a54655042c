//! What the decider remembers: which episodes were decided, and to whom what was sent lately. Bounded by the longest window
//! and by how long an episode can come back.

use std::collections::BTreeMap;

use beckon_dataflows::model::{Id, Tick};
use hashbrown::{HashMap, HashSet};

use super::Remembered;
use crate::decision::DecisionId;

/// A decided send.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// The campaign's index.
    pub campaign: u16,
    /// When.
    pub at: Tick,
}

fn words(id: DecisionId) -> [u64; 2] {
    [(id.0 >> 64) as u64, id.0 as u64]
}

fn id([high, low]: [u64; 2]) -> DecisionId {
    DecisionId(u128::from(high) << 64 | u128::from(low))
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

    /// Writes down all that is remembered, as rows.
    pub fn write(&self, remembered: &mut Remembered) {
        let sends = self.sends.iter().flat_map(|(customer, sends)| sends.iter().map(|send| (*customer, *send)));
        remembered.sends = sends.map(|(customer, Sent { campaign, at })| [customer.0, campaign.into(), at]).collect();
        remembered.decided = self.decided.iter().map(|id| words(*id)).collect();
        let over = self.over_at.iter().flat_map(|(tick, ids)| ids.iter().map(|id| (*tick, words(*id))));
        remembered.over = over.map(|(tick, [high, low])| [tick, high, low]).collect();
    }

    /// Remembers what was written down; false if that is no memory.
    pub fn read(&mut self, remembered: &Remembered) -> bool {
        self.decided.extend(remembered.decided.iter().map(|words| id(*words)));
        for [tick, high, low] in &remembered.over {
            self.over_at.entry(*tick).or_default().push(id([*high, *low]));
        }
        remembered.sends.iter().all(|[customer, campaign, at]| {
            let campaign = u16::try_from(*campaign);
            campaign.map(|campaign| self.sent(Id(*customer), campaign, *at)).is_ok()
        })
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
