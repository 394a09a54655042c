//! The live service, whole: Kafka → engine → ledger → ESP. What `beckon run` runs, and `beckon demo`, with a clock of its own.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use beckon_dataflows::counts::Counts;
use beckon_dataflows::horizon::Horizon;

use super::deliver::Sender;
use super::lanes::{Bury, Decoders, Intake};
use super::live::{Feeder, Timing, WallClock};
use super::record::Recorder;
use super::{Engine, SharedState, wiring};
use crate::config::Config;
use crate::decode::Dictionary;
use crate::ledger::{self, Ledger, MirrorTopics};
use crate::meter::Meter;
use crate::reclock::{Notes, Timeline};
use crate::sink::delivery::Drained;
use crate::source::Partition;
use crate::source::kafka::{self, Extent};

/// Threads that decode live records; a replay, which never waits, uses more.
const DECODERS: usize = 1;

/// A service that is set up and not yet running.
pub struct Service {
    partitions: Vec<Box<dyn Partition>>,
    timeline: Arc<Timeline>,
    noted: Notes,
    engine: Engine,
    sender: Sender,
    decoders: Decoders,
    timing: Timing,
    clock: WallClock,
    readings: Readings,
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
    ledger: Arc<Ledger>,
}

impl Readings {
    /// Deliveries by state, as the ledger has them.
    pub fn deliveries(&self) -> ledger::Counts {
        self.ledger.counts().unwrap_or_default()
    }
}

impl Service {
    /// Connects to Kafka, opens the ledger and sets up the sender. Fails when one of them cannot be had.
    pub fn open(config: &Config, workers: usize, clock: WallClock) -> anyhow::Result<Service> {
        let kafka = config.kafka.as_ref().ok_or_else(|| anyhow::anyhow!("no [kafka] is configured"))?;
        let feeder = std::thread::current();
        let partitions =
            kafka::open(&kafka.brokers, &kafka.topics(), Extent::Endless, Arc::new(move || feeder.unpark()))?;
        let mirror = kafka.mirror_prefix.as_ref().map(|prefix| MirrorTopics {
            brokers: kafka.brokers.clone(),
            decisions: format!("{prefix}.decisions"),
            deliveries: format!("{prefix}.deliveries"),
        });
        let ledger = Arc::new(Ledger::open_mirrored(&config.state, mirror.as_ref())?);
        let retained = partitions.iter().map(|it| ((it.stream(), it.number()), it.first())).collect();
        let (timeline, noted) = Timeline::open(&config.state, &retained)?;
        let timeline = Arc::new(timeline);
        let (plan, decider, meter) = (wiring::plan(config), wiring::decider(config), Arc::new(Meter::default()));
        let (state, dictionary) = (SharedState::default(), Arc::new(Dictionary::forgetting(Horizon::of(&plan))));
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, wake) = Sender::start(config, ledger.clone(), state.clone(), clock.clone(), stop.clone())?;
        let recorder = Recorder::new(config, ledger.clone(), timeline.clone(), clock(), wake);
        let decoders = Decoders::start(DECODERS, &dictionary);
        let engine = Engine::start(workers, plan, decider, dictionary, state, meter.clone(), recorder)?;
        let readings = Readings { meter, counts: engine.counts.clone(), clock: clock.clone(), ledger };
        let timing = Timing {
            tick_ms: config.tick_ms,
            allowed_lateness_ms: config.allowed_lateness_ms,
            idle_after_ms: config.idle_after_ms,
        };
        Ok(Service { partitions, timeline, noted, engine, sender, decoders, timing, clock, readings, stop })
    }

    /// What can be read of it, also while it runs.
    pub fn readings(&self) -> Readings {
        self.readings.clone()
    }

    /// Set to end it; it also ends when the sender does.
    pub fn stop(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Runs until stopped, on the thread that opened it: that is the one the broker wakes. Returns what is still owed.
    pub fn run(mut self, bury: Bury<'_>) -> anyhow::Result<Drained> {
        let intake = Intake { decoders: self.decoders, meter: self.readings.meter.clone(), bury };
        let feeder = Feeder::new(self.partitions, self.noted, self.timing, self.clock, self.timeline);
        let ran = feeder.run(&mut self.engine, intake, &self.stop);
        // The sender first: what the last ticks still decide is for the next start to send.
        let left = self.sender.stop();
        self.engine.workers.close(ran?.max(1));
        // A fault that both met is said by whoever met it first.
        self.engine.finish()?;
        left
    }
}
