//! The workers: timely threads that step the graph and hand out closed ticks. In: batches of records, and how far the ticks
//! are closed. Out: for each worker, the changes of the ticks that it has closed. A panic in one ends the process, because
//! the others would wait for it for ever.
//!
//! The workers of a process may be among those of others: `among`.

mod among;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use beckon_dataflows::counts::Counts;
use beckon_dataflows::inputs::{Batch, Inputs};
use beckon_dataflows::model::{Change, Tick};
use beckon_dataflows::outputs::{Destination, Outputs};
use beckon_dataflows::plan::Plan;
use beckon_dataflows::snapshot::{Earlier, Fault, Listen, Pace, Seat, Snapshots, Told as Written};
use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError};
use timely::WorkerConfig;
use timely::communication::{Allocator, WorkerGuards};
use timely::worker::Worker;

use crate::cluster::Peers;
use crate::cluster::relay::{End, Relay};
use crate::cluster::together::Together;
use crate::decode::{Dictionary, Told};
use crate::watchdog::Pulses;
use among::Among;

/// How many commands may wait for a worker before whoever feeds it waits.
const COMMANDS_WAITING: usize = 16;

/// How many closed spans may wait to be decided before the workers wait.
const SPANS_WAITING: usize = 64;

/// How long a worker waits before it tries again to hand out what nobody has taken.
const HAND_OUT_PAUSE: Duration = Duration::from_millis(10);

/// What a worker is told.
enum Command {
    /// Take these records, and tell these names where it is decided.
    Feed(Batch, Vec<Told>),
    /// Write down the state at this tick, which is not closed yet.
    Snapshot(Tick),
    /// All ticks before this one are closed.
    Advance(Tick),
    /// Nothing more comes; deadlines still pending come due, those of ticks from its end on need not.
    Close(End),
}

/// What one worker has concluded about the ticks before `upper` that it had not handed out before.
pub struct Closed {
    /// Which worker of this process.
    pub worker: usize,
    /// All ticks before this one are closed; none when all are that there will ever be.
    pub upper: Option<Tick>,
    /// The changes, in the order of ticks.
    pub changes: Vec<(Tick, Change)>,
}

/// What a worker has written of a snapshot.
pub struct Piece {
    /// Which worker.
    pub worker: usize,
    /// Which snapshot.
    pub tick: Tick,
    /// What.
    pub told: Written,
}

/// What the workers begin with, and where their snapshots go.
#[derive(Clone, Default)]
pub struct Keeping {
    /// An earlier snapshot.
    pub earlier: Option<Earlier>,
    /// Takes the pieces; none: no snapshots are taken. The workers wait as long as it does.
    pub pieces: Option<Arc<dyn Fn(Piece) + Send + Sync>>,
    /// How many keys are written at a time.
    pub pace: Pace,
    /// How far the processes are with them, where any are taken.
    pub together: Option<Arc<Together>>,
}

/// Why the workers cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The threads.
    #[error("workers: {0}")]
    Threads(String),
    /// What they were to begin with.
    #[error("the snapshot cannot be taken up: {0}")]
    Earlier(Fault),
}

/// The workers that a process is to have, and whom it computes with.
pub struct Crew {
    /// Workers of this process.
    pub threads: usize,
    /// The other processes; none where this one is alone.
    pub peers: Option<Peers>,
    /// Set when another process stops.
    pub stop: Arc<AtomicBool>,
    /// A worker shows its pulse at least so often.
    pub beat: Duration,
}

impl From<usize> for Crew {
    fn from(threads: usize) -> Crew {
        Crew { threads, peers: None, stop: Arc::default(), beat: Duration::from_secs(1) }
    }
}

/// The running workers, as their feeder sees them.
pub struct Workers {
    lines: Vec<Line>,
    next: usize,
    /// What other processes are told of the names in the records; none where nobody is.
    told: Option<Arc<Dictionary>>,
    pulses: Arc<Pulses>,
    is_alone: bool,
    /// None once joined.
    guards: Option<WorkerGuards<()>>,
}

struct Line {
    commands: Sender<Command>,
    thread: Thread,
}

