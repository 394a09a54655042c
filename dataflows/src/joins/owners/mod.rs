//! Owners (SPEC §3, "Owner of a record"). In: what clicks, carts, orders, refusals and choices tell, by the id that each record carries, and
//! on every worker all links and aliases. Out: the same by owner as of each tick. Cannot fail.
//!
//! A link or an alias moves what was told before. Whom it concerns, on either side, is taken back whole (`Reset`) and told again
//! from the beginning, by every worker what it has of it: what is kept of a customer is then the same as if the records had been
//! theirs all along. For that each worker remembers what went through it, sorted some thousand rows at a time: carts and orders
//! until they are retracted, the rest until no trigger can reach it (`horizon.rs`).

mod known;
mod told;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use differential_dataflow::{AsCollection, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::operators::vec::Broadcast;

use super::carts::Raw as RawCart;
use super::contacts::ContactChange;
use super::customers::Deed;
use super::implicit::{ImplicitChange, Raw as RawLine};
use super::interests::Interest;
use super::orders::Raw as RawOrder;
use super::skus::SkuEvent;
use crate::by_tick::ByTick;
use crate::horizon::Horizon;
use crate::model::{Action, Choice, Click, Diff, Id, Position, Tick};

use crate::snapshot::Snapshots;

use told::{Clicked, Emit, Link, Out, Told};
use worker::Owners;

type Rows<'scope, D> = VecCollection<'scope, Tick, D, Diff>;

/// After this it is asked again whether all is concluded.
const LATER: Duration = Duration::from_millis(1);

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
    /// Consent withheld, and choices.
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

/// Messages, taken apart.
pub struct Messages<'scope> {
    /// What each says its sender did.
    told: Rows<'scope, (Id, Told)>,
    /// Those that say more: a line of a cart, an order, a link. Most do not, and are not copied.
    pub say_more: Rows<'scope, Click>,
}

/// What is told, by whom each record names.
pub struct Raw<'scope> {
    /// Messages.
    pub messages: Messages<'scope>,
    /// Carts with an id of their own, at their place.
    pub carts: Rows<'scope, (Id, RawCart)>,
    /// Lines of implicit carts, at the place of whom they name.
    pub implicit: Rows<'scope, (Id, RawLine)>,
    /// Orders, at their place.
    pub orders: Rows<'scope, (Id, RawOrder)>,
    /// Who withholds consent.
    pub refusals: Rows<'scope, Id>,
    /// What was chosen.
    pub choices: Rows<'scope, (Id, Arc<Choice>)>,
    /// Who is erased, where the erased are forgotten.
    pub erased: Option<Rows<'scope, Id>>,
}

/// Gives what is told to its owners. What is to be remembered of a tick is sorted once all of it is `concluded`.
pub fn owners<'scope>(
    raw: Raw<'scope>,
    remember: Remember,
    concluded: Handle<Tick>,
    snapshots: &Snapshots,
) -> Owned<'scope> {
    let Raw { messages, carts, implicit, orders, refusals, choices, erased } = raw;
    let Messages { told, say_more } = messages;
    let speaks = told.inner.scope().index() == 0;
    let links = say_more.flat_map(links).inner.broadcast().as_collection();
    let links = links.map(|(from, (at_ms, position), (user, is_alias))| {
        (from, Told::Link(Link { at_ms, position, user, is_alias }))
    });
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
    let told = told.concat(refusals.map(|user| (user, Told::Refused)));
    let told = told.concat(choices.map(|(user, choice)| (user, Told::Chosen(choice)))).concat(links);
    let told = match erased {
        Some(erased) => told.concat(erased.inner.broadcast().as_collection().map(|user| (user, Told::Erased))),
        None => told,
    };
    by_tick(told, Owners::new(remember, speaks, snapshots), concluded, snapshots)
}

