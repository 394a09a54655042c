//! `back_in_stock` (SPEC §4). In: who was interested in a SKU, who ordered it, and since when it is in stock. Out: one row an
//! open episode: a customer interested in the lookback before a restock, who has not ordered since, while there is stock.
//!
//! Whom a restock concerns is settled at its tick; after that only an order (or its cancellation) of one of them, the end of
//! the stock, or the expiry changes anything, each at the cost of what it changes.

use std::sync::Arc;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::model::{Diff, Episode, Id, Line, Opening, Tick};
use crate::per_key::{Next, PerKey};
use crate::plan::BackInStock;
use crate::time::expiry;

/// What is told of a SKU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SkuEvent {
    /// A customer is interested, now.
    Interest(Id),
    /// A customer's order of it stands: customer, order, the tick it was placed.
    Ordered(Id, Id, Tick),
    /// It is in stock since this tick. Read last: interest and orders of the tick count.
    InStockSince(Tick),
}

/// The rule of a SKU.
pub struct Restocks {
    /// The campaigns, by index.
    pub campaigns: Vec<(u16, BackInStock)>,
}

/// What is kept of a SKU.
#[derive(Default)]
pub struct Sku {
    /// Who wants it, by customer.
    wanted: HashMap<Id, Wish>,
    /// The restock in force.
    restock: Option<Restock>,
}

/// A customer's latest interest and the orders at or after it, each with the tick it was placed.
#[derive(Clone, Default)]
struct Wish {
    interest: Tick,
    orders: Vec<(Id, Tick)>,
}

/// A restock and those it concerns.
struct Restock {
    since: Tick,
    /// By customer: their wish as of the restock.
    concerned: HashMap<Id, Wish>,
    /// The campaigns not yet expired.
    live: Vec<u16>,
}

impl PerKey for Restocks {
    type In = SkuEvent;
    type State = Sku;
    type Out = Opening;

    fn visit(
        &mut self,
        now: Tick,
        key: Id,
        sku: &mut Sku,
        events: &mut dyn Iterator<Item = (SkuEvent, Diff)>,
        emit: &mut dyn FnMut(Opening, Diff),
    ) -> Next {
        let mut events: Vec<(SkuEvent, Diff)> = events.collect();
        events.sort_by_key(|(event, diff)| (*diff, *event));
        for (event, diff) in events {
            match (event, diff > 0) {
                (SkuEvent::Interest(customer), _) => sku.interest(now, customer),
                (SkuEvent::Ordered(customer, order, placed), true) => {
                    if placed > now {
                        sku.wanted.entry(customer).or_default();
                    }
                    self.order(key, sku, customer, (order, placed), emit);
                }
                (SkuEvent::Ordered(customer, order, _), false) => self.unorder(key, sku, customer, order, emit),
                (SkuEvent::InStockSince(since), true) => self.restock(key, sku, since, emit),
                (SkuEvent::InStockSince(_), false) => self.sell_out(key, sku, emit),
            }
        }
        self.expire(now, key, sku, emit);
        self.forget(now, sku)
    }
}

impl Restocks {
    fn restock(&self, key: Id, sku: &mut Sku, since: Tick, emit: &mut dyn FnMut(Opening, Diff)) {
        let longest = self.campaigns.iter().map(|(_, c)| c.lookback_ms).max().unwrap_or(0);
        sku.wanted.retain(|_, wish| wish.interest + longest >= since);
        let concerned = sku.wanted.iter().map(|(customer, wish)| (*customer, wish.clone())).collect();
        let live = self.campaigns.iter().map(|(campaign, _)| *campaign).collect();
        let restock = sku.restock.insert(Restock { since, concerned, live });
        for (customer, wish) in restock.concerned.iter().filter(|(_, wish)| wish.orders.is_empty()) {
            self.emit(key, restock, *customer, wish, 1, emit);
        }
    }

    fn sell_out(&self, key: Id, sku: &mut Sku, emit: &mut dyn FnMut(Opening, Diff)) {
        if let Some(restock) = sku.restock.take() {
            for (customer, wish) in restock.concerned.iter().filter(|(_, wish)| wish.orders.is_empty()) {
                self.emit(key, &restock, *customer, wish, -1, emit);
            }
        }
    }

