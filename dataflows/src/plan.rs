//! What the graph is built for: the campaigns' triggers with their parameters (SPEC §4), checked by whoever made it. Lengths of
//! time are in ms and whole ticks.

use rust_decimal::Decimal;

use crate::custom::Custom;
use crate::model::Tick;
use crate::time::expiry;

/// The campaigns and the tick.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Length of a tick, ms; at least 2.
    pub tick_ms: u64,
    /// One trigger a campaign, in the order of the configuration: an episode names its campaign by this index.
    pub triggers: Vec<Trigger>,
    /// Whether anyone asks for the customers' histories.
    pub history: bool,
    /// Whether anyone asks for the customers' open carts.
    pub carts: bool,
    /// What makes SKUs similar, if anyone asks for that.
    pub similar: Option<Similar>,
    /// How long a decision is followed (SPEC §9, `attribution`), ms and whole ticks; none: nobody asks for KPIs.
    pub attribution_ms: Option<u64>,
    /// How long what does not change is kept at least (ARCHITECTURE, "What leaves"), ms and whole ticks.
    pub forget_after_ms: u64,
    /// Whether all that is an erased customer's is forgotten at once.
    pub forget_erased: bool,
}

/// What makes SKUs similar (SPEC §3): that the same customers are interested in them.
#[derive(Clone, Copy, Debug)]
pub struct Similar {
    /// How long an interest counts, ms.
    pub window_ms: u64,
    /// How many of a customer's latest distinct SKUs count, at least 1.
    pub recent: usize,
}

impl Similar {
    /// How long an interest must be remembered, ms: until the first tick at which it no longer counts.
    pub fn interest_ms(&self, tick_ms: u64) -> u64 {
        self.window_ms.saturating_add(tick_ms)
    }
}

/// What opens an episode: SPEC §4's triggers and a user's own, each with its parameters.
#[derive(Clone, Debug)]
pub enum Trigger {
    /// A cart left alone.
    CartAbandonment(CartAbandonment),
    /// A checkout started, and no order.
    CheckoutAbandonment(Wait),
    /// Products viewed, and nothing put into a cart or ordered.
    BrowseAbandonment(BrowseAbandonment),
    /// A search that led to nothing.
    SearchAbandonment(Wait),
    /// A wanted product can be had again.
    BackInStock(BackInStock),
    /// A product in a cart is about to be sold out.
    LowStock(LowStock),
    /// A wanted product became cheaper.
    PriceDrop(PriceDrop),
    /// A product bought is likely to be used up.
    Replenishment(Wait),
    /// An order placed.
    PostPurchase(Wait),
    /// A buyer who stays away.
    WinBack(Wait),
    /// A customer who consents to mail.
    Welcome(Wait),
    /// A user's own.
    Custom(Custom),
}

/// SPEC §4's W and X: when an episode opens, and how long it can hold.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// W: from what it waits for to its opening, ms.
    pub after_ms: u64,
    /// X: how long an episode holds from its opening, ms, at least a tick; none: as long as its condition.
    pub expires_ms: Option<u64>,
}

impl Wait {
    /// The tick at which what began at `since` opens an episode.
    pub fn opening(&self, since: Tick) -> Tick {
        since.saturating_add(self.after_ms)
    }

    /// The first tick at which that episode no longer holds.
    pub fn expiry(&self, since: Tick) -> Tick {
        expiry(self.opening(since), self.expires_ms)
    }

    /// How long after it began something can matter, ms: W + X, or without X for ever.
    pub fn reach_ms(&self) -> u64 {
        self.expiry(0)
    }
}

/// Parameters of `cart_abandonment`.
#[derive(Clone, Debug)]
pub struct CartAbandonment {
    /// From the last activity on.
    pub wait: Wait,
    /// Which lines must be in stock.
    pub stock: StockRule,
    /// Least sum of the payload's lines.
    pub min_total: Option<Decimal>,
}

/// Which lines of an abandoned cart must be in stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StockRule {
    /// At least one; the payload has those.
    Any,
    /// Every one.
    All,
    /// Stock does not matter.
    Ignore,
}

/// Parameters of `browse_abandonment`.
#[derive(Clone, Debug)]
pub struct BrowseAbandonment {
    /// From the last activity on.
    pub wait: Wait,
    /// Least number of distinct products viewed, at least 1.
    pub min_views: usize,
    /// How long before the last activity views and orders count, ms.
    pub lookback_ms: u64,
}

/// Parameters of `back_in_stock`.
#[derive(Clone, Debug)]
pub struct BackInStock {
    /// How long before the restock an interest may lie, ms.
    pub lookback_ms: u64,
    /// X, ms, at least a tick; none: as long as there is stock.
    pub expires_ms: Option<u64>,
}

/// Parameters of `low_stock`.
#[derive(Clone, Debug)]
pub struct LowStock {
    /// The greatest stock that counts as low, at least 1.
    pub threshold: i64,
    /// X, ms, at least a tick; none: as long as stock is low.
    pub expires_ms: Option<u64>,
}

/// Parameters of `price_drop`.
#[derive(Clone, Debug)]
pub struct PriceDrop {
    /// By how much the price must have fallen, percent of the one before.
    pub percent: Decimal,
    /// How long before the drop an interest may lie, ms.
    pub lookback_ms: u64,
    /// X, ms, at least a tick; none: as long as the price stays below the one before.
    pub expires_ms: Option<u64>,
}

impl Plan {
    /// A plan of these triggers, of which nobody asks anything else.
    pub fn new(tick_ms: u64, triggers: Vec<Trigger>, forget_after_ms: u64) -> Plan {
        Plan {
            tick_ms,
            triggers,
            history: false,
            carts: false,
            similar: None,
            attribution_ms: None,
            forget_after_ms,
            forget_erased: false,
        }
    }

    /// Whether anyone asks how much a customer has bought, so that it is to be known of forgotten orders too.
    pub fn counts_orders(&self) -> bool {
        self.history || self.triggers.iter().any(|trigger| matches!(trigger, Trigger::WinBack(_)))
    }

    /// What `pick` makes of the campaigns' triggers, each with its campaign's index, in the order of the configuration.
    pub fn on<T>(&self, mut pick: impl FnMut(u16, &Trigger) -> Option<T>) -> Vec<T> {
        (0u16..).zip(&self.triggers).filter_map(|(campaign, trigger)| pick(campaign, trigger)).collect()
    }
}
