//! How soon a mail leaves: a simulated shop sells at a steady rate into a real Apache Kafka, a service of one process thanks for each order,
//! and the time is taken from when the watermarks pass a tick until the ESP has the requests of that tick's decisions, which are in
//! the synced ledger by then. In: `--rates N,…` records a second, `--ticks DURATION,…`, `--seconds N` of each. Out: a line for each rate
//! and tick: what passed, the 50th, 99th and 99.9th percentile of ticks and of mails, and what the service cost. Then what it costs
//! while nothing comes. Fails when a mail came twice.
//!
//! Broker, shop, ESP and service share the machine. The first three yield to the service (`nice 10`), because they would be elsewhere, and the
//! broker's log is not on the service's disk; `--equal` has all at one priority.
//!
//! `cargo bench --bench latency`

#[path = "../../tests/kafka/broker.rs"]
mod broker;
#[path = "../replay/cost.rs"]
#[allow(dead_code)] // wall time is not what is asked here
mod cost;
#[path = "../recovery/running.rs"]
mod running;
mod serve;
#[path = "../../tests/skip/mod.rs"]
mod skip;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use beckon_datagen::esp::{Esp, EspConfig, EspHandle};
use beckon_datagen::produce::{Pace, Progress, produce};
use beckon_datagen::shop::{Mix, Shop, ShopConfig};
use beckon_datagen::{Event, STREAMS};
use clap::Parser;

use broker::Broker;
use running::Running;
use serve::{Passed, Served, now_ms};

/// As in the `beckon` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Partitions of each topic.
const PARTITIONS: i32 = 3;

/// One order in so many is not cancelled from the beginning. Of 20 records one is an order, so there is a mail for about 500.
const ORDERS: u64 = 25;

/// How long the shop is open before anything is measured: the preamble is read, and all is warm.
const WARM: Duration = Duration::from_secs(20);

/// How long the mails of the last ticks are waited for.
const LAST: Duration = Duration::from_secs(4);

/// How long the service is watched while nothing comes.
const IDLE: Duration = Duration::from_secs(10);

const CONFIG: &str = r#"
tick = "TICK"
allowed_lateness = "1s"
templates = "templates"
[kafka]
brokers = "BROKERS"
[[campaign]]
name = "thanks"
trigger = "post_purchase"
after = "1s"
template = "thanks"
[esp]
kind = "http"
base_url = "ESP"
honours_idempotency_key = true
from = "Shop <shop@example.com>"
requests_per_second = 100000
max_in_flight = 64
"#;

#[derive(Parser)]
struct Arguments {
    /// Records a second
    #[arg(long, value_delimiter = ',', default_values_t = [20_000, 100_000])]
    rates: Vec<u32>,
    /// Lengths of a tick
    #[arg(long, value_delimiter = ',', default_values_t = ["1s".to_owned(), "100ms".to_owned(), "10ms".to_owned()])]
    ticks: Vec<String>,
    /// For how long each is measured, s
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Customers
    #[arg(long, default_value_t = 100_000)]
    customers: u32,
    /// Workers
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Broker, shop and ESP do not yield to the service
    #[arg(long)]
    equal: bool,
    /// Serve in this folder, and tell of it: what the bench starts itself
    #[arg(long, hide = true)]
    serve: Option<PathBuf>,
    /// Cargo says this to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(folder) = &arguments.serve {
        return serve::serve(folder, arguments.workers);
    }
    println!(
        "{:>9} {:>6} | {:>8} {:>6} {:>6} | {:>22} | {:>22} | {:>22} | {:>7} {:>5}",
        "records/s",
        "tick",
        "read/s",
        "ticks",
        "mails",
        "record to tick, ms",
        "to decided, ms",
        "to request, ms",
        "CPU µs",
        "MiB"
    );
    for rate in &arguments.rates {
        for tick in &arguments.ticks {
            measure(&arguments, *rate, tick)?;
        }
    }
    idle(&arguments)
}

/// Sells at a rate, and prints what came of it.
fn measure(arguments: &Arguments, rate: u32, tick: &str) -> Result<()> {
    let world = World::new(tick, arguments.equal)?;
    let shop = ShopConfig {
        seed: 1,
        start_ms: now_ms() as i64,
        customers: arguments.customers,
        records_per_second: f64::from(rate),
        mix: Mix::Bench,
        preamble: true,
        ..ShopConfig::default()
    };
    let mut orders = 0;
    let rarely_thanked = move |mut event: Event| {
        orders += u64::from(event.stream == "orders");
        if event.stream == "orders" && orders % ORDERS != 0 {
            cancel(&mut event.json);
        }
        event
    };
    let (stop, progress) = (AtomicBool::new(false), Arc::new(Progress::default()));
    let served = std::thread::scope(|scope| {
        let selling = scope.spawn(|| {
            yield_to_service(arguments.equal);
            produce(world.broker.bootstrap(), Shop::new(shop).map(rarely_thanked), Pace::Live, &stop, &progress)
        });
        let served = world.watch(arguments, Duration::from_secs(arguments.seconds));
        stop.store(true, Ordering::Relaxed);
        selling.join().expect("the shop does not panic")?;
        served
    })?;
    let mails = world.mails(&served)?;
    let late: Vec<f64> = served.passed.iter().map(|passed| passed.at_ms - served.closable_ms(passed.open)).collect();
    let cost_us = served.cpu_s * 1e6 / served.records as f64;
    println!(
        "{rate:>9} {tick:>6} | {:>8.0} {:>6} {:>6} | {:>22} | {:>22} | {:>22} | {cost_us:>7.2} {:>5.0}",
        served.records as f64 / served.seconds,
        served.passed.len(),
        mails.len(),
        percentiles(late),
        percentiles(served.decided_after_ms()),
        percentiles(mails),
        served.peak_kib as f64 / 1024.0
    );
    let behind_ms = progress.behind_ms.load(Ordering::Relaxed);
    if behind_ms > 100 {
        println!("          the shop itself came {behind_ms} ms late: the machine is too small for this rate");
    }
    Ok(())
}

