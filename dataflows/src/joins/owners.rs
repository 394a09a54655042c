//! Owners (SPEC §3, "Owner of a record"). In: what clicks, carts, orders and refusals tell, by the id that each record carries, and
//! on every worker all links and aliases. Out: the same by owner as of each tick. Cannot fail.
//!
//! A link or an alias moves what was told before. Whom it concerns, on either side, is taken back whole (`Reset`) and told again
//! from the beginning, by every worker what it has of it: what is kept of a customer is then the same as if the records had been
//! theirs all along. For that each worker remembers what went through it, unsorted as long as no link asks for it: carts and orders
//! until they are retracted, the rest until no trigger can reach it (`horizon.rs`).

use std::collections::BTreeMap;

use differential_dataflow::{AsCollection, VecCollection};
use hashbrown::{HashMap, HashSet};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Broadcast;

use super::carts::{Cart, LastCart, Raw as RawCart};
use super::contacts::ContactChange;
use super::customers::Deed;
use super::identities::Identities;
use super::implicit::{ImplicitChange, Raw as RawLine};
use super::interests::Interest;
use super::orders::{Order, Raw as RawOrder};
use super::skus::SkuEvent;
use crate::horizon::Horizon;
use crate::model::{Action, Click, Diff, Fold, History, Id, OrderStatus, Position, Tick};

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
    /// Of this cart, all that was told before of this SKU is forgotten.
    LineGone(Id, Id),
    /// A line of the implicit cart.
    Implicit(Fold),
    /// All that was told before of this SKU in the implicit cart is forgotten.
    ImplicitGone(Id),
    /// An order.
    Order(Order),
    /// An order that is forgotten.
    OrderGone(Order),
    /// What is left of it.
    Past(Tick, History),
    /// Consent withheld.
    Refused,
    /// All that is theirs is forgotten. On every worker, like links.
    Erased,
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
}

/// What owners are told, and SKUs by owners.
pub struct Owned<'scope> {
    /// What a customer did, and at which tick. A row that only comes again has tick 0.
    pub deeds: Rows<'scope, (Id, (Tick, Deed))>,
    /// The lines of a customer's implicit cart.
    pub implicit: Rows<'scope, (Id, ImplicitChange)>,
    /// Who wants and has ordered a SKU.
    pub skus: Rows<'scope, (Id, SkuEvent)>,
    /// What a customer is interested in.
    pub interests: Rows<'scope, (Id, Interest)>,
    /// Consent withheld.
    pub refusals: Rows<'scope, (Id, ContactChange)>,
    /// One user is from now on an alias of another.
    pub aliases: Rows<'scope, (Id, Id)>,
}

/// What is to be remembered of what was told, for when it moves: what some trigger reads, and as long as it can.
#[derive(Clone, Copy, Debug)]
pub struct Remember {
    /// Views, searches and checkouts, so long, ms; 0: not at all.
    pub trail_ms: u64,
    /// The interest in SKUs, so long, ms; none: nobody asks, and SKUs are told nothing.
    pub interest_ms: Option<u64>,
    /// The interest of customers, so long, ms; none: nobody asks, and customers are told none.
    pub similar_ms: Option<u64>,
    /// What is left of forgotten orders.
    pub past: bool,
    /// The rest, until then.
    pub horizon: Horizon,
}

impl Remember {
    /// How long an interest is remembered, ms; none: not at all.
    fn wanted_ms(&self) -> Option<u64> {
        self.interest_ms.max(self.similar_ms)
    }
}

/// What is told, by whom each record names.
pub struct Raw<'scope> {
    /// Messages.
    pub clicks: Rows<'scope, Click>,
    /// Carts with an id of their own, at their place.
    pub carts: Rows<'scope, (Id, RawCart)>,
    /// Lines of implicit carts, at the place of whom they name.
    pub implicit: Rows<'scope, (Id, RawLine)>,
    /// Orders, at their place.
    pub orders: Rows<'scope, (Id, RawOrder)>,
    /// Who withholds consent.
    pub refusals: Rows<'scope, Id>,
    /// Who is erased, where the erased are forgotten.
    pub erased: Option<Rows<'scope, Id>>,
}

