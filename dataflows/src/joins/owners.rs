//! Owners (SPEC §3, "Owner of a record"). In: what clicks, carts, orders and refusals tell, by the id that each record carries, and
//! on every worker all links and aliases. Out: the same by owner as of each tick. Cannot fail.
//!
//! A link or an alias moves what was told before. Whom it concerns, on either side, is taken back whole (`Reset`) and told again
//! from the beginning, by every worker what it has of it: what is kept of a customer is then the same as if the records had been
//! theirs all along. For that each worker remembers what went through it, unsorted as long as no link asks for it.

use differential_dataflow::{AsCollection, VecCollection};
use hashbrown::{HashMap, HashSet};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::vec::Broadcast;

use super::carts::{Cart, LastCart, Raw as RawCart};
use super::customers::Deed;
use super::identities::Identities;
use super::implicit::ImplicitChange;
use super::orders::Order;
use super::skus::SkuEvent;
use crate::model::{Action, Click, Diff, Fold, Id, Position, Tick};

type Rows<'scope, D> = VecCollection<'scope, Tick, D, Diff>;

/// What is told of whoever a record names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// Linked to a user, or made an alias of one. These are on every worker.
    Link(Link),
    /// A message.
    Clicked(Clicked),
    /// A cart's whole record.
    Cart(Cart),
    /// A line of a cart with an id of its own.
    Fold(Fold),
    /// An order.
    Order(Order),
    /// Consent withheld.
    Refused,
}

/// Links of one tick count in the order of their times, then places.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    at_ms: u64,
    position: Position,
    user: Id,
    is_alias: bool,
}

/// A message, as far as it matters to its owner.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Clicked {
    deed: Deed,
    interest: Id,
    /// A line of the owner's implicit cart.
    fold: Option<Box<Fold>>,
}

/// What is told of an owner, or of a SKU by an owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owned {
    /// To the customer: at which tick they did what. A row that only comes again has tick 0.
    Deed(Id, Tick, Deed),
    /// To the customer's implicit cart.
    Implicit(Id, ImplicitChange),
    /// To a SKU.
    Sku(Id, SkuEvent),
    /// To the customer's contact: consent is withheld since a tick; without one, whatever was withheld is taken back.
    Refused(Id, Option<Tick>),
    /// One user is from now on an alias of another.
    Aliased(Id, Id),
}

/// Gives what is told to its owners. `skus`: whether anyone asks who wants a SKU.
pub fn owners<'scope>(
    clicks: Rows<'scope, Click>,
    carts: Rows<'scope, (Id, RawCart)>,
    orders: Rows<'scope, (Id, Order)>,
    refusals: Rows<'scope, Id>,
    skus: bool,
) -> Rows<'scope, Owned> {
    let speaks = clicks.inner.scope().index() == 0;
    let links = clicks.clone().flat_map(links).inner.broadcast().as_collection();
    let links = links.map(|(from, (at_ms, position), (user, is_alias))| {
        (from, Told::Link(Link { at_ms, position, user, is_alias }))
    });
    let told = clicks.map(|click| (click.owner, Told::Clicked(clicked(click))));
    let carts = carts.map(|(owner, cart)| match cart {
        RawCart::Record(cart) => (owner, Told::Cart(cart)),
        RawCart::Fold(fold) => (owner, Told::Fold(fold)),
    });
    let told = told.concat(carts).concat(orders.map(|(owner, order)| (owner, Told::Order(order))));
    let told = told.concat(refusals.map(|user| (user, Told::Refused))).concat(links);
    by_tick(told, "Owners", Owners { skus, speaks, ..Owners::default() })
}

/// A link for the wire: from whom, when and where it was said, to whom and whether between users.
type WireLink = (Id, (u64, Position), (Id, bool));

fn links(click: Click) -> Vec<WireLink> {
    let said = (click.at_ms, click.position);
    match click.action {
        Action::Identified(visitor) => vec![(visitor, said, (click.owner, false))],
        Action::Aliased(previous) => {
            vec![(previous[0], said, (click.owner, false)), (previous[1], said, (click.owner, true))]
        }
        _ => Vec::new(),
    }
}

fn clicked(click: Click) -> Clicked {
    let plain = |deed, interest| Clicked { deed, interest, fold: None };
    match click.action {
        Action::Viewed(sku) => plain(Deed::Viewed(sku, click.at_ms, click.position), sku),
        Action::Wanted(sku) => plain(Deed::Active, sku),
        Action::Folded(fold) => {
            let added = fold.quantity > 0;
            let (deed, interest) = if added { (Deed::Added, fold.sku) } else { (Deed::Active, Id::NONE) };
            Clicked { deed, interest, fold: fold.is_implicit().then_some(fold) }
        }
        Action::Searched(query) => plain(Deed::Searched(query), Id::NONE),
        Action::CheckoutStarted(subject) => plain(Deed::CheckoutStarted(subject), Id::NONE),
        _ => plain(Deed::Active, Id::NONE),
    }
}

