//! `beckon reconcile`: an export of the truth against what is maintained, and records that make it equal (SPEC §7). At once, or each day
//! when the quiet hours begin.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use beckon_dataflows::model::{Stream, Tick};
use jiff::{Timestamp, ToSpan};
use serde_json::Value;

use super::run::wall_clock;
use crate::cluster::Share;
use crate::config::{Config, Purpose, QuietHours, TriggerKinds};
use crate::json_lines::JsonLines;
use crate::pipeline::reconcile::{Comparison, Reconciled, STREAMS};
use crate::source::kafka::Extent;
use crate::source::{self, Partition};
use crate::web::publish::{Publish, Topic};

/// How often it is looked whether to end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The most corrections that are under way to the broker.
const UNDER_WAY_MAX: usize = 10_000;

/// The arguments of `beckon reconcile`.
#[derive(clap::Args)]
#[command(after_long_help = HELP)]
pub struct Arguments {
    /// The stream: inventory, carts or profiles
    #[arg(long, value_name = "STREAM", value_parser = stream)]
    stream: Stream,
    /// All rows that there are, as the stream's records: JSON lines, or CSV with a line of names (FILE.csv; not of carts)
    #[arg(long, value_name = "FILE")]
    truth: PathBuf,
    /// When the export was made (RFC 3339 or epoch ms); when the file was last changed, unless set. What the log has from after
    /// it stays
    #[arg(long, value_name = "TIME", value_parser = time)]
    as_of: Option<Tick>,
    /// Compare with the files of this directory, instead of with the configured topics
    #[arg(long, value_name = "DIR")]
    input: Option<PathBuf>,
    #[command(flatten)]
    file: super::ConfigFile,
    /// Write the corrections to the stream's topic; without it they are only shown
    #[arg(long)]
    apply: bool,
    /// Where the corrections go, one JSON object a line; - for standard output, which they go to unless applied
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The greatest share of what is maintained that the export may lack, in percent: one that was cut off would empty the shop
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100))]
    at_most: u32,
    /// Go on, and do it each day when the quiet hours of [limits] begin; the file is read anew each time
    #[arg(long)]
    in_quiet_hours: bool,
}

const HELP: &str = "\
Only what differs is written, dated when the export was made, so that a change after it goes before. A key that the export lacks is
set to nothing: no stock, no lines, a deleted profile.

Examples:
  beckon reconcile --stream inventory --truth stock.csv --config beckon.toml
  beckon reconcile --stream inventory --truth stock.csv --apply --config beckon.toml
  beckon reconcile --stream profiles --truth /exports/profiles.jsonl --apply --in-quiet-hours --config beckon.toml";

fn stream(text: &str) -> Result<Stream, String> {
    let known = STREAMS.into_iter().find(|stream| stream.name() == text);
    known.ok_or_else(|| format!("one of: {}", STREAMS.map(Stream::name).join(", ")))
}

fn time(text: &str) -> Result<Tick, String> {
    let read = |time: Timestamp| u64::try_from(time.as_millisecond()).ok();
    let time = text.parse().ok().or_else(|| text.parse::<Timestamp>().ok().and_then(read));
    time.ok_or_else(|| "a time of RFC 3339, or epoch ms".to_owned())
}

