//! The sends that the sender has in hand, in the order in which they go out: higher campaign priority first, then the older
//! decision, then the lesser id. Those that were tried wait here for their next attempt. Pure: the caller says what time it
//! is.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::decision::{self, DecisionId, DeliveryState, Message};

/// A delivery that the sender has in hand.
pub(super) struct Job {
    pub owed: decision::Send,
    /// What the log says of it.
    pub state: DeliveryState,
    /// Requests made so far.
    pub attempts: u32,
    /// Since when it may have been taken without our knowing, epoch ms.
    pub ambiguous_since_ms: Option<u64>,
    /// The message that may have been taken: it is repeated to the byte, as ESPs ask of two requests of one key.
    pub repeat: Option<Message>,
}

impl Job {
    pub fn id(&self) -> DecisionId {
        self.owed.decision.decision_id
    }
}

/// What goes out first is the greatest.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    priority: i32,
    as_of: Reverse<u64>,
    id: Reverse<DecisionId>,
}

/// Everything in hand that is not being sent right now.
#[derive(Default)]
pub(super) struct Queue {
    ready: BTreeMap<Rank, Job>,
    waiting: BTreeMap<(Instant, DecisionId), Job>,
}

impl Queue {
    /// Adds one that may go at once.
    pub fn push(&mut self, job: Job) {
        let rank = Rank { priority: job.owed.priority, as_of: Reverse(job.owed.decision.as_of), id: Reverse(job.id()) };
        self.ready.insert(rank, job);
    }

    /// Adds one that may not go before `due`.
    pub fn push_at(&mut self, due: Instant, job: Job) {
        self.waiting.insert((due, job.id()), job);
    }

    /// Makes ready what has waited long enough.
    pub fn wake(&mut self, now: Instant) {
        while let Some(first) = self.waiting.first_entry().filter(|first| first.key().0 <= now) {
            let job = first.remove();
            self.push(job);
        }
    }

    /// Takes the one that goes first.
    pub fn pop(&mut self) -> Option<Job> {
        self.ready.pop_last().map(|(_, job)| job)
    }

    /// Lets go of what goes last, down to `max`: the log has it. What may have been taken stays, with its message.
    pub fn shed(&mut self, max: usize) -> Vec<DecisionId> {
        let excess = self.len().saturating_sub(max);
        if excess == 0 {
            return Vec::new();
        }
        let mut shed = Vec::with_capacity(excess);
        self.ready.retain(|_, job| {
            let goes = shed.len() < excess && job.ambiguous_since_ms.is_none();
            if goes {
                shed.push(job.id());
            }
            !goes
        });
        shed
    }

    /// When the next one that waits becomes ready.
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn len(&self) -> usize {
        self.ready.len() + self.waiting.len()
    }
}
