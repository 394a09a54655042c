//! Beckon's dataflow graph: from typed records to the trigger set and what enters and leaves it. Pure: no clock, no network,
//! no disk. [`build`] is the whole of it on one screen.

pub mod counts;
pub mod inputs;
pub mod joins;
pub mod model;
pub mod outputs;
pub mod per_key;
pub mod plan;
pub mod time;
pub mod triggers;

use std::sync::Arc;

use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::Scope;
use timely::dataflow::operators::vec::Map;

use counts::Counts;
use inputs::{Collections, Inputs};
use joins::carts::{Cart, CartChange, Carts};
use joins::contacts::{ContactChange, Contacts};
use joins::customers::{CustomerTrigger, Customers, Deed};
use joins::history::Histories;
use joins::once::once;
use joins::orders::Orders;
use joins::products::Products;
use joins::stock::{Stock, StockFact};
use model::{Action, Change, Click, Diff, Id, Opening, Tick};
use outputs::Outputs;
use per_key::per_key;
use plan::Plan;
use triggers::back_in_stock::{Restocks, SkuEvent};
use triggers::cart_abandonment::{self, Idle};

type Rows<'scope, D> = VecCollection<'scope, Tick, D, Diff>;

/// Builds the graph of one worker. Records go in through the inputs; what changed by each closed tick comes out of the outputs.
pub fn build(scope: Scope<'_, Tick>, plan: &Plan, counts: &Arc<Counts>) -> (Inputs, Outputs) {
    let (inputs, Collections { clicks, carts, stock, catalog, orders, profiles, engagement }) = inputs::open(scope);

    let clicks = once(clicks, "Clicks, once", counts.clone());
    let engagement = once(engagement, "Engagement, once", counts.clone());
    let folds = clicks.clone().flat_map(fold).map(|fold| (fold.cart, CartChange::Fold(fold)));
    let carts = carts.map(|record| (record.cart, CartChange::Record(record))).concat(folds);
    let carts = per_key(carts, "Carts by id", Carts { counts: counts.clone() });
    let orders = orders.concat(clicks.clone().flat_map(order)).map(|record| (record.order, record));
    let orders = per_key(orders, "Orders by id", Orders { tick_ms: plan.tick_ms, counts: counts.clone() });
    let histories = plan.history.then(|| per_key(orders.clone(), "Histories by customer", Histories));
    let stock = per_key(stock.map(|record| (record.sku, record)), "Stock by SKU", Stock { counts: counts.clone() });
    let in_stock = stock.clone().flat_map(in_stock_since);
    let catalog = catalog.map(|record| (record.sku, record));
    let products = per_key(catalog, "Products by SKU", Products { counts: counts.clone() });
    let prices = products.clone().flat_map(|(sku, product)| product.price.map(|price| (sku, price)));
    let profiles = profiles.map(|record| (record.user, ContactChange::Profile(record)));
    let withheld = engagement.filter(|record| record.kind.withholds_consent() && !record.user.is_none());
    let contacts = profiles.concat(withheld.map(|record| (record.user, ContactChange::ConsentWithheld)));
    let contacts = per_key(contacts, "Contacts by customer", Contacts { counts: counts.clone() });

    let mut episodes: Vec<Rows<Opening>> = Vec::new();

    let campaigns = plan.cart_abandonment();
    if !campaigns.is_empty() {
        let deeds = clicks.clone().map(|click| (click.owner, Deed::Active));
        let deeds = deeds.concat(carts.clone().map(|(owner, cart)| (owner, Deed::Cart(cart))));
        let deeds = deeds.concat(orders.clone().map(|(owner, order)| (owner, Deed::Order(order))));
        let idle = campaigns.iter().map(|(campaign, parameters)| -> Box<dyn CustomerTrigger> {
            Box::new(Idle { campaign: *campaign, parameters: parameters.clone() })
        });
        let idle = per_key(deeds, "Customers", Customers { triggers: idle.collect() });
        episodes.push(cart_abandonment::in_stock(idle, campaigns, in_stock.clone().map(|(sku, _)| sku), prices));
    }

    let campaigns = plan.back_in_stock();
    if !campaigns.is_empty() {
        let events = clicks.flat_map(interest).concat(lines_of_interest(carts));
        let events = events.concat(orders.flat_map(|(owner, order)| {
            let stands = order.stands();
            let skus: Vec<Id> = order.skus.iter().copied().filter(|_| stands).collect();
            skus.into_iter().map(move |sku| (sku, SkuEvent::Ordered(owner, order.id, order.placed)))
        }));
        let events = events.concat(in_stock.map(|(sku, since)| (sku, SkuEvent::InStockSince(since))));
        episodes.push(per_key(events, "Restocks by SKU", Restocks { campaigns }));
    }

    let outputs = outputs::collect(scope, |changes| {
        changes.entries(episodes);
        changes.state(stock.flat_map(|fact| match fact {
            StockFact::OnHand(sku, units) => Some(Change::Stock(sku, units)),
            StockFact::InStockSince(..) => None,
        }));
        changes.state(products.map(|(sku, product)| Change::Product(sku, product)));
        changes.state(contacts.map(|(customer, contact)| Change::Contact(customer, contact)));
        histories.into_iter().for_each(|rows| changes.state(rows.map(|(id, history)| Change::History(id, history))));
    });
    (inputs, outputs)
}

/// The change of a cart's line that a message tells of.
fn fold(click: Click) -> Option<model::Fold> {
    match click.action {
        Action::Folded(fold) => Some(*fold),
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

/// The interest in a SKU that a message shows (SPEC §3).
fn interest(click: Click) -> Option<(Id, SkuEvent)> {
    match click.action {
        Action::Viewed(sku) | Action::Wanted(sku) => Some((sku, SkuEvent::Interest(click.owner))),
        Action::Folded(fold) if fold.quantity > 0 => Some((fold.sku, SkuEvent::Interest(click.owner))),
        _ => None,
    }
}

/// The interest that the lines of a `carts` record show, when it takes effect (SPEC §3). Folded lines are messages, and show
/// theirs as such.
fn lines_of_interest<'scope>(carts: Rows<'scope, (Id, Cart)>) -> Rows<'scope, (Id, SkuEvent)> {
    carts
        .inner
        .flat_map(|((owner, cart), tick, diff)| {
            let lines = if diff > 0 && cart.recorded { cart.lines } else { Arc::default() };
            let skus: Vec<Id> = lines.iter().map(|line| line.line.sku).collect();
            skus.into_iter().map(move |sku| ((sku, SkuEvent::Interest(owner)), tick, 1))
        })
        .as_collection()
}

fn in_stock_since(fact: StockFact) -> Option<(Id, Tick)> {
    match fact {
        StockFact::InStockSince(sku, since) => Some((sku, since)),
        StockFact::OnHand(..) => None,
    }
}
