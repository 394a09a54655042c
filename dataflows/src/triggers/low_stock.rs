//! `low_stock` (SPEC §4). In: the lines of open carts, stock. Out: one row an open episode: a customer with a SKU in an open cart
//! whose stock has fallen, or risen from nothing, to `threshold` or less.
//!
//! Two halves. Which lines are open is found where a customer's state lies; the SKU's stock is followed where its own does,
//! and a change of stock concerns no customer unless it enters or leaves the range.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

use crate::joins::customers::{Customer, CustomerTrigger, Reads};
use crate::joins::stock::StockFact;
use crate::model::{Diff, Episode, Id, Opening, Tick};
use crate::per_key::{Next, PerKey, per_key};
use crate::plan::{LowStock, Plan, Trigger};
use crate::snapshot::Snapshots;
use crate::time::expiry;
use crate::triggers::found::{Found, product_line};

/// The first half, for all campaigns: a row for each SKU in an open cart, told as an opening of the first campaign's.
struct OpenLines {
    campaign: u16,
}

/// The first half; none when the plan has no campaign on this trigger.
pub fn open_lines(plan: &Plan) -> Option<Box<dyn CustomerTrigger>> {
    let (campaign, _) = *campaigns(plan).first()?;
    Some(Box::new(OpenLines { campaign }))
}

impl CustomerTrigger for OpenLines {
    fn reads(&self) -> Reads {
        Reads { carts: true, ..Reads::default() }
    }

    fn find(&self, customer: &Customer, found: &mut Found) {
        for cart in customer.carts() {
            for line in customer.open_lines(cart) {
                found.add(self.campaign, line.line.sku, 0, Id::NONE, Arc::default());
            }
        }
    }
}

/// The second half: the first half's among `found`, while stock is low; none when the plan has no campaign on this trigger.
pub fn running_out<'scope>(
    found: &VecCollection<'scope, Tick, Opening, Diff>,
    plan: &Plan,
    stock: VecCollection<'scope, Tick, StockFact, Diff>,
    snapshots: &Snapshots,
) -> Option<VecCollection<'scope, Tick, Opening, Diff>> {
    let campaigns = campaigns(plan);
    let (told_by, _) = *campaigns.first()?;
    let lines = found.clone().flat_map(move |Opening { episode, .. }| {
        (episode.campaign == told_by).then_some((episode.subject, ShelfEvent::Line(episode.customer)))
    });
    let stock = stock.flat_map(|fact| match fact {
        StockFact::OnHand(sku, units) => Some((sku, ShelfEvent::OnHand(units))),
        StockFact::InStockSince(..) => None,
    });
    Some(per_key(lines.concat(stock), "Low stock by SKU", Shelves { campaigns }, snapshots))
}

fn campaigns(plan: &Plan) -> Vec<(u16, LowStock)> {
    plan.on(|campaign, trigger| match trigger {
        Trigger::LowStock(parameters) => Some((campaign, parameters.clone())),
        _ => None,
    })
}

/// What is told of a SKU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum ShelfEvent {
    /// Its stock is this. Read first.
    OnHand(i64),
    /// It lies in an open cart of this customer.
    Line(Id),
}

/// The rule of a SKU.
struct Shelves {
    campaigns: Vec<(u16, LowStock)>,
}

/// What is kept of a SKU.
#[derive(Default, Serialize, Deserialize)]
struct Shelf {
    /// Who has it in an open cart.
    wanted_by: HashSet<Id>,
    low: Vec<Low>,
}

/// Stock is low for a campaign.
#[derive(Serialize, Deserialize)]
struct Low {
    /// The campaign's place.
    place: usize,
    since: Tick,
    /// Expired ones stay, so that the same interval does not begin anew.
    expired: bool,
}

impl PerKey for Shelves {
    type In = ShelfEvent;
    type State = Shelf;
    type Out = Opening;
    type Wake = Tick;

    fn visit(
        &mut self,
        now: Tick,
        key: Id,
        shelf: &mut Shelf,
        events: &mut dyn Iterator<Item = (ShelfEvent, Diff)>,
        emit: &mut dyn FnMut(Opening, Diff),
    ) -> Next {
        let mut events: Vec<(ShelfEvent, Diff)> = events.collect();
        events.sort_by_key(|(event, diff)| (*diff, *event));
        self.expire(now, key, shelf, emit);
        for (event, diff) in events {
            match (event, diff > 0) {
                (ShelfEvent::OnHand(units), true) => self.stock(now, key, shelf, units, emit),
                // Followed by what it is now.
                (ShelfEvent::OnHand(_), false) => {}
                (ShelfEvent::Line(customer), is) => {
                    if is {
                        shelf.wanted_by.insert(customer)
                    } else {
                        shelf.wanted_by.remove(&customer)
                    };
                    shelf.low.iter().for_each(|low| self.emit(key, low, [&customer], diff, emit));
                }
            }
        }
        let expiries = shelf.low.iter().filter(|low| !low.expired).map(|low| self.expiry(low));
        match expiries.min().filter(|tick| *tick < Tick::MAX) {
            Some(tick) => Next::WakeAt(tick),
            None if shelf.low.is_empty() && shelf.wanted_by.is_empty() => Next::Forget,
            None => Next::Keep,
        }
    }

    fn restate(&self, key: Id, shelf: &Shelf, emit: &mut dyn FnMut(Opening)) {
        for low in &shelf.low {
            self.emit(key, low, &shelf.wanted_by, 1, &mut |opening, _| emit(opening));
        }
    }
}

impl Shelves {
    /// Stock is now `units`: enters or leaves each campaign's range, or neither.
    fn stock(&self, now: Tick, key: Id, shelf: &mut Shelf, units: i64, emit: &mut dyn FnMut(Opening, Diff)) {
        for (place, (_, parameters)) in self.campaigns.iter().enumerate() {
            let known = shelf.low.iter().position(|low| low.place == place);
            match (known, (1..=parameters.threshold).contains(&units)) {
                (None, true) => {
                    let low = Low { place, since: now, expired: false };
                    self.emit(key, &low, &shelf.wanted_by, 1, emit);
                    shelf.low.push(low);
                }
                (Some(known), false) => {
                    let low = shelf.low.swap_remove(known);
                    self.emit(key, &low, &shelf.wanted_by, -1, emit);
                }
                _ => {}
            }
        }
    }

    fn expire(&self, now: Tick, key: Id, shelf: &mut Shelf, emit: &mut dyn FnMut(Opening, Diff)) {
        for low in shelf.low.iter_mut().filter(|low| now >= self.expiry(low)) {
            self.emit(key, low, &shelf.wanted_by, -1, emit);
            low.expired = true;
        }
    }

    fn expiry(&self, low: &Low) -> Tick {
        expiry(low.since, self.campaigns[low.place].1.expires_ms)
    }

    fn emit<'c>(
        &self,
        key: Id,
        low: &Low,
        customers: impl IntoIterator<Item = &'c Id>,
        diff: Diff,
        emit: &mut dyn FnMut(Opening, Diff),
    ) {
        let (campaign, _) = self.campaigns[low.place];
        for customer in customers.into_iter().filter(|_| !low.expired) {
            let episode = Episode { campaign, customer: *customer, subject: key, anchor: low.since };
            emit(Opening { episode, currency: Id::NONE, lines: product_line(key) }, diff);
        }
    }
}
