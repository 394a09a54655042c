//! A topic (`kind = "kafka"`): hands what was decided to another channel, such as push or an audience of ads. One record a send, with the
//! customer's id as its key, so that those of a customer stay in order, and the decision's id in the header `decision_id`:
//!
//! ```text
//! {"decision":{…as SPEC §5…},"message":{"to":"a@example.com","subject":"…","text":"…","html":"…"}}
//! ```
//!
//! The producer is idempotent and waits for all replicas. A record that was not acknowledged in time may be in the topic all the same; it is
//! written again where `honours_idempotency_key` says that who reads takes each decision once, as anybody has to who reads Kafka.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde::Serialize;

use super::{Accepted, BoxFuture, Esp, SendError, SetupError};
use crate::decision::{Decision, Message};

/// A topic on some brokers.
pub struct Kafka {
    producer: FutureProducer,
    topic: String,
    honours_idempotency: bool,
}

impl Kafka {
    /// A record is acknowledged within `timeout_ms` or counted as unanswered.
    pub fn new(brokers: &str, topic: &str, timeout_ms: u64, honours_idempotency: bool) -> Result<Kafka, SetupError> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", timeout_ms.to_string())
            .set("linger.ms", "2")
            .create()?;
        Ok(Kafka { producer, topic: topic.to_owned(), honours_idempotency })
    }
}

#[derive(Serialize)]
struct Record<'a> {
    decision: &'a Decision,
    message: Written<'a>,
}

#[derive(Serialize)]
struct Written<'a> {
    to: &'a str,
    subject: &'a str,
    text: &'a str,
    html: &'a str,
}

/// What the broker's word means for the record.
fn fault(error: &KafkaError, waited: Duration) -> SendError {
    use RDKafkaErrorCode as Code;
    let reason = error.to_string();
    match error.rdkafka_error_code() {
        Some(Code::QueueFull) => SendError::Throttled { status: 429, retry_after_ms: None },
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => {
            SendError::Refused { status: 413, excerpt: reason }
        }
        Some(
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::Authentication
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition,
        ) => SendError::Denied { status: 403, account: "`topic` and `brokers`".into(), excerpt: reason },
        _ => SendError::Unknown { status: None, waited_ms: waited.as_millis() as u64, reason },
    }
}

impl Esp for Kafka {
    fn send<'a>(&'a self, message: &'a Message, decision: &'a Decision) -> BoxFuture<'a, Result<Accepted, SendError>> {
        Box::pin(async move {
            let Message { subject, text, html, .. } = message;
            let record = Record { decision, message: Written { to: &message.to.address, subject, text, html } };
            let payload = serde_json::to_vec(&record)
                .map_err(|error| SendError::Refused { status: 400, excerpt: error.to_string() })?;
            let id = decision.decision_id.to_string();
            let headers = OwnedHeaders::new().insert(Header { key: "decision_id", value: Some(&id) });
            let record = FutureRecord::to(&self.topic).key(&*decision.customer_id).payload(&payload).headers(headers);
            let started = Instant::now();
            let written = self.producer.send(record, Duration::ZERO).await;
            match written {
                Ok(at) => {
                    let esp_id = format!("{} partition {} offset {}", self.topic, at.partition, at.offset);
                    Ok(Accepted { esp_id: Some(esp_id), rest_ms: None })
                }
                Err((error, _)) => Err(fault(&error, started.elapsed())),
            }
        })
    }

    fn honours_idempotency(&self) -> bool {
        self.honours_idempotency
    }
}
