//! `post_purchase` (SPEC §4). In: a customer's orders. Out: an opening for each, W after it was placed, while it is neither
//! cancelled nor refunded.

use crate::joins::customers::{Customer, CustomerTrigger, Reads};
use crate::model::{Id, Line, OrderStatus};
use crate::plan::Wait;
use crate::triggers::found::Found;

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
        for order in customer.orders().filter(|order| order.status == OrderStatus::Placed) {
            if found.is_within(&self.wait, order.placed) {
                // Lines that are no cart's have no quantity (ARCHITECTURE, "Carts and triggers").
                let lines = order.lines().map(|line| Line { quantity: 0, ..line }).collect();
                found.add(self.campaign, order.id, order.placed, Id::NONE, lines);
            }
        }
    }
}
