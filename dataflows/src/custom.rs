//! Triggers of a user's own. In: a campaign, as far as its rule depends on it. Out: the rule that it follows, made anew for each
//! worker. Cannot fail: what is configured was checked before.

use std::fmt;
use std::sync::Arc;

use crate::joins::customers::CustomerTrigger;
use crate::joins::skus::SkuTrigger;
use crate::plan::Wait;

/// What a campaign's episodes are a condition over.
pub enum Rule {
    /// All that one customer does.
    Customer(Box<dyn CustomerTrigger>),
    /// One customer's orders alone, so that nothing is visited at a click. Only [`Reads::orders_ms`] and [`Reads::bought`] count.
    ///
    /// [`Reads::orders_ms`]: crate::joins::customers::Reads::orders_ms
    /// [`Reads::bought`]: crate::joins::customers::Reads::bought
    Orders(Box<dyn CustomerTrigger>),
    /// A product's price and stock, and who wants it.
    Sku(Box<dyn SkuTrigger>),
}

/// A campaign, as its rule needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// Its place in the configuration: what an episode names it by.
    pub index: u16,
    /// Length of a tick, ms.
    pub tick_ms: u64,
    /// X, ms in whole ticks, at least one; none: an episode holds as long as its condition (SPEC §4).
    pub expires_ms: Option<u64>,
}

impl Campaign {
    /// W and X of SPEC §4: an episode opens `after_ms` from what it waits for, in whole ticks, and holds no longer than the
    /// campaign's `expires`.
    pub fn wait(&self, after_ms: u64) -> Wait {
        Wait { after_ms: self.ticks(after_ms), expires_ms: self.expires_ms }
    }

    /// A length of time in whole ticks, rounded up, ms: times are compared by tick throughout (SPEC §2).
    pub fn ticks(&self, length_ms: u64) -> u64 {
        length_ms.div_ceil(self.tick_ms) * self.tick_ms
    }
}

/// Makes the rule of a campaign, with the parameters that the campaign gives.
pub type MakeRule = dyn Fn(&Campaign) -> Rule + Send + Sync;

/// A campaign's trigger of a user's own.
#[derive(Clone)]
pub struct Custom {
    /// What makes its rule.
    pub make: Arc<MakeRule>,
    /// X, ms in whole ticks, at least one.
    pub expires_ms: Option<u64>,
}

impl Custom {
    /// The rule of the campaign in place `index`.
    pub fn rule(&self, index: u16, tick_ms: u64) -> Rule {
        (self.make)(&Campaign { index, tick_ms, expires_ms: self.expires_ms })
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Custom").field("expires_ms", &self.expires_ms).finish_non_exhaustive()
    }
}
