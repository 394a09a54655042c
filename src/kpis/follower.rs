//! The dataflow of the KPIs on its owner's own thread, which runs when ticks are closed and not otherwise. In: facts by tick, and how far
//! the ticks are closed. Out: what is added to the table, tick by tick; and when asked, all that is kept, as of a tick. Fails when an
//! earlier snapshot does not read as it was written.

use std::sync::{Arc, Mutex, PoisonError};

use beckon_dataflows::kpis::{self, Cell, Fact, Inputs, Outputs, Tally, Terms};
use beckon_dataflows::model::Tick;
use beckon_dataflows::snapshot::{Earlier, Fault, Pace, Seat, Snapshots, Told};
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
        let snapshots = Snapshots::new(Seat::ALONE, Pace(KEYS_AT_A_TIME), Some(listen), earlier);
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

#[cfg(test)]
mod tests {
    use beckon_dataflows::horizon::Horizon;
    use beckon_dataflows::kpis::Followed;
    use beckon_dataflows::model::{Engagement, EngagementKind, Id, OrderFact, OrderStatus};
    use beckon_dataflows::plan::Plan;

    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const DAY_MS: u64 = 24 * HOUR_MS;

    /// Ten customers are decided about each hour, who never come again; mails are opened, and every other customer orders.
    fn tell_hour(follower: &mut Follower, hour: u64) {
        for customer in hour * 10..hour * 10 + 10 {
            let (at, id, owner) = (hour * HOUR_MS, u128::from(customer) << 64 | u128::from(customer), Id(customer));
            let decision = Followed { at, id, customer: owner, cell: Cell::of(0, (customer % 3) as u16, at) };
            follower.tell(Fact::Decided(decision, owner), at);
            let opened = Engagement { decision: id, kind: EngagementKind::Opened, machine: false };
            follower.tell(Fact::Accepted(id), at + 1000);
            follower.tell(Fact::Engaged(opened), at + 2000);
            if customer % 2 == 0 {
                let (placed, status) = (at + 3000, OrderStatus::Placed);
                let order = OrderFact { customer: owner, placed, status, total: "19.90".parse().ok() };
                follower.tell(Fact::Order(Id(customer << 32), order), placed);
            }
        }
    }

    /// How many bytes all that is kept takes.
    fn size(follower: &mut Follower, tick: Tick) -> usize {
        follower.snapshot(tick).1.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    #[test]
    fn what_is_kept_does_not_grow_with_history() {
        let mut plan = Plan::new(1000, Vec::new(), 3 * DAY_MS);
        plan.attribution_ms = Some(DAY_MS);
        let terms = Terms { tick_ms: 1000, attribution_ms: DAY_MS, horizon: Horizon::of(&plan) };
        let mut follower = Follower::new(terms, None).unwrap();
        let mut sizes = Vec::new();
        for hour in 1..60 * 24 {
            tell_hour(&mut follower, hour);
            let tick = (hour + 1) * HOUR_MS - 1000;
            follower.advance(tick);
            if hour % (10 * 24) == 0 {
                sizes.push(size(&mut follower, tick));
            }
        }
        let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
        assert!(*least > 1000 && *most < least + least / 50, "bytes kept every ten days: {sizes:?}");
    }
}