/// Gives what is told to its owners.
pub fn owners<'scope>(raw: Raw<'scope>, remember: Remember) -> Owned<'scope> {
    let Raw { clicks, carts, implicit, orders, refusals, erased } = raw;
    let speaks = clicks.inner.scope().index() == 0;
    let links = clicks.clone().flat_map(links).inner.broadcast().as_collection();
    let links = links.map(|(from, (at_ms, position), (user, is_alias))| {
        (from, Told::Link(Link { at_ms, position, user, is_alias }))
    });
    let told = clicks.map(|click| (click.owner, Told::Clicked(clicked(click))));
    let carts = carts.map(|(owner, cart)| match cart {
        RawCart::Record(cart) => (owner, Told::Cart(cart)),
        RawCart::Fold(fold) => (owner, Told::Fold(fold)),
        RawCart::LineGone(cart, sku) => (owner, Told::LineGone(cart, sku)),
    });
    let implicit = implicit.map(|(owner, line)| match line {
        RawLine::Fold(fold) => (owner, Told::Implicit(fold)),
        RawLine::LineGone(sku) => (owner, Told::ImplicitGone(sku)),
    });
    let orders = orders.map(|(owner, order)| match order {
        RawOrder::Order(order) => (owner, Told::Order(order)),
        RawOrder::Gone(order) => (owner, Told::OrderGone(order)),
    });
    let told = told.concat(carts).concat(implicit).concat(orders);
    let told = told.concat(refusals.map(|user| (user, Told::Refused))).concat(links);
    let told = match erased {
        Some(erased) => told.concat(erased.inner.broadcast().as_collection().map(|user| (user, Told::Erased))),
        None => told,
    };
    by_tick(told, Owners::new(remember, speaks))
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
    let plain = |deed, interest| Clicked { deed, interest };
    match click.action {
        Action::Viewed(sku) => plain(Deed::Viewed(sku, click.at_ms, click.position), sku),
        Action::Wanted(sku) => plain(Deed::Active, sku),
        Action::Folded(fold) if fold.quantity > 0 => plain(Deed::Added, fold.sku),
        Action::Searched(query) => plain(Deed::Searched(query), Id::NONE),
        Action::CheckoutStarted(subject) => plain(Deed::CheckoutStarted(subject), Id::NONE),
        _ => plain(Deed::Active, Id::NONE),
    }
}

/// Rows on their way to one output.
type Out<D> = Vec<(D, Tick, Diff)>;

/// What is told at a tick.
#[derive(Default)]
struct Emit {
    now: Tick,
    deeds: Out<(Id, (Tick, Deed))>,
    implicit: Out<(Id, ImplicitChange)>,
    skus: Out<(Id, SkuEvent)>,
    interests: Out<(Id, Interest)>,
    refusals: Out<(Id, ContactChange)>,
    aliases: Out<(Id, Id)>,
}

impl Emit {
    fn deed(&mut self, owner: Id, at: Tick, deed: Deed, diff: Diff) {
        self.deeds.push(((owner, (at, deed)), self.now, diff));
    }

    fn implicit(&mut self, owner: Id, change: ImplicitChange, diff: Diff) {
        self.implicit.push(((owner, change), self.now, diff));
    }

    fn sku(&mut self, sku: Id, event: SkuEvent, diff: Diff) {
        self.skus.push(((sku, event), self.now, diff));
    }

    /// Tells of an interest whoever asks: the SKU, the customer.
    fn interest(&mut self, owner: Id, at: Tick, sku: Id, remember: &Remember) {
        if remember.interest_ms.is_some() {
            self.sku(sku, SkuEvent::Interest(owner, at), 1);
        }
        if remember.similar_ms.is_some() {
            self.interests.push(((owner, Interest::In(sku, at)), self.now, 1));
        }
    }

    fn refusal(&mut self, owner: Id, change: ContactChange, diff: Diff) {
        self.refusals.push(((owner, change), self.now, diff));
    }
}

/// Sends `rows` out, all at once.
fn send<D: 'static>(
    output: &mut OutputBuilder<Tick, CapacityContainerBuilder<Out<D>>>,
    capability: &Capability<Tick>,
    rows: &mut Out<D>,
) {
    if !rows.is_empty() {
        output.activate().session(capability).give_container(rows);
        rows.clear();
    }
}

