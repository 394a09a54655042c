//! Gates and arbitration (SPEC §5). In: the edges of the trigger set at a closed tick, and the state as of it. Out: one
//! decision for each episode that entered, in the order of SPEC, at once or after quiet hours. Pure: no clock, no I/O; cannot
//! fail. What was decided depends on nothing but the ticks before.
//!
//! The episodes of a tick are asked one after the other, by rank: greater priority, lesser campaign name, lesser customer id,
//! lesser subject. So the first of a customer's that is let through outranks the others, and a stock budget goes to
//! those of greater priority. What each is asked, and in which order, is in `gates`.

mod account;
mod arms;
mod budget;
mod condition;
mod gates;
mod memory;
mod payload;
mod quiet;
mod waiting;

use std::cmp::Reverse;
use std::sync::Arc;

use beckon_dataflows::model::{Contact, Episode, History, Id, Opening, Product, Tick};
use hashbrown::{HashMap, HashSet};
use rust_decimal::Decimal;

use crate::decision::{self, Decision, DecisionId, Outcome, Payload, Percent, Reason};
use account::Nobody;
pub use account::{Answer, Asking, CapCount, Gate, Reply, Rival, Why};
pub use arms::{Arm, Arms, Variant};
use budget::Budgets;
pub use condition::Condition;
use condition::{About, Undecidable};
use gates::Ruling;
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

/// Whose gates are listened to.
#[derive(Clone, Debug)]
pub enum Watch {
    /// One decision's.
    Decision(DecisionId),
    /// Those of every decision.
    All,
    /// Those of all that is asked about some customers.
    Customers(HashSet<Id>),
}

impl Watch {
    fn is_on(&self, asked: &Asked) -> bool {
        match self {
            Watch::Decision(id) => asked.id == *id,
            Watch::All => true,
            Watch::Customers(customers) => customers.contains(&asked.opening.episode.customer),
        }
    }
}

/// All that a decider remembers, as rows of words: ids, ticks, counts.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Sends: customer, campaign, tick.
    pub sends: Vec<[u64; 3]>,
    /// Decisions, by the halves of their ids.
    pub decided: Vec<[u64; 2]>,
    /// Those of them that need not be remembered for ever: the last tick at which they need, the halves of their ids.
    pub over: Vec<[u64; 3]>,
    /// Sends that named a SKU as hero: SKU, restock, how many.
    pub budgets: Vec<[u64; 3]>,
    /// Episodes in quiet hours, each with when they are over.
    pub waiting: Vec<(Opening, Tick)>,
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
    /// Whose gates are listened to, and what they said since that was last taken.
    watch: Option<Watch>,
    askings: Vec<Asking>,
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

impl Decider {
    /// A decider that has decided nothing yet.
    pub fn new(campaigns: Vec<Campaign>, limits: Limits) -> Decider {
        let windows = limits.caps.iter().map(|cap| cap.per_ms);
        let windows = windows.chain(campaigns.iter().filter_map(|campaign| campaign.cooldown_ms));
        let memory = Memory::new(windows.max().unwrap_or(0));
        let has_budget = campaigns.iter().any(|campaign| campaign.stock_budget.is_some());
        let budgets = has_budget.then(Budgets::default);
        let (waiting, undecided) = (Waiting::default(), Vec::new());
        Decider { campaigns, limits, memory, budgets, waiting, undecided, watch: None, askings: Vec::new() }
    }

    /// One of the same campaigns and limits that has decided nothing yet.
    pub fn anew(&self) -> Decider {
        Decider::new(self.campaigns.clone(), self.limits.clone())
    }

    /// What is remembered of the ticks so far. Takes some milliseconds for a hundred thousand decisions.
    pub fn remembered(&self) -> Remembered {
        let mut remembered = Remembered { waiting: self.waiting.all(), ..Remembered::default() };
        self.memory.write(&mut remembered);
        remembered.budgets = self.budgets.as_ref().map(Budgets::rows).unwrap_or_default();
        remembered
    }

    /// Goes on after what another decider of the same campaigns and limits remembered. False if that cannot be.
    pub fn recall(&mut self, remembered: Remembered) -> bool {
        self.budgets.iter_mut().for_each(|budgets| budgets.restore(&remembered.budgets));
        let is_memory = self.memory.read(&remembered);
        let campaigns = self.campaigns.len();
        let mut known = remembered.waiting.into_iter().filter(|(it, _)| usize::from(it.episode.campaign) < campaigns);
        known.by_ref().for_each(|(opening, wake)| self.waiting.wait(opening, wake));
        is_memory
    }

