//! One life of the service: ledger, timeline, graph, decisions and sender, as [`Service`](beckon::pipeline::service::Service) puts
//! them together, in one thread and on the virtual clock. In: turns. Out: what reaches the ESP and the disk. Fails when the disk does,
//! as the service would, which is then started again.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use beckon::config::Config;
use beckon::decision::{DecisionId, DeliveryRecord};
use beckon::decode::Dictionary;
use beckon::json_lines::JsonLines;
use beckon::ledger::Ledger;
use beckon::meter::Meter;
use beckon::pipeline::backlog::Log;
use beckon::pipeline::compose::Composer;
use beckon::pipeline::in_line::InLine;
use beckon::pipeline::lanes::{Decoders, Intake, Resume};
use beckon::pipeline::live::{Feeder, Timing, WallClock};
use beckon::pipeline::record::Recorder;
use beckon::pipeline::{Deciding, SharedState, deliver, wiring};
use beckon::reclock::Timeline;
use beckon::sink::delivery::{Drained, Limits, Ports};
use beckon::sink::{Backlog, BoxFuture, DeliveryLog, Due, LogFault, delivery};
use beckon_dataflows::counts::Counts;
use beckon_dataflows::horizon::Horizon;
use beckon_dataflows::model::Tick;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::broker::Broker;
use super::disk::{Platter, SimulatedDisk};
use super::esp::Provider;
use super::trace::Trace;

/// How often it is looked for deliveries that have waited too long: more seldom than the service does, for speed.
pub const SWEEP_MS: u64 = 30_000;

/// What outlives a process, and what it is started with.
#[derive(Clone)]
pub struct Surroundings {
    pub config: Config,
    pub broker: Broker,
    pub platter: Platter,
    pub provider: Provider,
    pub trace: Trace,
    /// The file of dead letters.
    pub letters: Letters,
    /// Whether the world has customers who become others.
    pub identities: bool,
    /// The configuration as the oracle reads it, and when the world begins, epoch ms.
    pub config_toml: String,
    pub begin_ms: i64,
    /// Whether the oracle is asked in the end, which takes long.
    pub ask_oracle: bool,
}

/// A file that is appended to.
#[derive(Clone, Default)]
pub struct Letters(pub Arc<Mutex<Vec<u8>>>);

