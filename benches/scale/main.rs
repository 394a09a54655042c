//! How cost and memory grow with a shop: CPU time a record and bytes a customer at 10,000 to 10 million customers, each with a profile and
//! an open cart, and with 1, 10 and 100 campaigns on them; and what parts of that state take. Each point is a process of its own, this program once more.
//! Prints tables, and draws a picture where asked. Leaves out, and says so, what this machine has no memory for. Fails when anything is decided that an
//! independent count has not, or the other way round, and when a curve is not flat.
//!
//! `cargo bench --bench scale [-- --customers N,N --campaigns N,N --records N --workers N --svg FILE --quick]`

mod campaigns;
#[path = "../replay/cost.rs"]
#[allow(dead_code)] // costs go to whoever started the process as part of a point
mod cost;
mod expected;
#[path = "../memory/panel.rs"]
#[allow(dead_code)] // nothing is shaded, and no axis is even
mod panel;
mod parts;
mod picture;
mod point;
mod resident;
mod shop;
mod steps;
mod threads;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use beckon_datagen::written::grouped;
use clap::Parser;
use serde::de::DeserializeOwned;

use expected::Expected;
use parts::Parts;
use point::Point;
use steps::{OTHERS, Steps};

/// As in the `beckon` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many customers there are where campaigns are compared.
const CUSTOMERS_OF_CAMPAIGNS: u64 = 100_000;

/// A record costs at most so many times as much in the largest shop as in the smallest: its state lies in no cache any more.
const COST_GROWS_MOST: f64 = 4.0;

/// The customer of one shop takes at most so many times as much memory as that of another: a hash table is full to between 44 and 87 %.
const MEMORY_DIFFERS_MOST: f64 = 2.0;

/// The goal: less than so many bytes a customer with an open cart, beside the live payload.
const BESIDE_PAYLOAD_GOAL: f64 = 300.0;

/// Of the memory that could be had, hundredths that a point may take.
const TAKEN_MOST: u64 = 93;

/// Parts of the state are measured of so many.
const PARTS: u64 = 1_000_000;

/// The arguments of the bench.
#[derive(Parser)]
#[command(name = "scale")]
struct Arguments {
    /// How many customers, from the fewest to the most
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000, 5_000_000, 10_000_000])]
    customers: Vec<u64>,
    /// How many campaigns, on 100,000 customers
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    campaigns: Vec<u64>,
    /// Records of the mix: 70 % views, 15 % carts, 10 % inventory, 5 % orders
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Worker threads
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Where the picture goes; none unless given
    #[arg(long)]
    svg: Option<PathBuf>,
    /// 10,000 and 50,000 customers, a tenth of the records
    #[arg(long)]
    quick: bool,
    /// Measure one thing, and tell of it: what the bench starts itself
    #[arg(long, hide = true, num_args = 2)]
    point: Option<Vec<u64>>,
    #[arg(long, hide = true)]
    parts: Option<u64>,
    /// What Cargo passes
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = Arguments::parse();
    if let Some(&[customers, campaigns]) = arguments.point.as_deref() {
        return tell(&point::measure(customers, campaigns, arguments.records, arguments.workers)?);
    }
    if let Some(count) = arguments.parts {
        return tell(&parts::measure(count)?);
    }
    if arguments.quick {
        (arguments.customers, arguments.records) = (vec![10_000, 50_000], 100_000);
    }
    compare(&arguments)
}

/// Measures all points one after the other, prints them, and fails where they are not as they should be.
fn compare(arguments: &Arguments) -> anyhow::Result<()> {
    let mut sizes: Vec<Point> = Vec::new();
    for customers in &arguments.customers {
        if let Some(too_much) = too_much(*customers, sizes.last())? {
            println!("{} customers are left out: {too_much}", grouped(*customers));
            break;
        }
        sizes.push(measure(arguments, *customers, 1)?);
    }
    let most = sizes.last().context("nothing was measured")?;
    let count = if arguments.quick { PARTS / 4 } else { PARTS };
    let parts: Parts = ask(["--parts", &count.to_string()], [])?;
    let on = if arguments.quick { most.customers } else { CUSTOMERS_OF_CAMPAIGNS };
    let campaigns = arguments.campaigns.iter().map(|campaigns| measure(arguments, on, *campaigns));
    let campaigns = campaigns.collect::<anyhow::Result<Vec<Point>>>()?;
    print_sizes(&sizes);
    print_parts(&parts, count);
    print_campaigns(&campaigns);
    if let Some(path) = &arguments.svg {
        let drawn = picture::draw(&sizes, &campaigns);
        std::fs::write(path, drawn).with_context(|| format!("writing {}", path.display()))?;
    }
    judge(&sizes)
}

/// Why a point is not to be measured: a shop takes as much a customer as the one before at its most.
fn too_much(customers: u64, before: Option<&Point>) -> anyhow::Result<Option<String>> {
    let Some(before) = before else { return Ok(None) };
    let each = before.memory.peak_kib.saturating_sub(before.memory.without_kib) as f64 / before.customers as f64;
    let needs_kib = before.memory.without_kib + (each * customers as f64) as u64;
    let available_kib = resident::available_kib()?;
    let gib = |kib: u64| kib as f64 / f64::from(1 << 20);
    let says = || format!("they would take {:.1} GiB, and {:.1} are there", gib(needs_kib), gib(available_kib));
    Ok((needs_kib > available_kib / 100 * TAKEN_MOST).then(says))
}

