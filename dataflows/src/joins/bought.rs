//! What customers have bought, SKU by SKU. In: orders as their owners have them. Out: for a customer and a SKU whether an order of it
//! stands, where that changes. An order costs what it has lines, however many there were before.

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::customers::Deed;
use crate::model::{Diff, Id, Tick};
use crate::per_key::{Never, Next, PerKey};

/// The rule of a customer's orders.
pub struct BoughtSkus;

/// In how many lines of standing orders each SKU is.
#[derive(Default, Serialize, Deserialize)]
pub struct Lines(HashMap<Id, isize>);

impl PerKey for BoughtSkus {
    type In = (Tick, Deed);
    type State = Lines;
    /// Customer, SKU, and whether an order of it stands.
    type Out = (Id, Id, bool);
    type Wake = Never;

    fn visit(
        &mut self,
        _now: Tick,
        key: Id,
        Lines(lines): &mut Lines,
        changes: &mut dyn Iterator<Item = ((Tick, Deed), Diff)>,
        emit: &mut dyn FnMut((Id, Id, bool), Diff),
    ) -> Next {
        let mut before: HashMap<Id, bool> = HashMap::new();
        for ((_, deed), diff) in changes {
            match deed {
                Deed::Reset => before.extend(lines.drain().map(|(sku, _)| (sku, true))),
                Deed::Order(order) if order.stands() => {
                    for line in order.lines() {
                        let count = lines.entry(line.sku).or_default();
                        before.entry(line.sku).or_insert(*count > 0);
                        *count += diff;
                    }
                }
                _ => {}
            }
        }
        for (sku, was) in before {
            let is = lines.get(&sku).is_some_and(|count| *count > 0);
            if !is {
                lines.remove(&sku);
            }
            // Nobody has bought anything to begin with, told or not.
            if is != was {
                emit((key, sku, was), -1);
                emit((key, sku, is), 1);
            }
        }
        if lines.is_empty() { Next::Forget } else { Next::Keep }
    }

    fn restate(&self, key: Id, Lines(lines): &Lines, emit: &mut dyn FnMut((Id, Id, bool))) {
        lines.iter().filter(|(_, count)| **count > 0).for_each(|(sku, _)| emit((key, *sku, true)));
    }
}
