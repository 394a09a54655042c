//! Snapshots (ARCHITECTURE, "Snapshots"): the state at one closed tick, gathered into one file while everything goes on, and
//! taken up again. In: from the feeder the tick and where each partition can be read on, from the workers their pieces, from the
//! deciding thread what it knows at that tick, and the names. Out: a file in the store, once all of it is there. Fails when the disk
//! does: then there is no snapshot of that tick, the service goes on, and the next one is tried when it is due.
//!
//! What is in the file is durable elsewhere before the file is: the decisions, which the deciding thread has recorded when it hands
//! over what it knows, and the timeline, which is synced here.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use beckon_dataflows::flat;
use beckon_dataflows::model::{Opening, Stream, Tick};
use beckon_dataflows::snapshot::{Earlier, Fault, Pace, Parts, Told};
use crossbeam_channel::{Receiver, Sender};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::lanes::{Lane, Place, Places, Resume};
use crate::cluster::together::Together;
use crate::decide::Remembered;
use crate::decode::{Dictionary, Hold, WrittenName};
use crate::kpis::Part;
use crate::reclock::Timeline;
use crate::snapshot::{Draft, Reason, Refusal, Snapshot, Store, StoreError};
use crate::state::Beside;
use crate::worker::{Keeping, Piece};

/// How many parts may wait to be written before those who give them wait: some 64 MiB.
const PARTS_WAITING: usize = 1024;

/// Rows, names and the like that go into one part.
const ROWS_A_PART: usize = 4096;

/// What the deciding thread knows at a tick beside what the graph tells again.
#[derive(Debug, Default)]
pub struct DecidingState {
    /// The state's part of it.
    pub beside: Beside,
    /// The decider's.
    pub remembered: Remembered,
    /// What is kept for the KPIs, where they are asked for.
    pub kpis: Vec<Part>,
}

/// What is told to who writes.
enum Message {
    /// A snapshot begins.
    Begin { tick: Tick, places: Places, names: Hold },
    /// A worker has written something.
    Piece(Piece),
    /// The deciding thread has closed that tick.
    Deciding(Tick, Box<DecidingState>),
}

/// Snapshots as their feeder sees them, who says when.
pub struct Snapshots {
    every_ms: u64,
    apart: Duration,
    began: Option<Instant>,
    dictionary: Arc<Dictionary>,
    together: Arc<Together>,
    to: Sender<Message>,
}

/// Snapshots as the deciding thread sees them.
pub struct Watch {
    written: Tick,
    together: Arc<Together>,
    to: Sender<Message>,
}

/// How snapshots are taken.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// A snapshot is taken of the multiples of this, ms and whole ticks.
    pub every_ms: u64,
    /// They are not begun closer together than this: to catch up takes minutes for many hours.
    pub apart: Duration,
    /// How many keys each operator writes at a time.
    pub pace: Pace,
}

/// Starts the thread that writes snapshots of `workers` workers of this process into `store`, `together` with those of others. Returns what
/// the feeder needs, what the workers do and what the deciding thread does. The thread ends with these.
pub fn start(
    store: Store,
    schedule: Schedule,
    workers: usize,
    together: Together,
    dictionary: &Arc<Dictionary>,
    timeline: Option<Arc<Timeline>>,
) -> std::io::Result<(Snapshots, Keeping, Watch)> {
    let together = Arc::new(together);
    let (to, messages) = crossbeam_channel::bounded(PARTS_WAITING);
    let writer =
        Writer { store, workers, dictionary: dictionary.clone(), timeline, together: together.clone(), writing: None };
    std::thread::Builder::new().name("snapshot".into()).spawn(move || writer.run(&messages))?;
    let pieces = to.clone();
    // Whoever writes outlives them all.
    let pieces = Arc::new(move |piece| drop(pieces.send(Message::Piece(piece))));
    let keeping =
        Keeping { earlier: None, pieces: Some(pieces), pace: schedule.pace, together: Some(together.clone()) };
    let watch = Watch { written: 0, together: together.clone(), to: to.clone() };
    let Schedule { every_ms, apart, .. } = schedule;
    let dictionary = dictionary.clone();
    Ok((Snapshots { every_ms, apart, began: None, dictionary, together, to }, keeping, watch))
}

