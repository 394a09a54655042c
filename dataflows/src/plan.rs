//! What the graph is built for: the campaigns' triggers with their parameters (SPEC §4), checked by whoever made it. Lengths of
//! time are in ms and whole ticks.

use rust_decimal::Decimal;

/// The campaigns and the tick.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Length of a tick, ms; at least 2.
    pub tick_ms: u64,
    /// One trigger a campaign, in the order of the configuration: an episode names its campaign by this index.
    pub triggers: Vec<Trigger>,
    /// Whether anyone asks for the customers' histories.
    pub history: bool,
}

/// What opens an episode.
#[derive(Clone, Debug)]
pub enum Trigger {
    /// A cart left alone.
    CartAbandonment(CartAbandonment),
    /// A wanted product can be had again.
    BackInStock(BackInStock),
}

/// Parameters of `cart_abandonment`.
#[derive(Clone, Debug)]
pub struct CartAbandonment {
    /// W: how long the customer must have been idle, ms.
    pub after_ms: u64,
    /// X: how long an episode holds from its opening, ms, at least a tick; none: as long as its condition.
    pub expires_ms: Option<u64>,
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

/// Parameters of `back_in_stock`.
#[derive(Clone, Debug)]
pub struct BackInStock {
    /// How long before the restock an interest may lie, ms.
    pub lookback_ms: u64,
    /// X, ms, at least a tick; none: as long as there is stock.
    pub expires_ms: Option<u64>,
}

impl Plan {
    /// The campaigns on `cart_abandonment`, by index.
    pub fn cart_abandonment(&self) -> Vec<(u16, CartAbandonment)> {
        self.on(|trigger| match trigger {
            Trigger::CartAbandonment(parameters) => Some(parameters.clone()),
            _ => None,
        })
    }

    /// The campaigns on `back_in_stock`, by index.
    pub fn back_in_stock(&self) -> Vec<(u16, BackInStock)> {
        self.on(|trigger| match trigger {
            Trigger::BackInStock(parameters) => Some(parameters.clone()),
            _ => None,
        })
    }

    fn on<P>(&self, pick: impl Fn(&Trigger) -> Option<P>) -> Vec<(u16, P)> {
        (0u16..).zip(&self.triggers).filter_map(|(campaign, trigger)| Some((campaign, pick(trigger)?))).collect()
    }
}
