//! What stays in memory: 30 simulated days of a shop at a steady rate, whose visitors, carts and orders are ever new ones, under
//! four campaigns and a `forget_after` of three days. Prints a line a day, and draws a picture where asked. Fails when the last week
//! takes more memory than the second.
//!
//! `cargo bench --bench memory [-- --days N --visits-a-day N --workers N --svg FILE]`

#[path = "../replay/cost.rs"]
#[allow(dead_code)] // only memory is asked
mod cost;
#[allow(dead_code)] // days go by evenly, and looks are many
mod panel;
mod picture;
mod shop;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError};

use anyhow::{Context, ensure};
use beckon::config::{Config, Purpose};
use beckon::decide::Decided;
use beckon::decode::{Decoder, Dictionary};
use beckon::meter::Meter;
use beckon::pipeline::{Act, Engine, Setup, SharedState, View, wiring};
use beckon_dataflows::horizon::Horizon;
use beckon_dataflows::inputs::Batch;
use beckon_dataflows::model::{Position, Tick};
use beckon_dataflows::time::tick_at;
use clap::Parser;

use shop::{Said, Shop};

/// As in the `beckon` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DAY_MS: u64 = 86_400_000;

/// How often a day memory is looked at.
const LOOKS_A_DAY: u64 = 8;

/// After how many records the closed ticks are told to the workers.
const RECORDS_AN_ADVANCE: usize = 16 << 10;

const CONFIG: &str = r#"
tick = "1s"
forget_after = "3d"

[[campaign]]
name = "cart-abandonment"
trigger = "cart_abandonment"
after = "30m"
expires = "1d"
cooldown = "1d"

[[campaign]]
name = "browse-abandonment"
trigger = "browse_abandonment"
after = "1h"
expires = "1d"
min_views = 3

[[campaign]]
name = "back-in-stock"
trigger = "back_in_stock"
lookback = "1d"
expires = "12h"

[[campaign]]
name = "post-purchase"
trigger = "post_purchase"
after = "1d"
expires = "1d"
"#;

/// The arguments of the bench.
#[derive(Parser)]
#[command(name = "memory")]
struct Arguments {
    /// Simulated days
    #[arg(long, default_value_t = 30)]
    days: u64,
    /// Visits a simulated day, each of some eight records
    #[arg(long, default_value_t = 15_000)]
    visits_a_day: u64,
    /// Worker threads
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Where the picture goes; none unless given
    #[arg(long)]
    svg: Option<PathBuf>,
    /// What Cargo passes
    #[arg(long, hide = true)]
    bench: bool,
}

/// What there is at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Days since the shop opened.
    pub day: f64,
    /// Memory resident, MiB.
    pub resident_mib: f64,
    /// Names known.
    pub names: usize,
    /// Episodes that hold.
    pub episodes: usize,
    /// Decisions so far.
    pub decisions: usize,
    /// Open carts.
    pub carts_open: i64,
    /// What was said until then.
    pub said: Said,
}

/// Says how far the ticks are closed, and how much was decided by then.
struct Closing {
    decisions: usize,
    out: Sender<(Tick, usize)>,
}

impl Act for Closing {
    fn decided(&mut self, _tick: Tick, decided: Vec<Decided>, _view: &View<'_>) -> anyhow::Result<()> {
        self.decisions += decided.len();
        Ok(())
    }

