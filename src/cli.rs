//! The command line (SPEC §7). Progress goes to standard error, results to standard output; exit 0, 1 (failed) or 2 (bad use or
//! configuration).

mod check;
mod replay;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Faults;

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
  beckon run --config beckon.toml              the live service, on Kafka";

#[derive(Subcommand)]
enum Command {
    /// Decide from files, as fast as they can be read; nothing is sent
    Replay(replay::Arguments),
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

/// Runs the command that the process was given.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Replay(arguments) => replay::run(arguments),
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
