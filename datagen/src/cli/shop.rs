//! `datagen shop`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::meter::Meter;
use super::stop;
use super::values::{self, Speed};
use crate::files::{Compression, StreamFiles, Written};
use crate::produce::{Pace, Progress, produce};
use crate::shop::{DEFAULT_START_MS, FaultShares, Mix, Shop, ShopConfig};
use crate::written::{grouped, written_time};

/// How long a shop goes on that is written to files, unless told otherwise.
const FILES_FOR: Duration = Duration::from_secs(2 * 3_600);

/// How many records a benchmark's files have, unless told otherwise.
const BENCH_RECORDS: u64 = 1_000_000;

/// By how much the last record may be late before that is worth a word, in milliseconds.
const BEHIND_MS_MOST: i64 = 1_000;

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum MixArg {
    /// Visitors who browse, fill carts, buy, abandon, and come back
    Shop,
    /// 70 % Product Viewed, 15 % carts, 10 % inventory, 5 % orders
    Bench,
}

impl From<MixArg> for Mix {
    fn from(mix: MixArg) -> Mix {
        match mix {
            MixArg::Shop => Mix::Shop,
            MixArg::Bench => Mix::Bench,
        }
    }
}

/// A seeded shop: to files, or to Kafka
///
/// Visitors browse, fill carts, buy or leave; prices change, stock sells out and comes back. The same seed gives the
/// same bytes. All seven streams of SPEC §1 are written; catalogue, stock and profiles come first.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group = clap::ArgGroup::new("target").required(true))]
pub(super) struct ShopArgs {
    /// Write NAME.jsonl of every stream into this directory
    #[arg(long, value_name = "DIR", group = "target")]
    out: Option<PathBuf>,
    /// Produce to topics named as the streams, on these brokers
    #[arg(long, value_name = "BROKERS", group = "target")]
    kafka: Option<String>,
    /// Everything random comes from this
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Customers with an account when the shop opens
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    customers: u32,
    /// Products
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    skus: u32,
    /// End after so many records, the preamble not counted
    #[arg(long, value_name = "N")]
    records: Option<u64>,
    /// End after so much virtual time [default: 2h to files, never to Kafka]
    #[arg(long = "for", value_name = "DURATION", value_parser = values::duration)]
    lasting: Option<Duration>,
    /// Records a second: of virtual time to files, of the wall clock to Kafka [default: 2 a virtual second for every
    /// 1,000 customers, so that one comes back every few hours; bench: 10,000]
    #[arg(long, value_name = "R", value_parser = values::positive)]
    rate: Option<f64>,
    /// When the shop opens: RFC 3339 or epoch milliseconds
    #[arg(long, value_name = "TIME", value_parser = values::time_ms, default_value = "2026-01-01T00:00:00Z")]
    start: i64,
    /// What happens in it
    #[arg(long, value_enum, default_value = "shop")]
    mix: MixArg,
    /// Whether catalogue, inventory and profiles come first [default: true; bench: false]
    #[arg(long, value_name = "BOOL")]
    preamble: Option<bool>,
    /// The share of each kind of fault: duplicates, stale versions, out of order, bad input [default: 0.001; bench: 0]
    #[arg(long, value_name = "SHARE", value_parser = values::share)]
    faults: Option<f64>,
    /// How the files are packed
    #[arg(long, value_enum, default_value = "none", conflicts_with = "kafka")]
    compress: Compression,
    /// Virtual seconds a second, or `max` [default: 1]
    #[arg(long, value_name = "S", value_parser = values::speed, conflicts_with = "out")]
    speed: Option<Speed>,
    /// Event times follow the wall clock; ids and versions are new in every run
    #[arg(long, conflicts_with_all = ["out", "speed", "start"])]
    live: bool,
}

const EXAMPLES: &str = "\
Examples:
  Two hours with 1,000 customers, about 17,000 records:
    datagen shop --out data
  A day of a greater shop, packed:
    datagen shop --out data --customers 50000 --for 24h --compress zstd
  Ten million records for a benchmark:
    datagen shop --out bench --mix bench --records 10000000 --preamble true
  A shop that is open now, until Ctrl-C:
    datagen shop --kafka localhost:9092 --live --rate 500
  Two hours in two minutes:
    datagen shop --kafka localhost:9092 --speed 60 --for 2h
  As fast as Kafka takes it:
    datagen shop --kafka localhost:9092 --mix bench --speed max --records 5000000