/// Takes messages apart.
pub fn messages(clicks: Rows<'_, Click>) -> Messages<'_> {
    let mut builder = OperatorBuilder::new("Messages".to_owned(), clicks.inner.scope());
    let mut input = builder.new_input(clicks.inner, Pipeline);
    let (told_out, told) = builder.new_output::<Vec<_>>();
    let (more_out, say_more) = builder.new_output::<Vec<_>>();
    let mut told_out = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(told_out);
    let mut more_out = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(more_out);
    builder.build(move |_| {
        move |_| {
            let (mut told, mut more) = (told_out.activate(), more_out.activate());
            input.for_each(|capability, clicks| {
                let mut told = told.session(&capability);
                let mut more = more.session(&capability);
                for (click, tick, diff) in clicks.drain(..) {
                    told.give(((click.owner, Told::Clicked(clicked(&click))), tick, diff));
                    if click.action.says_more() {
                        more.give((click, tick, diff));
                    }
                }
            });
        }
    });
    Messages { told: told.as_collection(), say_more: say_more.as_collection() }
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

fn clicked(click: &Click) -> Clicked {
    let plain = |deed, interest| Clicked { deed, interest };
    match &click.action {
        Action::Viewed(sku) => plain(Deed::Viewed(*sku, click.at_ms, click.position), *sku),
        Action::Wanted(sku) => plain(Deed::Active, *sku),
        Action::Folded(fold) if fold.quantity > 0 => plain(Deed::Added, fold.sku),
        Action::Searched(query) => plain(Deed::Searched(*query), Id::NONE),
        Action::CheckoutStarted(subject) => plain(Deed::CheckoutStarted(*subject), Id::NONE),
        _ => plain(Deed::Active, Id::NONE),
    }
}

/// Sends `rows` out.
fn send<D: 'static>(
    output: &mut OutputBuilder<Tick, CapacityContainerBuilder<Vec<told::Row<D>>>>,
    capability: &Capability<Tick>,
    rows: &mut Out<D>,
) {
    rows.take().for_each(|mut piece| output.activate().session(capability).give_container(&mut piece));
}

/// Runs `owners` tick by tick, once each is closed.
fn by_tick<'scope>(
    told: Rows<'scope, (Id, Told)>,
    mut owners: Owners,
    concluded: Handle<Tick>,
    snapshots: &Snapshots,
) -> Owned<'scope> {
    let scope = told.inner.scope();
    let mut builder = OperatorBuilder::new("Owners".to_owned(), scope);
    let again = scope.activator_for(builder.operator_info().address);
    let snapshots = snapshots.clone();
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
        let mut pending = ByTick::<(Id, Told)>::default();
        let mut emit = Emit::default();
        let mut restated = snapshots.earlier();
        move |frontiers| {
            input.for_each(|_, updates| pending.add(snapshots.new_in(updates)));
            let upper = frontiers[0].frontier().first().copied();
            let [for_deeds, for_implicit, for_skus, for_interests, for_refusals, for_aliases] = &mut capabilities[..]
            else {
                return;
            };
            if let Some(tick) = restated.take() {
                owners.restate(tick, &mut emit);
            }
            if owners.write_some() {
                again.activate();
            }
            if upper.is_some_and(|upper| upper <= *for_deeds.time()) {
                match (owners.has_many_unsorted(), concluded.less_than(for_deeds.time())) {
                    (false, _) => {}
                    (true, false) => owners.sort_out(),
                    (true, true) => again.activate_after(LATER),
                }
                return;
            }
            if let Some(tick) = owners.due(upper) {
                owners.advance(&mut pending, Some(tick + 1), &mut emit);
                owners.begin(tick);
                again.activate();
            }
            owners.advance(&mut pending, upper, &mut emit);
            send(&mut deeds_out, for_deeds, &mut emit.deeds);
            send(&mut implicit_out, for_implicit, &mut emit.implicit);
            send(&mut skus_out, for_skus, &mut emit.skus);
            send(&mut interests_out, for_interests, &mut emit.interests);
            send(&mut refusals_out, for_refusals, &mut emit.refusals);
            send(&mut aliases_out, for_aliases, &mut emit.aliases);
            if owners.has_many_unsorted() {
                again.activate_after(LATER);
            }
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
