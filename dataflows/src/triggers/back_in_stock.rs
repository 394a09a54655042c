//! `back_in_stock` (SPEC §4): a SKU is offered when its stock rises from 0, as long as there is any.

use crate::joins::skus::{SkuTrigger, Terms};
use crate::model::Tick;
use crate::plan::BackInStock;

/// The rule of a campaign.
pub struct Restock {
    /// The campaign's index.
    pub campaign: u16,
    /// Its parameters.
    pub parameters: BackInStock,
}

impl SkuTrigger for Restock {
    fn campaign(&self) -> u16 {
        self.campaign
    }

    fn lookback_ms(&self) -> u64 {
        self.parameters.lookback_ms
    }

    fn expires_ms(&self) -> Option<u64> {
        self.parameters.expires_ms
    }

    fn begins(&self, before: &Terms, now: &Terms) -> bool {
        now.in_stock_since.is_some() && before.in_stock_since != now.in_stock_since
    }

    fn holds(&self, since: Tick, _before: &Terms, now: &Terms) -> bool {
        now.in_stock_since == Some(since)
    }

    /// The next restock is another offer.
    fn can_return(&self) -> bool {
        false
    }
}
