//! Collect (SPEC §8): Segment's HTTP tracking API. In: requests of browsers and of Segment's libraries. Out: records in Kafka, and an
//! answer once the broker has acknowledged all of them. Fails towards the sender, in a way that says whether to send it again.
//!
//! What was answered with 200 is in Kafka or, where a message was malformed, in the dead letters. What was answered otherwise may be in
//! Kafka in part: sent again it has the same `messageId`s, and counts once.
//!
//! - `key`: who may send.
//! - `message`: what a request says; `record`: what of it goes to which topic; `letters`: what is none.
//! - `answer`: what the sender is told. `pixel`, `script`: for pages without a library of their own.

mod answer;
mod key;
mod letters;
mod message;
mod pixel;
mod record;
mod script;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::routing::{get, post};
use beckon_dataflows::model::Stream;
use jiff::Timestamp;
use serde_json::value::RawValue;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::decompression::RequestDecompressionLayer;

use self::answer::{Dead, Refusal, Taken};
use self::letters::Letter;
use self::message::{BODY_BYTES_MAX, MESSAGE_BYTES_MAX, Said};
use self::record::{Malformed, Receipt, Record};
use super::body;
use super::publish::{Acknowledged, NotAcknowledged, Publish};
use super::queue::Queue;
use crate::decode::Check;

pub use key::{WriteKey, WriteKeys};
pub use letters::Letters;

/// How long the broker may take: less than Segment's libraries wait for an answer, the least of which is 10 s.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(8);

/// How long a browser may remember what it may send.
const CORS_FOR: Duration = Duration::from_secs(24 * 3_600);

/// The paths that take one message, each of which says what it is.
const CALLS: [&str; 6] = ["track", "identify", "page", "screen", "alias", "group"];

/// Takes messages in.
pub struct Collector {
    /// Who may send.
    pub keys: WriteKeys,
    /// Whose pages may send, as `https://host`; any where none is named.
    pub origins: Option<Vec<HeaderValue>>,
    /// Where messages go.
    pub clickstream: Arc<dyn Publish>,
    /// Where profiles go.
    pub profiles: Arc<dyn Publish>,
    /// Where malformed messages go.
    pub letters: Arc<Letters>,
    /// The room for what is not acknowledged.
    pub queue: Queue,
    /// Whether the engine could use a record.
    pub check: Check,
    /// Epoch ms.
    pub now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
}

type Shared = State<Arc<Collector>>;

/// The collector's routes.
pub fn routes(collector: Collector) -> Router {
    begin(&collector.keys);
    let cors = cors(collector.origins.as_deref());
    let calls = CALLS.into_iter().fold(Router::new(), |routes, call| {
        let path = format!("/v1/{call}");
        routes.route(&path, post(move |State(to): Shared, request| async move { to.take(request, Some(call)).await }))
    });
    calls
        .route("/v1/batch", post(|State(to): Shared, request| async move { to.take(request, None).await }))
        .layer(RequestDecompressionLayer::new())
        .layer(cors)
        .route("/p.gif", get(pixel::pixel))
        .route("/beckon.js", get(script::script))
        .with_state(Arc::new(collector))
}

/// What pages of other hosts may do. Nothing here looks at a cookie of theirs, so no credentials are allowed.
fn cors(origins: Option<&[HeaderValue]>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins.map_or_else(AllowOrigin::any, |origins| AllowOrigin::list(origins.iter().cloned())))
        .allow_methods([Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::CONTENT_ENCODING])
        .expose_headers([header::RETRY_AFTER])
        .max_age(CORS_FOR)
}

impl Collector {
    /// Takes one request in: a message that the path calls `call`, or a batch.
    async fn take(&self, request: Request, call: Option<&'static str>) -> Result<Taken, Refusal> {
        // Who brings a wrong key in the head is not even read.
        let key = self.keys.of_headers(request.headers())?;
        let (body, _place) = body::read(request, BODY_BYTES_MAX, &self.queue).await?;
        let said = if call.is_some() { Said::alone(&body) } else { Said::batch(&body) }?;
        let key = match key {
            Some(key) => key,
            None => self.keys.of(said.write_key.as_deref().unwrap_or_default().as_bytes())?,
        };
        self.write(key, &said, call).await
    }

