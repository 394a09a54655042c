//! The command line (SPEC §7). Progress goes to standard error, results to standard output; exit 0, 1 (failed) or 2 (bad use or
//! configuration).

mod against;
mod check;
mod cluster;
mod coupon;
mod decisions;
mod demo;
mod experiment;
mod explain;
mod ingest;
mod kpis;
mod preview;
mod reconcile;
mod replay;
mod run;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tracing_subscriber::EnvFilter;

use crate::cluster::{Cluster, HostsFault, Share};
use crate::config::{Config, Faults, Purpose, TriggerKind, TriggerKinds};
use crate::experiment::table::TableFault;
use crate::pipeline::reconcile::TruthFault;
use crate::reclock::{Notes, Timeline};
use crate::render::TemplateFaults;
use crate::source::kafka::Extent;
use crate::source::{self, Partition};

/// Decides, at the moment it matters, which customer of a shop gets which e-mail, and never sends one that has stopped being
/// true.
#[derive(Parser)]
#[command(name = "beckon", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  beckon demo                                  a shop, a broker and an ESP in this process; nothing to set up
  beckon check --config beckon.toml            every fault of a configuration, with its place
  datagen shop --out streams --for 2h          a simulated shop, as files
  beckon replay --input streams --config campaigns/beckon.toml --output decisions.jsonl
  beckon explain DECISION_ID --input streams --config campaigns/beckon.toml
  beckon preview welcome --sample --html welcome.html --config campaigns/all.toml
  beckon run --config beckon.toml              the live service, on Kafka
  beckon cluster --processes 4 --config beckon.toml      the same as four processes
  beckon ingest --config beckon.toml           what a shop's pages and servers tell, into Kafka
  beckon kpis --input streams --config campaigns/beckon.toml --until drain
  beckon experiment --input customers.csv --arm variant --control holdout --outcome bought revenue
  beckon reconcile --stream inventory --truth stock.csv --apply --config beckon.toml
  beckon coupon 05VG-0J6H-…                    whether the code of a discount is genuine";

#[derive(Subcommand)]
enum Command {
    /// A shop, a broker and an ESP in this process, and Beckon between them; nothing to set up
    Demo(demo::Arguments),
    /// The live service, on Kafka
    Run(run::Arguments),
    /// The live service as several processes of this machine, started again together when one ends
    Cluster(cluster::Arguments),
    /// Take a shop's messages in over HTTP and write them to Kafka, without deciding anything
    Ingest(ingest::Arguments),
    /// Decide from files, as fast as they can be read; nothing is sent
    Replay(replay::Arguments),
    /// Say why a decision was made: the gates asked, and the records that made it
    Explain(explain::Arguments),
    /// Show a campaign's mail, as a customer would get it
    Preview(preview::Arguments),
    /// What the live service decided, from its ledger, as a replay writes it
    Decisions(decisions::Arguments),
    /// What came of the decisions: what was sent, opened, clicked, ordered, beside those held out
    Kpis(kpis::Arguments),
    /// Compare the arms of an experiment, of any table: tests, intervals, whether the arms have the right sizes
    Experiment(experiment::Arguments),
    /// Check a configuration, its expressions and templates: every fault with its place
    Check(check::Arguments),
    /// Compare an export of the truth with what is maintained, and correct what differs
    Reconcile(reconcile::Arguments),
    /// Verify the code of a discount; exit 0 if it is genuine, 1 if it is not
    Coupon(coupon::Arguments),
}

/// The configuration file, which most commands take.
#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "beckon.toml")]
    config: PathBuf,
}

impl ConfigFile {
    /// Reads and checks it, for campaigns on the program's own triggers too.
    fn load(&self, purpose: Purpose, kinds: &TriggerKinds) -> Result<Config, Faults> {
        Config::load_with(&self.config, purpose, kinds)
    }
}

/// The log to be read from its beginning.
#[derive(clap::Args)]
struct Log {
    /// Directory of NAME.jsonl, NAME.jsonl.gz or NAME.jsonl.zst, one file a stream
    #[arg(long, value_name = "DIR", required_unless_present = "kafka")]
    input: Option<PathBuf>,
    /// Read what the configured topics retain, instead of files; records take effect when they did in the live run whose
    /// timeline is in the configured state folder
    #[arg(long, conflicts_with = "input")]
    kafka: bool,
}

impl Log {
    /// Its partitions, from their beginning.
    fn open(&self, config: &Config) -> anyhow::Result<Vec<Box<dyn Partition>>> {
        self.open_share(config, Share::ALL)
    }

