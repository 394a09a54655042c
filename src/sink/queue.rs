//! The sends that the sender has in hand, in the order in which they go out: higher campaign priority first (SPEC §6), then the newer
//! decision, then the greater id. The newer, because where an ESP takes less than is decided, who takes the older first sends each mail
//! as late as may be, and in the end none in time. Those that were tried wait here for their next attempt, and those that are to be enriched for
//! that. Pure: the caller says what time it is.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::ahead::Fetched;

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
    /// The account was refused when it was this one's turn, after so many others had been answered.
    pub denied_at: Option<u64>,
    /// Others were answered since: if the account is refused again, it is because of this message.
    pub is_to_blame: bool,
    /// What its message wants from elsewhere.
    pub enrichment: Enrichment,
}

/// How far a send is with what is fetched for its message.
pub(super) enum Enrichment {
    /// It wants nothing, or no more.
    Unwanted,
    /// It is to be fetched.
    Wanted,
    /// It is there.
    Fetched(Fetched),
}

impl Job {
    pub fn id(&self) -> DecisionId {
        self.owed.decision.decision_id
    }

    /// The campaign's number.
    pub fn campaign(&self) -> u16 {
        self.owed.episode.campaign
    }

    fn rank(&self) -> Rank {
        Rank { priority: self.owed.priority, as_of: self.owed.decision.as_of, id: self.id() }
    }
}

/// What goes out first is the greatest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    priority: i32,
    as_of: u64,
    id: DecisionId,
}

/// Everything in hand that is not being sent right now.
#[derive(Default)]
pub(super) struct Queue {
    /// Those that wait for nothing but their turn, or to be enriched.
    held: BTreeMap<Rank, Job>,
    /// Which of them may go.
    ready: BTreeSet<Rank>,
    /// Which of them are to be enriched first, by campaign.
    bare: BTreeMap<u16, BTreeSet<Rank>>,
    waiting: BTreeMap<(Instant, DecisionId), Job>,
}

impl Queue {
    /// Adds one that may go at once, or as soon as it is enriched.
    pub fn push(&mut self, job: Job) {
        let rank = job.rank();
        match job.enrichment {
            Enrichment::Wanted => self.bare.entry(job.campaign()).or_default().insert(rank),
            _ => self.ready.insert(rank),
        };
        self.held.insert(rank, job);
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

    /// Takes the one that goes first, after so many `answers`: of those for which the account was refused when there were as
    /// many, another shows whether that was because of them, so it goes before them.
    pub fn pop(&mut self, answers: u64) -> Option<Job> {
        let is_denied = |rank: &&Rank| self.held.get(rank).is_some_and(|job| job.denied_at == Some(answers));
        let rank = *self.ready.iter().rev().find(|rank| !is_denied(rank)).or(self.ready.last())?;
        self.ready.remove(&rank);
        self.held.remove(&rank)
    }

    /// The campaigns that have sends to be enriched.
    pub fn campaigns_to_enrich(&self) -> Vec<u16> {
        self.bare.keys().copied().collect()
    }

    /// Takes the campaign's first that is to be enriched.
    pub fn pop_bare(&mut self, campaign: u16) -> Option<Job> {
        let ranks = self.bare.get_mut(&campaign)?;
        let first = ranks.pop_last();
        if ranks.is_empty() {
            self.bare.remove(&campaign);
        }
        self.held.remove(&first?)
    }

    /// Lets go of what goes last, down to `max`: the log has it. What may have been taken stays, with its message.
    pub fn shed(&mut self, max: usize) -> Vec<DecisionId> {
        let excess = self.len().saturating_sub(max);
        if excess == 0 {
            return Vec::new();
        }
        let mut shed = Vec::with_capacity(excess);
        let (ready, bare) = (&mut self.ready, &mut self.bare);
        self.held.retain(|rank, job| {
            let goes = shed.len() < excess && job.ambiguous_since_ms.is_none();
            if goes {
                shed.push(job.id());
                ready.remove(rank);
                bare.get_mut(&job.campaign()).map(|ranks| ranks.remove(rank));
            }
            !goes
        });
        bare.retain(|_, ranks| !ranks.is_empty());
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
        self.held.len() + self.waiting.len()
    }
}
