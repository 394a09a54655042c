//! Event time to ticks (SPEC §2). In: the records of a partition, in its order. Out: the tick at which each takes effect, and
//! the least tick that is still open.
//!
//! What a partition's own records say of time, a replay finds again. What the wall clock says (a partition was idle, a
//! time lay ahead of it) it does not: that is the *timeline*, which a live run keeps durably, so that a later one binds
//! every record as it did, or as it would have.

mod binding;
mod clock;
mod timeline;

pub use binding::{Binding, Checkpoint, Note, Notes, Reclock};
pub use clock::PartitionClock;
pub use timeline::{Timeline, TimelineError};
