//! Made-up contexts: what a template is rehearsed with before its first mail, and what a preview shows of a campaign that has
//! decided nothing yet. In: a trigger's name. Out: a [`Context`] with everything known, or with as little as can be. Cannot fail.

use std::sync::Arc;

use serde_json::json;

use super::context::{amount, sum, times};
use super::{Context, Customer, Discount, Enrichments, Line, Trigger};
use crate::decision::{DecisionId, Percent};

/// A moment on a Thursday morning: 2026-01-01T10:30:00Z.
const NOW_MS: u64 = 1_767_263_400_000;

const HOUR_MS: u64 = 3_600_000;

/// How many lines a trigger's payload can have (ARCHITECTURE, "Carts and triggers").
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// Several, and one at least.
    Several,
    /// One.
    One,
    /// Several, or none.
    Perhaps,
    /// Never any.
    Never,
}

fn lines_of(trigger: &str) -> Lines {
    match trigger {
        "cart_abandonment" => Lines::Several,
        "browse_abandonment" | "back_in_stock" | "low_stock" | "price_drop" | "replenishment" => Lines::One,
        "search_abandonment" | "win_back" | "welcome" => Lines::Never,
        // Of one's own trigger nothing is known.
        _ => Lines::Perhaps,
    }
}

/// The products of a shop that does not exist: SKU, name, quantity, price, on hand.
const PRODUCTS: [(&str, &str, u32, &str, i64); 5] = [
    ("LGT-00031", "Halden Studio Desk Lamp, forest", 1, "64.90", 3),
    ("KIT-00112", "Osmia Everyday Coffee Mug, ochre", 2, "12.50", 41),
    ("LGT-00007", "Quill Classic Reading Light, navy", 1, "39.90", 12),
    ("HOM-00420", "Nordlund Merino Throw, sand", 1, "89.00", 9),
    ("KIT-00087", "Fjellvik Heritage Tea Pot, slate", 1, "34.50", 4),
];

fn line(at: usize, has_quantity: bool) -> Line {
    let (sku, name, quantity, price, on_hand) = PRODUCTS[at];
    let units = if has_quantity { quantity } else { 1 };
    Line {
        sku: sku.into(),
        quantity: has_quantity.then_some(quantity),
        price: Some(price.into()),
        total: price.parse().ok().and_then(|price| times(price, Some(units))).map(|total| total.to_string()),
        discounted: None,
        name: name.into(),
        image: Some(format!("https://img.example.com/{sku}.jpg")),
        url: Some(format!("https://shop.example.com/p/{sku}")),
        on_hand: Some(on_hand),
    }
}

/// A decision of `trigger` about which all is known: a discount of 10 percent, similar products, a variant, an end in a day.
pub(super) fn everything(trigger: &str) -> Context {
    let context = Context { variant: Some(Arc::from("variant")), ..usual(trigger) };
    match Percent::of_hundredths(1000) {
        Some(percent) => context.with_discount(Discount::sample(percent)),
        None => context,
    }
}

/// A decision of `trigger` without a discount and variants.
pub(super) fn usual(trigger: &str) -> Context {
    let lines = match lines_of(trigger) {
        Lines::Several | Lines::Perhaps => vec![line(0, true), line(1, true)],
        Lines::One => vec![line(0, false)],
        Lines::Never => Vec::new(),
    };
    Context {
        customer: Customer {
            id: "u1".into(),
            first_name: Some("Ada".into()),
            email: Some("ada@example.com".into()),
            locale: Some("en-GB".into()),
            timezone: Some("Europe/London".into()),
            attributes: json!({}),
            orders: 3,
            total: "184.20".into(),
            last_order_at: Some(NOW_MS - 90 * 24 * HOUR_MS),
        },
        query: (trigger == "search_abandonment").then(|| "desk lamp led".into()),
        trigger: Trigger { subject: subject(trigger).into(), ..little_trigger(trigger) },
        hero: lines.first().cloned(),
        total: sum(lines.iter().map(|line| amount(&line.total))),
        similar: if lines.is_empty() { Vec::new() } else { vec![line(2, false), line(3, false), line(4, false)] },
        lines,
        discounted: None,
        discount: None,
        currency: Some("EUR".into()),
        campaign: "campaign".into(),
        variant: None,
        decision_id: DecisionId(1),
        as_of: NOW_MS,
        now: NOW_MS,
        expires_at: Some(NOW_MS + 24 * HOUR_MS),
        unsubscribe_url: Some("https://mail.example.com/u/unsubscribe".into()),
        live_url: Some("https://mail.example.com/live/sample".into()),
        enrich: Enrichments::new(),
    }
}

/// What looks like a code, and is none: no secret has made it.
pub(super) const SAMPLE_CODE: &str = "SAMP-LEC0-DE00-0000-0000-0000-00";

fn subject(trigger: &str) -> &'static str {
    match trigger {
        "search_abandonment" => "desk lamp led",
        "cart_abandonment" | "checkout_abandonment" => "cart-9",
        "post_purchase" => "order-1042",
        "win_back" | "welcome" => "u1",
        _ => PRODUCTS[0].0,
    }
}

fn little_trigger(trigger: &str) -> Trigger {
    Trigger { name: trigger.into(), subject: subject(trigger).into(), anchor: NOW_MS - HOUR_MS / 2 }
}

/// Decisions of `trigger` about which nothing is known that need not be.
pub(super) fn as_little_as_possible(trigger: &str) -> Vec<Context> {
    let bare = Line { sku: PRODUCTS[0].0.into(), name: PRODUCTS[0].0.into(), ..Line::default() };
    let with = |lines: Vec<Line>| Context {
        customer: Customer { id: "u1".into(), attributes: json!({}), total: "0".into(), ..Customer::default() },
        trigger: little_trigger(trigger),
        hero: lines.first().cloned(),
        lines,
        similar: Vec::new(),
        total: None,
        discounted: None,
        discount: None,
        currency: None,
        expires_at: None,
        unsubscribe_url: None,
        live_url: None,
        ..usual(trigger)
    };
    match lines_of(trigger) {
        Lines::Several | Lines::One => vec![with(vec![bare])],
        Lines::Perhaps => vec![with(vec![bare]), with(Vec::new())],
        Lines::Never => vec![with(Vec::new())],
    }
}
