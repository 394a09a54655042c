//! `beckon decisions`: what the live service decided, from its ledger, as `beckon replay` writes it. So that
//! `beckon replay --kafka --against` can say whether the same log still gives the same.

use std::path::PathBuf;

use crate::config::{Purpose, TriggerKinds};
use crate::json_lines::JsonLines;
use crate::ledger::Ledger;

/// The arguments of `beckon decisions`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    file: super::ConfigFile,
    /// Where the decisions go, one JSON object a line; - for standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

/// Writes them out.
pub fn run(arguments: &Arguments, kinds: &TriggerKinds) -> anyhow::Result<()> {
    let config = arguments.file.load(Purpose::Replay, kinds)?;
    let decisions = Ledger::open_existing(&config.state)?.decisions()?;
    let mut lines = JsonLines::create(&arguments.output)?;
    decisions.iter().try_for_each(|decision| lines.write(decision))?;
    lines.flush()
}
