//! What one worker knows: all links, and of everybody what went through it. In: what is told, tick by tick. Out: the same by owner, and
//! everything again of those whom a link or an erasure moves. Cannot fail.

use hashbrown::{HashMap, HashSet};

use super::Remember;
use super::known::{FoldedCart, Known};
use super::told::{Emit, Link, Told, tell_of_line};
use crate::by_tick::ByTick;
use crate::joins::carts::Cart;
use crate::joins::contacts::ContactChange;
use crate::joins::customers::Deed;
use crate::joins::identities::Identities;
use crate::joins::implicit::ImplicitChange;
use crate::joins::interests::Interest;
use crate::joins::skus::SkuEvent;
use crate::keyed::{Ahead, Keyed, Turns};
use crate::model::{Diff, Fold, History, Id, OrderStatus, Tick};
use crate::snapshot::{Section, Snapshots};

/// What one worker knows.
pub(super) struct Owners {
    remember: Remember,
    /// Whether this worker tells of what all know.
    speaks: bool,
    identities: Identities,
    known: Keyed<Known>,
    /// What was told since `known` was last asked for.
    recent: Vec<((Id, Told), Tick, Diff)>,
    folded: Keyed<FoldedCart>,
    /// Carts and orders of the erased, whose row is not retracted yet where it came from.
    erased: HashSet<Id>,
    erased_to: Section,
    turns: Turns,
}

/// So many rows are kept as they came before they are sorted, and what no longer matters of them is dropped: few enough that they lie
/// in a core's own cache.
const RECENT: usize = 1 << 12;

impl Owners {
    /// Knows what an earlier snapshot has, and is written down in the next. Of what another number of workers wrote each takes what it is
    /// told of from now on.
    pub(super) fn new(remember: Remember, speaks: bool, snapshots: &Snapshots) -> Owners {
        let owns = |id: u64| snapshots.owns(id);
        let known =
            Keyed::in_section(snapshots.section("Owners, by whom records name"), |all, raw: Id, known: Known| {
                let known = if snapshots.are_moved() { known.of_worker(owns(raw.0), owns) } else { known };
                if !known.is_empty() {
                    all.get_or_default(raw).join(known);
                }
            });
        let folded = Keyed::in_section(snapshots.section("Owners, folded carts"), |all, cart: Id, folded| {
            if !snapshots.are_moved() || owns(cart.0) {
                all.insert(cart, folded);
            }
        });
        let erased_to = snapshots.section("Owners, erased");
        let mut erased = HashSet::new();
        erased_to.read(|id: Id| {
            if !snapshots.are_moved() || owns(id.0) {
                erased.insert(id);
            }
        });
        let identities = Identities::kept_in(snapshots, remember.horizon);
        let turns = Turns::within(remember.horizon.after_ms());
        Owners { remember, speaks, identities, known, turns, recent: Vec::new(), folded, erased, erased_to }
    }

    /// The tick of a snapshot that is to be begun before the ticks before `upper` are taken up whole.
    pub(super) fn due(&self, upper: Option<Tick>) -> Option<Tick> {
        self.known.due(upper)
    }

    /// Writes the snapshot of `tick` from now on: that is the last that was taken up.
    pub(super) fn begin(&mut self, tick: Tick) {
        self.sort_out();
        self.known.begin(tick);
        self.folded.begin(tick);
        self.identities.begin(tick);
        self.erased_to.begin(tick);
        self.erased.iter().for_each(|id| self.erased_to.write(id));
        self.erased_to.end();
    }

    /// Writes some more of a snapshot. Whether there is still more.
    pub(super) fn write_some(&mut self) -> bool {
        // Each of them, not only the first.
        self.known.write_some() | self.folded.write_some() | self.identities.write_some()
    }

    /// Tells of all aliases once more.
    pub(super) fn restate(&self, tick: Tick, emit: &mut Emit) {
        let aliases = self.identities.aliases().filter(|_| self.speaks);
        aliases.for_each(|alias| emit.aliases.push((alias, tick, 1)));
    }

    /// Takes up what is told before `upper` (all when there is none), tick by tick.
    pub(super) fn advance(&mut self, pending: &mut ByTick<(Id, Told)>, upper: Option<Tick>, emit: &mut Emit) {
        loop {
            let told = pending.first();
            let lapse = self.identities.next_lapse();
            let next = told.into_iter().chain(lapse).min();
            let Some(now) = next.filter(|now| upper.is_none_or(|upper| *now < upper)) else { return };
            emit.now = now;
            // Not after the last tick: it is waited for.
            if self.has_many_unsorted() {
                self.sort_out();
            }
            let mut heap = pending.take(now);
            self.tick(now, &mut heap, emit);
            pending.give_back(heap);
            self.look_through(now);
        }
    }

