//! Histories by customer (SPEC §3). In: orders as their owners have them. Out: how many of a customer's orders stand, their
//! sum and the time of the latest, replaced as it changes.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::customers::Deed;
use crate::model::{Diff, History, Id, Money, OrderStatus, Tick};
use crate::per_key::{Next, PerKey};

/// The rule of a history.
pub struct Histories;

/// The orders that are history, each with the tick at which it was placed and its total.
#[derive(Default)]
pub struct Bought(BTreeMap<Id, (Tick, Decimal)>);

impl PerKey for Histories {
    type In = (Tick, Deed);
    type State = Bought;
    type Out = (Id, History);

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
                    bought.0.clear();
                    continue;
                }
                _ => continue,
            };
            if diff < 0 {
                bought.0.remove(&order.id);
            } else if order.status == OrderStatus::Placed {
                bought.0.insert(order.id, (order.placed, order.total.unwrap_or_default().0));
            }
        }
        let after = bought.history();
        // Everybody's history is empty to begin with, told or not.
        if before != after {
            emit((key, before), -1);
            emit((key, after), 1);
        }
        if bought.0.is_empty() { Next::Forget } else { Next::Keep }
    }
}

impl Bought {
    /// Summed anew each time, in the order of ids, so that no sum depends on what came and went before.
    fn history(&self) -> History {
        let totals = self.0.values().map(|(_, total)| *total);
        // What no decimal holds is more than any condition asks for.
        let total = totals.fold(Decimal::ZERO, |sum, total| sum.checked_add(total).unwrap_or(Decimal::MAX));
        History {
            orders: self.0.len() as u64,
            total: Money(total),
            last_order: self.0.values().map(|(placed, _)| *placed).max(),
        }
    }
}
