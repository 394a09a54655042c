//! How a live service begins: with the newest snapshot that can be used, in a cluster by all, and the log from where it says, or with the
//! whole log. In:
//! the configuration and the ledger. Out: workers that run, and partitions to be read on. Fails when Kafka, the timeline or the
//! folder of the snapshots cannot be had; a snapshot that cannot be used is no failure, and is said in the log.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use beckon_dataflows::model::Tick;
use beckon_dataflows::snapshot::{Earlier, Fault, Pace};

use super::lanes::{Decoders, Resume};
use super::live::WallClock;
use super::snapshots::{self, Restored, Schedule, Snapshots};
use super::{Kept, Setup, SharedState, Started, wiring};
use crate::cluster::together::Together;
use crate::cluster::{self, Cluster, PEERS_WAIT, Peers, Share};
use crate::config::{Config, Kafka};
use crate::decide::Remembered;
use crate::decision::DecisionId;
use crate::decode::Dictionary;
use crate::ledger::Ledger;
use crate::meter::Meter;
use crate::reclock::{Notes, Timeline};
use crate::snapshot::{Build, Identity, Store, Workers};
use crate::source::kafka::{self, Extent};
use crate::source::{Partition, SourceError};
use crate::watchdog;
use crate::worker::{Crew, StartError};

/// Threads that decode live records; a replay, which never waits, uses more.
const DECODERS: usize = 1;

/// Time enough between two snapshots to do something else.
const APART_MOST: Duration = Duration::from_secs(60);

/// How many of the decisions that a snapshot knows of are looked up in the ledger.
const LOOKED_UP: usize = 1000;

/// What a service begins from.
pub(super) struct Beginning<'b> {
    pub config: &'b Config,
    pub kafka: &'b Kafka,
    pub workers: usize,
    pub cluster: Option<&'b Cluster>,
    /// None where another process has it.
    pub ledger: Option<&'b Ledger>,
    pub meter: &'b Arc<Meter>,
    pub clock: &'b WallClock,
    /// Set to end the service.
    pub stop: &'b Arc<AtomicBool>,
}

/// What a service has begun with.
pub(super) struct Begun {
    pub partitions: Vec<Box<dyn Partition>>,
    /// When those were opened, epoch ms.
    pub reached_ms: u64,
    pub timeline: Arc<Timeline>,
    pub noted: Notes,
    pub started: Started,
    pub decoders: Decoders,
    pub state: SharedState,
    /// Where snapshots are taken.
    pub snapshots: Option<Snapshots>,
    pub resume: Resume,
    /// What the snapshot has for the KPIs.
    pub kpis: Option<Earlier>,
}

/// Why a snapshot that is whole cannot be used after all.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot does not read as it was written: {0}")]
struct Unusable(Fault);

