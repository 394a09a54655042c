//! Gates and arbitration (SPEC §5). In: the edges of the trigger set at a closed tick, and the state as of it. Out: one
//! decision for each episode that entered, in the order of SPEC, at once or after quiet hours. Pure: no clock, no I/O; cannot
//! fail. What was decided depends on nothing but the ticks before.
//!
//! The episodes of a tick are asked one after the other, by rank: greater priority, lesser campaign name, lesser customer id,
//! lesser subject. So the first of a customer's that is let through outranks the others, and a stock budget goes to
//! those of greater priority.

mod arms;
mod budget;
mod condition;
mod memory;
mod payload;
mod quiet;
mod waiting;

use std::cmp::Reverse;
use std::sync::Arc;

use beckon_dataflows::model::{Contact, Episode, History, Id, Opening, Product, Tick};
use hashbrown::HashSet;
use rust_decimal::Decimal;

use crate::decision::{self, Decision, DecisionId, Outcome, Payload, Percent, Reason};
pub use arms::{Arm, Arms, Variant};
use budget::Budgets;
pub use condition::Condition;
use condition::{About, Undecidable};
use memory::Memory;
pub use payload::Stocked;
pub use quiet::QuietHours;
use waiting::Waiting;

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
    /// Whom it is for; everybody when not set.
    pub audience: Option<Condition>,
    /// Sends per piece in stock that may name a SKU as hero in one restock.
    pub stock_budget: Option<Decimal>,
    /// X, ms: how long an episode can last.
    pub expires_ms: Option<u64>,
    /// Which lines the payload shows.
    pub lines: Stocked,
    /// How many similar SKUs the payload gives, where it gives any.
    pub similar: Option<usize>,
    /// Holdout and variants.
    pub arms: Arms,
    /// The first that holds is given.
    pub discounts: Vec<Discount>,
}

/// A discount, and whom it is for.
#[derive(Clone, Debug)]
pub struct Discount {
    /// Asked when the decision is made.
    pub when: Condition,
    /// How much.
    pub percent: Percent,
}

/// At most so many sends to a customer over all campaigns in a rolling window.
#[derive(Clone, Copy, Debug)]
pub struct Cap {
    /// How many.
    pub sends: u32,
    /// In what time, ms.
    pub per_ms: u64,
}

/// What holds for all campaigns.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// All of them hold.
    pub caps: Vec<Cap>,
    /// When nobody is written to.
    pub quiet_hours: Option<QuietHours>,
}

/// What decisions are made from, as of the tick that they are made at.
pub trait Facts {
    /// The customer.
    fn contact(&self, customer: Id) -> Option<&Contact>;
    /// All ids under which was sent to the customer: their own, and those that became an alias of it (SPEC §3).
    fn all_of(&self, customer: Id) -> Vec<Id>;
    /// What the customer has bought. Only known where a campaign has an audience or a discount.
    fn history(&self, customer: Id) -> History;
    /// Units on hand.
    fn on_hand(&self, sku: Id) -> i64;
    /// The tick at which the stock last rose from nothing; none while there is nothing.
    fn in_stock_since(&self, sku: Id) -> Option<Tick>;
    /// The product.
    fn product(&self, sku: Id) -> Option<&Product>;
    /// The `count` SKUs in stock most similar to `sku` that the customer has not ordered, the most similar first. Only known
    /// where a campaign asks for it.
    fn similar(&self, sku: Id, customer: Id, count: usize) -> Vec<Id>;
    /// The text that an id stands for.
    fn text(&self, id: Id) -> Arc<str>;
}

/// A decision with the opening that it is about.
pub type Decided = (Decision, Opening);

/// A condition that could not be decided, and was taken for false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// The campaign's name.
    pub campaign: Arc<str>,
    /// Why.
    pub why: String,
}

/// Decides, tick by tick, and remembers what it must not decide or send again.
pub struct Decider {
    campaigns: Vec<Campaign>,
    limits: Limits,
    memory: Memory,
    /// Where a campaign has one.
    budgets: Option<Budgets>,
    waiting: Waiting,
    undecided: Vec<Undecided>,
}

/// An episode on its way through the gates.
struct Asked {
    id: DecisionId,
    customer: Arc<str>,
    subject: Arc<str>,
    payload: Payload,
    /// Where a campaign has a stock budget.
    hero: Option<Id>,
    opening: Opening,
}

/// What the gates that look at one episode by itself say.
enum Verdict {
    Refused(Reason),
    /// Quiet hours: until this tick.
    Waits(Tick),
    LetThrough,
}

