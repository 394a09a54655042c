//! The workers: timely threads that step the graph and hand out closed ticks. In: batches of records, and how far the ticks
//! are closed. Out: for each worker, the changes of the ticks that it has closed. A panic in one ends the process, because
//! the others would wait for it for ever.

use std::sync::Arc;
use std::thread::Thread;
use std::time::Duration;

use beckon_dataflows::counts::Counts;
use beckon_dataflows::inputs::{Batch, Inputs};
use beckon_dataflows::model::{Change, Tick};
use beckon_dataflows::outputs::Outputs;
use beckon_dataflows::plan::Plan;
use beckon_dataflows::snapshot::{Earlier, Fault, Listen, Pace, Snapshots, Told};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use timely::WorkerConfig;
use timely::communication::WorkerGuards;

/// How many commands may wait for a worker before whoever feeds it waits.
const COMMANDS_WAITING: usize = 16;

/// How many closed spans may wait to be decided before the workers wait.
const SPANS_WAITING: usize = 64;

/// What a worker is told.
enum Command {
    /// Take these records.
    Feed(Batch),
    /// Write down the state at this tick, which is not closed yet.
    Snapshot(Tick),
    /// All ticks before this one are closed.
    Advance(Tick),
    /// Nothing more comes; deadlines still pending come due, those of ticks from this one on need not.
    Close(Tick),
}

/// What one worker has concluded about the ticks before `upper` that it had not handed out before.
pub struct Closed {
    /// Which worker.
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
    pub told: Told,
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

/// The running workers, as their feeder sees them.
pub struct Workers {
    lines: Vec<Line>,
    next: usize,
    guards: WorkerGuards<()>,
}

struct Line {
    commands: Sender<Command>,
    thread: Thread,
}

/// Starts `count` workers on `plan`. Fails when an earlier snapshot does not read as it was written.
pub fn start(
    count: usize,
    plan: Arc<Plan>,
    counts: Arc<Counts>,
    keeping: Keeping,
) -> Result<(Workers, Receiver<Closed>), StartError> {
    let (closed_to, closed) = crossbeam_channel::bounded(SPANS_WAITING);
    let (threads_to, threads) = crossbeam_channel::bounded(count);
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..count).map(|_| crossbeam_channel::bounded(COMMANDS_WAITING)).unzip();
    let config = timely::Config {
        communication: timely::CommunicationConfig::Process(count),
        worker: WorkerConfig::default().idle_spin(Duration::ZERO),
    };
    let guards = timely::execute(config, move |worker| {
        let index = worker.index();
        let snapshots = keeping.of(index, count);
        let (mut inputs, outputs) = worker.dataflow(|scope| beckon_dataflows::build(scope, &plan, &counts, &snapshots));
        snapshots.earlier().into_iter().for_each(|tick| inputs.advance_to(tick + 1));
        // The feeder may have gone already; then the commands end too.
        let _ = threads_to.send((index, std::thread::current(), snapshots.fault()));
        let mut station = Station { index, inputs: Some(inputs), outputs, snapshots, horizon: None, upper: Some(0) };
        while station.obey(&receivers[index]) && station.hand_out(&closed_to) {
            // Whoever sends a command wakes the thread; the second is only in case that is lost.
            let pause = if receivers[index].is_empty() { Duration::from_secs(1) } else { Duration::ZERO };
            worker.step_or_park(Some(pause));
        }
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    })
    .map_err(StartError::Threads)?;
    let mut started: Vec<(usize, Thread, Option<Fault>)> = threads.iter().take(count).collect();
    started.sort_by_key(|(index, ..)| *index);
    let fault = started.iter().find_map(|(.., fault)| fault.clone());
    let lines = senders.into_iter().zip(started).map(|(commands, (_, thread, _))| Line { commands, thread }).collect();
    let workers = Workers { lines, next: 0, guards };
    match fault {
        None => Ok((workers, closed)),
        Some(fault) => {
            drop(closed);
            workers.join().map_err(StartError::Threads)?;
            Err(StartError::Earlier(fault))
        }
    }
}

