//! Beckon's dataflow graph: from typed records to the trigger set and what enters and leaves it. Pure: no clock, no network,
//! no disk. [`build`] is the whole of it on one screen.

mod by_tick;
pub mod counts;
pub mod custom;
mod dense;
pub mod flat;
pub mod horizon;
pub mod inputs;
pub mod joins;
mod keyed;
pub mod kpis;
pub mod model;
pub mod outputs;
mod packed;
pub mod per_key;
mod pieces;
mod places;
pub mod plan;
pub mod reconcile;
pub mod sharded;
pub mod snapshot;
pub mod time;
pub mod triggers;

use std::sync::Arc;

use differential_dataflow::VecCollection;
use timely::dataflow::Scope;
use timely::dataflow::operators::probe::Handle;

use counts::Counts;
use horizon::Horizon;
use inputs::{Collections, Inputs};
use joins::bought::BoughtSkus;
use joins::carts::{CartChange, Carts};
use joins::contacts::{ContactChange, Contacts};
use joins::customers::{Customers, Deed};
use joins::erasures::Erasures;
use joins::history::Histories;
use joins::implicit::{ImplicitCarts, ImplicitLines};
use joins::interests::RecentInterests;
use joins::once::once;
use joins::open_carts::OpenCarts;
use joins::orders::Orders;
use joins::owners::{Owned, Raw, Remember, messages, owners};
use joins::placed::PlacedOrders;
use joins::products::Products;
use joins::skus::{SkuEvent, Skus};
use joins::stock::{Stock, StockFact};
use model::{Action, Change, Click, Diff, Id, Opening, Tick};
use outputs::{Destination, Outputs};
use per_key::per_key;
use plan::Plan;
use snapshot::Snapshots;
use triggers::welcome::Welcomes;
use triggers::{cart_abandonment, low_stock};

type Rows<'scope, D> = VecCollection<'scope, Tick, D, Diff>;

/// How far everything is concluded: who asks can leave for later what nobody waits for.
type Concluded = Handle<Tick>;

