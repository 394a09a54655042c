//! `checkout_abandonment` (SPEC §4). In: a customer's checkouts, orders and carts. Out: an opening for each checkout W after it
//! was started, while no order has come since.

use crate::joins::customers::{Customer, CustomerTrigger, Reads};
use crate::model::Id;
use crate::plan::Wait;
use crate::triggers::found::Found;

/// The rule of a campaign.
pub struct Checkouts {
    /// The campaign's index.
    pub campaign: u16,
    /// From Checkout Started on.
    pub wait: Wait,
}

impl CustomerTrigger for Checkouts {
    fn reads(&self) -> Reads {
        Reads { carts: true, checkouts_ms: self.wait.reach_ms(), ..Reads::default() }
    }

    fn find(&self, customer: &Customer, found: &mut Found) {
        let last_order = customer.last_order();
        for (subject, started) in &customer.trail().checkouts {
            if last_order.is_none_or(|placed| placed < *started) && found.is_within(&self.wait, *started) {
                let cart = customer.carts().find(|cart| cart.id == *subject);
                let lines = cart.into_iter().flat_map(|cart| customer.open_lines(cart)).map(|line| line.line).collect();
                let currency = cart.map_or(Id::NONE, |cart| cart.currency);
                found.add(self.campaign, *subject, *started, currency, lines);
            }
        }
    }
}
