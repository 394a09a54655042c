//! Bytes to typed records (SPEC §1). In: the bytes of one record and its position. Out: the [`Record`] with its names interned
//! and its money exact, and its event time. A record that breaks a rule is [`Bad`], with the reason, and costs no other.
//!
//! - `json`, `row`: what the text says, read once, strictly, without allocating.
//! - `value`, `time`, `names`: what one member means: money, a time, an id.
//! - one file for each stream: what its records mean. `event` and `lines` serve those that need them.
//! - `check`: whether a record could be used, before it is in the log.
//! - `dictionary`: the texts behind the ids, for all threads; `told`: and for all processes.

mod bad;
mod carts;
mod catalog;
mod check;
mod clickstream;
mod dictionary;
mod engagement;
mod event;
mod inventory;
mod json;
mod lines;
mod names;
mod orders;
mod profiles;
mod row;
mod time;
mod told;
mod value;

use std::sync::Arc;

use beckon_dataflows::model::{Line, Position, Record, Stream, Written};

pub use bad::{Bad, Collision};
pub use check::Check;
pub use dictionary::{Dictionary, Hold, Pin, Written as WrittenName};
pub use told::Told;

use json::Value;
use names::Names;
use value::required;

/// The longest record that is parsed (SPEC §1, "Bad input").
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// Reads records. One per thread: it keeps its buffers from one record to the next.
pub struct Decoder {
    names: Names,
    /// The lines of the record being read.
    lines: Vec<Line>,
}

/// A record, and when it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What it says.
    pub record: Record,
    /// Its event time, epoch ms (ARCHITECTURE, "Records").
    pub event_ms: u64,
}

impl Decoder {
    /// A decoder that makes the names it reads known in `dictionary`.
    pub fn new(dictionary: Arc<Dictionary>) -> Self {
        Decoder { names: Names::new(dictionary), lines: Vec::new() }
    }

    /// Holds back the dropping of the names that are read from here on.
    pub fn pin(&self) -> Pin {
        self.names.pin()
    }

    /// Reads one record of the stream that `position` is in.
    pub fn decode(&mut self, position: Position, bytes: &[u8]) -> Result<Decoded, Bad> {
        if bytes.is_empty() {
            return Err(Bad::Empty);
        }
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(Bad::TooLarge { bytes: bytes.len() });
        }
        let text = str::from_utf8(bytes).map_err(|error| Bad::NotUtf8 { at: error.valid_up_to() })?;
        self.names.keep_for_good(false);
        match position.stream() {
            Stream::Clickstream => self.click(position, text),
            Stream::Carts => self.cart(position, text),
            Stream::Inventory => self.stock(position, text),
            Stream::Catalog => self.product(position, text),
            Stream::Orders => self.order(position, text),
            Stream::Profiles => self.profile(position, text),
            Stream::Engagement => self.engagement(position, text),
        }
    }
}

/// A record's place among the writes of its key, from its `version` (0 when missing) and `updated_at`.
fn written(version: &Value<'_>, updated_at: &Value<'_>, position: Position) -> Result<Written, Bad> {
    let updated_ms = required(updated_at.time_ms("updated_at")?, "updated_at")?;
    Ok(Written { version: version.whole("version")?.unwrap_or(0), updated_ms, position })
}
