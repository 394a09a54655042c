//! The command line (SPEC §7). In: arguments. Out: results on standard output, progress on standard error, and an exit
//! code: 0, 1 where something failed, 2 for bad use (which clap answers itself).

mod esp;
mod load;
mod meter;
mod otto;
mod shop;
mod stop;
mod values;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A shop that is not there, for Beckon: a seeded stream of visitors, carts, stock and orders, an ESP that fails on
/// purpose, and a load test of both.
#[derive(Debug, Parser)]
#[command(name = "datagen", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  datagen shop --out data --for 2h                 two hours of a shop, as files
  datagen shop --kafka localhost:9092 --live       a shop that is open now
  datagen esp --fail-429 0.02 --for 60s            an ESP on port 9090 that is busy now and then
  datagen load --rate 20000 --for 60s              how `beckon run` bears that, as a report
  datagen otto otto_sessions.jsonl.gz --out data   real sessions, as the same files

`datagen help COMMAND` has the options of each, and more examples.";

#[derive(Debug, Subcommand)]
enum Command {
    Shop(Box<shop::ShopArgs>),
    Esp(esp::EspArgs),
    Load(Box<load::LoadArgs>),
    Otto(otto::OttoArgs),
}

/// Runs a command; a failure is written to standard error.
pub fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Shop(args) => shop::run(*args),
        Command::Esp(args) => esp::run(args),
        Command::Load(args) => load::run(*args),
        Command::Otto(args) => otto::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("datagen: {error:#}");
            ExitCode::FAILURE
        }
    }
}
