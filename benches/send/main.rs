//! What a mail costs from the ledger to an ESP, and how many there are in a second: rendering alone, then the whole way (trigger set,
//! templates, ledger, request, answer) to the simulator in a process of its own. In: `--mails N`, `--in-flight N`. Out: a table.
//! Fails where a mail is not accepted.
//!
//! ```sh
//! cargo bench --bench send
//! cargo bench --bench send -- --mails 100000 --in-flight 128 --rate-limit 5000
//! ```

#[path = "../replay/cost.rs"]
mod cost;
mod mails;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Context;
use beckon::decision::DeliveryState;
use beckon::ledger::Ledger;
use beckon::pipeline::compose::Composer;
use beckon::pipeline::deliver::Sender;
use beckon_datagen::esp::{Esp, EspConfig};
use clap::Parser;
use serde_json::Map;

/// As in the `beckon` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// Mails to send
    #[arg(long, default_value_t = 20_000)]
    mails: u64,
    /// Requests under way at a time
    #[arg(long, default_value_t = 64)]
    in_flight: u32,
    /// Requests a second that the sender makes at most
    #[arg(long, default_value_t = 100_000)]
    rate: u32,
    /// Requests a second that the ESP takes; it answers 429 to the rest
    #[arg(long)]
    rate_limit: Option<u32>,
    /// How long the ESP takes to answer, ms
    #[arg(long, default_value_t = 2)]
    delay_ms: u64,
    /// Be the simulator (for this program itself)
    #[arg(long, hide = true)]
    simulate: bool,
    /// Cargo says this to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.simulate {
        return simulate(&arguments);
    }
    render(arguments.mails)?;
    send(&arguments)
}

/// Rendering alone, on this thread.
fn render(mails: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let config = mails::config(folder.path(), "http://127.0.0.1:9", 1, 1)?;
    let (state, composer) = (mails::state(mails.min(1_000)), Composer::of(&config)?);
    let sends: Vec<_> = (0..mails.min(1_000)).map(mails::send).collect();
    let (mut bytes, began) = (0, Instant::now());
    for send in sends.iter().cycle().take(mails as usize) {
        let message = composer.compose(send, Map::new(), &state).map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
        bytes += message.html.len() + message.text.len();
    }
    let took = began.elapsed().as_secs_f64();
    let (each_us, rate) = (took * 1e6 / mails as f64, mails as f64 / took);
    println!(
        "render   {rate:>9.0} mails/s on one core   {each_us:>6.1} µs a mail   {} bytes a mail",
        bytes / mails as usize
    );
    Ok(())
}

/// The whole way.
fn send(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut simulator, base_url) = start_simulator(arguments)?;
    let config = mails::config(folder.path(), &base_url, arguments.rate, arguments.in_flight)?;
    std::fs::create_dir_all(&config.state)?;
    let ledger = Arc::new(Ledger::open(&config.state)?);
    for from in (0..arguments.mails).step_by(1_000) {
        let entries: Vec<_> = (from..arguments.mails.min(from + 1_000)).map(mails::entry).collect();
        ledger.record(&entries)?;
    }
    let state = Arc::new(std::sync::RwLock::new(mails::state(arguments.mails)));
    let (before, began) = (cost::of_process("self")?, Instant::now());
    let ended = Arc::new(AtomicBool::new(false));
    let (sender, wake) = Sender::start(&config, ledger.clone(), state, Arc::new(|| mails::NOW_MS), ended)?;
    wake.blocking_send(())?;
    let accepted = || -> anyhow::Result<u64> {
        Ok(ledger.counts()?.deliveries.get(&DeliveryState::Accepted).copied().unwrap_or_default())
    };
    while accepted()? < arguments.mails {
        anyhow::ensure!(began.elapsed() < Duration::from_secs(600), "only {} mails were accepted", accepted()?);
        std::thread::sleep(Duration::from_millis(5));
    }
    let after = cost::Cost { wall_s: began.elapsed().as_secs_f64(), ..cost::of_process("self")? };
    sender.stop()?;
    drop(simulator.stdin.take());
    let mut totals = String::new();
    simulator.stdout.take().context("the simulator has no output")?.read_to_string(&mut totals)?;
    simulator.wait()?;
    let each_ms = (after.cpu_s() - before.cpu_s()) * 1e3 / arguments.mails as f64;
    let rate = arguments.mails as f64 / after.wall_s;
    let peak_mib = after.peak_kib / 1024;
    println!("send     {rate:>9.0} mails/s               {each_ms:>6.3} CPU ms a mail   {peak_mib} MiB at most");
    println!("the ESP  {}", totals.trim());
    Ok(())
}

/// This program again, as the ESP; its standard input held open, and where it listens.
fn start_simulator(arguments: &Arguments) -> anyhow::Result<(Child, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--simulate", "--delay-ms", &arguments.delay_ms.to_string()]);
    if let Some(limit) = arguments.rate_limit {
        command.args(["--rate-limit", &limit.to_string()]);
    }
    let mut simulator = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut output = BufReader::new(simulator.stdout.take().context("the simulator has no output")?);
    let mut base_url = String::new();
    output.read_line(&mut base_url)?;
    simulator.stdout = Some(output.into_inner());
    Ok((simulator, base_url.trim().to_owned()))
}

/// Answers until standard input ends, and then says what it saw.
fn simulate(arguments: &Arguments) -> anyhow::Result<()> {
    let config = EspConfig {
        delay: Duration::from_millis(arguments.delay_ms),
        rate_limit: arguments.rate_limit,
        messages_kept: 1,
        ..EspConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let esp = runtime.block_on(Esp::start(config))?;
    println!("{}", esp.base_url());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let totals = runtime.block_on(esp.stop());
    println!(
        "{} requests, {} answered 429, {} mails taken, {} of them twice",
        totals.requests, totals.too_many, totals.distinct_keys, totals.keys_accepted_more_than_once
    );
    Ok(())
}
