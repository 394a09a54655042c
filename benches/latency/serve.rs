//! The service that is watched, in a process of its own. In: a folder with its configuration; a line on standard input when watching begins,
//! and one when it ends. Out: then, on standard output, when the watermarks passed each tick, and what the service cost meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use beckon::config::{Config, Purpose};
use beckon::pipeline::service::{Readings, Service};
use serde::{Deserialize, Serialize};

use super::cost;
use super::running::wait_to_be_told;

/// How often it is looked what is passed.
const LOOK: Duration = Duration::from_millis(1);

/// All ticks before `open` were passed by the watermarks of all partitions.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub struct Passed {
    pub open: u64,
    /// When that was so, epoch ms.
    pub at_ms: f64,
}

/// What was seen.
#[derive(Deserialize, Serialize)]
pub struct Served {
    pub passed: Vec<Passed>,
    /// The same of ticks that are decided, whose decisions are handed over to the ledger.
    pub decided: Vec<Passed>,
    pub allowed_lateness_ms: u64,
    pub tick_ms: u64,
    /// For how long it was watched.
    pub seconds: f64,
    /// Records that were read meanwhile.
    pub records: u64,
    /// CPU time meanwhile.
    pub cpu_s: f64,
    /// Most memory until then.
    pub peak_kib: u64,
}

impl Served {
    /// When, epoch ms, the ticks before `open` could have been passed: by a record that came at once in each partition.
    pub fn closable_ms(&self, open: u64) -> f64 {
        (open - self.tick_ms + 1 + self.allowed_lateness_ms) as f64
    }

    /// How long after the watermarks passed the ticks before each were decided and handed over, ms.
    pub fn decided_after_ms(&self) -> Vec<f64> {
        let decided = self.decided.iter().filter_map(|decided| {
            let place = self.passed.partition_point(|passed| passed.open < decided.open);
            Some(decided.at_ms - self.passed.get(place)?.at_ms)
        });
        decided.filter(|after_ms| *after_ms >= 0.0).collect()
    }
}

/// Serves until it is killed.
pub fn serve(folder: &Path, workers: usize) -> Result<()> {
    std::env::set_current_dir(folder)?;
    let config = Config::load(Path::new("beckon.toml"), Purpose::Run)?;
    let service = Service::open(&config, workers, Arc::new(|| now_ms() as u64))?;
    let readings = service.readings();
    let (allowed_lateness_ms, tick_ms) = (config.allowed_lateness_ms, config.tick_ms);
    std::thread::spawn(move || {
        wait_to_be_told();
        let (began, records, before) = (Instant::now(), readings.meter.records(), cost_so_far());
        let (passed, decided) = watch(&readings);
        let after = cost_so_far();
        let served = Served {
            passed,
            decided,
            allowed_lateness_ms,
            tick_ms,
            seconds: began.elapsed().as_secs_f64(),
            records: readings.meter.records() - records,
            cpu_s: after.cpu_s() - before.cpu_s(),
            peak_kib: after.peak_kib,
        };
        println!("{}", serde_json::to_string(&served).expect("it has no maps"));
    });
    service.run(Box::new(|_| Ok(())))?;
    Ok(())
}

/// What the service has cost, without this thread, which only looks on.
fn cost_so_far() -> cost::Cost {
    let of = |what| cost::of_process(what).unwrap_or_default();
    let (all, own) = (of("self"), of("thread-self"));
    cost::Cost { user_s: all.user_s - own.user_s, system_s: all.system_s - own.system_s, ..all }
}

/// Looks which ticks are passed from now on, until there is a line.
fn watch(readings: &Readings) -> (Vec<Passed>, Vec<Passed>) {
    let ended = Arc::new(AtomicBool::new(false));
    std::thread::spawn({
        let ended = ended.clone();
        move || {
            wait_to_be_told();
            ended.store(true, Ordering::Relaxed);
        }
    });
    let open = || readings.meter.watermarks().into_values().min().unwrap_or(0);
    let (mut passed, mut decided) = (Seen::from(open()), Seen::from(readings.meter.as_of() + 1));
    while !ended.load(Ordering::Relaxed) {
        passed.see(open());
        decided.see(readings.meter.as_of() + 1);
        std::thread::sleep(LOOK);
    }
    (passed.all, decided.all)
}

/// What was seen of something that grows.
struct Seen {
    last: u64,
    all: Vec<Passed>,
}

impl Seen {
    fn from(last: u64) -> Seen {
        Seen { last, all: Vec::new() }
    }

    fn see(&mut self, open: u64) {
        if open > self.last {
            self.all.push(Passed { open, at_ms: now_ms() });
            self.last = open;
        }
    }
}

/// The wall clock, epoch ms.
pub fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1e3)
}
