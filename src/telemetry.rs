//! Spans for OpenTelemetry: a mail's way from the record that began its episode to the ESP's answer. In: what becomes of deliveries. Out:
//! OTLP over HTTP, as JSON ("OTLP/HTTP" and "JSON Protobuf Encoding" in its specification), in batches, on a thread of its own. Cannot
//! fail towards who tells: what the collector does not take is dropped, and counted.
//!
//! A mail is a trace, whose id is the decision's: it can be looked up by it, and is the same after a restart. Of the customer nothing is told.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reqwest::{Client, Url};
use serde::Serialize;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::decision::{Decision, DecisionId, DeliveryRecord, DeliveryState};

/// The most spans that wait for the collector.
const WAITING_MAX: usize = 4_096;

/// The most spans in a request, and how long the first of them waits for others.
const BATCH_MAX: usize = 512;
const BATCH_WITHIN: Duration = Duration::from_secs(1);

/// How long the collector may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The most deliveries whose requests are remembered: more than are under way.
const REQUESTS_MAX: usize = 10_000;

/// Kinds of spans, by their numbers in OTLP.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;

/// Whoever tells the collector.
pub struct Spans {
    to: Option<SyncSender<Span>>,
    thread: Option<JoinHandle<()>>,
    requests: Mutex<HashMap<DecisionId, Request>>,
}

/// When the requests of a delivery left, epoch ms.
#[derive(Clone, Copy)]
struct Request {
    first_ms: u64,
    last_ms: u64,
}

/// A span as OTLP has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    name: &'static str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Value>,
    status: Value,
}

impl Spans {
    /// Tells the collector at `endpoint`, such as `http://localhost:4318`. Fails when there can be no client or no thread.
    pub fn open(endpoint: &Url) -> anyhow::Result<Spans> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(ANSWER_WITHIN).build()?;
        let url = format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (to, spans) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new().name("telemetry".into()).spawn(move || {
            while let Some(batch) = gather(&spans) {
                runtime.block_on(export(&client, &url, &batch));
            }
        })?;
        Ok(Spans { to: Some(to), thread: Some(thread), requests: Mutex::default() })
    }

    /// A delivery of `decision` is now in this state, which is durable; `esp` is who it goes to.
    pub fn became(&self, decision: &Decision, esp: &str, record: &DeliveryRecord) {
        let (id, now_ms) = (decision.decision_id, record.since_ms);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if record.state == DeliveryState::InFlight {
            if requests.len() >= REQUESTS_MAX {
                requests.clear();
            }
            requests.entry(id).or_insert(Request { first_ms: now_ms, last_ms: now_ms }).last_ms = now_ms;
            return;
        }
        let is_settled = !record.is_owed();
        let request = if is_settled { requests.remove(&id) } else { requests.get(&id).copied() };
        drop(requests);
        if let Some(Request { last_ms, .. }) = request {
            let attempt = record.attempts.to_string();
            let told = [("beckon.esp", esp), ("beckon.attempt", &attempt), ("beckon.state", record.state.name())];
            let is_well = record.state == DeliveryState::Accepted;
            self.tell(Span::of(id, "request", record.attempts, CLIENT, (last_ms, now_ms), &told, is_well));
        }
        if is_settled {
            self.settled(decision, request.map_or(now_ms, |request| request.first_ms), record);
        }
    }

    /// The whole way, and what it is made of.
    fn settled(&self, decision: &Decision, sent_ms: u64, record: &DeliveryRecord) {
        let (id, as_of, end_ms) = (decision.decision_id, decision.as_of, record.since_ms);
        let told = [
            ("beckon.campaign", &*decision.campaign),
            ("beckon.trigger", &*decision.trigger),
            ("beckon.variant", decision.variant.as_deref().unwrap_or_default()),
            ("beckon.state", record.state.name()),
        ];
        let is_well = record.state != DeliveryState::Refused && record.state != DeliveryState::Unknown;
        self.tell(Span {
            parent_span_id: None,
            ..Span::of(id, "mail", 0, INTERNAL, (decision.anchor, end_ms), &told, is_well)
        });
        // From the record that the episode is anchored at to the tick that decided it; then in the ledger and the sender's queue.
        self.tell(Span::of(id, "episode", 0, INTERNAL, (decision.anchor, as_of), &[], true));
        self.tell(Span::of(id, "decided", 0, INTERNAL, (as_of, sent_ms), &[], true));
    }

    fn tell(&self, span: Span) {
        let is_taken = self.to.as_ref().is_some_and(|to| to.try_send(span).is_ok());
        if !is_taken {
            metrics::counter!("beckon_spans_lost_total").increment(1);
        }
    }
}

