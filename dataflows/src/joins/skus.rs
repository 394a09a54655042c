//! SKUs: who wants each and who has ordered it since, what it costs and whether there is any; and the triggers that offer it to
//! those who want it. In: what is told of a SKU. Out: the openings of those triggers, retracted when they no longer hold.
//!
//! Whom an offer concerns is settled at its tick. After that only an order of one of them (or its cancellation), a change of
//! stock or price that begins or ends an offer, or its expiry does anything, each at the cost of what it changes.

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::model::{Diff, Episode, Id, Money, Opening, Tick};
use crate::per_key::{Next, PerKey};
use crate::time::expiry;
use crate::triggers::found::product_line;

/// What is told of a SKU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SkuEvent {
    /// A customer is told of again. Comes as a retraction, and so before all that is told of them.
    Gone(Id),
    /// A customer was interested at this tick. Read first.
    Interest(Id, Tick),
    /// A customer's order of it stands: customer, order, the tick it was placed.
    Ordered(Id, Id, Tick),
    /// It is in stock since this tick.
    InStockSince(Tick),
    /// It costs this.
    Price(Money),
}

/// On what terms a SKU can be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Since when there is stock, if there is any.
    pub in_stock_since: Option<Tick>,
    /// What the catalog asks, if it says.
    pub price: Option<Money>,
}

/// A trigger that offers a SKU to those who want it, when the terms become better: one campaign's.
pub trait SkuTrigger: 'static {
    /// The campaign's index.
    fn campaign(&self) -> u16;

    /// How long before an offer an interest may lie, ms.
    fn lookback_ms(&self) -> u64;

    /// X, ms, at least a tick; none: as long as the offer holds.
    fn expires_ms(&self) -> Option<u64>;

    /// Whether the change from the terms `before` to those of `now` begins an offer.
    fn begins(&self, before: &Terms, now: &Terms) -> bool;

    /// Whether an offer that began at `since`, from the terms `before`, holds on those of `now`.
    fn holds(&self, since: Tick, before: &Terms, now: &Terms) -> bool;

    /// Whether an offer that does not hold can hold again.
    fn can_return(&self) -> bool;
}

/// What is kept of a SKU.
#[derive(Default, Serialize, Deserialize)]
pub struct Sku {
    wishes: Wishes,
    terms: Terms,
    offers: Vec<Offer>,
}

/// Who wants a SKU.
#[derive(Default, Serialize, Deserialize)]
struct Wishes {
    by_customer: HashMap<Id, Wish>,
    /// The latest interest of any.
    latest: Tick,
    /// How many they were when those out of reach were last forgotten.
    swept: usize,
}

/// A customer's latest interest and the orders at or after it, each with the tick it was placed.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Wish {
    interest: Tick,
    orders: Vec<(Id, Tick)>,
}

/// An offer in force, or one that can be again.
#[derive(Serialize, Deserialize)]
struct Offer {
    /// The place of its trigger.
    trigger: usize,
    since: Tick,
    /// The terms before it.
    before: Terms,
    holds: bool,
    /// Whom it concerns: their wish as of its tick, and the orders since.
    concerned: HashMap<Id, Wish>,
}

/// The rule of a SKU: all triggers over it, one a campaign.
pub struct Skus {
    triggers: Vec<Box<dyn SkuTrigger>>,
    lookback_ms: u64,
}

impl Skus {
    /// With these triggers; none when there are none.
    pub fn with(triggers: Vec<Box<dyn SkuTrigger>>) -> Option<Skus> {
        let lookback_ms = triggers.iter().map(|trigger| trigger.lookback_ms()).max()?;
        Some(Skus { triggers, lookback_ms })
    }

    /// How long an interest can matter, ms: until the last offer that concerns it expires.
    pub fn interest_ms(&self) -> u64 {
        let reach = |trigger: &dyn SkuTrigger| expiry(trigger.lookback_ms(), trigger.expires_ms());
        self.triggers.iter().map(|trigger| reach(&**trigger)).max().unwrap_or(0)
    }
}

