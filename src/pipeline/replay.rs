//! Replay: decisions from retained records, as fast as they can be read (SPEC §7).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use beckon_dataflows::counts::Counts;
use beckon_dataflows::model::Tick;
use beckon_dataflows::plan::Plan;

use super::lanes::{Bury, Decoders, Intake, Resume};
use super::reading::{Extents, Reading};
use super::snapshots::{self, Restored, Schedule, Snapshots};
use super::{Act, Engine, Kept, Setup, SharedState, wiring};
use crate::cluster::together::Together;
use crate::cluster::{Cluster, Peers, Share};
use crate::decide::Decider;
use crate::meter::Meter;
use crate::reclock::{Notes, PartitionClock};
use crate::snapshot::Store;
use crate::source::Partition;
use crate::worker::Crew;

/// After how many records the closed ticks are best told to the workers: each time costs what a few thousand records do.
pub const RECORDS_AN_ADVANCE: usize = 32 << 10;

/// How long the end of a replay waits for a snapshot that is being written.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(10);

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

/// Snapshots of a replay.
pub struct Keep {
    /// Where they go.
    pub store: Store,
    /// When they are taken.
    pub schedule: Schedule,
    /// What is gone on from.
    pub restored: Option<Restored>,
    /// With whom, where this is the replay of a process's share of the partitions.
    pub peers: Option<Peers>,
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
        Ok(self.run_with(crew, None, &AtomicBool::new(false), partitions, act, bury, progress)?.counts)
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
        self.run_with(crew, None, stop, partitions, act, bury, progress)
    }

    /// [`Replay::run_unless`] with snapshots: taken by their schedule into the store, and where one was restored, gone on from it;
    /// `partitions` then begin where it says. Among others, where there are any, they are taken of the same ticks as theirs.
    pub fn run_keeping(
        self,
        mut keep: Keep,
        stop: &AtomicBool,
        partitions: Vec<Box<dyn Partition>>,
        act: impl Act,
        bury: Bury<'_>,
        progress: impl FnMut(f64),
    ) -> anyhow::Result<Replayed> {
        let crew = Crew { peers: keep.peers.take(), ..Crew::from(self.workers) };
        self.run_with(crew, Some(keep), stop, partitions, act, bury, progress)
    }

    #[allow(clippy::too_many_arguments)]
    fn run_with(
        self,
        crew: Crew,
        keep: Option<Keep>,
        stop: &AtomicBool,
        partitions: Vec<Box<dyn Partition>>,
        act: impl Act,
        bury: Bury<'_>,
        mut progress: impl FnMut(f64),
    ) -> anyhow::Result<Replayed> {
        let tick_ms = self.plan.tick_ms;
        let clock = PartitionClock::new(tick_ms, self.allowed_lateness_ms);
        let cluster = crew.peers.as_ref().map(Peers::cluster);
        let (share, decides) = (cluster.map_or(Share::ALL, Cluster::share), cluster.is_none_or(Cluster::decides));
        let dictionary = wiring::dictionary(&self.plan, cluster);
        let decoders = Decoders::start_giving_way(self.decoders, &dictionary);
        let intake = Intake { decoders, meter: self.meter.clone(), bury };
        let (mut snapshots, kept, resume) = match keep {
            None => (None, Kept::default(), Resume::default()),
            Some(Keep { store, schedule, restored, .. }) => {
                if let Some(restored) = restored.as_ref().filter(|_| decides) {
                    restored.restore_names(&dictionary).map_err(|fault| anyhow::anyhow!("the snapshot: {fault}"))?;
                }
                let resume = Restored::resume(restored.as_ref(), Some(schedule.every_ms));
                let together = Together::new(share, Box::new(|| ()));
                let (snapshots, keeping, watch) =
                    snapshots::start(store, schedule, self.workers, together, &dictionary, None)?;
                (Some(snapshots), Kept { restored, keeping, watch: Some(watch) }, resume)
            }
        };
        let Replay { plan, decider, meter, .. } = self;
        let setup = Setup { crew, plan, decider, dictionary, state: SharedState::default(), meter };
        let mut engine = setup.start(kept)?.decide_for(act)?;
        let until = self.until;
        let end = match until {
            Until::Time(time_ms) => time_ms / tick_ms * tick_ms + 1,
            Until::LastEvent | Until::Drain => Tick::MAX,
        };
        let mut closed = resume.tick().map_or(0, |tick| tick + 1);
        let mut reading = Reading::new(partitions, &clock, self.noted, intake, end, &resume);
        let mut unadvanced = 0;
        while let Some(taken) = reading.take()? {
            unadvanced += taken.batch.len();
            engine.workers.feed(taken.batch);
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if unadvanced >= self.advance_after {
                unadvanced = 0;
                let open = reading.open().map_or(closed, |open| open.max(closed));
                advance(&mut engine, &mut snapshots, closed, open, &mut reading);
                closed = open;
                progress(reading.share_read());
            }
        }
        snapshots.iter().for_each(|snapshots| snapshots.wait(SNAPSHOT_WAIT));
        match until {
            // There is more to read, so that others must not go further either.
            _ if stop.load(Ordering::Relaxed) => engine.workers.stop(reading.open().unwrap_or(end).max(1)),
            Until::LastEvent => engine.workers.close(reading.latest() + 1),
            Until::Drain => engine.workers.close(Tick::MAX),
            Until::Time(_) => engine.workers.close(end),
        }
        progress(1.0);
        Ok(Replayed { counts: engine.finish()?, extents: reading.extents() })
    }
}

/// Closes the ticks before `open`; those before `closed` are. Where a snapshot is due meanwhile, it begins.
fn advance(
    engine: &mut Engine,
    snapshots: &mut Option<Snapshots>,
    closed: Tick,
    open: Tick,
    reading: &mut Reading<'_>,
) {
    if let Some(snapshots) = snapshots
        && let Some(tick) = snapshots.begin(closed, open, reading.lanes().iter_mut())
    {
        engine.workers.snapshot(tick);
    }
    if open > closed {
        engine.workers.advance(open);
    }
}
