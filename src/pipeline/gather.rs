//! The workers' closed ticks put together: a tick is handed on when every worker has closed it, with the changes of all.

use beckon_dataflows::model::{Change, Tick};

use crate::worker::Closed;

/// What some workers have closed and others have not.
pub struct Gather {
    uppers: Vec<Option<Tick>>,
    waiting: Vec<(Tick, Change)>,
}

impl Gather {
    /// Nothing closed yet by any of `workers`.
    pub fn new(workers: usize) -> Gather {
        Gather { uppers: vec![Some(0); workers], waiting: Vec::new() }
    }

    /// Takes up what a worker has closed, and hands on the changes of the ticks that all have closed now: in the order of
    /// ticks, in a tick the state first, then who left, then who entered.
    pub fn add(&mut self, closed: Closed) -> Vec<(Tick, Change)> {
        self.uppers[closed.worker] = closed.upper;
        self.waiting.extend(closed.changes);
        let upper = self.upper();
        self.waiting
            .sort_by(|(tick, change), (other_tick, other)| tick.cmp(other_tick).then_with(|| change.cmp(other)));
        let due = upper.map_or(self.waiting.len(), |upper| self.waiting.partition_point(|(tick, _)| *tick < upper));
        let rest = self.waiting.split_off(due);
        std::mem::replace(&mut self.waiting, rest)
    }

    /// All ticks before this one are closed; none when every worker has finished.
    pub fn upper(&self) -> Option<Tick> {
        self.uppers.iter().copied().flatten().min()
    }
}
