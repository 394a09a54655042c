//! `beckon check`: every fault of a configuration at once (SPEC §7).

use crate::config::{Purpose, TriggerKinds};
use crate::pipeline::compose;

/// The arguments of `beckon check`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    file: super::ConfigFile,
}

/// Reports the faults, or that there is none.
pub fn run(arguments: &Arguments, kinds: &TriggerKinds) -> anyhow::Result<()> {
    let config = arguments.file.load(Purpose::Check, kinds)?;
    compose::load_templates(&config)?;
    println!("{}: no fault; {} campaigns", config.file.display(), config.campaigns.len());
    Ok(())
}
