//! `datagen otto`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::values;
use crate::files::{Compression, StreamFiles};
use crate::written::written_time;

/// Real sessions of the OTTO dataset, as files
///
/// Clicks become Product Viewed, carts become `carts`, orders become `orders`. Profiles that consent, a catalogue and
/// stock are made up, and stand a second before the first event.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct OttoArgs {
    /// Sessions, one a line: .jsonl or .jsonl.gz
    file: PathBuf,
    /// Write NAME.jsonl of every stream into this directory
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How the files are packed
    #[arg(long, value_enum, default_value = "none")]
    compress: Compression,
}

const EXAMPLES: &str = "\
Example:
  datagen otto otto_sessions.jsonl.gz --out data
  beckon replay --input data --config beckon.toml --output decisions.jsonl";

pub(super) fn run(args: OttoArgs) -> Result<()> {
    let events = crate::otto::read_file(&args.file)?;
    let mut files = StreamFiles::create(&args.out, args.compress)?;
    for event in &events {
        files.write(event)?;
    }
    let mut result = values::table(&files.finish()?);
    if let (Some(first), Some(last)) = (events.first(), events.last()) {
        result += &format!("{} to {}\n", written_time(first.time_ms), written_time(last.time_ms));
    }
    values::print(&result)
}
