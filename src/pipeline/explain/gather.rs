//! The second pass: reads the log again and keeps the records that can concern the decision, at the ticks at which the first
//! pass had them. In: the log, and what the decision is about. Out: those records, in the order of their positions. Fails when
//! the log cannot be read, or when more concerns the decision than is held in memory.
//!
//! A record can be read before the name is known by which it concerns the decision, such as the stock of a SKU that is put
//! into the cart later. So the log is read until nothing new is learnt: mostly twice, and once more for a chain of links.

use std::sync::Arc;

use anyhow::ensure;
use beckon_dataflows::model::Tick;

use super::related::Related;
use super::{Kept, Step};
use crate::decode::Dictionary;
use crate::meter::Meter;
use crate::pipeline::lanes::Resume;
use crate::pipeline::lanes::{Bytes, Decoders, Intake, Taken};
use crate::pipeline::reading::{Extents, Reading};
use crate::reclock::{Notes, PartitionClock};
use crate::source::Partition;

/// How much is held of the records that concern a decision, bytes.
const KEPT_BYTES_MAX: usize = 256 << 20;

/// The log up to a tick, as the first pass read it.
pub struct Log<'a> {
    /// Opens its partitions.
    pub open: &'a dyn Fn() -> anyhow::Result<Vec<Box<dyn Partition>>>,
    /// The clock of a partition of which nothing has been read,
    pub clock: PartitionClock,
    /// and what the timeline says of them: together they bind its records to the ticks of the first pass.
    pub noted: &'a Notes,
    /// The texts behind the names.
    pub dictionary: Arc<Dictionary>,
    /// How far it had been read.
    pub extents: &'a Extents,
    /// The decision's tick: what takes effect later had no say.
    pub last: Tick,
}

impl Log<'_> {
    /// Reads until no further name is learnt.
    pub fn gather(&self, related: &mut Related, progress: &mut dyn FnMut(Step)) -> anyhow::Result<Vec<Kept>> {
        for round in 1.. {
            let before = related.len();
            let kept = self.read(related, &mut |share| progress(Step::Gathering(round, share)))?;
            if related.len() == before {
                return Ok(kept);
            }
        }
        Ok(Vec::new())
    }

    fn read(&self, related: &mut Related, progress: &mut dyn FnMut(f64)) -> anyhow::Result<Vec<Kept>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let decoders = Decoders::start_with(threads, &self.dictionary, Bytes::Kept);
        let intake = Intake { decoders, meter: Arc::new(Meter::default()), bury: Box::new(|_| Ok(())) };
        let stop = self.last.saturating_add(1);
        let mut reading =
            Reading::new((self.open)()?, &self.clock, self.noted.clone(), intake, stop, &Resume::default());
        let (mut kept, mut bytes) = (Vec::new(), 0);
        while let Some(taken) = reading.take()? {
            let before = kept.len();
            self.sift(taken, related, &mut kept);
            bytes += kept[before..].iter().map(|record: &Kept| record.bytes.len() + size_of::<Kept>()).sum::<usize>();
            ensure!(
                bytes <= KEPT_BYTES_MAX,
                "more than {} MiB of records concern the decision; that is more than an explanation holds",
                KEPT_BYTES_MAX >> 20
            );
            progress(reading.share_read());
        }
        kept.sort_by_key(|record| record.position);
        Ok(kept)
    }

    /// Keeps the records of a block that concern the decision.
    fn sift(&self, taken: Taken, related: &mut Related, kept: &mut Vec<Kept>) {
        let Some(block) = taken.block else { return };
        let mut raw = block.records();
        for (record, tick) in taken.batch.into_records() {
            let position = record.position();
            if tick > self.last || !self.extents.contain(position) || !related.take_up(&record) {
                continue;
            }
            // Both are in the order of the partition; the bad ones are in `raw` only.
            let bytes = raw.find(|(offset, _)| *offset == position.offset()).map(|(_, bytes)| bytes.to_vec());
            kept.extend(bytes.map(|bytes| Kept { position, tick, bytes, record }));
        }
    }
}
