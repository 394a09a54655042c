//! Which SKUs are similar (SPEC §3, "Similar"): wanted by the same customers. In: the SKUs that count for a customer, whenever
//! they change, and what a customer has ordered. Out: the SKUs most alike to one. Cannot fail.
//!
//! For each pair of SKUs it is counted how many customers are interested in both. When one more SKU counts for a customer, only
//! its pairs with the others of that customer change: the cost is bounded by how many count, whoever else there is. To
//! ask costs one look at each SKU that is wanted together with the one asked for.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use beckon_dataflows::model::{Id, Interests};
use hashbrown::{HashMap, HashSet};

use super::ById;

/// A SKU as it is numbered here: shorter than its id, and the way to its text.
type Number = u32;

/// What customers want and have bought.
#[derive(Default)]
pub(super) struct Similar {
    skus: Vec<Sku>,
    numbers: ById<Number>,
    /// The SKUs that count for each customer, in ascending order.
    wanted: ById<Box<[Number]>>,
    bought: ById<HashSet<Id>>,
}

/// A SKU that somebody wanted.
struct Sku {
    id: Id,
    text: Box<str>,
    /// How many customers want it together with each other.
    together: HashMap<Number, u32>,
}

/// A SKU that may be among the most similar: the greater is the more so.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Candidate<'s> {
    customers: u32,
    text: Reverse<&'s str>,
    id: Id,
}

impl Ord for Candidate<'_> {
    /// Of as many customers, the lesser text goes first.
    fn cmp(&self, other: &Self) -> Ordering {
        (self.customers, self.text).cmp(&(other.customers, other.text))
    }
}

impl PartialOrd for Candidate<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Similar {
    /// From now on these count for the customer. `text` gives a SKU's, by which those tied are cut.
    pub fn interests(&mut self, customer: Id, interests: &Interests, text: impl Fn(Id) -> String) {
        let now = self.that_count(interests, text);
        let before = self.wanted.remove(&customer).unwrap_or_default();
        let counts = |skus: &[Number], sku: &Number| skus.binary_search(sku).is_ok();
        let kept: Vec<Number> = before.iter().copied().filter(|sku| counts(&now, sku)).collect();
        let mut others = kept.clone();
        for sku in now.iter().filter(|sku| !counts(&before, sku)) {
            others.iter().for_each(|other| self.together(*sku, *other));
            others.push(*sku);
        }
        let mut others = kept;
        for sku in before.iter().filter(|sku| !counts(&now, sku)) {
            others.iter().for_each(|other| self.apart(*sku, *other));
            others.push(*sku);
        }
        if !now.is_empty() {
            self.wanted.insert(customer, now.into());
        }
    }

    /// From now on the customer has ordered the SKU, or has not.
    pub fn bought(&mut self, customer: Id, sku: Id, is: bool) {
        if is {
            self.bought.entry(customer).or_default().insert(sku);
        } else if let Some(skus) = self.bought.get_mut(&customer) {
            skus.remove(&sku);
            if skus.is_empty() {
                self.bought.remove(&customer);
            }
        }
    }

    /// The `count` SKUs most similar to `sku`, the most similar first, of those that may be `offered` and that `customer` has
    /// not ordered.
    pub fn to(&self, sku: Id, customer: Id, count: usize, offered: impl Fn(Id) -> bool) -> Vec<Id> {
        let Some(number) = self.numbers.get(&sku) else { return Vec::new() };
        let bought = self.bought.get(&customer);
        // The best so far, the least of them on top.
        let mut best: BinaryHeap<Reverse<Candidate<'_>>> = BinaryHeap::with_capacity(count + 1);
        for (other, customers) in &self.skus[*number as usize].together {
            let other = &self.skus[*other as usize];
            let candidate = Candidate { customers: *customers, text: Reverse(&*other.text), id: other.id };
            let better = best.len() < count || best.peek().is_some_and(|Reverse(least)| candidate > *least);
            // Most are too few already, so whether it may be offered is asked last.
            if better && !bought.is_some_and(|skus| skus.contains(&other.id)) && offered(other.id) {
                best.push(Reverse(candidate));
                if best.len() > count {
                    best.pop();
                }
            }
        }
        // Ascending in reverse: the most similar first.
        best.into_sorted_vec().into_iter().map(|Reverse(candidate)| candidate.id).collect()
    }

