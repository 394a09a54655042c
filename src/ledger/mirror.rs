//! The ledger's mirror on Kafka (SPEC §6; DESIGN, "The decision and delivery ledger also goes out to a compacted topic"). In:
//! decisions and deliveries as the ledger writes them. Out: two compacted topics, keyed by decision id, from which a ledger
//! whose disk was lost is made again. Fails when the brokers do.
//!
//! A batch is produced while the disk syncs it and is acknowledged before anybody is told that it is durable; so what the
//! mirror lacks has not led to a request.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::OpenError;
use crate::decision::DecisionId;

/// How long the brokers may take to answer a question about topics.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait when librdkafka's own queue is full.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(1);

/// Where the mirror is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorTopics {
    /// `host:port`, with commas between several.
    pub brokers: String,
    /// The topic of decisions.
    pub decisions: String,
    /// The topic of deliveries.
    pub deliveries: String,
}

/// What an entry of the mirror is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Decision,
    Delivery,
}

impl MirrorTopics {
    fn topic(&self, entry: Entry) -> &str {
        match entry {
            Entry::Decision => &self.decisions,
            Entry::Delivery => &self.deliveries,
        }
    }

    fn failed(&self, topic: &str, error: KafkaError) -> MirrorError {
        MirrorError::Kafka { brokers: self.brokers.clone(), topic: topic.to_owned(), error: Arc::new(error) }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    /// Makes the topics, compacted, where they are missing.
    fn create(&self) -> Result<(), MirrorError> {
        let both = [self.decisions.as_str(), self.deliveries.as_str()];
        let failed = |error| self.failed(&both.join(", "), error);
        let admin: AdminClient<DefaultClientContext> = self.client().create().map_err(failed)?;
        // As many partitions and replicas as the brokers give by default.
        let new =
            both.map(|topic| NewTopic::new(topic, -1, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact"));
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_TIMEOUT));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(KafkaError::AdminOpCreation(error.to_string())))?;
        for created in runtime.block_on(admin.create_topics(&new, &options)).map_err(failed)? {
            match created {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => return Err(self.failed(&topic, KafkaError::AdminOp(code))),
            }
        }
        Ok(())
    }

    /// Reads all that the mirror has, entry by entry, later ones after earlier ones of one id.
    pub(super) fn read(
        &self,
        mut take: impl FnMut(Entry, DecisionId, &[u8]) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        self.create()?;
        for entry in [Entry::Decision, Entry::Delivery] {
            self.read_topic(self.topic(entry), |id, json| take(entry, id, json))?;
        }
        Ok(())
    }

    fn read_topic(
        &self,
        topic: &str,
        mut take: impl FnMut(DecisionId, &[u8]) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        let failed = |error| self.failed(topic, error);
        let mut config = self.client();
        config.set("group.id", "beckon-mirror").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().map_err(failed)?;
        let metadata = consumer.fetch_metadata(Some(topic), ANSWER_TIMEOUT).map_err(failed)?;
        let mut assignment = TopicPartitionList::new();
        let mut unread = 0;
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            assignment.add_partition_offset(topic, partition.id(), Offset::Beginning).map_err(failed)?;
            unread += 1;
        }
        consumer.assign(&assignment).map_err(failed)?;
        while unread > 0 {
            match consumer.poll(ANSWER_TIMEOUT) {
                Some(Ok(message)) => {
                    let place = || format!("{topic}/{}/{}", message.partition(), message.offset());
                    let id = message.key().and_then(|key| std::str::from_utf8(key).ok()?.parse().ok());
                    let id =
                        id.ok_or_else(|| MirrorError::Entry { place: place(), fault: "its key is no id".into() })?;
                    take(id, message.payload().unwrap_or_default())?;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => unread -= 1,
                Some(Err(error)) => return Err(failed(error).into()),
                None => return Err(failed(KafkaError::Global(RDKafkaErrorCode::OperationTimedOut)).into()),
            }
        }
        Ok(())
    }
}

/// The mirror, open for writing.
pub(super) struct Mirror {
    topics: MirrorTopics,
    producer: ThreadedProducer<Acks>,
    acks: Receiver<Result<(), KafkaError>>,
    unacknowledged: usize,
}

impl Mirror {
    /// Connects, and makes the topics where they are missing.
    pub fn open(topics: MirrorTopics) -> Result<Mirror, MirrorError> {
        topics.create()?;
        let (sender, acks) = crossbeam_channel::unbounded();
        let mut config = topics.client();
        config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "1");
        let producer = config.create_with_context(Acks(sender));
        let producer = producer.map_err(|error| topics.failed(&topics.decisions, error))?;
        Ok(Mirror { topics, producer, acks, unacknowledged: 0 })
    }

    /// Hands entries to the brokers. They are there after the next [`Mirror::settle`].
    pub fn send_all(&mut self, entries: Vec<(Entry, DecisionId, Vec<u8>)>) -> Result<(), MirrorError> {
        entries.into_iter().try_for_each(|(entry, id, json)| self.send(entry, id, &json))
    }

    fn send(&mut self, entry: Entry, id: DecisionId, json: &[u8]) -> Result<(), MirrorError> {
        let (topic, key) = (self.topics.topic(entry), id.to_string());
        let mut record = BaseRecord::to(topic).key(&key).payload(json);
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    std::thread::sleep(QUEUE_FULL_WAIT);
                    record = back;
                }
                Err((error, _)) => return Err(self.topics.failed(topic, error)),
            }
        }
        self.unacknowledged += 1;
        Ok(())
    }

    /// Waits until the brokers have all that was sent.
    pub fn settle(&mut self) -> Result<(), MirrorError> {
        while self.unacknowledged > 0 {
            self.unacknowledged -= 1;
            // The producer lives as long as this does, and answers for each.
            let ack = self.acks.recv().unwrap_or(Err(KafkaError::Canceled));
            ack.map_err(|error| self.topics.failed(&self.topics.decisions, error))?;
        }
        Ok(())
    }
}

/// Hears of acknowledgements.
struct Acks(Sender<Result<(), KafkaError>>);

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let result = result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone());
        // Nobody listens any more when the ledger is being closed.
        let _ = self.0.send(result);
    }
}

/// Why the mirror cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MirrorError {
    /// The brokers.
    #[error(
        "the ledger cannot be mirrored to {topic} at {brokers}: {error}\n  check the brokers and the right to make and write the topics, or set `mirror = false` under [kafka]"
    )]
    Kafka {
        /// Where.
        brokers: String,
        /// Which topic.
        topic: String,
        /// Why.
        error: Arc<KafkaError>,
    },
    /// An entry that the ledger did not write.
    #[error("the ledger's mirror has an entry at {place} that cannot be used: {fault}\n  is the topic used by others?")]
    Entry {
        /// Topic, partition, offset.
        place: String,
        /// What is wrong with it.
        fault: String,
    },
}
