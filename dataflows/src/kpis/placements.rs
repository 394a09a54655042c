//! Whose orders are, while they may come to count for a decision. In: orders by id, each as it is now. Out: the same by owner, those that
//! are cancelled left out. Cannot fail.

use serde::{Deserialize, Serialize};

use super::Terms;
use crate::model::{Diff, Id, OrderFact, OrderStatus, Tick};
use crate::per_key::{Next, PerKey};

/// The rule of an order.
pub(super) struct Placements {
    pub(super) terms: Terms,
}

/// When an order was placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Placed {
    pub(super) order: Id,
    pub(super) at: Tick,
}

/// By whom an order was placed, and when.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Placement(Option<(Id, Tick)>);

impl PerKey for Placements {
    type In = OrderFact;
    type State = Placement;
    type Out = (Id, Placed);
    type Wake = Tick;

    fn visit(
        &mut self,
        now: Tick,
        order: Id,
        Placement(placement): &mut Placement,
        changes: &mut dyn Iterator<Item = (OrderFact, Diff)>,
        emit: &mut dyn FnMut((Id, Placed), Diff),
    ) -> Next {
        let may_count = |at: &Tick| now < self.terms.settled(*at);
        // What can count no more is not retracted: what it counted for stays.
        placement.take_if(|(_, at)| !may_count(at));
        let before = *placement;
        for (is, _) in changes {
            *placement = (is.status != OrderStatus::Cancelled).then_some((is.customer, is.placed));
        }
        if *placement != before {
            before.into_iter().for_each(|(owner, at)| emit((owner, Placed { order, at }), -1));
            let after = placement.filter(|(_, at)| may_count(at));
            after.into_iter().for_each(|(owner, at)| emit((owner, Placed { order, at }), 1));
            *placement = after;
        }
        placement.map_or(Next::Forget, |(_, at)| Next::wake_at(self.terms.settled(at)))
    }
}
