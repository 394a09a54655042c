//! The watchdog: notices that the frontier stands still though the inputs went on, and that a worker is silent. In: the pulse of
//! every worker, also of other processes'. Out: a stall, said once, with who holds the frontier as far as can be told. A process that
//! stalls has to end, so that all are started again; whoever starts the watchdog says how.
//!
//! What waits for a disk or a broker is no stall: then the inputs do not go on, or the graph has concluded all and it is whoever
//! decides that waits, of which the log has a warning.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use beckon_dataflows::model::Tick;

/// How often a worker shows its pulse, and the watchdog looks, within the time after which a stall is one.
const LOOKS: u32 = 8;

/// And at least so often.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// How long after it was seen last a worker has its turn at the latest, for a watchdog that barks `after` so long.
pub fn beat(after: Duration) -> Duration {
    (after / LOOKS).clamp(Duration::from_millis(5), LOOK_MAX)
}

/// How all workers of a cluster, or of a process that is alone, are.
pub struct Pulses {
    began: Instant,
    /// How many workers each process has.
    threads: usize,
    workers: Vec<Pulse>,
}

#[derive(Default)]
struct Pulse {
    /// When it was seen last, ms from the beginning.
    seen_ms: AtomicU64,
    /// Nothing more comes to it before this tick.
    inputs: AtomicU64,
    /// All ticks before this one are closed, as far as it knows; [`Tick::MAX`]: all.
    upper: AtomicU64,
    /// Since when closed ticks wait for whoever decides, ms from the beginning; 0: they do not.
    waits_ms: AtomicU64,
}

impl Pulses {
    /// Those of `processes` processes with `threads` workers each.
    pub fn new(processes: usize, threads: usize) -> Pulses {
        let workers = (0..processes * threads).map(|_| Pulse::default()).collect();
        Pulses { began: Instant::now(), threads, workers }
    }

