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
    /// To whom they went, where somebody asks.
    recipients: Option<HashMap<Id, Vec<Id>>>,
}

impl Budgets {
    /// The same, which also remembers to whom was sent.
    pub fn remembering_recipients(self) -> Budgets {
        Budgets { recipients: Some(HashMap::new()), ..self }
    }

    /// Writes down all counts as rows of SKU, restock and sends.
    pub fn rows(&self) -> Vec<[u64; 3]> {
        self.sends.iter().map(|(sku, (restock, sends))| [sku.0, *restock, *sends]).collect()
    }

    /// Counts as was written down.
    pub fn restore(&mut self, rows: &[[u64; 3]]) {
        self.sends.extend(rows.iter().map(|[sku, restock, sends]| (Id(*sku), (*restock, *sends))));
    }

    /// The sends that named `sku` since the restock at `since`.
    pub fn sends(&self, sku: Id, since: Option<Tick>) -> u64 {
        self.sends.get(&sku).filter(|(restock, _)| Some(*restock) == since).map_or(0, |(_, sends)| *sends)
    }

    /// To whom the last of them went, as far as that is remembered.
    pub fn recipients(&self, sku: Id) -> Vec<Id> {
        self.recipients.as_ref().and_then(|of| of.get(&sku)).cloned().unwrap_or_default()
    }

    /// Whether the sends since the restock at `since` have reached `budget` × `on_hand`. Of nothing, the budget is used up.
    pub fn is_reached(&self, sku: Id, since: Option<Tick>, on_hand: i64, budget: Decimal) -> bool {
        if since.is_none() {
            return true;
        }
        let sends = self.sends(sku, since);
        // What no decimal holds is more than was ever sent.
        budget.checked_mul(Decimal::from(on_hand)).is_some_and(|most| Decimal::from(sends) >= most)
    }

    /// Counts a send to `customer` that names `sku` as hero, in stock since `since`.
    pub fn sent(&mut self, sku: Id, since: Option<Tick>, customer: Id) {
        let Some(since) = since else { return };
        let count = self.sends.entry(sku).or_default();
        let is_anew = count.0 != since;
        *count = (since, if is_anew { 1 } else { count.1 + 1 });
        if let Some(recipients) = &mut self.recipients {
            let recipients = recipients.entry(sku).or_default();
            if is_anew {
                recipients.clear();
            }
            recipients.push(customer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restock_begins_anew_and_half_a_piece_is_not_reached_by_none() {
        let (sku, mut budgets) = (Id(1), Budgets::default().remembering_recipients());
        let reached = |budgets: &Budgets, since, on_hand| budgets.is_reached(sku, since, on_hand, Decimal::new(15, 1));
        assert!(reached(&budgets, None, 0));
        assert!(!reached(&budgets, Some(1_000), 1));
        budgets.sent(sku, Some(1_000), Id(7));
        assert!(!reached(&budgets, Some(1_000), 1), "1 of 1.5");
        budgets.sent(sku, Some(1_000), Id(7));
        assert!(reached(&budgets, Some(1_000), 1));
        assert!(!reached(&budgets, Some(1_000), 2), "2 of 3");
        assert!(!reached(&budgets, Some(9_000), 1));
        budgets.sent(sku, Some(9_000), Id(8));
        assert_eq!((budgets.sends(sku, Some(9_000)), budgets.sends(sku, Some(1_000))), (1, 0));
        assert_eq!(budgets.recipients(sku), [Id(8)]);
    }
}
