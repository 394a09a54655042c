//! The seven streams of SPEC §1 and the one thing that travels on them: an [`Event`].

/// Segment messages: what visitors do.
pub const CLICKSTREAM: &str = "clickstream";
/// Whole states of carts.
pub const CARTS: &str = "carts";
/// Stock by SKU and location.
pub const INVENTORY: &str = "inventory";
/// Products and their prices.
pub const CATALOG: &str = "catalog";
/// Orders and what became of them.
pub const ORDERS: &str = "orders";
/// Customers: address, consent, attributes.
pub const PROFILES: &str = "profiles";
/// What became of e-mails: opened, bounced, unsubscribed and so on.
pub const ENGAGEMENT: &str = "engagement";

/// All streams, in the order of SPEC §1's table.
pub const STREAMS: [&str; 7] = [CLICKSTREAM, CARTS, INVENTORY, CATALOG, ORDERS, PROFILES, ENGAGEMENT];

/// The place of a stream in [`STREAMS`]. The name must be one of them.
pub fn stream_index(stream: &str) -> usize {
    STREAMS
        .iter()
        .position(|name| *name == stream)
        .unwrap_or_else(|| panic!("'{stream}' is none of the streams {STREAMS:?}"))
}

/// One record on its way to a topic or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The stream's name, one of [`STREAMS`].
    pub stream: &'static str,
    /// The message key: SPEC §1's key, `sku:location` where that has two parts.
    pub key: String,
    /// When the record is said, in epoch milliseconds. The record's own time is the same, but for a duplicate,
    /// a stale or an out-of-order record, where it lies up to 5 s earlier.
    pub time_ms: i64,
    /// The record itself, one line without its line feed.
    pub json: Vec<u8>,
}

impl Event {
    /// An event of these parts.
    pub(crate) fn new(stream: &'static str, key: impl Into<String>, time_ms: i64, json: Vec<u8>) -> Event {
        Event { stream, key: key.into(), time_ms, json }
    }
}
