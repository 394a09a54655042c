//! `price_drop` (SPEC §4): a SKU is offered when its price falls by `percent` or more, while it stays below the one before. One
//! that recovers and falls again brings back every earlier drop from a greater price that has not expired.

use rust_decimal::Decimal;

use crate::joins::skus::{SkuTrigger, Terms};
use crate::model::Tick;
use crate::plan::PriceDrop;

/// The rule of a campaign.
pub struct Fall {
    /// The campaign's index.
    pub campaign: u16,
    /// Its parameters.
    pub parameters: PriceDrop,
}

impl SkuTrigger for Fall {
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
        match (before.price, now.price) {
            (Some(before), Some(now)) => now < before && has_fallen(before.0, now.0, self.parameters.percent),
            _ => false,
        }
    }

    fn holds(&self, _since: Tick, before: &Terms, now: &Terms) -> bool {
        now.price.is_some() && now.price < before.price
    }

    fn can_return(&self) -> bool {
        true
    }
}

/// Whether a price fell by `percent` of `before` or more. Exact; sums past 28 digits count as the greatest there is.
fn has_fallen(before: Decimal, now: Decimal, percent: Decimal) -> bool {
    before.saturating_sub(now).saturating_mul(Decimal::ONE_HUNDRED) >= percent.saturating_mul(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_exact() {
        let falls = |before: &str, now: &str, percent: &str| {
            has_fallen(before.parse().unwrap(), now.parse().unwrap(), percent.parse().unwrap())
        };
        assert!(falls("20.00", "18.00", "10") && !falls("20.00", "18.01", "10"));
        assert!(falls("0.30", "0.20", "33.3") && !falls("0.30", "0.20", "33.4"));
        assert!(falls("79228162514264337593543950335", "1", "10"));
    }
}
