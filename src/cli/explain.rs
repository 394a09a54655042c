//! `beckon explain`: the records that made a decision, as of its tick, and the gates' answers (SPEC §7).

mod story;

use indicatif::ProgressBar;

use super::{progress_bar, set_share};
use crate::config::{Purpose, TriggerKinds};
use crate::decision::DecisionId;
use crate::pipeline::explain::{Explain, Step};
use story::Story;

/// The arguments of `beckon explain`.
#[derive(clap::Args)]
#[command(after_long_help = HELP)]
pub struct Arguments {
    /// The decision: the decision_id of a replay's output, of an engagement record, or of a mail's Idempotency-Key
    #[arg(value_name = "DECISION_ID")]
    id: DecisionId,
    #[command(flatten)]
    log: super::Log,
    #[command(flatten)]
    file: super::ConfigFile,
    /// Print one JSON object instead of a story
    #[arg(long)]
    json: bool,
    /// Worker threads of the replay that looks for the decision
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// How many runs may be tried to find the fewest records; 0 lists all that can have had a say
    #[arg(long, value_name = "N", default_value_t = 2000)]
    trials: usize,
    /// Print no progress
    #[arg(long)]
    quiet: bool,
}

const HELP: &str = "\
The log is replayed until the decision is made again. Then the records of its customer, and of
the products that they touched, are run alone, and taken away one after the other as long as the
very same decision comes out. Those that are left made it: without any one of them it would be
another, or none, or made for another reason.

It needs the configuration that decided, with --kafka also its state folder, which says when late
records took effect; no service, no ledger. It explains what the log still retains, also after a
restart. Where other customers had a say, as in a stock
budget, their records are among those shown.

Examples:
  beckon explain 0123456789abcdef0123456789abcdef --input streams --config beckon.toml
  beckon explain 0123456789abcdef0123456789abcdef --kafka --json | jq .records";

/// Explains.
pub fn run(arguments: &Arguments, kinds: &TriggerKinds) -> anyhow::Result<()> {
    let config = arguments.file.load(Purpose::Replay, kinds)?;
    let explain = Explain {
        config: &config,
        id: arguments.id,
        workers: arguments.workers.into(),
        trials_max: arguments.trials,
        noted: arguments.log.noted(&config)?,
        open: &|| arguments.log.open(&config),
    };
    let bar = progress_bar(arguments.quiet, "explain {bar:40} {percent:>3}%  {msg}  {elapsed}");
    let explanation = explain.run(&mut |step| show(&bar, step));
    bar.finish_and_clear();
    let explanation = explanation?;
    if arguments.json {
        println!("{}", serde_json::to_string(&explanation)?);
    } else {
        print!("{}", Story { explanation: &explanation, is_files: arguments.log.input.is_some() });
    }
    Ok(())
}

fn show(bar: &ProgressBar, step: Step) {
    let (share, message) = match step {
        Step::Finding(share) => (share, "looking for the decision".to_owned()),
        Step::Gathering(1, share) => (share, "reading its records".to_owned()),
        Step::Gathering(round, share) => (share, format!("reading its records, {round}. time")),
        Step::Trying(trials, left) => (1.0, format!("run {trials}, {left} records left")),
    };
    set_share(bar, share);
    bar.set_message(message);
}
