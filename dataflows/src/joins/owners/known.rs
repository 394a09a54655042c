//! What was told of one whom records name, as far as it is remembered: to be told again when a link moves it. Cannot fail.

use std::sync::Arc;

use hashbrown::HashSet;
use serde::{Deserialize, Serialize};
use thin_vec::ThinVec;

use super::Remember;
use super::told::{Clicked, Emit, Told, tell_of_line, tell_of_order};
use crate::joins::carts::{Cart, LastCart, take_out};
use crate::joins::contacts::ContactChange;
use crate::joins::customers::Deed;
use crate::joins::identities::Identities;
use crate::joins::orders::Order;
use crate::model::{Choice, Diff, Fold, History, Id, Tick};

/// What was told of one whom records name, as far as it is remembered. There is one for each customer: what most have lies here, and what
/// few have elsewhere.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Known {
    /// The tick of the last activity, as far as all of them stay together for good; 0 for none.
    last: Tick,
    cart: Option<Cart>,
    rest: Option<Box<Rest>>,
}

/// What not everybody has.
#[derive(Default, Serialize, Deserialize)]
struct Rest {
    /// Other activities: the time that says whose one is, and its tick. Of those that stay together for good, the last.
    active: ThinVec<(Tick, Tick)>,
    /// Views, searches and checkouts.
    trail: ThinVec<(Tick, Deed)>,
    wanted: ThinVec<(Tick, Id)>,
    /// How many of these two there were when the old ones were last forgotten.
    swept: usize,
    /// Carts beside the first.
    carts: ThinVec<Cart>,
    orders: ThinVec<Order>,
    rare: Option<Box<Rare>>,
}

/// What is remembered of few.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Rare {
    /// Lines of the implicit cart.
    pub(super) folds: Vec<(Tick, Fold)>,
    /// The folded carts that they had a hand in.
    pub(super) folded: HashSet<Id>,
    /// What is left of forgotten orders, with the time that says whose it is.
    past: Vec<(Tick, History)>,
    refused: Option<Tick>,
    /// The last of their choices, and its tick.
    chosen: Option<(Arc<Choice>, Tick)>,
}

/// A cart told by single messages, and all of those.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct FoldedCart {
    pub(super) cart: LastCart,
    pub(super) folds: Vec<(Tick, Fold)>,
}

impl FoldedCart {
    pub(super) fn fold(&mut self, now: Tick, mut fold: Fold, owner: Id) {
        let cart = fold.cart;
        self.folds.push((now, fold.clone()));
        fold.owner = owner;
        self.cart.fold(now, cart, fold);
    }

    /// Folds all anew, by the owners of now.
    pub(super) fn refold(&mut self, identities: &Identities) {
        self.cart = LastCart::default();
        for (at, fold) in std::mem::take(&mut self.folds) {
            let owner = identities.owner(fold.owner, at, false);
            self.fold(at, fold, owner);
        }
    }

    /// Drops the messages that `are`, and folds the others anew.
    pub(super) fn drop(&mut self, identities: &Identities, are: impl Fn(&(Tick, Fold)) -> bool) {
        self.folds.retain(|fold| !are(fold));
        self.refold(identities);
    }
}

