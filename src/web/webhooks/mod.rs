//! Webhooks of ESPs (SPEC §8): what became of a mail. In: requests of ESPs, signed over the body as it came. Out: `engagement` records of
//! decisions that are ours, and deliveries that are settled because an ESP speaks of their mail. Fails towards the ESP, in a way that has
//! it send the same again, unless it is forged, old, or was taken already.
//!
//! A 200 says that the broker has acknowledged every record. An event has a name of its ESP's, which makes the record's: told twice,
//! before a crash and after it, it counts once (SPEC §1, `event_id`).
//!
//! - `event`: what an ESP said. `replay`: what was taken already. `answer`: what the ESP is told.
//! - One file an ESP: how it signs, for how long it tries again, and its words; `sns` brings what SES says.

mod answer;
mod event;
mod mailgun;
mod postmark;
mod replay;
mod resend;
mod sendgrid;
mod ses;
mod sns;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;

use super::body;
use super::engagement::Engagement;
use super::publish::Publish;
use super::queue::Queue;
use crate::decision::DecisionId;

pub use answer::Refusal;
pub use event::Event;
pub use mailgun::Mailgun;
pub use postmark::Postmark;
pub use replay::{Mark, Replays};
pub use resend::Resend;
pub use sendgrid::SendGrid;
pub use ses::Ses;
pub use sns::{Fetch, Https};

/// The largest body, in bytes: SendGrid gathers events, and SNS has a limit of 256 KiB.
const BODY_BYTES_MAX: usize = 2 << 20;

/// How long the broker, and the ledger, may take together: less than the 10 s that ESPs wait for an answer.
const TAKEN_WITHIN: Duration = Duration::from_secs(8);

/// How far ahead of ours an ESP's clock may be.
const AHEAD_MS: u64 = 300_000;

/// A future that a trait object returns.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An ESP, as far as it tells of itself.
pub trait Provider: Send + Sync {
    /// The last part of the path.
    fn name(&self) -> &'static str;

    /// What a request says. Fails when it is not this ESP's, or old.
    fn read<'a>(&'a self, told: &'a Told) -> Soon<'a, Result<Said<'a>, Refusal>>;
}

/// An ESP whose requests have all in them that proves whose they are.
trait SelfContained {
    /// The last part of the path.
    const NAME: &'static str;

    /// What a request says.
    fn said(&self, told: &Told) -> Result<Said<'static>, Refusal>;
}

impl<E: SelfContained + Send + Sync> Provider for E {
    fn name(&self) -> &'static str {
        E::NAME
    }

    fn read<'a>(&'a self, told: &'a Told) -> Soon<'a, Result<Said<'a>, Refusal>> {
        Box::pin(async move { self.said(told) })
    }
}

/// A request as it came.
pub struct Told {
    /// Its head.
    pub headers: HeaderMap,
    /// Its body, to the byte.
    pub body: Vec<u8>,
    /// When it came, epoch ms.
    pub now_ms: u64,
}

/// What a request says that is its ESP's.
pub struct Said<'a> {
    /// Tells it from all others.
    pub mark: Mark,
    /// From when on it would be too old, epoch ms.
    pub until_ms: u64,
    /// What happened to mails that have a decision.
    pub events: Vec<Event>,
    /// How many events are of no mail of ours, or none that anybody asks for.
    pub passed_over: usize,
    /// What has to be done before it is taken.
    pub first: Option<Soon<'a, Result<(), Refusal>>>,
}

impl Said<'_> {
    /// What `esp` has `signed`, of which `events` there is none where an event is passed over.
    fn of(esp: &str, signed: &[u8], until_ms: u64, events: impl IntoIterator<Item = Option<Event>>) -> Said<'static> {
        let (mut known, mut passed_over) = (Vec::new(), 0);
        events.into_iter().for_each(|event| event.map_or_else(|| passed_over += 1, |event| known.push(event)));
        Said { mark: Mark::of(esp, &[signed]), until_ms, events: known, passed_over, first: None }
    }
}

/// The deliveries that ESPs tell of.
pub trait Deliveries: Send + Sync {
    /// Whom the decision's mail is for; none where no such decision was made.
    fn customer(&self, decision: DecisionId) -> Result<Option<Arc<str>>, String>;

    /// The ESP speaks of the decision's mail, so it has taken it: settles a delivery that waits to be told. Fails when that cannot be
    /// written, or not be said yet because its request is under way.
    fn taken<'a>(&'a self, decision: DecisionId, esp: &'static str) -> Soon<'a, Result<(), String>>;
}

