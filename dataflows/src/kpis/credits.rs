//! What each order counts for. In: orders, each as it is now, and the decision that each may count for. Out: credits, by the customer of the
//! decision. Cannot fail.
//!
//! An order that counts for a decision when that is no longer followed counts for it for good. What becomes of it, a refund above all, still
//! changes how much, until the order is forgotten.

use serde::{Deserialize, Serialize};

use super::{Amount, Followed, Terms};
use crate::model::{Diff, Id, OrderFact, OrderStatus, Tick};
use crate::per_key::{Next, PerKey};

/// The rule of an order.
pub(super) struct Credits {
    pub(super) terms: Terms,
}

/// What is heard of an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Heard {
    /// It is now this.
    Order(OrderFact),
    /// It may count for this decision.
    Candidate(Followed),
}

/// An order, and what it counts for.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Known {
    /// As it is, and since which tick.
    order: Option<(OrderFact, Tick)>,
    decision: Option<Followed>,
}

/// What an order adds to a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Credit {
    pub(super) decision: Followed,
    /// None while it is cancelled.
    pub(super) value: Option<Amount>,
    /// From this tick on it changes no more.
    pub(super) settled: Tick,
}

impl PerKey for Credits {
    type In = Heard;
    type State = Known;
    type Out = (Id, Credit);
    type Wake = Tick;

    fn visit(
        &mut self,
        now: Tick,
        _key: Id,
        known: &mut Known,
        changes: &mut dyn Iterator<Item = (Heard, Diff)>,
        emit: &mut dyn FnMut((Id, Credit), Diff),
    ) -> Next {
        if now >= self.settled(known) {
            *known = Known::default();
        }
        let before = self.credit(known);
        let is_final = known.decision.is_some_and(|decision| !self.terms.follows(decision.at, now));
        for (change, diff) in changes {
            match change {
                Heard::Order(order) => known.order = Some((order, now)),
                Heard::Candidate(_) if is_final => {}
                Heard::Candidate(decision) if diff > 0 => known.decision = Some(decision),
                Heard::Candidate(decision) => drop(known.decision.take_if(|known| *known == decision)),
            }
        }
        let after = self.credit(known);
        if before != after {
            before.into_iter().for_each(|credit| emit((credit.decision.customer, credit), -1));
            after.into_iter().for_each(|credit| emit((credit.decision.customer, credit), 1));
        }
        let settled = self.settled(known);
        if settled <= now { Next::Forget } else { Next::wake_at(settled) }
    }
}

impl Credits {
    fn credit(&self, known: &Known) -> Option<Credit> {
        let (order, _) = known.order.as_ref()?;
        let value = match order.status {
            OrderStatus::Placed => Some(order.total.map(Amount::of).unwrap_or_default()),
            OrderStatus::Refunded => Some(Amount::default()),
            OrderStatus::Cancelled => None,
        };
        Some(Credit { decision: known.decision?, value, settled: self.settled(known) })
    }

    /// The first tick at which nothing can change any more: one that counts for nothing can count for nothing, and one that does
    /// is forgotten. At [`Tick::MAX`] never.
    fn settled(&self, known: &Known) -> Tick {
        let Some((order, since)) = &known.order else { return 0 };
        let settled = self.terms.settled(order.placed);
        if known.decision.is_none() { settled } else { settled.max(self.terms.horizon.order(order.placed.max(*since))) }
    }
}
