//! `browse_abandonment` (SPEC §4). In: what a customer viewed last, their carts and orders. Out: an opening about the last
//! product viewed, W after the last activity, when enough was viewed, nothing lies in a cart and nothing was ordered.

use crate::joins::customers::{Customer, CustomerTrigger, Reads};
use crate::model::Id;
use crate::plan::BrowseAbandonment;
use crate::triggers::found::{Found, product_line};

/// The rule of a campaign.
pub struct Views {
    /// The campaign's index.
    pub campaign: u16,
    /// Its parameters.
    pub browse: BrowseAbandonment,
}

impl CustomerTrigger for Views {
    fn reads(&self) -> Reads {
        Reads {
            carts: true,
            orders_ms: self.browse.lookback_ms,
            views: self.browse.min_views,
            views_ms: self.browse.lookback_ms,
            idle_ms: self.browse.wait.reach_ms(),
            ..Reads::default()
        }
    }

    fn find(&self, customer: &Customer, found: &mut Found) {
        let earliest = customer.active.saturating_sub(self.browse.lookback_ms);
        let views = &customer.trail().views;
        let seen = views.iter().filter(|view| view.tick >= earliest).count();
        if let Some(last) = views.last()
            && seen >= self.browse.min_views
            && found.is_within(&self.browse.wait, customer.active)
            && customer.last_order().is_none_or(|placed| placed < earliest)
            && !customer.carts().any(|cart| customer.open_lines(cart).next().is_some())
        {
            found.add(self.campaign, last.sku, customer.active, Id::NONE, product_line(last.sku));
        }
    }
}
