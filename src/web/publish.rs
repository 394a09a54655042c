//! Records on their way to the broker. In: a record's key and JSON. Out: whether the broker has acknowledged it. Fails when it has not.

use std::future::Future;
use std::pin::Pin;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
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
    config: ClientConfig,
    producer: RwLock<FutureProducer>,
    topic: String,
}

impl Topic {
    /// A producer for `topic`, which waits for all replicas, and repeats what failed without writing it twice.
    pub fn open(brokers: &str, topic: &str) -> Result<Topic, KafkaError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", ACKNOWLEDGED_WITHIN_MS.to_string())
            .set("queue.buffering.max.messages", WAITING_MAX.to_string())
            .set("linger.ms", "2");
        Ok(Topic { producer: RwLock::new(config.create()?), config, topic: topic.to_owned() })
    }

    /// The producer. One that has met what it cannot go on from, such as a right that it lacked, is replaced: else it would refuse
    /// every record until the process is started again.
    fn producer(&self) -> Result<FutureProducer, KafkaError> {
        let producer = self.producer.read().unwrap_or_else(PoisonError::into_inner).clone();
        if producer.client().fatal_error().is_none() {
            return Ok(producer);
        }
        let mut current = self.producer.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, fault)) = current.client().fatal_error() {
            tracing::error!(topic = self.topic, fault, "a producer could not go on, and is replaced");
            *current = self.config.create()?;
        }
        Ok(current.clone())
    }
}

impl Publish for Topic {
    fn publish(&self, key: &str, json: &[u8]) -> Acknowledged<'_> {
        let record = FutureRecord::to(&self.topic).key(key).payload(json);
        // The record is copied into the producer's queue before this returns.
        let sent = self.producer().and_then(|producer| producer.send_result(record).map_err(|(error, _)| error));
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
        // What still waits is given its time; what is lost then was acknowledged to nobody.
        let producer = self.producer.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = producer.flush(Timeout::After(Duration::from_millis(ACKNOWLEDGED_WITHIN_MS)));
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;

    #[tokio::test]
    async fn a_producer_that_cannot_go_on_is_replaced() {
        let broker = MockCluster::new(1).unwrap();
        broker.create_topic("t", 1, 1).unwrap();
        broker.request_errors(
            RDKafkaApiKey::InitProducerId,
            &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED],
        );
        let topic = Topic::open(&broker.bootstrap_servers(), "t").unwrap();
        let refused = topic.publish("k", b"{}").await.unwrap_err();
        assert!(refused.to_string().contains("not acknowledged"), "{refused}");
        assert!(topic.producer.read().unwrap().client().fatal_error().is_some(), "{refused}");
        topic.publish("k", b"{}").await.unwrap();
    }
}
