//! The middle of the house on its owner's own thread: graph and decisions, run when ticks are closed and not otherwise. In: what
//! [`Engine`](super::Engine) takes. Out: the same. It waits for nobody, so that whoever drives it says what happens when.

use std::sync::Arc;

use beckon_dataflows::counts::Counts;
use beckon_dataflows::inputs::Batch;
use beckon_dataflows::model::Tick;
use beckon_dataflows::plan::Plan;

use super::live::Graph;
use super::{Act, Deciding};
use crate::worker;

/// One worker, and what decides about the ticks that it closes.
pub struct InLine<A> {
    worker: worker::InLine,
    deciding: Deciding<A>,
}

impl<A: Act> InLine<A> {
    /// Nothing fed yet; `deciding` must be that of one worker.
    pub fn new(plan: &Plan, counts: &Arc<Counts>, deciding: Deciding<A>) -> InLine<A> {
        InLine { worker: worker::InLine::new(plan, counts), deciding }
    }
}

impl<A: Act> Graph for InLine<A> {
    fn feed(&mut self, batch: Batch) -> anyhow::Result<()> {
        self.worker.feed(batch);
        Ok(())
    }

    /// When this returns, all ticks before `tick` are decided.
    fn advance(&mut self, tick: Tick) -> anyhow::Result<()> {
        self.deciding.take_up(self.worker.advance(tick))
    }
}
