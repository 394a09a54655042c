//! The command line (SPEC §7). Progress goes to standard error, results to standard output; exit 0, 1 (failed) or 2 (bad use or
//! configuration).

mod against;
mod check;
mod demo;
mod explain;
mod replay;
mod run;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, Faults};
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
  beckon run --config beckon.toml              the live service, on Kafka";

#[derive(Subcommand)]
enum Command {
    /// A shop, a broker and an ESP in this process, and Beckon between them; nothing to set up
    Demo(demo::Arguments),
    /// The live service, on Kafka
    Run(run::Arguments),
    /// Decide from files, as fast as they can be read; nothing is sent
    Replay(replay::Arguments),
    /// Say why a decision was made: the gates asked, and the records that made it
    Explain(explain::Arguments),
    /// Check a configuration, its expressions and templates: every fault with its place
    Check(check::Arguments),
}

/// The configuration file, which most commands take.
#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "beckon.toml")]
    config: PathBuf,
}

/// The log to be read from its beginning.
#[derive(clap::Args)]
struct Log {
    /// Directory of NAME.jsonl, NAME.jsonl.gz or NAME.jsonl.zst, one file a stream
    #[arg(long, value_name = "DIR", required_unless_present = "kafka")]
    input: Option<PathBuf>,
    /// Read what the configured topics retain, instead of files
    #[arg(long, conflicts_with = "input")]
    kafka: bool,
}

impl Log {
    /// Its partitions, from their beginning.
    fn open(&self, config: &Config) -> anyhow::Result<Vec<Box<dyn Partition>>> {
        if let Some(directory) = &self.input {
            return Ok(source::files::open(directory)?);
        }
        let kafka = config.kafka.as_ref().context("--kafka needs [kafka] brokers in the configuration")?;
        // Whoever reads it waits for the one partition that is next, and needs no waking.
        Ok(source::kafka::open(&kafka.brokers, &kafka.topics(), Extent::Retained, Arc::new(|| ()))?)
    }
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
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let done = match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Replay(arguments) => replay::run(arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(if error.is::<Faults>() { 2 } else { 1 })
        }
    }
}
