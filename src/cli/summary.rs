//! The live summary of a running service on the terminal: what flows, how far behind, what was decided, what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use beckon_dataflows::model::Stream;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::pipeline::service::Readings;

/// How often it is redrawn.
const REDRAW: Duration = Duration::from_millis(250);

/// A summary that is shown until it is finished.
pub struct Shown {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Shown {
    /// Starts to show what `readings` say on standard error: redrawn in place on a terminal; elsewhere, only if `anyway`,
    /// as text every ten seconds.
    pub fn start(anyway: bool, readings: Readings) -> Shown {
        let ended = Arc::new(AtomicBool::new(false));
        let until = ended.clone();
        let thread = std::thread::spawn(move || show(anyway, &readings, &until));
        Shown { ended, thread }
    }

    /// Takes it off the terminal.
    pub fn finish(self) {
        self.ended.store(true, Ordering::Relaxed);
        // A summary that failed to draw has told nobody anything wrong.
        let _ = self.thread.join();
    }
}

fn show(anyway: bool, readings: &Readings, ended: &AtomicBool) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise}\n{msg}") {
        bar.set_style(style);
    }
    let (mut last, mut printed) = ((Instant::now(), readings.meter.records()), Instant::now());
    while !ended.load(Ordering::Relaxed) {
        std::thread::sleep(REDRAW);
        let now = (Instant::now(), readings.meter.records());
        let rate = (now.1 - last.1) as f64 / now.0.duration_since(last.0).as_secs_f64();
        last = now;
        let text = lines(readings, rate).join("\n");
        if bar.is_hidden() && anyway && printed.elapsed() >= Duration::from_secs(10) {
            printed = Instant::now();
            eprintln!("{text}");
        }
        bar.set_message(text);
        bar.tick();
    }
    bar.finish_and_clear();
}

/// The summary's lines; `rate` in records a second.
pub fn lines(readings: &Readings, rate: f64) -> Vec<String> {
    let meter = &readings.meter;
    let by_stream = Stream::ALL.map(|stream| format!("{stream} {}", meter.records_of(stream)));
    let bad: u64 = meter.bad_records().values().sum();
    let (stale, duplicates) = set_aside(readings);
    let lag_ms = (readings.clock)().saturating_sub(meter.as_of());
    let decisions = meter.decisions().into_iter().map(|((outcome, reason), count)| {
        format!(
            "{}{} {count}",
            outcome.name(),
            reason.map(|reason| format!(" ({})", reason.name())).unwrap_or_default()
        )
    });
    let deliveries =
        readings.deliveries().deliveries.into_iter().map(|(state, count)| format!("{} {count}", state.name()));
    vec![
        format!("records     {rate:>9.0}/s   {} in all: {}", meter.records(), by_stream.join(", ")),
        format!(
            "set aside   {duplicates} duplicate, {stale} stale, {} late, {} skewed, {bad} bad",
            meter.late_records(),
            meter.skewed_records()
        ),
        format!("ticks       closed up to {}, {:.1} s behind the clock", time(meter.as_of()), lag_ms as f64 / 1000.0),
        format!("carts open  {}   trigger set {} episodes", readings.counts.carts_open(), meter.episodes()),
        format!("decisions   {}", or_none(decisions.collect())),
        format!("deliveries  {}", or_none(deliveries.collect())),
    ]
}

/// Stale records and duplicates, of all streams.
fn set_aside(readings: &Readings) -> (u64, u64) {
    let sum = |of: fn(&beckon_dataflows::counts::Counts, Stream) -> u64| {
        Stream::ALL.into_iter().map(|stream| of(&readings.counts, stream)).sum()
    };
    (sum(beckon_dataflows::counts::Counts::stale_records), sum(beckon_dataflows::counts::Counts::duplicate_records))
}

fn or_none(parts: Vec<String>) -> String {
    if parts.is_empty() { "none yet".into() } else { parts.join(", ") }
}

/// A tick as people write it, UTC.
pub(super) fn time(tick_ms: u64) -> String {
    let time = i64::try_from(tick_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.filter(|_| tick_ms > 0).map_or_else(|| "—".into(), |time| time.strftime("%F %T").to_string())
}