impl Beginning<'_> {
    /// Begins with the newest snapshot, or without one.
    pub fn begin(&self) -> anyhow::Result<Begun> {
        if let Some(cluster) = self.cluster {
            return self.begin_among(cluster);
        }
        let newest = match self.store()? {
            Some(store) => Restored::newest(&store).filter(|restored| self.is_recorded(restored)),
            None => None,
        };
        let is_restored = newest.is_some();
        match self.attempt(newest, None) {
            Err(error) if is_restored && is_the_snapshots(&error) => {
                tracing::warn!("a snapshot is not used: {error:#}; the log is read whole");
                self.attempt(None, None)
            }
            other => other,
        }
    }

    /// Begins with the newest snapshot that all processes have, or without one. When it does not serve after all it is removed, and this
    /// process fails, so that all are started again without it.
    fn begin_among(&self, cluster: &Cluster) -> anyhow::Result<Begun> {
        let store = self.store()?;
        let mut usable = store.as_ref().map(Restored::all).unwrap_or_default();
        usable.retain(|restored| self.is_recorded(restored));
        let offers: Vec<Tick> = usable.iter().map(|restored| restored.tick).collect();
        let peers = cluster.connect(wiring::terms(self.config, self.workers), &offers, PEERS_WAIT)?;
        let common = peers.common();
        if common.is_none() && !offers.is_empty() {
            tracing::warn!(
                ?offers,
                "no snapshot is used: other processes have none of these ticks; the log is read whole"
            );
        }
        let restored = usable.into_iter().find(|restored| Some(restored.tick) == common);
        self.attempt(restored, Some(peers)).map_err(|error| match (common, store) {
            (Some(tick), Some(store)) if is_the_snapshots(&error) => match store.discard(tick) {
                Ok(()) => {
                    error.context(format!("the snapshot of {tick} does not serve and is removed; start all again"))
                }
                Err(kept) => error.context(format!("the snapshot of {tick} does not serve: {kept}")),
            },
            _ => error,
        })
    }

    /// Begins with a snapshot, or without one.
    fn attempt(&self, restored: Option<Restored>, peers: Option<Peers>) -> anyhow::Result<Begun> {
        let Beginning { config, kafka, workers, cluster, meter, clock, stop, .. } = self;
        let every_ms = self.schedule().map(|schedule| schedule.every_ms);
        let resume = Restored::resume(restored.as_ref(), every_ms);
        let feeder = std::thread::current();
        let woken = feeder.clone();
        let wake = Arc::new(move || woken.unpark());
        let from = |stream, partition| resume.offset(stream, partition);
        let share = cluster.map_or(Share::ALL, Cluster::share);
        let partitions = kafka::open(&kafka.brokers, &kafka.topics(), Extent::Endless, share, &from, wake)?;
        let reached_ms = clock();
        let retained = partitions.iter().map(|it| ((it.stream(), it.number()), it.first())).collect();
        let (timeline, noted) = Timeline::open_as(share.process, &config.state, &retained)?;
        let timeline = Arc::new(timeline);
        let (plan, decider) = (wiring::running(config), wiring::decider(config));
        let dictionary = wiring::dictionary(&plan, *cluster);
        if let Some(restored) = &restored {
            if cluster.is_none_or(Cluster::decides) {
                restored.restore_names(&dictionary).map_err(Unusable)?;
            }
            tracing::info!(tick = restored.tick, "going on from a snapshot");
        }
        let kpis = restored.as_ref().map(Restored::kpis);
        let together = Together::new(share, Box::new(move || feeder.unpark()));
        let (snapshots, kept) = self.keep(restored, together, &dictionary, &timeline)?;
        let (state, decoders) = (SharedState::default(), Decoders::start(DECODERS, &dictionary));
        let (state_of_setup, meter) = (state.clone(), (*meter).clone());
        let beat = watchdog::beat(Duration::from_millis(config.watchdog_after_ms));
        let crew = Crew { threads: *workers, peers, stop: (*stop).clone(), beat };
        let setup = Setup { crew, plan, decider, dictionary, state: state_of_setup, meter };
        let started = setup.start(kept)?;
        Ok(Begun { partitions, reached_ms, timeline, noted, started, decoders, state, snapshots, resume, kpis })
    }

    /// Starts whoever writes snapshots, where there are to be any.
    fn keep(
        &self,
        restored: Option<Restored>,
        together: Together,
        dictionary: &Arc<Dictionary>,
        timeline: &Arc<Timeline>,
    ) -> anyhow::Result<(Option<Snapshots>, Kept)> {
        let (Some(store), Some(schedule)) = (self.store()?, self.schedule()) else {
            return Ok((None, Kept { restored, ..Kept::default() }));
        };
        restored.iter().for_each(|restored| store.use_from(restored.tick));
        let timeline = Some(timeline.clone());
        let (snapshots, keeping, watch) =
            snapshots::start(store, schedule, self.workers, together, dictionary, timeline)?;
        Ok((Some(snapshots), Kept { restored, keeping, watch: Some(watch) }))
    }

    /// The folder of this process's snapshots; none where they are off.
    fn store(&self) -> anyhow::Result<Option<Store>> {
        if self.config.snapshot_every_ms.is_none() {
            return Ok(None);
        }
        let Share { process, processes } = self.cluster.map_or(Share::ALL, Cluster::share);
        let own = self.workers;
        let workers = Workers { total: processes * own, first: process * own, own };
        let (build, configuration) = (Build::running()?, wiring::state_fingerprint(self.config));
        let folder = cluster::file_of(&self.config.state.join("snapshots"), process);
        Ok(Some(Store::open(&folder, Identity { build, configuration, workers })?))
    }

    /// When snapshots are taken: times are compared by tick, so the time between two is rounded up to one.
    fn schedule(&self) -> Option<Schedule> {
        let every_ms = self.config.snapshot_every_ms?.next_multiple_of(self.config.tick_ms);
        let apart = Duration::from_millis(every_ms).min(APART_MOST);
        Some(Schedule { every_ms, apart, pace: Pace::default() })
    }

    /// Whether the ledger has what the snapshot says was decided. One that was lost, or is older, has not; then the log decides again.
    fn is_recorded(&self, restored: &Restored) -> bool {
        let is_there = |id: &DecisionId| matches!(self.ledger.map(|ledger| ledger.decision(*id)), Some(Ok(Some(_))));
        let lost = looked_up(&restored.known.remembered).find(|id| !is_there(id));
        if let Some(id) = lost {
            let tick = restored.tick;
            tracing::warn!(
                "the snapshot of {tick} is not used: it knows of the decision {id}, which the ledger has not; the log is read whole"
            );
        }
        lost.is_none()
    }
}

/// Some of the decisions that are remembered, the latest among them.
fn looked_up(remembered: &Remembered) -> impl Iterator<Item = DecisionId> {
    let Remembered { decided, over, .. } = remembered;
    let some = decided.iter().step_by(decided.len().div_ceil(LOOKED_UP).max(1)).copied();
    let latest = over.iter().rev().take(LOOKED_UP).map(|[_, high, low]| [*high, *low]);
    some.chain(latest).map(|[high, low]| DecisionId(u128::from(high) << 64 | u128::from(low)))
}

/// Whether it would not have failed without the snapshot.
fn is_the_snapshots(error: &anyhow::Error) -> bool {
    error.is::<Unusable>()
        || matches!(error.downcast_ref(), Some(StartError::Earlier(_)))
        || matches!(error.downcast_ref(), Some(SourceError::Shorter { .. }))
}
