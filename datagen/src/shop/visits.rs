//! What a visitor does, from the home page to the order or to the door. In: the world and a visit. Out: records into
//! the outbox, and when the visit goes on. Cannot fail.
//!
//! ```text
//! Landing → Browsing ⇄ Viewing → Deciding → AtCart → Checkout → Paying
//!                                    └─────────┴────────┴── leaves, and the cart stays behind
//! ```
//!
//! Every stage but the first is left by a roll of dice without memory, so that a shop may open with visits half done.

use rand::RngExt;

use crate::shop::carts::{Cart, Order};
use crate::shop::catalog::pick;
use crate::shop::customers::Customer;
use crate::shop::says::owner;
use crate::shop::world::{Act, World, exponential};

/// Records that a visit leads to, on average, stock and second thoughts included. Measured; a test holds it to that.
pub(super) const RECORDS_PER_VISIT: f64 = 9.6;

/// How long a visit lasts on average, in milliseconds. Measured likewise.
pub(super) const VISIT_MS: f64 = 130_000.0;

/// The mean time between two things that a visitor does, beyond [`LEAST_STEP_MS`].
const STEP_MS: f64 = 18_000.0;
const LEAST_STEP_MS: i64 = 800;

/// The share of visits by people without an account.
const STRANGERS: f64 = 0.25;

/// How soon an order is cancelled, if it is, and how soon refunded, in milliseconds.
const CANCELLED_AFTER_MS: std::ops::Range<i64> = 2 * 60_000..60 * 60_000;
const REFUNDED_AFTER_MS: std::ops::Range<i64> = 2 * 3_600_000..72 * 3_600_000;

/// Someone in the shop.
#[derive(Debug)]
pub(super) struct Visit {
    /// The customer's place, of one with an account.
    pub customer: Option<usize>,
    /// The device.
    pub anonymous_id: Box<str>,
    /// Whether the shop knows who it is.
    pub known: bool,
    /// Whether it is a visit with the app.
    pub app: bool,
    /// What the visitor sees in the cart.
    pub cart: Option<Cart>,
    stage: Stage,
}

/// Where a visitor is.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Landing,
    Browsing,
    /// On the page of the SKU in this place, come there from a list or a search (`clicked`) or otherwise.
    Viewing {
        sku: usize,
        clicked: bool,
    },
    Deciding,
    AtCart,
    Checkout,
    Paying {
        order: u64,
    },
    Gone,
}

impl World {
    /// Lets a visitor in: a customer who is not there yet, or a stranger. `half_way`: who is there already.
    pub(super) fn let_in(&mut self, half_way: bool) {
        let customer = if self.rng.random_bool(STRANGERS) { None } else { self.absent_customer() };
        let stage = if half_way { Stage::Browsing } else { Stage::Landing };
        let visit = match customer {
            Some(place) => self.customer_visit(place, stage),
            None => self.stranger_visit(stage),
        };
        let place = self.free_visits.pop().unwrap_or_else(|| {
            self.visits.push(None);
            self.visits.len() - 1
        });
        self.visits[place] = Some(visit);
        let after_ms = if half_way { exponential(&mut self.rng, STEP_MS) as i64 } else { 0 };
        self.schedule(after_ms, Act::Visit(place));
    }

    /// A customer comes in, known or not yet. The account's cart is there for one who is known.
    fn customer_visit(&mut self, place: usize, stage: Stage) -> Visit {
        let customer = &mut self.customers[place];
        customer.visiting = true;
        // The app keeps people logged in; a browser forgets.
        let known = customer.app || self.rng.random_bool(0.6);
        Visit {
            customer: Some(place),
            anonymous_id: format!("device-{}", customer.device).into(),
            known,
            app: customer.app,
            cart: customer.cart.take_if(|_| known),
            stage,
        }
    }

    fn stranger_visit(&mut self, stage: Stage) -> Visit {
        self.numbers.visitor += 1;
        Visit {
            customer: None,
            anonymous_id: format!("visitor-{}", self.numbers.visitor).into(),
            known: false,
            app: false,
            cart: None,
            stage,
        }
    }

    /// A customer who may come in; `None` if four tries find none, as in a shop that is crowded for its customers.
    fn absent_customer(&mut self) -> Option<usize> {
        let mut draw = || self.rng.random_range(0..self.customers.len());
        let tries = [draw(), draw(), draw(), draw()];
        tries.into_iter().find(|place| !self.customers[*place].visiting && !self.customers[*place].deleted)
    }