    fn closed(&mut self, upper: Option<Tick>, _view: &View<'_>) -> anyhow::Result<()> {
        // Nobody listens any more at the end.
        let _ = self.out.send((upper.unwrap_or(Tick::MAX), self.decisions));
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let looks = run(&arguments)?;
    println!(
        "{:>4} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} | {:>9} {:>9} {:>9} {:>10}",
        "day", "MiB", "names", "open", "episodes", "decided", "", "visitors", "carts", "orders", "records"
    );
    for look in looks.iter().filter(|look| look.day.fract() == 0.0) {
        println!(
            "{:>4} {:>9.1} {:>9} {:>9} {:>9} {:>9} {:>9} | {:>9} {:>9} {:>9} {:>10}",
            look.day,
            look.resident_mib,
            look.names,
            look.carts_open,
            look.episodes,
            look.decisions,
            "so far:",
            look.said.visitors,
            look.said.carts,
            look.said.orders,
            look.said.records
        );
    }
    if let Some(path) = &arguments.svg {
        std::fs::write(path, picture::draw(&looks)).with_context(|| format!("writing {}", path.display()))?;
    }
    let mean = |days: std::ops::Range<f64>| {
        let own: Vec<f64> =
            looks.iter().filter(|look| days.contains(&look.day)).map(|look| look.resident_mib).collect();
        own.iter().sum::<f64>() / own.len().max(1) as f64
    };
    if arguments.days >= 21 {
        let end = arguments.days as f64;
        let (second, last) = (mean(8.0..15.0), mean(end - 7.0..end + 1.0));
        println!("\nmean of days 8 to 15: {second:.1} MiB; of the last seven: {last:.1} MiB");
        ensure!(last < second * 1.05, "memory grows with history");
    }
    Ok(())
}

/// Lets the shop go on for so long, and looks. What was said is closed before more is, so that a look is at one moment.
fn run(arguments: &Arguments) -> anyhow::Result<Vec<Look>> {
    let config = Config::parse(Path::new("beckon.toml"), CONFIG, Purpose::Replay)?;
    let plan = wiring::plan(&config);
    let dictionary = Arc::new(Dictionary::forgetting(Horizon::of(&plan)));
    let mut decoder = Decoder::new(dictionary.clone());
    let (out, closed) = channel();
    let decider = wiring::decider(&config);
    let (meter, state) = (Arc::new(Meter::default()), SharedState::default());
    let act = Closing { decisions: 0, out };
    let mut engine = {
        let (dictionary, state) = (dictionary.clone(), state.clone());
        Engine::start(Setup { crew: arguments.workers.into(), plan, decider, dictionary, state, meter }, act)?
    };
    let mut shop = Shop::new(arguments.visits_a_day);
    let begin = shop.now_ms();
    let (mut looks, mut next) = (Vec::new(), begin);
    while next <= begin + arguments.days * DAY_MS {
        let (mut batch, names) = (Batch::default(), decoder.pin());
        while batch.len() < RECORDS_AN_ADVANCE && shop.now_ms() <= next {
            shop.say(|stream, offset, record| {
                let position = Position::new(stream, 0, offset);
                let decoded = decoder.decode(position, record).map_err(|bad| anyhow::anyhow!("{bad}"))?;
                batch.push(decoded.record, tick_at(decoded.event_ms, config.tick_ms));
                Ok(())
            })?;
        }
        names.taken(batch.last());
        engine.workers.feed(batch);
        let upper = tick_at(shop.now_ms(), config.tick_ms);
        engine.workers.advance(upper);
        let decisions = wait_until(&closed, upper)?;
        if shop.now_ms() > next {
            looks.push(Look {
                day: (next - begin) as f64 / DAY_MS as f64,
                resident_mib: resident_mib()?,
                names: dictionary.len(),
                episodes: state.read().unwrap_or_else(PoisonError::into_inner).trigger_set().len(),
                decisions,
                carts_open: engine.counts.carts_open(),
                said: shop.said(),
            });
            next += DAY_MS / LOOKS_A_DAY;
        }
    }
    engine.workers.close(tick_at(shop.now_ms(), config.tick_ms));
    engine.finish()?;
    Ok(looks)
}

/// Waits until all ticks before `upper` are closed; the answer is how much was decided by then.
fn wait_until(closed: &Receiver<(Tick, usize)>, upper: Tick) -> anyhow::Result<usize> {
    loop {
        let (closed, decisions) = closed.recv().context("the engine has stopped")?;
        if closed >= upper {
            return Ok(decisions);
        }
    }
}

/// Memory resident, MiB, by Linux's own account.
fn resident_mib() -> anyhow::Result<f64> {
    Ok(cost::kib("/proc/self/status", "VmRSS:")? as f64 / 1024.0)
}