    /// Listens to gates: [`Decider::take_askings`] says what they answered.
    pub fn watching(mut self, watch: Watch) -> Decider {
        // To whom sends went is remembered for an explanation alone: it grows.
        if !matches!(watch, Watch::All) {
            self.budgets = self.budgets.map(Budgets::remembering_recipients);
        }
        self.watch = Some(watch);
        self
    }

    /// Decides the episodes that `entered` the trigger set at `tick`, and those whose quiet hours have ended, unless they
    /// `left`. Ticks come in order; of those without edges only [`Decider::next_wake`] need come.
    pub fn decide(&mut self, tick: Tick, left: &[Episode], entered: Vec<Opening>, facts: &impl Facts) -> Vec<Decided> {
        self.memory.advance(tick);
        let due = self.waiting.take_up(tick, left, entered);
        let mut asked: Vec<Asked> = due.into_iter().filter_map(|opening| self.present(opening, facts)).collect();
        asked.sort_by(|one, other| self.rank(one).cmp(&self.rank(other)));
        let mut served: HashMap<Id, Episode> = HashMap::new();
        let mut decided = Vec::with_capacity(asked.len());
        for asked in asked {
            // A visitor and a user of one id can share a decision id: it is decided once.
            if self.memory.is_decided(asked.id) {
                continue;
            }
            let episode = asked.opening.episode;
            match self.ask(tick, &asked, served.get(&episode.customer), facts) {
                Ruling::Waits(until) => self.waiting.wait(asked.opening, until),
                Ruling::Refused(reason) => {
                    decided.push(self.conclude(tick, asked, (Outcome::Suppress, Some(reason), None), facts));
                }
                Ruling::Drawn(outcome, variant) => {
                    served.insert(episode.customer, episode);
                    decided.push(self.conclude(tick, asked, (outcome, None, variant), facts));
                }
            }
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

    /// Takes what the gates that are listened to answered since the last call.
    pub fn take_askings(&mut self) -> Vec<Asking> {
        std::mem::take(&mut self.askings)
    }

    /// Asks the gates, and keeps what they answer to who listens.
    fn ask(&mut self, tick: Tick, asked: &Asked, first: Option<&Episode>, facts: &impl Facts) -> Ruling {
        if !self.watch.as_ref().is_some_and(|watch| watch.is_on(asked)) {
            return self.rule(tick, asked, first, facts, &mut Nobody);
        }
        let mut replies = Vec::new();
        let ruling = self.rule(tick, asked, first, facts, &mut replies);
        self.askings.push(Asking { decision: asked.id, tick, replies });
        ruling
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

    /// The first of the campaign's discounts whose condition holds, whatever the decision comes to.
    fn discount(&mut self, tick: Tick, asked: &Asked, facts: &impl Facts) -> Option<decision::Discount> {
        let campaign = &self.campaigns[asked.opening.episode.campaign as usize];
        let first = campaign.discounts.iter().find(|discount| {
            let holds = discount.when.holds(&about(tick, asked, campaign, facts));
            held(holds, campaign, &mut self.undecided)
        });
        first.map(|discount| decision::Discount { percent: discount.percent })
    }

    /// Chooses a discount, remembers what was decided, and writes it down.
    fn conclude(
        &mut self,
        tick: Tick,
        mut asked: Asked,
        (outcome, reason, variant): (Outcome, Option<Reason>, Option<Arc<str>>),
        facts: &impl Facts,
    ) -> Decided {
        asked.payload.discount = self.discount(tick, &asked, facts);
        let episode = asked.opening.episode;
        let campaign = &self.campaigns[episode.campaign as usize];
        self.memory.decided(asked.id, campaign.expires_ms.map(|expires_ms| tick.saturating_add(expires_ms)));
        if outcome == Outcome::Send {
            self.memory.sent(episode.customer, episode.campaign, tick);
            if let (Some(budgets), Some(hero)) = (&mut self.budgets, asked.hero) {
                budgets.sent(hero, facts.in_stock_since(hero), episode.customer);
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
            reason,
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