/// Runs `owners` tick by tick, once each is closed.
fn by_tick<'scope>(
    told: Rows<'scope, (Id, Told)>,
    name: &str,
    mut owners: Owners,
) -> Rows<'scope, Owned> {
    told.inner
        .unary_frontier::<CapacityContainerBuilder<Vec<(Owned, Tick, Diff)>>, _, _, _>(
            Pipeline,
            name,
            |capability, _| {
                let mut capability = Some(capability);
                let mut pending: Vec<((Id, Told), Tick, Diff)> = Vec::new();
                move |(input, frontier), output| {
                    input.for_each(|_, updates| pending.append(updates));
                    let upper = frontier.frontier().first().copied();
                    let Some(held) = capability.as_mut() else { return };
                    if upper.is_some_and(|upper| upper <= *held.time()) {
                        return;
                    }
                    pending.sort_by_key(|(_, tick, _)| *tick);
                    let due = upper.map_or(pending.len(), |upper| pending.partition_point(|(_, tick, _)| *tick < upper));
                    let rest = pending.split_off(due);
                    let mut due = std::mem::replace(&mut pending, rest).into_iter().peekable();
                    let mut session = output.session(&*held);
                    while let Some(now) = due.peek().map(|(_, tick, _)| *tick) {
                        let mut rows = std::iter::from_fn(|| due.next_if(|(_, tick, _)| *tick == now));
                        owners.tick(now, &mut rows, &mut |owned, diff| session.give((owned, now, diff)));
                    }
                    drop(session);
                    match upper {
                        Some(upper) => held.downgrade(&upper),
                        None => capability = None,
                    }
                }
            },
        )
        .as_collection()
}

/// What was told of one whom records name.
#[derive(Default)]
struct Known {
    /// What they did: the time that says whose it is, the tick at which it took effect, and what.
    clicked: Vec<(Tick, Tick, Clicked)>,
    /// The SKUs of each cart record, at its tick.
    wanted: Vec<(Tick, Id)>,
    carts: Vec<Cart>,
    /// The folded carts that they had a hand in.
    folded: HashSet<Id>,
    orders: Vec<Order>,
    refused: Option<Tick>,
}

/// A cart told by single messages, and all of those.
#[derive(Default)]
struct FoldedCart {
    cart: LastCart,
    folds: Vec<(Tick, Fold)>,
}

impl FoldedCart {
    fn fold(&mut self, now: Tick, mut fold: Fold, owner: Id) {
        let cart = fold.cart;
        self.folds.push((now, fold.clone()));
        fold.owner = owner;
        self.cart.fold(now, cart, fold);
    }

    /// Folds all anew, by the owners of now.
    fn refold(&mut self, identities: &Identities) {
        self.cart = LastCart::default();
        for (at, fold) in std::mem::take(&mut self.folds) {
            let owner = identities.owner(fold.owner, at);
            self.fold(at, fold, owner);
        }
    }
}

/// What one worker knows.
#[derive(Default)]
struct Owners {
    skus: bool,
    /// Whether this worker tells of what all know.
    speaks: bool,
    identities: Identities,
    known: HashMap<Id, Known>,
    /// What was told since `known` was last asked for.
    recent: Vec<((Id, Told), Tick, Diff)>,
    folded: HashMap<Id, FoldedCart>,
}

/// Emits what an owner is told.
type Emit<'e> = &'e mut dyn FnMut(Owned, Diff);

impl Owners {
    /// Takes up what is told at `now`.
    fn tick(&mut self, now: Tick, rows: &mut dyn Iterator<Item = ((Id, Told), Tick, Diff)>, emit: Emit<'_>) {
        let mut links = Vec::new();
        let mut told = Vec::new();
        for row in rows {
            match &row.0 {
                (from, Told::Link(link)) => links.push((*link, *from)),
                _ => told.push(row),
            }
        }
        let moved = if links.is_empty() { HashSet::new() } else { self.link(now, links, emit) };
        let mut carts: HashMap<Id, Option<(Id, Cart)>> = HashMap::new();
        for ((raw, told), _, diff) in told {
            self.take(now, raw, told, diff, &moved, &mut carts, emit);
        }
        for (cart, before) in carts {
            let after = self.folded.get(&cart).and_then(|folded| folded.cart.row());
            let rows = before.map(|row| (row, -1)).into_iter().chain(after.map(|row| (row, 1)));
            for ((owner, cart), diff) in rows.filter(|((owner, _), _)| !moved.contains(owner)) {
                emit(Owned::Deed(owner, 0, Deed::Cart(cart)), diff);
            }
        }
        if !moved.is_empty() {
            self.tell_again(&moved, emit);
        }
    }

