//! The sink: from a decided send to the ESP's answer (SPEC §6). One file an ESP, all behind [`Esp`]; `delivery` decides when,
//! whether, and how often they are asked. In: sends. Out: delivery states, through [`DeliveryLog`]. What may be retried is said by
//! [`SendError`], by type.

mod ahead;
mod answer;
mod attempt;
mod backoff;
mod breaker;
pub mod delivery;
pub mod http;
pub mod kafka;
mod key;
pub mod mailgun;
mod pace;
pub mod postmark;
mod queue;
pub mod resend;
pub mod sendgrid;
pub mod ses;
pub mod smtp;
mod starttls;

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::authorities::Authorities;
use crate::decision::{self, Decision, DecisionId, DeliveryRecord, Message};

pub use backoff::backoff_ms;
use delivery::Owed;
pub use key::{ApiKey, ApiKeyFault};

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An e-mail service provider, or whoever else takes what was decided.
pub trait Esp: Send + Sync {
    /// Hands over the message of one decision, whose id is the idempotency key of every attempt. A message that may have been
    /// taken comes again to the byte.
    fn send<'a>(&'a self, message: &'a Message, decision: &'a Decision) -> BoxFuture<'a, Result<Accepted, SendError>>;

    /// Whether two requests of one key give one mail. Only then may a [`SendError::Unknown`] be tried again.
    fn honours_idempotency(&self) -> bool;
}

/// What is fetched from elsewhere before a message is made (SPEC §10, `enrich`).
pub trait Enrich: Send + Sync {
    /// Whether the send's message wants anything.
    fn is_wanted(&self, send: &decision::Send) -> bool;

    /// Fetches what it wants, by name. Never fails, and takes a bounded time.
    fn fetch<'a>(&'a self, send: &'a decision::Send) -> BoxFuture<'a, Map<String, Value>>;
}

/// The ESP took the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The ESP's own name for it, if it gave one.
    pub esp_id: Option<String>,
    /// How long the ESP wants to be left alone now, milliseconds: it said that its allowance is used up until then.
    pub rest_ms: Option<u64>,
}

/// Why a message was not accepted, by what may be done about it.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SendError {
    /// A permanent answer: sending it again gives the same.
    #[error("the ESP refused it with status {status}: {excerpt}")]
    Refused {
        /// HTTP status, or SMTP reply code.
        status: u16,
        /// The beginning of the answer's body.
        excerpt: String,
    },
    /// It is the account that is refused, whatever the message: a wrong key, a sender that is not verified, an account that is
    /// paused. Not taken; nothing is sent until somebody has seen to it, and what is owed waits.
    #[error(
        "the ESP refuses the account (status {status}), and is tried again now and then; check {account}: {excerpt}"
    )]
    Denied {
        /// HTTP status, or SMTP reply code.
        status: u16,
        /// Where the key is from, for people.
        account: String,
        /// The beginning of the answer's body.
        excerpt: String,
    },
    /// The connection was never made, or was lost before the message was handed over. Nothing was taken. Retried freely.
    #[error("no connection to the ESP: {reason}")]
    NotSent {
        /// What the network said.
        reason: String,
    },
    /// 429 or 503, or 4xx in SMTP: not taken, come back later. Retried freely.
    #[error("the ESP is not taking messages now (status {status})")]
    Throttled {
        /// HTTP status, or SMTP reply code.
        status: u16,
        /// How long the ESP wants to be left alone, if it says.
        retry_after_ms: Option<u64>,
    },
    /// Sent, and no answer that says whether it was taken. Retried only with a key that the ESP honours.
    #[error("no answer that says whether it was taken, after {waited_ms} ms: {reason}")]
    Unknown {
        /// HTTP status, if there was an answer.
        status: Option<u16>,
        /// From the request's start, milliseconds.
        waited_ms: u64,
        /// Time-out, reset, or the beginning of the answer's body.
        reason: String,
    },
}

