//! The triggers (SPEC §4), one function each. In: the state at a tick, and a campaign. Out: the episodes whose condition
//! holds, and the later ticks at which, with nothing new, that may change. Cannot fail.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::config::{Campaign, StockRule};
use super::records::{Customer, Event, Line, Status};
use super::state::{CartKey, CartLine, CartState, State};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The default `lookback` of `back_in_stock` and `price_drop`.
const LOOKBACK_MS: i64 = 30 * DAY_MS;

/// The default `lookback` of `browse_abandonment`.
const BROWSE_LOOKBACK_MS: i64 = DAY_MS;

/// One true interval of a campaign's condition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Episode {
    pub campaign: String,
    pub customer: Customer,
    pub subject: String,
    /// A tick, epoch ms.
    pub anchor: i64,
}

/// What one tick's evaluation found.
#[derive(Default)]
pub struct Found {
    /// Each with its payload.
    pub episodes: BTreeMap<Episode, Value>,
    /// Ticks that must be looked at even when no record takes effect at them. More than needed does no harm.
    pub deadlines: Vec<i64>,
}

/// A trigger: adds to what was found.
pub type Trigger = fn(&State, &Campaign, &mut Found);

/// The trigger that `name` names.
pub fn by_name(name: &str) -> Trigger {
    match name {
        "cart_abandonment" => cart_abandonment,
        "checkout_abandonment" => checkout_abandonment,
        "browse_abandonment" => browse_abandonment,
        "search_abandonment" => search_abandonment,
        "back_in_stock" => back_in_stock,
        "low_stock" => low_stock,
        "price_drop" => price_drop,
        "replenishment" => replenishment,
        "post_purchase" => post_purchase,
        "win_back" => win_back,
        "welcome" => welcome,
        _ => panic!("the oracle knows no trigger named {name}"),
    }
}

/// Subject: the cart. Anchor: a(c,T). At a+W, while a is unchanged and the cart is open with a line.
fn cart_abandonment(state: &State, campaign: &Campaign, found: &mut Found) {
    for (key, cart) in &state.carts {
        let Some(&active) = state.activity.get(&cart.owner) else {
            continue;
        };
        let opening = active + campaign.after_ms;
        if !is_within(state, campaign, opening, found) {
            continue;
        }
        let Some(lines) = cart_lines(state, campaign, key, cart) else {
            continue;
        };
        let subject = match key {
            CartKey::Named(id) => id.clone(),
            CartKey::Implicit(owner) => owner.id().to_owned(),
        };
        let payload = cart_payload(state, &lines);
        found.add(campaign, &cart.owner, &subject, active, payload);
    }
}

/// The payload's lines, where the stock rule and `min_total` allow the episode.
fn cart_lines<'a>(state: &State, campaign: &Campaign, key: &CartKey, cart: &'a CartState) -> Option<Vec<&'a CartLine>> {
    let mut lines = state.open_lines(key, cart);
    let open = lines.len();
    if campaign.stock != StockRule::Ignore {
        lines.retain(|line| state.stock_of(&line.sku) >= 1);
    }
    if campaign.stock == StockRule::All && lines.len() < open {
        return None;
    }
    let value =
        |line: &&CartLine| price_of(state, line).map_or(Decimal::ZERO, |price| price * Decimal::from(line.quantity));
    let total: Decimal = lines.iter().map(value).sum();
    let enough = campaign.min_total.is_none_or(|least| total >= least);
    (!lines.is_empty() && enough).then_some(lines)
}

/// Subject: the order or cart of a Checkout Started at s. Anchor: s. At s+W, while the customer has no order since.
fn checkout_abandonment(state: &State, campaign: &Campaign, found: &mut Found) {
    for (customer, deed) in state.all_deeds() {
        let Event::CheckoutStarted(Some(subject)) = &deed.event else {
            continue;
        };
        let opening = deed.tick + campaign.after_ms;
        let within = is_within(state, campaign, opening, found);
        if within && !state.orders_of(customer).any(|it| it.placed >= deed.tick) {
            let key = CartKey::Named(subject.clone());
            let cart = state.carts.get(&key).filter(|it| it.owner == *customer);
            let lines = cart.map_or(Vec::new(), |cart| state.open_lines(&key, cart));
            let payload = cart_payload(state, &lines);
            found.add(campaign, customer, subject, deed.tick, payload);
        }
    }
}

