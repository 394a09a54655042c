//! Open carts by customer, for whoever looks at one (SPEC §8, `/v1/customers`). In: carts and orders as their owners have them. Out: a
//! customer's carts that have something still to be bought, all of them in one row, replaced as they change. Cannot fail.
//!
//! What closes a cart is said by [`Customer::open_lines`], as for the triggers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::customers::{Customer, Deed, Reads};
use crate::model::{Diff, Id, OpenCart, Tick};
use crate::per_key::{Next, PerKey};

/// Carts, and the orders that can close one.
const READS: Reads = Reads {
    carts: true,
    orders_ms: 0,
    bought: false,
    views: 0,
    views_ms: 0,
    idle_ms: 0,
    checkouts_ms: 0,
    searches_ms: 0,
};

/// The rule of a customer's open carts.
pub struct OpenCarts;

/// What is kept of a customer.
#[derive(Default, Serialize, Deserialize)]
pub struct Held {
    customer: Customer,
    told: Arc<[OpenCart]>,
}

impl PerKey for OpenCarts {
    type In = (Tick, Deed);
    type State = Held;
    type Out = (Id, Arc<[OpenCart]>);
    type Wake = Tick;

    fn visit(
        &mut self,
        now: Tick,
        key: Id,
        held: &mut Held,
        changes: &mut dyn Iterator<Item = ((Tick, Deed), Diff)>,
        emit: &mut dyn FnMut((Id, Arc<[OpenCart]>), Diff),
    ) -> Next {
        for ((at, deed), diff) in changes {
            held.customer.apply(&READS, at, deed, diff);
        }
        let next = held.customer.forget(&READS, now);
        let open = open_carts(&held.customer);
        // Nobody has any to begin with, told or not.
        if *open != *held.told {
            emit((key, std::mem::replace(&mut held.told, open.clone())), -1);
            emit((key, open), 1);
        }
        match next {
            Tick::MAX if held.customer.is_empty() => Next::Forget,
            Tick::MAX => Next::Keep,
            tick => Next::WakeAt(tick),
        }
    }

    fn restate(&self, key: Id, held: &Held, emit: &mut dyn FnMut((Id, Arc<[OpenCart]>))) {
        if !held.told.is_empty() {
            emit((key, held.told.clone()));
        }
    }
}

/// The carts with something still to be bought, the latest changed last.
fn open_carts(customer: &Customer) -> Arc<[OpenCart]> {
    let carts = customer.carts().map(|cart| OpenCart {
        id: cart.id,
        changed: cart.changed,
        currency: cart.currency,
        lines: customer.open_lines(cart).map(|line| line.line).collect(),
    });
    let mut open: Vec<OpenCart> = carts.filter(|cart| !cart.lines.is_empty()).collect();
    open.sort_unstable_by_key(|cart| (cart.changed, cart.id));
    open.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::joins::carts::{Cart, CartLine, Head};
    use crate::joins::orders::{self, Order};
    use crate::model::{Line, OrderStatus};

    fn cart(id: u64, changed: Tick, skus: &[u64]) -> Deed {
        let line = |sku: &u64| CartLine { line: Line { sku: Id(*sku), quantity: 1, price: None }, changed };
        Deed::Cart(Cart::new(Head { id: Id(id), changed, currency: Id::NONE }, skus.iter().map(line)))
    }

    fn order(placed: Tick, cart: u64, skus: &[u64]) -> Deed {
        let lines: Vec<Line> = skus.iter().map(|sku| Line { sku: Id(*sku), quantity: 1, price: None }).collect();
        let (id, status) = (Id(99), OrderStatus::Placed);
        Deed::Order(Order::new(orders::Head { id, placed, ahead: false, cart: Id(cart), status }, None, &lines))
    }

    /// What is told when these deeds are done: each cart with its SKUs; nothing when nothing is.
    fn told(held: &mut Held, now: Tick, deeds: Vec<(Deed, Diff)>) -> Option<Vec<(u64, Vec<u64>)>> {
        let mut last = None;
        let mut deeds = deeds.into_iter().map(|(deed, diff)| ((now, deed), diff));
        OpenCarts.visit(now, Id(1), held, &mut deeds, &mut |(_, carts), diff| {
            last = if diff > 0 { Some(carts) } else { last.take() };
        });
        let carts = last?;
        Some(carts.iter().map(|cart| (cart.id.0, cart.lines.iter().map(|line| line.sku.0).collect())).collect())
    }

    #[test]
    fn a_cart_is_told_while_something_in_it_is_to_be_bought() {
        let held = &mut Held::default();
        assert_eq!(told(held, 10, vec![(cart(2, 10, &[7, 8]), 1)]), Some(vec![(2, vec![7, 8])]));
        assert_eq!(told(held, 11, vec![(cart(3, 11, &[9]), 1)]), Some(vec![(2, vec![7, 8]), (3, vec![9])]));
        // Another cart's order takes out what it is of, and closes that cart.
        assert_eq!(told(held, 12, vec![(order(12, 3, &[9, 7]), 1)]), Some(vec![(2, vec![8])]));
        // Cancelled, it never was.
        assert_eq!(told(held, 13, vec![(order(12, 3, &[9, 7]), -1)]), Some(vec![(2, vec![7, 8]), (3, vec![9])]));
        assert_eq!(told(held, 14, vec![(cart(2, 10, &[7, 8]), -1), (cart(2, 14, &[]), 1)]), Some(vec![(3, vec![9])]));
        assert_eq!(told(held, 15, vec![(Deed::Active, 1)]), None);
        assert_eq!(told(held, 16, vec![(Deed::Reset, -1)]), Some(vec![]));
    }
}
