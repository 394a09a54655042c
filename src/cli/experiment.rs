//! `beckon experiment`: the statistics of SPEC §9 on any table.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};

use crate::experiment::table::{Asked, OfArm, OfOutcome, Report, report};
use crate::experiment::{Comparison, Interval, NARROWEST_AT, Outcome, SampleRatio};

/// The arguments of `beckon experiment`.
#[derive(clap::Args)]
#[command(after_long_help = HELP)]
pub struct Arguments {
    /// The table: CSV with a header, one row a customer; - for standard input
    #[arg(long, value_name = "FILE.csv")]
    input: PathBuf,
    /// The column that says in which arm a customer is
    #[arg(long, value_name = "COL")]
    arm: String,
    /// The arm that the others are compared with
    #[arg(long, value_name = "NAME")]
    control: String,
    /// The columns of the outcomes: all 0 and 1 (or false and true) for a rate, else any numbers
    #[arg(long = "outcome", value_name = "COL", num_args = 1.., required = true)]
    outcomes: Vec<String>,
    /// The arms' shares, by which their sizes are checked; all the same unless set
    #[arg(long, value_name = "ARM=WEIGHT", value_delimiter = ',')]
    weights: Vec<Weight>,
    /// At how many customers of two arms the intervals for any time are narrowest: to be chosen before anything is seen
    #[arg(long, value_name = "N", default_value_t = NARROWEST_AT as u64, value_parser = clap::value_parser!(u64).range(1..))]
    narrowest_at: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Rates are compared by the pooled z-test of two proportions, means by Welch's t-test; intervals are of 95 %. Where
the arms have not the sizes that their weights give them (chi-square, p < 0.001), nothing is to be believed.

The interval and p of one look hold for who looks once. Those for any time hold for who looks again and again
and stops when it pleases: asymptotic confidence sequences (Waudby-Smith et al. 2024, arXiv:2103.06476).

Examples:
  beckon experiment --input customers.csv --arm variant --control holdout --outcome bought revenue
  beckon experiment --input - --arm variant --control a --outcome bought --weights a=1,b=1,c=2 --json";

/// An arm's share.
#[derive(Clone, Debug)]
struct Weight(String, f64);

impl FromStr for Weight {
    type Err = String;

    fn from_str(text: &str) -> Result<Weight, String> {
        let parts = text.rsplit_once('=').and_then(|(arm, weight)| Some((arm, weight.parse::<f64>().ok()?)));
        match parts.filter(|(_, weight)| weight.is_finite() && *weight >= 0.0) {
            Some((arm, weight)) => Ok(Weight(arm.to_owned(), weight)),
            None => Err("not an arm and its share, such as b=2".into()),
        }
    }
}

/// Compares.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let asked = Asked {
        arm: arguments.arm.clone(),
        control: arguments.control.clone(),
        outcomes: arguments.outcomes.clone(),
        weights: arguments.weights.iter().map(|Weight(arm, weight)| (arm.clone(), *weight)).collect(),
        narrowest_at: arguments.narrowest_at as f64,
    };
    let name = arguments.input.display();
    let report = report(opened(&arguments.input)?, &asked).with_context(|| format!("{name}"))?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    show(&report);
    Ok(())
}

fn opened(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    Ok(Box::new(File::open(path).with_context(|| format!("cannot read {}", path.display()))?))
}

fn show(report: &Report) {
    if let Some(ratio) = &report.sample_ratio {
        println!("{}\n", told(ratio));
    }
    let mut table = compared(&format!("against {}", report.control));
    for OfOutcome { outcome, kind, arms } in &report.outcomes {
        for OfArm { arm, comparison } in arms {
            add(&mut table, &[outcome.clone(), arm.clone()], *kind, comparison);
        }
    }
    println!("{table}");
    if report.outcomes.iter().flat_map(|it| &it.arms).any(|it| it.comparison.is_sparse) {
        println!("{SPARSE}");
    }
}

/// What is said where a row is marked.
pub(super) const SPARSE: &str = "* too few to trust the normal distribution, on which tests and intervals rest";

/// The sample-ratio check, for people.
pub(super) fn told(ratio: &SampleRatio) -> String {
    let sizes: Vec<String> = ratio.arms.iter().map(|arm| format!("{} {}", arm.name, arm.n)).collect();
    let verdict = if ratio.is_mismatch {
        "NOT as they should be: something sorts customers into or out of an arm, and no comparison is to be believed"
    } else {
        "as they should be"
    };
    format!("sizes: {}; chi-square {:.2}, p {}: {verdict}", sizes.join(", "), ratio.chi_square, p(ratio.p))
}

/// A table of comparisons, whose first columns say of what.
pub(super) fn compared(against: &str) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let header = [against, "arm", "n", "mean", "control", "lift", "95 %", "relative", "95 %", "p", "at any time", "p"];
    table.set_header(header);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Adds a comparison.
pub(super) fn add(table: &mut Table, of: &[String; 2], kind: Outcome, comparison: &Comparison) {
    let Comparison { treated, control, absolute, relative, test, anytime, is_sparse } = comparison;
    let value = |value: f64| number(kind, value);
    let interval = |it: Option<Interval>| it.map_or_else(none, |it| format!("{} … {}", value(it.low), value(it.high)));
    let shares = |it: Interval| format!("{:+.1} … {:+.1} %", 100.0 * it.low, 100.0 * it.high);
    let mark = if *is_sparse { " *" } else { "" };
    table.add_row([
        of[0].clone(),
        format!("{}{mark}", of[1]),
        treated.n.to_string(),
        value(treated.mean),
        value(control.mean),
        absolute.map_or_else(none, |lift| value(lift.estimate)),
        interval(absolute.and_then(|lift| lift.interval)),
        relative.map_or_else(none, |lift| format!("{:+.1} %", 100.0 * lift.estimate)),
        relative.and_then(|lift| lift.interval).map_or_else(none, shares),
        test.map_or_else(none, |test| p(test.p)),
        interval(anytime.map(|anytime| anytime.interval)),
        anytime.map_or_else(none, |anytime| p(anytime.p)),
    ]);
}

fn none() -> String {
    "—".into()
}

/// A rate in percent, a mean with two digits.
fn number(kind: Outcome, value: f64) -> String {
    match kind {
        Outcome::Rate => format!("{:.2} %", 100.0 * value),
        Outcome::Mean => format!("{value:.2}"),
    }
}

/// A p, as people write it.
fn p(p: f64) -> String {
    if p < 0.0001 { "< 0.0001".into() } else { format!("{p:.4}") }
}
