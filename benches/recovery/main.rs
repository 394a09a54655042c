//! How long a restart takes: from the start of a service to the first tick that it closes and the one before it had not, on a real Apache
//! Kafka whose topics hold a profile and an open cart of each of `--customers` customers, while others keep changing theirs. In:
//! `--customers N`, `--rate N` records a second meanwhile, `--seconds N` that ticks are watched. Out: a line for each start: without a
//! snapshot, from one, and with snapshots turned off; what a snapshot takes on disk; and how late ticks close while one is written and
//! while none is. Fails where a start reads what it should not.
//!
//! `cargo bench --bench recovery`

#[path = "../../tests/kafka/broker.rs"]
mod broker;
#[path = "../replay/cost.rs"]
#[allow(dead_code)] // CPU time is not what is asked here
mod cost;
mod running;
mod serve;
mod shop;
#[path = "../../tests/skip/mod.rs"]
mod skip;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;

use broker::Broker;
use running::Running;
use serve::{Begun, Served, Ticks};

/// As in the `beckon` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often it is started from a snapshot.
const STARTS: usize = 5;

/// How many snapshots there must be before the service is killed.
const SNAPSHOTS: usize = 2;

#[derive(Parser)]
struct Arguments {
    /// Customers, each with a profile and an open cart
    #[arg(long, default_value_t = 1_000_000)]
    customers: u64,
    /// Carts that change a second while the service runs
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// How long ticks are watched, s
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Workers
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Serve in this folder, and tell of it: what the bench starts itself
    #[arg(long, hide = true)]
    serve: Option<PathBuf>,
    /// The last tick that the service before had closed
    #[arg(long, hide = true, default_value_t = 0)]
    known: u64,
    /// Cargo says this to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.serve {
        Some(folder) => serve::serve(folder, arguments.workers, arguments.known),
        None => measure(&arguments),
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let broker = Broker::start_own_in_memory().map_err(|missing| anyhow::anyhow!(missing.reason))?;
    let folder = tempfile::tempdir()?;
    let shop = shop::Shop::open(&broker, arguments.customers)?;
    let (sold_ms, stop) = (shop.fill()?, AtomicBool::new(false));
    println!("{} customers, a profile and a cart of each in the topics", arguments.customers);
    println!("{:<34} | {:>14} | {:>9} | {:>8}", "start", "to new tick, s", "read", "peak MiB");
    let (with, without) = std::thread::scope(|scope| {
        scope.spawn(|| shop.sell(arguments.rate, &stop));
        let measured = restarts(arguments, folder.path(), &broker, sold_ms);
        stop.store(true, Ordering::Relaxed);
        measured
    })?;
    println!("{:<34} | {:>7} | {:>9} | {:>9} | {:>9}", "ticks of 1 s", "closed", "p50, ms", "p99, ms", "most, ms");
    for (what, ticks) in [
        ("while a snapshot was written", &with.during),
        ("while none was", &with.beside),
        ("snapshots off", &without.beside),
    ] {
        let late = |share| ticks.late_ms(share);
        println!("{what:<34} | {:>7} | {:>9} | {:>9} | {:>9}", ticks.count(), late(0.5), late(0.99), late(1.0));
    }
    Ok(())
}

/// Starts the service again and again. What was seen of ticks with snapshots, and without.
fn restarts(arguments: &Arguments, folder: &Path, broker: &Broker, sold_ms: u64) -> Result<(Served, Served)> {
    let start = |what: &str, snapshots: &str, known: u64| -> Result<(Running, bool)> {
        shop::configure(folder, broker, snapshots)?;
        let (workers, known) = (arguments.workers.to_string(), known.to_string());
        let serve = ["--workers", &workers, "--known", &known, "--serve"].map(OsStr::new);
        let mut running = Running::start(serve.into_iter().chain([folder.as_os_str()]))?;
        // When it has closed a tick that is new.
        let begun: Begun = running.hear()?;
        println!(
            "{what:<34} | {:>14.2} | {:>9} | {:>8.0}",
            begun.after_s,
            begun.records,
            begun.peak_kib as f64 / 1024.0
        );
        Ok((running, begun.resumed_from.is_some()))
    };
    let (running, _) = start("no snapshot: the whole log", "1m", sold_ms)?;
    let newest = newest_of(folder, SNAPSHOTS)?;
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    let seen = end(running)?;
    println!("a snapshot takes {:.0} MiB", std::fs::metadata(newest)?.len() as f64 / f64::from(1 << 20));
    for _ in 0..STARTS {
        let (running, is_resumed) = start("from a snapshot", "1m", seen.last)?;
        ensure!(is_resumed, "a start did not go on from the snapshot");
        end(running)?;
    }
    let (running, _) = start("snapshots off: the whole log", "off", seen.last)?;
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    Ok((seen, end(running)?))
}

/// Asks it what it has seen, and kills it.
fn end(mut running: Running) -> Result<Served> {
    running.tell()?;
    running.hear()
}

/// Waits until there are so many snapshots; the newest.
fn newest_of(folder: &Path, count: usize) -> Result<PathBuf> {
    loop {
        let files = serve::files(folder, "snapshot");
        if let Some(newest) = files.iter().max().filter(|_| files.len() >= count) {
            return Ok(newest.clone());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

impl Ticks {
    /// How late, ms, all but the latest `1 - share` of them were closed.
    fn late_ms(&self, share: f64) -> u64 {
        let mut late = self.0.clone();
        late.sort_unstable();
        late.get(((late.len() as f64 * share) as usize).min(late.len().saturating_sub(1))).copied().unwrap_or(0)
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}
