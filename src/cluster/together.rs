//! Snapshots that all processes of a cluster take of one tick. In: which tick process 0 asks for, and which process is done with which. Out:
//! the tick that is to be begun here, and whether the next one can be asked for. Cannot fail.
//!
//! A snapshot of a cluster is one file of each process, all of one tick. Process 0 says of which, and holds its own input there until every
//! other worker has been told (`worker::among`): until then no worker's frontier can have passed the tick. It asks for none while another
//! process still writes, so the two that a process keeps are the two that every process keeps.
//!
//! A process that is alone is process 0 of one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use beckon_dataflows::model::Tick;

use super::Share;

/// Wakes whoever feeds the workers of this process.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// How far the processes are with their snapshots.
pub struct Together {
    own: usize,
    /// The tick that was asked for last; 0: none was.
    asked: AtomicU64,
    /// The tick of the one that was begun here last.
    begun: AtomicU64,
    /// For each process the tick of the one that it finished, or gave up, last.
    ended: Vec<AtomicU64>,
    /// Another process takes part in none any more.
    is_over: AtomicBool,
    wake: Wake,
}

impl Together {
    /// Of a process that is to be woken by `wake` when it is asked for one.
    pub fn new(share: Share, wake: Wake) -> Together {
        let ended = (0..share.processes).map(|_| AtomicU64::new(0)).collect();
        let [asked, begun] = [0, 0].map(AtomicU64::new);
        Together { own: share.process, asked, begun, ended, is_over: AtomicBool::new(false), wake }
    }

    /// Whether this process says of which ticks there are snapshots.
    pub fn asks(&self) -> bool {
        self.own == 0
    }

    /// Whether there are no other processes.
    pub fn is_alone(&self) -> bool {
        self.ended.len() == 1
    }

    /// Process 0 asks for one of `tick`.
    pub fn ask(&self, tick: Tick) {
        self.asked.store(tick, Ordering::Release);
        (self.wake)();
    }

    /// The tick of one that was asked for, and is not begun.
    pub fn asked(&self) -> Option<Tick> {
        let asked = self.asked.load(Ordering::Acquire);
        (asked > self.begun()).then_some(asked)
    }

    /// That of `tick` is begun here.
    pub fn begin(&self, tick: Tick) {
        self.begun.store(tick, Ordering::Release);
    }

    /// The tick of the one that was begun here last.
    pub fn begun(&self) -> Tick {
        self.begun.load(Ordering::Acquire)
    }

    /// That of `tick` is written here, or given up.
    pub fn end(&self, tick: Tick) {
        self.has_ended(self.own, tick);
    }

    /// The tick of the one that was ended here last.
    pub fn ended(&self) -> Tick {
        self.ended[self.own].load(Ordering::Acquire)
    }

    /// Process `process` has ended that of `tick`.
    pub fn has_ended(&self, process: usize, tick: Tick) {
        self.ended[process].store(tick, Ordering::Release);
    }

    /// Another process takes part in none any more: it stops.
    pub fn is_left(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Whether one is being written here.
    pub fn is_under_way(&self) -> bool {
        self.begun() != self.ended()
    }

    /// Whether all have ended the last one, and will take part in the next.
    pub fn is_free(&self) -> bool {
        let begun = self.begun();
        !self.is_over.load(Ordering::Acquire) && self.ended.iter().all(|ended| ended.load(Ordering::Acquire) >= begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_is_asked_for_when_all_have_ended_the_last() {
        let together = Together::new(Share { process: 0, processes: 2 }, Box::new(|| ()));
        assert!(together.asks() && together.is_free());
        together.begin(7);
        assert!(together.is_under_way() && !together.is_free());
        together.end(7);
        assert!(!together.is_under_way() && !together.is_free());
        together.has_ended(1, 7);
        assert!(together.is_free());
        together.is_left();
        assert!(!together.is_free());
    }

    #[test]
    fn what_is_asked_for_is_begun_once() {
        let woken = std::sync::Arc::new(AtomicU64::new(0));
        let wakes = woken.clone();
        let wake = Box::new(move || {
            wakes.fetch_add(1, Ordering::Relaxed);
        });
        let together = Together::new(Share { process: 1, processes: 2 }, wake);
        assert_eq!(together.asked(), None);
        together.ask(7);
        assert_eq!((together.asked(), woken.load(Ordering::Relaxed)), (Some(7), 1));
        together.begin(7);
        assert_eq!(together.asked(), None);
    }
}
