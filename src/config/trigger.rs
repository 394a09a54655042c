//! Triggers and their parameters (SPEC §4). In: a campaign's section. Out: a [`Trigger`] that holds exactly what its kind
//! takes, defaults filled in. Fails into the report. A new trigger is one variant, one line in `READERS`, one function.

use beckon_dataflows::model::Money;
use rust_decimal::Decimal;

use super::kinds::{Custom, Keys, TriggerKind, TriggerKinds};
use super::section::{Section, Value};

const DAY_MS: u64 = 86_400_000;

/// `lookback` of `back_in_stock` and `price_drop` unless set, in milliseconds.
const LOOKBACK_MS: u64 = 30 * DAY_MS;

/// `lookback` of `browse_abandonment` unless set, in milliseconds.
const BROWSE_LOOKBACK_MS: u64 = DAY_MS;

/// Every parameter that some trigger takes.
pub(super) const PARAMETERS: [&str; 7] =
    ["after", "stock", "min_total", "min_views", "lookback", "threshold", "percent"];

/// The condition that opens a campaign's episodes, and its parameters (SPEC §4). `after_ms` is SPEC's W.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// A cart was left alone.
    CartAbandonment {
        /// W: how long the customer must have done nothing, in milliseconds.
        after_ms: u64,
        /// Which lines must be in stock; `any` unless set.
        stock: StockRule,
        /// The least total of the payload's lines, in the cart's currency; not asked unless set.
        min_total: Option<Money>,
    },
    /// A checkout was started and no order followed.
    CheckoutAbandonment {
        /// W: time since Checkout Started, in milliseconds.
        after_ms: u64,
    },
    /// Products were viewed, and nothing was put into a cart or ordered.
    BrowseAbandonment {
        /// W: how long the customer must have done nothing, in milliseconds.
        after_ms: u64,
        /// The least number of distinct SKUs viewed; 1 unless set.
        min_views: u32,
        /// How far back views and orders count, in milliseconds; a day unless set.
        lookback_ms: u64,
    },
    /// A search led to nothing.
    SearchAbandonment {
        /// W: time since the search, in milliseconds.
        after_ms: u64,
    },
    /// A product of interest can be had again.
    BackInStock {
        /// How far before the restock an interest counts, in milliseconds; 30 days unless set.
        lookback_ms: u64,
    },
    /// A product in the open cart is about to be sold out.
    LowStock {
        /// The greatest stock, in pieces, that counts as low.
        threshold: u32,
    },
    /// A product of interest became cheaper.
    PriceDrop {
        /// By how much the price must have fallen, in percent of the price before; over 0, at most 100.
        percent: Decimal,
        /// How far before the fall an interest counts, in milliseconds; 30 days unless set.
        lookback_ms: u64,
    },
    /// A product is likely to be used up.
    Replenishment {
        /// W: time since the order, in milliseconds.
        after_ms: u64,
    },
    /// An order was placed.
    PostPurchase {
        /// W: time since the order, in milliseconds.
        after_ms: u64,
    },
    /// A customer who has ordered has stayed away.
    WinBack {
        /// W: how long the customer must have done nothing, in milliseconds.
        after_ms: u64,
    },
    /// A customer has given consent for the first time.
    Welcome {
        /// W: time since the consent, in milliseconds.
        after_ms: u64,
    },
    /// A user's own.
    Custom(Custom),
}

/// Which lines of a cart must be in stock (`stock`, SPEC §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StockRule {
    /// At least one; the payload has those in stock.
    #[default]
    Any,
    /// Every open line.
    All,
    /// None; the payload has every open line.
    Ignore,
}

type Reader = fn(&Section<'_>) -> Trigger;

/// What reads the parameters of a trigger: one of SPEC §4's, or a user's own.
#[derive(Clone, Copy)]
enum Known<'k> {
    Built(Reader),
    Own(&'k dyn TriggerKind),
}

/// The triggers of SPEC §4 by name, and what reads their parameters.
const READERS: [(&str, Reader); 11] = [
    ("cart_abandonment", cart_abandonment),
    ("checkout_abandonment", |section| Trigger::CheckoutAbandonment { after_ms: after_ms(section) }),
    ("browse_abandonment", browse_abandonment),
    ("search_abandonment", |section| Trigger::SearchAbandonment { after_ms: after_ms(section) }),
    ("back_in_stock", |section| Trigger::BackInStock { lookback_ms: lookback_ms(section, LOOKBACK_MS) }),
    ("low_stock", low_stock),
    ("price_drop", price_drop),
    ("replenishment", |section| Trigger::Replenishment { after_ms: after_ms(section) }),
    ("post_purchase", |section| Trigger::PostPurchase { after_ms: after_ms(section) }),
    ("win_back", |section| Trigger::WinBack { after_ms: after_ms(section) }),
    ("welcome", |section| Trigger::Welcome { after_ms: after_ms(section) }),
];

impl Trigger {
    /// The trigger's name, as in the configuration and in decisions (SPEC §4, §5).
    pub fn name(&self) -> &'static str {
        match self {
            Trigger::CartAbandonment { .. } => "cart_abandonment",
            Trigger::CheckoutAbandonment { .. } => "checkout_abandonment",
            Trigger::BrowseAbandonment { .. } => "browse_abandonment",
            Trigger::SearchAbandonment { .. } => "search_abandonment",
            Trigger::BackInStock { .. } => "back_in_stock",
            Trigger::LowStock { .. } => "low_stock",
            Trigger::PriceDrop { .. } => "price_drop",
            Trigger::Replenishment { .. } => "replenishment",
            Trigger::PostPurchase { .. } => "post_purchase",
            Trigger::WinBack { .. } => "win_back",
            Trigger::Welcome { .. } => "welcome",
            Trigger::Custom(custom) => custom.name,
        }
    }

    /// SPEC §4's W in milliseconds: how long after its anchor an episode opens; 0 of a trigger without one.
    pub fn after_ms(&self) -> u64 {
        match *self {
            Trigger::CartAbandonment { after_ms, .. }
            | Trigger::CheckoutAbandonment { after_ms }
            | Trigger::BrowseAbandonment { after_ms, .. }
            | Trigger::SearchAbandonment { after_ms }
            | Trigger::Replenishment { after_ms }
            | Trigger::PostPurchase { after_ms }
            | Trigger::WinBack { after_ms }
            | Trigger::Welcome { after_ms } => after_ms,
            Trigger::BackInStock { .. } | Trigger::LowStock { .. } | Trigger::PriceDrop { .. } | Trigger::Custom(_) => {
                0
            }
        }
    }
}