impl Decider {
    /// A decider that has decided nothing yet.
    pub fn new(campaigns: Vec<Campaign>, limits: Limits) -> Decider {
        let windows = limits.caps.iter().map(|cap| cap.per_ms);
        let windows = windows.chain(campaigns.iter().filter_map(|campaign| campaign.cooldown_ms));
        let memory = Memory::new(windows.max().unwrap_or(0));
        let has_budget = campaigns.iter().any(|campaign| campaign.stock_budget.is_some());
        let budgets = has_budget.then(Budgets::default);
        Decider { campaigns, limits, memory, budgets, waiting: Waiting::default(), undecided: Vec::new() }
    }

    /// Decides the episodes that `entered` the trigger set at `tick`, and those whose quiet hours have ended, unless they
    /// `left`. Ticks come in order; of those without edges only [`Decider::next_wake`] need come.
    pub fn decide(&mut self, tick: Tick, left: &[Episode], entered: Vec<Opening>, facts: &impl Facts) -> Vec<Decided> {
        self.memory.advance(tick);
        let due = self.waiting.take_up(tick, left, entered);
        let mut asked: Vec<Asked> = due.into_iter().filter_map(|opening| self.present(opening, facts)).collect();
        asked.sort_by(|one, other| self.rank(one).cmp(&self.rank(other)));
        let mut served = HashSet::new();
        let mut decided = Vec::with_capacity(asked.len());
        for asked in asked {
            // A visitor and a user of one id can share a decision id: it is decided once.
            if self.memory.is_decided(asked.id) {
                continue;
            }
            let refusal = match self.verdict(tick, &asked, facts) {
                Verdict::Waits(until) => {
                    self.waiting.wait(asked.opening, until);
                    continue;
                }
                Verdict::Refused(reason) => Some(reason),
                Verdict::LetThrough => {
                    let is_first = served.insert(asked.opening.episode.customer);
                    (!is_first).then_some(Reason::Outranked)
                }
            };
            decided.push(self.conclude(tick, asked, refusal, facts));
        }
        decided.sort_by(|(one, _), (other, _)| one.sort_key().cmp(&other.sort_key()));
        decided
    }

    /// The next tick at which there is something to decide without any edge; none when nothing waits.
    pub fn next_wake(&self) -> Option<Tick> {
        self.waiting.next_wake()
    }

    /// Takes the conditions that could not be decided since the last call.
    pub fn take_undecided(&mut self) -> Vec<Undecided> {
        std::mem::take(&mut self.undecided)
    }

    /// What the gates are asked about. None for an episode that was decided before.
    fn present(&self, opening: Opening, facts: &impl Facts) -> Option<Asked> {
        let episode = opening.episode;
        let campaign = &self.campaigns[episode.campaign as usize];
        let (customer, subject) = (facts.text(episode.customer), facts.text(episode.subject));
        let id = DecisionId::of(&campaign.name, &customer, &subject, episode.anchor);
        if self.memory.is_decided(id) {
            return None;
        }
        let payload = payload::payload(&opening, campaign, facts);
        let hero = self.budgets.as_ref().and_then(|_| payload::hero(&opening, campaign.lines, facts));
        Some(Asked { id, customer, subject, payload, hero, opening })
    }

    /// The order in which the episodes of a tick are asked.
    fn rank<'a>(&'a self, asked: &'a Asked) -> impl Ord + 'a {
        let episode = asked.opening.episode;
        let campaign = &self.campaigns[episode.campaign as usize];
        let place = (&*asked.customer, &*asked.subject, episode.anchor, episode.customer);
        (Reverse(campaign.priority), &*campaign.name, place)
    }

    /// The gates that look at one episode by itself, in SPEC's order.
    fn verdict(&mut self, tick: Tick, asked: &Asked, facts: &impl Facts) -> Verdict {
        let episode = asked.opening.episode;
        let contact = facts.contact(episode.customer);
        let refusal = unreachable(contact)
            .or_else(|| no_consent(contact))
            .or_else(|| self.audience(tick, asked, facts))
            .or_else(|| self.cooldown(tick, episode, facts))
            .or_else(|| self.frequency_cap(tick, episode.customer, facts))
            .or_else(|| self.stock_budget(asked, facts));
        let timezone = contact.and_then(|contact| contact.timezone.as_deref());
        let quiet_until = || self.limits.quiet_hours.as_ref().and_then(|hours| hours.until(tick, timezone));
        match refusal {
            Some(reason) => Verdict::Refused(reason),
            None => quiet_until().map_or(Verdict::LetThrough, Verdict::Waits),
        }
    }