impl PerKey for Skus {
    type In = SkuEvent;
    type State = Sku;
    type Out = Opening;
    type Wake = Tick;

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
        let before = sku.terms;
        for (event, diff) in events {
            match (event, diff > 0) {
                (SkuEvent::Gone(customer), _) => self.forget(key, sku, customer, emit),
                (SkuEvent::Interest(customer, at), _) => {
                    sku.wishes.interest(now, customer, at, self.lookback_ms);
                    if at < now {
                        self.concern(key, sku, customer, at, emit);
                    }
                }
                (SkuEvent::Ordered(customer, order, placed), true) => {
                    sku.wishes.order(now, customer, (order, placed));
                    self.change(key, sku, customer, |wish| wish.add((order, placed)), emit);
                }
                (SkuEvent::Ordered(customer, order, _), false) => {
                    sku.wishes.unorder(customer, order);
                    self.change(key, sku, customer, |wish| wish.remove(order), emit);
                }
                (SkuEvent::InStockSince(since), is) => sku.terms.in_stock_since = is.then_some(since),
                (SkuEvent::Price(price), is) => sku.terms.price = is.then_some(price),
            }
        }
        self.expire(now, key, sku, emit);
        if sku.terms != before {
            self.end(key, sku, emit);
            self.begin(now, key, sku, &before, emit);
        }
        self.next(now, sku)
    }

    fn restate(&self, key: Id, sku: &Sku, emit: &mut dyn FnMut(Opening)) {
        for offer in sku.offers.iter().filter(|offer| offer.holds) {
            self.emit(key, offer, 1, &mut |opening, _| emit(opening));
        }
    }
}

impl Skus {
    /// Lets the offers begin that the new terms make.
    fn begin(&self, now: Tick, key: Id, sku: &mut Sku, before: &Terms, emit: &mut dyn FnMut(Opening, Diff)) {
        for (trigger, rule) in self.triggers.iter().enumerate().filter(|(_, rule)| rule.begins(before, &sku.terms)) {
            let concerned = sku.wishes.since(now.saturating_sub(rule.lookback_ms()));
            if !concerned.is_empty() {
                let offer = Offer { trigger, since: now, before: *before, holds: true, concerned };
                self.emit(key, &offer, 1, emit);
                sku.offers.push(offer);
            }
        }
    }

    /// Ends the offers that the new terms end, and lets those hold again that they bring back.
    fn end(&self, key: Id, sku: &mut Sku, emit: &mut dyn FnMut(Opening, Diff)) {
        let terms = sku.terms;
        sku.offers.retain_mut(|offer| {
            let rule = &self.triggers[offer.trigger];
            let holds = rule.holds(offer.since, &offer.before, &terms);
            if holds != offer.holds {
                self.emit(key, offer, if holds { 1 } else { -1 }, emit);
                offer.holds = holds;
            }
            holds || rule.can_return()
        });
    }

    fn expire(&self, now: Tick, key: Id, sku: &mut Sku, emit: &mut dyn FnMut(Opening, Diff)) {
        sku.offers.retain(|offer| {
            let over = now >= self.expiry(offer);
            if over && offer.holds {
                self.emit(key, offer, -1, emit);
            }
            !over
        });
    }

    fn expiry(&self, offer: &Offer) -> Tick {
        expiry(offer.since, self.triggers[offer.trigger].expires_ms())
    }

    /// Changes the orders of one whom offers concern.
    fn change(
        &self,
        key: Id,
        sku: &mut Sku,
        customer: Id,
        change: impl Fn(&mut Wish),
        emit: &mut dyn FnMut(Opening, Diff),
    ) {
        for offer in &mut sku.offers {
            let Some(wish) = offer.concerned.get_mut(&customer) else { continue };
            let open = wish.is_open();
            change(wish);
            if offer.holds && wish.is_open() != open {
                emit(self.opening(key, offer, customer), if open { -1 } else { 1 });
            }
        }
    }

