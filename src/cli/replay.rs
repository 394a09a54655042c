//! `beckon replay`: decisions from files or retained topics, as fast as they can be read (SPEC §7).

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use beckon_dataflows::counts::Counts;
use beckon_dataflows::model::{Stream, Tick};

use super::against::Against;
use super::{progress_bar, set_share};
use crate::cluster::{self, Cluster, PEERS_WAIT, Share, file_of};
use crate::config::{Purpose, TriggerKinds};
use crate::decide::Decided;
use crate::json_lines::JsonLines;
use crate::kpis::Reader;
use crate::meter::Meter;
use crate::pipeline::lanes::{Bury, DeadLetter};
use crate::pipeline::record::Elsewhere;
use crate::pipeline::replay::{RECORDS_AN_ADVANCE, Replay, Until};
use crate::pipeline::{Act, View, measure, wiring};

/// The arguments of `beckon replay`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    log: super::Log,
    #[command(flatten)]
    file: super::ConfigFile,
    /// Where the decisions go, one JSON object a line; - for standard output. In a cluster only process 0 writes it
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Worker threads of the dataflow; in a cluster of each process, and the same number in all
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    #[command(flatten)]
    place: super::Place,
    /// How far: to the last event, or on until no deadline is pending (drain), or to a time (RFC 3339 or epoch ms)
    #[arg(long, value_name = "drain|TIME")]
    until: Option<Until>,
    /// Where records go that cannot be used, with their place and the reason, one JSON object a line; process I of a cluster
    /// writes a file of its own beside it, NAME-I.jsonl
    #[arg(long, value_name = "FILE")]
    dead_letters: Option<PathBuf>,
    /// Decisions of an earlier replay; a summary of what differs goes to standard output
    #[arg(long, value_name = "OLD.jsonl")]
    against: Option<PathBuf>,
    /// Where the KPIs of the decisions go, one JSON object, as GET /v1/kpis answers it; - for standard output
    #[arg(long, value_name = "FILE", conflicts_with = "process")]
    kpis: Option<PathBuf>,
    /// Print no progress and no summary
    #[arg(long)]
    quiet: bool,
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Until, String> {
        if text == "drain" {
            return Ok(Until::Drain);
        }
        let time = text.parse::<u64>().ok().or_else(|| {
            let time: jiff::Timestamp = text.parse().ok()?;
            u64::try_from(time.as_millisecond()).ok()
        });
        time.map(Until::Time).ok_or_else(|| "neither `drain` nor a time such as 2026-01-01T10:00:00Z".into())
    }
}