    fn order(&self, key: Id, sku: &mut Sku, customer: Id, order: (Id, Tick), emit: &mut dyn FnMut(Opening, Diff)) {
        if let Some(wish) = sku.wanted.get_mut(&customer) {
            wish.add(order);
        }
        if let Some(restock) = &mut sku.restock
            && let Some(wish) = restock.concerned.get_mut(&customer)
        {
            let wished = wish.orders.is_empty();
            wish.add(order);
            if wished && !wish.orders.is_empty() {
                let wish = wish.clone();
                self.emit(key, restock, customer, &wish, -1, emit);
            }
        }
    }

    fn unorder(&self, key: Id, sku: &mut Sku, customer: Id, order: Id, emit: &mut dyn FnMut(Opening, Diff)) {
        if let Some(wish) = sku.wanted.get_mut(&customer) {
            wish.remove(order);
        }
        if let Some(restock) = &mut sku.restock
            && let Some(wish) = restock.concerned.get_mut(&customer)
            && wish.remove(order)
            && wish.orders.is_empty()
        {
            let wish = wish.clone();
            self.emit(key, restock, customer, &wish, 1, emit);
        }
    }

    fn expire(&self, now: Tick, key: Id, sku: &mut Sku, emit: &mut dyn FnMut(Opening, Diff)) {
        let Some(restock) = &mut sku.restock else { return };
        let (live, over): (Vec<u16>, Vec<u16>) =
            restock.live.iter().partition(|campaign| now < self.expiry(**campaign, restock.since));
        if over.is_empty() {
            return;
        }
        restock.live = over;
        for (customer, wish) in restock.concerned.iter().filter(|(_, wish)| wish.orders.is_empty()) {
            self.emit(key, restock, *customer, wish, -1, emit);
        }
        restock.live = live;
        if restock.live.is_empty() {
            restock.concerned = HashMap::new();
        }
    }

    /// One row for each live campaign whose lookback the wish lies in.
    fn emit(
        &self,
        key: Id,
        restock: &Restock,
        customer: Id,
        wish: &Wish,
        diff: Diff,
        emit: &mut dyn FnMut(Opening, Diff),
    ) {
        for (campaign, parameters) in &self.campaigns {
            if restock.live.contains(campaign) && wish.interest + parameters.lookback_ms >= restock.since {
                let episode = Episode { campaign: *campaign, customer, subject: key, anchor: restock.since };
                let lines = Arc::from([Line { sku: key, quantity: 0, price: None }]);
                emit(Opening { episode, currency: Id::NONE, lines }, diff);
            }
        }
    }

    fn expiry(&self, campaign: u16, since: Tick) -> Tick {
        let parameters = self.campaigns.iter().find(|(other, _)| *other == campaign).map(|(_, parameters)| parameters);
        expiry(since, parameters.and_then(|parameters| parameters.expires_ms))
    }

    /// The next expiry.
    fn forget(&self, now: Tick, sku: &Sku) -> Next {
        let live = sku.restock.iter().flat_map(|restock| restock.live.iter().map(|c| self.expiry(*c, restock.since)));
        match live.filter(|tick| *tick < Tick::MAX && *tick > now).min() {
            Some(tick) => Next::WakeAt(tick),
            None if sku.wanted.is_empty() && sku.restock.is_none() => Next::Forget,
            None => Next::Keep,
        }
    }
}

impl Sku {
    fn interest(&mut self, now: Tick, customer: Id) {
        let wish = self.wanted.entry(customer).or_default();
        wish.interest = now;
        wish.orders.retain(|(_, placed)| *placed >= now);
    }
}

impl Wish {
    fn add(&mut self, (order, placed): (Id, Tick)) {
        if placed >= self.interest && !self.orders.iter().any(|(known, _)| *known == order) {
            self.orders.push((order, placed));
        }
    }

    /// Whether it was there.
    fn remove(&mut self, order: Id) -> bool {
        let before = self.orders.len();
        self.orders.retain(|(known, _)| *known != order);
        self.orders.len() < before
    }
}
