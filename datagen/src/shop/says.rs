//! What the shop says of a visit: messages and carts, with who it takes the visitor for. In: a visit, which says
//! nothing itself. Out: records into the outbox, as of now. Cannot fail.

use crate::shop::carts::{Line, Owner, line_properties};
use crate::shop::catalog::{Catalogue, pick};
use crate::shop::customers::Customer;
use crate::shop::messages::{message, track};
use crate::shop::visits::Visit;
use crate::shop::world::World;
use crate::wire::{CURRENCY, ListItem, Message, Properties, Traits};

impl World {
    /// Product Removed, of a cart of the app; any other is said as a whole.
    pub(super) fn say_removed(&mut self, visit: &Visit, line: &Line) {
        if visit.app {
            self.say_product(visit, "Product Removed", line.sku, Some(line.quantity));
        }
    }

    /// Says the cart as a whole, as a new version of it.
    pub(super) fn say_cart(&mut self, visit: &mut Visit) {
        let Some(mut cart) = visit.cart.take() else {
            return;
        };
        cart.version += 1;
        let full = owner(&self.customers, visit);
        let owner = Owner { anonymous_id: full.anonymous_id.filter(|_| full.user_id.is_none()), ..full };
        if let Some(event) = cart.event(&self.catalogue, owner, self.now_ms) {
            self.outbox.say(event);
        }
        if cart.version > 1 {
            self.outbox.say_stale(|| cart.stale_event(owner, self.now_ms));
        }
        visit.cart = Some(cart);
    }

    /// Identify, with what the customer's account has.
    pub(super) fn say_identify(&mut self, visit: &Visit) {
        let Some(customer) = visit.customer.map(|place| &self.customers[place]) else {
            return;
        };
        let email = customer.email();
        let traits = email.as_deref().map(|email| Traits { email, first_name: customer.first_name });
        let identify = message("identify", owner(&self.customers, visit), self.now_ms);
        self.numbers.say(Message { traits, ..identify }, &mut self.outbox);
    }

    /// Alias: the device of this visit is this customer's.
    pub(super) fn say_alias(&mut self, visit: &Visit, customer: usize) {
        let user_id = Some(&*self.customers[customer].id);
        let alias = message("alias", Owner { user_id, anonymous_id: None }, self.now_ms);
        let previous_id = Some(&*visit.anonymous_id);
        self.numbers.say(Message { previous_id, ..alias }, &mut self.outbox);
    }

    /// A page, or a screen of the app.
    pub(super) fn say_page(&mut self, visit: &Visit, path: &str, title: &str) {
        let kind = if visit.app { "screen" } else { "page" };
        let page = message(kind, owner(&self.customers, visit), self.now_ms);
        let properties = Some(Properties::Page { path, title });
        self.numbers.say(Message { properties, ..page }, &mut self.outbox);
    }

    /// A track message about one product.
    pub(super) fn say_product(&mut self, visit: &Visit, event: &'static str, sku: usize, quantity: Option<u32>) {
        let properties = Properties::Product(self.catalogue.products[sku].properties(quantity));
        let track = track(event, properties, owner(&self.customers, visit), self.now_ms);
        self.numbers.say(track, &mut self.outbox);
    }

    /// Products Searched.
    pub(super) fn say_search(&mut self, visit: &Visit) {
        let properties = Properties::Query { query: Catalogue::search(&mut self.rng) };
        let track = track("Products Searched", properties, owner(&self.customers, visit), self.now_ms);
        self.numbers.say(track, &mut self.outbox);
    }

    /// Says Product List Viewed; the answer is the product that the visitor will click.
    pub(super) fn say_list(&mut self, visit: &Visit) -> usize {
        let (list_id, category, places) = self.catalogue.list(&mut self.rng);
        let places: Vec<usize> = places.collect();
        let item = |(nth, place): (usize, &usize)| ListItem {
            sku: &self.catalogue.products[*place].sku,
            position: nth as u32 + 1,
        };
        let products: Vec<ListItem> = places.iter().enumerate().map(item).collect();
        let properties = Properties::List { list_id, category, products: &products };
        let track = track("Product List Viewed", properties, owner(&self.customers, visit), self.now_ms);
        self.numbers.say(track, &mut self.outbox);
        pick(&mut self.rng, &places)
    }

    /// Cart Viewed or Checkout Started, with all the cart's lines.
    pub(super) fn say_lines(&mut self, visit: &Visit, event: &'static str, order_id: Option<&str>) {
        let Some(cart) = &visit.cart else { return };
        let products = line_properties(&self.catalogue, &cart.lines);
        let properties = Properties::Lines {
            order_id,
            cart_id: cart.id.as_deref(),
            value: cart.total().number(),
            currency: CURRENCY,
            products: &products,
        };
        let track = track(event, properties, owner(&self.customers, visit), self.now_ms);
        self.numbers.say(track, &mut self.outbox);
    }
}

/// Who the shop takes a visitor for.
pub(super) fn owner<'a>(customers: &'a [Customer], visit: &'a Visit) -> Owner<'a> {
    let user_id = visit.customer.filter(|_| visit.known).map(|place| &*customers[place].id);
    Owner { user_id, anonymous_id: Some(&visit.anonymous_id) }
}
