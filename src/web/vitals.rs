//! Whether it lives and how it does (SPEC §8): `/metrics` for Prometheus, and `/readyz` for whoever sends it traffic. In: what the parts have
//! counted, and checks. Out: Prometheus' text format; 200 or 503 with a line for each check.
//!
//! What is counted is published nowhere else, and tells how much a shop sells: a proxy in front should pass on neither path.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::sync::Mutex;

use super::meanings;

/// How long what was checked counts: a check writes to the ledger, and anybody may ask.
const CHECKED_FOR: Duration = Duration::from_secs(2);

/// How long a check may take: less than the time-outs of those who probe.
const CHECK_WITHIN: Duration = Duration::from_secs(4);

/// How often histograms are emptied into their buckets when nobody asks for them.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The buckets of times, in seconds.
const SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The buckets of how much is done at once.
const COMMANDS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// What comes of a check: nothing, or what is wrong, for the log alone.
pub type Checked = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Something that must be so before traffic is sent here.
pub struct Check {
    /// What it is called.
    pub name: &'static str,
    /// Asks.
    pub ask: Box<dyn Fn() -> Checked + Send + Sync>,
}

/// What is asked and told.
pub struct Vitals {
    /// Brings the gauges up to now, before they are told.
    pub sample: Box<dyn Fn() + Send + Sync>,
    /// What must be so.
    pub checks: Vec<Check>,
}

struct Telling {
    vitals: Vitals,
    page: PrometheusHandle,
    checked: Mutex<Option<(Instant, Verdict)>>,
}

/// The name of each check, and whether it is so.
type Verdict = BTreeMap<&'static str, bool>;

/// The routes. What was counted before [`begin`] is not told.
pub fn routes(vitals: Vitals) -> Router {
    let telling = Telling { vitals, page: page(), checked: Mutex::default() };
    Router::new().route("/metrics", get(metrics)).route("/readyz", get(ready)).with_state(Arc::new(telling))
}

/// From now on all that is counted in this process is kept, for who asks later.
pub fn begin() {
    page();
}

/// The recorder of this process.
fn page() -> PrometheusHandle {
    static PAGE: OnceLock<PrometheusHandle> = OnceLock::new();
    let page = PAGE.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS);
        let builder = builder
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_commands".into()), &COMMANDS))
            .unwrap_or_default();
        let recorder = builder.build_recorder();
        let page = recorder.handle();
        // Another one means that this program is part of one that tells its metrics itself.
        if let Err(fault) = metrics::set_global_recorder(recorder) {
            tracing::warn!(%fault, "metrics are told elsewhere");
        }
        meanings::describe();
        page
    });
    page.clone()
}

/// Empties histograms for ever.
pub async fn upkeep() {
    let page = page();
    loop {
        tokio::time::sleep(UPKEEP_EVERY).await;
        page.run_upkeep();
    }
}

async fn metrics(State(telling): State<Arc<Telling>>) -> Response {
    let rendered = tokio::task::spawn_blocking(move || {
        (telling.vitals.sample)();
        telling.page.run_upkeep();
        telling.page.render()
    });
    match rendered.await {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn ready(State(telling): State<Arc<Telling>>) -> Response {
    let mut checked = telling.checked.lock().await;
    let verdict = match checked.take().filter(|(at, _)| at.elapsed() < CHECKED_FOR) {
        Some(known) => known,
        None => (Instant::now(), telling.vitals.verdict().await),
    };
    let all = verdict.1.values().all(|is_so| *is_so);
    let line = |(name, is_so): (&&str, &bool)| format!("{name} {}\n", if *is_so { "ok" } else { "failed" });
    let text: String = verdict.1.iter().map(line).collect();
    *checked = Some(verdict);
    (if all { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text).into_response()
}

impl Vitals {
    /// Asks all at once.
    async fn verdict(&self) -> Verdict {
        let asked = self.checks.iter().map(|check| async {
            let answer = tokio::time::timeout(CHECK_WITHIN, (check.ask)()).await;
            let fault = answer.unwrap_or_else(|_| Err(format!("no answer within {CHECK_WITHIN:?}"))).err();
            if let Some(fault) = &fault {
                tracing::warn!(check = check.name, fault, "not ready");
            }
            (check.name, fault.is_none())
        });
        futures_util::future::join_all(asked).await.into_iter().collect()
    }
}
