//! A worker among those of other processes. In: what the others tell. Out: how far they are, and where all of them end. Ends the
//! process when two names of different processes have one id.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use beckon_dataflows::model::Tick;
use beckon_dataflows::snapshot::Seat;

use crate::cluster::relay::{End, Relay, Word};
use crate::cluster::together::Together;
use crate::decode::{Dictionary, Told};
use crate::watchdog::Pulses;

/// One worker, and what it knows of the others.
pub struct Among {
    relay: Relay,
    /// Which of all workers, and how many each process has.
    index: usize,
    threads: usize,
    /// Where the names of other processes go.
    dictionary: Arc<Dictionary>,
    /// Set when another one stops.
    stop: Arc<AtomicBool>,
    /// Where each worker ends, as far as they have.
    ends: Vec<Option<End>>,
    /// It has ended itself: told, and perhaps not yet heard.
    ended: bool,
    /// The snapshots of all processes, where there are any.
    together: Option<Arc<Together>>,
    /// The tick of the snapshot that all were asked for last, and the one that each was last known to write.
    awaited: Option<Tick>,
    writes: Vec<Tick>,
    /// The last snapshot of this process that was told to be written.
    told_wrote: Tick,
    beat: Duration,
    next_beat: Instant,
}

impl Among {
    /// The worker that has this seat, one of `threads` in each process.
    pub fn new(
        relay: Relay,
        seat: Seat,
        threads: usize,
        dictionary: Arc<Dictionary>,
        stop: Arc<AtomicBool>,
        together: Option<Arc<Together>>,
        beat: Duration,
    ) -> Among {
        Among {
            relay,
            index: seat.worker,
            threads,
            dictionary,
            stop,
            ends: vec![None; seat.workers],
            ended: false,
            together,
            awaited: None,
            writes: vec![0; seat.workers],
            told_wrote: 0,
            beat,
            next_beat: Instant::now(),
        }
    }

    /// Tells the process that decides what was read in the records that are fed next.
    pub fn tell_names(&mut self, names: &[Told]) {
        if !names.is_empty() {
            let word = Word::Names(self.index / self.threads, names.to_vec());
            self.relay.tell(self.index % self.threads, word);
        }
    }

    /// Takes up what the others have told.
    pub fn hear(&mut self, pulses: &Pulses) {
        for word in self.relay.heard() {
            match word {
                Word::Names(process, names) => {
                    names.into_iter().for_each(|told| hear_name(&self.dictionary, process, told));
                }
                Word::Beat { worker, inputs, upper } => pulses.beat(worker, inputs, upper),
                Word::Snapshot(tick) => self.together.iter().for_each(|together| together.ask(tick)),
                Word::Writes(worker, tick) => self.writes[worker] = tick,
                Word::Wrote(process, tick) => {
                    self.together.iter().for_each(|together| together.has_ended(process, tick));
                }
                Word::Ends(worker, end) => {
                    self.ends[worker] = Some(end);
                    self.together.iter().for_each(|together| together.is_left());
                    if matches!(end, End::Least(_)) {
                        self.stop.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// This worker writes down the state at `tick`. The first of all asks those of the other processes to do so too, and
    /// [`Among::is_held`] until they do.
    pub fn write_down(&mut self, tick: Tick) {
        if self.index >= self.threads {
            self.relay.tell(0, Word::Writes(self.index, tick));
        } else if self.index == 0 {
            self.awaited = Some(tick);
            let firsts = (self.threads..self.ends.len()).step_by(self.threads);
            firsts.for_each(|worker| self.relay.tell(worker, Word::Snapshot(tick)));
        }
    }

    /// Whether this worker's input must not go on, because another worker could then pass a tick that it is yet to write down. Who has
    /// ended writes nothing more.
    pub fn is_held(&self) -> bool {
        let others = || self.ends.iter().zip(&self.writes).skip(self.threads);
        let all_write = |tick| others().all(|(end, writes)| *writes >= tick || end.is_some());
        self.awaited.is_some_and(|tick| !all_write(tick))
    }

    /// Tells that this process has written its snapshot, where that was not said.
    pub fn tell_wrote(&mut self) {
        let wrote = self.together.as_ref().map_or(0, |together| together.ended());
        if self.index > 0 && self.index.is_multiple_of(self.threads) && wrote > self.told_wrote {
            self.told_wrote = wrote;
            self.relay.tell(0, Word::Wrote(self.index / self.threads, wrote));
        }
    }

    /// Nothing more comes to it before `at`, and it has concluded all before `upper`.
    pub fn advance_to(&mut self, at: Tick, upper: Option<Tick>) {
        self.relay.advance_to(at);
        self.tell_beat(at, upper);
    }

    /// Tells that it is alive, where that was not said for a while.
    pub fn beat_if_due(&mut self, at: Tick, upper: Option<Tick>) {
        if Instant::now() >= self.next_beat {
            self.tell_beat(at, upper);
        }
    }

    fn tell_beat(&mut self, inputs: Tick, upper: Option<Tick>) {
        self.next_beat = Instant::now() + self.beat;
        let upper = upper.unwrap_or(Tick::MAX);
        self.relay.tell_all(&Word::Beat { worker: self.index, inputs, upper });
    }

    /// Its input ends.
    pub fn end(&mut self, end: End) {
        self.ended = true;
        self.relay.tell_all(&Word::Ends(self.index, end));
    }

    /// It has nothing more to tell.
    pub fn close(&mut self) {
        self.ended = true;
        self.relay.close();
    }

    /// Whether its input has ended.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether others may go further than where it has ended.
    pub fn gives_way(&self) -> bool {
        matches!(self.ends[self.index], Some(End::Furthest(_)))
    }

    /// Where all end; none as long as some have not.
    pub fn agreed(&self) -> Option<End> {
        let all: Option<Vec<End>> = self.ends.iter().copied().collect();
        End::of_all(all?.into_iter())
    }

    /// The least tick of which something may still come to those that have not ended, by what they told last.
    pub fn held_by_others(&self, pulses: &Pulses) -> Option<Tick> {
        let not_ended = self.ends.iter().enumerate().filter(|(_, end)| end.is_none());
        not_ended.map(|(worker, _)| pulses.inputs(worker)).min()
    }

    /// All that was to be heard before this tick has been; none: all.
    pub fn upper(&self) -> Option<Tick> {
        self.relay.upper()
    }
}

/// Two names with one id would mix up two customers, carts or products; in one process the second is refused where it is read,
/// but here its records are on their way already.
fn hear_name(dictionary: &Dictionary, process: usize, told: Told) {
    if let Err(collision) = dictionary.hear(process, told) {
        eprintln!("{collision}\n  or run one process, which sets records aside that name it");
        std::process::exit(1);
    }
}