impl Known {
    /// Remembers what was told at `at`. `link` says which link, if any, makes whose it is of what was done at a time.
    pub(super) fn add(&mut self, told: Told, at: Tick, diff: Diff, remember: &Remember, link: impl Fn(Tick) -> usize) {
        match told {
            Told::Clicked(Clicked { deed, interest }) => {
                self.activity((at, at), link);
                if remember.trail_ms > 0 && deed != Deed::Active {
                    self.rest_mut().trail.push((at, deed));
                }
                if remember.wanted_ms().is_some() && !interest.is_none() {
                    self.rest_mut().wanted.push((at, interest));
                }
            }
            Told::Implicit(fold) => self.rare_mut().folds.push((at, *fold)),
            Told::Cart(cart) if diff > 0 => {
                self.activity((at, at), link);
                if remember.wanted_ms().is_some() {
                    self.rest_mut().wanted.extend(cart.skus().map(|sku| (at, sku)));
                }
                self.add_cart(cart);
            }
            Told::Cart(cart) => self.remove_cart(&cart),
            Told::Order(order) if diff > 0 => {
                self.activity((order.placed, at), link);
                self.rest_mut().orders.push(order);
            }
            Told::Order(order) => {
                let orders = self.rest.as_mut().map(|rest| &mut rest.orders);
                if let Some(orders) = orders
                    && let Some(place) = orders.iter().position(|other| *other == order)
                {
                    orders.remove(place);
                }
            }
            Told::Past(time, past) => self.rare_mut().past((time, *past), link),
            Told::Refused => drop(self.rare_mut().refused.get_or_insert(at)),
            Told::Chosen(choice) => self.rare_mut().chose((choice, at)),
            _ => {}
        }
    }

    fn add_cart(&mut self, cart: Cart) {
        match self.cart {
            None => self.cart = Some(cart),
            Some(_) => self.rest_mut().carts.push(cart),
        }
    }

    fn remove_cart(&mut self, cart: &Cart) {
        let others = self.rest.as_mut().map(|rest| &mut rest.carts);
        take_out(&mut self.cart, others, |other| other == cart);
    }

    fn carts(&self) -> impl Iterator<Item = &Cart> {
        self.cart.iter().chain(self.rest.iter().flat_map(|rest| &rest.carts))
    }

    fn take_carts(&mut self) -> impl Iterator<Item = Cart> + use<> {
        let others = self.rest.as_mut().map(|rest| std::mem::take(&mut rest.carts));
        self.cart.take().into_iter().chain(others.into_iter().flatten())
    }