impl Keeping {
    /// That of one worker.
    fn of(&self, worker: usize, workers: usize) -> Snapshots {
        let listen = self
            .pieces
            .clone()
            .map(|pieces| -> Listen { Box::new(move |tick, told| pieces(Piece { worker, tick, told })) });
        Snapshots::new(worker, workers, self.pace, listen, self.earlier.clone())
    }
}

/// Runs the graph on `batch` and nothing else, on this thread, and returns the changes of the ticks up to `last`, in their order.
pub fn run_alone(plan: Arc<Plan>, mut batch: Batch, last: Tick) -> Vec<(Tick, Change)> {
    timely::execute::execute_directly(move |worker| {
        let counts = Arc::new(Counts::default());
        let (mut inputs, mut outputs) =
            worker.dataflow(|scope| beckon_dataflows::build(scope, &plan, &counts, &Snapshots::none()));
        inputs.feed(&mut batch);
        inputs.advance_to(last.saturating_add(1));
        while outputs.upper().is_some_and(|upper| upper <= last) {
            worker.step();
        }
        let changes = outputs.take_closed();
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
        changes
    })
}

impl Workers {
    /// Gives a batch to the worker whose turn it is. Waits when it is busy.
    pub fn feed(&mut self, batch: Batch) {
        self.next = (self.next + 1) % self.lines.len();
        self.lines[self.next].send(Command::Feed(batch));
    }

    /// Writes down the state at `tick`, which must not be closed yet.
    pub fn snapshot(&self, tick: Tick) {
        self.lines.iter().for_each(|line| line.send(Command::Snapshot(tick)));
    }

    /// Closes all ticks before `tick`.
    pub fn advance(&self, tick: Tick) {
        self.lines.iter().for_each(|line| line.send(Command::Advance(tick)));
    }

    /// Ends the input. Deadlines before `horizon` still come due.
    pub fn close(&self, horizon: Tick) {
        self.lines.iter().for_each(|line| line.send(Command::Close(horizon)));
    }

    /// Waits until every worker has finished, which they do once closed and handed out.
    pub fn join(self) -> Result<(), String> {
        let Workers { lines, guards, .. } = self;
        for Line { commands, thread } in lines {
            drop(commands);
            thread.unpark();
        }
        guards.join().into_iter().collect()
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
    index: usize,
    inputs: Option<Inputs>,
    outputs: Outputs,
    snapshots: Snapshots,
    /// Set once closed: from this tick on nothing is of interest.
    horizon: Option<Tick>,
    /// What was handed out last.
    upper: Option<Tick>,
}

impl Station {
    /// Does what was commanded so far. False when there is nobody left to command.
    fn obey(&mut self, commands: &Receiver<Command>) -> bool {
        loop {
            let Some(inputs) = &mut self.inputs else { return true };
            match commands.try_recv() {
                Ok(Command::Feed(mut batch)) => inputs.feed(&mut batch),
                Ok(Command::Snapshot(tick)) => self.snapshots.take(tick),
                Ok(Command::Advance(tick)) => inputs.advance_to(tick),
                Ok(Command::Close(horizon)) => {
                    self.horizon = Some(horizon);
                    if let Some(mut inputs) = self.inputs.take() {
                        inputs.advance_to(horizon);
                        // At the end of time every deadline comes due, so the input need only be closed for that.
                        if horizon < Tick::MAX {
                            self.inputs = Some(inputs);
                        }
                    }
                    return true;
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return self.horizon.is_some(),
            }
        }
    }

    /// Hands out the ticks closed since. False when that was the last of them.
    fn hand_out(&mut self, closed_to: &Sender<Closed>) -> bool {
        let upper = self.outputs.upper();
        let finished = self.horizon.is_some_and(|horizon| upper.is_none_or(|upper| upper >= horizon));
        if upper == self.upper && !finished {
            return true;
        }
        self.upper = upper;
        let changes = self.outputs.take_closed();
        closed_to.send(Closed { worker: self.index, upper, changes }).is_ok() && !finished
    }
}
