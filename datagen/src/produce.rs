//! Streams as Kafka topics. In: events, and a pace. Out: each on the topic of its stream's name, under its key,
//! acknowledged by all replicas and in order per partition. Fails where the brokers cannot be reached or take a record
//! for bad; a broker that is away for a while only delays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use crate::files::Written;
use crate::stream::{Event, STREAMS, stream_index};

/// How long the brokers have to answer at all, at the start.
const CONNECT: Duration = Duration::from_secs(10);

/// How long what is under way at the end may take to be acknowledged.
const FLUSH: Duration = Duration::from_secs(30);

/// The longest nap, so that the stop flag is seen soon.
const NAP_MOST: Duration = Duration::from_millis(50);

/// When events are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As fast as the brokers take them.
    Unpaced,
    /// So many seconds of virtual time a second; the first event goes at once.
    Speed(f64),
    /// When the wall clock shows their time. One who cannot keep up sends late, and never changes a time.
    Live,
}

/// How far a production is; written by [`produce`], read by whoever looks on.
#[derive(Debug, Default)]
pub struct Progress {
    /// Records handed to the producer, in the order of [`STREAMS`].
    pub said: [AtomicU64; STREAMS.len()],
    /// Their bytes, a line feed each included, likewise.
    pub bytes: [AtomicU64; STREAMS.len()],
    /// Records that the brokers have acknowledged.
    pub acknowledged: AtomicU64,
    /// Records that the producer has given up.
    pub failed: AtomicU64,
    /// The time of the newest record, in epoch milliseconds.
    pub time_ms: AtomicI64,
    /// By how many milliseconds the newest record was sent later than the pace asks for.
    pub behind_ms: AtomicI64,
}

impl Progress {
    /// What was handed to the producer, stream by stream.
    pub fn written(&self) -> Written {
        let read =
            |counts: &[AtomicU64; STREAMS.len()]| std::array::from_fn(|place| counts[place].load(Ordering::Relaxed));
        Written { records: read(&self.said), bytes: read(&self.bytes) }
    }

    fn count(&self, event: &Event, behind_ms: i64) {
        let place = stream_index(event.stream);
        self.said[place].fetch_add(1, Ordering::Relaxed);
        self.bytes[place].fetch_add(event.json.len() as u64 + 1, Ordering::Relaxed);
        self.time_ms.store(event.time_ms, Ordering::Relaxed);
        self.behind_ms.store(behind_ms, Ordering::Relaxed);
    }

    /// Records handed to the producer, of all streams.
    pub fn said_total(&self) -> u64 {
        self.said.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// Why a production ended before its events did.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// The client's configuration was refused.
    #[error("cannot make a Kafka producer for the brokers '{brokers}': {source}")]
    Client {
        /// As given.
        brokers: String,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// No broker answered.
    #[error("no Kafka broker answered at '{brokers}' within {} s ({source}); is the address right, and is it up?", CONNECT.as_secs())]
    Unreachable {
        /// As given.
        brokers: String,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// A record was refused at once, so that going on would leave a gap.
    #[error("Kafka refused a record for the topic '{topic}': {source}")]
    Refused {
        /// The topic.
        topic: &'static str,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// Some records were never acknowledged.
    #[error("{count} of {said} records were not acknowledged by Kafka; the topics are missing them")]
    Unacknowledged {
        /// How many.
        count: u64,
        /// Of how many.
        said: u64,
    },
}

/// Counts acknowledgements. Runs on the producer's own thread.
struct Acknowledgements(Arc<Progress>);

impl ClientContext for Acknowledgements {}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = if result.is_ok() { &self.0.acknowledged } else { &self.0.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends the events to the topics of their streams' names, until they end or `stop` is set, and waits until all that
/// was sent is acknowledged. Topics that are not there are left to the broker to create. Blocks; wants a thread of
/// its own.
pub fn produce(
    brokers: &str,
    events: impl IntoIterator<Item = Event>,
    pace: Pace,
    stop: &AtomicBool,
    progress: &Arc<Progress>,
) -> Result<(), ProduceError> {
    let producer = connect(brokers, progress)?;
    let mut metronome = Metronome { pace, origin: None };
    for event in events {
        let Some(behind_ms) = metronome.wait(event.time_ms, stop) else {
            break;
        };
        if !send(&producer, &event, stop)? {
            break;
        }
        progress.count(&event, behind_ms);
    }
    // Whether it went well shows in the count: what is not acknowledged by now is reported below.
    let _ = producer.flush(FLUSH);
    let said = progress.said_total();
    match said - progress.acknowledged.load(Ordering::Relaxed).min(said) {
        0 => Ok(()),
        count => Err(ProduceError::Unacknowledged { count, said }),
    }
}

fn connect(brokers: &str, progress: &Arc<Progress>) -> Result<ThreadedProducer<Acknowledgements>, ProduceError> {
    let producer: ThreadedProducer<Acknowledgements> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("client.id", "datagen")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        // As Java's client does it, so that a key has one partition whoever writes it.
        .set("partitioner", "murmur2_random")
        .create_with_context(Acknowledgements(progress.clone()))
        .map_err(|source| ProduceError::Client { brokers: brokers.to_owned(), source })?;
    producer
        .client()
        .fetch_metadata(None, CONNECT)
        .map_err(|source| ProduceError::Unreachable { brokers: brokers.to_owned(), source })?;
    Ok(producer)
}

/// Hands one event over, waiting while the producer's queue is full. False if stopped while waiting.
fn send(producer: &ThreadedProducer<Acknowledgements>, event: &Event, stop: &AtomicBool) -> Result<bool, ProduceError> {
    let mut record = BaseRecord::to(event.stream).key(&event.key).payload(&event.json);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                std::thread::sleep(Duration::from_millis(2));
                record = back;
            }
            Err((source, _)) => {
                return Err(ProduceError::Refused { topic: event.stream, source });
            }
        }
    }
}

/// Waits until it is an event's turn.
struct Metronome {
    pace: Pace,
    /// When the first event went, and its time.
    origin: Option<(Instant, i64)>,
}

impl Metronome {
    /// By how many milliseconds the event is late; `None` if stopped while waiting.
    fn wait(&mut self, time_ms: i64, stop: &AtomicBool) -> Option<i64> {
        loop {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let early_ms = self.early_ms(time_ms);
            if early_ms < 1.0 {
                return Some(-early_ms as i64);
            }
            std::thread::sleep(Duration::from_micros((early_ms * 1_000.0) as u64).min(NAP_MOST));
        }
    }

    /// How many milliseconds are left until it is the event's turn; negative once it has passed.
    fn early_ms(&mut self, time_ms: i64) -> f64 {
        match self.pace {
            Pace::Unpaced => 0.0,
            Pace::Live => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                time_ms as f64 - now.as_secs_f64() * 1_000.0
            }
            Pace::Speed(speed) => {
                let (began, first_ms) = *self.origin.get_or_insert_with(|| (Instant::now(), time_ms));
                (time_ms - first_ms) as f64 / speed - began.elapsed().as_secs_f64() * 1_000.0
            }
        }
    }
}