/// Where the sender writes what becomes of a delivery. The pipeline puts the ledger behind it.
pub trait DeliveryLog: Send + Sync {
    /// Resolves when `record` is durable. A request is made only after its `in_flight` is.
    fn write(&self, id: DecisionId, record: DeliveryRecord) -> BoxFuture<'_, Result<(), LogFault>>;

    /// Of the first `count` deliveries that are owed and `due` so at `now_ms`, epoch ms (greater priority, newer decision), those not
    /// `in_hand`.
    fn owed(&self, due: Due, now_ms: u64, count: usize, in_hand: &HashSet<DecisionId>) -> Result<Backlog, LogFault>;

    /// Dead-letters the deliveries that have waited for the ESP's webhook since before `before_ms` (SPEC §6, `unknown_after`).
    fn bury_unanswered(&self, before_ms: u64) -> BoxFuture<'_, Result<(), LogFault>>;
}

/// Which of what is owed. They are asked for apart, so that what is late does not make the rest late too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// All that is not overdue.
    InTime,
    /// What is known to be later than its `send_within` (SPEC §6) allows.
    Overdue,
}

/// What the log says is owed.
#[derive(Debug, Default)]
pub struct Backlog {
    /// In the order in which they go out.
    pub owed: Vec<Owed>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

/// The log could not be written. Nothing more may be sent: the sender stops.
#[derive(Debug, thiserror::Error)]
#[error("the sender stops, because delivery states can no longer be written: {0}")]
pub struct LogFault(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// An ESP that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The address is none.
    #[error("`base_url` {url:?} is no http or https address: {reason}")]
    BaseUrl {
        /// What was configured.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The HTTP client cannot be made.
    #[error("cannot set up HTTP: {0}")]
    Client(#[from] reqwest::Error),
    /// The SMTP client cannot be made.
    #[error("cannot set up SMTP: {0}")]
    Smtp(#[from] lettre::transport::smtp::Error),
    /// The Kafka producer cannot be made.
    #[error("cannot set up the Kafka producer: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// A header that the configuration names cannot be sent.
    #[error("{0:?} cannot be the name of an HTTP header")]
    Header(String),
}

/// The HTTP client of who trusts whom this machine trusts; else as [`client_trusting`] makes it.
pub fn client(timeout_ms: u64) -> Result<reqwest::Client, SetupError> {
    client_trusting(timeout_ms, &Authorities::default())
}

/// The HTTP client of every ESP. An answer is awaited for `timeout_ms` from the request's start; a connection for a third
/// of that, so that one that is never made is told from an answer that never comes. A server that offers HTTP/2 (by ALPN) is asked over
/// one connection, any other over as many as there are requests at a time, which are kept.
pub fn client_trusting(timeout_ms: u64, authorities: &Authorities) -> Result<reqwest::Client, SetupError> {
    // The process may have a provider already; either will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .user_agent(concat!("beckon/", env!("CARGO_PKG_VERSION")))
        .timeout(Duration::from_millis(timeout_ms))
        .connect_timeout(Duration::from_millis(timeout_ms / 3))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never());
    let trusted: Result<Vec<_>, _> = authorities.certificates().map(reqwest::Certificate::from_der).collect();
    Ok(client.tls_certs_merge(trusted?).build()?)
}

/// `path` under `base_url`, whether or not that ends in a slash.
fn endpoint(base_url: &str, path: &str) -> Result<reqwest::Url, SetupError> {
    let fault = |reason: String| SetupError::BaseUrl { url: base_url.to_owned(), reason };
    let url = format!("{}{path}", base_url.trim_end_matches('/'));
    let url: reqwest::Url = url.parse().map_err(|error| fault(format!("{error}")))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => Err(fault(format!("its scheme is {scheme:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_checked() {
        assert_eq!(endpoint("http://127.0.0.1:9/", "/send").unwrap().as_str(), "http://127.0.0.1:9/send");
        assert!(endpoint("ftp://example.com", "/send").is_err());
        assert!(endpoint("example.com", "/send").is_err());
    }
}