/// Runs `owners` tick by tick, once each is closed.
fn by_tick<'scope>(told: Rows<'scope, (Id, Told)>, mut owners: Owners) -> Owned<'scope> {
    let mut builder = OperatorBuilder::new("Owners".to_owned(), told.inner.scope());
    let mut input = builder.new_input(told.inner, Pipeline);
    let (deeds_out, deeds) = builder.new_output();
    let (implicit_out, implicit) = builder.new_output();
    let (skus_out, skus) = builder.new_output();
    let (interests_out, interests) = builder.new_output();
    let (refusals_out, refusals) = builder.new_output();
    let (aliases_out, aliases) = builder.new_output();
    let (mut deeds_out, mut implicit_out) = (OutputBuilder::from(deeds_out), OutputBuilder::from(implicit_out));
    let (mut skus_out, mut refusals_out) = (OutputBuilder::from(skus_out), OutputBuilder::from(refusals_out));
    let (mut aliases_out, mut interests_out) = (OutputBuilder::from(aliases_out), OutputBuilder::from(interests_out));
    builder.build(move |mut capabilities| {
        let mut pending: Out<(Id, Told)> = Vec::new();
        let mut emit = Emit::default();
        move |frontiers| {
            input.for_each(|_, updates| pending.append(updates));
            let upper = frontiers[0].frontier().first().copied();
            let [for_deeds, for_implicit, for_skus, for_interests, for_refusals, for_aliases] = &mut capabilities[..]
            else {
                return;
            };
            if upper.is_some_and(|upper| upper <= *for_deeds.time()) {
                return;
            }
            owners.advance(&mut pending, upper, &mut emit);
            send(&mut deeds_out, for_deeds, &mut emit.deeds);
            send(&mut implicit_out, for_implicit, &mut emit.implicit);
            send(&mut skus_out, for_skus, &mut emit.skus);
            send(&mut interests_out, for_interests, &mut emit.interests);
            send(&mut refusals_out, for_refusals, &mut emit.refusals);
            send(&mut aliases_out, for_aliases, &mut emit.aliases);
            match upper {
                Some(upper) => capabilities.iter_mut().for_each(|held| held.downgrade(&upper)),
                None => capabilities.clear(),
            }
        }
    });
    Owned {
        deeds: deeds.as_collection(),
        implicit: implicit.as_collection(),
        skus: skus.as_collection(),
        interests: interests.as_collection(),
        refusals: refusals.as_collection(),
        aliases: aliases.as_collection(),
    }
}

/// What was told of one whom records name, as far as it is remembered.
#[derive(Default)]
struct Known {
    /// Activities: the time that says whose one is, and its tick. Of those that stay together for good, the last.
    active: Vec<(Tick, Tick)>,
    /// Views, searches and checkouts.
    trail: Vec<(Tick, Deed)>,
    wanted: Vec<(Tick, Id)>,
    /// How many of these two there were when the old ones were last forgotten.
    swept: usize,
    /// The tick at which these three are looked through; 0 for none.
    wake: Tick,
    /// Lines of the implicit cart.
    folds: Vec<(Tick, Fold)>,
    carts: Vec<Cart>,
    /// The folded carts that they had a hand in.
    folded: HashSet<Id>,
    orders: Vec<Order>,
    /// What is left of forgotten orders, with the time that says whose it is.
    past: Vec<(Tick, History)>,
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
            let owner = identities.owner(fold.owner, at, false);
            self.fold(at, fold, owner);
        }
    }

    /// Drops the messages that `are`, and folds the others anew.
    fn drop(&mut self, identities: &Identities, are: impl Fn(&(Tick, Fold)) -> bool) {
        self.folds.retain(|fold| !are(fold));
        self.refold(identities);
    }
}

