//! How the service does, for `/metrics` and `/readyz` (SPEC §8). In: its readings, its ledger, its folder of snapshots, its queues. Out:
//! gauges as of now, and what must be so before traffic is sent to it. Cannot fail: what cannot be read is not told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use beckon_dataflows::model::Stream;

use super::footprint;
use super::live::WallClock;
use super::service::Readings;
use crate::config::Config;
use crate::decision::{DeliveryState, Outcome, Reason};
use crate::ledger::Ledger;
use crate::web::Queue;
use crate::web::vitals::{Check, Vitals};
use crate::web::{broker, vitals};

/// How far the newest closed tick may be behind the clock beyond what is always waited for, before the service is not ready.
const TICK_LAG_MS: u64 = 30_000;

/// What an ESP can be heard to say.
const ANSWERS: [&str; 6] = ["accepted", "refused", "denied", "not_sent", "throttled", "unknown"];

/// Why a record can be a dead letter.
const DEAD: [&str; 9] =
    ["empty", "too_large", "not_utf8", "not_json", "wrong_type", "missing", "absurd_time", "bad_money", "collision"];

/// What of a service is watched.
pub struct Watched {
    /// Its readings; none of one that only collects.
    pub readings: Option<Readings>,
    /// The room of each queue, by name.
    pub queues: Vec<(&'static str, Queue)>,
}

/// What is told and asked of a service with this configuration. Fails when there can be no client of the broker.
pub fn of(config: &Config, watched: Watched) -> anyhow::Result<Vitals> {
    let Watched { readings, queues } = watched;
    begin(config);
    let mut checks = Vec::new();
    if let Some(kafka) = &config.kafka {
        let collects = config.collect.is_some().then_some([Stream::Clickstream, Stream::Profiles]);
        let streams = if readings.is_some() { Stream::ALL.to_vec() } else { collects.into_iter().flatten().collect() };
        let topics = streams.into_iter().map(|stream| kafka.topic(stream).to_owned());
        checks.push(broker::check(&kafka.brokers, topics.collect())?);
    }
    if let Some(readings) = &readings {
        let most_ms = TICK_LAG_MS + config.allowed_lateness_ms + config.idle_after_ms + config.tick_ms;
        checks.push(ticks(readings.clone(), most_ms));
        checks.extend(readings.ledger().map(ledger));
    }
    let campaigns = config.campaigns.iter().map(|campaign| campaign.name.clone()).collect();
    let sampling = Sampling { readings, queues, campaigns, snapshots: config.state.join("snapshots") };
    Ok(Vitals { sample: Box::new(move || sampling.sample()), checks })
}

/// Closed ticks advance.
fn ticks(readings: Readings, most_ms: u64) -> Check {
    let ask = move || {
        let lag_ms = (readings.clock)().saturating_sub(readings.meter.as_of());
        let fault = (lag_ms > most_ms).then(|| format!("the newest closed tick is {lag_ms} ms behind"));
        Box::pin(async move { fault.map_or(Ok(()), Err) }) as vitals::Checked
    };
    Check { name: "ticks", ask: Box::new(ask) }
}

/// The ledger can be written.
fn ledger(ledger: std::sync::Arc<Ledger>) -> Check {
    let ask = move || {
        let ledger = ledger.clone();
        Box::pin(async move { ledger.probe().await.map_err(|fault| fault.to_string()) }) as vitals::Checked
    };
    Check { name: "ledger", ask: Box::new(ask) }
}

/// Tells from the beginning what can happen and has not: what is first told when it happens has never risen.
fn begin(config: &Config) {
    for state in DeliveryState::ALL {
        metrics::counter!("beckon_delivery_states_total", "state" => state.name()).absolute(0);
    }
    for esp in &config.esps {
        for answer in ANSWERS {
            metrics::counter!("beckon_esp_answers_total", "esp" => esp.name.clone(), "answer" => answer).increment(0);
        }
    }
    for stream in Stream::ALL {
        for reason in DEAD {
            let counter = metrics::counter!("beckon_dead_letters_total", "stream" => stream.name(), "reason" => reason);
            counter.increment(0);
        }
    }
    let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
    metrics::gauge!("beckon_tick_seconds").set(seconds(config.tick_ms));
    metrics::gauge!("beckon_allowed_lateness_seconds").set(seconds(config.allowed_lateness_ms));
    metrics::counter!("beckon_deliveries_unanswered_total").increment(0);
    metrics::counter!("beckon_engagement_lost_total").increment(0);
}

/// What is read when somebody asks.
struct Sampling {
    readings: Option<Readings>,
    queues: Vec<(&'static str, Queue)>,
    campaigns: Vec<String>,
    snapshots: PathBuf,
}

impl Sampling {
    fn sample(&self) {
        footprint::sample();
        for (name, queue) in &self.queues {
            metrics::gauge!("beckon_waiting_bytes", "queue" => *name).set(queue.taken() as f64);
        }
        let Some(readings) = &self.readings else { return };
        records(readings);
        ticks_of(readings);
        decisions(readings);
        for (campaign, name) in (0..).zip(&self.campaigns) {
            let gauge = metrics::gauge!("beckon_trigger_set_episodes", "campaign" => name.clone());
            gauge.set(readings.episodes(campaign) as f64);
        }
        let deliveries = readings.deliveries().deliveries;
        for state in DeliveryState::ALL {
            let count = deliveries.get(&state).copied().unwrap_or(0);
            metrics::gauge!("beckon_deliveries", "state" => state.name()).set(count as f64);
        }
        metrics::gauge!("beckon_carts_open").set(readings.counts.carts_open() as f64);
        snapshots(&self.snapshots, &readings.clock);
    }
}

fn records(readings: &Readings) {
    let (meter, counts) = (&readings.meter, &readings.counts);
    for stream in Stream::ALL {
        let name = stream.name();
        metrics::counter!("beckon_records_total", "stream" => name).absolute(meter.records_of(stream));
        metrics::counter!("beckon_records_stale_total", "stream" => name).absolute(counts.stale_records(stream));
        let duplicates = metrics::counter!("beckon_records_duplicate_total", "stream" => name);
        duplicates.absolute(counts.duplicate_records(stream));
    }
    for ((stream, reason), count) in meter.bad_records() {
        let counter = metrics::counter!("beckon_dead_letters_total", "stream" => stream.name(), "reason" => reason);
        counter.absolute(count);
    }
    metrics::counter!("beckon_records_late_total").absolute(meter.late_records());
    metrics::counter!("beckon_records_skewed_total").absolute(meter.skewed_records());
}

fn ticks_of(readings: &Readings) {
    let now_ms = (readings.clock)();
    let behind = |tick: u64| Duration::from_millis(now_ms.saturating_sub(tick)).as_secs_f64();
    let as_of = readings.meter.as_of();
    metrics::gauge!("beckon_tick_lag_seconds").set(behind(as_of));
    metrics::gauge!("beckon_tick_closed_seconds").set(Duration::from_millis(as_of).as_secs_f64());
    for ((stream, partition), open) in readings.meter.watermarks() {
        let partition = partition.to_string();
        let gauge =
            metrics::gauge!("beckon_watermark_lag_seconds", "stream" => stream.name(), "partition" => partition);
        gauge.set(behind(open));
    }
}

fn decisions(readings: &Readings) {
    let told = |outcome: Outcome, reason: Option<Reason>, count| {
        let reason = reason.map_or("none", Reason::name);
        let counter = metrics::counter!("beckon_decisions_total", "outcome" => outcome.name(), "reason" => reason);
        counter.absolute(count);
    };
    for outcome in [Outcome::Send, Outcome::Holdout] {
        told(outcome, None, 0);
    }
    for ((outcome, reason), count) in readings.meter.decisions() {
        told(outcome, reason, count);
    }
    for (campaign, (count, _)) in readings.meter.undecided_conditions() {
        metrics::counter!("beckon_conditions_undecided_total", "campaign" => campaign).absolute(count);
    }
}

/// How old the newest snapshot is, and how large. Their names begin with their ticks.
fn snapshots(folder: &Path, clock: &WallClock) {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let named = files.filter_map(|file| {
        let name = file.file_name().into_string().ok()?;
        let tick: u64 = name.strip_suffix(".snapshot")?.parse().ok()?;
        Some((tick, file.metadata().ok()?.len()))
    });
    let (mut newest, mut kept) = (None, 0);
    for snapshot in named {
        newest = newest.max(Some(snapshot));
        kept += 1;
    }
    metrics::gauge!("beckon_snapshots").set(f64::from(kept));
    let Some((tick, bytes)) = newest else { return };
    let age = Duration::from_millis(clock().saturating_sub(tick)).as_secs_f64();
    metrics::gauge!("beckon_snapshot_age_seconds").set(age);
    metrics::gauge!("beckon_snapshot_bytes").set(bytes as f64);
}