    /// Writes what was said to Kafka and what was malformed to the dead letters, and waits until it is there.
    async fn write(&self, key: &WriteKey, said: &Said<'_>, call: Option<&'static str>) -> Result<Taken, Refusal> {
        let now_ms = (self.now_ms)();
        let received_at = Timestamp::from_millisecond(now_ms.cast_signed()).unwrap_or_default();
        let receipt = Receipt { call, sent_at: said.sent_at, received_at, tells_profiles: key.may_tell_profiles() };
        let (mut acknowledged, mut letters, mut dead) = (Vec::new(), Vec::new(), Vec::new());
        for (index, message) in said.messages.iter().enumerate() {
            match record::of(message, &receipt, &self.check) {
                Ok(records) => acknowledged.extend(records.iter().map(|record| self.publish(record))),
                Err(fault) => {
                    letters.push(letter(key, now_ms, message, &fault));
                    dead.push(Dead { index, reason: fault.to_string() });
                }
            }
        }
        self.wait_for(acknowledged).await?;
        // Last: what is sent again because the broker was away leaves no letter twice.
        self.bury(letters).await?;
        count(key, "taken", said.messages.len() - dead.len());
        count(key, "malformed", dead.len());
        Ok(Taken::but(dead))
    }

    /// Hands a record to the producer of its topic.
    fn publish(&self, record: &Record) -> Acknowledged<'_> {
        let topic = if record.stream == Stream::Profiles { &self.profiles } else { &self.clickstream };
        topic.publish(&record.key, &record.json)
    }

    /// Waits until the broker has all of them.
    async fn wait_for(&self, acknowledged: Vec<Acknowledged<'_>>) -> Result<(), Refusal> {
        let all = async {
            // They are all under way, so that one after the other takes no longer than all at once.
            for one in acknowledged {
                one.await?;
            }
            Ok::<(), NotAcknowledged>(())
        };
        let fault = match tokio::time::timeout(ACKNOWLEDGED_WITHIN, all).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(fault)) => fault.to_string(),
            Err(_) => format!("the broker has not acknowledged a record within {ACKNOWLEDGED_WITHIN:?}"),
        };
        tracing::warn!(fault, "messages were not taken; their sender is asked to send them again");
        Err(Refusal::NotWritten)
    }

    /// Writes dead letters, beside the threads that answer: a disk may be slow.
    async fn bury(&self, dead: Vec<Letter>) -> Result<(), Refusal> {
        if dead.is_empty() {
            return Ok(());
        }
        let letters = self.letters.clone();
        let written = tokio::task::spawn_blocking(move || letters.write(&dead)).await;
        let fault = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(fault)) => format!("{fault:#}"),
            Err(fault) => fault.to_string(),
        };
        tracing::error!(fault, "dead letters were not written; their sender is asked to send them again");
        Err(Refusal::NotWritten)
    }
}

fn letter(key: &WriteKey, received_at: u64, message: &RawValue, fault: &Malformed) -> Letter {
    Letter {
        stream: Stream::Clickstream.name(),
        key: key.name().to_owned(),
        received_at,
        kind: fault.kind(),
        reason: fault.to_string(),
        record: message.get().chars().take(MESSAGE_BYTES_MAX).collect(),
    }
}

/// Tells from the beginning what can happen: what is first told when it happens has never risen.
fn begin(keys: &WriteKeys) {
    for key in keys.all() {
        count(key, "taken", 0);
        count(key, "malformed", 0);
    }
    for code in ["unauthorized", "busy", "unavailable"] {
        metrics::counter!("beckon_collect_refused_total", "code" => code).increment(0);
    }
}

fn count(key: &WriteKey, outcome: &'static str, messages: usize) {
    let key = key.name().to_owned();
    metrics::counter!("beckon_collect_messages_total", "key" => key, "outcome" => outcome).increment(messages as u64);
}