    /// Whom an earlier interest comes to is concerned by the offers since.
    fn concern(&self, key: Id, sku: &mut Sku, customer: Id, at: Tick, emit: &mut dyn FnMut(Opening, Diff)) {
        for offer in &mut sku.offers {
            let earliest = offer.since.saturating_sub(self.triggers[offer.trigger].lookback_ms());
            if (earliest..=offer.since).contains(&at) {
                let was_open = offer.concerned.get(&customer).is_some_and(Wish::is_open);
                let wish = offer.concerned.entry(customer).or_default();
                wish.interested_at(at);
                if offer.holds && wish.is_open() && !was_open {
                    emit(self.opening(key, offer, customer), 1);
                }
            }
        }
    }

    /// Forgets a customer, who is told of anew if anything is still theirs.
    fn forget(&self, key: Id, sku: &mut Sku, customer: Id, emit: &mut dyn FnMut(Opening, Diff)) {
        sku.wishes.by_customer.remove(&customer);
        for offer in &mut sku.offers {
            if offer.concerned.remove(&customer).is_some_and(|wish| wish.is_open() && offer.holds) {
                emit(self.opening(key, offer, customer), -1);
            }
        }
    }

    /// All rows of an offer.
    fn emit(&self, key: Id, offer: &Offer, diff: Diff, emit: &mut dyn FnMut(Opening, Diff)) {
        for (customer, _) in offer.concerned.iter().filter(|(_, wish)| wish.is_open()) {
            emit(self.opening(key, offer, *customer), diff);
        }
    }

    fn opening(&self, key: Id, offer: &Offer, customer: Id) -> Opening {
        let campaign = self.triggers[offer.trigger].campaign();
        let episode = Episode { campaign, customer, subject: key, anchor: offer.since };
        Opening { episode, currency: Id::NONE, lines: product_line(key) }
    }

    /// The next expiry, or when the last wish comes out of reach.
    fn next(&self, now: Tick, sku: &mut Sku) -> Next {
        let unwanted = sku.wishes.latest.saturating_add(self.lookback_ms);
        if unwanted <= now {
            sku.wishes.sweep(now, self.lookback_ms);
        }
        let expiries = sku.offers.iter().map(|offer| self.expiry(offer)).filter(|tick| *tick < Tick::MAX);
        let unwanted = (unwanted > now && !sku.wishes.by_customer.is_empty()).then_some(unwanted);
        match expiries.chain(unwanted).min() {
            Some(tick) => Next::WakeAt(tick),
            None if sku.is_empty() => Next::Forget,
            None => Next::Keep,
        }
    }
}

impl Sku {
    fn is_empty(&self) -> bool {
        self.wishes.by_customer.is_empty() && self.offers.is_empty() && self.terms == Terms::default()
    }
}

impl Wishes {
    /// Forgets, when it is worth it, those that no offer can reach any more.
    fn interest(&mut self, now: Tick, customer: Id, at: Tick, lookback_ms: u64) {
        const FEW: usize = 64;
        if self.by_customer.len() > FEW.max(self.swept * 2) {
            self.sweep(now, lookback_ms);
        }
        let wish = self.by_customer.entry(customer).or_default();
        wish.interested_at(at);
        self.latest = at.max(self.latest);
    }

    /// An order placed in the future counts for an interest until then.
    fn order(&mut self, now: Tick, customer: Id, order: (Id, Tick)) {
        if order.1 > now {
            self.by_customer.entry(customer).or_default();
        }
        self.by_customer.get_mut(&customer).into_iter().for_each(|wish| wish.add(order));
    }

    fn unorder(&mut self, customer: Id, order: Id) {
        self.by_customer.get_mut(&customer).into_iter().for_each(|wish| wish.remove(order));
    }

    /// Those of interest at or after `earliest`.
    fn since(&self, earliest: Tick) -> HashMap<Id, Wish> {
        let recent = self.by_customer.iter().filter(|(_, wish)| wish.interest >= earliest && wish.interest > 0);
        recent.map(|(customer, wish)| (*customer, wish.clone())).collect()
    }

    fn sweep(&mut self, now: Tick, lookback_ms: u64) {
        self.by_customer.retain(|_, wish| {
            now < wish.interest.saturating_add(lookback_ms) || wish.orders.iter().any(|(_, placed)| *placed > now)
        });
        self.by_customer.shrink_to_fit();
        self.swept = self.by_customer.len();
    }
}