/// What one worker knows.
struct Owners {
    remember: Remember,
    /// Whether this worker tells of what all know.
    speaks: bool,
    identities: Identities,
    known: HashMap<Id, Known>,
    /// What was told since `known` was last asked for.
    recent: Vec<((Id, Told), Tick, Diff)>,
    folded: HashMap<Id, FoldedCart>,
    /// Carts and orders of the erased, whose row is not retracted yet where it came from.
    erased: HashSet<Id>,
    /// Who is to be looked through at which tick.
    wakes: BTreeMap<Tick, Vec<Id>>,
}

/// So many rows are kept as they came before they are sorted, and what no longer matters of them is dropped.
const RECENT: usize = 1 << 16;

impl Owners {
    fn new(remember: Remember, speaks: bool) -> Owners {
        Owners {
            identities: Identities::new(remember.horizon),
            remember,
            speaks,
            known: HashMap::new(),
            recent: Vec::new(),
            folded: HashMap::new(),
            erased: HashSet::new(),
            wakes: BTreeMap::new(),
        }
    }

    /// Takes up what is told before `upper` (all when there is none), tick by tick.
    fn advance(&mut self, pending: &mut Out<(Id, Told)>, upper: Option<Tick>, emit: &mut Emit) {
        pending.sort_by_key(|(_, tick, _)| *tick);
        let due = upper.map_or(pending.len(), |upper| pending.partition_point(|(_, tick, _)| *tick < upper));
        let mut due = pending.drain(..due).peekable();
        loop {
            let told = due.peek().map(|(_, tick, _)| *tick);
            let lapse = self.identities.next_lapse().filter(|lapse| upper.is_none_or(|upper| *lapse < upper));
            let Some(now) = told.into_iter().chain(lapse).min() else { return };
            emit.now = now;
            self.tick(now, &mut std::iter::from_fn(|| due.next_if(|(_, tick, _)| *tick == now)), emit);
            if self.recent.len() >= RECENT.max(self.known.len()) {
                self.sort_out(now);
            }
            self.look_through(now);
        }
    }

    /// Takes up what is told at `now`.
    fn tick(&mut self, now: Tick, rows: &mut dyn Iterator<Item = ((Id, Told), Tick, Diff)>, emit: &mut Emit) {
        let (mut links, mut erased) = (Vec::new(), HashSet::new());
        let mut told = Vec::new();
        for row in rows {
            match &row.0 {
                (from, Told::Link(link)) => links.push((*link, *from)),
                (user, Told::Erased) => drop(erased.insert(*user)),
                _ => told.push(row),
            }
        }
        let lapses = self.identities.next_lapse().is_some_and(|lapse| lapse <= now);
        let mut moved = if links.is_empty() && !lapses { HashSet::new() } else { self.link(now, links, emit) };
        // Who is an alias of another owns nothing.
        erased.retain(|user| self.identities.follow(*user) == *user);
        moved.extend(&erased);
        let mut carts: HashMap<Id, Option<(Id, Cart)>> = HashMap::new();
        for ((raw, told), _, diff) in told {
            self.take(now, raw, told, diff, &moved, &mut carts, emit);
        }
        if !erased.is_empty() {
            self.erase(now, &erased, &moved, &mut carts, emit);
        }
        for (cart, before) in carts {
            let after = self.folded.get(&cart).and_then(|folded| folded.cart.row());
            let rows = before.map(|row| (row, -1)).into_iter().chain(after.map(|row| (row, 1)));
            for ((owner, cart), diff) in rows.filter(|((owner, _), _)| !moved.contains(owner)) {
                emit.deed(owner, 0, Deed::Cart(cart), diff);
            }
        }
        if !moved.is_empty() {
            self.tell_again(now, &moved, emit);
        }
    }