/// Measures a point, and holds its decisions to those that were counted. What its state takes is measured in a process of its own, in which
/// the allocator gives back at once what is free: else what is resident depends on what was there before.
fn measure(arguments: &Arguments, customers: u64, campaigns: u64) -> anyhow::Result<Point> {
    let (records, workers) = (arguments.records.to_string(), arguments.workers.to_string());
    let (of, with) = (customers.to_string(), campaigns.to_string());
    let point = ["--workers", &workers, "--point", &of, &with, "--records"];
    let at_once = [("MIMALLOC_PURGE_DELAY", "0")];
    let loaded: Point = ask(point.into_iter().chain(["0"]), at_once)?;
    let costs: Point = ask(point.into_iter().chain([&*records]), [])?;
    let expected = expected(&costs);
    ensure!(
        costs.decisions_ever == expected,
        "of {customers} customers under {campaigns} campaigns {} decisions were made, and should be {expected}",
        costs.decisions_ever
    );
    ensure!(costs.decisions > 0, "nothing was decided of {customers} customers; say more --records");
    eprintln!("{} customers, {campaigns} campaigns: {:.2} s of CPU", grouped(customers), costs.spent.total_s);
    Ok(Point { memory: loaded.memory, ..costs })
}

/// What is to be decided in a whole run.
fn expected(point: &Point) -> u64 {
    let steps = Steps { customers: point.customers };
    let afters_s = campaigns::afters_s(steps, point.campaigns);
    let mut expected = Expected::new(&afters_s, point.customers + OTHERS);
    steps.warming().chain(steps.carts()).chain(steps.mix(point.records)).for_each(|step| expected.take(step));
    expected.by(point.last / 1_000)
}

/// Starts this program once more, with settings of the allocator, and hears what it has to tell.
fn ask<'a, T: DeserializeOwned>(
    arguments: impl IntoIterator<Item = &'a str>,
    allocator: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> anyhow::Result<T> {
    let mut command = Command::new(std::env::current_exe()?);
    let done = command.args(arguments).envs(allocator).stdout(Stdio::piped()).spawn()?.wait_with_output()?;
    ensure!(done.status.success(), "{command:?} ended with {}", done.status);
    Ok(serde_json::from_slice(&done.stdout)?)
}

fn tell(what: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}

fn print_sizes(points: &[Point]) {
    println!(
        "\n| customers | CPU µs a record | the graph | decoding | deciding | decisions | resident, MiB | bytes a customer | of a profile | of a cart | live payload | beside it | of names |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for point in points {
        let (all, profile, payload) = (point.bytes_a_customer(), point.bytes_a_profile(), point.payload_a_customer());
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {:.0} | {all:.0} | {profile:.0} | {:.0} | {payload:.0} | {:.0} | {:.0} |",
            grouped(point.customers),
            point.cpu_us(|spent| spent.total_s),
            point.cpu_us(|spent| spent.working_s),
            point.cpu_us(|spent| spent.decoding_s),
            point.cpu_us(|spent| spent.deciding_s),
            grouped(point.decisions),
            point.memory.with_carts_kib as f64 / 1_024.0,
            all - profile,
            all - payload,
            point.names_a_customer()
        );
    }
    println!("\nThe goal is less than {BESIDE_PAYLOAD_GOAL} bytes beside the live payload.");
}

fn print_parts(parts: &Parts, count: u64) {
    println!("\n| part, of {} | bytes |", grouped(count));
    println!("|---|---|");
    println!("| a customer, in the process that decides: names and contact | {:.0} |", parts.customer);
    println!("| a visitor who was linked to a user, in every worker | {:.0} |", parts.link);
    println!("| a message's id, for a day | {:.0} |", parts.message);
    println!("| an order, with its name | {:.0} |", parts.order);
}

fn print_campaigns(points: &[Point]) {
    println!(
        "\n| campaigns | CPU µs a record | the graph | deciding | bytes a customer | decisions | CPU µs a decision more |"
    );
    println!("|---|---|---|---|---|---|---|");
    for point in points {
        let (first, total) = (&points[0], |point: &Point| point.spent.total_s * 1e6);
        let more = (total(point) - total(first)) / point.decisions.saturating_sub(first.decisions) as f64;
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {:.0} | {} | {} |",
            point.campaigns,
            point.cpu_us(|spent| spent.total_s),
            point.cpu_us(|spent| spent.working_s),
            point.cpu_us(|spent| spent.deciding_s),
            point.bytes_a_customer(),
            grouped(point.decisions),
            if more.is_finite() { format!("{more:.1}") } else { String::new() }
        );
    }
}

/// Fails when a curve is not flat.
fn judge(points: &[Point]) -> anyhow::Result<()> {
    let [smallest, .., largest] = points else { return Ok(()) };
    let grows = largest.cpu_us(|spent| spent.total_s) / smallest.cpu_us(|spent| spent.total_s);
    let bytes = || points.iter().map(Point::bytes_a_customer);
    let differs = bytes().fold(0.0, f64::max) / bytes().fold(f64::INFINITY, f64::min);
    println!(
        "\nFrom {} to {} customers a record costs {grows:.2} times as much; the memory a customer takes differs {differs:.2}-fold.",
        grouped(smallest.customers),
        grouped(largest.customers)
    );
    ensure!(grows <= COST_GROWS_MOST, "the cost of a record grows with the number of customers");
    ensure!(differs <= MEMORY_DIFFERS_MOST, "the memory that a customer takes depends on how many there are");
    Ok(())
}
