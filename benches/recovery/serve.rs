//! The service that is started again, in a process of its own. In: a folder with its configuration. Out: on standard output a line when it
//! has closed a tick that was not known, and when it is told to another with what was seen until then.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use beckon::config::{Config, Purpose};
use beckon::pipeline::service::{Readings, Service};
use serde::{Deserialize, Serialize};

use super::cost;
use super::running::wait_to_be_told;

/// How often it is looked which ticks are closed.
const LOOK: Duration = Duration::from_micros(500);

/// The start is over.
#[derive(Deserialize, Serialize)]
pub struct Begun {
    /// After so long, s.
    pub after_s: f64,
    /// So many records were read until then.
    pub records: u64,
    /// Most memory until then.
    pub peak_kib: u64,
    /// The tick of the snapshot that was gone on from.
    pub resumed_from: Option<u64>,
}

/// How late each tick was closed, ms: from when it could have been.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Ticks(pub Vec<u64>);

/// What was seen since.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Served {
    /// The last closed tick.
    pub last: u64,
    /// Ticks that were closed while a snapshot was written.
    pub during: Ticks,
    /// The others.
    pub beside: Ticks,
}

/// Serves until it is killed.
pub fn serve(folder: &Path, workers: usize, known: u64) -> Result<()> {
    let began = Instant::now();
    std::env::set_current_dir(folder)?;
    let config = Config::load(Path::new("beckon.toml"), Purpose::Run)?;
    // What is closed ends before the next tick. The last one is closed by the first record that is later than it by the allowed lateness.
    let closes_after_ms = config.allowed_lateness_ms.saturating_sub(config.tick_ms - 1);
    let service = Service::open(&config, workers, Arc::new(now_ms))?;
    let (readings, resumed_from) = (service.readings(), service.resumed_from());
    let seen = Arc::new(Mutex::new(Served::default()));
    let asked = Arc::new(AtomicBool::new(false));
    std::thread::spawn({
        let (seen, asked) = (seen.clone(), asked.clone());
        let known = Known { began, last: known, resumed_from };
        move || look(&readings, known, closes_after_ms, &seen, &asked)
    });
    std::thread::spawn(move || {
        wait_to_be_told();
        asked.store(true, Ordering::Relaxed);
    });
    service.run(Box::new(|_| Ok(())))?;
    Ok(())
}

/// What is known when it starts.
struct Known {
    began: Instant,
    /// The last tick that was closed before.
    last: u64,
    resumed_from: Option<u64>,
}

fn look(readings: &Readings, known: Known, closes_after_ms: u64, seen: &Mutex<Served>, asked: &AtomicBool) {
    let (mut last, mut is_new) = (0, false);
    while !asked.load(Ordering::Relaxed) {
        let as_of = readings.meter.as_of();
        if as_of > last && is_new {
            let late_ms = now_ms().saturating_sub(as_of + closes_after_ms);
            let mut seen = seen.lock().expect("nobody panics with it");
            seen.last = as_of;
            let is_written = !files(Path::new("."), "draft").is_empty();
            if is_written { &mut seen.during } else { &mut seen.beside }.0.push(late_ms);
        } else if as_of > known.last && !is_new {
            is_new = true;
            let peak_kib = cost::of_process("self").map_or(0, |cost| cost.peak_kib);
            let (after_s, records) = (known.began.elapsed().as_secs_f64(), readings.meter.records());
            tell(&Begun { after_s, records, peak_kib, resumed_from: known.resumed_from });
        }
        last = as_of;
        std::thread::sleep(LOOK);
    }
    tell(&*seen.lock().expect("nobody panics with it"));
}

fn tell(what: &impl Serialize) {
    println!("{}", serde_json::to_string(what).expect("it has no maps"));
    let _ = std::io::stdout().flush();
}

/// The files of snapshots that end so.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("state/snapshots")).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.extension().is_some_and(|found| found == ending)).collect()
}

/// The wall clock, epoch ms.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
