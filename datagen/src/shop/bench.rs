//! The mix for benchmarks: of every 20 records 14 are Product Viewed, 3 `carts`, 2 `inventory` and 1 `orders`, evenly
//! spaced in time, by customers drawn at random. In: a configuration. Out: records into the outbox. Cannot fail.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::shop::ShopConfig;
use crate::shop::carts::{Cart, Order, Owner};
use crate::shop::catalog::Catalogue;
use crate::shop::messages::{Numbers, track};
use crate::shop::opening::Opening;
use crate::shop::outbox::Outbox;
use crate::shop::stock::Stock;
use crate::wire::Properties;

/// Carts grow up to this many lines, and then lose their oldest.
const LINES_MOST: usize = 4;

/// What a record is.
#[derive(Clone, Copy)]
enum Kind {
    View,
    Cart,
    Inventory,
    Order,
}

/// The 20 kinds that come round and round.
const ROUND: [Kind; 20] = {
    use Kind::{Cart as C, Inventory as I, Order as O, View as V};
    [V, V, C, V, V, V, I, V, V, C, V, V, O, V, V, C, V, V, I, V]
};

/// See the module.
#[derive(Debug)]
pub struct Bench {
    rng: ChaCha8Rng,
    start_ms: i64,
    gap_ms: f64,
    /// Records said so far.
    said: u64,
    catalogue: Catalogue,
    stock: Stock,
    user_ids: Vec<Box<str>>,
    carts: Vec<Option<Cart>>,
    numbers: Numbers,
    pub(super) outbox: Outbox,
}

impl Bench {
    /// Draws customers, products and stock, and says the preamble if asked.
    pub fn open(config: ShopConfig) -> Bench {
        let Opening { rng, outbox, catalogue, stock, customers } = Opening::draw(&config);
        Bench {
            rng,
            start_ms: config.start_ms,
            gap_ms: 1_000.0 / config.records_per_second.max(1e-6),
            said: 0,
            catalogue,
            stock,
            carts: customers.iter().map(|_| None).collect(),
            user_ids: customers.into_iter().map(|customer| customer.id).collect(),
            numbers: Numbers::new(config.seed, config.numbered_from),
            outbox,
        }
    }

    /// When the next record is said, in epoch milliseconds.
    pub fn next_ms(&self) -> i64 {
        self.start_ms + (self.said as f64 * self.gap_ms) as i64
    }

    /// Says the next record.
    pub fn step(&mut self) {
        let now_ms = self.next_ms();
        let kind = ROUND[(self.said % ROUND.len() as u64) as usize];
        self.said += 1;
        match kind {
            Kind::View => self.view(now_ms),
            Kind::Cart => self.change_cart(now_ms),
            Kind::Inventory => self.count_stock(now_ms),
            Kind::Order => self.order(now_ms),
        }
    }

    fn view(&mut self, now_ms: i64) {
        let customer = self.rng.random_range(0..self.user_ids.len());
        let sku = self.catalogue.pick(&mut self.rng);
        let of = Owner { user_id: Some(&self.user_ids[customer]), anonymous_id: None };
        let properties = Properties::Product(self.catalogue.products[sku].properties(None));
        self.numbers.say(track("Product Viewed", properties, of, now_ms), &mut self.outbox);
    }

    fn change_cart(&mut self, now_ms: i64) {
        let customer = self.rng.random_range(0..self.user_ids.len());
        let sku = self.catalogue.pick(&mut self.rng);
        let price = self.catalogue.products[sku].price;
        let cart = self.carts[customer].get_or_insert_with(|| {
            self.numbers.cart += 1;
            Cart::new(Some(format!("cart-{}", self.numbers.cart).into()))
        });
        cart.add(sku, 1, price);
        if cart.lines.len() > LINES_MOST {
            cart.lines.remove(0);
        }
        cart.version += 1;
        let of = Owner { user_id: Some(&self.user_ids[customer]), anonymous_id: None };
        if let Some(event) = cart.event(&self.catalogue, of, now_ms) {
            self.outbox.say(event);
        }
        if cart.version > 1 {
            self.outbox.say_stale(|| cart.stale_event(of, now_ms));
        }
    }

    fn count_stock(&mut self, now_ms: i64) {
        let sku = self.catalogue.pick(&mut self.rng);
        // One count in five finds none, so that SKUs come back in stock often.
        let on_hand = if self.rng.random_bool(0.2) { 0 } else { self.rng.random_range(1..=50) };
        let change = self.stock.count(&mut self.rng, sku, on_hand);
        let name = &self.catalogue.products[sku].sku;
        self.outbox.say(change.event(name, now_ms));
        self.outbox.say_stale(|| Some(change.stale().event(name, now_ms)));
    }

    /// A customer drawn at random buys the cart, or one SKU where there is no cart.
    fn order(&mut self, now_ms: i64) {
        let customer = self.rng.random_range(0..self.user_ids.len());
        let cart = self.carts[customer].take().unwrap_or_else(|| {
            let sku = self.catalogue.pick(&mut self.rng);
            let mut cart = Cart::new(None);
            cart.add(sku, 1, self.catalogue.products[sku].price);
            cart
        });
        self.numbers.order += 1;
        let order = Order {
            id: format!("order-{}", self.numbers.order),
            user_id: Some(self.user_ids[customer].clone()),
            anonymous_id: None,
            cart_id: cart.id,
            placed_ms: now_ms,
            lines: cart.lines,
        };
        self.outbox.say(order.event(&self.catalogue, "placed", 1, now_ms));
    }
}
