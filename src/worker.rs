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
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use timely::WorkerConfig;
use timely::communication::{Allocator, WorkerGuards};
use timely::worker::Worker;

/// How many commands may wait for a worker before whoever feeds it waits.
const COMMANDS_WAITING: usize = 16;

/// How many closed spans may wait to be decided before the workers wait.
const SPANS_WAITING: usize = 64;

/// What a worker is told.
enum Command {
    /// Take these records.
    Feed(Batch),
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

/// Starts `count` workers on `plan`.
pub fn start(count: usize, plan: Arc<Plan>, counts: Arc<Counts>) -> Result<(Workers, Receiver<Closed>), String> {
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
        let (inputs, outputs) = worker.dataflow(|scope| beckon_dataflows::build(scope, &plan, &counts));
        // The feeder may have gone already; then the commands end too.
        let _ = threads_to.send((index, std::thread::current()));
        let mut station = Station { index, inputs: Some(inputs), outputs, horizon: None, upper: Some(0) };
        while station.obey(&receivers[index]) && station.hand_out(&closed_to) {
            // Whoever sends a command wakes the thread; the second is only in case that is lost.
            let pause = if receivers[index].is_empty() { Duration::from_secs(1) } else { Duration::ZERO };
            worker.step_or_park(Some(pause));
        }
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    })?;
    let mut started: Vec<(usize, Thread)> = threads.iter().take(count).collect();
    started.sort_by_key(|(index, _)| *index);
    let lines = senders.into_iter().zip(started).map(|(commands, (_, thread))| Line { commands, thread }).collect();
    Ok((Workers { lines, next: 0, guards }, closed))
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
        let (inputs, outputs) = worker.dataflow(|scope| beckon_dataflows::build(scope, plan, counts));
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
        self.lines[self.next].send(Command::Feed(batch));
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
        self.guards.join().into_iter().collect()
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
