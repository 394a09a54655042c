//! Histories by customer (SPEC §3). In: orders as their owners have them, and what is left of those forgotten. Out: how many of a
//! customer's orders stand, their sum and the time of the latest, replaced as it changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::customers::Deed;
use crate::model::{Diff, History, Id, Money, OrderStatus, Tick};
use crate::per_key::{Never, Next, PerKey};

/// The rule of a history.
pub struct Histories;

/// The orders that are history.
#[derive(Default, Serialize, Deserialize)]
pub struct Bought {
    /// Each with the tick at which it was placed and its total.
    orders: BTreeMap<Id, (Tick, Money)>,
    /// Those forgotten.
    past: History,
}

impl PerKey for Histories {
    type In = (Tick, Deed);
    type State = Bought;
    type Out = (Id, History);
    type Wake = Never;

    fn visit(
        &mut self,
        _now: Tick,
        key: Id,
        bought: &mut Bought,
        changes: &mut dyn Iterator<Item = ((Tick, Deed), Diff)>,
        emit: &mut dyn FnMut((Id, History), Diff),
    ) -> Next {
        let before = bought.history();
        for ((_, deed), diff) in changes {
            let order = match deed {
                Deed::Order(order) => order,
                Deed::Reset => {
                    *bought = Bought::default();
                    continue;
                }
                Deed::Past(past) => {
                    bought.past = bought.past.and(&past);
                    continue;
                }
                _ => continue,
            };
            if diff < 0 {
                bought.orders.remove(&order.id);
            } else if order.status == OrderStatus::Placed {
                bought.orders.insert(order.id, (order.placed, order.total().unwrap_or_default()));
            }
        }
        let after = bought.history();
        // Everybody's history is empty to begin with, told or not.
        if before != after {
            emit((key, before), -1);
            emit((key, after), 1);
        }
        if after == History::default() { Next::Forget } else { Next::Keep }
    }

    fn restate(&self, key: Id, bought: &Bought, emit: &mut dyn FnMut((Id, History))) {
        let history = bought.history();
        if history != History::default() {
            emit((key, history));
        }
    }
}

impl Bought {
    /// Summed anew each time, in the order of ids, so that no sum depends on what came and went before.
    fn history(&self) -> History {
        let own = |(placed, total): &(Tick, Money)| History::of(*placed, *total);
        self.orders.values().map(own).fold(self.past, |sum, order| sum.and(&order))
    }
}
