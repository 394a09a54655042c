//! Partitions on their way into the graph: read and decoded a few blocks ahead, on threads of their own, then retimed in
//! their own order. In: partitions. Out: batches of records at the ticks at which they take effect, and the dead letters.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use beckon_dataflows::inputs::Batch;
use beckon_dataflows::model::{Position, Stream, Tick};
use crossbeam_channel::{Receiver, Sender};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::cluster::file_of;
use crate::decode::{Bad, Decoder, Dictionary, Pin};
use crate::json_lines::JsonLines;
use crate::meter::Meter;
use crate::reclock::{Binding, Checkpoint, Note, Notes, PartitionClock, Reclock};
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

/// Where process `process` of a service keeps its dead letters: a file of its own in the folder `state`, appended to.
pub fn dead_letters(state: &Path, process: usize) -> anyhow::Result<JsonLines> {
    JsonLines::append_to(&file_of(&state.join("dead_letters.jsonl"), process))
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
    /// Where the last of them stands.
    last: Option<Position>,
    /// How far its partition has been read, where there is an end to it.
    share_read: Option<f64>,
    /// Its bytes, where they are kept.
    block: Option<Block>,
    /// Keeps their names until it is known when they take effect.
    names: Pin,
}

/// What becomes of a block's bytes once they are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// Nobody asks for them again.
    Dropped,
    /// They are handed out with the records.
    Kept,
}

/// A block up to this size is decoded by whoever reads it: to wake a thread and be woken by it takes longer.
const LITTLE_BYTES: usize = 16 << 10;

/// Those who decode blocks.
pub struct Decoders {
    /// Threads of their own, if there are any.
    threads: Option<Sender<(Block, Sender<Decoded>)>>,
    /// Whoever reads.
    own: Box<Decoder>,
    bytes: Bytes,
}

impl Decoders {
    /// Starts `threads` of them. They end when this is dropped.
    pub fn start(threads: usize, dictionary: &Arc<Dictionary>) -> Decoders {
        Decoders::start_threads(threads, dictionary, Bytes::Dropped, || ())
    }

    /// The same, that let workers go first where there are fewer cores than threads: they are ahead of those anyway, but a worker that waits
    /// for another one holds it up in turn.
    pub fn start_giving_way(threads: usize, dictionary: &Arc<Dictionary>) -> Decoders {
        Decoders::start_threads(threads, dictionary, Bytes::Dropped, give_way)
    }

    /// The same, that hand out each block's bytes along with its records, or drop them.
    pub fn start_with(threads: usize, dictionary: &Arc<Dictionary>, bytes: Bytes) -> Decoders {
        Decoders::start_threads(threads, dictionary, bytes, || ())
    }

    fn start_threads(threads: usize, dictionary: &Arc<Dictionary>, bytes: Bytes, begin: fn()) -> Decoders {
        let (jobs, waiting) = crossbeam_channel::unbounded::<(Block, Sender<Decoded>)>();
        for _ in 0..threads.max(1) {
            let (waiting, mut decoder) = (waiting.clone(), Decoder::new(dictionary.clone()));
            std::thread::spawn(move || {
                begin();
                for (block, reply) in waiting {
                    // Nobody waits for it any more when the lane is gone.
                    let _ = reply.send(decode(&mut decoder, block, bytes));
                }
            });
        }
        Decoders { threads: Some(jobs), bytes, ..Decoders::in_line(dictionary) }
    }

    /// No threads: each block is decoded by whoever reads it, as it is read.
    pub fn in_line(dictionary: &Arc<Dictionary>) -> Decoders {
        Decoders { threads: None, own: Box::new(Decoder::new(dictionary.clone())), bytes: Bytes::Dropped }
    }

    fn submit(&mut self, block: Block) -> Receiver<Decoded> {
        let (reply, decoded) = crossbeam_channel::bounded(1);
        match &self.threads {
            // The threads live as long as this does.
            Some(jobs) if block.bytes.len() > LITTLE_BYTES => drop(jobs.send((block, reply))),
            _ => drop(reply.send(decode(&mut self.own, block, self.bytes))),
        }
        decoded
    }
}

/// Lowers the priority of this thread. On other systems it would be the whole process's.
fn give_way() {
    const NICE: i32 = 10;
    if cfg!(target_os = "linux") {
        // Without it the work is done as well.
        let _ = rustix::process::nice(NICE);
    }
}