    /// Takes up links and forgets those that lapse, and returns whom they concern.
    fn link(&mut self, now: Tick, mut links: Vec<(Link, Id)>, emit: &mut Emit) -> HashSet<Id> {
        links.sort_unstable();
        let mut moved = HashSet::new();
        self.identities.lapse(now, &mut moved);
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
            emit.aliases.push(((from, self.identities.next(from)), now, 1));
        }
        self.sort_out(now);
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
        emit: &mut Emit,
    ) {
        let (time, ahead) = told.time(now);
        let owner = if self.identities.is_empty() { raw } else { self.identities.owner(raw, time, ahead) };
        match told {
            Told::Fold(fold) => {
                let folded = self.folded.entry(fold.cart).or_default();
                carts.entry(fold.cart).or_insert_with(|| folded.cart.row());
                self.known.entry(raw).or_default().folded.insert(fold.cart);
                folded.fold(now, fold, owner);
            }
            Told::LineGone(cart, sku) => self.forget_lines(now, cart, sku, carts),
            Told::ImplicitGone(sku) => self.forget_implicit_lines(now, raw, sku, moved, emit),
            // What was erased is gone already.
            Told::OrderGone(Order { id, .. }) if self.erased.remove(&id) => {}
            Told::Order(Order { id, .. }) | Told::Cart(Cart { id, .. }) if diff < 0 && self.erased.remove(&id) => {}
            Told::OrderGone(order) => {
                // What is left is of whoever the visitor was linked to by now.
                let holder = self.identities.linked(raw, time, ahead);
                if self.remember.past && order.status == OrderStatus::Placed {
                    let past = History::of(order.placed, order.total.unwrap_or_default());
                    self.tell(now, holder, Told::Past(order.placed, past), 1, owner, moved, emit);
                }
                self.tell(now, raw, Told::Order(order), -1, owner, moved, emit);
            }
            told => {
                if let (Told::Cart(cart), false) = (&told, self.folded.is_empty())
                    && let Some(folded) = self.folded.get(&cart.id)
                {
                    carts.entry(cart.id).or_insert_with(|| folded.cart.row());
                    self.drop_folded(cart.id);
                }
                self.tell(now, raw, told, diff, owner, moved, emit);
            }
        }
    }

    /// Tells the owner, unless they are told everything anyway, and remembers.
    #[allow(clippy::too_many_arguments)]
    fn tell(&mut self, now: Tick, raw: Id, told: Told, diff: Diff, owner: Id, moved: &HashSet<Id>, emit: &mut Emit) {
        if !moved.contains(&owner) {
            told.tell(owner, now, diff, &self.remember, emit);
        }
        self.recent.push(((raw, told), now, diff));
    }

    /// Forgets what messages before `now` told of a SKU in a cart.
    fn forget_lines(&mut self, now: Tick, cart: Id, sku: Id, carts: &mut HashMap<Id, Option<(Id, Cart)>>) {
        let Some(folded) = self.folded.get_mut(&cart) else { return };
        carts.entry(cart).or_insert_with(|| folded.cart.row());
        let before: HashSet<Id> = folded.folds.iter().map(|(_, fold)| fold.owner).collect();
        folded.drop(&self.identities, |(at, fold)| fold.sku == sku && *at < now);
        let after: HashSet<Id> = folded.folds.iter().map(|(_, fold)| fold.owner).collect();
        if after.is_empty() {
            self.folded.remove(&cart);
        }
        before.difference(&after).for_each(|raw| self.part(*raw, cart));
    }

    /// Forgets a folded cart altogether.
    fn drop_folded(&mut self, cart: Id) {
        let folded = self.folded.remove(&cart).unwrap_or_default();
        folded.folds.iter().for_each(|(_, fold)| self.part(fold.owner, cart));
    }

    /// One who had a hand in a folded cart has it no longer.
    fn part(&mut self, raw: Id, cart: Id) {
        if let Some(known) = self.known.get_mut(&raw) {
            known.folded.remove(&cart);
            if known.is_empty() {
                self.known.remove(&raw);
            }
        }
    }

    /// Forgets what was told before `now` of a SKU in an implicit cart.
    fn forget_implicit_lines(&mut self, now: Tick, raw: Id, sku: Id, moved: &HashSet<Id>, emit: &mut Emit) {
        self.sort_out(now);
        let Some(known) = self.known.get_mut(&raw) else { return };
        let are = |(at, fold): &mut (Tick, Fold)| fold.sku == sku && *at < now;
        for (at, fold) in known.folds.extract_if(.., are) {
            let owner = self.identities.owner(raw, at, false);
            if !moved.contains(&owner) {
                tell_of_line(owner, at, &fold, -1, emit);
            }
        }
        if known.is_empty() {
            self.known.remove(&raw);
        }
    }

    /// Forgets all that is of the `erased`, but for what withholds consent. They are among the `moved`, who are told everything
    /// again: what is forgotten may have been another's until this tick.
    fn erase(
        &mut self,
        now: Tick,
        erased: &HashSet<Id>,
        moved: &HashSet<Id>,
        carts: &mut HashMap<Id, Option<(Id, Cart)>>,
        emit: &mut Emit,
    ) {
        self.sort_out(now);
        let mut whole = Vec::new();
        for raw in self.identities.all_of(erased.iter().copied()) {
            let Some(known) = self.known.get_mut(&raw) else { continue };
            if self.remember.interest_ms.is_some() {
                for sku in known.skus() {
                    moved.iter().for_each(|owner| emit.sku(sku, SkuEvent::Gone(*owner), -1));
                }
            }
            let is_theirs = |time, ahead| erased.contains(&self.identities.owner(raw, time, ahead));
            self.erased.extend(known.erase(is_theirs));
            for cart in std::mem::take(&mut known.folded) {
                let Some(folded) = self.folded.get_mut(&cart) else { continue };
                carts.entry(cart).or_insert_with(|| folded.cart.row());
                // Their own goes whole, so that it comes to nobody else.
                if folded.cart.row().is_some_and(|(owner, _)| erased.contains(&owner)) {
                    whole.push(cart);
                    continue;
                }
                folded.drop(&self.identities, |(at, fold)| fold.owner == raw && is_theirs(*at, false));
                if folded.folds.iter().any(|(_, fold)| fold.owner == raw) {
                    known.folded.insert(cart);
                }
            }
            if known.is_empty() {
                self.known.remove(&raw);
            }
        }
        whole.into_iter().for_each(|cart| self.drop_folded(cart));
    }

    /// Takes `moved` back and tells everything of them again.
    fn tell_again(&mut self, now: Tick, moved: &HashSet<Id>, emit: &mut Emit) {
        self.sort_out(now);
        for owner in moved {
            emit.deed(*owner, 0, Deed::Reset, -1);
            emit.implicit(*owner, ImplicitChange::Reset, -1);
            emit.refusal(*owner, ContactChange::Reset, -1);
            if self.remember.similar_ms.is_some() {
                emit.interests.push(((*owner, Interest::Reset), now, -1));
            }
        }
        let all = self.identities.all_of(moved.iter().copied());
        let known: Vec<(Id, &Known)> =
            all.into_iter().filter_map(|raw| self.known.get(&raw).map(|known| (raw, known))).collect();
        if self.remember.interest_ms.is_some() {
            let skus: HashSet<Id> = known.iter().flat_map(|(_, known)| known.skus()).collect();
            for sku in skus {
                moved.iter().for_each(|owner| emit.sku(sku, SkuEvent::Gone(*owner), -1));
            }
        }
        let mut folded = HashSet::new();
        for (raw, known) in known {
            let owner =
                |time, ahead| Some(self.identities.owner(raw, time, ahead)).filter(|owner| moved.contains(owner));
            known.tell(owner, &self.remember, emit);
            folded.extend(known.folded.iter().copied());
        }
        let rows = folded.iter().filter_map(|cart| self.folded.get(cart)?.cart.row());
        for (owner, cart) in rows.filter(|(owner, _)| moved.contains(owner)) {
            emit.deed(owner, 0, Deed::Cart(cart), 1);
        }
    }

    /// Sorts what was told lately by whom it names.
    fn sort_out(&mut self, now: Tick) {
        for ((raw, told), at, diff) in self.recent.drain(..) {
            let known = self.known.entry(raw).or_default();
            known.add(told, at, diff, &self.remember, |time| self.identities.link_before(raw, time));
            known.sweep(now, &self.remember);
            let wake = self.remember.horizon.activity(now);
            if known.wake == 0 && !known.active.is_empty() && wake < Tick::MAX {
                known.wake = wake;
                self.wakes.entry(wake).or_default().push(raw);
            }
            if known.is_empty() {
                self.known.remove(&raw);
            }
        }
    }

    /// Forgets what nothing can reach any more of those whose turn it is.
    fn look_through(&mut self, now: Tick) {
        while let Some(entry) = self.wakes.first_entry().filter(|entry| *entry.key() <= now) {
            for raw in entry.remove() {
                let Some(known) = self.known.get_mut(&raw).filter(|known| (1..=now).contains(&known.wake)) else {
                    continue;
                };
                known.forget(now, &self.remember);
                let last = known.active.iter().map(|(time, at)| *time.max(at)).max();
                known.wake = last.map_or(0, |last| self.remember.horizon.activity(last));
                if known.wake > 0 {
                    self.wakes.entry(known.wake).or_default().push(raw);
                } else if known.is_empty() {
                    self.known.remove(&raw);
                }
            }
        }
    }
}

