//! `replenishment` (SPEC §4). In: a customer's orders. Out: an opening for each product of theirs, W after it was last ordered.
//! An earlier order of it has been followed by another, and holds no longer.

use hashbrown::HashMap;

use crate::joins::customers::{Customer, CustomerTrigger, Reads};
use crate::model::{Id, Tick};
use crate::plan::Wait;
use crate::triggers::found::{Found, product_line};

/// The rule of a campaign.
pub struct Purchases {
    /// The campaign's index.
    pub campaign: u16,
    /// From `placed_at` on.
    pub wait: Wait,
}

impl CustomerTrigger for Purchases {
    fn reads(&self) -> Reads {
        Reads { orders_ms: self.wait.reach_ms(), ..Reads::default() }
    }

    fn find(&self, customer: &Customer, found: &mut Found) {
        let mut last: HashMap<Id, Tick> = HashMap::new();
        for order in customer.orders() {
            for line in order.lines() {
                let placed = last.entry(line.sku).or_default();
                *placed = order.placed.max(*placed);
            }
        }
        for (sku, placed) in last {
            if found.is_within(&self.wait, placed) {
                found.add(self.campaign, sku, placed, Id::NONE, product_line(sku));
            }
        }
    }
}