A second run into the same topics repeats the ids and versions of the first, so that
its records are stale, unless it is --live.";

pub(super) fn run(args: ShopArgs) -> Result<()> {
    let (config, pace) = plan(&args, now());
    eprintln!(
        "shop: seed {}, {} customers, {} SKUs, from {}, {:.1} records a virtual second",
        config.seed,
        grouped(config.customers.into()),
        grouped(config.skus.into()),
        written_time(config.start_ms),
        config.records_per_second,
    );
    let meter = Meter::new(&config);
    let stop = stop::on_signal()?;
    let (written, until_ms) = match (&args.out, &args.kafka) {
        (Some(directory), _) => {
            let mut files = StreamFiles::create(directory, args.compress)?;
            let until_ms = write_all(Shop::new(config.clone()), &mut files, &meter, &stop)?;
            (files.finish()?, until_ms)
        }
        (None, Some(brokers)) => produce_all(brokers, Shop::new(config.clone()), pace, &meter, &stop)?,
        (None, None) => anyhow::bail!("one of --out and --kafka is needed"),
    };
    meter.clear();
    let (from, to) = (written_time(config.start_ms), written_time(until_ms));
    values::print(&format!("{}seed {}, {from} to {to}\n", values::table(&written), config.seed))
}

/// The shop and the pace that the arguments ask for.
fn plan(args: &ShopArgs, now: Duration) -> (ShopConfig, Pace) {
    let mix = Mix::from(args.mix);
    let pace = match args.speed {
        _ if args.live => Pace::Live,
        None => Pace::Speed(1.0),
        Some(Speed::Times(speed)) => Pace::Speed(speed),
        Some(Speed::Max) => Pace::Unpaced,
    };
    // To Kafka the rate is the wall clock's; a virtual second has it `speed` times shorter.
    let speed = if let Pace::Speed(speed) = pace { speed } else { 1.0 };
    let start_ms = if args.live { now.as_millis() as i64 } else { args.start };
    let endless = args.lasting.is_none() && args.records.is_none() && args.kafka.is_none();
    let (lasting, records) = match mix {
        Mix::Shop if endless => (Some(FILES_FOR), None),
        Mix::Bench if endless => (None, Some(BENCH_RECORDS)),
        _ => (args.lasting, args.records),
    };
    let config = ShopConfig {
        seed: args.seed,
        start_ms,
        customers: args.customers,
        skus: args.skus,
        records_per_second: args
            .rate
            .map_or_else(|| ShopConfig::default_rate(mix, args.customers), |rate| rate / speed),
        until_ms: lasting
            .map(|lasting| start_ms.saturating_add(i64::try_from(lasting.as_millis()).unwrap_or(i64::MAX))),
        records,
        mix,
        preamble: args.preamble.unwrap_or(mix == Mix::Shop),
        faults: args.faults.map_or_else(|| ShopConfig::default_faults(mix), FaultShares::each),
        numbered_from: if args.live { now.as_micros() as u64 } else { 1 },
    };
    (config, pace)
}

/// Writes everything; the answer is the time of the last record.
fn write_all(shop: Shop, files: &mut StreamFiles, meter: &Meter, stop: &AtomicBool) -> Result<i64> {
    let mut last_ms = DEFAULT_START_MS;
    for (nth, event) in shop.enumerate() {
        files.write(&event)?;
        last_ms = event.time_ms;
        // Neither the bar nor the flag is worth a look at every record.
        if nth % 4_096 == 0 {
            meter.show(nth as u64, last_ms);
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    Ok(last_ms)
}

/// Produces everything, while another thread shows how far it is.
fn produce_all(brokers: &str, shop: Shop, pace: Pace, meter: &Meter, stop: &AtomicBool) -> Result<(Written, i64)> {
    let progress = Arc::new(Progress::default());
    let done = AtomicBool::new(false);
    let last_ms = || progress.time_ms.load(Ordering::Relaxed);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                meter.show(progress.said_total(), last_ms());
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let result = produce(brokers, shop, pace, stop, &progress);
        done.store(true, Ordering::Relaxed);
        result
    });
    let behind_ms = progress.behind_ms.load(Ordering::Relaxed);
    if behind_ms > BEHIND_MS_MOST {
        eprintln!(
            "shop: the last record was {behind_ms} ms late; the rate is more than this machine or the brokers take"
        );
    }
    result?;
    Ok((progress.written(), last_ms()))
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
