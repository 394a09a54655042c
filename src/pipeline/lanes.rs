//! Partitions on their way into the graph: read and decoded a few blocks ahead, on threads of their own, then retimed in
//! their own order. In: partitions. Out: batches of records at the ticks at which they take effect, and the dead letters.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use beckon_dataflows::inputs::Batch;
use beckon_dataflows::model::{Position, Stream, Tick};
use crossbeam_channel::{Receiver, Sender};

use crate::decode::{Bad, Decoder, Dictionary, Pin};
use crate::meter::Meter;
use crate::reclock::PartitionClock;
use crate::source::{Block, Partition, Read, SourceError};

/// How many blocks of a partition are read ahead.
const BLOCKS_AHEAD: usize = 3;

/// How much of a bad record is kept, bytes.
const DEAD_BYTES_MAX: usize = 64 << 10;

/// A record that could not be used.
pub struct DeadLetter {
    /// Where it stands.
    pub position: Position,
    /// Why.
    pub reason: Bad,
    /// Its bytes, or the first 64 KiB of them.
    pub record: Vec<u8>,
}

impl DeadLetter {
    /// The letter as one line of JSON: stream, partition, offset (a line number in a file), reason, record.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "stream": self.position.stream().name(),
            "partition": self.position.partition(),
            "offset": self.position.offset(),
            "kind": self.reason.kind(),
            "reason": self.reason.to_string(),
            "record": String::from_utf8_lossy(&self.record),
        })
    }
}

/// A decoded block: records with their event times.
struct Decoded {
    /// Its stream.
    stream: Stream,
    /// The good records.
    batch: Batch,
    /// The others.
    dead: Vec<DeadLetter>,
    /// How many there were of both.
    records: u64,
    /// How far its partition has been read, where there is an end to it.
    share_read: Option<f64>,
    /// Keeps their names until it is known when they take effect.
    names: Pin,
}

/// Threads that decode blocks.
pub struct Decoders {
    jobs: Sender<(Block, Sender<Decoded>)>,
}

impl Decoders {
    /// Starts `threads` of them. They end when this is dropped.
    pub fn start(threads: usize, dictionary: &Arc<Dictionary>) -> Decoders {
        let (jobs, waiting) = crossbeam_channel::unbounded::<(Block, Sender<Decoded>)>();
        for _ in 0..threads.max(1) {
            let (waiting, mut decoder) = (waiting.clone(), Decoder::new(dictionary.clone()));
            std::thread::spawn(move || {
                for (block, reply) in waiting {
                    // Nobody waits for it any more when the lane is gone.
                    let _ = reply.send(decode(&mut decoder, &block));
                }
            });
        }
        Decoders { jobs }
    }

    fn submit(&self, block: Block) -> Receiver<Decoded> {
        let (reply, decoded) = crossbeam_channel::bounded(1);
        // The threads live as long as this does.
        let _ = self.jobs.send((block, reply));
        decoded
    }
}

/// Decodes a block, record by record: a bad one is set aside and harms no neighbour.
fn decode(decoder: &mut Decoder, block: &Block) -> Decoded {
    let mut decoded = Decoded {
        stream: block.stream,
        batch: Batch::default(),
        dead: Vec::new(),
        records: 0,
        share_read: block.share_read,
        names: decoder.pin(),
    };
    for (offset, record) in block.records() {
        decoded.records += 1;
        let position = Position::new(block.stream, block.partition, offset);
        match decoder.decode(position, record) {
            Ok(good) => decoded.batch.push(good.record, good.event_ms),
            Err(reason) => {
                let record = record[..record.len().min(DEAD_BYTES_MAX)].to_vec();
                decoded.dead.push(DeadLetter { position, reason, record });
            }
        }
    }
    decoded
}

/// What every lane hands its blocks to.
pub struct Intake<'a> {
    /// The threads that decode.
    pub decoders: Decoders,
    /// Where everything is counted.
    pub meter: Arc<Meter>,
    /// Where the dead letters go.
    pub bury: Bury<'a>,
}

/// Keeps a dead letter, or fails to.
pub type Bury<'a> = Box<dyn FnMut(DeadLetter) -> anyhow::Result<()> + 'a>;

/// One partition.
pub struct Lane {
    partition: Box<dyn Partition>,
    ahead: VecDeque<Receiver<Decoded>>,
    ended: bool,
    caught_up: bool,
    share_read: f64,
    /// Its clock.
    pub clock: PartitionClock,
}

impl Lane {
    /// A lane of which nothing has been read.
    pub fn new(partition: Box<dyn Partition>, clock: PartitionClock) -> Lane {
        Lane { partition, ahead: VecDeque::new(), ended: false, caught_up: false, share_read: 0.0, clock }
    }

    /// The next block's good records, each at the tick at which it takes effect (SPEC §2), none before `open`; the dead
    /// letters go to the intake. None when the partition gives nothing now. Waits for the decoder, and at most `wait` for
    /// the source.
    pub fn take(
        &mut self,
        intake: &mut Intake<'_>,
        wait: Duration,
        open: Tick,
        now_ms: Option<u64>,
    ) -> anyhow::Result<Option<Batch>> {
        self.read_ahead(&intake.decoders, wait)?;
        let Some(mut decoded) = self.ahead.pop_front().and_then(|decoded| decoded.recv().ok()) else { return Ok(None) };
        self.share_read = decoded.share_read.unwrap_or(self.share_read);
        let before = (self.clock.late(), self.clock.skewed());
        decoded.batch.retime(|event_ms| self.clock.bind(event_ms, open, now_ms));
        decoded.names.taken(decoded.batch.last());
        intake.meter.rebound(self.clock.late() - before.0, self.clock.skewed() - before.1);
        intake.meter.read(decoded.stream, decoded.records);
        intake.meter.newest(self.clock.greatest_ms().unwrap_or(0));
        for dead in decoded.dead {
            intake.meter.bad(decoded.stream, dead.reason.kind());
            (intake.bury)(dead)?;
        }
        Ok(Some(decoded.batch))
    }

    fn read_ahead(&mut self, decoders: &Decoders, wait: Duration) -> Result<(), SourceError> {
        while !self.ended && self.ahead.len() < BLOCKS_AHEAD {
            let wait = if self.ahead.is_empty() { wait } else { Duration::ZERO };
            match self.partition.read(wait)? {
                Read::Block(block) => self.ahead.push_back(decoders.submit(block)),
                Read::Idle { caught_up } => {
                    self.caught_up = caught_up && self.ahead.is_empty();
                    break;
                }
                Read::End => self.ended = true,
            }
        }
        Ok(())
    }

    /// Whether everything has been read and handed out.
    pub fn finished(&self) -> bool {
        self.ended && self.ahead.is_empty()
    }

    /// Whether it has been read to its present end.
    pub fn caught_up(&self) -> bool {
        self.caught_up
    }

    /// How far it has been read, 0 to 1.
    pub fn share_read(&self) -> f64 {
        if self.finished() { 1.0 } else { self.share_read }
    }
}