/// Decodes a block, record by record: a bad one is set aside and harms no neighbour.
fn decode(decoder: &mut Decoder, block: Block, bytes: Bytes) -> Decoded {
    let mut decoded = Decoded {
        stream: block.stream,
        batch: Batch::default(),
        dead: Vec::new(),
        records: 0,
        last: None,
        share_read: block.share_read,
        block: None,
        names: decoder.pin(),
    };
    for (offset, record) in block.records() {
        decoded.records += 1;
        let position = Position::new(block.stream, block.partition, offset);
        decoded.last = Some(position);
        match decoder.decode(position, record) {
            Ok(good) => decoded.batch.push(good.record, good.event_ms),
            Err(reason) => {
                let record = record[..record.len().min(DEAD_BYTES_MAX)].to_vec();
                decoded.dead.push(DeadLetter { position, reason, record });
            }
        }
    }
    decoded.block = (bytes == Bytes::Kept).then_some(block);
    decoded
}

/// What every lane hands its blocks to.
pub struct Intake<'a> {
    /// Those who decode.
    pub decoders: Decoders,
    /// Where everything is counted.
    pub meter: Arc<Meter>,
    /// Where the dead letters go.
    pub bury: Bury<'a>,
}

/// Keeps a dead letter, or fails to.
pub type Bury<'a> = Box<dyn FnMut(DeadLetter) -> anyhow::Result<()> + 'a>;

/// Where a partition is read on after a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Offset of the first record to read.
    pub offset: u64,
    /// What is known of those before.
    pub checkpoint: Checkpoint,
}

/// How lanes go on after a snapshot, and how they are prepared for the next.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// How far apart the ticks are of which snapshots can be taken, ms; none: there are none.
    pub every_ms: Option<u64>,
    /// The tick of the snapshot, and where each partition is read on after it.
    pub from: Option<(Tick, Places)>,
}

/// Where each partition is read on.
pub type Places = HashMap<(Stream, u32), Place>;

impl Resume {
    /// The offset at which a partition is read on; none: at its beginning.
    pub fn offset(&self, stream: Stream, partition: u32) -> Option<u64> {
        self.from.as_ref().and_then(|(_, places)| places.get(&(stream, partition))).map(|place| place.offset)
    }

    /// The tick that everything is resumed after.
    pub fn tick(&self) -> Option<Tick> {
        self.from.as_ref().map(|(tick, _)| *tick)
    }
}

/// One partition.
pub struct Lane {
    partition: Box<dyn Partition>,
    ahead: VecDeque<Receiver<Decoded>>,
    ended: bool,
    caught_up: bool,
    share_read: f64,
    read_to: Option<Position>,
    /// How far apart snapshots can be, ms.
    every_ms: Option<u64>,
    /// For the ticks of snapshots to come, the last place before which no record takes effect later. The first is for all earlier.
    places: BTreeMap<Tick, Place>,
    /// The tick of the snapshot that is gone on from, as long as records may come that it has.
    known_to: Option<Tick>,
    /// Its way from event time to ticks.
    pub reclock: Reclock,
}

/// What a lane gives at a time.
pub struct Taken {
    /// Records, each at the tick at which it takes effect.
    pub batch: Batch,
    /// How many there were, bad ones among them.
    pub records: u64,
    /// What the timeline must say of them, if anything.
    pub note: Option<Binding>,
    /// Their bytes, where the decoders keep them.
    pub block: Option<Block>,
}

impl Lane {
    /// Lanes of which nothing has been read since the snapshot that `resume` tells of, and of which the timeline says `noted`.
    pub fn open(
        partitions: Vec<Box<dyn Partition>>,
        clock: &PartitionClock,
        mut noted: Notes,
        resume: &Resume,
    ) -> Vec<Lane> {
        let lane = |partition: Box<dyn Partition>| {
            let key = (partition.stream(), partition.number());
            Lane::open_one(partition, clock, noted.remove(&key).unwrap_or_default(), resume)
        };
        partitions.into_iter().map(lane).collect()
    }