/// Compares, once or each day.
pub fn run(arguments: &Arguments, kinds: &TriggerKinds) -> anyhow::Result<()> {
    let config = arguments.file.load(Purpose::Replay, kinds)?;
    if !arguments.in_quiet_hours {
        return once(arguments, &config);
    }
    let quiet = config.limits.quiet_hours.as_ref().context("--in-quiet-hours needs quiet_hours in [limits]")?;
    let stop = Arc::new(AtomicBool::new(false));
    super::on_interrupt(stop.clone())?;
    loop {
        let next = next_start(quiet, Timestamp::now())?;
        eprintln!("the next comparison is at {next}");
        while Timestamp::now() < next {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        // An export that is not there tonight may be there tomorrow.
        if let Err(fault) = once(arguments, &config) {
            eprintln!("{fault:#}");
        }
    }
}

/// When the quiet hours begin next, after `now`.
fn next_start(quiet: &QuietHours, now: Timestamp) -> anyhow::Result<Timestamp> {
    let zone = &quiet.default_timezone;
    let today = zone.to_datetime(now).date();
    let begins = zone.to_timestamp(today.to_datetime(quiet.from))?;
    if begins > now {
        return Ok(begins);
    }
    Ok(zone.to_timestamp(today.checked_add(1.day())?.to_datetime(quiet.from))?)
}

fn once(arguments: &Arguments, config: &Config) -> anyhow::Result<()> {
    let as_of = arguments.as_of.map_or_else(|| changed_at(&arguments.truth), Ok)?;
    ensure!(as_of <= wall_clock(), "the export is from the future: set --as-of");
    let comparison =
        Comparison { stream: arguments.stream, truth: &arguments.truth, as_of, removed_percent_max: arguments.at_most };
    let come_to = comparison.run(log(arguments, config, &comparison)?)?;
    eprintln!("{}", said(&come_to, arguments.stream, as_of));
    if arguments.apply {
        apply(config, arguments.stream, &come_to.corrections)?;
        eprintln!("{} corrections are written", come_to.corrections.len());
    }
    let shown = arguments.output.as_deref().or_else(|| (!arguments.apply).then_some(Path::new("-")));
    shown.map_or(Ok(()), |path| show(path, &come_to.corrections))
}

fn changed_at(path: &Path) -> anyhow::Result<Tick> {
    let changed = std::fs::metadata(path).and_then(|file| file.modified());
    let changed = changed.with_context(|| format!("cannot read {}", path.display()))?;
    let since = changed.duration_since(UNIX_EPOCH).context("the file is older than any; set --as-of")?;
    Ok(u64::try_from(since.as_millis())?)
}

/// The partitions of the log that say anything about the stream.
fn log(arguments: &Arguments, config: &Config, comparison: &Comparison<'_>) -> anyhow::Result<Vec<Box<dyn Partition>>> {
    if let Some(directory) = &arguments.input {
        ensure!(!arguments.apply, "--apply writes to the topics, and --input compares with files: leave one out");
        let all = source::files::open(directory)?;
        return Ok(all.into_iter().filter(|partition| comparison.reads(partition.stream())).collect());
    }
    let kafka = config.kafka.as_ref().context("there is no [kafka] to compare with; or name files with --input DIR")?;
    let topics: Vec<_> = kafka.topics().into_iter().filter(|(stream, _)| comparison.reads(*stream)).collect();
    // Whoever reads it waits for the one partition that is next, and needs no waking.
    let (whole, wake) = (|_, _| None, Arc::new(|| ()));
    Ok(source::kafka::open(&kafka.brokers, &topics, Extent::Retained, Share::ALL, &whole, wake)?)
}

fn said(come_to: &Reconciled, stream: Stream, as_of: Tick) -> String {
    let Reconciled { maintained, in_truth, changed, added, removed, newer, corrections } = come_to;
    let corrected = corrections.len();
    format!(
        "{stream}: {maintained} maintained, {in_truth} in the export of {}: {corrected} differ ({changed} otherwise, {added} more, \
         {removed} fewer); {newer} are newer than the export, and stay",
        super::time(as_of)
    )
}

fn show(path: &Path, corrections: &[(String, Value)]) -> anyhow::Result<()> {
    let mut lines = JsonLines::create(path)?;
    corrections.iter().try_for_each(|(_, record)| lines.write(record))?;
    lines.flush()
}

/// Writes them to the stream's topic, and waits until the broker has all.
fn apply(config: &Config, stream: Stream, corrections: &[(String, Value)]) -> anyhow::Result<()> {
    let Some(kafka) = &config.kafka else { bail!("there is no [kafka] to write to") };
    let topic = Topic::open(&kafka.brokers, kafka.topic(stream)).context("a producer")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for some in corrections.chunks(UNDER_WAY_MAX) {
            let sent: Vec<_> =
                some.iter().map(|(key, record)| topic.publish(key, record.to_string().as_bytes())).collect();
            for one in sent {
                one.await.context(
                    "some corrections were written, and some not: run it again, it writes what still differs",
                )?;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use jiff::civil::time;
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn it_begins_with_the_quiet_hours_also_where_a_night_is_longer_or_shorter() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let quiet = QuietHours { from: time(21, 0, 0, 0), to: time(8, 0, 0, 0), default_timezone: berlin };
        let next = |now: &str| next_start(&quiet, now.parse().unwrap()).unwrap().to_string();
        assert_eq!(next("2026-01-01T12:00:00Z"), "2026-01-01T20:00:00Z");
        assert_eq!(next("2026-01-01T20:00:00Z"), "2026-01-02T20:00:00Z");
        // Summer time begins on the 29th.
        assert_eq!(next("2026-03-28T21:00:00Z"), "2026-03-29T19:00:00Z");
    }
}
