//! Snapshots of what one worker's operators keep, taken while they run (ARCHITECTURE, "Snapshots"). In: the tick of a snapshot, and
//! when the graph is built, an earlier one. Out: parts, each the bytes of some of the keys of one section, as of that tick. Fails
//! when an earlier one does not read as it was written.
//!
//! Each operator that keeps anything has a section of its own, or several. When it has visited all ticks up to that of the
//! snapshot it begins to write, a few keys whenever it is scheduled; a key that is to change before its turn is written
//! first (`keyed.rs`). So nothing waits for a snapshot, and all of it is the state at one tick.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{Diff, Tick};

/// A part is handed on when it has this many bytes.
const PART_BYTES: usize = 64 << 10;

/// What a worker's graph says while it is written down.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// Some of a section.
    Part {
        /// Whose keys, by the operator.
        section: Arc<str>,
        /// What to read again.
        bytes: Vec<u8>,
    },
    /// All sections of this worker are written.
    Done,
}

/// Takes what a worker's graph says of the snapshot of a tick. Must not wait.
pub type Listen = Box<dyn Fn(Tick, Told) + Send + Sync>;

/// What an earlier snapshot holds.
pub trait Parts: Send + Sync {
    /// The parts of a section that a worker wrote, in their order.
    fn parts(&self, worker: usize, section: &str) -> Box<dyn Iterator<Item = Result<Vec<u8>, Fault>> + '_>;
}

/// An earlier snapshot, to begin with.
#[derive(Clone)]
pub struct Earlier {
    /// Its tick: nothing that takes effect at it or before comes again.
    pub tick: Tick,
    /// How many workers wrote it.
    pub workers: usize,
    /// What they wrote.
    pub parts: Arc<dyn Parts>,
}

/// Why a snapshot cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// How many keys an operator writes at most when it is scheduled.
#[derive(Clone, Copy, Debug)]
pub struct Pace(pub usize);

impl Default for Pace {
    /// Some tenths of a millisecond.
    fn default() -> Pace {
        Pace(512)
    }
}

/// Which worker it is.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// Of all workers, from 0.
    pub worker: usize,
    /// The first of its process, which writes what all keep alike: each process has a file of its own.
    pub first: usize,
    /// How many there are.
    pub workers: usize,
}

impl Seat {
    /// Of a worker that is alone.
    pub const ALONE: Seat = Seat { worker: 0, first: 0, workers: 1 };
}

/// The snapshots of one worker: what tells its operators when to write, and what they begin with.
#[derive(Clone)]
pub struct Snapshots(Arc<Shared>);

struct Shared {
    seat: Seat,
    pace: Pace,
    listen: Option<Listen>,
    /// The tick of the earlier snapshot, and how many workers wrote it.
    earlier: Option<(Tick, usize)>,
    /// What it holds, until the graph is built.
    parts: Mutex<Option<Arc<dyn Parts>>>,
    fault: OnceLock<Fault>,
    /// The tick of the snapshot asked for last; 0 for none.
    asked: AtomicU64,
    sections: AtomicUsize,
    /// How many sections are not written yet.
    unwritten: AtomicUsize,
}

impl Snapshots {
    /// Of the worker that has this seat: `listen` hears what is written, and the operators begin with what was `earlier`.
    pub fn new(seat: Seat, pace: Pace, listen: Option<Listen>, earlier: Option<Earlier>) -> Snapshots {
        let (earlier, parts) = earlier.map(|it| ((it.tick, it.workers), it.parts)).unzip();
        Snapshots(Arc::new(Shared {
            seat,
            pace,
            listen,
            earlier,
            parts: Mutex::new(parts),
            fault: OnceLock::new(),
            asked: AtomicU64::new(0),
            sections: AtomicUsize::new(0),
            unwritten: AtomicUsize::new(0),
        }))
    }

    /// Nothing to begin with, and nothing is ever written.
    pub fn none() -> Snapshots {
        Snapshots::new(Seat::ALONE, Pace::default(), None, None)
    }

    /// Writes a snapshot of `tick`, which must not be closed yet. Not to be asked before the last one is done.
    pub fn take(&self, tick: Tick) {
        self.0.unwritten.store(self.0.sections.load(Ordering::Relaxed), Ordering::Relaxed);
        self.0.asked.store(tick, Ordering::Relaxed);
    }

    /// The graph is built, and the earlier snapshot let go. What kept it from being read, if anything did.
    pub fn built(&self) -> Option<Fault> {
        *self.0.parts.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.fault.get().cloned()
    }

