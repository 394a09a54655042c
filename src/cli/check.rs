//! `beckon check`: every fault of a configuration at once (SPEC §7).

use crate::config::{Config, Purpose};

/// The arguments of `beckon check`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    file: super::ConfigFile,
}

/// Reports the faults, or that there is none.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.file.config, Purpose::Check)?;
    println!("{}: no fault; {} campaigns", config.file.display(), config.campaigns.len());
    Ok(())
}