impl Told {
    /// The time that says whose it is, and whether that was still to come when it was told.
    fn time(&self, now: Tick) -> (Tick, bool) {
        match self {
            Told::Order(order) | Told::OrderGone(order) => (order.placed, order.ahead),
            Told::Cart(cart) => (cart.changed, false),
            _ => (now, false),
        }
    }

    /// Tells `owner` at `now`, when it happens.
    fn tell(&self, owner: Id, now: Tick, diff: Diff, remember: &Remember, emit: &mut Emit) {
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
            Told::Past(_, past) => emit.deed(owner, 0, Deed::Past(*past), 1),
            Told::Refused => emit.refusal(owner, ContactChange::ConsentWithheld(now), 1),
            _ => {}
        }
    }
}

fn tell_of_line(owner: Id, at: Tick, fold: &Fold, diff: Diff, emit: &mut Emit) {
    let fold = Fold { owner, cart: owner, ..fold.clone() };
    emit.implicit(owner, ImplicitChange::Fold(at, fold), diff);
}

fn tell_of_order(owner: Id, order: &Order, diff: Diff, emit: &mut Emit) {
    let mut skus: Vec<Id> = order.lines.iter().map(|line| line.sku).filter(|_| order.stands()).collect();
    skus.sort_unstable();
    skus.dedup();
    skus.into_iter().for_each(|sku| emit.sku(sku, SkuEvent::Ordered(owner, order.id, order.placed), diff));
}

