//! What a replay costs, beside the least it could: `beckon replay` with one and with two workers, and the *limit*, a
//! hand-written single-threaded program of the same rule (`limit.rs`), on the same files. Each is a process of its own (this
//! program once more), they take turns, and their decisions must be equal to the byte. Fails when they are not.
//! With `--campaigns` instead: what the triggers cost, switched on one after the other (`campaigns.rs`). With `--processes`: what
//! several processes do (`processes.rs`).
//!
//! `cargo bench --bench replay [-- --campaigns --processes N,N --records N --customers N --skus N --minutes N --runs N --quick]`

mod campaigns;
mod cost;
#[path = "../../tests/hosts/mod.rs"]
mod hosts;
mod limit;
mod processes;
mod shop;
mod wire;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use beckon_datagen::shop::Mix;
use clap::Parser;

use cost::Cost;
use shop::Shop;

/// As in the `beckon` binary; every contestant has the same.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tells a process that it is a contestant, and which.
const CONTESTANT: &str = "BECKON_BENCH_CONTESTANT";

/// The arguments of the bench.
#[derive(Parser)]
#[command(name = "replay")]
struct Arguments {
    /// Records after the preamble: 70 % views, 15 % carts, 10 % inventory, 5 % orders
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Customers, each with a profile in the preamble
    #[arg(long, default_value_t = 100_000)]
    customers: u32,
    /// Products, each with its stock in the preamble
    #[arg(long, default_value_t = 10_000)]
    skus: u32,
    /// Event time that the records span, evenly
    #[arg(long, default_value_t = 90)]
    minutes: u32,
    /// How often each contestant runs
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Measure campaigns: the triggers switched on one after the other, and ten campaigns on one
    #[arg(long)]
    campaigns: bool,
    /// Measure processes: so many of them replay the records together, each number in turn
    #[arg(long, value_delimiter = ',', conflicts_with = "campaigns", value_parser = clap::value_parser!(u16).range(1..=64))]
    processes: Vec<u16>,
    /// A tenth of the records, customers and products, and three runs
    #[arg(long)]
    quick: bool,
    /// What Cargo passes
    #[arg(long, hide = true)]
    bench: bool,
}

/// Who runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contestant {
    /// The hand-written program.
    Limit,
    /// The same, which trusts that no message comes twice: less than the rule, for comparison only.
    LimitWithoutIds,
    /// `beckon replay` with so many workers.
    Engine(u16),
    /// The same with one, all of whose threads have one core: what a second core can be held against.
    EngineOnOneCore,
}

impl Contestant {
    const ALL: [Contestant; 5] = [
        Contestant::Limit,
        Contestant::LimitWithoutIds,
        Contestant::EngineOnOneCore,
        Contestant::Engine(1),
        Contestant::Engine(2),
    ];

    fn name(self) -> &'static str {
        match self {
            Contestant::Limit => "limit",
            Contestant::LimitWithoutIds => "limit, duplicates not looked for",
            Contestant::EngineOnOneCore => "engine, 1 worker, on one core",
            Contestant::Engine(1) => "engine, 1 worker",
            Contestant::Engine(_) => "engine, 2 workers",
        }
    }
}