    /// Takes up links, and returns whom they concern.
    fn link(&mut self, now: Tick, mut links: Vec<(Link, Id)>, emit: Emit<'_>) -> HashSet<Id> {
        links.sort_unstable();
        let mut moved = HashSet::new();
        let mut aliased = HashSet::new();
        for (link, from) in links {
            match link.is_alias {
                true => {
                    if self.identities.alias(from, link.user, &mut moved) {
                        aliased.insert(from);
                    }
                }
                false => self.identities.link(from, link.user, now, &mut moved),
            }
        }
        for from in aliased.into_iter().filter(|_| self.speaks) {
            emit(Owned::Aliased(from, self.identities.next(from)), 1);
        }
        self.sort_out();
        for raw in self.identities.all_of(moved.iter().copied()) {
            for cart in self.known.get(&raw).into_iter().flat_map(|known| &known.folded) {
                if let Some(folded) = self.folded.get_mut(cart) {
                    folded.refold(&self.identities);
                }
            }
        }
        moved
    }

    /// Tells the owner, unless they are told everything anyway, and remembers.
    #[allow(clippy::too_many_arguments)]
    fn take(
        &mut self,
        now: Tick,
        raw: Id,
        told: Told,
        diff: Diff,
        moved: &HashSet<Id>,
        carts: &mut HashMap<Id, Option<(Id, Cart)>>,
        emit: Emit<'_>,
    ) {
        let time = told.time(now);
        let owner = if self.identities.is_empty() { raw } else { self.identities.owner(raw, time) };
        match &told {
            Told::Fold(fold) => {
                let folded = self.folded.entry(fold.cart).or_default();
                carts.entry(fold.cart).or_insert_with(|| folded.cart.row());
                folded.fold(now, fold.clone(), owner);
                self.known.entry(raw).or_default().folded.insert(fold.cart);
                return;
            }
            Told::Cart(cart) if !self.folded.is_empty() => {
                if let Some(folded) = self.folded.remove(&cart.id) {
                    carts.entry(cart.id).or_insert_with(|| folded.cart.row());
                }
            }
            _ => {}
        }
        if !moved.contains(&owner) {
            told.tell(owner, now, diff, self.skus, emit);
        }
        self.recent.push(((raw, told), now, diff));
    }

    /// Takes `moved` back and tells everything of them again.
    fn tell_again(&mut self, moved: &HashSet<Id>, emit: Emit<'_>) {
        self.sort_out();
        for owner in moved {
            emit(Owned::Deed(*owner, 0, Deed::Reset), -1);
            emit(Owned::Implicit(*owner, ImplicitChange::Reset), -1);
            emit(Owned::Refused(*owner, None), -1);
        }
        let all = self.identities.all_of(moved.iter().copied());
        let known: Vec<(Id, &Known)> =
            all.into_iter().filter_map(|raw| self.known.get(&raw).map(|known| (raw, known))).collect();
        if self.skus {
            let skus: HashSet<Id> = known.iter().flat_map(|(_, known)| known.skus()).collect();
            for sku in skus {
                moved.iter().for_each(|owner| emit(Owned::Sku(sku, SkuEvent::Gone(*owner)), -1));
            }
        }
        let mut folded = HashSet::new();
        for (raw, known) in known {
            let owner = |time| Some(self.identities.owner(raw, time)).filter(|owner| moved.contains(owner));
            known.tell(owner, self.skus, emit);
            folded.extend(known.folded.iter().copied());
        }
        let rows = folded.iter().filter_map(|cart| self.folded.get(cart)?.cart.row());
        for (owner, cart) in rows.filter(|(owner, _)| moved.contains(owner)) {
            emit(Owned::Deed(owner, 0, Deed::Cart(cart)), 1);
        }
    }

    /// Sorts what was told lately by whom it names.
    fn sort_out(&mut self) {
        for ((raw, told), at, diff) in std::mem::take(&mut self.recent) {
            self.known.entry(raw).or_default().add(told, at, diff);
        }
    }
}

impl Told {
    /// The time that says whose it is.
    fn time(&self, now: Tick) -> Tick {
        match self {
            Told::Order(order) => order.placed,
            Told::Cart(cart) => cart.changed,
            _ => now,
        }
    }