/// Takes webhooks.
pub struct Receiver {
    /// Where `engagement` records go.
    pub publish: Arc<dyn Publish>,
    /// Whose mails they are.
    pub deliveries: Arc<dyn Deliveries>,
    /// What was taken already.
    pub replays: Replays,
    /// The room for what is not acknowledged.
    pub queue: Queue,
    /// Epoch ms.
    pub now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// The routes: one for each ESP.
pub fn routes(receiver: Receiver, providers: Vec<Box<dyn Provider>>) -> Router {
    let receiver = Arc::new(receiver);
    providers.into_iter().fold(Router::new(), |routes, provider| {
        let (receiver, provider): (_, Arc<dyn Provider>) = (receiver.clone(), provider.into());
        begin(&*provider);
        let path = format!("/webhooks/{}", provider.name());
        routes.route(&path, post(move |request| answered(receiver, provider, request)))
    })
}

async fn answered(receiver: Arc<Receiver>, esp: Arc<dyn Provider>, request: Request) -> Result<StatusCode, Refusal> {
    let taken = receiver.take(&*esp, request).await;
    let came_to = taken.as_ref().map_or_else(Refusal::name, |()| "taken");
    metrics::counter!("beckon_webhooks_total", "esp" => esp.name(), "came_to" => came_to).increment(1);
    if let Err(refusal) = &taken {
        tracing::warn!(esp = esp.name(), %refusal, "a webhook was not taken");
    }
    taken.map(|()| StatusCode::OK)
}

impl Receiver {
    async fn take(&self, esp: &dyn Provider, request: Request) -> Result<(), Refusal> {
        let headers = request.headers().clone();
        let (body, _place) = body::read(request, BODY_BYTES_MAX, &self.queue).await?;
        let told = Told { headers, body, now_ms: (self.now_ms)() };
        let Said { mark, until_ms, events, passed_over, first } = esp.read(&told).await?;
        // What is not taken in the end may come again.
        let admitted = self.replays.admit(mark, until_ms, told.now_ms)?;
        if let Some(first) = first {
            first.await?;
        }
        count(esp, "passed_over", passed_over);
        let writing = tokio::time::timeout(TAKEN_WITHIN, self.write(esp, events, told.now_ms));
        writing.await.unwrap_or_else(|_| Err(Refusal::NotWritten("no answer within 8 s".to_owned())))?;
        admitted.keep();
        Ok(())
    }

    /// Brings the events to the broker, and settles the deliveries that they are of.
    async fn write(&self, esp: &dyn Provider, events: Vec<Event>, now_ms: u64) -> Result<(), Refusal> {
        let (mut acknowledged, mut decisions) = (Vec::new(), BTreeMap::new());
        for event in events {
            let customer = match decisions.get(&event.decision) {
                Some(customer) => Arc::clone(customer),
                None => match self.deliveries.customer(event.decision).map_err(Refusal::NotWritten)? {
                    Some(customer) => decisions.entry(event.decision).or_insert(customer).clone(),
                    None => {
                        count(esp, "foreign", 1);
                        continue;
                    }
                },
            };
            let Some(record) = event.record(esp.name(), &customer, now_ms) else {
                count(esp, "proof_alone", 1);
                continue;
            };
            count(esp, record.r#type.name(), 1);
            acknowledged.push(self.publish(&record)?);
        }
        // They are all under way, so that one after the other takes no longer than all at once.
        for one in acknowledged {
            one.await.map_err(|fault| Refusal::NotWritten(fault.to_string()))?;
        }
        for decision in decisions.into_keys() {
            self.deliveries.taken(decision, esp.name()).await.map_err(Refusal::NotWritten)?;
        }
        Ok(())
    }

    fn publish(&self, record: &Engagement) -> Result<super::publish::Acknowledged<'_>, Refusal> {
        let json = serde_json::to_vec(record).map_err(|fault| Refusal::NotWritten(fault.to_string()))?;
        Ok(self.publish.publish(&record.event_id, &json))
    }
}

/// Tells from the beginning what can happen: what is first told when it happens has never risen.
fn begin(esp: &dyn Provider) {
    for came_to in ["taken", "forged", "old", "replayed", "unasked", "malformed", "not_written"] {
        metrics::counter!("beckon_webhooks_total", "esp" => esp.name(), "came_to" => came_to).increment(0);
    }
    count(esp, "foreign", 0);
}

fn count(esp: &dyn Provider, came_to: &'static str, events: usize) {
    let counter = metrics::counter!("beckon_webhook_events_total", "esp" => esp.name(), "came_to" => came_to);
    counter.increment(events as u64);
}

/// Whether what was signed at `at_ms` is still to be taken, for `within_ms`.
fn in_time(at_ms: u64, within_ms: u64, now_ms: u64) -> Result<(), Refusal> {
    if at_ms > now_ms.saturating_add(AHEAD_MS) || at_ms.saturating_add(within_ms) < now_ms {
        return Err(Refusal::Old);
    }
    Ok(())
}

/// The one value of a header; none where there are two, which could be read as either.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none());
    value.and_then(|value| value.to_str().ok())
}
