//! Conditions (SPEC §5, §10): every expression that an audience or a discount of a world may use, beside what it means. In: an
//! episode on its way through the gates. Out: whether the expression holds; one that cannot be told does not.

use rust_decimal::Decimal;
use serde_json::Value;

use super::gates::Asked;
use super::records::{Profile, Status};
use super::state::PastOrder;

/// An expression's meaning: none where it asks for what is not there, or of the wrong type.
type Meaning = fn(&Asked) -> Option<bool>;

/// The expressions.
pub const AUDIENCES: [(&str, Meaning); 14] = [
    ("customer.attributes.tier == 'gold'", |asked| Some(attribute(asked, "tier")? == "gold")),
    ("has(customer.attributes.tier) && customer.attributes.tier != 'gold'", |asked| {
        Some(attribute(asked, "tier").is_some_and(|tier| tier != "gold"))
    }),
    ("customer.attributes.age >= 18", |asked| Some(attribute(asked, "age")?.as_i64()? >= 18)),
    ("customer.attributes.tags.exists(tag, tag == 'vip')", |asked| {
        let tags = attribute(asked, "tags")?.as_array().cloned()?;
        Some(tags.contains(&"vip".into()))
    }),
    ("customer.attributes.tier == 'gold' || cart.total >= 50.0", |asked| {
        let gold = attribute(asked, "tier").map(|tier| tier == "gold");
        // An error beside a truth is no error.
        match cart_total(asked) >= Decimal::from(50) {
            true => Some(true),
            false => gold,
        }
    }),
    ("customer.orders == 0", |asked| Some(history(asked).is_empty())),
    ("customer.orders >= 2 || customer.total > 100.0", |asked| {
        Some(history(asked).len() >= 2 || history_total(asked) > Decimal::from(100))
    }),
    ("customer.total == 19.90", |asked| Some(history_total(asked) == Decimal::new(1990, 2))),
    ("trigger.as_of - customer.last_order_at > 60000", |asked| {
        let last = history(asked).iter().map(|order| order.placed).max()?;
        Some(asked.state.tick - last > 60_000)
    }),
    ("cart.total >= 20 && cart.lines.size() > 1", |asked| {
        Some(cart_total(asked) >= Decimal::from(20) && cart_lines(asked).len() > 1)
    }),
    ("cart.lines.exists(line, has(line.price) && line.price < 10.0 && line.quantity > 1)", |asked| {
        let cheap = |line: &&&Value| price(line).is_some_and(|price| price < Decimal::from(10));
        Some(cart_lines(asked).iter().filter(cheap).any(|line| line["quantity"].as_i64() > Some(1)))
    }),
    ("trigger.name == 'cart_abandonment' && trigger.subject != 'cart-1' && trigger.anchor < trigger.as_of", |asked| {
        let episode = asked.episode;
        let cart = asked.campaign.trigger == "cart_abandonment" && episode.subject != "cart-1";
        Some(cart && episode.anchor < asked.state.tick)
    }),
    ("customer.locale.startsWith('de') && has(customer.timezone) && customer.user_id != 'u1'", |asked| {
        let timezone = profile(asked).and_then(|profile| profile.timezone.as_ref());
        // An error beside a falsehood is no error.
        match timezone.is_some() && asked.episode.customer.id() != "u1" {
            true => Some(profile(asked)?.locale.as_ref()?.starts_with("de")),
            false => Some(false),
        }
    }),
    // No question at all.
    ("customer.orders", |_| None),
];

/// Whether the campaign's audience, if it has one, is for the episode.
pub fn is_for(asked: &Asked) -> bool {
    let Some(text) = &asked.campaign.audience else {
        return true;
    };
    holds(text, asked) == Some(true)
}

/// Whether the audience cannot be told.
pub fn is_undecidable(asked: &Asked) -> bool {
    asked.campaign.audience.as_ref().is_some_and(|text| holds(text, asked).is_none())
}

/// Whether the expression holds; none where that cannot be told.
pub fn holds(text: &str, asked: &Asked) -> Option<bool> {
    let known = AUDIENCES.iter().find(|(expression, _)| *expression == text);
    let (_, meaning) = known.unwrap_or_else(|| panic!("the oracle does not know what {text} means"));
    meaning(asked)
}

/// The profile. Of an erased one nothing is known.
fn profile<'a>(asked: &'a Asked) -> Option<&'a Profile> {
    asked.state.profiles.get(&asked.episode.customer).filter(|profile| !profile.deleted)
}

fn attribute<'a>(asked: &'a Asked, name: &str) -> Option<&'a Value> {
    profile(asked)?.attributes.get(name)
}

/// Orders neither cancelled nor refunded, and what is left of those forgotten.
fn history(asked: &Asked) -> Vec<PastOrder> {
    let placed = asked.state.orders.values().filter(|order| order.order.status == Status::Placed);
    let placed =
        placed.map(|order| PastOrder { owner: order.owner.clone(), placed: order.placed, total: order.order.total });
    let all = placed.chain(asked.state.past.iter().cloned());
    all.filter(|order| order.owner == asked.episode.customer).collect()
}

fn history_total(asked: &Asked) -> Decimal {
    history(asked).iter().filter_map(|order| order.total).sum()
}

/// The payload's lines, where they are a cart's.
fn cart_lines<'a>(asked: &'a Asked) -> Vec<&'a Value> {
    let lines = asked.payload["lines"].as_array().into_iter().flatten();
    lines.filter(|line| line.get("quantity").is_some()).collect()
}

fn cart_total(asked: &Asked) -> Decimal {
    let amount = |line: &&Value| Some(price(line)? * Decimal::from(line["quantity"].as_i64()?));
    cart_lines(asked).iter().filter_map(amount).sum()
}

fn price(line: &Value) -> Option<Decimal> {
    line.get("price")?.as_str()?.parse().ok()
}
