//! Records on their way to the broker. In: a record's key and JSON. Out: whether the broker has acknowledged it. Fails when it has not.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

/// How long the broker may take, ms; then the record counts as not acknowledged.
const ACKNOWLEDGED_WITHIN_MS: u64 = 10_000;

/// The most records that wait for an acknowledgement: more than fit into the room that `collect` has for what it takes in.
const WAITING_MAX: u32 = 1_000_000;

/// A future that a trait object returns.
pub type Acknowledged<'a> = Pin<Box<dyn Future<Output = Result<(), NotAcknowledged>> + Send + 'a>>;

/// The broker has not said that it has the record: it may have it all the same.
#[derive(Debug, thiserror::Error)]
#[error("the broker has not acknowledged a record: {0}")]
pub struct NotAcknowledged(pub String);

/// Where records go.
pub trait Publish: Send + Sync {
    /// Resolves once the record is acknowledged. Fails at once when too many wait.
    fn publish(&self, key: &str, json: &[u8]) -> Acknowledged<'_>;
}

/// One topic.
pub struct Topic {
    producer: FutureProducer,
    topic: String,
}

impl Topic {
    /// A producer for `topic`, which waits for all replicas, and repeats what failed without writing it twice.
    pub fn open(brokers: &str, topic: &str) -> Result<Topic, KafkaError> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", ACKNOWLEDGED_WITHIN_MS.to_string())
            .set("queue.buffering.max.messages", WAITING_MAX.to_string())
            .set("linger.ms", "2")
            .create()?;
        Ok(Topic { producer, topic: topic.to_owned() })
    }
}

impl Publish for Topic {
    fn publish(&self, key: &str, json: &[u8]) -> Acknowledged<'_> {
        let record = FutureRecord::to(&self.topic).key(key).payload(json);
        // The record is copied into the producer's queue before this returns.
        let sent = self.producer.send_result(record).map_err(|(error, _)| error);
        Box::pin(async move {
            let failed = |error: KafkaError| NotAcknowledged(error.to_string());
            let delivered =
                sent.map_err(failed)?.await.map_err(|_| NotAcknowledged("the producer has ended".into()))?;
            delivered.map(drop).map_err(|(error, _)| failed(error))
        })
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        use rdkafka::producer::Producer;
        // What still waits is given its time; what is lost then was acknowledged to nobody.
        let _ = self.producer.flush(Timeout::After(Duration::from_millis(ACKNOWLEDGED_WITHIN_MS)));
    }
}
