//! Whose decisions are. In: decisions by the customer whom they name, and the owner of all that is that customer's, whenever it becomes
//! another. Out: the decisions that are followed, by owner. Cannot fail.

use serde::{Deserialize, Serialize};

use super::{Followed, Terms};
use crate::model::{Diff, Id, Tick};
use crate::per_key::{Next, PerKey};

/// The rule of a customer.
pub(super) struct Holders {
    pub(super) terms: Terms,
}

/// What is told of a customer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum OfCustomer {
    /// Decided about, and whose that is.
    Decided(Followed, Id),
    /// All that is theirs is that one's.
    Owner(Id),
}

/// The decisions about a customer that are followed, and whose they are.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Held {
    owner: Id,
    decisions: Vec<Followed>,
}

impl PerKey for Holders {
    type In = OfCustomer;
    type State = Held;
    type Out = (Id, Followed);
    type Wake = Tick;

    fn visit(
        &mut self,
        now: Tick,
        _key: Id,
        held: &mut Held,
        changes: &mut dyn Iterator<Item = (OfCustomer, Diff)>,
        emit: &mut dyn FnMut((Id, Followed), Diff),
    ) -> Next {
        // Those whose time is over are not retracted: what they led to stays.
        held.decisions.retain(|decision| self.terms.follows(decision.at, now));
        let (before, known) = (held.owner, held.decisions.len());
        for (change, _) in changes {
            match change {
                OfCustomer::Decided(decision, owner) => {
                    held.decisions.push(decision);
                    held.owner = owner;
                }
                OfCustomer::Owner(owner) => held.owner = owner,
            }
        }
        if held.owner != before {
            for decision in &held.decisions[..known] {
                emit((before, *decision), -1);
                emit((held.owner, *decision), 1);
            }
        }
        held.decisions[known..].iter().for_each(|decision| emit((held.owner, *decision), 1));
        let ends = held.decisions.iter().map(|decision| self.terms.end(decision.at));
        ends.min().map_or(Next::Forget, Next::wake_at)
    }
}
