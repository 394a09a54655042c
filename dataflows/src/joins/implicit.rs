//! Implicit carts by owner (SPEC §1: without a `cart_id`, Product Added and Product Removed fold into their owner's own). In: the
//! lines that they tell of. Out: the cart, replaced as it changes.

use serde::{Deserialize, Serialize};

use super::carts::{Cart, LastCart};
use crate::model::{Diff, Fold, Id, Tick};
use crate::per_key::{Next, PerKey};

/// What is told of an implicit cart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ImplicitChange {
    /// Its owner is told everything again. Comes as a retraction, and so first.
    Reset,
    /// A line of it, at its tick.
    Fold(Tick, Fold),
}

/// The rule of an implicit cart.
pub struct ImplicitCarts;

impl PerKey for ImplicitCarts {
    type In = ImplicitChange;
    type State = LastCart;
    type Out = (Id, Cart);

    fn visit(
        &mut self,
        _now: Tick,
        key: Id,
        last: &mut LastCart,
        changes: &mut dyn Iterator<Item = (ImplicitChange, Diff)>,
        emit: &mut dyn FnMut((Id, Cart), Diff),
    ) -> Next {
        let before = last.row();
        let mut reset = false;
        let mut folds: Vec<(Tick, Fold)> = Vec::new();
        for (change, _) in changes {
            match change {
                ImplicitChange::Reset => (*last, reset) = (LastCart::default(), true),
                ImplicitChange::Fold(at, fold) => folds.push((at, fold)),
            }
        }
        folds.sort_by_key(|(at, fold)| (*at, fold.written));
        folds.into_iter().for_each(|(at, fold)| last.fold(at, key, fold));
        let after = last.row();
        // Whoever was reset has forgotten the cart.
        if reset || before != after {
            before.into_iter().for_each(|row| emit(row, -1));
            let is_some = after.is_some();
            after.into_iter().for_each(|row| emit(row, 1));
            if !is_some {
                return Next::Forget;
            }
        }
        Next::Keep
    }
}