    /// The earlier snapshot cannot be taken up, if there is a `fault`.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        if let Some(fault) = fault {
            // The first one is as good as any.
            let _ = self.0.fault.set(fault);
        }
    }

    /// The tick of the earlier snapshot; none when the operators begin with nothing.
    pub fn earlier(&self) -> Option<Tick> {
        self.0.earlier.map(|(tick, _)| tick)
    }

    /// Takes the updates that are for an operator that keeps state: not those that the earlier snapshot has.
    pub(crate) fn new_in<D>(&self, updates: &mut Vec<(D, Tick, Diff)>) -> impl Iterator<Item = (D, Tick, Diff)> {
        let earlier = self.earlier();
        updates.drain(..).filter(move |(_, tick, _)| earlier.is_none_or(|earlier| *tick > earlier))
    }

    /// Whether the key is one of this worker's, where keys are spread over the workers.
    pub(crate) fn owns(&self, key: u64) -> bool {
        key % self.0.seat.workers as u64 == self.0.seat.worker as u64
    }

    /// Whether the earlier snapshot was written by another number of workers, so that keys may be elsewhere now.
    pub(crate) fn are_moved(&self) -> bool {
        self.0.earlier.is_some_and(|(_, workers)| workers != self.0.seat.workers)
    }

    /// A section of that name, of which there must be no other.
    pub(crate) fn section(&self, name: &str) -> Section {
        self.0.sections.fetch_add(1, Ordering::Relaxed);
        Section { of: self.clone(), name: name.into(), common: false, written: self.earlier(), part: Vec::new() }
    }

    /// A section of what all workers keep alike: the first of each process writes it, and all of that read it.
    pub(crate) fn common_section(&self, name: &str) -> Section {
        Section { common: true, ..self.section(name) }
    }
}

/// What one operator keeps of one kind, on its way out and in again.
pub(crate) struct Section {
    of: Snapshots,
    name: Arc<str>,
    common: bool,
    /// The tick of the last snapshot that it was begun to be written for.
    written: Option<Tick>,
    part: Vec<u8>,
}

impl Section {
    /// The tick of a snapshot that is to be begun before the ticks before `upper` (all when there is none) are visited whole.
    pub fn due(&self, upper: Option<Tick>) -> Option<Tick> {
        let asked = self.of.0.asked.load(Ordering::Relaxed);
        let is_new = asked > self.written.unwrap_or(0);
        (is_new && upper.is_none_or(|upper| asked < upper)).then_some(asked)
    }

    /// How many keys are written at most at a time.
    pub fn pace(&self) -> usize {
        self.of.0.pace.0
    }

    /// Begins to write the snapshot of `tick`.
    pub fn begin(&mut self, tick: Tick) {
        self.written = Some(tick);
    }

    /// Writes one thing.
    pub fn write(&mut self, thing: &impl Serialize) {
        let Seat { worker, first, .. } = self.of.0.seat;
        if self.common && worker > first {
            return;
        }
        // Serialising to memory what has no maps of unknown length cannot fail.
        match postcard::to_extend(thing, std::mem::take(&mut self.part)) {
            Ok(part) => self.part = part,
            Err(error) => unreachable!("{}: {error}", self.name),
        }
        if self.part.len() >= PART_BYTES {
            self.hand_on();
        }
    }

    /// That was all.
    pub fn end(&mut self) {
        self.hand_on();
        let shared = &self.of.0;
        let others = shared.unwritten.fetch_sub(1, Ordering::Relaxed) - 1;
        if let (0, Some(listen), Some(tick)) = (others, &shared.listen, self.written) {
            listen(tick, Told::Done);
        }
    }

    fn hand_on(&mut self) {
        let bytes = std::mem::take(&mut self.part);
        if let (false, Some(listen), Some(tick)) = (bytes.is_empty(), &self.of.0.listen, self.written) {
            listen(tick, Told::Part { section: self.name.clone(), bytes });
        }
    }

    /// Reads what the earlier snapshot has of this section: of this worker alone, or where another number of workers wrote it, of
    /// all. What cannot be read is remembered as the snapshots' fault.
    pub fn read<T: DeserializeOwned>(&self, mut each: impl FnMut(T)) {
        let Some((_, workers)) = self.of.0.earlier else { return };
        let parts = self.of.0.parts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(parts) = parts else { return };
        let Seat { worker, first, .. } = self.of.0.seat;
        let wrote = match self.common {
            true => first..first + 1,
            false if self.of.are_moved() => 0..workers,
            false => worker..worker + 1,
        };
        for part in wrote.flat_map(|worker| parts.parts(worker, &self.name)) {
            if let Err(fault) = part.and_then(|part| self.read_part(&part, &mut each)) {
                return self.of.fail(Some(fault));
            }
        }
    }

    fn read_part<T: DeserializeOwned>(&self, mut part: &[u8], each: &mut impl FnMut(T)) -> Result<(), Fault> {
        while !part.is_empty() {
            let (thing, rest) = postcard::take_from_bytes(part).map_err(|error| {
                Fault(format!("section \"{}\" does not read as it was written: {error}", self.name))
            })?;
            each(thing);
            part = rest;
        }
        Ok(())
    }
}
