//! Where the graph's conclusions leave it. A change is handed out only once its tick is closed, and then whole: this is the
//! one place that holds to «only closed ticks act».

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::probe::{Handle, Probe};

use crate::model::{Change, Diff, Opening, Tick};

/// To whom a worker's conclusions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To whoever asks the worker itself.
    Here,
    /// To the first so many of all workers, those of the process that decides. The others hand out closed ticks without changes.
    First(usize),
}

/// The changes that one worker's graph has concluded, or was sent, and not handed out yet.
pub struct Outputs {
    shared: Rc<RefCell<Gathered>>,
}

#[derive(Default)]
struct Gathered {
    changes: Vec<(Change, Tick, Diff)>,
    /// All ticks before this one are closed; none once the inputs are closed and everything has been concluded.
    upper: Option<Tick>,
}

impl Outputs {
    /// All ticks before this one are closed; none when all are.
    pub fn upper(&self) -> Option<Tick> {
        self.shared.borrow().upper
    }

    /// Takes the changes of the ticks closed since the last call, in the order of ticks; in a tick, what is state
    /// first, then who left, then who entered. An episode that enters and leaves at one tick was never there.
    pub fn take_closed(&mut self) -> Vec<(Tick, Change)> {
        let mut gathered = self.shared.borrow_mut();
        let upper = gathered.upper;
        let (mut closed, open): (Vec<_>, Vec<_>) = std::mem::take(&mut gathered.changes)
            .into_iter()
            .partition(|(_, tick, _)| upper.is_none_or(|upper| *tick < upper));
        gathered.changes = open;
        drop(gathered);
        consolidate_updates(&mut closed);
        let mut closed: Vec<(Tick, Change)> =
            closed.into_iter().filter_map(|(change, tick, diff)| Some((tick, settled(change, diff)?))).collect();
        closed.sort_by(|(tick, change), (other_tick, other)| tick.cmp(other_tick).then_with(|| change.cmp(other)));
        closed
    }
}

/// What a net difference says: a row of state that was replaced says nothing, its successor says it.
fn settled(change: Change, diff: Diff) -> Option<Change> {
    match (change, diff > 0) {
        (Change::Entered(opening), false) => Some(Change::Left(opening.episode)),
        (change, true) => Some(change),
        (_, false) => None,
    }
}

/// The collections whose changes are handed out.
#[derive(Default)]
pub(crate) struct Watched<'scope>(Vec<VecCollection<'scope, Tick, Change, Diff>>);

impl<'scope> Watched<'scope> {
    /// The trigger set, in parts.
    pub fn entries(&mut self, episodes: Vec<VecCollection<'scope, Tick, Opening, Diff>>) {
        self.0.extend(episodes.into_iter().map(|episodes| episodes.map(Change::Entered)));
    }

    /// Rows of state: a new row replaces the old.
    pub fn state(&mut self, rows: VecCollection<'scope, Tick, Change, Diff>) {
        self.0.push(rows);
    }
}

/// A change on its way out.
type Row = (Change, Tick, Diff);

/// Gathers the changes of the collections that `watch` names, at their destination, and shows how far they are `concluded`.
pub(crate) fn collect<'scope>(
    scope: Scope<'scope, Tick>,
    destination: Destination,
    concluded: &Handle<Tick>,
    watch: impl FnOnce(&mut Watched<'scope>),
) -> Outputs {
    let mut watched = Watched::default();
    watch(&mut watched);
    let changes = differential_dataflow::collection::concatenate(scope, watched.0);
    let changes = changes.inner.probe_with(concluded).as_collection();
    match destination {
        Destination::Here => gather(changes, Pipeline),
        Destination::First(workers) => {
            // All of one worker's go to the same one, so that what cancels out still meets.
            let worker = (scope.index() % workers) as u64;
            gather(changes, Exchange::new(move |_: &Row| worker))
        }
    }
}

fn gather(
    changes: VecCollection<'_, Tick, Change, Diff>,
    way: impl ParallelizationContract<Tick, Vec<Row>>,
) -> Outputs {
    let shared = Rc::new(RefCell::new(Gathered { changes: Vec::new(), upper: Some(0) }));
    let gathered = shared.clone();
    changes.inner.sink(way, "Changes", move |(input, frontier)| {
        let mut gathered = gathered.borrow_mut();
        input.for_each(|_, changes| gathered.changes.append(changes));
        gathered.upper = frontier.frontier().first().copied();
    });
    Outputs { shared }
}
