//! `beckon kpis`: what came of the decisions (SPEC §9), from the log, and with the ledger from what was decided and delivered.

use std::sync::Arc;

use beckon_dataflows::kpis::Measure;
use comfy_table::{CellAlignment, Table, presets};

use super::experiment::{SPARSE, add, compared, told};
use super::{progress_bar, set_share};
use crate::config::{Config, Purpose, TriggerKinds};
use crate::experiment::Outcome;
use crate::kpis::{CampaignReport, Figures, Reader, Report};
use crate::ledger::Ledger;
use crate::meter::Meter;
use crate::pipeline::record::Elsewhere;
use crate::pipeline::replay::{RECORDS_AN_ADVANCE, Replay, Until};
use crate::pipeline::{measure, wiring};

/// The arguments of `beckon kpis`.
#[derive(clap::Args)]
#[command(after_long_help = HELP)]
pub struct Arguments {
    #[command(flatten)]
    log: super::Log,
    #[command(flatten)]
    file: super::ConfigFile,
    /// Take what was decided and delivered from the ledger in the configured state folder, while the service is stopped; without
    /// it, decisions are what the log gives, and nothing was sent
    #[arg(long)]
    ledger: bool,
    /// How far: to the last event, or on until no deadline is pending (drain), or to a time (RFC 3339 or epoch ms)
    #[arg(long, value_name = "drain|TIME")]
    until: Option<Until>,
    /// Worker threads of the replay
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Show each day of decisions too
    #[arg(long)]
    days: bool,
    /// Print one JSON object, as GET /v1/kpis answers it
    #[arg(long)]
    json: bool,
    /// Print no progress
    #[arg(long)]
    quiet: bool,
}

const HELP: &str = "\
A running service maintains its KPIs itself: GET /v1/kpis, with the token that `api_token_env` in [web] names.

Examples:
  beckon kpis --input streams --config campaigns/beckon.toml --until drain
  beckon kpis --kafka --ledger --days --config beckon.toml";

/// Replays, and shows what came of it.
pub fn run(arguments: &Arguments, kinds: &TriggerKinds) -> anyhow::Result<()> {
    let config = arguments.file.load(Purpose::Replay, kinds)?;
    let reader = replayed(arguments, &config)?;
    let report = reader.report();
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        show(&report, arguments.days);
    }
    Ok(())
}

fn replayed(arguments: &Arguments, config: &Config) -> anyhow::Result<Reader> {
    let plan = wiring::measured(wiring::plan(config), config);
    let reader = Reader::of(config);
    let setup = if arguments.ledger {
        let ledger = Arc::new(Ledger::open_existing(&config.state)?);
        measure::Setup::of_ledger(&reader, &ledger, u64::MAX)?
    } else {
        measure::Setup::of(&reader)
    };
    let measuring = setup.measure(&plan, Elsewhere)?;
    let replay = Replay {
        workers: arguments.workers.into(),
        decoders: std::thread::available_parallelism().map_or(1, usize::from),
        plan,
        decider: wiring::decider(config),
        allowed_lateness_ms: config.allowed_lateness_ms,
        until: arguments.until.unwrap_or(Until::LastEvent),
        noted: arguments.log.noted(config)?,
        advance_after: RECORDS_AN_ADVANCE,
        meter: Arc::new(Meter::default()),
    };
    let bar = progress_bar(arguments.quiet, "kpis {bar:40} {percent:>3}%  {elapsed} (still {eta})");
    let partitions = arguments.log.open(config)?;
    replay.run(partitions, measuring, Box::new(|_| Ok(())), |share| set_share(&bar, share))?;
    bar.finish_and_clear();
    Ok(reader)
}

/// Shows a report, with `days` each day too.
pub(super) fn show(report: &Report, days: bool) {
    println!("KPIs as of {}; an order counts for {} h", report.as_of, report.attribution_ms / 3_600_000);
    let mut table = figures();
    for campaign in &report.campaigns {
        for arm in &campaign.arms {
            table.add_row(row(&campaign.campaign, &arm.arm, &arm.whole));
            for day in arm.days.iter().filter(|_| days) {
                table.add_row(row("", &day.day, &day.figures));
            }
        }
    }
    println!("{table}");
    for campaign in report.campaigns.iter().filter(|campaign| !campaign.against_holdout.is_empty()) {
        show_against_holdout(campaign);
    }
}

fn figures() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "campaign",
        "arm",
        "decided",
        "sent",
        "delivered",
        "opened",
        "clicked",
        "of opened",
        "bounced",
        "spam",
        "unsubscribed",
        "converted",
        "rate",
        "revenue",
        "each",
    ]);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(campaign: &str, arm: &str, figures: &Figures) -> Vec<String> {
    let count = |measure| figures.count(measure).to_string();
    let rate = |one, of| figures.rate(one, of).map_or_else(|| "—".into(), |rate| format!("{:.2} %", 100.0 * rate));
    vec![
        campaign.to_owned(),
        arm.to_owned(),
        count(Measure::Decided),
        count(Measure::Sent),
        count(Measure::Delivered),
        rate(Measure::Opened, Measure::Delivered),
        rate(Measure::Clicked, Measure::Delivered),
        rate(Measure::Clicked, Measure::Opened),
        count(Measure::Bounced),
        count(Measure::Complained),
        count(Measure::Unsubscribed),
        count(Measure::Converted),
        rate(Measure::Converted, Measure::Decided),
        format!("{:.2}", figures.revenue()),
        figures.revenue_per_decided().map_or_else(|| "—".into(), |each| format!("{each:.2}")),
    ]
}

fn show_against_holdout(campaign: &CampaignReport) {
    println!("\n{}", campaign.campaign);
    if let Some(ratio) = &campaign.sample_ratio {
        println!("{}", told(ratio));
    }
    let mut table = compared("against the holdout");
    for against in &campaign.against_holdout {
        let of = |outcome: &str| [outcome.to_owned(), against.arm.clone()];
        add(&mut table, &of("conversion"), Outcome::Rate, &against.conversion);
        add(&mut table, &of("revenue, each"), Outcome::Mean, &against.revenue);
    }
    println!("{table}");
    if campaign.against_holdout.iter().any(|it| it.conversion.is_sparse || it.revenue.is_sparse) {
        println!("{SPARSE}");
    }
}
