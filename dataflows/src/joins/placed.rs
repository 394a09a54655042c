//! Orders as the KPIs need them. In: orders as their owners have them. Out: for each order by id whose it is, when it was placed, what
//! became of it and its total, replaced as that changes. Cannot fail.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::customers::Deed;
use crate::model::{Diff, Id, OrderFact, Tick};
use crate::per_key::{Never, Next, PerKey};

/// The rule of a customer's orders.
pub struct PlacedOrders;

/// A customer's orders.
#[derive(Default, Serialize, Deserialize)]
pub struct Placed(BTreeMap<Id, OrderFact>);

impl PerKey for PlacedOrders {
    type In = (Tick, Deed);
    type State = Placed;
    type Out = (Id, OrderFact);
    type Wake = Never;

    fn visit(
        &mut self,
        _now: Tick,
        customer: Id,
        Placed(orders): &mut Placed,
        changes: &mut dyn Iterator<Item = ((Tick, Deed), Diff)>,
        emit: &mut dyn FnMut((Id, OrderFact), Diff),
    ) -> Next {
        // As they were, of those that are told of.
        let mut before: BTreeMap<Id, Option<OrderFact>> = BTreeMap::new();
        for ((_, deed), diff) in changes {
            match deed {
                Deed::Reset => before.extend(std::mem::take(orders).into_iter().map(|(id, fact)| (id, Some(fact)))),
                Deed::Order(order) => {
                    let (id, placed, status, total) = (order.id, order.placed, order.status, order.total());
                    let fact = OrderFact { customer, placed, status, total };
                    let was = if diff > 0 { orders.insert(id, fact) } else { orders.remove(&id) };
                    before.entry(id).or_insert(was);
                }
                _ => {}
            }
        }
        for (id, was) in before {
            let is = orders.get(&id);
            if was.as_ref() != is {
                was.into_iter().for_each(|fact| emit((id, fact), -1));
                is.into_iter().for_each(|fact| emit((id, fact.clone()), 1));
            }
        }
        if orders.is_empty() { Next::Forget } else { Next::Keep }
    }
}