impl Snapshots {
    /// The tick of which a snapshot begins now, where the ticks before `closed` are closed here and those before `open` are about to be:
    /// the workers must be told before. None when none is due, or the last one is still being written, or was begun a short while
    /// ago. Of several processes the first asks for it, and the others begin what it has asked for.
    pub fn begin<'l>(&mut self, closed: Tick, open: Tick, lanes: impl Iterator<Item = &'l mut Lane>) -> Option<Tick> {
        let asks = self.together.asks();
        let tick = if asks { self.due(closed, open)? } else { self.together.asked()? };
        let places: Places = lanes.filter_map(|lane| Some((lane.partition(), lane.place_at(tick)?))).collect();
        let is_early = self.began.is_some_and(|began| began.elapsed() < self.apart);
        if asks && (places.is_empty() || is_early || !self.together.is_free()) {
            return None;
        }
        self.began = Some(Instant::now());
        let names = self.dictionary.hold();
        self.together.begin(tick);
        // Whoever writes outlives the feeder.
        let _ = self.to.send(Message::Begin { tick, places, names });
        Some(tick)
    }

    /// The last tick of those about to be closed of which there can be a snapshot.
    fn due(&self, closed: Tick, open: Tick) -> Option<Tick> {
        let tick = open.saturating_sub(1) / self.every_ms * self.every_ms;
        (tick >= closed && tick > 0).then_some(tick)
    }

    /// Waits until the one that is being written is, at most so long. Among others it does not: it can be one of them that has yet to close
    /// its tick, and they stop too.
    pub fn wait(&self, most: Duration) {
        let began = Instant::now();
        while self.together.is_alone() && self.together.is_under_way() && began.elapsed() < most {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Watch {
    /// The tick of a snapshot for which [`Watch::hand_over`] must be called before the later ticks before `upper` are decided.
    pub fn due(&self, upper: Option<Tick>) -> Option<Tick> {
        let tick = self.together.begun();
        (tick > self.written && upper.is_none_or(|upper| tick < upper)).then_some(tick)
    }

    /// Hands over what is known at `tick`, the decisions up to which are recorded.
    pub fn hand_over(&mut self, tick: Tick, known: DecidingState) {
        self.written = tick;
        let _ = self.to.send(Message::Deciding(tick, Box::new(known)));
    }
}

/// The thread that writes.
struct Writer {
    store: Store,
    workers: usize,
    dictionary: Arc<Dictionary>,
    timeline: Option<Arc<Timeline>>,
    together: Arc<Together>,
    writing: Option<Writing>,
}

/// The snapshot that is being written.
struct Writing {
    tick: Tick,
    began: Instant,
    places: Places,
    names: Hold,
    /// Gives up at the first failure; what still comes of the snapshot is then dropped.
    draft: Result<Draft, WriteError>,
    /// How many workers and others have not given all of theirs.
    unfinished: usize,
}

/// Why a snapshot could not be written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Timeline(#[from] crate::reclock::TimelineError),
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        for message in messages {
            self.take(message);
            if let Some(writing) = self.writing.take_if(|writing| writing.unfinished == 0) {
                let tick = writing.tick;
                self.finish(writing);
                self.together.end(tick);
            }
        }
    }

    fn take(&mut self, message: Message) {
        match (message, &mut self.writing) {
            (Message::Begin { tick, places, names }, writing) => {
                let draft = self.store.begin(tick).map_err(WriteError::from);
                let (began, unfinished) = (Instant::now(), self.workers + 1);
                *writing = Some(Writing { tick, began, places, names, draft, unfinished });
            }
            (Message::Piece(Piece { worker, tick, told }), Some(writing)) if tick == writing.tick => match told {
                Told::Part { section, bytes } => writing.add(&of_worker(worker, &section), &bytes),
                Told::Done => writing.unfinished -= 1,
            },
            (Message::Deciding(tick, known), Some(writing)) if tick == writing.tick => {
                writing.add_deciding(*known);
                writing.unfinished -= 1;
            }
            // Of one that was given up.
            _ => {}
        }
    }

    fn finish(&self, mut writing: Writing) {
        // Another process than the first would know no better than its log what it has told the first.
        for names in self.dictionary.written().filter(|_| self.together.asks()) {
            writing.add_all(NAMES, &names);
        }
        let places: Vec<((Stream, u32), Place)> = writing.places.drain().collect();
        writing.add_all(LAST_NAME, &[self.dictionary.last()]);
        writing.add_all(PLACES, &places);
        let Writing { tick, began, names, draft, .. } = writing;
        drop(names);
        let written = draft.and_then(|draft| {
            self.timeline.as_ref().map_or(Ok(()), |timeline| timeline.sync())?;
            Ok(draft.commit()?)
        });
        let took_ms = began.elapsed().as_millis() as u64;
        match written {
            Ok(written) => tracing::info!(tick, bytes = written.bytes, took_ms, "snapshot written"),
            Err(error) => tracing::warn!(tick, %error, "no snapshot"),
        }
    }
}

