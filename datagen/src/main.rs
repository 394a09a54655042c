//! The `datagen` binary: reads the command line, runs it, and answers with an exit code (SPEC §7).

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    beckon_datagen::cli::run(beckon_datagen::cli::Cli::parse())
}
