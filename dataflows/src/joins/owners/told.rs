//! What is told, of whoever a record names, and how it is passed on to an owner. In: a deed, cart, order, refusal or choice. Out: rows for the
//! rules downstream. Cannot fail.

use std::sync::Arc;

use super::Remember;
use crate::joins::carts::Cart;
use crate::joins::contacts::ContactChange;
use crate::joins::customers::Deed;
use crate::joins::implicit::ImplicitChange;
use crate::joins::interests::Interest;
use crate::joins::orders::Order;
use crate::joins::skus::SkuEvent;
use crate::model::{Choice, Diff, Fold, History, Id, Position, Tick};
use crate::pieces::Pieces;

/// What is told of whoever a record names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    /// Linked to a user, or made an alias of one. These are on every worker.
    Link(Link),
    /// A message.
    Clicked(Clicked),
    /// A cart's whole record.
    Cart(Cart),
    /// A line of a cart with an id of its own.
    Fold(Box<Fold>),
    /// Of this cart, all that was told before of this SKU is forgotten.
    LineGone(Id, Id),
    /// A line of the implicit cart.
    Implicit(Box<Fold>),
    /// All that was told before of this SKU in the implicit cart is forgotten.
    ImplicitGone(Id),
    /// An order.
    Order(Order),
    /// An order that is forgotten.
    OrderGone(Order),
    /// What is left of it.
    Past(Tick, Box<History>),
    /// Consent withheld.
    Refused,
    /// A choice of campaigns.
    Chosen(Arc<Choice>),
    /// All that is theirs is forgotten. On every worker, like links.
    Erased,
}

/// Links of one tick count in the order of their times, then places.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Link {
    pub(super) at_ms: u64,
    pub(super) position: Position,
    pub(super) user: Id,
    pub(super) is_alias: bool,
}

/// A message, as far as it matters to its owner.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Clicked {
    pub(super) deed: Deed,
    pub(super) interest: Id,
}

/// Rows on their way to one output.
pub(super) type Out<D> = Pieces<Row<D>, ROWS>;

/// A row.
pub(super) type Row<D> = (D, Tick, Diff);

/// How many lie in a piece of them.
const ROWS: usize = 1 << 10;

/// What is told at a tick.
#[derive(Default)]
pub(super) struct Emit {
    pub(super) now: Tick,
    pub(super) deeds: Out<(Id, (Tick, Deed))>,
    pub(super) implicit: Out<(Id, ImplicitChange)>,
    pub(super) skus: Out<(Id, SkuEvent)>,
    pub(super) interests: Out<(Id, Interest)>,
    pub(super) refusals: Out<(Id, ContactChange)>,
    pub(super) aliases: Out<(Id, Id)>,
}

impl Emit {
    pub(super) fn deed(&mut self, owner: Id, at: Tick, deed: Deed, diff: Diff) {
        self.deeds.push(((owner, (at, deed)), self.now, diff));
    }

    pub(super) fn implicit(&mut self, owner: Id, change: ImplicitChange, diff: Diff) {
        self.implicit.push(((owner, change), self.now, diff));
    }

    pub(super) fn sku(&mut self, sku: Id, event: SkuEvent, diff: Diff) {
        self.skus.push(((sku, event), self.now, diff));
    }

    /// Tells of an interest whoever asks: the SKU, the customer.
    pub(super) fn interest(&mut self, owner: Id, at: Tick, sku: Id, remember: &Remember) {
        if remember.interest_ms.is_some() {
            self.sku(sku, SkuEvent::Interest(owner, at), 1);
        }
        if remember.similar_ms.is_some() {
            self.interests.push(((owner, Interest::In(sku, at)), self.now, 1));
        }
    }

    pub(super) fn refusal(&mut self, owner: Id, change: ContactChange, diff: Diff) {
        self.refusals.push(((owner, change), self.now, diff));
    }
}

impl Told {
    /// The time that says whose it is, and whether that was still to come when it was told.
    pub(super) fn time(&self, now: Tick) -> (Tick, bool) {
        match self {
            Told::Order(order) | Told::OrderGone(order) => (order.placed, order.ahead),
            Told::Cart(cart) => (cart.changed, false),
            _ => (now, false),
        }
    }

    /// Tells `owner` at `now`, when it happens.
    pub(super) fn tell(&self, owner: Id, now: Tick, diff: Diff, remember: &Remember, emit: &mut Emit) {
        let skus = remember.interest_ms.is_some();
        match self {
            Told::Clicked(Clicked { deed, interest }) => {
                emit.deed(owner, now, deed.clone(), 1);
                if !interest.is_none() {
                    emit.interest(owner, now, *interest, remember);
                }
            }
            Told::Implicit(fold) => tell_of_line(owner, now, fold, 1, emit),
            Told::Cart(cart) => {
                emit.deed(owner, now, Deed::Cart(cart.clone()), diff);
                if diff > 0 {
                    cart.skus().for_each(|sku| emit.interest(owner, now, sku, remember));
                }
            }
            Told::Order(order) => {
                emit.deed(owner, now, Deed::Order(order.clone()), diff);
                if skus {
                    tell_of_order(owner, order, diff, emit);
                }
            }
            Told::Past(_, past) => emit.deed(owner, 0, Deed::Past(past.clone()), 1),
            Told::Refused => emit.refusal(owner, ContactChange::ConsentWithheld(now), 1),
            Told::Chosen(choice) => emit.refusal(owner, ContactChange::Chosen(choice.clone()), 1),
            _ => {}
        }
    }
}

pub(super) fn tell_of_line(owner: Id, at: Tick, fold: &Fold, diff: Diff, emit: &mut Emit) {
    let fold = Fold { owner, cart: owner, ..fold.clone() };
    emit.implicit(owner, ImplicitChange::Fold(at, Box::new(fold)), diff);
}

pub(super) fn tell_of_order(owner: Id, order: &Order, diff: Diff, emit: &mut Emit) {
    let mut skus: Vec<Id> = order.lines().map(|line| line.sku).filter(|_| order.stands()).collect();
    skus.sort_unstable();
    skus.dedup();
    skus.into_iter().for_each(|sku| emit.sku(sku, SkuEvent::Ordered(owner, order.id, order.placed), diff));
}