    /// Takes up what is told at `now`.
    fn tick(&mut self, now: Tick, told: &mut Vec<((Id, Told), Diff)>, emit: &mut Emit) {
        let (mut links, mut erased) = (Vec::new(), HashSet::new());
        for ((from, told), _) in told.extract_if(.., |((_, told), _)| matches!(told, Told::Link(_) | Told::Erased)) {
            match told {
                Told::Link(link) => links.push((link, from)),
                _ => drop(erased.insert(from)),
            }
        }
        let lapses = self.identities.next_lapse().is_some_and(|lapse| lapse <= now);
        let mut moved = if links.is_empty() && !lapses { HashSet::new() } else { self.link(now, links, emit) };
        // Who is an alias of another owns nothing.
        erased.retain(|user| self.identities.follow(*user) == *user);
        moved.extend(&erased);
        let mut carts: HashMap<Id, Option<(Id, Cart)>> = HashMap::new();
        for ((raw, told), diff) in told.drain(..) {
            self.take(now, raw, told, diff, &moved, &mut carts, emit);
        }
        if !erased.is_empty() {
            self.erase(&erased, &moved, &mut carts, emit);
        }
        for (cart, before) in carts {
            let after = self.folded.get(cart).and_then(|folded| folded.cart.row());
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
        self.sort_out();
        for raw in self.identities.all_of(moved.iter().copied()) {
            for cart in self.known.get(raw).into_iter().filter_map(|known| known.rare()).flat_map(|rare| &rare.folded) {
                if let Some(folded) = self.folded.get_mut(*cart) {
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
                let folded = self.folded.get_or_default(fold.cart);
                carts.entry(fold.cart).or_insert_with(|| folded.cart.row());
                self.known.get_or_default(raw).rare_mut().folded.insert(fold.cart);
                folded.fold(now, *fold, owner);
            }
            Told::LineGone(cart, sku) => self.forget_lines(now, cart, sku, carts),
            Told::ImplicitGone(sku) => self.forget_implicit_lines(now, raw, sku, moved, emit),
            // What was erased is gone already.
            Told::OrderGone(order) if self.erased.remove(&order.id) => {}
            Told::Order(order) if diff < 0 && self.erased.remove(&order.id) => {}
            Told::Cart(cart) if diff < 0 && self.erased.remove(&cart.id) => {}
            Told::OrderGone(order) => {
                // What is left is of whoever the visitor was linked to by now.
                let holder = self.identities.linked(raw, time, ahead);
                if self.remember.past && order.status == OrderStatus::Placed {
                    let past = History::of(order.placed, order.total().unwrap_or_default());
                    self.tell(now, holder, Told::Past(order.placed, Box::new(past)), 1, owner, moved, emit);
                }
                self.tell(now, raw, Told::Order(order), -1, owner, moved, emit);
            }
            told => {
                if let (Told::Cart(cart), false) = (&told, self.folded.is_empty())
                    && let Some(folded) = self.folded.get(cart.id)
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
        let Some(folded) = self.folded.get_mut(cart) else { return };
        carts.entry(cart).or_insert_with(|| folded.cart.row());
        let before: HashSet<Id> = folded.folds.iter().map(|(_, fold)| fold.owner).collect();
        folded.drop(&self.identities, |(at, fold)| fold.sku == sku && *at < now);
        let after: HashSet<Id> = folded.folds.iter().map(|(_, fold)| fold.owner).collect();
        if after.is_empty() {
            self.folded.remove(cart);
        }
        before.difference(&after).for_each(|raw| self.part(*raw, cart));
    }

    /// Forgets a folded cart altogether.
    fn drop_folded(&mut self, cart: Id) {
        let folded = self.folded.remove(cart).unwrap_or_default();
        folded.folds.iter().for_each(|(_, fold)| self.part(fold.owner, cart));
    }

    /// One who had a hand in a folded cart has it no longer.
    fn part(&mut self, raw: Id, cart: Id) {
        if let Some(known) = self.known.get_mut(raw) {
            known.rare_mut().folded.remove(&cart);
            if known.is_empty() {
                self.known.remove(raw);
            }
        }
    }

    /// Forgets what was told before `now` of a SKU in an implicit cart.
    fn forget_implicit_lines(&mut self, now: Tick, raw: Id, sku: Id, moved: &HashSet<Id>, emit: &mut Emit) {
        self.sort_out();
        let Some(known) = self.known.get_mut(raw) else { return };
        let are = |(at, fold): &mut (Tick, Fold)| fold.sku == sku && *at < now;
        for (at, fold) in known.rare_mut().folds.extract_if(.., are) {
            let owner = self.identities.owner(raw, at, false);
            if !moved.contains(&owner) {
                tell_of_line(owner, at, &fold, -1, emit);
            }
        }
        if known.is_empty() {
            self.known.remove(raw);
        }
    }

    /// Forgets all that is of the `erased`, but for what withholds consent. They are among the `moved`, who are told everything
    /// again: what is forgotten may have been another's until this tick.
    fn erase(
        &mut self,
        erased: &HashSet<Id>,
        moved: &HashSet<Id>,
        carts: &mut HashMap<Id, Option<(Id, Cart)>>,
        emit: &mut Emit,
    ) {
        self.sort_out();
        let mut whole = Vec::new();
        for raw in self.identities.all_of(erased.iter().copied()) {
            let Some(known) = self.known.get_mut(raw) else { continue };
            if self.remember.interest_ms.is_some() {
                for sku in known.skus() {
                    moved.iter().for_each(|owner| emit.sku(sku, SkuEvent::Gone(*owner), -1));
                }
            }
            let is_theirs = |time, ahead| erased.contains(&self.identities.owner(raw, time, ahead));
            self.erased.extend(known.erase(is_theirs));
            for cart in std::mem::take(&mut known.rare_mut().folded) {
                let Some(folded) = self.folded.get_mut(cart) else { continue };
                carts.entry(cart).or_insert_with(|| folded.cart.row());
                // Their own goes whole, so that it comes to nobody else.
                if folded.cart.row().is_some_and(|(owner, _)| erased.contains(&owner)) {
                    whole.push(cart);
                    continue;
                }
                folded.drop(&self.identities, |(at, fold)| fold.owner == raw && is_theirs(*at, false));
                if folded.folds.iter().any(|(_, fold)| fold.owner == raw) {
                    known.rare_mut().folded.insert(cart);
                }
            }
            if known.is_empty() {
                self.known.remove(raw);
            }
        }
        whole.into_iter().for_each(|cart| self.drop_folded(cart));
    }

    /// Takes `moved` back and tells everything of them again.
    fn tell_again(&mut self, now: Tick, moved: &HashSet<Id>, emit: &mut Emit) {
        self.sort_out();
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
            all.into_iter().filter_map(|raw| self.known.get(raw).map(|known| (raw, known))).collect();
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
            folded.extend(known.rare().into_iter().flat_map(|rare| rare.folded.iter().copied()));
        }
        let rows = folded.iter().filter_map(|cart| self.folded.get(*cart)?.cart.row());
        for (owner, cart) in rows.filter(|(owner, _)| moved.contains(owner)) {
            emit.deed(owner, 0, Deed::Cart(cart), 1);
        }
    }

    /// Whether more was told lately than a core's own cache has room for.
    pub(super) fn has_many_unsorted(&self) -> bool {
        self.recent.len() >= RECENT
    }

    /// Sorts what was told lately by whom it names.
    pub(super) fn sort_out(&mut self) {
        let Owners { recent, known, remember, identities, .. } = self;
        let now = recent.last().map_or(0, |(_, at, _)| *at);
        let (mut recent, mut ahead) = (recent.drain(..), Ahead::default());
        loop {
            ahead.look(known, recent.as_slice(), |((raw, _), ..)| *raw);
            let Some(((raw, told), at, diff)) = recent.next() else { return };
            known.change(raw, |known| {
                known.add(told, at, diff, remember, |time| identities.link_before(raw, time));
                known.sweep(now, remember);
                !known.is_empty()
            });
        }
    }

    /// Forgets what nothing can reach any more of those whose turn it is. Told again it would change nothing, so nobody notices when.
    fn look_through(&mut self, now: Tick) {
        let Owners { known, turns, remember, .. } = self;
        known.look_through(turns, now, |_, known| {
            known.forget(now, remember);
            !known.is_empty()
        });
    }
}