    /// A condition that cannot be decided is not met: nobody is written to by mistake.
    fn audience(&mut self, tick: Tick, asked: &Asked, facts: &impl Facts) -> Option<Reason> {
        let campaign = &self.campaigns[asked.opening.episode.campaign as usize];
        let audience = campaign.audience.as_ref()?;
        let holds = audience.holds(&about(tick, asked, campaign, facts));
        (!held(holds, campaign, &mut self.undecided)).then_some(Reason::Audience)
    }

    fn cooldown(&self, tick: Tick, Episode { campaign, customer, .. }: Episode, facts: &impl Facts) -> Option<Reason> {
        let cooldown_ms = self.campaigns[campaign as usize].cooldown_ms?;
        let ids = facts.all_of(customer);
        let mut recent = self.memory.sends_before(&ids, tick);
        recent.any(|send| send.campaign == campaign && tick - send.at < cooldown_ms).then_some(Reason::Cooldown)
    }

    fn frequency_cap(&self, tick: Tick, customer: Id, facts: &impl Facts) -> Option<Reason> {
        if self.limits.caps.is_empty() {
            return None;
        }
        let ids = facts.all_of(customer);
        let reached = |cap: &Cap| {
            let sends = self.memory.sends_before(&ids, tick).filter(|send| tick - send.at < cap.per_ms);
            sends.count() >= cap.sends as usize
        };
        self.limits.caps.iter().any(reached).then_some(Reason::FrequencyCap)
    }

    fn stock_budget(&self, asked: &Asked, facts: &impl Facts) -> Option<Reason> {
        let budget = self.campaigns[asked.opening.episode.campaign as usize].stock_budget?;
        let (hero, budgets) = (asked.hero?, self.budgets.as_ref()?);
        let reached = budgets.is_reached(hero, facts.in_stock_since(hero), facts.on_hand(hero), budget);
        reached.then_some(Reason::StockBudget)
    }

    /// The first of the campaign's discounts whose condition holds, whatever the decision comes to.
    fn discount(&mut self, tick: Tick, asked: &Asked, facts: &impl Facts) -> Option<decision::Discount> {
        let campaign = &self.campaigns[asked.opening.episode.campaign as usize];
        let first = campaign.discounts.iter().find(|discount| {
            let holds = discount.when.holds(&about(tick, asked, campaign, facts));
            held(holds, campaign, &mut self.undecided)
        });
        first.map(|discount| decision::Discount { percent: discount.percent })
    }

    /// Holdout and variant, discount, and the decision as it is written down.
    fn conclude(&mut self, tick: Tick, mut asked: Asked, refusal: Option<Reason>, facts: &impl Facts) -> Decided {
        asked.payload.discount = self.discount(tick, &asked, facts);
        let episode = asked.opening.episode;
        let campaign = &self.campaigns[episode.campaign as usize];
        let (outcome, variant) = match refusal {
            Some(_) => (Outcome::Suppress, None),
            None => match campaign.arms.draw(&asked.customer) {
                Arm::Holdout => (Outcome::Holdout, None),
                Arm::Send(variant) => (Outcome::Send, variant.map(|variant| variant.name.clone())),
            },
        };
        self.memory.decided(asked.id, campaign.expires_ms.map(|expires_ms| tick.saturating_add(expires_ms)));
        if outcome == Outcome::Send {
            self.memory.sent(episode.customer, episode.campaign, tick);
            if let (Some(budgets), Some(hero)) = (&mut self.budgets, asked.hero) {
                budgets.sent(hero, facts.in_stock_since(hero));
            }
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
            reason: refusal,
            variant,
            payload: asked.payload,
        };
        (decision, asked.opening)
    }
}

/// What a campaign's conditions are asked about.
fn about<'a>(tick: Tick, asked: &'a Asked, campaign: &'a Campaign, facts: &'a impl Facts) -> About<'a> {
    let episode = asked.opening.episode;
    About {
        customer_id: &asked.customer,
        contact: facts.contact(episode.customer),
        history: facts.history(episode.customer),
        payload: &asked.payload,
        trigger: &campaign.trigger,
        subject: &asked.subject,
        anchor: episode.anchor,
        as_of: tick,
    }
}

/// Whether it holds. What cannot be decided does not, and is remembered.
fn held(holds: Result<bool, Undecidable>, campaign: &Campaign, undecided: &mut Vec<Undecided>) -> bool {
    holds.unwrap_or_else(|fault| {
        undecided.push(Undecided { campaign: campaign.name.clone(), why: fault.to_string() });
        false
    })
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
