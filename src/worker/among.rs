//! A worker among those of other processes. In: what the others tell. Out: how far they are, and where all of them end. Ends the
//! process when two names of different processes have one id.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use beckon_dataflows::model::Tick;

use crate::cluster::relay::{End, Relay, Word};
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
    beat: Duration,
    next_beat: Instant,
}

impl Among {
    /// Worker `index` of `peers`, `threads` of which are in each process.
    pub fn new(
        relay: Relay,
        index: usize,
        threads: usize,
        peers: usize,
        dictionary: Arc<Dictionary>,
        stop: Arc<AtomicBool>,
        beat: Duration,
    ) -> Among {
        let (ends, next_beat) = (vec![None; peers], Instant::now());
        Among { relay, index, threads, dictionary, stop, ends, ended: false, beat, next_beat }
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
                Word::Ends(worker, end) => {
                    self.ends[worker] = Some(end);
                    if matches!(end, End::Least(_)) {
                        self.stop.store(true, Ordering::Relaxed);
                    }
                }
            }
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