    /// Tells `owner` at `now`, when it happens.
    fn tell(&self, owner: Id, now: Tick, diff: Diff, skus: bool, emit: Emit<'_>) {
        match self {
            Told::Clicked(clicked) => clicked.tell(owner, now, skus, emit),
            Told::Cart(cart) => {
                emit(Owned::Deed(owner, now, Deed::Cart(cart.clone())), diff);
                if skus && diff > 0 {
                    cart.skus().for_each(|sku| emit(Owned::Sku(sku, SkuEvent::Interest(owner, now)), 1));
                }
            }
            Told::Order(order) => {
                emit(Owned::Deed(owner, now, Deed::Order(order.clone())), diff);
                if skus {
                    tell_of_order(owner, order, diff, emit);
                }
            }
            Told::Refused => emit(Owned::Refused(owner, Some(now)), 1),
            Told::Link(_) | Told::Fold(_) => {}
        }
    }
}

impl Clicked {
    fn tell(&self, owner: Id, at: Tick, skus: bool, emit: Emit<'_>) {
        emit(Owned::Deed(owner, at, self.deed.clone()), 1);
        if skus && !self.interest.is_none() {
            emit(Owned::Sku(self.interest, SkuEvent::Interest(owner, at)), 1);
        }
        if let Some(fold) = &self.fold {
            let fold = Fold { owner, cart: owner, ..Fold::clone(fold) };
            emit(Owned::Implicit(owner, ImplicitChange::Fold(at, fold)), 1);
        }
    }
}

fn tell_of_order(owner: Id, order: &Order, diff: Diff, emit: Emit<'_>) {
    let mut skus: Vec<Id> = order.lines.iter().map(|line| line.sku).filter(|_| order.stands()).collect();
    skus.sort_unstable();
    skus.dedup();
    skus.into_iter().for_each(|sku| emit(Owned::Sku(sku, SkuEvent::Ordered(owner, order.id, order.placed)), diff));
}

impl Known {
    fn add(&mut self, told: Told, at: Tick, diff: Diff) {
        let active = Clicked { deed: Deed::Active, interest: Id::NONE, fold: None };
        match told {
            Told::Clicked(clicked) => self.clicked.push((at, at, clicked)),
            Told::Cart(cart) if diff > 0 => {
                self.clicked.push((at, at, active));
                self.wanted.extend(cart.skus().map(|sku| (at, sku)));
                self.carts.push(cart);
            }
            Told::Cart(cart) => self.carts.retain(|other| *other != cart),
            Told::Order(order) if diff > 0 => {
                self.clicked.push((order.placed, at, active));
                self.orders.push(order);
            }
            Told::Order(order) => {
                if let Some(place) = self.orders.iter().position(|other| *other == order) {
                    self.orders.remove(place);
                }
            }
            Told::Refused => drop(self.refused.get_or_insert(at)),
            Told::Link(_) | Told::Fold(_) => {}
        }
    }

    /// The SKUs that were wanted or ordered.
    fn skus(&self) -> impl Iterator<Item = Id> + '_ {
        let clicked = self.clicked.iter().map(|(_, _, clicked)| clicked.interest).filter(|sku| !sku.is_none());
        let ordered = self.orders.iter().flat_map(|order| order.lines.iter().map(|line| line.sku));
        clicked.chain(self.wanted.iter().map(|(_, sku)| *sku)).chain(ordered)
    }

    /// Tells everything again to whom it belongs, where `owner` says to whom.
    fn tell(&self, owner: impl Fn(Tick) -> Option<Id>, skus: bool, emit: Emit<'_>) {
        for (time, at, clicked) in &self.clicked {
            owner(*time).into_iter().for_each(|owner| clicked.tell(owner, *at, skus, emit));
        }
        for (at, sku) in self.wanted.iter().filter(|_| skus) {
            owner(*at).into_iter().for_each(|owner| emit(Owned::Sku(*sku, SkuEvent::Interest(owner, *at)), 1));
        }
        for cart in &self.carts {
            let owner = owner(cart.changed);
            owner.into_iter().for_each(|owner| emit(Owned::Deed(owner, 0, Deed::Cart(cart.clone())), 1));
        }
        for order in &self.orders {
            if let Some(owner) = owner(order.placed) {
                emit(Owned::Deed(owner, 0, Deed::Order(order.clone())), 1);
                if skus {
                    tell_of_order(owner, order, 1, emit);
                }
            }
        }
        if let Some(at) = self.refused {
            owner(at).into_iter().for_each(|owner| emit(Owned::Refused(owner, Some(at)), 1));
        }
    }
}
