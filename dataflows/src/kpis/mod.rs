//! KPIs (SPEC §9): what came of the decisions. In: decisions, and what the closed ticks say of orders, owners, engagement and accepted
//! deliveries. Out: for each cell of the table (campaign × arm, whole and by day) what is added to it at which tick. Cannot fail.
//!
//! It is a dataflow of its own beside the one that finds the episodes, because what is decided at a tick is known only once that tick is
//! closed. The differences of its table are the tallies themselves: differential adds them up, and whoever keeps the table adds what it
//! is told. Nothing is retracted because it is old: what a row of the table was made from is let go when nothing can change it any
//! more, and the row stays.
//!
//! ```text
//! owners ──┐
//! decisions┼ holders ──┐
//!          │           ├ candidates ─ credits ─┐
//! orders ──┼ placements┘               │       ├ units ─┐
//!          └───────────────────────────┘       │        ├ table
//! decisions ───────────────────────────────────┴ mails ─┘
//! engagement, deliveries ────────────────────────┘
//! ```

mod candidates;
mod credits;
mod holders;
mod mails;
mod placements;
mod tally;
mod units;

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::{AsCollection, VecCollection};
use serde::{Deserialize, Serialize};
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::vec::Input;
use timely::dataflow::operators::vec::input::Handle;

use crate::horizon::Horizon;
use crate::model::{Diff, Engagement, Id, OrderFact, Tick};
use crate::per_key::per_key;
use crate::snapshot::Snapshots;

use candidates::{Candidates, Owned};
use credits::{Credits, Heard};
use holders::{Holders, OfCustomer};
use mails::{Mails, OfMail};
use placements::Placements;
pub use tally::{AMOUNTS_A_UNIT, Amount, Measure, Tally};
use units::{OfUnit, Units};

/// On what terms decisions are followed.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Length of a tick, ms.
    pub tick_ms: u64,
    /// How long a decision is followed (SPEC §9, `attribution`), ms and whole ticks.
    pub attribution_ms: u64,
    /// When orders are forgotten, and customers who have not been decided about.
    pub horizon: Horizon,
}

impl Terms {
    /// The last tick at which something still counts for a decision made at `at`.
    fn last(&self, at: Tick) -> Tick {
        at.saturating_add(self.attribution_ms)
    }

    /// Whether a decision made at `at` is still followed at `now`.
    fn follows(&self, at: Tick, now: Tick) -> bool {
        now <= self.last(at)
    }

    /// The first tick at which it is not.
    fn end(&self, at: Tick) -> Tick {
        self.last(at).saturating_add(self.tick_ms)
    }

    /// The first tick at which an order placed then can be no decision's any more that it is not yet.
    fn settled(&self, placed: Tick) -> Tick {
        placed.saturating_add(self.attribution_ms)
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// The campaign's index in the plan.
    pub campaign: u16,
    /// 0 for those held out; else the variant's place, from 1, which is 1 where there are none.
    pub arm: u16,
    /// The day, in UTC, of the decisions that it is about, counted from 1970-01-01; none for all of them.
    pub day: Option<u32>,
}

impl Cell {
    /// The arm of those held out.
    pub const HOLDOUT: u16 = 0;

    /// The row of a decision made at `at`.
    pub fn of(campaign: u16, arm: u16, at: Tick) -> Cell {
        const DAY_MS: u64 = 24 * 60 * 60 * 1000;
        Cell { campaign, arm, day: u32::try_from(at / DAY_MS).ok() }
    }

    /// The row of all days.
    fn whole(self) -> Cell {
        Cell { day: None, ..self }
    }
}

/// A decision that is followed: a send, or one held out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Followed {
    /// The tick at which it was made.
    pub at: Tick,
    /// Its id.
    pub id: u128,
    /// Whom it is about, as it names them.
    pub customer: Id,
    /// Its row by day.
    pub cell: Cell,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fact {
    /// A decision was made. With it comes the owner of all that is its customer's.
    Decided(Followed, Id),
    /// All that is this customer's is that one's from now on.
    Owner(Id, Id),
    /// An order is now this.
    Order(Id, OrderFact),
    /// Somebody did something with a mail.
    Engaged(Engagement),
    /// An ESP took the mail of this decision.
    Accepted(u128),
}

type Rows<'scope, D> = VecCollection<'scope, Tick, D, Diff>;

/// Where facts enter.
pub struct Inputs(Handle<Tick, (Fact, Tick, Diff)>);

impl Inputs {
    /// Tells of something at a tick, not before the one last given to [`Inputs::advance_to`].
    pub fn tell(&mut self, fact: Fact, tick: Tick) {
        self.0.send((fact, tick, 1));
    }