    /// The visit in this place takes its next step, and either schedules one more or ends.
    pub(super) fn go_on(&mut self, place: usize) {
        let Some(mut visit) = self.visits[place].take() else {
            return;
        };
        visit.stage = match visit.stage {
            Stage::Landing => self.land(&visit),
            Stage::Browsing => self.browse(&mut visit),
            Stage::Viewing { sku, clicked } => self.view(&mut visit, sku, clicked),
            Stage::Deciding => self.decide(&visit),
            Stage::AtCart => self.look_at_cart(&mut visit),
            Stage::Checkout => self.check_out(&mut visit),
            Stage::Paying { order } => self.pay(&mut visit, order),
            Stage::Gone => Stage::Gone,
        };
        if let Stage::Gone = visit.stage {
            if let Some(customer) = visit.customer.map(|place| &mut self.customers[place]) {
                customer.visiting = false;
                // The cart of one who never logged in stays where it is, and nobody comes back to it.
                if visit.known {
                    customer.cart = visit.cart;
                }
            }
            self.free_visits.push(place);
        } else {
            self.visits[place] = Some(visit);
            let after_ms = LEAST_STEP_MS + exponential(&mut self.rng, STEP_MS) as i64;
            self.schedule(after_ms, Act::Visit(place));
        }
    }

    fn land(&mut self, visit: &Visit) -> Stage {
        self.say_page(visit, "/", "Home");
        if visit.known && self.rng.random_bool(0.3) {
            self.say_identify(visit);
        }
        let came_back_for_the_cart = visit.cart.is_some() && self.rng.random_bool(0.25);
        if came_back_for_the_cart { Stage::AtCart } else { Stage::Browsing }
    }

    fn browse(&mut self, visit: &mut Visit) -> Stage {
        if !visit.known && visit.customer.is_some() && self.rng.random_bool(0.12) {
            self.log_in(visit);
        }
        match self.rng.random_range(0..100) {
            0..45 => {
                let sku = self.say_list(visit);
                Stage::Viewing { sku, clicked: true }
            }
            45..60 => {
                self.say_search(visit);
                let found_nothing = self.rng.random_bool(0.25);
                if found_nothing { self.leave_or(visit) } else { self.view_something(true) }
            }
            60..70 => {
                let (path, title) =
                    pick(&mut self.rng, &[("/sale", "Sale"), ("/new", "New in"), ("/magazine", "Magazine")]);
                self.say_page(visit, path, title);
                Stage::Browsing
            }
            _ => self.view_something(false),
        }
    }

    fn view_something(&mut self, clicked: bool) -> Stage {
        Stage::Viewing { sku: self.catalogue.pick(&mut self.rng), clicked }
    }

    fn leave_or(&mut self, visit: &Visit) -> Stage {
        if visit.cart.is_some() { Stage::Deciding } else { Stage::Gone }
    }

    fn view(&mut self, visit: &mut Visit, sku: usize, clicked: bool) -> Stage {
        if clicked {
            self.say_product(visit, "Product Clicked", sku, None);
        }
        self.say_product(visit, "Product Viewed", sku, None);
        match self.rng.random_range(0..100) {
            0..20 => self.add_to_cart(visit, sku),
            20..24 => self.say_product(visit, "Product Added to Wishlist", sku, None),
            24 => self.say_product(visit, "Product Removed from Wishlist", sku, None),
            _ => {}
        }
        if self.rng.random_bool(0.3) { Stage::Deciding } else { Stage::Browsing }
    }

    fn decide(&mut self, visit: &Visit) -> Stage {
        let has_lines = visit.cart.as_ref().is_some_and(|cart| !cart.lines.is_empty());
        if has_lines && self.rng.random_bool(0.5) { Stage::AtCart } else { Stage::Gone }
    }

    fn look_at_cart(&mut self, visit: &mut Visit) -> Stage {
        self.say_lines(visit, "Cart Viewed", None);
        match self.rng.random_range(0..100) {
            0..10 => self.remove_from_cart(visit, 1),
            10..13 => self.remove_from_cart(visit, usize::MAX),
            _ => {}
        }
        let has_lines = visit.cart.as_ref().is_some_and(|cart| !cart.lines.is_empty());
        if has_lines && self.rng.random_bool(0.65) { Stage::Checkout } else { Stage::Gone }
    }