/// The names of SPEC §4's triggers.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    READERS.into_iter().map(|(name, _)| name)
}

/// Reads a campaign's trigger, one of SPEC §4's or of `kinds`, and the parameters that it takes.
pub(super) fn read(section: &Section<'_>, kinds: &TriggerKinds) -> Option<Trigger> {
    let hint = "such as: trigger = \"cart_abandonment\"";
    let value = section.required("trigger", hint)?;
    let built = READERS.into_iter().map(|(name, reader)| (name, Known::Built(reader)));
    let known: Vec<(&'static str, Known<'_>)> =
        built.chain(kinds.iter().map(|kind| (kind.name(), Known::Own(kind)))).collect();
    let trigger = match value.clone().one_of(&known) {
        Some(Known::Built(reader)) => reader(section),
        Some(Known::Own(kind)) => Trigger::Custom(Custom { name: kind.name(), make: kind.read(&Keys(section)).into() }),
        None => {
            // Which parameters are right is not known, so none is called wrong.
            section.allow(&PARAMETERS);
            return None;
        }
    };
    Some(trigger)
}

/// What to say of `key` in a campaign with `trigger`, if it is a parameter of other triggers only.
pub(super) fn explain(key: &str, trigger: &Trigger, takes: &[&str]) -> Option<(String, String)> {
    if !PARAMETERS.contains(&key) {
        return None;
    }
    let what = format!("trigger `{}` does not take `{key}`", trigger.name());
    Some((what, format!("it takes: {}", takes.join(", "))))
}

fn after_ms(section: &Section<'_>) -> u64 {
    let hint = "how long to wait, such as: after = \"30m\"";
    section.required("after", hint).and_then(Value::duration_ms).unwrap_or_default()
}

fn lookback_ms(section: &Section<'_>, default_ms: u64) -> u64 {
    section.get("lookback").and_then(Value::positive_ms).unwrap_or(default_ms)
}

fn percent(section: &Section<'_>) -> Decimal {
    let hint = "by how much the price must have fallen, such as: percent = 10";
    section.required("percent", hint).and_then(read_percent).unwrap_or_default()
}

/// A percentage over 0 and at most 100, exact.
pub(super) fn read_percent(value: Value<'_>) -> Option<Decimal> {
    let percent = value.clone().decimal()?;
    if percent <= Decimal::ZERO || percent > Decimal::ONE_HUNDRED {
        value.fault("a percentage must be over 0 and at most 100", "10 percent is written 10, not 0.10");
        return None;
    }
    Some(percent)
}

fn cart_abandonment(section: &Section<'_>) -> Trigger {
    const RULES: [(&str, StockRule); 3] =
        [("any", StockRule::Any), ("all", StockRule::All), ("ignore", StockRule::Ignore)];
    Trigger::CartAbandonment {
        after_ms: after_ms(section),
        stock: section.get("stock").and_then(|value| value.one_of(&RULES)).unwrap_or_default(),
        min_total: section.get("min_total").and_then(Value::money),
    }
}

fn browse_abandonment(section: &Section<'_>) -> Trigger {
    Trigger::BrowseAbandonment {
        after_ms: after_ms(section),
        min_views: section.get("min_views").and_then(|value| value.count(1..=1_000)).unwrap_or(1),
        lookback_ms: lookback_ms(section, BROWSE_LOOKBACK_MS),
    }
}

fn low_stock(section: &Section<'_>) -> Trigger {
    let hint = "the greatest stock that counts as low, such as: threshold = 3";
    let threshold = section.required("threshold", hint).and_then(|value| value.count(1..=1_000_000));
    Trigger::LowStock { threshold: threshold.unwrap_or_default() }
}

fn price_drop(section: &Section<'_>) -> Trigger {
    Trigger::PriceDrop { percent: percent(section), lookback_ms: lookback_ms(section, LOOKBACK_MS) }
}
