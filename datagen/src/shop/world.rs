//! The shop's clock: what happens next, and everything that is no visit. In: a configuration. Out: records into the
//! outbox, in time. Cannot fail.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use crate::shop::ShopConfig;
use crate::shop::carts::Order;
use crate::shop::catalog::Catalogue;
use crate::shop::customers::Customer;
use crate::shop::messages::Numbers;
use crate::shop::opening::Opening;
use crate::shop::outbox::Outbox;
use crate::shop::stock::{ShelfChange, Stock};
use crate::shop::visits::{RECORDS_PER_VISIT, VISIT_MS, Visit};
use crate::wire::{EngagementRecord, Time};

const HOUR_MS: f64 = 3_600_000.0;

/// How long the shop is still after the preamble, so that catalogue and profiles are there when the first visitor is.
const OPENS_AFTER_MS: i64 = 1_000;

/// The share of the SKUs whose price changes within an hour.
const PRICE_CHANGES_PER_SKU_HOUR: f64 = 0.02;

/// The share of the customers whose profile changes within an hour.
const PROFILE_CHANGES_PER_CUSTOMER_HOUR: f64 = 0.004;

/// The share of the customers who unsubscribe or whose address bounces within an hour.
const ENGAGEMENTS_PER_CUSTOMER_HOUR: f64 = 0.001;

/// How long a delivery from the maker takes, in milliseconds.
const RESTOCK_MS: std::ops::Range<i64> = 20 * 60_000..6 * 3_600_000;

/// Something that is due.
#[derive(Debug)]
pub(super) enum Act {
    /// A visitor comes in, and the next one is scheduled.
    Arrive,
    /// The visit in this place goes on.
    Visit(usize),
    /// A price changes.
    Reprice,
    /// A SKU's delivery arrives.
    Restock(usize),
    /// A profile changes.
    ChangeProfile,
    /// Somebody unsubscribes, or an address bounces.
    Engage,
    /// An order is cancelled or refunded.
    Settle(Box<Order>, &'static str),
}

/// An entry of the agenda: the earliest first, and of one time the one that was written first.
#[derive(Debug)]
struct Due {
    at_ms: i64,
    nth: u64,
    act: Act,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        (self.at_ms, self.nth) == (other.at_ms, other.nth)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.at_ms, self.nth).cmp(&(other.at_ms, other.nth))
    }
}

/// See the module.
#[derive(Debug)]
pub struct World {
    pub(super) rng: ChaCha8Rng,
    pub(super) now_ms: i64,
    agenda: BinaryHeap<Reverse<Due>>,
    due_ever: u64,
    pub(super) catalogue: Catalogue,
    pub(super) stock: Stock,
    pub(super) customers: Vec<Customer>,
    pub(super) visits: Vec<Option<Visit>>,
    pub(super) free_visits: Vec<usize>,
    pub(super) numbers: Numbers,
    pub(super) outbox: Outbox,
    pub(super) first_version: u64,
    arrival_gap_ms: f64,
    /// When the next visitor comes, with the fraction of a millisecond that matters at high rates.
    next_arrival_ms: f64,
}

impl World {
    /// Draws the world, says the preamble if asked, and lets in those who are there already: a shop is not empty
    /// just because one starts to watch it.
    pub fn open(config: ShopConfig) -> World {
        let Opening { rng, outbox, catalogue, stock, customers } = Opening::draw(&config);
        let opens_ms = config.start_ms + OPENS_AFTER_MS;
        let arrival_gap_ms = 1_000.0 * RECORDS_PER_VISIT / config.records_per_second.max(1e-6);
        let mut world = World {
            rng,
            now_ms: opens_ms,
            agenda: BinaryHeap::new(),
            due_ever: 0,
            catalogue,
            stock,
            customers,
            visits: Vec::new(),
            free_visits: Vec::new(),
            numbers: Numbers::new(config.seed, config.numbered_from),
            outbox,
            first_version: config.numbered_from,
            arrival_gap_ms,
            next_arrival_ms: opens_ms as f64,
        };
        let already_there = (VISIT_MS / arrival_gap_ms) as usize;
        (0..already_there).for_each(|_| world.let_in(true));
        world.schedule_arrival();
        world.schedule_rare(PRICE_CHANGES_PER_SKU_HOUR * world.catalogue.products.len() as f64, Act::Reprice);
        world.schedule_rare(PROFILE_CHANGES_PER_CUSTOMER_HOUR * world.customers.len() as f64, Act::ChangeProfile);
        world.schedule_rare(ENGAGEMENTS_PER_CUSTOMER_HOUR * world.customers.len() as f64, Act::Engage);
        world.reorder_all();
        world
    }

    /// When the next thing happens. Something always does: arrivals never end.
    pub fn next_ms(&self) -> i64 {
        self.agenda.peek().map_or(i64::MAX, |Reverse(due)| due.at_ms)
    }

