//! Which records are still the state of their key (SPEC §1, last write wins). In: records up to a tick. Out: for each whether
//! it is in force by then; a message always is. Cannot fail.
//!
//! An older write can lead to the same decision as the one in force. Then the latter is to be shown.

use beckon_dataflows::model::{Id, Record, Written};
use hashbrown::HashMap;

use super::Kept;

/// Whether each of `records` is in force.
pub fn in_force(records: &[Kept]) -> Vec<bool> {
    let mut last: HashMap<(Id, Id), Written> = HashMap::new();
    for (key, written) in records.iter().filter_map(|kept| write(&kept.record)) {
        let last = last.entry(key).or_insert(written);
        *last = written.max(*last);
    }
    records
        .iter()
        .map(|kept| write(&kept.record).is_none_or(|(key, written)| last.get(&key) == Some(&written)))
        .collect()
}

/// The key that a record is a write of, and its place among those.
fn write(record: &Record) -> Option<((Id, Id), Written)> {
    match record {
        Record::Cart(record) => Some(((record.cart, Id::NONE), record.written)),
        Record::Stock(record) => Some(((record.sku, record.location), record.written)),
        // A SKU has stock and an entry in the catalog.
        Record::Catalog(record) => Some(((Id::NONE, record.sku), record.written)),
        Record::Order(record) => Some(((record.order, Id::NONE), record.written)),
        Record::Profile(record) => Some(((record.user, Id::NONE), record.written)),
        Record::Click(_) | Record::Engagement(_) => None,
    }
}
