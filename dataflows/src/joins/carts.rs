//! Carts by id. In: `carts` records, and the lines that Product Added and Product Removed tell of. Out: each cart as its
//! owner has it, one row a cart, replaced as it changes. Last write wins; a stale record is counted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::model::{CartRecord, Diff, Fold, Id, Line, Stream, Tick, Written};
use crate::per_key::{Next, PerKey};

/// What is told of a cart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CartChange {
    /// Its whole new state.
    Record(CartRecord),
    /// One line of it.
    Fold(Fold),
}

impl CartChange {
    fn written(&self) -> Written {
        match self {
            CartChange::Record(record) => record.written,
            CartChange::Fold(fold) => fold.written,
        }
    }
}

/// A cart as it stands since its last change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cart {
    /// Which.
    pub id: Id,
    /// Its last effective change.
    pub changed: Tick,
    /// Told by a whole record, not by single messages.
    pub recorded: bool,
    /// ISO 4217 code, or [`Id::NONE`].
    pub currency: Id,
    /// Its lines, in the order they were written; none when it was emptied.
    pub lines: Arc<[CartLine]>,
}

/// A line of a cart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CartLine {
    /// What it says.
    pub line: Line,
    /// Its last change: the cart's for a whole record, its own for a folded line (ARCHITECTURE, "Carts and triggers").
    pub changed: Tick,
}

/// The rule of a cart.
pub struct Carts {
    /// Where stale records are counted.
    pub counts: Arc<Counts>,
}

/// The last write of a cart.
#[derive(Default)]
pub struct LastCart {
    written: Written,
    owner: Id,
    cart: Option<Cart>,
}

impl PerKey for Carts {
    type In = CartChange;
    type State = LastCart;
    type Out = (Id, Cart);

    fn visit(
        &mut self,
        now: Tick,
        key: Id,
        last: &mut LastCart,
        changes: &mut dyn Iterator<Item = (CartChange, Diff)>,
        emit: &mut dyn FnMut((Id, Cart), Diff),
    ) -> Next {
        let mut changes: Vec<CartChange> = changes.map(|(change, _)| change).collect();
        changes.sort_unstable_by_key(CartChange::written);
        let before = (last.owner, last.cart.clone());
        for change in changes {
            match change {
                CartChange::Record(record) => self.record(now, key, last, record),
                CartChange::Fold(fold) if !last.recorded() => last.fold(now, key, fold),
                CartChange::Fold(_) => {}
            }
        }
        if last.cart != before.1 || last.owner != before.0 {
            if let (owner, Some(cart)) = before {
                emit((owner, cart), -1);
            }
            if let Some(cart) = &last.cart {
                emit((last.owner, cart.clone()), 1);
            }
        }
        Next::Keep
    }
}

impl Carts {
    fn record(&self, now: Tick, key: Id, last: &mut LastCart, record: CartRecord) {
        if last.recorded() && record.written <= last.written {
            self.counts.stale(Stream::Carts);
            return;
        }
        let lines = record.lines.iter().map(|line| CartLine { line: *line, changed: now }).collect();
        *last = LastCart {
            written: record.written,
            owner: record.owner,
            cart: Some(Cart { id: key, changed: now, recorded: true, currency: record.currency, lines }),
        };
    }
}

impl LastCart {
    /// Whether a whole record has replaced the fold, which it does for good.
    fn recorded(&self) -> bool {
        self.cart.as_ref().is_some_and(|cart| cart.recorded)
    }

    fn fold(&mut self, now: Tick, key: Id, fold: Fold) {
        let mut lines: Vec<CartLine> = self.cart.as_ref().map_or_else(Vec::new, |cart| cart.lines.to_vec());
        if self.owner != fold.owner {
            // To its new owner the whole cart is new: their orders before concern none of it.
            lines.iter_mut().for_each(|line| line.changed = now);
        }
        let place = lines.iter().position(|line| line.line.sku == fold.sku);
        let had = place.map_or(0, |place| i64::from(lines[place].line.quantity));
        let quantity = u32::try_from((had + fold.quantity).max(0)).unwrap_or(u32::MAX);
        match place {
            Some(place) if quantity == 0 => drop(lines.remove(place)),
            Some(place) => {
                let line = &mut lines[place];
                line.changed = now;
                line.line.quantity = quantity;
                line.line.price = fold.price.or(line.line.price);
            }
            None if quantity > 0 => {
                lines.push(CartLine { line: Line { sku: fold.sku, quantity, price: fold.price }, changed: now });
            }
            None => {}
        }
        self.owner = fold.owner;
        self.cart = Some(Cart { id: key, changed: now, recorded: false, currency: fold.currency, lines: lines.into() });
    }
}