    /// Lets the next thing happen.
    pub fn step(&mut self) {
        let Some(Reverse(due)) = self.agenda.pop() else {
            return;
        };
        self.now_ms = due.at_ms;
        match due.act {
            Act::Arrive => {
                self.let_in(false);
                self.schedule_arrival();
            }
            Act::Visit(place) => self.go_on(place),
            Act::Reprice => self.reprice(),
            Act::Restock(sku) => {
                let change = self.stock.arrived(&mut self.rng, sku);
                self.say_shelf(sku, change);
            }
            Act::ChangeProfile => self.change_profile(),
            Act::Engage => self.engage(),
            Act::Settle(order, status) => self.settle(&order, status),
        }
    }

    /// Writes something into the agenda, `after_ms` from now.
    pub(super) fn schedule(&mut self, after_ms: i64, act: Act) {
        self.due_ever += 1;
        self.agenda.push(Reverse(Due { at_ms: self.now_ms + after_ms.max(0), nth: self.due_ever, act }));
    }

    /// Says a change of stock, and orders more of what is nearly sold out.
    pub(super) fn say_shelf(&mut self, sku: usize, change: ShelfChange) {
        let name = &self.catalogue.products[sku].sku;
        self.outbox.say(change.event(name, self.now_ms));
        self.outbox.say_stale(|| Some(change.stale().event(name, self.now_ms)));
        self.reorder(sku);
    }

    /// Says a profile as it is now.
    pub(super) fn say_profile(&mut self, customer: usize) {
        self.outbox.say(self.customers[customer].with_record(self.now_ms, |record| record.event()));
    }

    fn schedule_arrival(&mut self) {
        self.next_arrival_ms += exponential(&mut self.rng, self.arrival_gap_ms);
        self.schedule(self.next_arrival_ms as i64 - self.now_ms, Act::Arrive);
    }

    /// Schedules the next of something that happens `per_hour` times an hour.
    fn schedule_rare(&mut self, per_hour: f64, act: Act) {
        let gap_ms = exponential(&mut self.rng, HOUR_MS / per_hour);
        self.schedule(gap_ms as i64, act);
    }

    fn reorder_all(&mut self) {
        (0..self.catalogue.products.len()).for_each(|sku| self.reorder(sku));
    }

    fn reorder(&mut self, sku: usize) {
        if self.stock.reorder(sku) {
            let takes_ms = self.rng.random_range(RESTOCK_MS);
            self.schedule(takes_ms, Act::Restock(sku));
        }
    }

    fn reprice(&mut self) {
        let sku = self.catalogue.pick(&mut self.rng);
        let before = self.catalogue.products[sku].clone();
        self.catalogue.products[sku].reprice(&mut self.rng);
        self.outbox.say(self.catalogue.products[sku].record(self.now_ms).event());
        self.outbox.say_stale(|| Some(before.record(self.now_ms).event()));
        self.schedule_rare(PRICE_CHANGES_PER_SKU_HOUR * self.catalogue.products.len() as f64, Act::Reprice);
    }

    fn change_profile(&mut self) {
        let customer = self.rng.random_range(0..self.customers.len());
        if !self.customers[customer].deleted {
            let now_ms = self.now_ms;
            let before = self.customers[customer].with_record(now_ms, |record| record.event());
            self.customers[customer].change(&mut self.rng);
            self.say_profile(customer);
            self.outbox.say_stale(|| Some(before));
        }
        self.schedule_rare(PROFILE_CHANGES_PER_CUSTOMER_HOUR * self.customers.len() as f64, Act::ChangeProfile);
    }

    fn engage(&mut self) {
        let customer = &self.customers[self.rng.random_range(0..self.customers.len())];
        let record = EngagementRecord {
            event_id: &self.numbers.engagement_id(),
            kind: if self.rng.random_bool(0.6) { "unsubscribed" } else { "bounced" },
            user_id: &customer.id,
            occurred_at: Time(self.now_ms),
            machine: false,
        };
        self.outbox.say(record.event());
        self.schedule_rare(ENGAGEMENTS_PER_CUSTOMER_HOUR * self.customers.len() as f64, Act::Engage);
    }

    fn settle(&mut self, order: &Order, status: &'static str) {
        let event = |version, status| order.event(&self.catalogue, status, version, self.now_ms);
        self.outbox.say(event(2, status));
        self.outbox.say_stale(|| Some(event(1, "placed")));
        if status == "cancelled" {
            for line in &order.lines {
                let change = self.stock.put(line.sku, line.quantity);
                self.say_shelf(line.sku, change);
            }
        }
    }
}

/// A gap of a memoryless process with this mean.
pub(super) fn exponential(rng: &mut impl Rng, mean: f64) -> f64 {
    let u: f64 = rng.random();
    -mean * (1.0 - u).ln()
}
