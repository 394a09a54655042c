//! Gates and arbitration (SPEC §5). In: the episodes that entered the trigger set at a closed tick, and the state as of it.
//! Out: one decision each, in the order of SPEC. Pure: no clock, no I/O; cannot fail. What was decided depends on nothing but
//! the ticks before.

mod arms;
mod history;
mod payload;

use std::sync::Arc;

use beckon_dataflows::model::{Contact, Id, Opening, Tick};

use crate::decision::{Decision, DecisionId, Outcome, Reason};
pub use arms::{Arm, Arms, Variant};
use history::History;
pub use payload::Stocked;

/// A campaign, as its decisions need it.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Its name.
    pub name: Arc<str>,
    /// Its trigger's name (SPEC §4).
    pub trigger: Arc<str>,
    /// Greater goes first.
    pub priority: i64,
    /// No two sends to a customer within this time, ms.
    pub cooldown_ms: Option<u64>,
    /// X, ms: how long an episode can last.
    pub expires_ms: Option<u64>,
    /// Which lines the payload shows.
    pub lines: Stocked,
    /// Holdout and variants.
    pub arms: Arms,
}

/// At most so many sends to a customer over all campaigns in a rolling window.
#[derive(Clone, Copy, Debug)]
pub struct Cap {
    /// How many.
    pub sends: u32,
    /// In what time, ms.
    pub per_ms: u64,
}

/// What decisions are made from, as of the tick that they are made at.
pub trait Facts {
    /// The customer.
    fn contact(&self, customer: Id) -> Option<&Contact>;
    /// Units on hand.
    fn on_hand(&self, sku: Id) -> i64;
    /// The product.
    fn product(&self, sku: Id) -> Option<&beckon_dataflows::model::Product>;
    /// The text that an id stands for.
    fn text(&self, id: Id) -> Arc<str>;
}

/// A decision with the opening that it is about.
pub type Decided = (Decision, Opening);

/// Decides, tick by tick, and remembers what it must not decide or send again.
pub struct Decider {
    campaigns: Vec<Campaign>,
    caps: Vec<Cap>,
    history: History,
}

/// An episode on its way through the gates.
struct Asked {
    id: DecisionId,
    customer: Arc<str>,
    subject: Arc<str>,
    refusal: Option<Reason>,
    opening: Opening,
}

impl Decider {
    /// A decider that has decided nothing yet.
    pub fn new(campaigns: Vec<Campaign>, caps: Vec<Cap>) -> Decider {
        let windows = caps.iter().map(|cap| cap.per_ms).chain(campaigns.iter().filter_map(|c| c.cooldown_ms));
        let history = History::new(windows.max().unwrap_or(0));
        Decider { campaigns, caps, history }
    }

    /// Decides the episodes that entered the trigger set at `tick`. Ticks come in order.
    pub fn decide(&mut self, tick: Tick, entered: Vec<Opening>, facts: &impl Facts) -> Vec<Decided> {
        self.history.advance(tick);
        let mut asked: Vec<Asked> = entered.into_iter().filter_map(|opening| self.ask(tick, opening, facts)).collect();
        asked.sort_by(|one, other| self.rank(one).cmp(&self.rank(other)));
        self.arbitrate(&mut asked);
        let mut decided: Vec<Decided> = asked.into_iter().map(|asked| self.conclude(tick, asked, facts)).collect();
        decided.sort_by(|(one, _), (other, _)| one.sort_key().cmp(&other.sort_key()));
        decided
    }

