//! Stock budgets (SPEC §5, `stock_budget`): how many sends have named a SKU as hero since its restock. In: sends, and since when
//! the SKU is in stock. Out: whether a budget is used up. Cannot fail. One count a SKU.

use beckon_dataflows::model::{Id, Tick};
use hashbrown::HashMap;
use rust_decimal::Decimal;

/// The sends of each SKU's restock.
#[derive(Default)]
pub struct Budgets {
    /// The tick of the restock, and the sends since.
    sends: HashMap<Id, (Tick, u64)>,
}

impl Budgets {
    /// Whether the sends since the restock at `since` have reached `budget` × `on_hand`. Of nothing, the budget is used up.
    pub fn is_reached(&self, sku: Id, since: Option<Tick>, on_hand: i64, budget: Decimal) -> bool {
        let Some(since) = since else { return true };
        let sends = self.sends.get(&sku).filter(|(restock, _)| *restock == since).map_or(0, |(_, sends)| *sends);
        // What no decimal holds is more than was ever sent.
        budget.checked_mul(Decimal::from(on_hand)).is_some_and(|most| Decimal::from(sends) >= most)
    }

    /// Counts a send that names `sku` as hero, in stock since `since`.
    pub fn sent(&mut self, sku: Id, since: Option<Tick>) {
        let Some(since) = since else { return };
        let count = self.sends.entry(sku).or_default();
        if count.0 != since {
            *count = (since, 0);
        }
        count.1 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restock_begins_anew_and_half_a_piece_is_not_reached_by_none() {
        let (sku, mut budgets) = (Id(1), Budgets::default());
        let reached = |budgets: &Budgets, since, on_hand| budgets.is_reached(sku, since, on_hand, Decimal::new(15, 1));
        assert!(reached(&budgets, None, 0));
        assert!(!reached(&budgets, Some(1_000), 1));
        budgets.sent(sku, Some(1_000));
        assert!(!reached(&budgets, Some(1_000), 1), "1 of 1.5");
        budgets.sent(sku, Some(1_000));
        assert!(reached(&budgets, Some(1_000), 1));
        assert!(!reached(&budgets, Some(1_000), 2), "2 of 3");
        assert!(!reached(&budgets, Some(9_000), 1));
        budgets.sent(sku, Some(9_000));
        assert_eq!(budgets.sends[&sku], (9_000, 1));
    }
}
