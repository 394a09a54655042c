//! Stock by SKU and warehouse: sold out by orders, filled up again by deliveries. Out: `inventory` records. Cannot
//! fail; a SKU that has too little simply sells nothing.

use rand::{Rng, RngExt};

use crate::stream::Event;
use crate::wire::InventoryRecord;

/// Warehouses of SKUs that are kept in two; a SKU kept in one names none.
const LOCATIONS: [Option<&str>; 2] = [Some("leipzig"), Some("utrecht")];

/// The share of SKUs that are out of stock when the shop opens.
const SOLD_OUT_AT_START: f64 = 0.04;

/// What one warehouse has of one SKU.
#[derive(Debug, Clone)]
struct Shelf {
    location: Option<&'static str>,
    on_hand: i64,
    version: u64,
}

/// A change of one shelf, to be said on `inventory`.
#[derive(Debug, Clone, Copy)]
pub struct ShelfChange {
    location: Option<&'static str>,
    /// How many are left there.
    pub on_hand: i64,
    version: u64,
}

impl ShelfChange {
    /// The change as a record of `time_ms`.
    pub fn event(&self, sku: &str, time_ms: i64) -> Event {
        let (location, on_hand, version) = (self.location, self.on_hand, self.version);
        InventoryRecord { sku, location, on_hand, version, updated_at: time_ms }.event()
    }

    /// A record of the version before, with a stock that is far off, so that whoever believes it is found out.
    pub fn stale(mut self) -> ShelfChange {
        self.version = self.version.saturating_sub(1);
        self.on_hand += 1_000;
        self
    }
}

/// The stock of one SKU.
#[derive(Debug)]
struct Shelves {
    shelves: Vec<Shelf>,
    /// Whether more has been ordered from the maker and not yet arrived.
    pub restocking: bool,
}

/// The stock of all SKUs, by their places in the catalogue.
#[derive(Debug)]
pub struct Stock {
    /// How many customers share a SKU, in units of what a small shop is used to; at least 1.
    demand: u32,
    skus: Vec<Shelves>,
}

impl Stock {
    /// Stock for `skus` SKUs, the more of it the more `customers` there are to each. Popular ones (lesser places) get
    /// most.
    pub fn draw(rng: &mut impl Rng, skus: usize, customers: usize, first_version: u64) -> Stock {
        let demand = (customers / skus.max(1) / 2).clamp(1, 10_000) as u32;
        let skus = (0..skus).map(|place| {
            let sold_out = rng.random_bool(SOLD_OUT_AT_START);
            let most = i64::from(demand) * if place * 10 < skus { 120 } else { 40 };
            // Three in ten are kept in both warehouses.
            let locations = if place % 10 < 3 { &LOCATIONS[..] } else { &[None] };
            let mut shelf = |location: &Option<&'static str>| Shelf {
                location: *location,
                on_hand: if sold_out { 0 } else { rng.random_range(1..=most) },
                version: first_version,
            };
            Shelves { shelves: locations.iter().map(&mut shelf).collect(), restocking: false }
        });
        Stock { skus: skus.collect(), demand }
    }

    /// Every shelf as it is, with its SKU's place.
    pub fn all(&self) -> impl Iterator<Item = (usize, ShelfChange)> {
        let of_sku = |(place, sku): (usize, &Shelves)| {
            sku.shelves.iter().map(|shelf| (place, shelf.change())).collect::<Vec<_>>()
        };
        self.skus.iter().enumerate().flat_map(of_sku)
    }

    /// All that there is of a SKU.
    pub fn on_hand(&self, sku: usize) -> i64 {
        self.skus[sku].shelves.iter().map(|shelf| shelf.on_hand).sum()
    }

    /// Takes `quantity` off one shelf that has so many. `None`, and nothing changed, if none has.
    pub fn take(&mut self, sku: usize, quantity: u32) -> Option<ShelfChange> {
        let enough = |shelf: &&mut Shelf| shelf.on_hand >= i64::from(quantity);
        let shelf = self.skus[sku].shelves.iter_mut().find(enough)?;
        Some(shelf.add(-i64::from(quantity)))
    }

    /// Puts `quantity` on a SKU's first shelf.
    pub fn put(&mut self, sku: usize, quantity: u32) -> ShelfChange {
        self.skus[sku].shelves[0].add(i64::from(quantity))
    }

    /// Sets what one of a SKU's shelves has, as a count of the warehouse does.
    pub fn count(&mut self, rng: &mut impl Rng, sku: usize, on_hand: i64) -> ShelfChange {
        let shelves = &mut self.skus[sku].shelves;
        let shelf = rng.random_range(0..shelves.len());
        let change = on_hand - shelves[shelf].on_hand;
        shelves[shelf].add(change)
    }

    /// Whether to order more of a SKU now: it is nearly sold out, and nothing is on its way. Answers yes once, until
    /// [`Stock::arrived`].
    pub fn reorder(&mut self, sku: usize) -> bool {
        let low = self.on_hand(sku) <= 1;
        low && !std::mem::replace(&mut self.skus[sku].restocking, true)
    }

    /// What was ordered is here.
    pub fn arrived(&mut self, rng: &mut impl Rng, sku: usize) -> ShelfChange {
        self.skus[sku].restocking = false;
        let demand = self.demand;
        self.put(sku, demand * rng.random_range(10..=60))
    }
}

impl Shelf {
    fn change(&self) -> ShelfChange {
        ShelfChange { location: self.location, on_hand: self.on_hand, version: self.version }
    }

    fn add(&mut self, change: i64) -> ShelfChange {
        self.on_hand += change;
        self.version += 1;
        self.change()
    }
}