impl Drop for Spans {
    fn drop(&mut self) {
        drop(self.to.take());
        // What waits is told; a thread that failed has told nobody anything wrong.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Span {
    /// A part of the mail's way, below the whole of it.
    fn of(
        id: DecisionId,
        name: &'static str,
        attempt: u32,
        kind: u8,
        (start_ms, end_ms): (u64, u64),
        told: &[(&str, &str)],
        is_well: bool,
    ) -> Span {
        let attribute = |(key, text): &(&str, &str)| json!({ "key": key, "value": { "stringValue": text } });
        let nanos = |ms: u64| (u128::from(ms) * 1_000_000).to_string();
        Span {
            trace_id: id.to_string(),
            span_id: span_id(id, name, attempt),
            parent_span_id: Some(span_id(id, "mail", 0)),
            name,
            kind,
            start_time_unix_nano: nanos(start_ms),
            end_time_unix_nano: nanos(end_ms.max(start_ms)),
            attributes: told.iter().filter(|(_, text)| !text.is_empty()).map(attribute).collect(),
            status: json!({ "code": if is_well { 1 } else { 2 } }),
        }
    }
}

/// The same each time: a hash of what the span is of, which must not be nought.
fn span_id(id: DecisionId, name: &str, attempt: u32) -> String {
    format!("{:016x}", xxh3_64(format!("{id}\u{1f}{name}\u{1f}{attempt}").as_bytes()).max(1))
}

/// The next batch; none when nobody tells any more.
fn gather(spans: &Receiver<Span>) -> Option<Vec<Span>> {
    let mut batch = vec![spans.recv().ok()?];
    let until = Instant::now() + BATCH_WITHIN;
    while batch.len() < BATCH_MAX {
        match spans.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(span) => batch.push(span),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    Some(batch)
}

async fn export(client: &Client, url: &str, batch: &[Span]) {
    let service = json!([
        { "key": "service.name", "value": { "stringValue": "beckon" } },
        { "key": "service.version", "value": { "stringValue": env!("CARGO_PKG_VERSION") } },
    ]);
    let spans = json!([{ "scope": { "name": "beckon" }, "spans": batch }]);
    let body = json!({ "resourceSpans": [{ "resource": { "attributes": service }, "scopeSpans": spans }] });
    let answer = client.post(url).json(&body).send().await;
    if let Err(error) = answer.and_then(reqwest::Response::error_for_status) {
        tracing::debug!(error = %error.without_url(), spans = batch.len(), "the collector takes no spans");
        metrics::counter!("beckon_spans_lost_total").increment(batch.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::extract::State;
    use axum::routing::post;
    use axum::{Json, Router};

    use super::*;
    use crate::decision::{Outcome, Payload};

    const ANCHOR_MS: u64 = 1_767_261_600_000;

    fn decision() -> Decision {
        Decision {
            decision_id: DecisionId::of("c", "jane", "cart-9", ANCHOR_MS),
            campaign: "c".into(),
            customer_id: "jane".into(),
            trigger: "cart_abandonment".into(),
            subject: "cart-9".into(),
            anchor: ANCHOR_MS,
            as_of: ANCHOR_MS + 1_000,
            outcome: Outcome::Send,
            reason: None,
            variant: None,
            payload: Payload::default(),
        }
    }

    fn at(state: DeliveryState, attempts: u32, ms: u64) -> DeliveryRecord {
        DeliveryRecord { state, attempts, ..DeliveryRecord::pending(ANCHOR_MS + ms) }
    }

    /// A collector that keeps what it is told, and where it is.
    async fn collector() -> (Url, Arc<Mutex<Vec<Value>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let keep = |State(told): State<Arc<Mutex<Vec<Value>>>>, Json(body): Json<Value>| async move {
            told.lock().unwrap().push(body);
        };
        let routes = Router::new().route("/v1/traces", post(keep)).with_state(told.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (url, told)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_mail_s_way_is_one_trace_by_the_name_of_its_decision() {
        let (url, told) = collector().await;
        let (decision, spans) = (decision(), Spans::open(&url).unwrap());
        let steps = [
            at(DeliveryState::InFlight, 1, 2_000),
            at(DeliveryState::Pending, 1, 2_500),
            at(DeliveryState::InFlight, 2, 4_000),
            at(DeliveryState::Accepted, 2, 4_250),
        ];
        steps.iter().for_each(|record| spans.became(&decision, "default", record));
        tokio::task::spawn_blocking(move || drop(spans)).await.unwrap();
        let told = told.lock().unwrap();
        let body = serde_json::to_string(&*told).unwrap();
        assert!(!body.contains("jane") && !body.contains("cart-9"), "{body}");
        let spans = told[0]["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
        let root = spans.iter().find(|span| span["name"] == "mail").unwrap();
        assert_eq!(root.get("parentSpanId"), None);
        let ms = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap() / 1_000_000 - ANCHOR_MS;
        let mut seen = Vec::new();
        for span in spans {
            assert_eq!(span["traceId"], decision.decision_id.to_string());
            assert!(span["name"] == "mail" || span["parentSpanId"] == root["spanId"], "{span}");
            seen.push((
                span["name"].as_str().unwrap(),
                ms(&span["startTimeUnixNano"]),
                ms(&span["endTimeUnixNano"]),
                span["status"]["code"].as_u64().unwrap(),
            ));
        }
        let expected = [
            ("request", 2_000, 2_500, 2),
            ("request", 4_000, 4_250, 1),
            ("mail", 0, 4_250, 1),
            ("episode", 0, 1_000, 1),
            ("decided", 1_000, 2_000, 1),
        ];
        assert_eq!(seen, expected);
        assert_ne!(spans[0]["spanId"], spans[1]["spanId"]);
    }

    #[test]
    fn a_collector_that_is_not_there_delays_nobody() {
        let spans = Spans::open(&"http://127.0.0.1:1".parse().unwrap()).unwrap();
        let began = Instant::now();
        for attempt in 0..20_000 {
            spans.became(&decision(), "default", &at(DeliveryState::Withdrawn, attempt, 2_000));
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert!(spans.requests.lock().unwrap().is_empty());
    }
}