    fn open_one(partition: Box<dyn Partition>, clock: &PartitionClock, noted: Vec<Note>, resume: &Resume) -> Lane {
        let place = resume.from.as_ref().and_then(|(_, all)| all.get(&(partition.stream(), partition.number())));
        let mut reclock = match place {
            Some(place) => Reclock::resume(clock.clone(), place.checkpoint, noted),
            None => Reclock::new(clock.clone(), partition.first(), noted),
        };
        if let (None, Some(tick)) = (place, resume.tick()) {
            reclock.pass(clock.tick_after(tick));
        }
        let here = Place { offset: partition.first(), checkpoint: reclock.checkpoint() };
        Lane {
            partition,
            ahead: VecDeque::new(),
            ended: false,
            caught_up: false,
            share_read: 0.0,
            read_to: None,
            every_ms: resume.every_ms,
            places: [(0, place.copied().unwrap_or(here))].into(),
            known_to: resume.tick(),
            reclock,
        }
    }

    /// The next block's good records, each at the tick at which it takes effect (SPEC §2); live, `now_ms` is what the wall
    /// clock shows. The dead letters go to the intake. None when the partition gives nothing now. Waits for the decoder, and
    /// at most `wait` for the source.
    pub fn take(
        &mut self,
        intake: &mut Intake<'_>,
        wait: Duration,
        now_ms: Option<u64>,
    ) -> anyhow::Result<Option<Taken>> {
        self.read_ahead(&mut intake.decoders, wait)?;
        let Some(mut decoded) = self.ahead.pop_front().and_then(|decoded| decoded.recv().ok()) else { return Ok(None) };
        self.share_read = decoded.share_read.unwrap_or(self.share_read);
        self.read_to = decoded.last.or(self.read_to);
        let before = (self.reclock.clock().late(), self.reclock.clock().skewed());
        let note = self.reclock.bind(&mut decoded.batch, now_ms);
        decoded.names.taken(decoded.batch.last());
        self.leave_out_known(&mut decoded.batch);
        self.note_place();
        let clock = self.reclock.clock();
        intake.meter.rebound(clock.late() - before.0, clock.skewed() - before.1);
        intake.meter.read(decoded.stream, decoded.records);
        intake.meter.newest(clock.greatest_ms().unwrap_or(0));
        for dead in decoded.dead {
            intake.meter.bad(decoded.stream, dead.reason.kind());
            (intake.bury)(dead)?;
        }
        Ok(Some(Taken { batch: decoded.batch, records: decoded.records, note, block: decoded.block }))
    }

    /// Leaves out what the snapshot has that was gone on from.
    fn leave_out_known(&mut self, batch: &mut Batch) {
        let Some(tick) = self.known_to else { return };
        batch.retain_after(tick);
        if self.reclock.open() > tick {
            self.known_to = None;
        }
    }

    /// Notes that a later run can go on here, for the snapshots that have all so far.
    fn note_place(&mut self) {
        let Some(every_ms) = self.every_ms else { return };
        let checkpoint = self.reclock.checkpoint();
        let offset = self.read_to.map_or(checkpoint.next, |last| checkpoint.next.max(last.offset() + 1));
        self.places.insert(checkpoint.latest.next_multiple_of(every_ms), Place { offset, checkpoint });
    }

    /// Where a later run can go on that has the state at `tick`, a multiple of those at which snapshots can be taken. Ticks are asked
    /// for in their order.
    pub fn place_at(&mut self, tick: Tick) -> Option<Place> {
        while self.places.range(..=tick).nth(1).is_some() {
            self.places.pop_first();
        }
        self.places.first_key_value().map(|(_, place)| *place)
    }

    /// Which partition it is.
    pub fn partition(&self) -> (Stream, u32) {
        (self.partition.stream(), self.partition.number())
    }

    fn read_ahead(&mut self, decoders: &mut Decoders, wait: Duration) -> Result<(), SourceError> {
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

    /// Whether it has been read to its present end, and no earlier run has read further.
    pub fn caught_up(&self) -> bool {
        self.caught_up && !self.reclock.is_behind()
    }

    /// The last record that was handed out, good or bad.
    pub fn read_to(&self) -> Option<Position> {
        self.read_to
    }

    /// How far it has been read, 0 to 1.
    pub fn share_read(&self) -> f64 {
        if self.finished() { 1.0 } else { self.share_read }
    }
}
