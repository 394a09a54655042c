//! Implicit carts by owner (SPEC §1: without a `cart_id`, Product Added and Product Removed fold into their owner's own). In: the
//! lines that they tell of, by whom each names. Out: those lines, and at the horizon that they are forgotten; and from them, by
//! owner, the cart, replaced as it changes.

use serde::{Deserialize, Serialize};

use super::carts::{Cart, LastCart};
use super::folded_lines::FoldedLines;
use crate::horizon::Horizon;
use crate::model::{Diff, Fold, Id, Tick};
use crate::per_key::{Never, Next, PerKey};

/// What a user or visitor tells of their implicit cart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Raw {
    /// A line of it.
    Fold(Box<Fold>),
    /// All that they told of this SKU before is forgotten.
    LineGone(Id),
}

/// The rule of what one user or visitor tells.
pub struct ImplicitLines {
    /// When lines are forgotten.
    pub horizon: Horizon,
}

impl PerKey for ImplicitLines {
    type In = Box<Fold>;
    /// The SKUs they told of, each with the tick of the last message.
    type State = FoldedLines;
    type Out = (Id, Raw);
    type Wake = Tick;

    const WAKES_AT_FEW_TICKS: bool = true;

    fn visit(
        &mut self,
        now: Tick,
        key: Id,
        lines: &mut FoldedLines,
        folds: &mut dyn Iterator<Item = (Box<Fold>, Diff)>,
        emit: &mut dyn FnMut((Id, Raw), Diff),
    ) -> Next {
        lines.forget(now, &self.horizon, |sku| emit((key, Raw::LineGone(sku)), 1));
        for (fold, _) in folds {
            lines.touch(fold.sku, now);
            emit((key, Raw::Fold(fold)), 1);
        }
        lines.next(&self.horizon)
    }
}

/// What is told of an implicit cart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ImplicitChange {
    /// Its owner is told everything again. Comes as a retraction, and so first.
    Reset,
    /// A line of it, at its tick; retracted when it is forgotten.
    Fold(Tick, Box<Fold>),
}

/// The rule of an implicit cart.
pub struct ImplicitCarts;

/// What is kept of an implicit cart: all that it was folded from, so that it can be folded without what was forgotten.
#[derive(Default, Serialize, Deserialize)]
pub struct Implicit {
    /// In their order.
    folds: Vec<(Tick, Fold)>,
    cart: LastCart,
}

impl PerKey for ImplicitCarts {
    type In = ImplicitChange;
    type State = Implicit;
    type Out = (Id, Cart);
    type Wake = Never;

    fn visit(
        &mut self,
        _now: Tick,
        key: Id,
        implicit: &mut Implicit,
        changes: &mut dyn Iterator<Item = (ImplicitChange, Diff)>,
        emit: &mut dyn FnMut((Id, Cart), Diff),
    ) -> Next {
        let before = implicit.cart.row();
        let mut reset = false;
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        for (change, diff) in changes {
            match change {
                ImplicitChange::Reset => (*implicit, reset) = (Implicit::default(), true),
                ImplicitChange::Fold(at, fold) if diff > 0 => new.push((at, *fold)),
                ImplicitChange::Fold(at, fold) => gone.push((at, *fold)),
            }
        }
        if !gone.is_empty() {
            implicit.without(key, &gone);
        }
        implicit.add(key, new);
        let after = implicit.cart.row();
        // Whoever was reset has forgotten the cart.
        if reset || before != after {
            before.into_iter().for_each(|row| emit(row, -1));
            after.into_iter().for_each(|row| emit(row, 1));
        }
        if implicit.folds.is_empty() { Next::Forget } else { Next::Keep }
    }
}

impl Implicit {
    /// Takes up lines. Those that come after all others, as most do, cost no more than themselves.
    fn add(&mut self, key: Id, mut new: Vec<(Tick, Fold)>) {
        new.sort_by_key(order);
        if self.folds.last().zip(new.first()).is_some_and(|(last, first)| order(first) < order(last)) {
            self.folds.append(&mut new);
            self.folds.sort_by_key(order);
            new = std::mem::take(self).folds;
        }
        for (at, fold) in new {
            self.folds.push((at, fold.clone()));
            self.cart.fold(at, key, fold);
        }
    }

    /// Folds anew without those that are `gone`.
    fn without(&mut self, key: Id, gone: &[(Tick, Fold)]) {
        let mut folds = std::mem::take(self).folds;
        folds.retain(|fold| !gone.contains(fold));
        self.add(key, folds);
    }
}

/// Lines fold in the order of their ticks; in one, like the writes of a key.
fn order((at, fold): &(Tick, Fold)) -> (Tick, crate::model::Written) {
    (*at, fold.written)
}
