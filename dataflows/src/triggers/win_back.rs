//! `win_back` (SPEC §4). In: a customer's last activity and number of orders. Out: an opening W after the last activity of
//! one who has an order that stands and was not refunded.

use crate::joins::customers::{Customer, CustomerTrigger, Reads};
use crate::plan::Wait;
use crate::triggers::found::Found;

/// The rule of a campaign.
pub struct Away {
    /// The campaign's index.
    pub campaign: u16,
    /// From the last activity on.
    pub wait: Wait,
}

impl CustomerTrigger for Away {
    fn reads(&self) -> Reads {
        Reads { bought: true, ..Reads::default() }
    }

    fn find(&self, customer: &Customer, found: &mut Found) {
        if customer.trail().bought > 0 && found.is_within(&self.wait, customer.active) {
            found.add_customer(self.campaign, customer.active);
        }
    }
}
