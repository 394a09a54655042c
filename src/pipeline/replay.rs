//! Replay: decisions from retained records, as fast as they can be read (SPEC §7). The partition whose watermark is least is
//! read next, so memory stays bounded and what is late does not depend on how the partitions are interleaved.

use std::sync::Arc;
use std::time::Duration;

use beckon_dataflows::counts::Counts;
use beckon_dataflows::horizon::Horizon;
use beckon_dataflows::model::Tick;
use beckon_dataflows::plan::Plan;
use beckon_dataflows::time::tick_at;

use super::lanes::{Bury, Decoders, Intake, Lane};
use super::{Act, Engine, SharedState};
use crate::decide::Decider;
use crate::decode::Dictionary;
use crate::meter::Meter;
use crate::reclock::PartitionClock;
use crate::source::Partition;

/// After how many records the closed ticks are best told to the workers: each time costs what a few thousand records do.
pub const RECORDS_AN_ADVANCE: usize = 32 << 10;

/// How long to wait for a source that has nothing ready.
const SOURCE_WAIT: Duration = Duration::from_millis(100);

/// How far a replay goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// To the last event's tick.
    LastEvent,
    /// Until no deadline is pending.
    Drain,
    /// Up to this time, epoch ms.
    Time(u64),
}

/// What a replay needs beside its records.
pub struct Replay {
    /// Worker threads.
    pub workers: usize,
    /// Threads that decode.
    pub decoders: usize,
    /// The campaigns.
    pub plan: Plan,
    /// Gates and arbitration.
    pub decider: Decider,
    /// SPEC §2, ms.
    pub allowed_lateness_ms: u64,
    /// How far it goes.
    pub until: Until,
    /// After how many records the closed ticks are told to the workers; [`RECORDS_AN_ADVANCE`] is best.
    pub advance_after: usize,
    /// What was done, while it is done.
    pub meter: Arc<Meter>,
}

impl Replay {
    /// Reads all of `partitions`. Each dead letter goes to `bury`, each closed tick's decisions to `act`; `progress` hears how
    /// far the records have been read, 0 to 1. Fails when a source does, or `act`.
    pub fn run(
        self,
        partitions: Vec<Box<dyn Partition>>,
        act: impl Act,
        bury: Bury<'_>,
        mut progress: impl FnMut(f64),
    ) -> anyhow::Result<Arc<Counts>> {
        let tick_ms = self.plan.tick_ms;
        let dictionary = Arc::new(Dictionary::forgetting(Horizon::of(&self.plan)));
        let decoders = Decoders::start(self.decoders, &dictionary);
        let mut intake = Intake { decoders, meter: self.meter.clone(), bury };
        let mut engine =
            Engine::start(self.workers, self.plan, self.decider, dictionary, SharedState::default(), self.meter, act)?;
        let clock = PartitionClock::new(tick_ms, self.allowed_lateness_ms);
        let mut lanes: Vec<Lane> =
            partitions.into_iter().map(|partition| Lane::new(partition, clock.clone())).collect();
        let stop = match self.until {
            Until::Time(time_ms) => time_ms / tick_ms * tick_ms + 1,
            Until::LastEvent | Until::Drain => Tick::MAX,
        };
        let mut unadvanced = 0;
        while let Some(lane) = lanes.iter_mut().filter(|lane| !lane.finished()).min_by_key(|lane| lane.clock.open()) {
            if lane.clock.open() >= stop {
                break;
            }
            let Some(batch) = lane.take(&mut intake, SOURCE_WAIT, 0, None)? else { continue };
            unadvanced += batch.len();
            engine.workers.feed(batch);
            if unadvanced >= self.advance_after {
                unadvanced = 0;
                let open = lanes.iter().filter(|lane| !lane.finished()).map(|lane| lane.clock.open()).min();
                open.into_iter().for_each(|open| engine.workers.advance(open.min(stop)));
                progress(lanes.iter().map(Lane::share_read).sum::<f64>() / lanes.len() as f64);
            }
        }
        let last = lanes.iter().filter_map(|lane| lane.clock.greatest_ms()).max().unwrap_or(0);
        engine.workers.close(match self.until {
            Until::LastEvent => tick_at(last, tick_ms) + 1,
            Until::Drain => Tick::MAX,
            Until::Time(_) => stop,
        });
        progress(1.0);
        engine.finish()
    }
}
