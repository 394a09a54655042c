//! The live service, whole: Kafka → engine → ledger → ESP. What `beckon run` runs, and `beckon demo`, with a clock of its own.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use beckon_dataflows::counts::Counts;
use beckon_dataflows::model::Tick;

use super::Engine;
use super::answer::{self, Answers};
use super::beginning::{Beginning, Begun};
use super::deliver::{Heard, Sender};
use super::lanes::{Bury, Decoders, Intake, Resume};
use super::live::{Feeder, Timing, WallClock};
use super::record::{Elsewhere, Recorder};
use super::snapshots::Snapshots;
use super::told::ToldByEsps;
use super::{SharedState, measure, read, wiring};
use crate::cluster::Cluster;
use crate::config::{Config, Kafka};
use crate::decide::Watch;
use crate::kpis::Reader;
use crate::ledger::{self, Ledger, MirrorTopics};
use crate::mails::Mails;
use crate::meter::Meter;
use crate::reclock::{Notes, Timeline};
use crate::sink::delivery::Drained;
use crate::source::Partition;
use crate::watchdog::{self, Stall};

/// A service that is set up and not yet running.
pub struct Service {
    partitions: Vec<Box<dyn Partition>>,
    reached_ms: u64,
    timeline: Arc<Timeline>,
    noted: Notes,
    engine: Engine,
    /// None where another process decides and sends.
    sender: Option<Sender>,
    decoders: Decoders,
    timing: Timing,
    clock: WallClock,
    watchdog_after: Duration,
    readings: Readings,
    kpis: Option<Reader>,
    told: Option<Arc<ToldByEsps>>,
    answers: Option<Answers>,
    snapshots: Option<Snapshots>,
    resume: Resume,
    stop: Arc<AtomicBool>,
}

/// What can be read of a running service.
#[derive(Clone)]
pub struct Readings {
    /// What was done.
    pub meter: Arc<Meter>,
    /// What the graph set aside, and how many carts are open.
    pub counts: Arc<Counts>,
    /// The clock that event times are compared with.
    pub clock: WallClock,
    ledger: Option<Arc<Ledger>>,
    state: SharedState,
}

impl Readings {
    /// Deliveries by state, as the ledger has them; none where another process has it.
    pub fn deliveries(&self) -> ledger::Counts {
        self.ledger.as_ref().and_then(|ledger| ledger.counts().ok()).unwrap_or_default()
    }

    /// How many episodes of this campaign hold.
    pub fn episodes(&self, campaign: u16) -> usize {
        read(&self.state).episodes(campaign)
    }

    /// The ledger, where it is this process's.
    pub fn ledger(&self) -> Option<Arc<Ledger>> {
        self.ledger.clone()
    }
}

impl Service {
    /// Connects to Kafka, opens the ledger, takes up the newest snapshot, if there is one that can be used, and sets up the
    /// sender. Fails when one of the others cannot be had.
    pub fn open(config: &Config, workers: usize, clock: WallClock) -> anyhow::Result<Service> {
        Service::open_among(config, workers, None, clock)
    }

