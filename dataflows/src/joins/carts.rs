//! Carts by id. In: `carts` records, and the lines that Product Added and Product Removed tell of. Out: the last record, one row a
//! cart, replaced as it changes; before there is one, the lines. Last write wins; a stale record is counted. What does not change is
//! forgotten at the horizon, and who comes then is new.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thin_vec::ThinVec;

use super::folded_lines::FoldedLines;
use crate::counts::Counts;
use crate::horizon::Horizon;
use crate::model::{CartRecord, Diff, Fold, Id, Line, Stream, Tick, TimedLine, Written};
use crate::packed::{Packed, Rows};
use crate::per_key::{Next, PerKey};

/// What is told of a cart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CartChange {
    /// Its whole new state.
    Record(CartRecord),
    /// One line of it.
    Fold(Box<Fold>),
}

impl CartChange {
    fn written(&self) -> Written {
        match self {
            CartChange::Record(record) => record.written,
            CartChange::Fold(fold) => fold.written,
        }
    }
}

/// A cart as it stands since its last change: what is said of it as a whole, and behind it its lines, in the order they were written; none
/// when it was emptied. Cloned, it is shared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cart(Packed<Head>);

/// What is said of a cart as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Head {
    /// Which.
    pub id: Id,
    /// Its last effective change.
    pub changed: Tick,
    /// ISO 4217 code, or [`Id::NONE`].
    pub currency: Id,
}

/// A line of a cart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// When carts are forgotten.
    pub horizon: Horizon,
}

/// What is kept of a cart.
#[derive(Serialize, Deserialize)]
pub enum Known {
    /// The last record: it replaces the lines for as long as it is known.
    Record(Written, Id, Cart),
    /// The SKUs that messages told of, each with the tick of the last.
    Lines(FoldedLines),
}

impl Default for Known {
    fn default() -> Self {
        Known::Lines(FoldedLines::default())
    }
}

/// What is told of a cart, by the id that the record names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Raw {
    /// Its last record: one row a cart, replaced as it changes.
    Record(Cart),
    /// A line, while there is no record of it.
    Fold(Box<Fold>),
    /// Of this cart, all that messages told of this SKU before is forgotten.
    LineGone(Id, Id),
}

impl Cart {
    /// A cart with these lines.
    pub fn new(head: Head, lines: impl IntoIterator<Item = CartLine>) -> Cart {
        let mut rows = Rows::default();
        for CartLine { line, changed } in lines {
            rows.push(&TimedLine { line, tick: Some(changed).filter(|changed| *changed != head.changed) });
        }
        Cart(Packed::new(head, &rows))
    }

    /// Its lines.
    pub fn lines(&self) -> impl Iterator<Item = CartLine> + '_ {
        let lines = self.0.rows().all();
        lines.map(|TimedLine { line, tick }| CartLine { line, changed: tick.unwrap_or(self.changed) })
    }

    /// Whether it was emptied.
    pub fn is_empty(&self) -> bool {
        self.0.rows().is_empty()
    }

    /// The SKUs of its lines.
    pub fn skus(&self) -> impl Iterator<Item = Id> + '_ {
        self.lines().map(|line| line.line.sku)
    }
}

impl Deref for Cart {
    type Target = Head;

    fn deref(&self) -> &Head {
        self.0.head()
    }
}

/// Takes the carts that `are` out of a first one and `others`, of which one comes to be the first where that goes.
pub(in crate::joins) fn take_out(
    first: &mut Option<Cart>,
    others: Option<&mut ThinVec<Cart>>,
    are: impl Fn(&Cart) -> bool,
) {
    if first.as_ref().is_some_and(&are) {
        *first = others.and_then(ThinVec::pop);
    } else if let Some(others) = others {
        others.retain(|cart| !are(cart));
    }
}

/// A cart folded from single lines, as its owner has it.
#[derive(Default, Serialize, Deserialize)]
pub struct LastCart {
    owner: Id,
    cart: Option<Cart>,
}

impl PerKey for Carts {
    type In = CartChange;
    type State = Known;
    type Out = (Id, Raw);
    type Wake = Tick;

    const WAKES_AT_FEW_TICKS: bool = true;

    fn visit(
        &mut self,
        now: Tick,
        key: Id,
        known: &mut Known,
        changes: &mut dyn Iterator<Item = (CartChange, Diff)>,
        emit: &mut dyn FnMut((Id, Raw), Diff),
    ) -> Next {
        self.forget(now, key, known, emit);
        let mut changes: Vec<CartChange> = changes.map(|(change, _)| change).collect();
        changes.sort_unstable_by_key(CartChange::written);
        let before = known.row();
        let mut folds = Vec::new();
        for change in changes {
            match change {
                CartChange::Record(record) if known.has(record.written) => self.counts.stale(Stream::Carts),
                CartChange::Record(record) => {
                    let lines = record.lines.iter().map(|line| CartLine { line: *line, changed: now });
                    let cart = Cart::new(Head { id: key, changed: now, currency: record.currency }, lines);
                    *known = Known::Record(record.written, record.owner, cart);
                }
                CartChange::Fold(fold) => folds.push(fold),
            }
        }
        match known {
            Known::Lines(lines) => {
                for fold in folds {
                    lines.touch(fold.sku, now);
                    emit((fold.owner, Raw::Fold(fold)), 1);
                }
            }
            Known::Record(..) => {
                let after = known.row();
                if before != after {
                    before.into_iter().for_each(|(owner, cart)| emit((owner, Raw::Record(cart)), -1));
                    after.into_iter().for_each(|(owner, cart)| emit((owner, Raw::Record(cart)), 1));
                }
            }
        }
        match known {
            Known::Record(_, _, cart) => Next::wake_at(self.gone_at(cart)),
            Known::Lines(lines) => lines.next(&self.horizon),
        }
    }
}

impl Carts {
    /// Forgets what has not changed for long.
    fn forget(&self, now: Tick, key: Id, known: &mut Known, emit: &mut dyn FnMut((Id, Raw), Diff)) {
        match known {
            Known::Record(_, owner, cart) if now >= self.gone_at(cart) => {
                emit((*owner, Raw::Record(cart.clone())), -1);
                *known = Known::default();
            }
            Known::Record(..) => {}
            Known::Lines(lines) => {
                lines.forget(now, &self.horizon, |sku| emit((key, Raw::LineGone(key, sku)), 1));
            }
        }
    }

    fn gone_at(&self, cart: &Cart) -> Tick {
        match cart.is_empty() {
            true => self.horizon.emptied_cart(cart.changed),
            false => self.horizon.cart(cart.changed),
        }
    }
}

impl Known {
    /// Whether there is a record already that is no lesser write.
    fn has(&self, written: Written) -> bool {
        matches!(self, Known::Record(last, _, _) if written <= *last)
    }

    fn row(&self) -> Option<(Id, Cart)> {
        match self {
            Known::Record(_, owner, cart) => Some((*owner, cart.clone())),
            Known::Lines(_) => None,
        }
    }
}

impl LastCart {
    /// The cart with its owner, if there is any.
    pub fn row(&self) -> Option<(Id, Cart)> {
        self.cart.as_ref().map(|cart| (self.owner, cart.clone()))
    }

    /// Takes up a line, told at `now`.
    pub fn fold(&mut self, now: Tick, key: Id, fold: Fold) {
        let mut lines: Vec<CartLine> = self.cart.iter().flat_map(Cart::lines).collect();
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
        self.cart = Some(Cart::new(Head { id: key, changed: now, currency: fold.currency }, lines));
    }
}