    /// Those of its partitions that are in the `share`.
    fn open_share(&self, config: &Config, share: Share) -> anyhow::Result<Vec<Box<dyn Partition>>> {
        if let Some(directory) = &self.input {
            return Ok(share.of(source::files::open(directory)?));
        }
        let kafka = config.kafka.as_ref().context("--kafka needs [kafka] brokers in the configuration")?;
        // Whoever reads it waits for the one partition that is next, and needs no waking.
        let (whole, wake) = (|_, _| None, Arc::new(|| ()));
        Ok(source::kafka::open(&kafka.brokers, &kafka.topics(), Extent::Retained, share, &whole, wake)?)
    }

    /// What a live run noted of it; nothing of files.
    fn noted(&self, config: &Config) -> anyhow::Result<Notes> {
        Ok(if self.kafka { Timeline::read(&config.state)? } else { Notes::new() })
    }
}

/// Which process of a cluster this is, if of any.
#[derive(clap::Args)]
struct Place {
    /// Compute as process I, from 0, of a cluster; process 0 decides and sends
    #[arg(long, value_name = "I", requires = "hosts")]
    process: Option<usize>,
    /// The processes of the cluster, one host:port a line, the same file for all; line I is where process I listens
    #[arg(long, value_name = "FILE", requires = "process")]
    hosts: Option<PathBuf>,
}

impl Place {
    /// The cluster; none where this process is alone. Fails with every fault of the file of hosts.
    fn cluster(&self) -> Result<Option<Cluster>, HostsFault> {
        match (self.process, &self.hosts) {
            (Some(process), Some(hosts)) => Cluster::of(process, hosts).map(Some),
            _ => Ok(None),
        }
    }
}

/// A bar for work of which the share done is known, drawn by indicatif's `template`; hidden where it is to be `quiet`.
fn progress_bar(quiet: bool, template: &str) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(1000);
    // The templates are constants that the tests render.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Shows how far the work is, 0 to 1.
fn set_share(bar: &ProgressBar, share: f64) {
    bar.set_position((share * bar.length().unwrap_or(0) as f64) as u64);
}

/// A tick for people: RFC 3339 in UTC; in epoch ms what no calendar has.
fn time(tick_ms: u64) -> String {
    let time = i64::try_from(tick_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{tick_ms} ms"), |time| format!("{time:.3}"))
}

/// Sets `stop` on Ctrl-C or SIGTERM; a second one ends the process at once.
fn on_interrupt(stop: Arc<AtomicBool>) -> anyhow::Result<()> {
    ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(1);
        }
    })?;
    Ok(())
}

/// Runs the command that the process was given. What goes wrong on the way is logged to standard error, from warnings on or as
/// `RUST_LOG` says.
pub fn main() -> ExitCode {
    main_with(Vec::new())
}

/// [`main`], with triggers of your own beside those of SPEC §4: see [`crate::trigger`]. Ends with code 2 when one of them has a
/// name that cannot be, or that another has.
pub fn main_with(triggers: Vec<Box<dyn TriggerKind>>) -> ExitCode {
    crate::allocator::keep_memory();
    let kinds = match TriggerKinds::new(triggers) {
        Ok(kinds) => kinds,
        Err(fault) => {
            eprintln!("{fault}");
            return ExitCode::from(2);
        }
    };
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let done = match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Run(arguments) => run::run(&arguments, &kinds),
        Command::Cluster(arguments) => cluster::run(&arguments, &kinds),
        Command::Ingest(arguments) => ingest::run(&arguments, &kinds),
        Command::Replay(arguments) => replay::run(arguments, &kinds),
        Command::Explain(arguments) => explain::run(&arguments, &kinds),
        Command::Preview(arguments) => preview::run(&arguments, &kinds),
        Command::Decisions(arguments) => decisions::run(&arguments, &kinds),
        Command::Kpis(arguments) => kpis::run(&arguments, &kinds),
        Command::Experiment(arguments) => experiment::run(&arguments),
        Command::Check(arguments) => check::run(&arguments, &kinds),
        Command::Reconcile(arguments) => reconcile::run(&arguments, &kinds),
        Command::Coupon(arguments) => coupon::run(&arguments, &kinds),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            let is_table = error.downcast_ref().is_some_and(TableFault::is_bad_use);
            let is_bad_use = error.is::<TruthFault>()
                || error.is::<Faults>()
                || error.is::<TemplateFaults>()
                || error.is::<HostsFault>()
                || is_table;
            ExitCode::from(if is_bad_use { 2 } else { 1 })
        }
    }
}
