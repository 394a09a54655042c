//! The first pass: replays the log until the decision is made, listening to its gates. In: a decision's id and the log. Out:
//! the decision, its episode, who the customer was by then, and how far the log was read. Fails when the log cannot be read,
//! or does not lead to the decision.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use beckon_dataflows::model::{Episode, Id, Tick};
use hashbrown::HashSet;

use super::{Explain, Made, Step, Unexplained, stages};
use crate::decide::{Asking, Decided, Watch, Why};
use crate::decision::{Decision, DecisionId, Moment};
use crate::meter::Meter;
use crate::pipeline::reading::Extents;
use crate::pipeline::replay::{RECORDS_AN_ADVANCE, Replay, Replayed, Until};
use crate::pipeline::{Act, View};

/// What the first pass found.
pub struct Found {
    /// The decision, with what its gates answered.
    pub made: Made,
    /// What it is about.
    pub episode: Episode,
    /// All ids that the customer was sent to under by then.
    pub customers: Vec<Id>,
    /// How far the log was read.
    pub extents: Extents,
}

/// What has been seen of the decision so far.
#[derive(Default)]
struct Seen {
    decided: Option<(Decision, Episode, Vec<Id>)>,
    askings: Vec<Asking>,
    /// How many others were made, and the first and last one's tick.
    others: Option<(u64, Tick, Tick)>,
}

/// Waits for the decision.
struct Watcher {
    id: DecisionId,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
}

impl Act for Watcher {
    fn decided(&mut self, tick: Tick, decided: Vec<Decided>, view: &View<'_>) -> anyhow::Result<()> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.decided.is_some() || decided.is_empty() {
            return Ok(());
        }
        let (count, first, _) = seen.others.unwrap_or((0, tick, tick));
        seen.others = Some((count + decided.len() as u64, first, tick));
        let found = decided.into_iter().find(|(decision, _)| decision.decision_id == self.id);
        if let Some((decision, opening)) = found {
            let customers = view.state.all_of(opening.episode.customer);
            seen.decided = Some((decision, opening.episode, customers));
            self.stop.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn asked(&mut self, asking: Asking) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.decided.is_none() {
            seen.askings.push(asking);
        }
    }
}

/// Replays up to the decision. Deadlines after the last record come due, as they do live.
pub fn find(explain: &Explain<'_>, progress: &mut dyn FnMut(Step)) -> Result<Found, Unexplained> {
    let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
    let watcher = Watcher { id: explain.id, seen: seen.clone(), stop: stop.clone() };
    let watch = Watch::Decision(explain.id);
    let replayed = replay(explain, watch, Until::Drain, &stop, watcher, progress)?;
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    match seen.decided {
        Some((decision, episode, customers)) => {
            let made = Made { decision, askings: seen.askings };
            Ok(Found { made, episode, customers, extents: replayed.extents })
        }
        None => Err(Unexplained::NotThere {
            decisions: seen.others.map(|(count, first, last)| (count, Moment(first), Moment(last))),
            waited: seen.askings.last().and_then(waited),
        }),
    }
}

/// To whom the sends went that counted against the stock budgets of these customers' episodes up to a tick: those had a say in
/// what was sent to them, and so in their cooldowns, caps and ranks.
pub fn recipients(
    explain: &Explain<'_>,
    customers: &HashSet<Id>,
    last: Tick,
    progress: &mut dyn FnMut(Step),
) -> anyhow::Result<HashSet<Id>> {
    let recipients = Arc::new(Mutex::new(HashSet::new()));
    let act = Recipients(recipients.clone());
    let watch = Watch::Customers(customers.clone());
    replay(explain, watch, Until::Time(last), &AtomicBool::new(false), act, progress)?;
    Ok(std::mem::take(&mut *recipients.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Listens for recipients.
struct Recipients(Arc<Mutex<HashSet<Id>>>);

impl Act for Recipients {
    fn decided(&mut self, _tick: Tick, _decided: Vec<Decided>, _view: &View<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    fn asked(&mut self, asking: Asking) {
        let mut recipients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recipients.extend(asking.replies.iter().flat_map(|reply| reply.why.recipients()));
    }
}

/// Replays the log to `until`, listening to gates.
fn replay(
    explain: &Explain<'_>,
    watch: Watch,
    until: Until,
    stop: &AtomicBool,
    act: impl Act,
    progress: &mut dyn FnMut(Step),
) -> anyhow::Result<Replayed> {
    let (plan, decider) = stages(explain.config);
    let replay = Replay {
        workers: explain.workers,
        decoders: std::thread::available_parallelism().map_or(1, usize::from),
        plan,
        decider: decider.watching(watch),
        allowed_lateness_ms: explain.config.allowed_lateness_ms,
        until,
        noted: explain.noted.clone(),
        advance_after: RECORDS_AN_ADVANCE,
        meter: Arc::new(Meter::default()),
    };
    let partitions = (explain.open)()?;
    replay.run_unless(stop, partitions, act, Box::new(|_| Ok(())), |share| progress(Step::Finding(share)))
}

/// When it waited, and until when.
fn waited(asking: &Asking) -> Option<(Moment, Moment)> {
    asking.replies.iter().find_map(|reply| match &reply.why {
        Why::QuietHours { until, .. } => until.map(|until| (Moment(asking.tick), until)),
        _ => None,
    })
}
