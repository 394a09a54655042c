//! `search_abandonment` (SPEC §4). In: a customer's searches that nothing viewed or added has followed, and orders. Out: an
//! opening for each W after it, while no order has come since.

use std::sync::Arc;

use crate::joins::customers::{Customer, CustomerTrigger, Reads};
use crate::model::Id;
use crate::plan::Wait;
use crate::triggers::found::Found;

/// The rule of a campaign.
pub struct Searches {
    /// The campaign's index.
    pub campaign: u16,
    /// From the search on.
    pub wait: Wait,
}

impl CustomerTrigger for Searches {
    fn reads(&self) -> Reads {
        Reads { searches_ms: self.wait.reach_ms(), ..Reads::default() }
    }

    fn find(&self, customer: &Customer, found: &mut Found) {
        let last_order = customer.last_order();
        for (query, searched) in &customer.trail().searches {
            if last_order.is_none_or(|placed| placed < *searched) && found.is_within(&self.wait, *searched) {
                found.add(self.campaign, *query, *searched, Id::NONE, Arc::default());
            }
        }
    }
}
