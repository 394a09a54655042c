//! Carts and orders as the shop keeps them, and how they are written. Cannot fail.

use crate::shop::catalog::Catalogue;
use crate::stream::Event;
use crate::wire::{CURRENCY, CartRecord, LineProperties, LineRecord, Money, OrderRecord, Time};

/// A line of a cart or an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The SKU's place in the catalogue.
    pub sku: usize,
    /// How many, at least 1.
    pub quantity: u32,
    /// What one cost when it was put in.
    pub price: Money,
}

/// Who a record is of.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The user id, of one who is known.
    pub user_id: Option<&'a str>,
    /// The device.
    pub anonymous_id: Option<&'a str>,
}

/// A cart.
#[derive(Debug, Clone)]
pub struct Cart {
    /// `None` for a cart of the app, which has no id and is never said as a whole.
    pub id: Option<Box<str>>,
    /// How often it was said; 0 before the first time.
    pub version: u64,
    /// What is in it.
    pub lines: Vec<Line>,
}

impl Cart {
    /// An empty cart that was never said.
    pub fn new(id: Option<Box<str>>) -> Cart {
        Cart { id, version: 0, lines: Vec::new() }
    }

    /// Puts `quantity` of a SKU in.
    pub fn add(&mut self, sku: usize, quantity: u32, price: Money) {
        match self.lines.iter_mut().find(|line| line.sku == sku) {
            Some(line) => line.quantity += quantity,
            None => self.lines.push(Line { sku, quantity, price }),
        }
    }

    /// What it is worth.
    pub fn total(&self) -> Money {
        total(&self.lines)
    }

    /// The cart as a record. `None` for a cart of the app.
    pub fn event(&self, catalogue: &Catalogue, owner: Owner, time_ms: i64) -> Option<Event> {
        self.write(owner, self.version, &line_records(catalogue, &self.lines), time_ms)
    }

    /// A record of the version before that says the cart is empty, so that whoever believes it is found out.
    pub fn stale_event(&self, owner: Owner, time_ms: i64) -> Option<Event> {
        self.write(owner, self.version.saturating_sub(1), &[], time_ms)
    }

    fn write(&self, owner: Owner, version: u64, lines: &[LineRecord], time_ms: i64) -> Option<Event> {
        let cart_id = self.id.as_deref()?;
        let record = CartRecord {
            cart_id,
            user_id: owner.user_id,
            anonymous_id: owner.anonymous_id,
            version,
            updated_at: Time(time_ms),
            currency: CURRENCY,
            lines,
        };
        Some(record.event())
    }
}

/// An order.
#[derive(Debug, Clone)]
pub struct Order {
    /// The order id.
    pub id: String,
    /// The user id, of one who is known.
    pub user_id: Option<Box<str>>,
    /// The device, of one who is not.
    pub anonymous_id: Option<Box<str>>,
    /// The cart it was made from, where that has an id.
    pub cart_id: Option<Box<str>>,
    /// When it was placed, in epoch milliseconds.
    pub placed_ms: i64,
    /// What was bought.
    pub lines: Vec<Line>,
}

impl Order {
    /// The order as a record that says `status` since `time_ms`.
    pub fn event(&self, catalogue: &Catalogue, status: &'static str, version: u64, time_ms: i64) -> Event {
        let record = OrderRecord {
            order_id: &self.id,
            user_id: self.user_id.as_deref(),
            anonymous_id: self.anonymous_id.as_deref(),
            cart_id: self.cart_id.as_deref(),
            status,
            placed_at: Time(self.placed_ms),
            version,
            updated_at: Time(time_ms),
            total: total(&self.lines),
            currency: CURRENCY,
            lines: &line_records(catalogue, &self.lines),
        };
        record.event()
    }
}

/// The lines as Segment's Cart Viewed and Checkout Started have them.
pub fn line_properties<'a>(catalogue: &'a Catalogue, lines: &[Line]) -> Vec<LineProperties<'a>> {
    let written = |line: &Line| LineProperties {
        sku: &catalogue.products[line.sku].sku,
        quantity: line.quantity,
        price: line.price.number(),
    };
    lines.iter().map(written).collect()
}

fn line_records<'a>(catalogue: &'a Catalogue, lines: &[Line]) -> Vec<LineRecord<'a>> {
    let written =
        |line: &Line| LineRecord { sku: &catalogue.products[line.sku].sku, quantity: line.quantity, price: line.price };
    lines.iter().map(written).collect()
}

fn total(lines: &[Line]) -> Money {
    Money(lines.iter().map(|line| line.price.0 * i64::from(line.quantity)).sum())
}