    /// The SKUs that count, by their numbers.
    fn that_count(&mut self, interests: &Interests, text: impl Fn(Id) -> String) -> Vec<Number> {
        let mut tied: Vec<Number> = interests.tied.iter().map(|sku| self.number(*sku, &text)).collect();
        tied.sort_unstable_by(|one, other| self.text(*one).cmp(self.text(*other)));
        tied.truncate(interests.places);
        let mut skus = tied;
        skus.extend(interests.skus.iter().map(|sku| self.number(*sku, &text)));
        skus.sort_unstable();
        skus
    }

    fn number(&mut self, id: Id, text: impl Fn(Id) -> String) -> Number {
        let (skus, next) = (&mut self.skus, self.numbers.len() as Number);
        *self.numbers.entry(id).or_insert_with(|| {
            skus.push(Sku { id, text: text(id).into(), together: HashMap::new() });
            next
        })
    }

    fn text(&self, sku: Number) -> &str {
        &self.skus[sku as usize].text
    }

    fn together(&mut self, one: Number, other: Number) {
        for (one, other) in [(one, other), (other, one)] {
            *self.skus[one as usize].together.entry(other).or_default() += 1;
        }
    }

    fn apart(&mut self, one: Number, other: Number) {
        for (one, other) in [(one, other), (other, one)] {
            let together = &mut self.skus[one as usize].together;
            if let Some(customers) = together.get_mut(&other) {
                *customers -= 1;
                if *customers == 0 {
                    together.remove(&other);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SKUs that are named by their ids, and who wants them.
    #[derive(Default)]
    struct Shop(Similar);

    impl Shop {
        fn wants(&mut self, customer: u64, skus: &[u64]) {
            self.wants_some_of(customer, skus, &[], 0);
        }

        fn wants_some_of(&mut self, customer: u64, skus: &[u64], tied: &[u64], places: usize) {
            let ids = |skus: &[u64]| skus.iter().map(|sku| Id(*sku)).collect();
            let interests = Interests { skus: ids(skus), tied: ids(tied), places };
            self.0.interests(Id(customer), &interests, |sku| sku.0.to_string());
        }

        fn to(&self, sku: u64, count: usize) -> Vec<u64> {
            self.0.to(Id(sku), Id(99), count, |_| true).into_iter().map(|sku| sku.0).collect()
        }
    }

    #[test]
    fn more_customers_go_first_then_the_lesser_text() {
        let mut shop = Shop::default();
        shop.wants(1, &[1, 20, 3]);
        shop.wants(2, &[1, 20, 100]);
        shop.wants(3, &[20, 3]);
        assert_eq!(shop.to(1, 5), [20, 100, 3]);
        assert_eq!(shop.to(1, 2), [20, 100]);
        assert_eq!(shop.to(20, 1), [1]);
        assert_eq!(shop.to(7, 5), [0; 0]);
    }

    #[test]
    fn what_counts_no_longer_leaves_nothing_behind() {
        let mut shop = Shop::default();
        shop.wants(1, &[1, 2, 3, 4]);
        shop.wants(2, &[1, 2]);
        shop.wants(1, &[2, 5, 6]);
        assert_eq!((shop.to(1, 9), shop.to(2, 9)), (vec![2], vec![1, 5, 6]));
        shop.wants(1, &[]);
        shop.wants(2, &[]);
        assert!(shop.0.wanted.is_empty() && shop.0.skus.iter().all(|sku| sku.together.is_empty()));
    }

    #[test]
    fn of_those_tied_the_lesser_texts_count() {
        let mut shop = Shop::default();
        shop.wants_some_of(1, &[1], &[3, 20, 100], 2);
        assert_eq!(shop.to(1, 9), [100, 20]);
    }

    #[test]
    fn what_is_ordered_or_not_offered_is_left_out() {
        let mut shop = Shop::default();
        shop.wants(1, &[1, 2, 3, 4]);
        shop.0.bought(Id(8), Id(2), true);
        let offered = |customer| shop.0.to(Id(1), Id(customer), 2, |sku| sku != Id(3));
        assert_eq!((offered(8), offered(9)), (vec![Id(4)], vec![Id(2), Id(4)]));
        shop.0.bought(Id(8), Id(2), false);
        assert_eq!(shop.0.to(Id(1), Id(8), 1, |_| true), [Id(2)]);
    }
}
