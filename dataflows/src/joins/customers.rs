//! Customers: activity, carts and orders of each, joined on the one key that they share, and the triggers that are a condition
//! over these alone. In: what a customer does. Out: the openings of those triggers, retracted when they no longer hold.

use serde::{Deserialize, Serialize};

use super::carts::{Cart, CartLine};
use super::orders::Order;
use crate::model::{Diff, Id, Opening, Tick};
use crate::per_key::{Next, PerKey};

/// What a customer does. A cart and an order are rows that are replaced; being active only ever happens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Deed {
    /// Any clickstream message.
    Active,
    /// A cart as it stands. Each new one is an activity.
    Cart(Cart),
    /// An order as it stands. Each new one is an activity.
    Order(Order),
}

/// A trigger that is a condition over one customer's own deeds.
pub trait CustomerTrigger: 'static {
    /// Whether a customer without carts can be due, so that their activity must be remembered.
    fn needs_all_activity(&self) -> bool {
        false
    }

    /// Adds the episodes of `customer` whose condition holds at `now`, and returns the next tick at which that can change
    /// without any further deed.
    fn openings(&self, customer: Id, state: &Customer, now: Tick, found: &mut Vec<Opening>) -> Option<Tick>;
}

/// What is kept of a customer.
#[derive(Default)]
pub struct Customer {
    /// a(c, T) of SPEC §3: the latest activity.
    pub active: Tick,
    /// Carts as they stand, closed ones too; an emptied one is left out.
    pub carts: Vec<Cart>,
    /// Orders that can close a cart, or leave out a line of one. Old ones too: a cart can come from another owner with lines
    /// that last changed before them.
    orders: Vec<Order>,
    /// What was emitted and not yet retracted.
    open: Vec<Opening>,
}

impl Customer {
    /// The lines of `cart` that are still to be bought: none when an order closed it (SPEC §3, "Closed cart"; ARCHITECTURE,
    /// "Carts and triggers").
    pub fn open_lines<'c>(&'c self, cart: &'c Cart) -> impl Iterator<Item = &'c CartLine> {
        cart.lines.iter().filter(move |line| {
            !self
                .orders
                .iter()
                .filter(|order| order.placed >= line.changed)
                .any(|order| order.cart == cart.id || order.cart.is_none() || order.skus.contains(&line.line.sku))
        })
    }

    fn apply(&mut self, now: Tick, deed: Deed, diff: Diff) {
        if diff > 0 {
            self.active = now;
        }
        match deed {
            Deed::Active => {}
            Deed::Cart(cart) if diff > 0 && !cart.lines.is_empty() => self.carts.push(cart),
            Deed::Cart(cart) => self.carts.retain(|other| other.id != cart.id),
            Deed::Order(order) if diff > 0 && order.stands() => self.orders.push(order),
            Deed::Order(order) => self.orders.retain(|other| other.id != order.id),
        }
    }
}

/// The rule of a customer: all triggers over them, one a campaign.
pub struct Customers {
    /// The triggers.
    pub triggers: Vec<Box<dyn CustomerTrigger>>,
}

impl PerKey for Customers {
    type In = Deed;
    type State = Customer;
    type Out = Opening;

    fn visit(
        &mut self,
        now: Tick,
        key: Id,
        customer: &mut Customer,
        deeds: &mut dyn Iterator<Item = (Deed, Diff)>,
        emit: &mut dyn FnMut(Opening, Diff),
    ) -> Next {
        deeds.for_each(|(deed, diff)| customer.apply(now, deed, diff));
        let mut found = Vec::new();
        let wake = self.triggers.iter().filter_map(|trigger| trigger.openings(key, customer, now, &mut found)).min();
        for gone in customer.open.iter().filter(|opening| !found.contains(opening)) {
            emit(gone.clone(), -1);
        }
        for opening in found.iter().filter(|opening| !customer.open.contains(opening)) {
            emit(opening.clone(), 1);
        }
        customer.open = found;
        match wake {
            Some(tick) => Next::WakeAt(tick),
            None if self.forgets(customer) => Next::Forget,
            None => Next::Keep,
        }
    }
}

impl Customers {
    fn forgets(&self, customer: &Customer) -> bool {
        customer.carts.is_empty()
            && customer.orders.is_empty()
            && customer.open.is_empty()
            && !self.triggers.iter().any(|trigger| trigger.needs_all_activity())
    }
}