/// The sections beside the workers'.
const NAMES: &str = "names";
const LAST_NAME: &str = "names/last";
const PLACES: &str = "places";
const IN_STOCK: &str = "state/in stock";
const ERASED: &str = "state/erased";
const SENDS: &str = "decider/sends";
const DECIDED: &str = "decider/decided";
const OVER: &str = "decider/over";
const BUDGETS: &str = "decider/budgets";
const WAITING: &str = "decider/waiting";

/// The name of a worker's section in the file.
fn of_worker(worker: usize, section: &str) -> String {
    format!("{worker}/{section}")
}

/// The name of a section of the KPIs in the file.
fn of_kpis(section: &str) -> String {
    format!("kpis/{section}")
}

impl Writing {
    fn add(&mut self, section: &str, part: &[u8]) {
        if let Ok(draft) = &mut self.draft
            && let Err(error) = draft.add(section, part)
        {
            self.draft = Err(error.into());
        }
    }

    fn add_rows<const N: usize>(&mut self, section: &str, rows: &[[u64; N]]) {
        rows.chunks(ROWS_A_PART).for_each(|rows| self.add(section, &flat::encode(rows)));
    }

    fn add_all<T: Serialize>(&mut self, section: &str, all: &[T]) {
        for some in all.chunks(ROWS_A_PART) {
            // Serialising to memory what has no maps of unknown length cannot fail.
            self.add(section, &postcard::to_stdvec(some).unwrap_or_default());
        }
    }

    fn add_deciding(&mut self, known: DecidingState) {
        let DecidingState { beside: Beside { in_stock, erased }, remembered, kpis } = known;
        let Remembered { sends, decided, over, budgets, waiting } = remembered;
        self.add_rows(IN_STOCK, &in_stock);
        self.add_rows(ERASED, &erased);
        self.add_rows(SENDS, &sends);
        self.add_rows(DECIDED, &decided);
        self.add_rows(OVER, &over);
        self.add_rows(BUDGETS, &budgets);
        self.add_all(WAITING, &waiting);
        kpis.iter().for_each(|(section, bytes)| self.add(&of_kpis(section), bytes));
    }
}

/// A snapshot to go on from.
pub struct Restored {
    /// Its tick.
    pub tick: Tick,
    /// Where each partition is read on.
    pub places: Places,
    /// What the deciding thread knew.
    pub known: DecidingState,
    /// What the workers kept.
    pub earlier: Earlier,
    snapshot: Snapshot,
}

impl Restored {
    /// The newest that can be used: also one of another number of workers. Says of those that cannot be why not, in the log.
    pub fn newest(store: &Store) -> Option<Restored> {
        let (found, refused) = store.newest();
        for refusal in refused {
            match refusal.reason {
                Reason::Workers { found, here, snapshot } if (found.own, here.own) == (found.total, here.total) => {
                    tracing::info!(%found, %here, "the newest snapshot is of another number of workers: it is shared out anew");
                    return Restored::read_or_say(*snapshot);
                }
                reason => say(&Refusal { path: refusal.path, reason }),
            }
        }
        found.and_then(Restored::read_or_say)
    }

    /// All that a process among others can use, the newest first. Says of the others why not, in the log.
    pub fn all(store: &Store) -> Vec<Restored> {
        let (found, refused) = store.all();
        refused.iter().for_each(say);
        found.into_iter().filter_map(Restored::read_or_say).collect()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.snapshot.path()
    }

