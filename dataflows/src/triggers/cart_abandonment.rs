//! `cart_abandonment` (SPEC §4). In: customers with their carts, stock. Out: one row an open episode: a cart, left with lines
//! still to be bought, by a customer idle for W, while the stock allows it.
//!
//! Two halves. Idleness is a condition over one customer and is asked where their state lies; it is what a busy shop
//! changes with every click. Stock is joined only to what the first half found, by differential's own operators.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::joins::customers::{Customer, CustomerTrigger, Reads};
use crate::model::{Diff, Id, Line, Money, Opening, Tick};
use crate::plan::{CartAbandonment, Plan, StockRule, Trigger, Wait};
use crate::triggers::found::Found;

/// The first half: a customer idle since `active + W` with lines still to be bought.
pub struct Idle {
    /// The campaign's index.
    pub campaign: u16,
    /// From the last activity on.
    pub wait: Wait,
}

impl CustomerTrigger for Idle {
    fn reads(&self) -> Reads {
        Reads { carts: true, ..Reads::default() }
    }

    fn find(&self, customer: &Customer, found: &mut Found) {
        if customer.carts().next().is_none() || !found.is_within(&self.wait, customer.active) {
            return;
        }
        for cart in customer.carts() {
            let lines: Arc<[Line]> = customer.open_lines(cart).map(|line| line.line).collect();
            if !lines.is_empty() {
                found.add(self.campaign, cart.id, customer.active, cart.currency, lines);
            }
        }
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

/// The second half: those of the first half's among `found` whose stock and total satisfy their campaign; none when the plan
/// has no campaign on this trigger. `in_stock` are the SKUs in stock, `prices` what the catalog asks.
pub fn in_stock<'scope>(
    found: &VecCollection<'scope, Tick, Opening, Diff>,
    plan: &Plan,
    in_stock: VecCollection<'scope, Tick, Id, Diff>,
    prices: VecCollection<'scope, Tick, (Id, Money), Diff>,
) -> Option<VecCollection<'scope, Tick, Opening, Diff>> {
    let parameters = plan.on(|_, trigger| match trigger {
        Trigger::CartAbandonment(parameters) => Some(Some(parameters.clone())),
        _ => Some(None),
    });
    parameters.iter().flatten().next()?;
    let at_once = of(found, &parameters, CartAbandonment::is_unconditional);
    let judged = of(found, &parameters, |cart| !cart.is_unconditional());

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

    let episodes = parts
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
        .concat(at_once);
    Some(episodes)
}

/// Those of `found` whose campaign is on this trigger, and is one that `are` says.
fn of<'scope>(
    found: &VecCollection<'scope, Tick, Opening, Diff>,
    parameters: &[Option<CartAbandonment>],
    are: fn(&CartAbandonment) -> bool,
) -> VecCollection<'scope, Tick, Opening, Diff> {
    let among: Vec<bool> = parameters.iter().map(|parameters| parameters.as_ref().is_some_and(are)).collect();
    found.clone().filter(move |opening| among[opening.episode.campaign as usize])
}

impl CartAbandonment {
    /// Whether neither stock nor prices matter.
    fn is_unconditional(&self) -> bool {
        self.stock == StockRule::Ignore && self.min_total.is_none()
    }
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
    let total = (0..lines.len())
        .filter(|index| shown(*index))
        .filter_map(|index| Some(prices[index]?.0.saturating_mul(Decimal::from(lines[index].quantity))))
        .fold(Decimal::ZERO, Decimal::saturating_add);
    (enough_stock && campaign.min_total.is_none_or(|least| total >= least)).then_some((currency, lines))
}
