//! The truth against what is maintained (SPEC §7, `reconcile`). In: an export of all rows of a stream, and the log. Out: records that,
//! written to the stream, make what is maintained equal to the export. Fails when either cannot be read, or when the export lacks so much
//! that it is rather cut off than true.
//!
//! What is maintained is what the log says, by the rule of the engine: of several writes of a key the greatest (SPEC §1); of carts that
//! no record tells of, what single messages tell. An export is of a moment. What the log has from after it is newer, and stays; and
//! a correction is dated at that moment, so that whatever changes later goes before it, though it comes earlier.

mod correction;
mod maintained;
mod truth;

use std::path::Path;

use anyhow::ensure;
use beckon_dataflows::model::{Stream, Tick};
use beckon_dataflows::reconcile::{Difference, Key, difference};
use serde_json::Value;

use crate::source::Partition;
pub use truth::TruthFault;

/// The streams that can be reconciled: those whose records are a whole state.
pub const STREAMS: [Stream; 3] = [Stream::Inventory, Stream::Carts, Stream::Profiles];

/// What is compared.
pub struct Comparison<'a> {
    /// The stream; one of [`STREAMS`].
    pub stream: Stream,
    /// The export.
    pub truth: &'a Path,
    /// When it was made, epoch ms.
    pub as_of: Tick,
    /// The greatest share of what is maintained that the export may lack, in percent.
    pub removed_percent_max: u32,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// The records to be written, each with its key in Kafka.
    pub corrections: Vec<(String, Value)>,
    /// Keys that are maintained.
    pub maintained: usize,
    /// Keys in the export.
    pub in_truth: usize,
    /// Keys that are otherwise.
    pub changed: usize,
    /// Keys that only the export has.
    pub added: usize,
    /// Keys that only the log has.
    pub removed: usize,
    /// Keys that differ because the log has what is newer than the export.
    pub newer: usize,
}

impl Comparison<'_> {
    /// Whether this partition's records say anything about the stream.
    pub fn reads(&self, stream: Stream) -> bool {
        stream == self.stream || self.stream == Stream::Carts && stream == Stream::Clickstream
    }

    /// Reads the `partitions` to their end, and compares.
    pub fn run(&self, partitions: Vec<Box<dyn Partition>>) -> anyhow::Result<Reconciled> {
        let mut names = maintained::Names::default();
        let truth = truth::read(self.truth, self.stream, self.as_of, &mut names)?;
        let maintained = maintained::read(partitions, self.stream, &mut names)?;
        let differing = difference(maintained.rows(), truth.rows());
        let mut come_to = Reconciled { maintained: maintained.len(), in_truth: truth.len(), ..Reconciled::default() };
        for (key, difference) in differing {
            let (old, new) = (maintained.get(&key), truth.get(&key));
            let is_gone = maintained::is_gone(difference.maintained.as_ref());
            // What is gone is not there: the export need not say so.
            if new.is_none() && is_gone {
                continue;
            }
            if old.is_some_and(|old| self.is_newer(old, new)) {
                come_to.newer += 1;
                continue;
            }
            let correction = correction::of(self.stream, old, new, self.as_of)?;
            come_to.corrections.push(correction);
            come_to.count(&difference);
        }
        come_to.refuse_cut_off(self.removed_percent_max)?;
        Ok(come_to)
    }

    /// Whether the log has a write that the export does not know of.
    fn is_newer(&self, old: &maintained::Kept, new: Option<&truth::Row>) -> bool {
        let exported = new.map_or((None, None), |row| (row.version, row.updated_ms));
        match exported {
            (Some(version), Some(updated_ms)) => (old.written.version, old.written.updated_ms) > (version, updated_ms),
            (Some(version), None) if old.written.version != version => old.written.version > version,
            (None, Some(updated_ms)) => old.written.updated_ms > updated_ms.max(self.as_of),
            _ => old.written.updated_ms > self.as_of,
        }
    }
}

impl Reconciled {
    fn count(&mut self, difference: &Difference) {
        match difference {
            Difference { truth: None, .. } => self.removed += 1,
            Difference { maintained: None, .. } => self.added += 1,
            _ => self.changed += 1,
        }
    }

    /// An export that lacks much of what is maintained was most likely cut off, and would empty the shop.
    fn refuse_cut_off(&self, percent_max: u32) -> anyhow::Result<()> {
        let (removed, maintained) = (self.removed as u64, self.maintained as u64);
        ensure!(
            removed * 100 <= maintained * u64::from(percent_max),
            "the export lacks {removed} of {maintained} keys that are maintained, more than {percent_max} %: is it whole?\n  \
             if it is, say so with --at-most {}",
            (removed * 100).div_ceil(maintained.max(1))
        );
        Ok(())
    }
}

/// What a row is about, and what it says: of a record of a stream that can be reconciled.
fn row_of(record: &beckon_dataflows::model::Record) -> Option<(Key, beckon_dataflows::reconcile::Content)> {
    use beckon_dataflows::model::{Id, Record};
    use beckon_dataflows::reconcile::Content;
    Some(match record {
        Record::Stock(stock) => ([stock.sku, stock.location], Content::Stock(stock.on_hand)),
        Record::Cart(cart) => {
            let (owner, currency, lines) = (cart.owner, cart.currency, cart.lines.clone());
            ([cart.cart, Id::NONE], Content::Cart { owner, currency, lines })
        }
        Record::Profile(profile) => {
            ([profile.user, Id::NONE], Content::Profile(maintained::in_order(&profile.contact)))
        }
        _ => return None,
    })
}