/// Subject: the last SKU viewed. Anchor: a(c,T). At a+W, while a is unchanged, enough SKUs were viewed since
/// a − lookback, no cart is open with a line, and nothing was ordered since a − lookback.
fn browse_abandonment(state: &State, campaign: &Campaign, found: &mut Found) {
    for (customer, &active) in &state.activity {
        let earliest = active - campaign.lookback_ms.unwrap_or(BROWSE_LOOKBACK_MS);
        let deeds = state.deeds.get(customer).into_iter().flatten();
        let viewed: Vec<&String> = deeds
            .filter(|deed| (earliest..=active).contains(&deed.tick))
            .filter_map(|deed| match &deed.event {
                Event::Viewed(sku) => Some(sku),
                _ => None,
            })
            .collect();
        let distinct: BTreeSet<&&String> = viewed.iter().collect();
        let ordered = state.orders_of(customer).any(|it| it.placed >= earliest);
        let mut carts = state.carts.iter().filter(|(_, cart)| cart.owner == *customer);
        let open = carts.any(|(key, cart)| !state.open_lines(key, cart).is_empty());
        let within = is_within(state, campaign, active + campaign.after_ms, found);
        let enough = distinct.len() as i64 >= campaign.min_views;
        if let Some(last) = viewed.last()
            && within
            && enough
            && !open
            && !ordered
        {
            found.add(campaign, customer, last, active, sku_payload(state, last));
        }
    }
}

/// Subject: the query. Anchor: the search's tick s. At s+W, while the customer has neither viewed, added nor ordered
/// since.
fn search_abandonment(state: &State, campaign: &Campaign, found: &mut Found) {
    for (customer, deed) in state.all_deeds() {
        let Event::Searched(query) = &deed.event else {
            continue;
        };
        let since = deed.tick;
        let ends = |event: &Event| matches!(event, Event::Viewed(_) | Event::Added { .. });
        let mut later = state.deeds[customer].iter().filter(|it| it.tick >= since);
        let went_on = later.any(|it| ends(&it.event)) || state.orders_of(customer).any(|it| it.placed >= since);
        if is_within(state, campaign, since + campaign.after_ms, found) && !went_on {
            found.add(campaign, customer, query, since, no_lines());
        }
    }
}

/// Subject: the SKU. Anchor: the tick r at which its stock rose from 0. At r, for those interested since r − lookback
/// who have not ordered it since, while there is stock.
fn back_in_stock(state: &State, campaign: &Campaign, found: &mut Found) {
    for (sku, &rose) in &state.rose {
        if is_within(state, campaign, rose, found) {
            interested(state, campaign, sku, rose, found);
        }
    }
}

/// Subject: the SKU. Anchor: the tick at which its stock came to be from 1 to `threshold`. While it is, for those who have
/// it as a line of an open cart.
fn low_stock(state: &State, campaign: &Campaign, found: &mut Found) {
    let is_low = |level: &i64| (1..=campaign.threshold).contains(level);
    for (key, cart) in &state.carts {
        for line in state.open_lines(key, cart) {
            let levels = state.stock_levels.get(&line.sku).map_or(&[][..], Vec::as_slice);
            let since = levels.iter().rev().take_while(|(_, level)| is_low(level)).last();
            if let Some((since, _)) = since
                && is_within(state, campaign, *since, found)
            {
                found.add(campaign, &cart.owner, &line.sku, *since, sku_payload(state, &line.sku));
            }
        }
    }
}

/// Subject: the SKU. Anchor: the tick d at which its price fell by `percent` or more. At d, for those interested since
/// d − lookback who have not ordered it since, while the price is below the one before d.
fn price_drop(state: &State, campaign: &Campaign, found: &mut Found) {
    for (sku, changes) in &state.price_changes {
        let now = state.products.get(sku).and_then(|product| product.price);
        for (fell, before, after) in changes {
            let enough = (before - after) * Decimal::from(100) >= campaign.percent * before;
            let below = now.is_some_and(|now| now < *before);
            let dropped = after < before && enough && below;
            if dropped && is_within(state, campaign, *fell, found) {
                interested(state, campaign, sku, *fell, found);
            }
        }
    }
}

/// Adds an episode for each customer interested in `sku` in [anchor − lookback, anchor] who has not ordered it since.
fn interested(state: &State, campaign: &Campaign, sku: &str, anchor: i64, found: &mut Found) {
    let earliest = anchor - campaign.lookback_ms.unwrap_or(LOOKBACK_MS);
    for ((customer, interesting), ticks) in &state.interest {
        if interesting != sku {
            continue;
        }
        let Some(&interest) = ticks.range(earliest..=anchor).next_back() else {
            continue;
        };
        let mut orders = state.orders_of_sku(customer, sku);
        if !orders.any(|placed| placed >= interest) {
            found.add(campaign, customer, sku, anchor, sku_payload(state, sku));
        }
    }
}

