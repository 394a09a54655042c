//! Replay: decisions from retained records, as fast as they can be read (SPEC §7).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use beckon_dataflows::counts::Counts;
use beckon_dataflows::model::Tick;
use beckon_dataflows::plan::Plan;

use super::lanes::{Bury, Decoders, Intake};
use super::reading::{Extents, Reading};
use super::{Act, Engine, SharedState, wiring};
use crate::cluster::Peers;
use crate::decide::Decider;
use crate::meter::Meter;
use crate::reclock::{Notes, PartitionClock};
use crate::source::Partition;
use crate::worker::Crew;

/// After how many records the closed ticks are best told to the workers: each time costs what a few thousand records do.
pub const RECORDS_AN_ADVANCE: usize = 32 << 10;

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
    /// What a live run noted in its timeline of these partitions; nothing for files.
    pub noted: Notes,
    /// After how many records the closed ticks are told to the workers; [`RECORDS_AN_ADVANCE`] is best.
    pub advance_after: usize,
    /// What was done, while it is done.
    pub meter: Arc<Meter>,
}

/// What a replay leaves behind.
pub struct Replayed {
    /// What the graph set aside.
    pub counts: Arc<Counts>,
    /// How far the partitions were read.
    pub extents: Extents,
}

impl Replay {
    /// Reads all of `partitions`. Each dead letter goes to `bury`, each closed tick's decisions to `act`; `progress` hears how
    /// far the records have been read, 0 to 1. Fails when a source does, or `act`.
    pub fn run(
        self,
        partitions: Vec<Box<dyn Partition>>,
        act: impl Act,
        bury: Bury<'_>,
        progress: impl FnMut(f64),
    ) -> anyhow::Result<Arc<Counts>> {
        Ok(self.run_unless(&AtomicBool::new(false), partitions, act, bury, progress)?.counts)
    }

    /// [`Replay::run`] of a process's share of the partitions, among others. Only in process 0 `act` hears of decisions.
    pub fn run_among(
        self,
        peers: Peers,
        partitions: Vec<Box<dyn Partition>>,
        act: impl Act,
        bury: Bury<'_>,
        progress: impl FnMut(f64),
    ) -> anyhow::Result<Arc<Counts>> {
        let crew = Crew { peers: Some(peers), ..Crew::from(self.workers) };
        Ok(self.run_with(crew, &AtomicBool::new(false), partitions, act, bury, progress)?.counts)
    }

    /// [`Replay::run`], which reads no further once `stop` is set.
    pub fn run_unless(
        self,
        stop: &AtomicBool,
        partitions: Vec<Box<dyn Partition>>,
        act: impl Act,
        bury: Bury<'_>,
        progress: impl FnMut(f64),
    ) -> anyhow::Result<Replayed> {
        let crew = Crew::from(self.workers);
        self.run_with(crew, stop, partitions, act, bury, progress)
    }

    fn run_with(
        self,
        crew: Crew,
        stop: &AtomicBool,
        partitions: Vec<Box<dyn Partition>>,
        act: impl Act,
        bury: Bury<'_>,
        mut progress: impl FnMut(f64),
    ) -> anyhow::Result<Replayed> {
        let tick_ms = self.plan.tick_ms;
        let clock = PartitionClock::new(tick_ms, self.allowed_lateness_ms);
        let dictionary = wiring::dictionary(&self.plan, crew.peers.as_ref().map(Peers::cluster));
        let decoders = Decoders::start(self.decoders, &dictionary);
        let intake = Intake { decoders, meter: self.meter.clone(), bury };
        let mut engine =
            Engine::start(crew, self.plan, self.decider, dictionary, SharedState::default(), self.meter, act)?;
        let end = match self.until {
            Until::Time(time_ms) => time_ms / tick_ms * tick_ms + 1,
            Until::LastEvent | Until::Drain => Tick::MAX,
        };
        let mut reading = Reading::new(partitions, &clock, self.noted, intake, end);
        let mut unadvanced = 0;
        while let Some(taken) = reading.take()? {
            unadvanced += taken.batch.len();
            engine.workers.feed(taken.batch);
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if unadvanced >= self.advance_after {
                unadvanced = 0;
                reading.open().into_iter().for_each(|open| engine.workers.advance(open));
                progress(reading.share_read());
            }
        }
        engine.workers.close(match self.until {
            _ if stop.load(Ordering::Relaxed) => reading.open().unwrap_or(end).max(1),
            Until::LastEvent => reading.latest() + 1,
            Until::Drain => Tick::MAX,
            Until::Time(_) => end,
        });
        progress(1.0);
        Ok(Replayed { counts: engine.finish()?, extents: reading.extents() })
    }
}
