//! The proof: the engine on some records alone, at the ticks that they had. In: records. Out: the decision that they make, if
//! they make it. Cannot fail. One worker, this thread, no files: a trial of a few hundred records takes about a millisecond.

use std::sync::{Arc, RwLock};

use beckon_dataflows::inputs::Batch;
use beckon_dataflows::model::Tick;
use beckon_dataflows::plan::Plan;

use super::{Kept, stages};
use crate::config::Config;
use crate::decide::{Asking, Decider, Watch};
use crate::decision::{Decision, DecisionId};
use crate::decode::Dictionary;
use crate::pipeline::decide_ticks;
use crate::state::State;
use crate::worker;

/// What every trial has in common.
pub struct Trial {
    plan: Arc<Plan>,
    decider: Decider,
    dictionary: Arc<Dictionary>,
    id: DecisionId,
    as_of: Tick,
    is_without_similar: bool,
}

/// A decision, as some records made it, with what its gates answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The decision.
    pub decision: Decision,
    /// Each asking of its gates.
    pub askings: Vec<Asking>,
}

impl Made {
    /// The same without the similar SKUs, which other customers' interests make.
    pub fn without_similar(mut self) -> Made {
        self.decision.payload.similar = None;
        self
    }

    /// Whether it is the same decision, to the byte, made for the same reason: asked at the same ticks, and if it was refused,
    /// then by the same figures. Another send in the same cooldown would be another story.
    pub fn is_same_as(&self, other: &Made) -> bool {
        self.decision == other.decision && self.is_made_like(other)
    }

    /// Whether the gates gave the same reason.
    pub fn is_made_like(&self, other: &Made) -> bool {
        let ticks = |made: &Made| -> Vec<Tick> { made.askings.iter().map(|asking| asking.tick).collect() };
        let refusal = |made: &Made| made.askings.last().and_then(Asking::refusal).cloned();
        ticks(self) == ticks(other) && refusal(self) == refusal(other)
    }
}

impl Trial {
    /// Trials of `decision`, whose records' names are in `dictionary`.
    pub fn of(config: &Config, dictionary: Arc<Dictionary>, decision: &Decision) -> Trial {
        let (plan, decider) = stages(config);
        Trial {
            plan: Arc::new(plan),
            decider,
            dictionary,
            id: decision.decision_id,
            as_of: decision.as_of,
            is_without_similar: false,
        }
    }

    /// The same that do not look at the similar SKUs.
    pub fn without_similar(self) -> Trial {
        Trial { is_without_similar: true, ..self }
    }

    /// The decision that `records` alone lead to by its tick; none when they do not.
    pub fn run<'k>(&self, records: impl IntoIterator<Item = &'k Kept>) -> Option<Made> {
        let mut batch = Batch::default();
        records.into_iter().for_each(|kept| batch.push(kept.record.clone(), kept.tick));
        let changes = worker::run_alone(self.plan.clone(), batch, self.as_of);
        let upper = Some(self.as_of.saturating_add(1));
        let (mut decider, state) =
            (self.decider.anew().watching(Watch::Decision(self.id)), RwLock::new(State::default()));
        let (mut made, mut askings) = (None, Vec::new());
        let decided = decide_ticks(changes, upper, &mut decider, &self.dictionary, &state, |closed, decider, _| {
            if made.is_none() {
                askings.extend(decider.take_askings());
                made = closed.decided.into_iter().map(|(decision, _)| decision).find(|it| it.decision_id == self.id);
            }
            Ok(())
        });
        let made = decided.ok().and(made).map(|decision| Made { decision, askings });
        if self.is_without_similar { made.map(Made::without_similar) } else { made }
    }
}