impl Known {
    /// Remembers what was told at `at`. `link` says which link, if any, makes whose it is of what was done at a time.
    fn add(&mut self, told: Told, at: Tick, diff: Diff, remember: &Remember, link: impl Fn(Tick) -> usize) {
        match told {
            Told::Clicked(Clicked { deed, interest }) => {
                self.activity((at, at), link);
                if remember.trail_ms > 0 && deed != Deed::Active {
                    self.trail.push((at, deed));
                }
                if remember.wanted_ms().is_some() && !interest.is_none() {
                    self.wanted.push((at, interest));
                }
            }
            Told::Implicit(fold) => self.folds.push((at, fold)),
            Told::Cart(cart) if diff > 0 => {
                self.activity((at, at), link);
                self.wanted.extend(cart.skus().filter(|_| remember.wanted_ms().is_some()).map(|sku| (at, sku)));
                self.carts.push(cart);
            }
            Told::Cart(cart) => self.carts.retain(|other| *other != cart),
            Told::Order(order) if diff > 0 => {
                self.activity((order.placed, at), link);
                self.orders.push(order);
            }
            Told::Order(order) => {
                if let Some(place) = self.orders.iter().position(|other| *other == order) {
                    self.orders.remove(place);
                }
            }
            Told::Past(time, past) => match self.past.iter_mut().find(|known| link(known.0) == link(time)) {
                Some(known) => *known = (time.max(known.0), known.1.and(&past)),
                None => self.past.push((time, past)),
            },
            Told::Refused => drop(self.refused.get_or_insert(at)),
            _ => {}
        }
    }

    /// Only the last activity counts, of those that always have one owner: links to come are later than any of them, but for
    /// that of an order dated ahead.
    fn activity(&mut self, (time, at): (Tick, Tick), link: impl Fn(Tick) -> usize) {
        let known =
            self.active.iter_mut().find(|known| known.0 <= known.1 && time <= at && link(known.0) == link(time));
        match known {
            Some(known) => *known = (time.max(known.0), at.max(known.1)),
            None => self.active.push((time, at)),
        }
    }

