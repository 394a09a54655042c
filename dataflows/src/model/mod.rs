//! The words that every stage shares: identifiers, times, money, records, and what the graph says of them.
//! Plain rows without behaviour of their own; no I/O, no clock, cannot fail.

mod contact;
mod facts;
mod id;
mod line;
mod money;
mod record;
mod stream;

pub use contact::{Contact, Standing, Words};
pub use facts::{Change, Engagement, Episode, History, Interests, OpenCart, Opening, OrderFact, Product};
pub use id::{Id, IdHasher, Namespace};
pub use line::Line;
pub(crate) use line::TimedLine;
pub use money::Money;
pub use record::{
    Action, CartRecord, CatalogRecord, Choice, Click, EngagementKind, EngagementRecord, Fold, MessageId, OrderRecord,
    OrderStatus, ProfileRecord, Record, StockRecord, Written,
};
pub use stream::{Position, Stream};

/// A tick: epoch milliseconds, a multiple of the configured `tick` (SPEC §2). Every row carries the tick at which it takes
/// effect, and the graph's timestamps are ticks.
pub type Tick = u64;

/// How often a row is added (+) or retracted (−).
pub type Diff = isize;