/// Replays.
pub fn run(arguments: Arguments, kinds: &TriggerKinds) -> anyhow::Result<()> {
    let config = arguments.file.load(Purpose::Replay, kinds)?;
    let cluster = arguments.place.cluster()?;
    cluster.iter().for_each(cluster::end_with_peers);
    let partitions = arguments.log.open_share(&config, cluster.as_ref().map_or(Share::ALL, Cluster::share))?;
    let decides = cluster.as_ref().is_none_or(Cluster::decides);
    let against = arguments.against.as_deref().filter(|_| decides).map(Against::read).transpose()?;
    let against = against.map(|against| Arc::new(Mutex::new(against)));
    let meter = Arc::new(Meter::default());
    let kpis = arguments.kpis.as_ref().map(|_| Reader::of(&config));
    let plan = wiring::plan(&config);
    let plan = if kpis.is_some() { wiring::measured(plan, &config) } else { plan };
    let replay = Replay {
        workers: arguments.workers.into(),
        decoders: std::thread::available_parallelism().map_or(1, usize::from),
        plan,
        decider: wiring::decider(&config),
        allowed_lateness_ms: config.allowed_lateness_ms,
        until: arguments.until.unwrap_or(Until::LastEvent),
        noted: arguments.log.noted(&config)?,
        advance_after: RECORDS_AN_ADVANCE,
        meter: meter.clone(),
    };
    let letters = arguments.dead_letters.map(|path| file_of(&path, cluster.as_ref().map_or(0, Cluster::process)));
    let bury = bury(letters.as_ref())?;
    let peers =
        cluster.as_ref().map(|it| it.connect(wiring::terms(&config, arguments.workers.into()), &[], PEERS_WAIT));
    let peers = peers.transpose()?;
    let (bar, began) = (
        progress_bar(arguments.quiet, "replay {bar:40} {percent:>3}%  {msg}  {elapsed} (still {eta})"),
        Instant::now(),
    );
    let progress = |share: f64| {
        set_share(&bar, share);
        bar.set_message(format!("{} records", meter.records()));
    };
    let writer = || -> anyhow::Result<Box<dyn Act>> {
        let writer = Writer { lines: JsonLines::create(&arguments.output)?, against: against.clone() };
        let Some(reader) = &kpis else { return Ok(Box::new(writer)) };
        let plan = wiring::measured(wiring::plan(&config), &config);
        Ok(Box::new(measure::Setup::of(reader).measure(&plan, writer)?))
    };
    let counts = match peers {
        None => replay.run(partitions, writer()?, bury, progress)?,
        Some(peers) if decides => replay.run_among(peers, partitions, writer()?, bury, progress)?,
        Some(peers) => replay.run_among(peers, partitions, Elsewhere, bury, progress)?,
    };
    bar.finish_and_clear();
    if let (Some(path), Some(reader)) = (&arguments.kpis, &kpis) {
        let mut lines = JsonLines::create(path)?;
        lines.write(&reader.report())?;
        lines.flush()?;
    }
    if let Some(against) = against {
        let mut against = against.lock().unwrap_or_else(PoisonError::into_inner);
        against.finish();
        print!("{against}");
    }
    if !arguments.quiet {
        eprint!("{}", Summary { meter: &meter, counts: &counts, took: began.elapsed() });
    }
    Ok(())
}

/// Writes decisions, one a line.
struct Writer {
    lines: JsonLines,
    against: Option<Arc<Mutex<Against>>>,
}

impl Act for Writer {
    fn decided(&mut self, _tick: Tick, decided: Vec<Decided>, _view: &View<'_>) -> anyhow::Result<()> {
        for (decision, _) in decided {
            if let Some(against) = &self.against {
                against.lock().unwrap_or_else(PoisonError::into_inner).compare(&decision);
            }
            self.lines.write(&decision)?;
        }
        Ok(())
    }

    fn closed(&mut self, upper: Option<Tick>, _view: &View<'_>) -> anyhow::Result<()> {
        if upper.is_none() { self.lines.flush() } else { Ok(()) }
    }
}

/// Where dead letters go: to a file where one is named; they are counted in any case.
fn bury(path: Option<&PathBuf>) -> anyhow::Result<Bury<'static>> {
    let Some(path) = path else { return Ok(Box::new(|_| Ok(()))) };
    let mut lines = JsonLines::create(path)?;
    Ok(Box::new(move |letter: DeadLetter| {
        lines.write(&letter.json())?;
        lines.flush()
    }))
}

/// What a replay did.
struct Summary<'s> {
    meter: &'s Meter,
    counts: &'s Counts,
    took: Duration,
}

impl std::fmt::Display for Summary<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (records, seconds) = (self.meter.records(), self.took.as_secs_f64());
        writeln!(out, "{records} records in {seconds:.2} s, {:.0} a second", records as f64 / seconds.max(1e-9))?;
        for stream in Stream::ALL {
            let (stale, duplicates) = (self.counts.stale_records(stream), self.counts.duplicate_records(stream));
            writeln!(
                out,
                "  {stream:<12} {:>10}  {stale} stale, {duplicates} duplicate",
                self.meter.records_of(stream)
            )?;
        }
        writeln!(out, "{} late", self.meter.late_records())?;
        for ((stream, kind), count) in self.meter.bad_records() {
            writeln!(out, "{count} bad: {stream}, {kind}")?;
        }
        for (campaign, (count, why)) in self.meter.undecided_conditions() {
            writeln!(out, "{count} conditions of {campaign} taken for false; the last: {why}")?;
        }
        for ((outcome, reason), count) in self.meter.decisions() {
            writeln!(
                out,
                "{count} {}{}",
                outcome.name(),
                reason.map(|r| format!(", {}", r.name())).unwrap_or_default()
            )?;
        }
        Ok(())
    }
}
