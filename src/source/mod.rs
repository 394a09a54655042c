//! Where records come from. A source is a list of partitions, each read in its own order; Beckon owns how far it has read.
//! In: a topic's partition or a file. Out: blocks of raw records. Fails when the disk or the broker does.

pub mod files;
pub mod kafka;

use std::time::Duration;

use beckon_dataflows::model::Stream;

/// One partition of one stream.
pub trait Partition: Send {
    /// Its stream.
    fn stream(&self) -> Stream;

    /// Its number within the stream; 0 for a file.
    fn number(&self) -> u32;

    /// Where it begins: the offset of the first record that is still there, or more. 1 for a file, whose lines are its
    /// offsets.
    fn first(&self) -> u64;

    /// The next records, waiting at most `wait` for them.
    fn read(&mut self, wait: Duration) -> Result<Read, SourceError>;
}

/// What a partition had to give.
pub enum Read {
    /// Records.
    Block(Block),
    /// Nothing yet.
    Idle {
        /// And nothing is on its way: it has been read to its present end.
        caught_up: bool,
    },
    /// Nothing ever again.
    End,
}

/// Raw records of one partition, in their order.
pub struct Block {
    /// Their stream.
    pub stream: Stream,
    /// Their partition.
    pub partition: u32,
    /// The records' bytes, one after the other.
    pub bytes: Vec<u8>,
    /// How the bytes divide into records.
    pub framing: Framing,
    /// How far the partition has been read with this block, as a share of what there is; none when there is no end to it.
    pub share_read: Option<f64>,
}

/// How a block's bytes divide into records.
pub enum Framing {
    /// Lines, the first of which has this number. Blank lines are no records.
    Lines {
        /// Number of the first line, from 1.
        first: u64,
    },
    /// Messages, each with its offset and the end of its bytes.
    Messages(Vec<(u64, usize)>),
}

impl Block {
    /// The records, each with its offset.
    pub fn records(&self) -> Box<dyn Iterator<Item = (u64, &[u8])> + '_> {
        match &self.framing {
            Framing::Lines { first } => {
                let mut start = 0;
                let ends = memchr::memchr_iter(b'\n', &self.bytes).chain([self.bytes.len()]);
                let lines = ends.map(move |end| &self.bytes[std::mem::replace(&mut start, end + 1)..end]);
                Box::new((*first..).zip(lines).filter(|(_, line)| !line.trim_ascii_start().is_empty()))
            }
            Framing::Messages(messages) => {
                let mut start = 0;
                Box::new(messages.iter().map(move |(offset, end)| {
                    let record = &self.bytes[start..*end];
                    start = *end;
                    (*offset, record)
                }))
            }
        }
    }
}

/// Why a partition cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file.
    #[error("cannot read {path}: {error}\n  check that the file is there, readable, and whole")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A topic.
    #[error(
        "cannot read topic {topic} from {brokers}: {error}\n  check that the brokers are up and reachable from here"
    )]
    Kafka {
        /// Where.
        brokers: String,
        /// Which.
        topic: String,
        /// Why.
        error: Box<rdkafka::error::KafkaError>,
    },
    /// A topic that is not the one that was read before.
    #[error(
        "topic {topic}, partition {partition} ends at offset {high}, but was read up to {offset} before\n  it was made anew, or its brokers have lost records"
    )]
    Shorter {
        /// Which.
        topic: String,
        /// Which of its partitions.
        partition: i32,
        /// The offset after its last record.
        high: i64,
        /// The offset to read on from.
        offset: i64,
    },
    /// A topic that is not there.
    #[error(
        "the brokers at {brokers} have no topic {topic} for the stream {stream}\n  create it, or name the right one under [kafka] topics"
    )]
    NoTopic {
        /// Where.
        brokers: String,
        /// Which.
        topic: String,
        /// The stream.
        stream: Stream,
    },
    /// Two files for one stream.
    #[error("{first} and {second} are both the stream {stream}\n  keep one of them: their order would be a guess")]
    Twice {
        /// The stream.
        stream: Stream,
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A directory without any stream.
    #[error(
        "{directory} has no stream: no clickstream.jsonl, carts.jsonl, …, also as .jsonl.gz or .jsonl.zst\n  `datagen shop --out {directory}` makes some"
    )]
    Empty {
        /// Which.
        directory: String,
    },
}