/// Starts the workers of `crew` on `plan`. The names of the records that they will be fed are in the `dictionary`; those of other
/// processes' records are put there where it is decided. Fails when an earlier snapshot does not read as it was written.
pub fn start(
    crew: Crew,
    plan: Arc<Plan>,
    counts: Arc<Counts>,
    dictionary: &Arc<Dictionary>,
    keeping: Keeping,
) -> Result<(Workers, Receiver<Closed>), StartError> {
    let Crew { threads, peers, stop, beat } = crew;
    let cluster = peers.as_ref().map(|peers| peers.cluster().clone());
    let (process, processes) = cluster.as_ref().map_or((0, 1), |it| (it.process(), it.hosts().len()));
    let pulses = Arc::new(Pulses::new(processes, threads));
    // Let go once all have read it.
    let earlier = Arc::new(Mutex::new(keeping.earlier));
    let keeping = Keeping { earlier: None, ..keeping };
    let (closed_to, closed) = crossbeam_channel::bounded(SPANS_WAITING);
    let (threads_to, started) = crossbeam_channel::bounded(threads);
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..threads).map(|_| crossbeam_channel::bounded(COMMANDS_WAITING)).unzip();
    let (allocators, connections) = match peers {
        None => timely::CommunicationConfig::Process(threads).try_build().map_err(StartError::Threads)?,
        Some(peers) => {
            let failed = |error| StartError::Threads(format!("connections to other processes: {error}"));
            peers.into_allocators(threads).map_err(failed)?
        }
    };
    let told = dictionary.clone();
    let worker_config = WorkerConfig::default().idle_spin(Duration::ZERO);
    let guards = timely::execute::execute_from(allocators, connections, worker_config, {
        let (pulses, is_alone, earlier) = (pulses.clone(), processes == 1, earlier.clone());
        move |worker| {
            let local = worker.index() - process * threads;
            let destination = if is_alone { Destination::Here } else { Destination::First(threads) };
            let seat = Seat { worker: worker.index(), first: process * threads, workers: worker.peers() };
            let snapshots = keeping.of(seat, lock(&earlier).clone());
            let (inputs, outputs, relay) = worker.dataflow(|scope| {
                let (inputs, outputs) = beckon_dataflows::build(scope, &plan, &counts, destination, &snapshots);
                (inputs, outputs, (!is_alone).then(|| Relay::build(scope)))
            });
            // The feeder may have gone already; then the commands end too.
            let _ = threads_to.send((local, std::thread::current(), snapshots.built()));
            let among = relay.map(|relay| {
                let together = keeping.together.clone();
                Among::new(relay, seat, threads, told.clone(), stop.clone(), together, beat)
            });
            let resumed = snapshots.earlier();
            let mut station = Station::new((worker.index(), local), inputs, outputs, snapshots, pulses.clone(), among);
            resumed.into_iter().for_each(|tick| station.advance_to(tick + 1));
            while station.turn(&receivers[local], &closed_to) {
                // Whoever sends a command wakes the thread; the rest is in case that is lost.
                worker.step_or_park(Some(station.pause(&receivers[local], beat)));
            }
            station.leave();
            for dataflow in worker.installed_dataflows() {
                worker.drop_dataflow(dataflow);
            }
        }
    })
    .map_err(StartError::Threads)?;
    let mut started: Vec<(usize, Thread, Option<Fault>)> = started.iter().take(threads).collect();
    started.sort_by_key(|(local, ..)| *local);
    lock(&earlier).take();
    let fault = started.iter().find_map(|(.., fault)| fault.clone());
    let lines = senders.into_iter().zip(started).map(|(commands, (_, thread, _))| Line { commands, thread }).collect();
    let told = (process > 0).then(|| dictionary.clone());
    let workers = Workers { lines, next: 0, told, pulses, is_alone: processes == 1, guards: Some(guards) };
    match fault {
        None => Ok((workers, closed)),
        Some(fault) => {
            drop(closed);
            workers.join().map_err(StartError::Threads)?;
            Err(StartError::Earlier(fault))
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeping {
    /// That of one worker.
    fn of(&self, seat: Seat, earlier: Option<Earlier>) -> Snapshots {
        let worker = seat.worker;
        let listen = self
            .pieces
            .clone()
            .map(|pieces| -> Listen { Box::new(move |tick, told| pieces(Piece { worker, tick, told })) });
        Snapshots::new(seat, self.pace, listen, earlier)
    }
}

/// Runs the graph on `batch` and nothing else, on this thread, and returns the changes of the ticks up to `last`, in their order.
pub fn run_alone(plan: Arc<Plan>, batch: Batch, last: Tick) -> Vec<(Tick, Change)> {
    let mut alone = InLine::new(&plan, &Arc::new(Counts::default()));
    alone.feed(batch);
    alone.advance(last.saturating_add(1)).changes
}

/// One worker on its owner's own thread, which runs when it is told to and not otherwise.
pub struct InLine {
    worker: Worker,
    inputs: Inputs,
    outputs: Outputs,
}

impl InLine {
    /// Sets up the graph.
    pub fn new(plan: &Plan, counts: &Arc<Counts>) -> InLine {
        let alone = Allocator::Thread(timely::communication::allocator::thread::Thread::default());
        let mut worker = Worker::new(WorkerConfig::default(), alone, None);
        let (inputs, outputs) = worker
            .dataflow(|scope| beckon_dataflows::build(scope, plan, counts, Destination::Here, &Snapshots::none()));
        InLine { worker, inputs, outputs }
    }

    /// Takes records.
    pub fn feed(&mut self, mut batch: Batch) {
        self.inputs.feed(&mut batch);
    }

    /// Closes all ticks before `tick`, and runs until that is concluded.
    pub fn advance(&mut self, tick: Tick) -> Closed {
        self.inputs.advance_to(tick);
        while self.outputs.upper().is_some_and(|upper| upper < tick) {
            self.worker.step();
        }
        Closed { worker: 0, upper: self.outputs.upper(), changes: self.outputs.take_closed() }
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        for dataflow in self.worker.installed_dataflows() {
            self.worker.drop_dataflow(dataflow);
        }
    }
}

impl Workers {
    /// Gives a batch to the worker whose turn it is. Waits when it is busy.
    pub fn feed(&mut self, batch: Batch) {
        self.next = (self.next + 1) % self.lines.len();
        let names = self.told.as_ref().map_or(Vec::new(), |dictionary| dictionary.untold());
        self.lines[self.next].send(Command::Feed(batch, names));
    }

    /// Writes down the state at `tick`, which must not be closed yet.
    pub fn snapshot(&self, tick: Tick) {
        self.lines.iter().for_each(|line| line.send(Command::Snapshot(tick)));
    }

    /// Closes all ticks before `tick`.
    pub fn advance(&self, tick: Tick) {
        self.lines.iter().for_each(|line| line.send(Command::Advance(tick)));
    }

    /// Ends the input, of which nothing is before `horizon`. Deadlines before that still come due; where there are other processes,
    /// before the furthest of theirs.
    pub fn close(&self, horizon: Tick) {
        self.end(End::Furthest(horizon));
    }

    /// Ends the input, though more may come: ticks before `horizon` are still closed; where there are other processes, those before
    /// the least of theirs, and they stop too.
    pub fn stop(&self, horizon: Tick) {
        self.end(End::Least(horizon));
    }

    fn end(&self, end: End) {
        self.lines.iter().for_each(|line| line.send(Command::Close(end)));
    }

    /// How all workers are.
    pub fn pulses(&self) -> &Arc<Pulses> {
        &self.pulses
    }

    /// Waits until every worker has finished, which they do once closed and handed out.
    pub fn join(mut self) -> Result<(), String> {
        for Line { commands, thread } in std::mem::take(&mut self.lines) {
            drop(commands);
            thread.unpark();
        }
        self.guards.take().map_or(Ok(()), |guards| guards.join().into_iter().collect())
    }
}

impl Drop for Workers {
    /// Where it was not joined something has failed, and the process is about to end. The other processes must notice that, so
    /// connections are left open for it to break.
    fn drop(&mut self) {
        if !self.is_alone {
            std::mem::forget(self.guards.take());
        }
    }
}

impl Line {
    fn send(&self, command: Command) {
        // A worker that is gone has panicked, and the process with it.
        let _ = self.commands.send(command);
        self.thread.unpark();
    }
}

/// One worker's end of the line.
struct Station {
    /// Which of all workers, and of this process's.
    index: usize,
    local: usize,
    inputs: Option<Inputs>,
    /// Nothing more comes before this tick.
    at: Tick,
    outputs: Outputs,
    snapshots: Snapshots,
    /// Set once closed: from this tick on nothing is of interest.
    horizon: Option<Tick>,
    /// What was concluded last.
    upper: Option<Tick>,
    /// What nobody has taken yet, and whether it is the last.
    waiting: Option<(Closed, bool)>,
    finished: bool,
    pulses: Arc<Pulses>,
    among: Option<Among>,
}

impl Station {
    fn new(
        (index, local): (usize, usize),
        inputs: Inputs,
        outputs: Outputs,
        snapshots: Snapshots,
        pulses: Arc<Pulses>,
        among: Option<Among>,
    ) -> Station {
        let (inputs, upper) = (Some(inputs), Some(0));
        Station {
            index,
            local,
            inputs,
            at: 0,
            outputs,
            snapshots,
            horizon: None,
            upper,
            waiting: None,
            finished: false,
            pulses,
            among,
        }
    }

    /// Does what was commanded and hands out what has been concluded. False when that was the last, or nobody is there any more.
    fn turn(&mut self, commands: &Receiver<Command>, closed_to: &Sender<Closed>) -> bool {
        // While nobody takes what it has, it takes nothing either.
        let goes_on = self.waiting.is_some() || self.obey(commands);
        if let Some(among) = &mut self.among {
            among.hear(&self.pulses);
            among.tell_wrote();
            self.agree();
        }
        self.show();
        goes_on && self.hand_out(closed_to)
    }

    /// How long it may sleep when there is nothing to do.
    fn pause(&self, commands: &Receiver<Command>, longest: Duration) -> Duration {
        match self.waiting {
            Some(_) => HAND_OUT_PAUSE,
            None if commands.is_empty() || self.is_held() => longest,
            None => Duration::ZERO,
        }
    }

    /// Whether no command is taken until other workers have answered.
    fn is_held(&self) -> bool {
        self.among.as_ref().is_some_and(Among::is_held)
    }

    /// Does what was commanded so far. False when there is nobody left to command.
    fn obey(&mut self, commands: &Receiver<Command>) -> bool {
        loop {
            if self.is_held() {
                return true;
            }
            let Some(inputs) = &mut self.inputs else { return true };
            match commands.try_recv() {
                Ok(Command::Feed(mut batch, names)) => {
                    self.among.iter_mut().for_each(|among| among.tell_names(&names));
                    inputs.feed(&mut batch);
                }
                Ok(Command::Snapshot(tick)) => {
                    self.snapshots.take(tick);
                    self.among.iter_mut().for_each(|among| among.write_down(tick));
                }
                Ok(Command::Advance(tick)) => self.advance_to(tick),
                Ok(Command::Close(end)) => {
                    self.close(end);
                    return true;
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => {
                    return self.horizon.is_some() || self.among.as_ref().is_some_and(Among::has_ended);
                }
            }
        }
    }

    fn advance_to(&mut self, tick: Tick) {
        self.at = self.at.max(tick);
        self.inputs.iter_mut().for_each(|inputs| inputs.advance_to(self.at));
        self.among.iter_mut().for_each(|among| among.advance_to(self.at, self.upper));
    }

    fn close(&mut self, end: End) {
        self.advance_to(end.tick());
        // At the end of time every deadline comes due, so the input need only be closed for that.
        if end.tick() == Tick::MAX {
            self.inputs = None;
            if let Some(among) = &mut self.among {
                among.end(end);
                among.close();
            }
            self.horizon = Some(end.tick());
            return;
        }
        match &mut self.among {
            Some(among) => among.end(end),
            None => self.horizon = Some(end.tick()),
        }
    }

    /// Where it ends depends on the other workers too: also where this one has nothing more to come, and another stops before.
    fn agree(&mut self) {
        let is_open = self.horizon.is_none_or(|horizon| horizon == Tick::MAX);
        let Some(among) = self.among.as_ref().filter(|among| among.has_ended() && is_open) else { return };
        if let Some(end) = among.agreed() {
            self.advance_to(if matches!(end, End::Furthest(_)) { end.tick() } else { self.at });
            self.horizon = Some(end.tick());
        } else if let Some(tick) =
            among.held_by_others(&self.pulses).filter(|tick| among.gives_way() && *tick > self.at)
        {
            // It has nothing more to give, and is not to hold up those that have.
            self.advance_to(tick);
        }
    }

    /// Shows that it is alive.
    fn show(&mut self) {
        self.pulses.beat(self.index, self.at, self.concluded().unwrap_or(Tick::MAX));
        self.among.iter_mut().for_each(|among| among.beat_if_due(self.at, self.upper));
    }

    /// All ticks before this one are closed; none: all.
    fn concluded(&self) -> Option<Tick> {
        let heard = self.among.as_ref().and_then(Among::upper);
        self.outputs.upper().into_iter().chain(heard).min()
    }

    /// Hands out the ticks closed since. False when that was the last of them.
    fn hand_out(&mut self, closed_to: &Sender<Closed>) -> bool {
        let (closed, is_last) = match self.waiting.take() {
            Some(waiting) => waiting,
            None => {
                let upper = self.concluded();
                let is_last = self.horizon.is_some_and(|horizon| upper.is_none_or(|upper| upper >= horizon));
                if upper == self.upper && !is_last {
                    return true;
                }
                self.upper = upper;
                let changes = self.outputs.take_closed();
                (Closed { worker: self.local, upper, changes }, is_last)
            }
        };
        match closed_to.try_send(closed) {
            Ok(()) => {
                self.pulses.waits(self.index, false);
                self.finished = is_last;
                !is_last
            }
            Err(TrySendError::Full(closed)) => {
                self.pulses.waits(self.index, true);
                self.waiting = Some((closed, is_last));
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    /// Ends its part. Where others depend on it and it has not finished, something has failed and the process is about to
    /// end: to go now would look to the others like a good end, so it stays until then.
    fn leave(&self) {
        while self.among.is_some() && !self.finished {
            std::thread::park();
        }
    }
}