    fn check_out(&mut self, visit: &mut Visit) -> Stage {
        match visit.customer {
            Some(_) if !visit.known && self.rng.random_bool(0.7) => self.log_in(visit),
            None if self.rng.random_bool(0.3) => self.register(visit),
            _ => {}
        }
        self.numbers.order += 1;
        let order = self.numbers.order;
        self.say_lines(visit, "Checkout Started", Some(&order_id(order)));
        if self.rng.random_bool(0.7) { Stage::Paying { order } } else { Stage::Gone }
    }

    /// Buys what is in stock, on one shelf: this shop sends no order in two parcels. The rest leaves the cart first.
    fn pay(&mut self, visit: &mut Visit, order: u64) -> Stage {
        let Some(cart) = &mut visit.cart else {
            return Stage::Gone;
        };
        let mut changes = Vec::new();
        let mut sold_out = Vec::new();
        for line in std::mem::take(&mut cart.lines) {
            match self.stock.take(line.sku, line.quantity) {
                Some(change) => {
                    changes.push((line.sku, change));
                    cart.lines.push(line);
                }
                None => sold_out.push(line),
            }
        }
        if !sold_out.is_empty() {
            sold_out.iter().for_each(|line| self.say_removed(visit, line));
            self.say_cart(visit);
        }
        if changes.is_empty() {
            return Stage::Browsing;
        }
        self.place_order(visit, order);
        for (sku, change) in changes {
            self.say_shelf(sku, change);
        }
        Stage::Gone
    }

    fn place_order(&mut self, visit: &mut Visit, order: u64) {
        let Some(cart) = visit.cart.take() else {
            return;
        };
        let owner = owner(&self.customers, visit);
        let order = Order {
            id: order_id(order),
            user_id: owner.user_id.map(Into::into),
            anonymous_id: owner.user_id.is_none().then(|| visit.anonymous_id.clone()),
            cart_id: cart.id,
            placed_ms: self.now_ms,
            lines: cart.lines,
        };
        self.outbox.say(order.event(&self.catalogue, "placed", 1, self.now_ms));
        match self.rng.random_range(0..100) {
            0..3 => {
                let after_ms = self.rng.random_range(CANCELLED_AFTER_MS);
                self.schedule(after_ms, Act::Settle(Box::new(order), "cancelled"));
            }
            3..6 => {
                let after_ms = self.rng.random_range(REFUNDED_AFTER_MS);
                self.schedule(after_ms, Act::Settle(Box::new(order), "refunded"));
            }
            _ => {}
        }
    }

    fn add_to_cart(&mut self, visit: &mut Visit, sku: usize) {
        let quantity = match self.rng.random_range(0..100) {
            0..85 => 1,
            85..96 => 2,
            _ => 3,
        };
        if visit.cart.is_none() {
            let id = (!visit.app).then(|| {
                self.numbers.cart += 1;
                format!("cart-{}", self.numbers.cart).into()
            });
            visit.cart = Some(Cart::new(id));
        }
        let price = self.catalogue.products[sku].price;
        if let Some(cart) = &mut visit.cart {
            cart.add(sku, quantity, price);
        }
        if visit.app {
            self.say_product(visit, "Product Added", sku, Some(quantity));
        }
        self.say_cart(visit);
    }

    /// Takes the last `lines` lines out of the cart, or all that there are.
    fn remove_from_cart(&mut self, visit: &mut Visit, lines: usize) {
        let Some(cart) = &mut visit.cart else { return };
        let kept = cart.lines.len().saturating_sub(lines);
        let removed = cart.lines.split_off(kept);
        removed.iter().for_each(|line| self.say_removed(visit, line));
        self.say_cart(visit);
    }

    /// A customer who was anonymous says who it is. The cart goes along; without one, the account's is there again.
    fn log_in(&mut self, visit: &mut Visit) {
        visit.known = true;
        self.say_identify(visit);
        match &visit.cart {
            Some(_) => self.say_cart(visit),
            None => visit.cart = visit.customer.and_then(|place| self.customers[place].cart.take()),
        }
    }

    /// A stranger opens an account.
    fn register(&mut self, visit: &mut Visit) {
        let number = self.customers.len();
        let mut customer = Customer::draw(&mut self.rng, number, self.first_version);
        customer.visiting = true;
        customer.app = false;
        self.customers.push(customer);
        visit.customer = Some(number);
        self.say_profile(number);
        self.log_in(visit);
        self.say_alias(visit, number);
    }
}

fn order_id(number: u64) -> String {
    format!("order-{number}")
}
