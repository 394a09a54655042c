//! A broker with a few partitions. In: what the shop writes, some of it twice, late, or in another order. Out: partitions that give
//! their records in random pieces, late, and with gaps in which they say nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use beckon::source::{Block, Framing, Partition, Read, SourceError};
use beckon_dataflows::model::Stream;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::oracle::world::Written;
use super::trace::Trace;

/// So many partitions a stream at most.
const PARTITIONS_MAX: u32 = 2;

/// How long a partition says nothing at most, ms.
const SILENCE_MS_MAX: u64 = 40_000;

/// The log, whole.
#[derive(Clone)]
pub struct Broker {
    log: Arc<Vec<Log>>,
    weather: Arc<Mutex<Weather>>,
    trace: Trace,
}

/// One partition.
struct Log {
    stream: Stream,
    number: u32,
    /// Each with when a consumer can have it, epoch ms.
    records: Vec<(u64, Vec<u8>)>,
}

struct Weather {
    rng: ChaCha8Rng,
    faulty: bool,
}

impl Broker {
    /// What becomes of the shop's lines on the way into the log. `faulty`: some are lost, repeated, or overtaken by others.
    pub fn new(seed: u64, faulty: bool, lines: Vec<Written>, trace: Trace) -> Broker {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut sent: Vec<(u64, Stream, Vec<u8>)> = Vec::new();
        for Written { stream, arrives_ms, line } in lines {
            let Ok(stream) = stream.parse::<Stream>() else { continue };
            if faulty && rng.random_bool(0.01) {
                trace.tell("broker: lost", stream.name());
                continue;
            }
            let delay_ms =
                if faulty && rng.random_bool(0.1) { rng.random_range(0..5_000) } else { rng.random_range(0..50) };
            let at_ms = arrives_ms.unsigned_abs() + delay_ms;
            if faulty && rng.random_bool(0.03) {
                trace.tell("broker: repeated", stream.name());
                sent.push((at_ms + rng.random_range(0..2_000), stream, line.clone().into_bytes()));
            }
            sent.push((at_ms, stream, line.into_bytes()));
        }
        sent.sort_by_key(|(at_ms, ..)| *at_ms);
        let mut log: Vec<Log> = Vec::new();
        let most = rng.random_range(1..=PARTITIONS_MAX);
        let counts = Stream::ALL.map(|_| rng.random_range(1..=most));
        for (stream, count) in Stream::ALL.into_iter().zip(counts) {
            log.extend((0..count).map(|number| Log { stream, number, records: Vec::new() }));
        }
        for (at_ms, stream, line) in sent {
            let number = rng.random_range(0..counts[stream as usize]);
            let of = log.iter_mut().find(|log| log.stream == stream && log.number == number);
            of.into_iter().for_each(|log| log.records.push((at_ms, line.clone())));
        }
        Broker { log: Arc::new(log), weather: Arc::new(Mutex::new(Weather { rng, faulty })), trace }
    }

    /// When a consumer can have the last record, epoch ms.
    pub fn ends_ms(&self) -> u64 {
        self.log.iter().filter_map(|log| Some(log.records.last()?.0)).max().unwrap_or(0)
    }

    /// When the first record after `now_ms` comes, epoch ms.
    pub fn next_ms(&self, now_ms: u64) -> Option<u64> {
        let next =
            |log: &Log| log.records.get(log.records.partition_point(|(at_ms, _)| *at_ms <= now_ms)).map(|it| it.0);
        self.log.iter().filter_map(next).min()
    }

    /// All lines of each stream, in their order; none where a stream has several partitions, and so several orders.
    pub fn streams(&self) -> Option<BTreeMap<&'static str, Vec<String>>> {
        let mut streams = BTreeMap::new();
        for log in self.log.iter() {
            let lines = log.records.iter().map(|(_, line)| String::from_utf8_lossy(line).into_owned()).collect();
            if streams.insert(log.stream.name(), lines).is_some() {
                return None;
            }
        }
        Some(streams)
    }

    /// No more faults.
    pub fn heal(&self) {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner).faulty = false;
    }

    /// Every partition, from its beginning, as a consumer has it that has just connected.
    pub fn connect(&self) -> Vec<Box<dyn Partition>> {
        let partition = |of| Consumed { broker: self.clone(), of, next: 0, caught_up: false, silent_until_ms: 0 };
        (0..self.log.len()).map(|of| Box::new(partition(of)) as Box<dyn Partition>).collect()
    }

    /// Every partition with all that it has, and then its end.
    pub fn retained(&self) -> Vec<Box<dyn Partition>> {
        let partition = |of| Retained { log: self.log.clone(), of, is_read: false };
        (0..self.log.len()).map(|of| Box::new(partition(of)) as Box<dyn Partition>).collect()
    }
}

impl Log {
    fn block(&self, records: std::ops::Range<usize>) -> Block {
        let (mut bytes, mut messages) = (Vec::new(), Vec::new());
        for offset in records {
            bytes.extend_from_slice(&self.records[offset].1);
            messages.push((offset as u64, bytes.len()));
        }
        Block {
            stream: self.stream,
            partition: self.number,
            bytes,
            framing: Framing::Messages(messages),
            share_read: None,
        }
    }
}

/// A partition that never ends.
struct Consumed {
    broker: Broker,
    of: usize,
    next: usize,
    /// The broker has said that there is nothing more.
    caught_up: bool,
    silent_until_ms: u64,
}

impl Partition for Consumed {
    fn stream(&self) -> Stream {
        self.broker.log[self.of].stream
    }

    fn number(&self) -> u32 {
        self.broker.log[self.of].number
    }

    fn first(&self) -> u64 {
        0
    }

    fn read(&mut self, _wait: Duration) -> Result<Read, SourceError> {
        let Broker { log, weather, trace } = &self.broker;
        let (log, now_ms) = (&log[self.of], trace.now_ms());
        let Weather { rng, faulty } = &mut *weather.lock().unwrap_or_else(PoisonError::into_inner);
        if *faulty && now_ms < self.silent_until_ms {
            return Ok(Read::Idle { caught_up: self.caught_up });
        }
        let there = log.records.partition_point(|(at_ms, _)| *at_ms <= now_ms);
        if *faulty && rng.random_bool(0.01) {
            trace.tell("broker: silent", log.stream.name());
            self.silent_until_ms = now_ms + rng.random_range(0..SILENCE_MS_MAX);
            return Ok(Read::Idle { caught_up: self.caught_up });
        }
        if there <= self.next {
            self.caught_up = true;
            return Ok(Read::Idle { caught_up: true });
        }
        let many = rng.random_range(1..=there - self.next);
        let block = log.block(self.next..self.next + many);
        (self.next, self.caught_up) = (self.next + many, false);
        Ok(Read::Block(block))
    }
}

/// A partition whose end is known.
struct Retained {
    log: Arc<Vec<Log>>,
    of: usize,
    is_read: bool,
}

impl Partition for Retained {
    fn stream(&self) -> Stream {
        self.log[self.of].stream
    }

    fn number(&self) -> u32 {
        self.log[self.of].number
    }

    fn first(&self) -> u64 {
        0
    }

    fn read(&mut self, _wait: Duration) -> Result<Read, SourceError> {
        let log = &self.log[self.of];
        if std::mem::replace(&mut self.is_read, true) || log.records.is_empty() {
            return Ok(Read::End);
        }
        Ok(Read::Block(log.block(0..log.records.len())))
    }
}
