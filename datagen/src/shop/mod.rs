//! The simulated shop. In: a seed and a [`ShopConfig`]. Out: an iterator of [`Event`]s in nondecreasing time, the same
//! bytes for the same configuration, on any machine. Cannot fail, and ends only where the configuration says so.
//!
//! | file | idea |
//! |---|---|
//! | `catalog`, `stock`, `customers` | what the shop has, and who comes |
//! | `carts`, `messages` | what it says of carts, orders and visitors |
//! | `opening` | all of it drawn, and said as the preamble |
//! | `world` | the clock: what happens next |
//! | `visits`, `says` | what a visitor does, and what is said of it |
//! | `bench` | the plain mix for benchmarks |
//! | `outbox` | faults, and the order in which records leave |

mod bench;
mod carts;
mod catalog;
mod customers;
mod messages;
mod opening;
mod outbox;
mod says;
mod stock;
mod visits;
mod world;

pub use outbox::FaultShares;

use bench::Bench;
use outbox::Outbox;
use world::World;

use crate::stream::Event;

/// 2026-01-01T00:00:00Z in epoch milliseconds: when a shop opens unless told otherwise, so that two runs are equal.
pub const DEFAULT_START_MS: i64 = 1_767_225_600_000;

/// What a shop is drawn from.
#[derive(Debug, Clone, PartialEq)]
pub struct ShopConfig {
    /// Everything random comes from this.
    pub seed: u64,
    /// When the shop opens, in epoch milliseconds.
    pub start_ms: i64,
    /// Customers with an account at the start, at least 1. In the `Shop` mix, some visitors open one later.
    pub customers: u32,
    /// SKUs, at least 1.
    pub skus: u32,
    /// Records a second of virtual time after the preamble: exactly so in the `Bench` mix, on average in the `Shop`
    /// mix. See [`ShopConfig::default_rate`].
    pub records_per_second: f64,
    /// The first time that is not said any more, in epoch milliseconds.
    pub until_ms: Option<i64>,
    /// How many records are said after the preamble.
    pub records: Option<u64>,
    /// What happens.
    pub mix: Mix,
    /// Whether catalogue, inventory and profiles are said first, all at `start_ms`.
    pub preamble: bool,
    /// Shares of faults.
    pub faults: FaultShares,
    /// The first version, and the first number in the ids of messages, carts and orders. 1 for a world that repeats;
    /// a shop that is opened anew on topics that already hold an earlier run must count from a greater number (such
    /// as the epoch microsecond), or its records are stale and its messages duplicates.
    pub numbered_from: u64,
}

/// What happens in a shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Visitors who browse, fill carts, buy, abandon, and come back.
    Shop,
    /// Of every 20 records 14 are Product Viewed, 3 `carts`, 2 `inventory` and 1 `orders`; customers at random.
    Bench,
}

impl ShopConfig {
    /// A rate of virtual time at which `customers` come back every few hours, so that carts are abandoned and not
    /// merely put down: 2 records a second for every 1,000 of them. For `Bench`, where time means little, 10,000.
    pub fn default_rate(mix: Mix, customers: u32) -> f64 {
        match mix {
            Mix::Shop => f64::from(customers.max(1)) / 500.0,
            Mix::Bench => 10_000.0,
        }
    }

    /// The shares of faults of a mix: 0.1 % of each kind in `Shop`, none in `Bench`, whose shares are exact.
    pub fn default_faults(mix: Mix) -> FaultShares {
        match mix {
            Mix::Shop => FaultShares::each(0.001),
            Mix::Bench => FaultShares::NONE,
        }
    }
}

impl Default for ShopConfig {
    fn default() -> ShopConfig {
        ShopConfig {
            seed: 1,
            start_ms: DEFAULT_START_MS,
            customers: 1_000,
            skus: 500,
            records_per_second: ShopConfig::default_rate(Mix::Shop, 1_000),
            until_ms: None,
            records: None,
            mix: Mix::Shop,
            preamble: true,
            faults: ShopConfig::default_faults(Mix::Shop),
            numbered_from: 1,
        }
    }
}

/// The shop: an endless iterator of events, unless `until_ms` or `records` is set.
#[derive(Debug)]
pub struct Shop {
    play: Play,
    until_ms: i64,
    /// Records that may still be said, those of the preamble included.
    left: u64,
}

#[derive(Debug)]
enum Play {
    Shop(Box<World>),
    Bench(Box<Bench>),
}

impl Play {
    /// When the next thing happens, in epoch milliseconds.
    fn next_ms(&self) -> i64 {
        match self {
            Play::Shop(world) => world.next_ms(),
            Play::Bench(bench) => bench.next_ms(),
        }
    }

    /// Lets the next thing happen.
    fn step(&mut self) {
        match self {
            Play::Shop(world) => world.step(),
            Play::Bench(bench) => bench.step(),
        }
    }

    fn outbox(&mut self) -> &mut Outbox {
        match self {
            Play::Shop(world) => &mut world.outbox,
            Play::Bench(bench) => &mut bench.outbox,
        }
    }
}

impl Shop {
    /// Draws the shop and, if asked, its preamble. Takes memory for every customer (about 200 bytes) and SKU.
    pub fn new(config: ShopConfig) -> Shop {
        let (until_ms, records) = (config.until_ms.unwrap_or(i64::MAX), config.records);
        let mut play = match config.mix {
            Mix::Shop => Play::Shop(Box::new(World::open(config))),
            Mix::Bench => Play::Bench(Box::new(Bench::open(config))),
        };
        let preamble = play.outbox().ready_len() as u64;
        let left = records.map_or(u64::MAX, |records| records.saturating_add(preamble));
        Shop { play, until_ms, left }
    }
}

impl Iterator for Shop {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if self.left == 0 {
            return None;
        }
        let event = loop {
            if let Some(event) = self.play.outbox().pop() {
                break event;
            }
            match self.play.outbox().held_until() {
                Some(due_ms) if due_ms <= self.play.next_ms() => self.play.outbox().release(),
                _ if self.play.next_ms() >= self.until_ms => return None,
                _ => self.play.step(),
            }
        };
        if event.time_ms >= self.until_ms {
            return None;
        }
        self.left -= 1;
        Some(event)
    }
}