    fn read_or_say(snapshot: Snapshot) -> Option<Restored> {
        let path = snapshot.path().display().to_string();
        let read = Restored::read(snapshot);
        read.inspect_err(|fault| tracing::warn!("a snapshot is not used: {path}: {fault}; the log is read whole")).ok()
    }

    fn read(snapshot: Snapshot) -> Result<Restored, Fault> {
        let beside = Beside { in_stock: rows(&snapshot, IN_STOCK)?, erased: rows(&snapshot, ERASED)? };
        let remembered = Remembered {
            sends: rows(&snapshot, SENDS)?,
            decided: rows(&snapshot, DECIDED)?,
            over: rows(&snapshot, OVER)?,
            budgets: rows(&snapshot, BUDGETS)?,
            waiting: all::<(Opening, Tick)>(&snapshot, WAITING)?,
        };
        let places = all::<((Stream, u32), Place)>(&snapshot, PLACES)?.into_iter().collect();
        let (tick, workers) = (snapshot.tick(), snapshot.workers().total);
        let parts = Arc::new(FileParts(snapshot.clone()));
        let earlier = Earlier { tick, workers, parts };
        let known = DecidingState { beside, remembered, kpis: Vec::new() };
        Ok(Restored { tick, places, known, earlier, snapshot })
    }

    /// Makes the names known that were known where it is decided. Other processes tell those that they read again.
    pub fn restore_names(&self, dictionary: &Dictionary) -> Result<(), Fault> {
        let last = all::<Tick>(&self.snapshot, LAST_NAME)?.into_iter().max().unwrap_or(0).max(self.tick);
        for part in self.snapshot.parts(NAMES) {
            let names: Vec<WrittenName> = decoded(NAMES, &part.map_err(|error| Fault(error.to_string()))?)?;
            dictionary.restore(names, last).map_err(|error| Fault(error.to_string()))?;
        }
        Ok(())
    }

    /// What was kept for the KPIs.
    pub fn kpis(&self) -> Earlier {
        Earlier { tick: self.tick, workers: 1, parts: Arc::new(KpiParts(self.snapshot.clone())) }
    }

    /// How partitions are read on, and prepared for the next snapshots.
    pub fn resume(restored: Option<&Restored>, every_ms: Option<u64>) -> Resume {
        Resume { every_ms, from: restored.map(|restored| (restored.tick, restored.places.clone())) }
    }
}

fn say(refusal: &Refusal) {
    tracing::warn!("a snapshot is not used: {refusal}");
}

/// The workers' parts of a file.
struct FileParts(Snapshot);

impl Parts for FileParts {
    fn parts(&self, worker: usize, section: &str) -> Box<dyn Iterator<Item = Result<Vec<u8>, Fault>> + '_> {
        let parts = self.0.parts(&of_worker(worker, section));
        Box::new(parts.map(|part| part.map_err(|error| Fault(error.to_string()))))
    }
}

/// The KPIs' parts of a file.
struct KpiParts(Snapshot);

impl Parts for KpiParts {
    fn parts(&self, _worker: usize, section: &str) -> Box<dyn Iterator<Item = Result<Vec<u8>, Fault>> + '_> {
        let parts = self.0.parts(&of_kpis(section));
        Box::new(parts.map(|part| part.map_err(|error| Fault(error.to_string()))))
    }
}

fn rows<const N: usize>(snapshot: &Snapshot, section: &str) -> Result<Vec<[u64; N]>, Fault> {
    let mut rows = Vec::new();
    for part in snapshot.parts(section) {
        let part = part.map_err(|error| Fault(error.to_string()))?;
        rows.extend(flat::decode::<N>(&part).map_err(|error| Fault(format!("section \"{section}\": {error}")))?);
    }
    Ok(rows)
}

fn all<T: DeserializeOwned>(snapshot: &Snapshot, section: &str) -> Result<Vec<T>, Fault> {
    let mut all = Vec::new();
    for part in snapshot.parts(section) {
        all.extend(decoded::<Vec<T>>(section, &part.map_err(|error| Fault(error.to_string()))?)?);
    }
    Ok(all)
}

fn decoded<T: DeserializeOwned>(section: &str, part: &[u8]) -> Result<T, Fault> {
    postcard::from_bytes(part)
        .map_err(|error| Fault(format!("section \"{section}\" does not read as it was written: {error}")))
}
