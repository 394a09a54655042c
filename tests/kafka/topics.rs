//! Topics of the test broker. In: names, partitions, keyed records. Out: where each record was acknowledged, and
//! everything that a topic holds. Fails with what Kafka said, and with a deadline on everything.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::Broker;

/// The greatest record that the broker takes: above SPEC §1's limit of 1 MiB, so that tests can exceed that.
pub const MESSAGE_BYTES_MAX: u32 = 4 << 20;

const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// Records in flight at once: below librdkafka's own queue limit of 100,000.
const RECORDS_IN_FLIGHT_MAX: usize = 20_000;

/// A record as a topic holds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredRecord {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    /// `None` for a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Epoch milliseconds, as the producer set it.
    pub timestamp_ms: Option<i64>,
}

impl Broker {
    /// Creates `topic` and waits until every partition has a leader.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        self.create_topic_with(topic, partitions, &[])
    }

    /// Creates `topic` with Kafka's own topic settings, such as `("cleanup.policy", "compact")`.
    pub fn create_topic_with(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let wanted = settings
            .iter()
            .fold(NewTopic::new(topic, partitions, TopicReplication::Fixed(1)), |wanted, (key, value)| {
                wanted.set(key, value)
            });
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_WAIT_MAX));
        let answers = block_on(admin.create_topics([&wanted], &options))??;
        for answer in answers {
            answer.map_err(|(topic, code)| anyhow!("topic {topic} was not created: {code}"))?;
        }
        self.wait_for_leaders(topic, partitions)
    }

    fn wait_for_leaders(&self, topic: &str, partitions: i32) -> Result<()> {
        let consumer: BaseConsumer = self.client().create()?;
        let deadline = Instant::now() + ANSWER_WAIT_MAX;
        loop {
            let metadata = consumer.fetch_metadata(Some(topic), ANSWER_WAIT_MAX)?;
            let led = metadata
                .topics()
                .iter()
                .flat_map(|topic| topic.partitions())
                .filter(|partition| partition.leader() >= 0)
                .count();
            if led == partitions as usize {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{led} of {partitions} partitions of {topic} have a leader after {ANSWER_WAIT_MAX:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Writes keyed lines with acks=all, each key's in order, and waits until every one is acknowledged. Gives the
    /// partition and offset of each, in the order written.
    pub fn produce<K: AsRef<str>, P: AsRef<str>>(&self, topic: &str, lines: &[(K, P)]) -> Result<Vec<(i32, i64)>> {
        let producer: FutureProducer =
            self.client().set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "5").create()?;
        block_on(async {
            let mut acknowledged = Vec::with_capacity(lines.len());
            for some in lines.chunks(RECORDS_IN_FLIGHT_MAX) {
                let mut deliveries = Vec::with_capacity(some.len());
                for (key, line) in some {
                    let record = FutureRecord::to(topic).key(key.as_ref()).payload(line.as_ref());
                    deliveries.push(producer.send_result(record).map_err(|(error, _)| error)?);
                }
                for delivery in deliveries {
                    let delivered = delivery.await?.map_err(|(error, _)| error)?;
                    acknowledged.push((delivered.partition, delivered.offset));
                }
            }
            Ok(acknowledged)
        })?
    }

    /// Everything that `topic` holds, sorted by partition and offset. Reads up to the end of each partition as it is
    /// when the reader gets there; records of aborted transactions are left out.
    pub fn read_all(&self, topic: &str) -> Result<Vec<StoredRecord>> {
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", "unused: nothing is committed")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "50")
            .create()?;
        let mut open = self.assign_from_start(&consumer, topic)?;
        let mut records = Vec::new();
        let deadline = Instant::now() + ANSWER_WAIT_MAX;
        while open > 0 {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push(stored(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(error)) if !is_passing(&error) => return Err(error).context(format!("reading {topic}")),
                Some(Err(_)) | None => {}
            }
            if Instant::now() > deadline {
                bail!("{open} partitions of {topic} were not read to their end in {ANSWER_WAIT_MAX:?}");
            }
        }
        records.sort();
        Ok(records)
    }

    /// Assigns all partitions of `topic` from their first record on; gives their number.
    fn assign_from_start(&self, consumer: &BaseConsumer, topic: &str) -> Result<usize> {
        let metadata = consumer.fetch_metadata(Some(topic), ANSWER_WAIT_MAX)?;
        let mut assignment = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            assignment.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        }
        if assignment.count() == 0 {
            bail!("there is no topic {topic}");
        }
        consumer.assign(&assignment)?;
        Ok(assignment.count())
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.bootstrap())
            .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            .set("message.timeout.ms", ANSWER_WAIT_MAX.as_millis().to_string());
        config
    }
}

fn stored(message: &BorrowedMessage<'_>) -> StoredRecord {
    StoredRecord {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        timestamp_ms: message.timestamp().to_millis(),
    }
}

/// librdkafka reports broken connections as events and mends them itself.
fn is_passing(error: &KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure};
    matches!(
        error,
        KafkaError::MessageConsumption(BrokerTransportFailure | AllBrokersDown)
            | KafkaError::Global(BrokerTransportFailure | AllBrokersDown)
    )
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(work))
}