fn main() -> ExitCode {
    let done = match std::env::var(CONTESTANT) {
        Ok(name) => contest(&name),
        Err(_) => compare(Arguments::parse()),
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}

/// A contestant's process: does its work, then says on standard output what that took.
fn contest(name: &str) -> anyhow::Result<ExitCode> {
    let code = if name.starts_with("limit") {
        let paths: Vec<String> = std::env::args().skip(1).collect();
        let [input, output] = &paths[..] else { anyhow::bail!("the limit takes an input and an output") };
        limit::run(Path::new(input), Path::new(output), name == Contestant::Limit.name())?;
        ExitCode::SUCCESS
    } else {
        if name == Contestant::EngineOnOneCore.name() {
            stay_on_one_core()?;
        }
        beckon::cli::main()
    };
    println!("{}", cost::of_process("self")?);
    Ok(code)
}

/// Has this thread, and all that it starts, run on the core that it is on.
#[cfg(target_os = "linux")]
fn stay_on_one_core() -> anyhow::Result<()> {
    let mut core = rustix::thread::CpuSet::new();
    core.set(rustix::thread::sched_getcpu());
    Ok(rustix::thread::sched_setaffinity(None, &core)?)
}

#[cfg(not(target_os = "linux"))]
fn stay_on_one_core() -> anyhow::Result<()> {
    anyhow::bail!("threads can be held on one core on Linux alone")
}

/// Draws the shop and compares what is asked for.
fn compare(mut arguments: Arguments) -> anyhow::Result<ExitCode> {
    if arguments.quick {
        (arguments.records, arguments.customers, arguments.skus) = (100_000, 10_000, 1_000);
        arguments.runs = arguments.runs.min(3);
    }
    let mix = if arguments.campaigns { Mix::Shop } else { Mix::Bench };
    let shop = Shop::drawn(mix, arguments.records, arguments.customers, arguments.skus, arguments.minutes)?;
    match &arguments.processes[..] {
        _ if arguments.campaigns => compare_campaigns(&arguments, &shop),
        [] => compare_with_limit(&arguments, &shop),
        counts => processes::compare(&shop, counts, arguments.runs),
    }
}

/// Lets the engine run under each setting in turn, and prints what each costs.
fn compare_campaigns(arguments: &Arguments, shop: &Shop) -> anyhow::Result<ExitCode> {
    let settings = campaigns::settings();
    let mut costs = vec![Vec::new(); settings.len()];
    let mut decisions = vec![0; settings.len()];
    for run in 0..arguments.runs {
        for (place, setting) in settings.iter().enumerate() {
            let config = shop.directory.join(format!("campaigns-{place}.toml"));
            std::fs::write(&config, &setting.toml)?;
            let (cost, lines) = run_one(Contestant::Engine(1), shop, &config)?;
            eprintln!("run {}, {}: {:.2} s of CPU", run + 1, setting.name, cost.cpu_s());
            decisions[place] = lines.split(|byte| *byte == b'\n').count() - 1;
            costs[place].push(cost);
        }
    }
    println!("{shop} one worker, {} runs\n", arguments.runs);
    println!("{:<26} {:>14} {:>10} {:>10} {:>10}", "medians", "CPU µs/record", "of first", "peak MiB", "decisions");
    for (place, setting) in settings.iter().enumerate() {
        let cpu = |place: usize| median(costs[place].iter().map(Cost::cpu_s));
        println!(
            "{:<26} {:>14.2} {:>9.2}x {:>10.0} {:>10}",
            setting.name,
            cpu(place) * 1e6 / shop.total as f64,
            cpu(place) / cpu(0),
            median(costs[place].iter().map(|cost| cost.peak_kib as f64 / 1024.0)),
            decisions[place],
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets engine and limit run in turn, checks that all wrote the same, and prints the table.
fn compare_with_limit(arguments: &Arguments, shop: &Shop) -> anyhow::Result<ExitCode> {
    let mut costs = [const { Vec::new() }; Contestant::ALL.len()];
    let mut expected: Option<Vec<u8>> = None;
    for run in 0..arguments.runs {
        for (contestant, costs) in Contestant::ALL.into_iter().zip(&mut costs) {
            let (cost, decisions) = run_one(contestant, shop, &shop.config())?;
            eprintln!("run {}, {}: {:.2} s of CPU", run + 1, contestant.name(), cost.cpu_s());
            let expected = expected.get_or_insert_with(|| decisions.clone());
            same_lines(expected, &decisions)
                .with_context(|| format!("{} differs from the limit", contestant.name()))?;
            costs.push(cost);
        }
    }
    let decisions = expected.map_or(0, |lines| lines.split(|byte| *byte == b'\n').count() - 1);
    ensure!(decisions > 0, "nothing was decided, so nothing was compared; let it span more --minutes");
    println!("{shop}");
    println!("{decisions} decisions, equal line by line in all {} runs\n", arguments.runs);
    print_table(shop.total, &costs);
    Ok(ExitCode::SUCCESS)
}

fn run_one(contestant: Contestant, shop: &Shop, config: &Path) -> anyhow::Result<(Cost, Vec<u8>)> {
    let output = shop.directory.join("decisions.jsonl");
    let mut command = Command::new(std::env::current_exe()?);
    command.env(CONTESTANT, contestant.name()).stdout(Stdio::piped());
    match contestant {
        Contestant::Limit | Contestant::LimitWithoutIds => command.arg(&shop.directory).arg(&output),
        Contestant::EngineOnOneCore | Contestant::Engine(_) => {
            let workers = if let Contestant::Engine(workers) = contestant { workers } else { 1 };
            command.args(["replay", "--quiet", "--workers", &workers.to_string(), "--input"]);
            command.arg(&shop.directory).arg("--config").arg(config).arg("--output").arg(&output)
        }
    };
    let began = Instant::now();
    let done = command.spawn()?.wait_with_output()?;
    let wall = began.elapsed();
    ensure!(done.status.success(), "{} failed", contestant.name());
    let said = String::from_utf8_lossy(&done.stdout);
    let cost = Cost { wall_s: wall.as_secs_f64(), ..said.trim().parse()? };
    Ok((cost, std::fs::read(&output)?))
}

/// Fails at the first line in which two outputs differ.
fn same_lines(expected: &[u8], found: &[u8]) -> anyhow::Result<()> {
    if expected == found {
        return Ok(());
    }
    let (mut expected, mut found) = (expected.split(|byte| *byte == b'\n'), found.split(|byte| *byte == b'\n'));
    let mut line = 1;
    loop {
        let (one, other) = (expected.next().unwrap_or_default(), found.next().unwrap_or_default());
        let text = String::from_utf8_lossy;
        ensure!(one == other, "line {line} should be\n  {}\nbut is\n  {}", text(one), text(other));
        line += 1;
    }
}

fn print_table(records: u64, costs: &[Vec<Cost>]) {
    println!(
        "{:<34} {:>10} {:>14} {:>8} {:>10} {:>14} {:>14}",
        "medians", "records/s", "CPU µs/record", "wall s", "peak MiB", "CPU of limit", "wall of limit"
    );
    for (contestant, own) in Contestant::ALL.into_iter().zip(costs) {
        let of = |measure: fn(&Cost) -> f64| median(own.iter().map(measure));
        let of_limit = |measure: fn(&Cost) -> f64| {
            median(own.iter().zip(&costs[0]).map(|(own, limit)| measure(own) / measure(limit)))
        };
        println!(
            "{:<34} {:>10.0} {:>14.2} {:>8.2} {:>10.0} {:>13.2}x {:>13.2}x",
            contestant.name(),
            records as f64 / of(|cost| cost.wall_s),
            of(Cost::cpu_s) * 1e6 / records as f64,
            of(|cost| cost.wall_s),
            of(|cost| cost.peak_kib as f64 / 1024.0),
            of_limit(Cost::cpu_s),
            of_limit(|cost| cost.wall_s),
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