impl Wish {
    /// Whether nothing was ordered since the interest.
    fn is_open(&self) -> bool {
        self.orders.is_empty()
    }

    fn interested_at(&mut self, at: Tick) {
        self.interest = at.max(self.interest);
        self.orders.retain(|(_, placed)| *placed >= self.interest);
    }

    fn add(&mut self, (order, placed): (Id, Tick)) {
        if placed >= self.interest && !self.orders.iter().any(|(known, _)| *known == order) {
            self.orders.push((order, placed));
        }
    }

    fn remove(&mut self, order: Id) {
        self.orders.retain(|(known, _)| *known != order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{BackInStock, PriceDrop};
    use crate::triggers::{back_in_stock, price_drop};

    /// A SKU that is told of, and what that changes.
    struct Story(Skus, Sku);

    impl Story {
        fn new() -> Story {
            let restock = BackInStock { lookback_ms: 100, expires_ms: Some(50) };
            let drop = PriceDrop { percent: 10.into(), lookback_ms: 100, expires_ms: Some(50) };
            let triggers: Vec<Box<dyn SkuTrigger>> = vec![
                Box::new(back_in_stock::Restock { campaign: 0, parameters: restock }),
                Box::new(price_drop::Fall { campaign: 1, parameters: drop }),
            ];
            Story(Skus::with(triggers).expect("there are triggers"), Sku::default())
        }

        /// What is emitted, as (campaign, customer, anchor, difference), and what becomes of the state.
        fn visit(&mut self, now: Tick, events: &[(SkuEvent, Diff)]) -> (Vec<(u16, u64, Tick, Diff)>, Next) {
            let mut emitted = Vec::new();
            let next = self.0.visit(now, Id(9), &mut self.1, &mut events.iter().copied(), &mut |opening, diff| {
                let episode = opening.episode;
                emitted.push((episode.campaign, episode.customer.0, episode.anchor, diff));
            });
            emitted.sort_unstable();
            (emitted, next)
        }
    }

    fn price(units: i64) -> SkuEvent {
        SkuEvent::Price(Money(units.into()))
    }

    #[test]
    fn wishes_are_forgotten_when_no_offer_can_reach_them() {
        let mut story = Story::new();
        assert_eq!(story.visit(200, &[(SkuEvent::Interest(Id(1), 200), 1)]), (vec![], Next::WakeAt(300)));
        assert_eq!(story.visit(250, &[(SkuEvent::Interest(Id(2), 250), 1)]), (vec![], Next::WakeAt(350)));
        assert_eq!(story.visit(350, &[]), (vec![], Next::Forget));
    }

    #[test]
    fn an_order_of_the_future_counts_for_an_interest_before_it() {
        let mut story = Story::new();
        story.visit(200, &[(SkuEvent::Ordered(Id(1), Id(5), 260), 1)]);
        story.visit(210, &[(SkuEvent::InStockSince(210), 1)]);
        story.visit(220, &[(SkuEvent::Interest(Id(1), 220), 1), (SkuEvent::InStockSince(210), -1)]);
        assert_eq!(story.visit(230, &[(SkuEvent::InStockSince(230), 1)]).0, []);
        assert_eq!(story.visit(235, &[(SkuEvent::Ordered(Id(1), Id(5), 260), -1)]).0, [(0, 1, 230, 1)]);
    }

    #[test]
    fn a_price_that_recovers_and_falls_brings_an_earlier_drop_back() {
        let mut story = Story::new();
        story.visit(200, &[(SkuEvent::Interest(Id(1), 200), 1), (price(100), 1)]);
        assert_eq!(story.visit(210, &[(price(100), -1), (price(80), 1)]).0, [(1, 1, 210, 1)]);
        assert_eq!(story.visit(220, &[(price(80), -1), (price(100), 1)]).0, [(1, 1, 210, -1)]);
        assert_eq!(story.visit(230, &[(price(100), -1), (price(95), 1)]).0, [(1, 1, 210, 1)]);
        assert_eq!(story.visit(260, &[]).0, [(1, 1, 210, -1)]);
    }
}