/// Subject: the SKU. Anchor: the order's `placed_at` o. At o+W, while the customer has not ordered it again.
fn replenishment(state: &State, campaign: &Campaign, found: &mut Found) {
    for order in state.orders.values() {
        if order.order.status == Status::Cancelled {
            continue;
        }
        let within = is_within(state, campaign, order.placed + campaign.after_ms, found);
        for line in &order.order.lines {
            let mut orders = state.orders_of_sku(&order.owner, &line.sku);
            if within && !orders.any(|placed| placed > order.placed) {
                let payload = sku_payload(state, &line.sku);
                found.add(campaign, &order.owner, &line.sku, order.placed, payload);
            }
        }
    }
}

/// Subject: the order. Anchor: its `placed_at` o. At o+W, while it is neither cancelled nor refunded.
fn post_purchase(state: &State, campaign: &Campaign, found: &mut Found) {
    for (id, order) in &state.orders {
        let within = is_within(state, campaign, order.placed + campaign.after_ms, found);
        if within && order.order.status == Status::Placed {
            let lines = order.order.lines.iter();
            let line = |line: &Line| {
                let product = state.products.get(&line.sku);
                let catalog = product.and_then(|product| product.price);
                line_json(state, &line.sku, None, line.price.or(catalog))
            };
            let lines: Vec<Value> = lines.map(line).collect();
            let payload = json!({ "lines": lines });
            found.add(campaign, &order.owner, id, order.placed, payload);
        }
    }
}

/// Subject: the customer. Anchor: a(c,T). At a+W for those with an order, while a is unchanged.
fn win_back(state: &State, campaign: &Campaign, found: &mut Found) {
    for (customer, &active) in &state.activity {
        let within = is_within(state, campaign, active + campaign.after_ms, found);
        let mut orders = state.orders_of(customer);
        let past = state.past.iter().any(|it| it.owner == *customer);
        if within && (past || orders.any(|it| it.order.status == Status::Placed)) {
            found.add(campaign, customer, customer.id(), active, no_lines());
        }
    }
}

/// Subject: the customer. Anchor: the tick at which consent first held. At that + W, while consent holds.
fn welcome(state: &State, campaign: &Campaign, found: &mut Found) {
    for (customer, &consented) in &state.consented {
        let opening = consented + campaign.after_ms;
        if is_within(state, campaign, opening, found) && state.consents(customer) {
            found.add(campaign, customer, customer.id(), consented, no_lines());
        }
    }
}

impl Found {
    fn add(&mut self, campaign: &Campaign, customer: &Customer, subject: &str, anchor: i64, payload: Value) {
        let episode = Episode {
            campaign: campaign.name.clone(),
            customer: customer.clone(),
            subject: subject.to_owned(),
            anchor,
        };
        self.episodes.insert(episode, payload);
    }
}

/// Whether the tick is at or after `opening` and before the episode expires; notes both ticks as deadlines.
fn is_within(state: &State, campaign: &Campaign, opening: i64, found: &mut Found) -> bool {
    found.deadlines.push(opening);
    let closing = campaign.expires_ms.map(|expires| opening + expires);
    found.deadlines.extend(closing);
    state.tick >= opening && closing.is_none_or(|closing| state.tick < closing)
}

/// A line's price: the cart's own, else the catalog's.
fn price_of(state: &State, line: &CartLine) -> Option<Decimal> {
    let product = state.products.get(&line.sku);
    line.price.or(product.and_then(|product| product.price))
}

fn cart_payload(state: &State, lines: &[&CartLine]) -> Value {
    let line = |line: &&CartLine| {
        let price = price_of(state, line);
        line_json(state, &line.sku, Some(line.quantity), price)
    };
    let lines: Vec<Value> = lines.iter().map(line).collect();
    json!({ "lines": lines })
}

/// The payload of an episode that is about no SKU.
fn no_lines() -> Value {
    json!({ "lines": [] })
}

/// The payload of an episode about one SKU.
fn sku_payload(state: &State, sku: &str) -> Value {
    json!({ "lines": [product_json(state, sku)] })
}

/// A SKU as it is, in nobody's cart.
pub fn product_json(state: &State, sku: &str) -> Value {
    let price = state.products.get(sku).and_then(|product| product.price);
    line_json(state, sku, None, price)
}

/// A payload's line, without the members that are not known.
fn line_json(state: &State, sku: &str, quantity: Option<i64>, price: Option<Decimal>) -> Value {
    let product = state.products.get(sku);
    let mut line = Map::new();
    line.insert("sku".into(), sku.into());
    if let Some(quantity) = quantity {
        line.insert("quantity".into(), quantity.into());
    }
    if let Some(price) = price {
        line.insert("price".into(), price.to_string().into());
    }
    if let Some(product) = product {
        let known = [("name", &product.name), ("image", &product.image_url), ("url", &product.url)];
        for (member, text) in known {
            if let Some(text) = text {
                line.insert(member.into(), text.clone().into());
            }
        }
    }
    line.insert("on_hand".into(), state.stock_of(sku).into());
    Value::Object(line)
}
