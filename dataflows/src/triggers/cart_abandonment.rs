//! `cart_abandonment` (SPEC §4). In: customers with their carts, stock. Out: one row an open episode: a cart, left with lines
//! still to be bought, by a customer idle for W, while the stock allows it.
//!
//! Two halves. Idleness is a condition over one customer and is asked where their state lies; it is what a busy shop
//! changes with every click. Stock is joined only to what the first half found, by differential's own operators.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::joins::customers::{Customer, CustomerTrigger};
use crate::model::{Diff, Episode, Id, Line, Money, Opening, Tick};
use crate::plan::{CartAbandonment, StockRule};
use crate::time::expiry;

/// The first half: a customer idle since `active + W` with lines still to be bought.
pub struct Idle {
    /// The campaign's index.
    pub campaign: u16,
    /// Its parameters.
    pub parameters: CartAbandonment,
}

impl CustomerTrigger for Idle {
    fn openings(&self, customer: Id, state: &Customer, now: Tick, found: &mut Vec<Opening>) -> Option<Tick> {
        if state.carts.is_empty() {
            return None;
        }
        let opening = state.active + self.parameters.after_ms;
        let expiry = expiry(opening, self.parameters.expires_ms);
        if now < opening {
            return Some(opening);
        }
        if now >= expiry {
            return None;
        }
        for cart in &state.carts {
            let lines: Arc<[Line]> = state.open_lines(cart).map(|line| line.line).collect();
            if !lines.is_empty() {
                let episode = Episode { campaign: self.campaign, customer, subject: cart.id, anchor: state.active };
                found.push(Opening { episode, currency: cart.currency, lines });
            }
        }
        (expiry < Tick::MAX).then_some(expiry)
    }
}

/// What is known of an episode, by which its condition is judged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Part {
    /// The opening itself.
    Opening(Id, Arc<[Line]>),
    /// The line of this index is in stock.
    InStock(u32),
    /// The line of this index, which has no price of its own, costs this.
    Price(u32, Money),
}

/// The second half: those of `idle` whose stock and total satisfy their campaign. `in_stock` are the SKUs in stock, `prices`
/// what the catalog asks.
pub fn in_stock<'scope>(
    idle: VecCollection<'scope, Tick, Opening, Diff>,
    campaigns: Vec<(u16, CartAbandonment)>,
    in_stock: VecCollection<'scope, Tick, Id, Diff>,
    prices: VecCollection<'scope, Tick, (Id, Money), Diff>,
) -> VecCollection<'scope, Tick, Opening, Diff> {
    let unconditional: Vec<bool> = by_index(&campaigns, |c| c.stock == StockRule::Ignore && c.min_total.is_none());
    let conditional = unconditional.clone();
    let at_once = idle.clone().filter(move |opening| unconditional[opening.episode.campaign as usize]);
    let judged = idle.filter(move |opening| !conditional[opening.episode.campaign as usize]);

    let lines = judged.clone().flat_map(|opening| {
        let lines: Vec<(u32, Line)> = (0..).zip(opening.lines.iter().copied()).collect();
        lines.into_iter().map(move |(index, line)| (line.sku, (opening.episode, index, line.price.is_some())))
    });
    let stocked = lines
        .clone()
        .map(|(sku, (episode, index, _))| (sku, (episode, index)))
        .join_map(in_stock.map(|sku| (sku, ())), |_, (episode, index), ()| (*episode, Part::InStock(*index)));
    let priced = lines
        .filter(|(_, (_, _, has_price))| !has_price)
        .map(|(sku, (episode, index, _))| (sku, (episode, index)))
        .join_map(prices, |_, (episode, index), price| (*episode, Part::Price(*index, *price)));
    let parts = judged.map(|opening| (opening.episode, Part::Opening(opening.currency, opening.lines)));

    let parameters: Vec<Option<CartAbandonment>> = by_index(&campaigns, |c| Some(c.clone()));
    parts
        .concat(stocked)
        .concat(priced)
        .reduce_named("Abandoned carts in stock", move |episode, parts, holds| {
            let parameters = parameters[episode.campaign as usize].as_ref();
            let parts = parts.iter().map(|(part, _)| *part);
            if let Some(opening) = parameters.and_then(|parameters| judge(parameters, parts)) {
                holds.push((opening, 1));
            }
        })
        .map(|(episode, (currency, lines))| Opening { episode, currency, lines })
        .concat(at_once)
}

/// The opening's currency and lines, when its parts satisfy the campaign.
fn judge<'p>(campaign: &CartAbandonment, parts: impl Iterator<Item = &'p Part>) -> Option<(Id, Arc<[Line]>)> {
    let mut opening = None;
    let mut stocked: Vec<bool> = Vec::new();
    let mut prices: Vec<Option<Money>> = Vec::new();
    for part in parts {
        // Parts come in order, the opening first.
        match part {
            Part::Opening(currency, lines) => {
                stocked = vec![false; lines.len()];
                prices = lines.iter().map(|line| line.price).collect();
                opening = Some((*currency, lines.clone()));
            }
            Part::InStock(index) => *stocked.get_mut(*index as usize)? = true,
            Part::Price(index, price) => *prices.get_mut(*index as usize)? = Some(*price),
        }
    }
    let (currency, lines) = opening?;
    let shown = |index: usize| campaign.stock == StockRule::Ignore || stocked[index];
    let enough_stock = match campaign.stock {
        StockRule::Any => stocked.contains(&true),
        StockRule::All => !stocked.contains(&false),
        StockRule::Ignore => true,
    };
    let total: Decimal = (0..lines.len())
        .filter(|index| shown(*index))
        .filter_map(|index| Some(prices[index]?.0 * Decimal::from(lines[index].quantity)))
        .sum();
    (enough_stock && campaign.min_total.is_none_or(|least| total >= least)).then_some((currency, lines))
}

/// A table by campaign index; what is not among `campaigns` has the default.
fn by_index<P, V: Default + Clone>(campaigns: &[(u16, P)], value: impl Fn(&P) -> V) -> Vec<V> {
    let size = campaigns.iter().map(|(campaign, _)| *campaign as usize + 1).max().unwrap_or(0);
    let mut table = vec![V::default(); size];
    for (campaign, parameters) in campaigns {
        table[*campaign as usize] = value(parameters);
    }
    table
}
