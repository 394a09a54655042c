//! The attribution join (SPEC §9). In: an owner's decisions that are followed, and orders. Out: for each order the decision that it counts
//! for, as far as is known: the latest before it, if that is not too long before. Cannot fail.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::placements::Placed;
use super::{Followed, Terms};
use crate::model::{Diff, Id, Tick};
use crate::per_key::{Next, PerKey};

/// The rule of an owner.
pub(super) struct Candidates {
    pub(super) terms: Terms,
}

/// What is an owner's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Owned {
    /// A decision about them, or about somebody who is an alias of theirs.
    Decision(Followed),
    /// An order of theirs.
    Order(Placed),
}

/// What an owner has.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct All {
    /// The latest last; of those of one tick the greatest id.
    decisions: Vec<Followed>,
    orders: BTreeMap<Id, Order>,
}

/// An order, and the decision that it counts for, while that is followed.
#[derive(Serialize, Deserialize)]
struct Order {
    placed: Tick,
    candidate: Option<Followed>,
}

impl PerKey for Candidates {
    type In = Owned;
    type State = All;
    type Out = (Id, Followed);
    type Wake = Tick;

    fn visit(
        &mut self,
        now: Tick,
        _key: Id,
        all: &mut All,
        changes: &mut dyn Iterator<Item = (Owned, Diff)>,
        emit: &mut dyn FnMut((Id, Followed), Diff),
    ) -> Next {
        self.let_go(now, all);
        for (change, diff) in changes {
            match (change, diff > 0) {
                (Owned::Decision(decision), true) => all.decisions.push(decision),
                (Owned::Decision(decision), false) => all.decisions.retain(|other| *other != decision),
                (Owned::Order(Placed { order, at }), true) => {
                    all.orders.insert(order, Order { placed: at, candidate: None });
                }
                (Owned::Order(Placed { order, .. }), false) => {
                    let gone = all.orders.remove(&order).and_then(|gone| gone.candidate);
                    gone.into_iter().for_each(|candidate| emit((order, candidate), -1));
                }
            }
        }
        all.decisions.sort_unstable();
        let decisions = &all.decisions;
        for (id, order) in &mut all.orders {
            let candidate = self.candidate(decisions, order.placed);
            if candidate != order.candidate {
                order.candidate.into_iter().for_each(|before| emit((*id, before), -1));
                candidate.into_iter().for_each(|after| emit((*id, after), 1));
                order.candidate = candidate;
            }
        }
        let ends = all.decisions.iter().map(|decision| self.terms.end(decision.at));
        let ends = ends.chain(all.orders.values().map(|order| self.terms.settled(order.placed)));
        ends.min().map_or(Next::Forget, Next::wake_at)
    }
}

impl Candidates {
    /// Lets go of decisions that are followed no longer and of orders that can count for no other: what counts stays so.
    fn let_go(&self, now: Tick, all: &mut All) {
        let follows = |decision: &Followed| self.terms.follows(decision.at, now);
        all.decisions.retain(follows);
        all.orders.retain(|_, order| now < self.terms.settled(order.placed));
        for order in all.orders.values_mut() {
            order.candidate.take_if(|decision| !follows(decision));
        }
    }

    /// The latest of the decisions before an order placed then. One before it that is followed no longer is none: then neither is any
    /// earlier one.
    fn candidate(&self, decisions: &[Followed], placed: Tick) -> Option<Followed> {
        let before = decisions.partition_point(|decision| decision.at < placed);
        let latest = decisions[..before].last()?;
        (placed <= self.terms.last(latest.at)).then_some(*latest)
    }
}