    /// Forgets, when it is worth it, what is too old to matter.
    fn sweep(&mut self, now: Tick, remember: &Remember) {
        const FEW: usize = 32;
        if self.trail.len() + self.wanted.len() > FEW.max(2 * self.swept) {
            self.forget(now, remember);
        }
    }

    /// Forgets what no trigger can reach any more, and activities when that is all there could be.
    fn forget(&mut self, now: Tick, remember: &Remember) {
        self.trail.retain(|(at, _)| now < at.saturating_add(remember.trail_ms));
        self.wanted.retain(|(at, _)| now < at.saturating_add(remember.interest_ms.unwrap_or(0)));
        self.swept = self.trail.len() + self.wanted.len();
        self.active.retain(|(time, at)| now < remember.horizon.activity(*time.max(at)));
    }

    fn is_empty(&self) -> bool {
        self.active.is_empty()
            && self.trail.is_empty()
            && self.wanted.is_empty()
            && self.folds.is_empty()
            && self.carts.is_empty()
            && self.folded.is_empty()
            && self.orders.is_empty()
            && self.past.is_empty()
            && self.refused.is_none()
    }

    /// Forgets what `is_theirs`, and returns the carts and orders that were.
    fn erase(&mut self, is_theirs: impl Fn(Tick, bool) -> bool) -> Vec<Id> {
        self.active.retain(|(time, at)| !is_theirs(*time, time > at));
        self.trail.retain(|(at, _)| !is_theirs(*at, false));
        self.wanted.retain(|(at, _)| !is_theirs(*at, false));
        self.folds.retain(|(at, _)| !is_theirs(*at, false));
        self.past.retain(|(time, _)| !is_theirs(*time, false));
        let carts = self.carts.extract_if(.., |cart| is_theirs(cart.changed, false)).map(|cart| cart.id);
        let mut gone: Vec<Id> = carts.collect();
        gone.extend(self.orders.extract_if(.., |order| is_theirs(order.placed, order.ahead)).map(|order| order.id));
        gone
    }

    /// The SKUs that were wanted or ordered.
    fn skus(&self) -> impl Iterator<Item = Id> + '_ {
        let ordered = self.orders.iter().flat_map(|order| order.lines.iter().map(|line| line.sku));
        self.wanted.iter().map(|(_, sku)| *sku).chain(ordered)
    }

    /// Tells everything again to whom it belongs, where `owner` says to whom by its time.
    fn tell(&self, owner: impl Fn(Tick, bool) -> Option<Id>, remember: &Remember, emit: &mut Emit) {
        let skus = remember.interest_ms.is_some();
        for (time, at) in &self.active {
            owner(*time, time > at).into_iter().for_each(|owner| emit.deed(owner, *at, Deed::Active, 1));
        }
        let owner_at = |time: &Tick| owner(*time, false);
        for (at, deed) in &self.trail {
            owner_at(at).into_iter().for_each(|owner| emit.deed(owner, *at, deed.clone(), 1));
        }
        for (at, sku) in &self.wanted {
            owner_at(at).into_iter().for_each(|owner| emit.interest(owner, *at, *sku, remember));
        }
        for (at, fold) in &self.folds {
            owner_at(at).into_iter().for_each(|owner| tell_of_line(owner, *at, fold, 1, emit));
        }
        for cart in &self.carts {
            owner_at(&cart.changed).into_iter().for_each(|owner| emit.deed(owner, 0, Deed::Cart(cart.clone()), 1));
        }
        for order in &self.orders {
            if let Some(owner) = owner(order.placed, order.ahead) {
                emit.deed(owner, 0, Deed::Order(order.clone()), 1);
                if skus {
                    tell_of_order(owner, order, 1, emit);
                }
            }
        }
        for (time, past) in &self.past {
            owner_at(time).into_iter().for_each(|owner| emit.deed(owner, 0, Deed::Past(*past), 1));
        }
        if let Some(at) = self.refused {
            owner_at(&at).into_iter().for_each(|owner| emit.refusal(owner, ContactChange::ConsentWithheld(at), 1));
        }
    }
}