    fn rest_mut(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    /// What few have of it, if this is one of them.
    pub(super) fn rare(&self) -> Option<&Rare> {
        self.rest.as_ref()?.rare.as_deref()
    }

    pub(super) fn rare_mut(&mut self) -> &mut Rare {
        self.rest_mut().rare.get_or_insert_default()
    }

    /// Only the last activity counts, of those that always have one owner: links to come are later than any of them, but for
    /// that of an order dated ahead.
    fn activity(&mut self, (time, at): (Tick, Tick), link: impl Fn(Tick) -> usize) {
        if time == at && (self.last == 0 || link(self.last) == link(time)) {
            self.last = self.last.max(at);
            return;
        }
        let others = &mut self.rest_mut().active;
        let known = others.iter_mut().find(|known| known.0 <= known.1 && time <= at && link(known.0) == link(time));
        match known {
            Some(known) => *known = (time.max(known.0), at.max(known.1)),
            None => others.push((time, at)),
        }
    }

    /// Forgets, when it is worth it, what is too old to matter.
    pub(super) fn sweep(&mut self, now: Tick, remember: &Remember) {
        const FEW: usize = 32;
        if let Some(rest) = &self.rest
            && rest.trail.len() + rest.wanted.len() > FEW.max(2 * rest.swept)
        {
            self.forget(now, remember);
        }
    }

    /// Forgets what no trigger can reach any more, and activities when that is all there could be.
    pub(super) fn forget(&mut self, now: Tick, remember: &Remember) {
        if now >= remember.horizon.activity(self.last) {
            self.last = 0;
        }
        let Some(rest) = &mut self.rest else { return };
        rest.trail.retain(|(at, _)| now < at.saturating_add(remember.trail_ms));
        rest.wanted.retain(|(at, _)| now < at.saturating_add(remember.wanted_ms().unwrap_or(0)));
        rest.swept = rest.trail.len() + rest.wanted.len();
        rest.active.retain(|(time, at)| now < remember.horizon.activity(*time.max(at)));
        if rest.is_empty() {
            self.rest = None;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last == 0 && self.cart.is_none() && self.rest.as_ref().is_none_or(|rest| rest.is_empty())
    }

    /// What of this is to be remembered by the worker who `owns` certain ids: carts and orders are told there, and retracted; the rest
    /// lies with whom it names, of whom that is remembered if `is_own`.
    pub(super) fn of_worker(mut self, is_own: bool, owns: impl Fn(u64) -> bool) -> Known {
        let mut known = Known { last: if is_own { self.last } else { 0 }, ..Known::default() };
        self.take_carts().filter(|cart| owns(cart.id.0)).for_each(|cart| known.add_cart(cart));
        if let Some(rest) = self.rest {
            known.rest_mut().join(rest.of_worker(is_own, owns));
        }
        known
    }

    /// Remembers as well what another worker did.
    pub(super) fn join(&mut self, mut other: Known) {
        other.take_carts().for_each(|cart| self.add_cart(cart));
        match (self.last, other.last) {
            (0, last) | (last, 0) => self.last = last,
            (_, last) => self.rest_mut().active.push((last, last)),
        }
        if let Some(rest) = other.rest {
            self.rest_mut().join(*rest);
        }
    }

    /// Forgets what `is_theirs`, and returns the carts and orders that were.
    pub(super) fn erase(&mut self, is_theirs: impl Fn(Tick, bool) -> bool) -> Vec<Id> {
        let (theirs, others): (Vec<Cart>, Vec<Cart>) =
            self.take_carts().partition(|cart| is_theirs(cart.changed, false));
        others.into_iter().for_each(|cart| self.add_cart(cart));
        let mut gone: Vec<Id> = theirs.iter().map(|cart| cart.id).collect();
        if is_theirs(self.last, false) {
            self.last = 0;
        }
        if let Some(rest) = &mut self.rest {
            rest.erase(is_theirs, &mut gone);
        }
        gone
    }

    /// The SKUs that were wanted or ordered.
    pub(super) fn skus(&self) -> impl Iterator<Item = Id> + '_ {
        self.rest.iter().flat_map(|rest| rest.skus())
    }

    /// Tells everything again to whom it belongs, where `owner` says to whom by its time.
    pub(super) fn tell(&self, owner: impl Fn(Tick, bool) -> Option<Id>, remember: &Remember, emit: &mut Emit) {
        let last = Some((self.last, self.last)).filter(|(last, _)| *last > 0);
        let others = self.rest.iter().flat_map(|rest| rest.active.iter().copied());
        for (time, at) in last.into_iter().chain(others) {
            owner(time, time > at).into_iter().for_each(|owner| emit.deed(owner, at, Deed::Active, 1));
        }
        for cart in self.carts() {
            let owner = owner(cart.changed, false);
            owner.into_iter().for_each(|owner| emit.deed(owner, 0, Deed::Cart(cart.clone()), 1));
        }
        self.rest.iter().for_each(|rest| rest.tell(&owner, remember, emit));
    }
}

impl Rest {
    fn is_empty(&self) -> bool {
        self.active.is_empty()
            && self.trail.is_empty()
            && self.wanted.is_empty()
            && self.carts.is_empty()
            && self.orders.is_empty()
            && self.rare.as_deref().is_none_or(Rare::is_empty)
    }

    /// But for carts.
    fn of_worker(mut self, is_own: bool, owns: impl Fn(u64) -> bool) -> Rest {
        self.orders.retain(|order| owns(order.id.0));
        if let Some(rare) = &mut self.rare {
            rare.folded.retain(|cart| owns(cart.0));
        }
        if is_own {
            return self;
        }
        let folded = self.rare.map(|rare| rare.folded).filter(|folded| !folded.is_empty());
        let rare = folded.map(|folded| Box::new(Rare { folded, ..Rare::default() }));
        Rest { orders: self.orders, rare, ..Rest::default() }
    }

    /// But for carts.
    fn join(&mut self, other: Rest) {
        self.active.extend(other.active);
        self.trail.extend(other.trail);
        self.wanted.extend(other.wanted);
        self.orders.extend(other.orders);
        if let Some(rare) = other.rare {
            self.rare.get_or_insert_default().join(*rare);
        }
    }