    /// Promises that nothing told from here on is of a tick before `tick`.
    pub fn advance_to(&mut self, tick: Tick) {
        self.0.advance_to(tick);
    }

    /// Promises that nothing more is told.
    pub fn close(self) {}
}

/// What is added to the table.
pub struct Outputs(Rc<RefCell<Gathered>>);

/// Rows added to, the tick, and what.
type Added = (Cell, Tick, Tally);

struct Gathered {
    added: Vec<Added>,
    upper: Option<Tick>,
}

impl Outputs {
    /// All that is added before this tick has come; none: all there will be.
    pub fn upper(&self) -> Option<Tick> {
        self.0.borrow().upper
    }

    /// Takes what was added before [`Outputs::upper`], tick by tick.
    pub fn take(&mut self) -> Vec<(Tick, Cell, Tally)> {
        let mut gathered = self.0.borrow_mut();
        let upper = gathered.upper;
        let (come, rest): (Vec<Added>, Vec<Added>) =
            std::mem::take(&mut gathered.added).into_iter().partition(|(_, tick, _)| upper.is_none_or(|it| *tick < it));
        gathered.added = rest;
        let mut come: Vec<(Tick, Cell, Tally)> =
            come.into_iter().map(|(cell, tick, tally)| (tick, cell, tally)).collect();
        come.sort_by_key(|(tick, cell, _)| (*tick, *cell));
        come
    }
}

/// Builds the dataflow.
pub fn build(scope: Scope<'_, Tick>, terms: Terms, snapshots: &Snapshots) -> (Inputs, Outputs) {
    let (input, facts) = scope.new_input();
    let facts: Rows<'_, Fact> = facts.as_collection();
    let held = facts.clone().flat_map(|fact| match fact {
        Fact::Decided(decision, owner) => Some((decision.customer, OfCustomer::Decided(decision, owner))),
        Fact::Owner(customer, owner) => Some((customer, OfCustomer::Owner(owner))),
        _ => None,
    });
    let held = per_key(held, "KPIs: decisions by customer", Holders { terms }, snapshots);
    let orders = facts.clone().flat_map(|fact| match fact {
        Fact::Order(order, is) => Some((order, is)),
        _ => None,
    });
    let placed = per_key(orders.clone(), "KPIs: owners by order", Placements { terms }, snapshots);
    let owned = held.map(|(owner, decision)| (owner, Owned::Decision(decision)));
    let owned = owned.concat(placed.map(|(owner, order)| (owner, Owned::Order(order))));
    let candidates = per_key(owned, "KPIs: candidates by owner", Candidates { terms }, snapshots);
    let heard = candidates.map(|(order, decision)| (order, Heard::Candidate(decision)));
    let heard = heard.concat(orders.map(|(order, is)| (order, Heard::Order(is))));
    let credits = per_key(heard, "KPIs: credits by order", Credits { terms }, snapshots);
    let decisions = facts.clone().flat_map(|fact| match fact {
        Fact::Decided(decision, _) => Some(decision),
        _ => None,
    });
    let units = decisions.clone().map(|decision| (decision.customer, OfUnit::Decided(decision)));
    let units = units.concat(credits.map(|(customer, credit)| (customer, OfUnit::Credit(credit))));
    let units = per_key(units, "KPIs: units by customer", Units { terms }, snapshots);
    let mails = decisions.filter(|decision| decision.cell.arm != Cell::HOLDOUT);
    let mails = mails.map(|decision| (mails::key(decision.id), OfMail::Decided(decision)));
    let became = facts.flat_map(|fact| match fact {
        Fact::Engaged(engagement) => Some((mails::key(engagement.decision), OfMail::Engaged(engagement))),
        Fact::Accepted(decision) => Some((mails::key(decision), OfMail::Accepted(decision))),
        _ => None,
    });
    let mails = per_key(mails.concat(became), "KPIs: mails by decision", Mails { terms }, snapshots);
    let table = units.concat(mails).explode(|(cell, tally)| Some((cell, tally))).consolidate();
    (Inputs(input), gather(table))
}

/// Hands out what is added to the table.
fn gather(table: VecCollection<'_, Tick, Cell, Tally>) -> Outputs {
    let shared = Rc::new(RefCell::new(Gathered { added: Vec::new(), upper: Some(0) }));
    let gathered = shared.clone();
    table.inner.sink(Pipeline, "KPIs: table", move |(input, frontier)| {
        let mut gathered = gathered.borrow_mut();
        input.for_each(|_, added| gathered.added.append(added));
        gathered.upper = frontier.frontier().first().copied();
    });
    Outputs(shared)
}
