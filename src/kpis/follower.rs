//! The dataflow of the KPIs on its owner's own thread, which runs when ticks are closed and not otherwise. In: facts by tick, and how far
//! the ticks are closed. Out: what is added to the table, tick by tick; and when asked, all that is kept, as of a tick. Fails when an
//! earlier snapshot does not read as it was written.

use std::sync::{Arc, Mutex, PoisonError};

use beckon_dataflows::kpis::{self, Cell, Fact, Inputs, Outputs, Tally, Terms};
use beckon_dataflows::model::Tick;
use beckon_dataflows::snapshot::{Earlier, Fault, Pace, Snapshots, Told};
use timely::WorkerConfig;
use timely::communication::Allocator;
use timely::worker::Worker;

/// A part of a snapshot: whose it is, and its bytes.
pub type Part = (Arc<str>, Vec<u8>);

/// How many keys are written at a time: nothing else waits meanwhile.
const KEYS_AT_A_TIME: usize = 1 << 16;

/// What is written of a snapshot.
#[derive(Default)]
struct Written {
    parts: Vec<Part>,
    is_done: bool,
}

/// The dataflow. Not to be sent to another thread.
pub struct Follower {
    worker: Worker,
    inputs: Option<Inputs>,
    outputs: Outputs,
    snapshots: Snapshots,
    written: Arc<Mutex<Written>>,
}

impl Follower {
    /// One that begins with nothing, or with what was `earlier`.
    pub fn new(terms: Terms, earlier: Option<Earlier>) -> Result<Follower, Fault> {
        let written = Arc::new(Mutex::new(Written::default()));
        let listener = written.clone();
        let listen = Box::new(move |_, told| {
            let mut written = listener.lock().unwrap_or_else(PoisonError::into_inner);
            match told {
                Told::Part { section, bytes } => written.parts.push((section, bytes)),
                Told::Done => written.is_done = true,
            }
        });
        let snapshots = Snapshots::new(0, 1, Pace(KEYS_AT_A_TIME), Some(listen), earlier);
        let alone = Allocator::Thread(timely::communication::allocator::thread::Thread::default());
        let mut worker = Worker::new(WorkerConfig::default(), alone, None);
        let (inputs, outputs) = worker.dataflow(|scope| kpis::build(scope, terms, &snapshots));
        let inputs = Some(inputs);
        let follower = Follower { worker, inputs, outputs, snapshots, written };
        follower.snapshots.built().map_or(Ok(follower), Err)
    }

    /// Tells of a fact, at a tick that is not closed.
    pub fn tell(&mut self, fact: Fact, tick: Tick) {
        if let Some(inputs) = &mut self.inputs {
            inputs.tell(fact, tick);
        }
    }

    /// Closes all ticks before `tick`, and returns what they add.
    pub fn advance(&mut self, tick: Tick) -> Vec<(Tick, Cell, Tally)> {
        self.inputs.iter_mut().for_each(|inputs| inputs.advance_to(tick));
        while self.outputs.upper().is_some_and(|upper| upper < tick) {
            self.worker.step();
        }
        self.outputs.take()
    }

    /// Closes all ticks there will ever be.
    pub fn finish(&mut self) -> Vec<(Tick, Cell, Tally)> {
        self.inputs.take().into_iter().for_each(Inputs::close);
        while self.outputs.upper().is_some() {
            self.worker.step();
        }
        self.outputs.take()
    }

    /// Closes the ticks up to this one, and returns what they add and all that is kept then.
    pub fn snapshot(&mut self, tick: Tick) -> (Vec<(Tick, Cell, Tally)>, Vec<Part>) {
        self.snapshots.take(tick);
        let added = self.advance(tick + 1);
        loop {
            let written = std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
            if written.is_done {
                return (added, written.parts);
            }
            self.written.lock().unwrap_or_else(PoisonError::into_inner).parts = written.parts;
            self.worker.step();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        for dataflow in self.worker.installed_dataflows() {
            self.worker.drop_dataflow(dataflow);
        }
    }
}