impl io::Write for Letters {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A life.
pub struct Process {
    pub disk: SimulatedDisk,
    feeder: Feeder,
    graph: InLine<Recorder>,
    intake: Intake<'static>,
    sender: JoinHandle<Result<Drained, LogFault>>,
    writer: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl Process {
    /// Starts it, as the service starts. `seed` is for what is random in a process.
    pub fn start(around: &Surroundings, disk: SimulatedDisk, seed: u64) -> anyhow::Result<Process> {
        let Surroundings { config, broker, platter, provider, trace, letters, .. } = around;
        let clock: WallClock = {
            let trace = trace.clone();
            Arc::new(move || trace.now_ms())
        };
        let (shared, meter) = (Arc::new(disk.clone()), Arc::new(Meter::default()));
        let ledger = Arc::new(Ledger::open_in_line(shared.clone(), &config.state)?);
        let (timeline, noted) = Timeline::open_on(shared, 0, &config.state, &HashMap::new())?;
        let timeline = Arc::new(timeline);
        let plan = wiring::plan(config);
        let (state, dictionary) = (SharedState::default(), Arc::new(Dictionary::forgetting(Horizon::of(&plan))));
        let (wake, woken) = mpsc::channel(1);
        let recorder = Recorder::new(config, ledger.clone(), timeline.clone(), clock(), wake);
        let deciding =
            Deciding::new(1, wiring::decider(config), dictionary.clone(), state.clone(), meter.clone(), recorder);
        let graph = InLine::new(&plan, &Arc::new(Counts::default()), deciding);
        let intake = Intake { decoders: Decoders::in_line(&dictionary), meter, bury: Box::new(|_| Ok(())) };
        let timing = Timing {
            tick_ms: config.tick_ms,
            allowed_lateness_ms: config.allowed_lateness_ms,
            idle_after_ms: config.idle_after_ms,
        };
        let feeder = Feeder::new(broker.connect(), noted, &Resume::default(), timing, clock.clone(), timeline);

        let written = Arc::new(Notify::new());
        let letters = JsonLines::to(Path::new("dead_letters"), Box::new(letters.clone()));
        let log = Log::all(config, &ledger, letters)?.pop().ok_or_else(|| anyhow::anyhow!("no ESP is configured"))?;
        let log = Watched { log, written: written.clone(), provider: provider.clone(), trace: trace.clone() };
        let composer = Arc::new(Composer::of(config)?);
        let esp = provider.client(state.clone(), clock(), platter.clone());
        let ports = deliver::ports(&config.esps[0], Arc::new(esp), Arc::new(log), &composer, &state, &clock);
        let limits = Limits { jitter_seed: Some(seed), sweep_ms: SWEEP_MS, ..ports.limits };
        let ports = Ports { limits, ..ports };
        let writer = tokio::spawn(write(ledger, written, seed));
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        let sender = tokio::spawn(delivery::run(ports, woken, shutdown));
        Ok(Process { disk, feeder, graph, intake, sender, writer, stop: Some(stop) })
    }

    /// Reads what there is, and decides what it closes. How many records there were.
    pub fn turn(&mut self) -> anyhow::Result<u64> {
        self.feeder.turn(&mut self.graph, &mut self.intake)
    }

    /// The least tick still open.
    pub fn open(&self) -> Tick {
        self.feeder.open()
    }

    /// Whether the sender has ended, which ends the service.
    pub fn has_ended(&self) -> bool {
        self.sender.is_finished()
    }

    /// Ends it in order: the requests under way may finish.
    pub async fn stop(mut self) -> Option<LogFault> {
        self.stop.take().map(|stop| stop.send(()));
        let drained = (&mut self.sender).await;
        match drained {
            Ok(drained) => drained.err(),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.sender.abort();
        self.writer.abort();
    }
}

/// Writes what waits, some time after it began to wait: so it comes together.
async fn write(ledger: Arc<Ledger>, written: Arc<Notify>, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 1);
    loop {
        written.notified().await;
        let stalls = rng.random_bool(0.03);
        let takes_ms = if stalls { rng.random_range(0..8_000) } else { rng.random_range(0..20) };
        tokio::time::sleep(Duration::from_millis(takes_ms)).await;
        if !ledger.write_waiting() {
            return;
        }
    }
}

/// The sender's log, looked at: what is written to it is told, and waits for the disk.
struct Watched {
    log: Log,
    written: Arc<Notify>,
    provider: Provider,
    trace: Trace,
}

impl DeliveryLog for Watched {
    fn write(&self, id: DecisionId, record: DeliveryRecord) -> BoxFuture<'_, Result<(), LogFault>> {
        Box::pin(async move {
            let (state, waits) = (record.state, record.awaits_webhook);
            self.written.notify_one();
            self.log.write(id, record).await?;
            self.trace.tell(&format!("state: {state}{}", if waits { ", for good" } else { "" }), id);
            Ok(())
        })
    }

    fn owed(&self, due: Due, now_ms: u64, count: usize, in_hand: &HashSet<DecisionId>) -> Result<Backlog, LogFault> {
        let backlog = self.log.owed(due, now_ms, count, in_hand)?;
        backlog.owed.iter().for_each(|owed| self.provider.owed(owed.send.episode, &owed.send.decision));
        Ok(backlog)
    }

    fn bury_unanswered(&self, before_ms: u64) -> BoxFuture<'_, Result<(), LogFault>> {
        Box::pin(async move {
            let mut burying = self.log.bury_unanswered(before_ms);
            loop {
                // Each that is buried waits for the disk by itself.
                self.written.notify_one();
                tokio::select! {
                    biased;
                    buried = &mut burying => return buried,
                    () = tokio::time::sleep(Duration::from_millis(20)) => {}
                }
            }
        })
    }
}