    /// The same as a process of a cluster, if one is given: connects to the others too. The ledger and the sender are process 0's.
    pub fn open_among(
        config: &Config,
        workers: usize,
        cluster: Option<&Cluster>,
        clock: WallClock,
    ) -> anyhow::Result<Service> {
        let kafka = config.kafka.as_ref().ok_or_else(|| anyhow::anyhow!("no [kafka] is configured"))?;
        let ledger = cluster.is_none_or(Cluster::decides).then(|| open_ledger(config, kafka)).transpose()?;
        let (meter, stop) = (Arc::new(Meter::default()), Arc::new(AtomicBool::new(false)));
        let watchdog_after = Duration::from_millis(config.watchdog_after_ms);
        let beginning = Beginning {
            config,
            kafka,
            workers,
            cluster,
            ledger: ledger.as_deref(),
            meter: &meter,
            clock: &clock,
            stop: &stop,
        };
        let Begun {
            partitions,
            reached_ms,
            timeline,
            noted,
            started,
            decoders,
            state,
            snapshots,
            resume,
            kpis: earlier,
        } = beginning.begin()?;
        let shown = state.clone();
        let kpis = (ledger.is_some() && config.measures).then(|| Reader::of(config));
        let (accepting, accepted) = crossbeam_channel::unbounded();
        let accepting = kpis.is_some().then_some(accepting);
        let telling = ledger.clone().map(|ledger| ToldByEsps::new(ledger, clock.clone(), accepting.clone()));
        let told = telling.map(Arc::new);
        let started = if kpis.is_some() { started.watching(Watch::All) } else { started };
        let mails = kept_mails(config).filter(|_| kpis.is_some()).map(|count| Mails::open(&config.state, count));
        let mails = mails.transpose().context("the folder of the mails that are kept")?;
        let dictionary = started.dictionary.clone();
        let (engine, sender) = match &ledger {
            Some(ledger) => {
                let heard = Heard { accepting, mails: mails.clone() };
                let (sender, wake) =
                    Sender::start_telling(config, ledger.clone(), state, clock.clone(), stop.clone(), heard)?;
                let live_from = clock();
                let recorder =
                    Recorder::new(config, ledger.clone(), timeline.clone(), live_from, wake).forgetting(mails.clone());
                let engine = match &kpis {
                    None => started.decide_for(recorder)?,
                    Some(reader) => {
                        let setup = measure::Setup { earlier, ..measure::Setup::of_ledger(reader, ledger, live_from)? };
                        let setup = measure::Setup { accepting: Some(accepted), ..setup };
                        started.decide_for(setup.measure(&wiring::running(config), recorder)?)?
                    }
                };
                (engine, Some(sender))
            }
            None => (started.decide_for(Elsewhere)?, None),
        };
        let readings =
            Readings { meter, counts: engine.counts.clone(), clock: clock.clone(), ledger, state: shown.clone() };
        let answers =
            readings.ledger.clone().filter(|_| config.measures || config.tracking.is_some()).map(|ledger| Answers {
                state: shown,
                dictionary,
                ledger,
                meter: readings.meter.clone(),
                counts: readings.counts.clone(),
                clock: clock.clone(),
                kpis: kpis.clone(),
                campaigns: answer::campaigns(config),
                mails,
            });
        let timing = Timing {
            tick_ms: config.tick_ms,
            allowed_lateness_ms: config.allowed_lateness_ms,
            idle_after_ms: config.idle_after_ms,
        };
        Ok(Service {
            partitions,
            reached_ms,
            timeline,
            noted,
            engine,
            sender,
            decoders,
            timing,
            clock,
            watchdog_after,
            readings,
            kpis,
            told,
            answers,
            snapshots,
            resume,
            stop,
        })
    }

    /// The tick of the snapshot that it goes on from; none when it reads the whole log.
    pub fn resumed_from(&self) -> Option<Tick> {
        self.resume.tick()
    }

    /// Watches over the workers until the service is stopped. A stall goes to `bark`, which is to end the process.
    pub fn watch(&self, bark: impl FnOnce(Stall) + Send + 'static) -> anyhow::Result<()> {
        Ok(watchdog::start(self.engine.workers.pulses(), self.watchdog_after, self.stop.clone(), bark)?)
    }

    /// What can be read of it, also while it runs.
    pub fn readings(&self) -> Readings {
        self.readings.clone()
    }

    /// Its KPIs, also while it runs, where it maintains them.
    pub fn kpis(&self) -> Option<Reader> {
        self.kpis.clone()
    }

    /// Its deliveries, as ESPs tell of them, where they are this process's.
    pub fn told(&self) -> Option<Arc<ToldByEsps>> {
        self.told.clone()
    }

    /// What can be told of its customers and decisions, also while it runs, where somebody may read that.
    pub fn answers(&self) -> Option<Answers> {
        self.answers.clone()
    }

    /// Set to end it; it also ends when the sender does.
    pub fn stop(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Runs until stopped, on the thread that opened it: that is the one the broker wakes. Returns what is still owed.
    pub fn run(mut self, bury: Bury<'_>) -> anyhow::Result<Drained> {
        let intake = Intake { decoders: self.decoders, meter: self.readings.meter.clone(), bury };
        let feeder = Feeder::new(self.partitions, self.noted, &self.resume, self.timing, self.clock, self.timeline);
        let feeder = feeder.reached_at(self.reached_ms).with_snapshots(self.snapshots);
        let ran = feeder.run(&mut self.engine, intake, &self.stop);
        // The sender first: what the last ticks still decide is for the next start to send.
        let left = self.sender.map(Sender::stop).transpose();
        self.engine.workers.stop(ran?.max(1));
        // A fault that both met is said by whoever met it first.
        self.engine.finish()?;
        Ok(left?.unwrap_or_default())
    }
}

/// How many mails are kept, if any are.
fn kept_mails(config: &Config) -> Option<usize> {
    config.web.as_ref().map(|web| web.mails_kept).filter(|count| *count > 0)
}

fn open_ledger(config: &Config, kafka: &Kafka) -> anyhow::Result<Arc<Ledger>> {
    let mirror = kafka.mirror_prefix.as_ref().map(|prefix| MirrorTopics {
        brokers: kafka.brokers.clone(),
        decisions: format!("{prefix}.decisions"),
        deliveries: format!("{prefix}.deliveries"),
    });
    Ok(Arc::new(Ledger::open_mirrored(&config.state, mirror.as_ref())?))
}