    /// The gates that look at one episode by itself. None for one that was decided before.
    fn ask(&mut self, tick: Tick, opening: Opening, facts: &impl Facts) -> Option<Asked> {
        let episode = opening.episode;
        let campaign = &self.campaigns[episode.campaign as usize];
        let (customer, subject) = (facts.text(episode.customer), facts.text(episode.subject));
        let id = DecisionId::of(&campaign.name, &customer, &subject, episode.anchor);
        if !self.history.decide_once(id, campaign.expires_ms.map(|expires_ms| tick.saturating_add(expires_ms))) {
            return None;
        }
        let refusal = unreachable(facts.contact(episode.customer))
            .or_else(|| no_consent(facts.contact(episode.customer)))
            .or_else(|| self.cooldown(tick, episode.campaign, episode.customer))
            .or_else(|| self.frequency_cap(tick, episode.customer));
        Some(Asked { id, customer, subject, refusal, opening })
    }

    fn cooldown(&self, tick: Tick, campaign: u16, customer: Id) -> Option<Reason> {
        let cooldown_ms = self.campaigns[campaign as usize].cooldown_ms?;
        let recent = self.history.sends(customer).any(|send| send.campaign == campaign && tick - send.at < cooldown_ms);
        recent.then_some(Reason::Cooldown)
    }

    fn frequency_cap(&self, tick: Tick, customer: Id) -> Option<Reason> {
        let reached = |cap: &Cap| {
            let sends = self.history.sends(customer).filter(|send| tick - send.at < cap.per_ms).count();
            sends >= cap.sends as usize
        };
        self.caps.iter().any(reached).then_some(Reason::FrequencyCap)
    }

    /// By customer, and of a customer's the one that goes first first.
    fn rank<'a>(&'a self, asked: &'a Asked) -> impl Ord + 'a {
        let campaign = &self.campaigns[asked.opening.episode.campaign as usize];
        let priority = std::cmp::Reverse(campaign.priority);
        (
            asked.opening.episode.customer,
            asked.refusal.is_some(),
            priority,
            campaign.name.clone(),
            asked.subject.clone(),
        )
    }

    /// Of a customer's episodes that no gate refused, all but the first are outranked. They come by rank.
    fn arbitrate(&self, asked: &mut [Asked]) {
        let mut winner = None;
        for one in asked.iter_mut().filter(|one| one.refusal.is_none()) {
            let customer = one.opening.episode.customer;
            if winner == Some(customer) {
                one.refusal = Some(Reason::Outranked);
            }
            winner = Some(customer);
        }
    }

    /// Holdout and variant, and the decision as it is written down.
    fn conclude(&mut self, tick: Tick, asked: Asked, facts: &impl Facts) -> Decided {
        let episode = asked.opening.episode;
        let campaign = &self.campaigns[episode.campaign as usize];
        let (outcome, variant) = match asked.refusal {
            Some(_) => (Outcome::Suppress, None),
            None => match campaign.arms.draw(&asked.customer) {
                Arm::Holdout => (Outcome::Holdout, None),
                Arm::Send(variant) => (Outcome::Send, variant.map(|variant| variant.name.clone())),
            },
        };
        if outcome == Outcome::Send {
            self.history.sent(episode.customer, episode.campaign, tick);
        }
        let decision = Decision {
            decision_id: asked.id,
            campaign: campaign.name.clone(),
            customer_id: asked.customer,
            trigger: campaign.trigger.clone(),
            subject: asked.subject,
            anchor: episode.anchor,
            as_of: tick,
            outcome,
            reason: asked.refusal,
            variant,
            payload: payload::payload(&asked.opening, campaign.lines, facts),
        };
        (decision, asked.opening)
    }
}

/// No profile, no e-mail address, or erased.
fn unreachable(contact: Option<&Contact>) -> Option<Reason> {
    let reachable = contact.is_some_and(|contact| contact.known && !contact.erased && contact.email.is_some());
    (!reachable).then_some(Reason::Unreachable)
}

/// Consent not given, or withdrawn by an unsubscribe, a complaint or a bounce.
fn no_consent(contact: Option<&Contact>) -> Option<Reason> {
    let consents = contact.is_some_and(|contact| contact.consent && !contact.withheld);
    (!consents).then_some(Reason::NoConsent)
}
