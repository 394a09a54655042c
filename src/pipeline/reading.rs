//! Retained partitions on their way into the graph: the one whose watermark is least is read next, so memory stays bounded and
//! what is late does not depend on how the partitions are interleaved. In: partitions. Out: blocks of records, each at the
//! tick at which it takes effect. Fails when a source does, or whoever buries the dead letters.

use std::time::Duration;

use beckon_dataflows::model::{Position, Stream, Tick};
use hashbrown::HashMap;

use super::lanes::{Intake, Lane, Resume, Taken};
use crate::reclock::{Notes, PartitionClock};
use crate::source::Partition;

/// How long to wait for a source that has nothing ready.
const SOURCE_WAIT: Duration = Duration::from_millis(100);

/// Partitions being read, up to a tick.
pub struct Reading<'a> {
    lanes: Vec<Lane>,
    intake: Intake<'a>,
    stop: Tick,
}

impl<'a> Reading<'a> {
    /// Nothing read yet of the partitions since what `resume` goes on from, of which the timeline says `noted`. Ends where the watermark of each has passed the
    /// ticks before `stop`.
    pub fn new(
        partitions: Vec<Box<dyn Partition>>,
        clock: &PartitionClock,
        noted: Notes,
        intake: Intake<'a>,
        stop: Tick,
        resume: &Resume,
    ) -> Reading<'a> {
        Reading { lanes: Lane::open(partitions, clock, noted, resume), intake, stop }
    }

    /// The partitions.
    pub fn lanes(&mut self) -> &mut [Lane] {
        &mut self.lanes
    }

    /// The next block; none at the end.
    pub fn take(&mut self) -> anyhow::Result<Option<Taken>> {
        loop {
            let unfinished = self.lanes.iter_mut().filter(|lane| !lane.finished());
            let Some(lane) = unfinished.min_by_key(|lane| lane.reclock.open()) else { return Ok(None) };
            if lane.reclock.open() >= self.stop {
                return Ok(None);
            }
            let taken = lane.take(&mut self.intake, SOURCE_WAIT, None)?;
            if taken.is_some() {
                return Ok(taken);
            }
        }
    }

    /// All ticks before this one are closed; none when everything has been read.
    pub fn open(&self) -> Option<Tick> {
        let unfinished = self.lanes.iter().filter(|lane| !lane.finished());
        unfinished.map(|lane| lane.reclock.open()).min().map(|open| open.min(self.stop))
    }

    /// How far everything has been read, 0 to 1.
    pub fn share_read(&self) -> f64 {
        self.lanes.iter().map(Lane::share_read).sum::<f64>() / self.lanes.len().max(1) as f64
    }

    /// The latest tick at which a record took effect; 0 without any.
    pub fn latest(&self) -> Tick {
        self.lanes.iter().map(|lane| lane.reclock.clock().latest()).max().unwrap_or(0)
    }

    /// How far each partition has been read.
    pub fn extents(&self) -> Extents {
        let read = self.lanes.iter().filter_map(|lane| lane.read_to());
        Extents(read.map(|last| ((last.stream(), last.partition()), last)).collect())
    }
}

/// The last record read of each partition: a topic may grow while it is read again.
#[derive(Clone, Debug, Default)]
pub struct Extents(HashMap<(Stream, u32), Position>);

impl Extents {
    /// Whether the record at `position` had been read.
    pub fn contain(&self, position: Position) -> bool {
        self.0.get(&(position.stream(), position.partition())).is_some_and(|last| position <= *last)
    }
}