    /// But for carts.
    fn erase(&mut self, is_theirs: impl Fn(Tick, bool) -> bool, gone: &mut Vec<Id>) {
        self.active.retain(|(time, at)| !is_theirs(*time, time > at));
        self.trail.retain(|(at, _)| !is_theirs(*at, false));
        self.wanted.retain(|(at, _)| !is_theirs(*at, false));
        if let Some(rare) = &mut self.rare {
            rare.folds.retain(|(at, _)| !is_theirs(*at, false));
            rare.past.retain(|(time, _)| !is_theirs(*time, false));
        }
        gone.extend(self.orders.extract_if(.., |order| is_theirs(order.placed, order.ahead)).map(|order| order.id));
    }

    fn skus(&self) -> impl Iterator<Item = Id> + '_ {
        let ordered = self.orders.iter().flat_map(|order| order.lines().map(|line| line.sku));
        self.wanted.iter().map(|(_, sku)| *sku).chain(ordered)
    }

    /// But for carts and activities.
    fn tell(&self, owner: impl Fn(Tick, bool) -> Option<Id>, remember: &Remember, emit: &mut Emit) {
        let owner_at = |time: &Tick| owner(*time, false);
        for (at, deed) in &self.trail {
            owner_at(at).into_iter().for_each(|owner| emit.deed(owner, *at, deed.clone(), 1));
        }
        for (at, sku) in &self.wanted {
            owner_at(at).into_iter().for_each(|owner| emit.interest(owner, *at, *sku, remember));
        }
        for order in &self.orders {
            if let Some(owner) = owner(order.placed, order.ahead) {
                emit.deed(owner, 0, Deed::Order(order.clone()), 1);
                if remember.interest_ms.is_some() {
                    tell_of_order(owner, order, 1, emit);
                }
            }
        }
        self.rare.iter().for_each(|rare| rare.tell(owner_at, emit));
    }
}

impl Rare {
    /// Of what one owner has of forgotten orders there is one sum.
    fn past(&mut self, (time, past): (Tick, History), link: impl Fn(Tick) -> usize) {
        match self.past.iter_mut().find(|known| link(known.0) == link(time)) {
            Some(known) => *known = (time.max(known.0), known.1.and(&past)),
            None => self.past.push((time, past)),
        }
    }

    fn chose(&mut self, choice: (Arc<Choice>, Tick)) {
        self.chosen = self.chosen.take().max(Some(choice));
    }

    fn is_empty(&self) -> bool {
        let Rare { folds, folded, past, refused, chosen } = self;
        folds.is_empty() && folded.is_empty() && past.is_empty() && refused.is_none() && chosen.is_none()
    }

    fn join(&mut self, other: Rare) {
        self.folds.extend(other.folds);
        self.folded.extend(other.folded);
        self.past.extend(other.past);
        self.refused = self.refused.into_iter().chain(other.refused).min();
        self.chosen = self.chosen.take().max(other.chosen);
    }

    fn tell(&self, owner_at: impl Fn(&Tick) -> Option<Id>, emit: &mut Emit) {
        for (at, fold) in &self.folds {
            owner_at(at).into_iter().for_each(|owner| tell_of_line(owner, *at, fold, 1, emit));
        }
        for (time, past) in &self.past {
            owner_at(time).into_iter().for_each(|owner| emit.deed(owner, 0, Deed::Past(Box::new(*past)), 1));
        }
        if let Some(at) = self.refused {
            owner_at(&at).into_iter().for_each(|owner| emit.refusal(owner, ContactChange::ConsentWithheld(at), 1));
        }
        if let Some((choice, at)) = &self.chosen {
            let told = || ContactChange::Chosen(choice.clone());
            owner_at(at).into_iter().for_each(|owner| emit.refusal(owner, told(), 1));
        }
    }
}