/// Builds the graph of one worker. Records go in through the inputs; what changed by each closed tick comes out of the outputs
/// at its destination, which is the same for all workers. What is kept is written to `snapshots`, and begins with what those have.
pub fn build(
    scope: Scope<'_, Tick>,
    plan: &Plan,
    counts: &Arc<Counts>,
    destination: Destination,
    snapshots: &Snapshots,
) -> (Inputs, Outputs) {
    let (inputs, Collections { clicks, carts, stock, catalog, orders, profiles, engagement }) = inputs::open(scope);

    let horizon = Horizon::of(plan);
    let messages = messages(once(clicks, "Clicks, once", counts.clone(), snapshots));
    let engagement = once(engagement, "Engagement, once", counts.clone(), snapshots);
    let folds = messages.say_more.clone().flat_map(fold);
    let named = folds.clone().filter(|fold| !fold.is_implicit()).map(|fold| (fold.cart, CartChange::Fold(fold)));
    let carts = carts.map(|record| (record.cart, CartChange::Record(record))).concat(named);
    let carts = per_key(carts, "Carts by id", Carts { counts: counts.clone(), horizon }, snapshots);
    let lines = folds.filter(|fold| fold.is_implicit()).map(|fold| (fold.owner, fold));
    let lines = per_key(lines, "Implicit lines by id", ImplicitLines { horizon }, snapshots);
    let orders = orders.concat(messages.say_more.clone().flat_map(order)).map(|record| (record.order, record));
    let orders =
        per_key(orders, "Orders by id", Orders { tick_ms: plan.tick_ms, counts: counts.clone(), horizon }, snapshots);
    let engaged = plan.attribution_ms.map(|_| engagement.clone().flat_map(with_a_mail));
    let choices = engagement.clone().flat_map(choice);
    let refusals = engagement.filter(|record| record.kind.withholds_consent() && !record.user.is_none());
    let refusals = refusals.map(|record| record.user);
    let skus = Skus::with(triggers::over_skus(plan));
    let customers = Customers::with(triggers::over_deeds(plan), counts);
    let remember = Remember {
        trail_ms: customers.as_ref().map_or(0, Customers::trail_ms),
        interest_ms: skus.as_ref().map(Skus::interest_ms),
        similar_ms: plan.similar.map(|similar| similar.interest_ms(plan.tick_ms)),
        past: plan.counts_orders(),
        horizon,
    };
    let profiles = profiles.map(|record| (record.user, record));
    let erased = plan.forget_erased.then(|| per_key(profiles.clone(), "Erasures by user", Erasures, snapshots));
    let told = Raw { messages, carts, implicit: lines, orders, refusals, choices, erased };
    let concluded = Concluded::new();
    let Owned { deeds, implicit, skus: wishes, interests, refusals, aliases } =
        owners(told, remember, concluded.clone(), snapshots);
    let implicit = per_key(implicit, "Implicit carts by owner", ImplicitCarts, snapshots);
    // What only some plans ask for is copied for those.
    let ordered =
        || deeds.clone().filter(|(_, (_, deed))| matches!(deed, Deed::Order(_) | Deed::Past(_) | Deed::Reset));
    let histories = plan.history.then(|| per_key(ordered(), "Histories by customer", Histories, snapshots));
    let bought = plan.similar.map(|_| per_key(ordered(), "SKUs by buyer", BoughtSkus, snapshots));
    let placed = plan.attribution_ms.map(|_| per_key(ordered(), "Orders by owner", PlacedOrders, snapshots));
    let interests = plan.similar.map(|similar| {
        per_key(interests, "Interests by customer", RecentInterests { similar, tick_ms: plan.tick_ms }, snapshots)
    });
    let buyers = Customers::with(triggers::over_orders(plan), counts)
        .map(|buyers| per_key(ordered(), "Buyers", buyers, snapshots));
    let stock =
        per_key(stock.map(|record| (record.sku, record)), "Stock by SKU", Stock { counts: counts.clone() }, snapshots);
    let in_stock = stock.clone().flat_map(in_stock_since);
    let catalog = catalog.map(|record| (record.sku, record));
    let products = per_key(catalog, "Products by SKU", Products { counts: counts.clone() }, snapshots);
    let prices = products.clone().flat_map(|(sku, product)| product.price.map(|price| (sku, price)));
    let profiles = profiles.map(|(user, record)| (user, ContactChange::Profile(record)));
    let contacts = profiles.concat(refusals);
    let contacts = per_key(contacts, "Contacts by customer", Contacts { counts: counts.clone() }, snapshots);

    let open_carts = plan.carts.then(|| {
        let told = deeds.clone().filter(|(_, (_, deed))| matches!(deed, Deed::Cart(_) | Deed::Order(_) | Deed::Reset));
        let told = told.concat(implicit.clone().map(|(owner, cart)| (owner, (0, Deed::Cart(cart)))));
        per_key(told, "Open carts by customer", OpenCarts, snapshots)
    });

    let mut episodes: Vec<Rows<Opening>> = Vec::new();
    if let Some(customers) = customers {
        let deeds = deeds.concat(implicit.map(|(owner, cart)| (owner, (0, Deed::Cart(cart)))));
        let found = per_key(deeds, "Customers", customers, snapshots);
        let skus_in_stock = in_stock.clone().map(|(sku, _)| sku);
        episodes.extend(cart_abandonment::in_stock(&found, plan, skus_in_stock, prices.clone()));
        episodes.extend(low_stock::running_out(&found, plan, stock.clone(), snapshots));
        episodes.push(triggers::whole(found, plan));
    }
    episodes.extend(buyers);
    if let Some(skus) = skus {
        let events = wishes.concat(in_stock.map(|(sku, since)| (sku, SkuEvent::InStockSince(since))));
        let events = events.concat(prices.map(|(sku, price)| (sku, SkuEvent::Price(price))));
        episodes.push(per_key(events, "SKUs", skus, snapshots));
    }
    if let Some(welcomes) = Welcomes::of(plan) {
        episodes.push(per_key(contacts.clone(), "Welcomes", welcomes, snapshots));
    }

    let outputs = outputs::collect(scope, destination, &concluded, |changes| {
        changes.entries(episodes);
        changes.state(stock.flat_map(|fact| match fact {
            StockFact::OnHand(sku, units) => Some(Change::Stock(sku, units)),
            StockFact::InStockSince(..) => None,
        }));
        changes.state(products.map(|(sku, product)| Change::Product(sku, product)));
        changes.state(contacts.map(|(customer, contact)| Change::Contact(customer, contact)));
        changes.state(aliases.map(|(from, to)| Change::Aliased(from, to)));
        histories.into_iter().for_each(|rows| changes.state(rows.map(|(id, history)| Change::History(id, history))));
        open_carts.into_iter().for_each(|rows| changes.state(rows.map(|(id, carts)| Change::Carts(id, carts))));
        interests.into_iter().for_each(|rows| changes.state(rows.map(|(id, skus)| Change::Interests(id, skus))));
        placed.into_iter().for_each(|rows| changes.state(rows.map(|(id, order)| Change::Order(id, order))));
        engaged.into_iter().for_each(|rows| changes.state(rows.map(|it| Change::Engaged(Box::new(it)))));
        bought.into_iter().for_each(|rows| changes.state(rows.map(|(id, sku, is)| Change::Bought(id, sku, is))));
    });
    (inputs, outputs)
}

/// The change of a cart's line that a message tells of.
fn fold(click: Click) -> Option<Box<model::Fold>> {
    match click.action {
        Action::Folded(fold) => Some(fold),
        _ => None,
    }
}

/// The order that a message tells of.
fn order(click: Click) -> Option<model::OrderRecord> {
    match click.action {
        Action::Ordered(order) => Some(*order),
        _ => None,
    }
}

/// What a recipient chose, where the record says who.
fn choice(record: model::EngagementRecord) -> Option<(Id, Arc<model::Choice>)> {
    record.choice.filter(|_| !record.user.is_none()).map(|choice| (record.user, choice))
}

/// What somebody did with the mail of a decision, where the record names one.
fn with_a_mail(record: model::EngagementRecord) -> Option<model::Engagement> {
    let model::EngagementRecord { decision, kind, machine, .. } = record;
    (decision != 0).then_some(model::Engagement { decision, kind, machine })
}

fn in_stock_since(fact: StockFact) -> Option<(Id, Tick)> {
    match fact {
        StockFact::InStockSince(sku, since) => Some((sku, since)),
        StockFact::OnHand(..) => None,
    }
}
