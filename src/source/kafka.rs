//! Streams kept as Kafka topics. In: brokers and the topics' names. Out: one partition each, from its beginning. Offsets are
//! Beckon's own: nothing is committed to the broker. Fails when no broker answers, or a topic is not there; once reading, an
//! outage of the broker is waited out.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use beckon_dataflows::model::Stream;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::{Block, Framing, Partition, Read, SourceError};
use crate::cluster::Share;

/// A block is handed out when it has this many bytes or records, or nothing more is there.
const BLOCK_BYTES: usize = 256 << 10;
const BLOCK_RECORDS: usize = 2048;

/// How long to wait for a broker's answer before the start is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two questions who leads a partition.
const LEADER_PAUSE: Duration = Duration::from_millis(200);

/// After so long with nothing a partition's broker is asked again whether there is nothing.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How long it is believed that there is nothing. A broker that is gone may have acknowledged more to others when it is back, so
/// deadlines wait for it.
const BELIEVED: Duration = Duration::from_secs(2);

/// Where a topic ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Where it ends now: what is retained, for a replay.
    Retained,
    /// Never.
    Endless,
}

/// Opens the partitions of the topics that are in the `share`, each at the offset that `from` says, or at its beginning. `wake` is
/// called, from any thread, when one that had nothing to give has something again.
pub fn open(
    brokers: &str,
    topics: &[(Stream, String)],
    extent: Extent,
    share: Share,
    from: &dyn Fn(Stream, u32) -> Option<u64>,
    wake: Arc<dyn Fn() + Send + Sync>,
) -> Result<Vec<Box<dyn Partition>>, SourceError> {
    let failed = |topic: &str, error: KafkaError| SourceError::Kafka {
        brokers: brokers.into(),
        topic: topic.into(),
        error: Box::new(error),
    };
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "beckon")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "50")
        .set("queued.max.messages.kbytes", "65536")
        .create()
        .map_err(|error| failed("", error))?;
    let mut found: Vec<(Stream, &str, i32)> = Vec::new();
    for (stream, topic) in topics {
        let metadata = consumer.fetch_metadata(Some(topic), ANSWER_TIMEOUT).map_err(|error| failed(topic, error))?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let mut partitions: Vec<i32> = partitions.map(|partition| partition.id()).collect();
        partitions.sort_unstable();
        if partitions.is_empty() {
            return Err(SourceError::NoTopic { brokers: brokers.into(), topic: topic.clone(), stream: *stream });
        }
        found.extend(partitions.into_iter().map(|partition| (*stream, topic.as_str(), partition)));
    }
    let consumer = Arc::new(consumer);
    let mut assignment = TopicPartitionList::new();
    let mut partitions: Vec<Box<dyn Partition>> = Vec::new();
    for (stream, topic, number) in share.of(found) {
        let (low, high) = watermarks(&consumer, topic, number).map_err(|error| failed(topic, error))?;
        let next = match from(stream, number.unsigned_abs()).map(|offset| offset as i64) {
            Some(offset) if offset > high => {
                return Err(SourceError::Shorter { topic: topic.into(), partition: number, high, offset });
            }
            Some(offset) if offset < low => {
                let dropped = low - offset;
                tracing::warn!(topic, partition = number, dropped, "the topic has dropped records that were not read");
                low
            }
            Some(offset) => offset,
            None => low,
        };
        let begin = if next > low { Offset::Offset(next) } else { Offset::Beginning };
        assignment.add_partition_offset(topic, number, begin).map_err(|error| failed(topic, error))?;
        let mut queue = consumer
            .split_partition_queue(topic, number)
            .ok_or_else(|| failed(topic, KafkaError::Subscription(format!("no queue for partition {number}"))))?;
        let wake = wake.clone();
        queue.set_nonempty_callback(move || wake());
        let ends_at = (extent == Extent::Retained).then_some(high);
        let ended = ends_at.is_some_and(|high| next >= high);
        let topic = topic.to_owned();
        partitions.push(Box::new(TopicPartition {
            stream,
            topic,
            number,
            queue,
            low,
            high,
            ends_at,
            ended,
            next,
            consumer: consumer.clone(),
            end_said: None,
            asked: Instant::now(),
        }));
    }
    consumer.assign(&assignment).map_err(|error| failed("", error))?;
    serve(&consumer);
    Ok(partitions)
}