    /// A worker was seen: nothing comes to it before `inputs`, and before `upper` all is closed.
    pub fn beat(&self, worker: usize, inputs: Tick, upper: Tick) {
        if let Some(pulse) = self.workers.get(worker) {
            pulse.inputs.store(inputs, Ordering::Relaxed);
            pulse.upper.store(upper, Ordering::Relaxed);
            pulse.seen_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// Whether what a worker has closed `waits` for whoever decides.
    pub fn waits(&self, worker: usize, waits: bool) {
        let Some(pulse) = self.workers.get(worker) else { return };
        if !waits {
            pulse.waits_ms.store(0, Ordering::Relaxed);
        } else if pulse.waits_ms.load(Ordering::Relaxed) == 0 {
            pulse.waits_ms.store(self.now_ms().max(1), Ordering::Relaxed);
        }
    }

    /// Nothing comes to the worker before this tick, by what was heard last.
    pub fn inputs(&self, worker: usize) -> Tick {
        self.workers.get(worker).map_or(0, |pulse| pulse.inputs.load(Ordering::Relaxed))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn seen(&self) -> Vec<Seen> {
        let load = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let seen = |pulse: &Pulse| Seen {
            seen_ms: load(&pulse.seen_ms),
            inputs: load(&pulse.inputs),
            upper: load(&pulse.upper),
            waits_ms: Some(load(&pulse.waits_ms)).filter(|since| *since > 0),
        };
        self.workers.iter().map(seen).collect()
    }
}

/// A worker, as it was seen last.
#[derive(Clone, Copy, Debug)]
struct Seen {
    seen_ms: u64,
    inputs: Tick,
    upper: Tick,
    waits_ms: Option<u64>,
}

/// Who is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// A worker has not been seen for so long: it is in an operator that does not return, or its process is stopped or cut off.
    Silent {
        /// Which, of all.
        worker: usize,
        /// Workers of each process.
        threads: usize,
        /// For how long, ms.
        for_ms: u64,
    },
    /// All are at work, and yet the frontier stands.
    Stands {
        /// The one that knows least.
        worker: usize,
        /// Workers of each process.
        threads: usize,
        /// The frontier.
        upper: Tick,
        /// Where the inputs are.
        inputs: Tick,
        /// For how long, ms.
        for_ms: u64,
    },
}

impl Stall {
    /// The process that holds the frontier.
    pub fn process(&self) -> usize {
        match self {
            Stall::Silent { worker, threads, .. } | Stall::Stands { worker, threads, .. } => worker / threads,
        }
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |worker: &usize, threads: &usize| (worker % threads, worker / threads);
        match self {
            Stall::Silent { worker, threads, for_ms } => {
                let (worker, process) = place(worker, threads);
                write!(
                    out,
                    "worker {worker} of process {process} has not been seen for {for_ms} ms and holds the frontier"
                )
            }
            Stall::Stands { worker, threads, upper, inputs, for_ms } => {
                let (worker, process) = place(worker, threads);
                write!(
                    out,
                    "the frontier stands at tick {upper} for {for_ms} ms, though the inputs are at {inputs}; worker {worker} of process \
                     {process} holds it, and is at work"
                )
            }
        }
    }
}

/// What was seen before, and since when.
struct Watch {
    after_ms: u64,
    threads: usize,
    frontier: Tick,
    moved_ms: u64,
    looked_ms: u64,
    suspected: bool,
    warned_ms: u64,
}

impl Watch {
    /// Looks at all workers at `now_ms`. A stall is one at the second look: the first may come just before the pulse does.
    fn look(&mut self, now_ms: u64, workers: &[Seen]) -> Option<Stall> {
        let frontier = workers.iter().map(|it| it.upper).min().unwrap_or(0);
        let inputs = workers.iter().map(|it| it.inputs).min().unwrap_or(0);
        // One that has itself slept too long, because its process was stopped, knows nothing of the others.
        let overslept = now_ms.saturating_sub(self.looked_ms) > self.after_ms / 2;
        self.looked_ms = now_ms;
        if overslept || frontier != self.frontier || inputs <= frontier {
            (self.frontier, self.moved_ms) = (frontier, now_ms);
        }
        let stall = if overslept { None } else { self.stall(now_ms, inputs, workers) };
        let again = std::mem::replace(&mut self.suspected, stall.is_some());
        self.warn(now_ms, workers);
        stall.filter(|_| again)
    }

    fn stall(&self, now_ms: u64, inputs: Tick, workers: &[Seen]) -> Option<Stall> {
        let threads = self.threads;
        let (worker, seen) = workers.iter().enumerate().min_by_key(|(_, it)| it.seen_ms)?;
        let for_ms = now_ms.saturating_sub(seen.seen_ms);
        if for_ms > self.after_ms {
            return Some(Stall::Silent { worker, threads, for_ms });
        }
        let for_ms = now_ms.saturating_sub(self.moved_ms);
        let (worker, seen) = workers.iter().enumerate().min_by_key(|(_, it)| it.upper)?;
        (for_ms > self.after_ms).then_some(Stall::Stands { worker, threads, upper: seen.upper, inputs, for_ms })
    }

    /// That closed ticks wait is said, once in a while.
    fn warn(&mut self, now_ms: u64, workers: &[Seen]) {
        let longest_ms =
            workers.iter().filter_map(|it| it.waits_ms).min().map_or(0, |since| now_ms.saturating_sub(since));
        if longest_ms > self.after_ms && now_ms.saturating_sub(self.warned_ms) > self.after_ms {
            self.warned_ms = now_ms;
            tracing::warn!(
                for_ms = longest_ms,
                "closed ticks wait to be decided: the ledger's disk or its mirror's broker does not answer"
            );
        }
    }
}

/// Starts to watch, until `over` is set or nobody has the pulses any more. A stall for longer than `after` is given to `bark`,
/// once.
pub fn start(
    pulses: &Arc<Pulses>,
    after: Duration,
    over: Arc<AtomicBool>,
    bark: impl FnOnce(Stall) + Send + 'static,
) -> std::io::Result<()> {
    let pulses: Weak<Pulses> = Arc::downgrade(pulses);
    std::thread::Builder::new().name("watchdog".into()).spawn(move || {
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let mut watch: Option<Watch> = None;
        while let Some(pulses) = pulses.upgrade().filter(|_| !over.load(Ordering::Relaxed)) {
            let (now_ms, threads) = (pulses.now_ms(), pulses.threads);
            let watch = watch.get_or_insert(Watch {
                after_ms,
                threads,
                frontier: 0,
                moved_ms: now_ms,
                looked_ms: now_ms,
                suspected: false,
                warned_ms: 0,
            });
            if let Some(stall) = watch.look(now_ms, &pulses.seen()) {
                return bark(stall);
            }
            drop(pulses);
            std::thread::sleep(beat(after));
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Workers of two processes with one each: when each was seen, its inputs, its upper.
    fn seen(workers: [(u64, Tick, Tick); 2]) -> Vec<Seen> {
        workers.map(|(seen_ms, inputs, upper)| Seen { seen_ms, inputs, upper, waits_ms: None }).to_vec()
    }

    fn watch() -> Watch {
        Watch { after_ms: 1000, threads: 1, frontier: 0, moved_ms: 0, looked_ms: 0, suspected: false, warned_ms: 0 }
    }

    /// What it says at each look, one every 100 ms.
    fn looks(count: u64, workers: impl Fn(u64) -> [(u64, Tick, Tick); 2]) -> Vec<Stall> {
        let mut watch = watch();
        (1..=count).filter_map(|look| watch.look(look * 100, &seen(workers(look * 100)))).collect()
    }

    #[test]
    fn a_frontier_that_stands_while_the_inputs_go_on_is_a_stall() {
        let found = looks(14, |now_ms| [(now_ms, now_ms, 50), (now_ms, now_ms + 7, 40)]);
        let stands = Stall::Stands { worker: 1, threads: 1, upper: 40, inputs: 1300, for_ms: 1200 };
        assert_eq!(found[0], stands);
        assert_eq!((found[0].process(), found.len()), (1, 2));
    }

    #[test]
    fn what_moves_or_has_nothing_to_do_is_none() {
        assert_eq!(looks(50, |now_ms| [(now_ms, now_ms, now_ms / 2), (now_ms, now_ms, now_ms)]), []);
        // A source that gives nothing: the frontier is where the inputs are.
        assert_eq!(looks(50, |now_ms| [(now_ms, 40, 40), (now_ms, now_ms, 40)]), []);
    }

    #[test]
    fn a_worker_that_is_not_seen_is_a_stall_also_where_nothing_is_to_do() {
        let found = looks(17, |now_ms| [(now_ms, 40, 40), (now_ms.min(500), 40, 40)]);
        assert_eq!(found[0], Stall::Silent { worker: 1, threads: 1, for_ms: 1200 });
    }

    #[test]
    fn who_has_slept_too_long_says_nothing() {
        let mut watch = watch();
        assert_eq!(watch.look(100, &seen([(100, 40, 40); 2])), None);
        // Stopped for a while, as the others were, or not.
        assert_eq!(watch.look(60_000, &seen([(100, 40, 40); 2])), None);
        assert_eq!(watch.look(60_100, &seen([(60_050, 41, 40), (60_060, 42, 41)])), None);
        assert_eq!(watch.look(60_200, &seen([(60_150, 42, 42), (60_160, 42, 42)])), None);
    }

    #[test]
    fn it_barks_once_and_ends_with_those_it_watches() {
        let pulses = Arc::new(Pulses::new(1, 2));
        let (heard_to, heard) = std::sync::mpsc::channel();
        let after = Duration::from_millis(800);
        start(&pulses, after, Arc::default(), move |stall| heard_to.send(stall).unwrap()).unwrap();
        let until = Instant::now() + 2 * after;
        while Instant::now() < until {
            (0..2).for_each(|worker| pulses.beat(worker, 7, 7));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(heard.try_recv().is_err());
        let barked = std::thread::spawn(move || heard.recv_timeout(Duration::from_secs(20)));
        while !barked.is_finished() {
            pulses.beat(0, 7, 7);
            std::thread::sleep(Duration::from_millis(1));
        }
        let stall = barked.join().unwrap().unwrap();
        assert!(matches!(stall, Stall::Silent { worker: 1, threads: 2, .. }), "{stall:?}");
        assert!(stall.to_string().starts_with("worker 1 of process 0 has not been seen for "), "{stall}");
    }
}
