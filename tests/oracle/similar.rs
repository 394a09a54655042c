//! Similar SKUs (SPEC §3, "Similar"). In: the state at a tick, and an episode with its payload. Out: the SKUs similar to the
//! one that it is about, the best first, counted anew from every customer's interest. Cannot fail.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::gates::hero;
use super::records::Customer;
use super::state::State;
use serde_json::Value;

/// What a campaign asks for.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// k.
    pub count: usize,
    /// `similar.window`.
    pub window_ms: i64,
    /// `similar.recent`.
    pub recent: usize,
}

/// A part of the rule that is left out, to see where it makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    Nothing,
    Window,
    Recent,
    /// Of interest of one tick the greater SKU counts first.
    TiesOfInterest,
    Stock,
    Orders,
    /// Of as many customers the greater SKU comes first.
    TiesOfRank,
    /// Everything stays with whom the record names.
    Identities,
}

impl Without {
    pub const PARTS: [Without; 7] = [
        Without::Window,
        Without::Recent,
        Without::TiesOfInterest,
        Without::Stock,
        Without::Orders,
        Without::TiesOfRank,
        Without::Identities,
    ];
}

/// The SKUs similar to the most expensive line's that `customer` has not ordered; none where there is no line.
pub fn similar(state: &State, customer: &Customer, payload: &Value, terms: Terms, without: Without) -> Vec<String> {
    let Some(subject) = hero(payload) else {
        return Vec::new();
    };
    let mut customers: BTreeMap<&str, usize> = BTreeMap::new();
    for skus in counted(state, terms, without) {
        if skus.contains(&subject.as_str()) {
            for other in skus.into_iter().filter(|other| *other != subject) {
                *customers.entry(other).or_default() += 1;
            }
        }
    }
    let in_stock = |sku: &str| without == Without::Stock || state.stock_of(sku) >= 1;
    let ordered = |sku: &str| without != Without::Orders && state.orders_of_sku(customer, sku).next().is_some();
    let mut ranked: Vec<(&str, usize)> =
        customers.into_iter().filter(|(sku, _)| in_stock(sku) && !ordered(sku)).collect();
    if without == Without::TiesOfRank {
        ranked.reverse();
    }
    // They are in the order of SKUs, which a stable sort keeps among those of one count.
    ranked.sort_by_key(|(_, customers)| Reverse(*customers));
    ranked.into_iter().take(terms.count).map(|(sku, _)| sku.to_owned()).collect()
}

/// For each customer, the SKUs that count: those of the latest interest within the window.
fn counted(state: &State, terms: Terms, without: Without) -> Vec<Vec<&str>> {
    let interest = match without {
        Without::Identities => &state.interest_as_named,
        _ => &state.interest,
    };
    let earliest = match without {
        Without::Window => i64::MIN,
        _ => state.tick - terms.window_ms,
    };
    let mut latest: BTreeMap<&Customer, Vec<(i64, &str)>> = BTreeMap::new();
    for ((customer, sku), ticks) in interest {
        if let Some(last) = ticks.range(earliest..=state.tick).next_back() {
            latest.entry(customer).or_default().push((*last, sku));
        }
    }
    let recent = match without {
        Without::Recent => usize::MAX,
        _ => terms.recent,
    };
    for skus in latest.values_mut() {
        if without == Without::TiesOfInterest {
            skus.reverse();
        }
        // They are in the order of SKUs, which a stable sort keeps among those of one tick.
        skus.sort_by_key(|(last, _)| Reverse(*last));
        skus.truncate(recent);
    }
    latest.into_values().map(|skus| skus.into_iter().map(|(_, sku)| sku).collect()).collect()
}