/// The first offset of a partition, and the one after its last. Waits while the brokers have yet to agree who leads it: one has just started.
fn watermarks(consumer: &BaseConsumer, topic: &str, number: i32) -> KafkaResult<(i64, i64)> {
    let began = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, number, ANSWER_TIMEOUT) {
            Err(error) if has_no_leader(&error) && began.elapsed() < ANSWER_TIMEOUT => {
                std::thread::sleep(LEADER_PAUSE);
            }
            found => return found,
        }
    }
}

fn has_no_leader(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition};
    matches!(error.rdkafka_error_code(), Some(NotLeaderForPartition | LeaderNotAvailable))
}

/// Serves the consumer's own events (errors, statistics), which librdkafka wants polled, until the last partition is gone.
fn serve(consumer: &Arc<BaseConsumer>) {
    let consumer: Weak<BaseConsumer> = Arc::downgrade(consumer);
    std::thread::spawn(move || {
        while let Some(consumer) = consumer.upgrade() {
            if let Some(Err(error)) = consumer.poll(Duration::from_millis(100)) {
                tracing::warn!(%error, "kafka");
            }
            drop(consumer);
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

/// One partition of one topic.
struct TopicPartition {
    stream: Stream,
    topic: String,
    number: i32,
    queue: PartitionQueue<DefaultConsumerContext>,
    low: i64,
    high: i64,
    ends_at: Option<i64>,
    ended: bool,
    /// Offset of the next record.
    next: i64,
    consumer: Arc<BaseConsumer>,
    /// When the broker last said that there is nothing more, if nothing came since.
    end_said: Option<Instant>,
    /// When it was last asked to say so.
    asked: Instant,
}

impl TopicPartition {
    /// Whether the partition has been read to its present end.
    fn caught_up(&mut self) -> bool {
        let Some(said) = self.end_said else { return false };
        if self.ends_at.is_none() && said.elapsed().min(self.asked.elapsed()) >= ASK_AGAIN {
            self.ask_for_the_end();
        }
        said.elapsed() < BELIEVED
    }

    /// librdkafka says once that a partition has ended there, however often it is told so; and anew after a seek.
    fn ask_for_the_end(&mut self) {
        self.asked = Instant::now();
        let here = Offset::Offset(self.next);
        if let Err(error) = self.consumer.seek(&self.topic, self.number, here, Duration::ZERO) {
            tracing::warn!(%error, topic = self.topic, partition = self.number, "cannot ask where the partition ends");
        }
    }
}

impl Partition for TopicPartition {
    fn stream(&self) -> Stream {
        self.stream
    }

    fn number(&self) -> u32 {
        self.number.unsigned_abs()
    }

    fn first(&self) -> u64 {
        self.low.unsigned_abs()
    }

    fn read(&mut self, wait: Duration) -> Result<Read, SourceError> {
        if self.ended {
            return Ok(Read::End);
        }
        let mut bytes = Vec::new();
        let mut messages: Vec<(u64, usize)> = Vec::new();
        let mut wait = wait;
        while bytes.len() < BLOCK_BYTES && messages.len() < BLOCK_RECORDS && !self.ended {
            match self.queue.poll(wait) {
                // A broker that was killed can make the client begin anew; what was read is not read again.
                Some(Ok(message)) if message.offset() < self.next => {}
                Some(Ok(message)) => {
                    self.next = message.offset() + 1;
                    self.end_said = None;
                    bytes.extend_from_slice(message.payload().unwrap_or_default());
                    messages.push((message.offset().unsigned_abs(), bytes.len()));
                    self.ended = self.ends_at.is_some_and(|end| message.offset() + 1 >= end);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    self.end_said = Some(Instant::now());
                    self.ended = self.ends_at.is_some();
                }
                Some(Err(error)) if fatal(&error) => {
                    let (brokers, topic) = (String::new(), format!("{}/{}", self.topic, self.number));
                    return Err(SourceError::Kafka { brokers, topic, error: Box::new(error) });
                }
                Some(Err(error)) => tracing::warn!(%error, topic = self.topic, partition = self.number, "kafka"),
                None => break,
            }
            wait = Duration::ZERO;
        }
        if messages.is_empty() {
            return Ok(if self.ended { Read::End } else { Read::Idle { caught_up: self.caught_up() } });
        }
        let read_to = messages.last().map_or(0, |(offset, _)| offset + 1);
        let share_read =
            self.ends_at.map(|_| (read_to as f64 - self.low as f64) / (self.high - self.low).max(1) as f64);
        let framing = Framing::Messages(messages);
        Ok(Read::Block(Block { stream: self.stream, partition: self.number(), bytes, framing, share_read }))
    }
}

/// Whether waiting cannot help: the records that come next are gone, or the topic is.
fn fatal(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::Fatal
        )
    )
}