/// Makes a placed order one that is cancelled: nobody is thanked for it, and its partition's watermark moves on all the same.
fn cancel(order: &mut Vec<u8>) {
    let (from, to) = (br#""status":"placed""#, br#""status":"cancelled""#);
    if let Some(at) = memchr::memmem::find(order, from) {
        order.splice(at..at + from.len(), to.iter().copied());
    }
}

/// Watches a service to which nothing comes.
fn idle(arguments: &Arguments) -> Result<()> {
    for tick in &arguments.ticks {
        let served = World::new(tick, arguments.equal)?.watch(arguments, IDLE)?;
        println!("nothing comes, ticks of {tick}: {:.1} % of one core", 100.0 * served.cpu_s / served.seconds);
    }
    Ok(())
}

/// Lets the service come before this thread and all that it starts.
fn yield_to_service(equal: bool) {
    if !equal {
        let _ = rustix::process::nice(10);
    }
}

/// The 50th, 99th and 99.9th percentile.
fn percentiles(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let of = |share: f64| {
        let place = (values.len() as f64 * share) as usize;
        values.get(place.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    };
    format!("{:.1} / {:.1} / {:.1}", of(0.5), of(0.99), of(0.999))
}

/// What surrounds the service.
struct World {
    broker: Broker,
    /// Where the ESP runs.
    _runtime: tokio::runtime::Runtime,
    esp: EspHandle,
    folder: tempfile::TempDir,
}

impl World {
    fn new(tick: &str, equal: bool) -> Result<World> {
        let started = std::thread::scope(|scope| {
            let starting = scope.spawn(|| {
                yield_to_service(equal);
                World::start(tick)
            });
            starting.join()
        });
        started.expect("nothing in there panics")
    }

    /// Starts everything at the priority of this thread.
    fn start(tick: &str) -> Result<World> {
        let broker = Broker::start_own_in_memory().map_err(|missing| anyhow::anyhow!(missing.reason))?;
        STREAMS.iter().try_for_each(|stream| broker.create_topic(stream, PARTITIONS))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let esp = runtime.block_on(Esp::start(EspConfig { messages_kept: usize::MAX, ..EspConfig::default() }))?;
        let folder = tempfile::tempdir()?;
        let config = CONFIG.replace("TICK", tick).replace("BROKERS", broker.bootstrap());
        std::fs::write(folder.path().join("beckon.toml"), config.replace("ESP", &esp.base_url()))?;
        let templates = folder.path().join("templates");
        std::fs::create_dir(&templates)?;
        // The subject says of which tick a mail is.
        for (part, text) in [("subject", "{{as_of}}"), ("html", "<p>Thank you!</p>"), ("txt", "Thank you!")] {
            std::fs::write(templates.join(format!("thanks.{part}.hbs")), text)?;
        }
        Ok(World { broker, _runtime: runtime, esp, folder })
    }

    /// Starts a service, lets it get warm, and watches it for so long.
    fn watch(&self, arguments: &Arguments, lasts: Duration) -> Result<Served> {
        let workers = arguments.workers.to_string();
        let serve =
            ["--workers", &workers, "--serve"].map(OsStr::new).into_iter().chain([self.folder.path().as_os_str()]);
        let mut running = Running::start(serve)?;
        std::thread::sleep(WARM);
        running.tell()?;
        std::thread::sleep(lasts);
        running.tell()?;
        let served = running.hear()?;
        // Whoever is late is still measured.
        std::thread::sleep(LAST);
        Ok(served)
    }

    /// How long after its tick was passed each mail's request came, ms.
    fn mails(&self, served: &Served) -> Result<Vec<f64>> {
        let mails = self.esp.latest_messages(usize::MAX);
        let seen = self.esp.seen();
        ensure!(seen.keys_accepted_more_than_once == 0, "{seen:?}");
        let mut after = Vec::new();
        for mail in mails {
            let as_of: u64 = mail.body["subject"].as_str().context("a mail without a subject")?.parse()?;
            let place = served.passed.partition_point(|passed| passed.open <= as_of);
            // Those of ticks that were passed before or after are not counted.
            if let Some(Passed { at_ms, .. }) = served.passed.get(place).filter(|_| place > 0) {
                after.push(mail.received_ms as f64 - at_ms);
            }
        }
        Ok(after)
    }
}
