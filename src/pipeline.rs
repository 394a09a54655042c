//! The way through the house: the one file that names every stage, in order.
//!
//! source → decode → reclock → the graph's workers → closed ticks → state → decide → (ledger → sink)

pub mod answer;
pub mod backlog;
mod beginning;
pub mod compose;
pub mod deliver;
mod enriching;
pub mod esps;
pub mod explain;
mod footprint;
pub mod gather;
pub mod in_line;
mod keeping;
pub mod lanes;
pub mod live;
pub mod measure;
pub mod preview;
pub mod reading;
pub mod reconcile;
pub mod record;
pub mod replay;
pub mod service;
pub mod site;
pub mod snapshots;
pub mod told;
pub mod vitals;
pub mod wiring;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

use anyhow::ensure;
use beckon_dataflows::counts::Counts;
use beckon_dataflows::model::{Change, Contact, Episode, History, Id, Opening, Product, Tick};
use beckon_dataflows::plan::Plan;
use crossbeam_channel::Receiver;

use crate::decide::{self, Asking, Decided, Decider, Facts};
use crate::decode::Dictionary;
use crate::kpis::Part;
use crate::meter::Meter;
use crate::state::{Edge, News, State};
use crate::worker::{self, Closed, Crew, Keeping, StartError, Workers};
use gather::Gather;
use snapshots::{DecidingState, Restored, Watch};

/// The state and the dictionary, as decisions are made from them.
pub struct View<'v> {
    /// The state as of the newest closed tick.
    pub state: &'v State,
    /// The texts behind the ids.
    pub dictionary: &'v Dictionary,
}

impl Facts for View<'_> {
    fn contact(&self, customer: Id) -> Option<&Contact> {
        self.state.contact(customer)
    }

    fn all_of(&self, customer: Id) -> Vec<Id> {
        self.state.all_of(customer)
    }

    fn history(&self, customer: Id) -> History {
        self.state.history(customer)
    }

    fn on_hand(&self, sku: Id) -> i64 {
        self.state.on_hand(sku)
    }

    fn in_stock_since(&self, sku: Id) -> Option<Tick> {
        self.state.in_stock_since(sku)
    }

    fn product(&self, sku: Id) -> Option<&Product> {
        self.state.product(sku).map(|product| &**product)
    }

    fn similar(&self, sku: Id, customer: Id, count: usize) -> Vec<Id> {
        self.state.similar(sku, customer, count)
    }

    fn text(&self, id: Id) -> Arc<str> {
        self.dictionary.text(id).map(Arc::from).unwrap_or_default()
    }
}

/// The state that the deciding thread writes and the sender reads: always as of one closed tick.
pub type SharedState = Arc<RwLock<State>>;

/// Whoever acts on what was decided.
pub trait Act: Send + 'static {
    /// Decisions of one closed tick, in SPEC §5's order. The state is as of that tick.
    fn decided(&mut self, tick: Tick, decided: Vec<Decided>, view: &View<'_>) -> anyhow::Result<()>;

    /// What the KPIs follow of a closed tick. Comes before its decisions.
    fn told(&mut self, _tick: Tick, _news: Vec<News>, _view: &View<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    /// What is kept at a tick, the decisions up to which have all come, for a snapshot.
    fn kept(&mut self, _tick: Tick) -> anyhow::Result<Vec<Part>> {
        Ok(Vec::new())
    }

    /// What the gates that the decider listens to answered, before what they led to is among the decided. Only who set the
    /// watch hears of it.
    fn asked(&mut self, _asking: Asking) {}

    /// The profiles of these customers came to be deleted at a closed tick. Comes after its decisions.
    fn erased(&mut self, _tick: Tick, _customers: &[Id], _view: &View<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    /// All ticks before `upper` are closed and decided; none: all there will ever be.
    fn closed(&mut self, _upper: Option<Tick>, _view: &View<'_>) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Act for Box<dyn Act> {
    fn decided(&mut self, tick: Tick, decided: Vec<Decided>, view: &View<'_>) -> anyhow::Result<()> {
        (**self).decided(tick, decided, view)
    }

    fn told(&mut self, tick: Tick, news: Vec<News>, view: &View<'_>) -> anyhow::Result<()> {
        (**self).told(tick, news, view)
    }

    fn kept(&mut self, tick: Tick) -> anyhow::Result<Vec<Part>> {
        (**self).kept(tick)
    }

    fn asked(&mut self, asking: Asking) {
        (**self).asked(asking);
    }

    fn erased(&mut self, tick: Tick, customers: &[Id], view: &View<'_>) -> anyhow::Result<()> {
        (**self).erased(tick, customers, view)
    }

    fn closed(&mut self, upper: Option<Tick>, view: &View<'_>) -> anyhow::Result<()> {
        (**self).closed(upper, view)
    }
}

/// The middle of the house, running: workers that take batches, and a thread that decides what they close.
pub struct Engine {
    /// Takes batches and watermarks.
    pub workers: Workers,
    /// What the graph set aside.
    pub counts: Arc<Counts>,
    deciding: JoinHandle<anyhow::Result<()>>,
}

/// What an engine is made of. In a cluster nothing is decided but in process 0.
pub struct Setup {
    /// The workers of this process.
    pub crew: Crew,
    /// The campaigns.
    pub plan: Plan,
    /// Gates and arbitration.
    pub decider: Decider,
    /// The texts of ids.
    pub dictionary: Arc<Dictionary>,
    /// Where the state is kept.
    pub state: SharedState,
    /// Where everything is counted.
    pub meter: Arc<Meter>,
}

/// What an engine goes on from, and how it is written down.
#[derive(Default)]
pub struct Kept {
    /// An earlier snapshot, whose names the dictionary has already.
    pub restored: Option<Restored>,
    /// Where the workers write.
    pub keeping: Keeping,
    /// Where the deciding thread does.
    pub watch: Option<Watch>,
}

/// Workers that run, and nobody yet who decides what they close.
pub struct Started {
    workers: Workers,
    counts: Arc<Counts>,
    closed: Receiver<Closed>,
    threads: usize,
    decider: Decider,
    dictionary: Arc<Dictionary>,
    state: SharedState,
    meter: Arc<Meter>,
    restored: Option<(Tick, DecidingState)>,
    watch: Option<Watch>,
}

impl Setup {
    /// Starts the workers, which go on from what is `kept`, and are written down. Fails as well when that does not read as it was
    /// written.
    pub fn start(self, kept: Kept) -> Result<Started, StartError> {
        let Setup { crew, plan, decider, dictionary, state, meter } = self;
        let Kept { restored, keeping, watch } = kept;
        let (earlier, restored) = restored.map(|it| (it.earlier, (it.tick, it.known))).unzip();
        let counts = Arc::new(Counts::default());
        let (threads, keeping) = (crew.threads, Keeping { earlier, ..keeping });
        let (workers, closed) = worker::start(crew, Arc::new(plan), counts.clone(), &dictionary, keeping)?;
        Ok(Started { workers, counts, closed, threads, decider, dictionary, state, meter, restored, watch })
    }
}

impl Started {
    /// The same, which listens to gates: whoever acts hears what they answered.
    fn watching(self, watch: decide::Watch) -> Started {
        Started { decider: self.decider.watching(watch), ..self }
    }

    /// Starts the thread that decides for `act`.
    pub fn decide_for(self, act: impl Act) -> anyhow::Result<Engine> {
        let Started { workers, counts, closed, threads, decider, dictionary, state, meter, restored, watch } = self;
        let gather = Gather::new(threads);
        let mut deciding = Deciding { gather, decider, dictionary, state, meter, act, restored, watch };
        let deciding = std::thread::Builder::new().name("decide".into()).spawn(move || {
            closed.into_iter().try_for_each(|span| deciding.take_up(span))?;
            deciding.finish()
        })?;
        Ok(Engine { workers, counts, deciding })
    }
}

impl Engine {
    /// Starts the workers, and the thread that decides for `act`.
    pub fn start(setup: Setup, act: impl Act) -> anyhow::Result<Engine> {
        setup.start(Kept::default())?.decide_for(act)
    }

    /// Whether what the workers close is still decided: not when that has failed, on a full disk for one.
    pub fn is_deciding(&self) -> bool {
        !self.deciding.is_finished()
    }

    /// Waits for the last decision and for the workers, which must have been closed.
    pub fn finish(self) -> anyhow::Result<Arc<Counts>> {
        // If deciding has failed, workers among others stay until the process ends.
        self.deciding.join().map_err(|_| anyhow::anyhow!("the deciding thread failed"))??;
        self.workers.join().map_err(|error| anyhow::anyhow!("a worker failed: {error}"))?;
        Ok(self.counts)
    }
}

/// Takes up what the workers close, and decides it.
pub struct Deciding<A> {
    gather: Gather,
    decider: Decider,
    dictionary: Arc<Dictionary>,
    state: SharedState,
    meter: Arc<Meter>,
    act: A,
    /// What is known at the tick that the workers go on from, until they have told theirs.
    restored: Option<(Tick, DecidingState)>,
    watch: Option<Watch>,
}

impl<A: Act> Deciding<A> {
    /// Nothing closed yet by any of `workers` workers.
    pub fn new(
        workers: usize,
        decider: Decider,
        dictionary: Arc<Dictionary>,
        state: SharedState,
        meter: Arc<Meter>,
        act: A,
    ) -> Deciding<A> {
        Deciding { gather: Gather::new(workers), decider, dictionary, state, meter, act, restored: None, watch: None }
    }

    /// Decides what is closed now that a worker has closed this.
    pub fn take_up(&mut self, span: Closed) -> anyhow::Result<()> {
        let mut changes = self.gather.add(span);
        let upper = self.gather.upper();
        if let Some((tick, known)) = self.restored.take_if(|(tick, _)| upper.is_none_or(|upper| upper > *tick)) {
            changes = self.restore(tick, known, changes)?;
        }
        if let Some(tick) = self.watch.as_ref().and_then(|watch| watch.due(upper)) {
            let later = changes.split_off(changes.partition_point(|(at, _)| *at <= tick));
            self.decide(std::mem::replace(&mut changes, later), Some(tick + 1))?;
            let beside = read(&self.state).beside();
            let known = DecidingState { beside, remembered: self.decider.remembered(), kpis: self.act.kept(tick)? };
            if let Some(watch) = &mut self.watch {
                watch.hand_over(tick, known);
            }
        }
        self.decide(changes, upper)?;
        if let Some(upper) = upper {
            write(&self.state).close(upper.saturating_sub(1));
            let state = read(&self.state);
            self.act.closed(Some(upper), &View { state: &state, dictionary: &self.dictionary })?;
            self.dictionary.close(upper);
        }
        let state = read(&self.state);
        self.meter.closed(state.as_of(), state.trigger_set().len());
        Ok(())
    }

    /// Nothing more will be closed.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        let state = read(&self.state);
        self.act.closed(None, &View { state: &state, dictionary: &self.dictionary })
    }

    /// Takes up the state at `tick`: what the workers tell again, and what was known beside. Nothing of it is decided again.
    /// Returns what comes after.
    fn restore(
        &mut self,
        tick: Tick,
        known: DecidingState,
        mut changes: Vec<(Tick, Change)>,
    ) -> anyhow::Result<Vec<(Tick, Change)>> {
        let later = changes.split_off(changes.partition_point(|(at, _)| *at <= tick));
        let mut state = write(&self.state);
        take_up(tick, changes.into_iter().map(|(_, change)| change), &mut state, &self.dictionary);
        state.restore(&known.beside);
        ensure!(self.decider.recall(known.remembered), "the snapshot of {tick} is of other campaigns; remove it");
        Ok(later)
    }

    /// Decides the ticks before `upper`, one after the other.
    fn decide(&mut self, changes: Vec<(Tick, Change)>, upper: Option<Tick>) -> anyhow::Result<()> {
        let Deciding { decider, dictionary, state, meter, act, .. } = self;
        decide_ticks(changes, upper, decider, dictionary, state, |closed, decider, view| {
            let Decisions { tick, decided, erased, news } = closed;
            decided.iter().for_each(|(decision, _)| meter.decided(decision));
            decider.take_undecided().into_iter().for_each(|it| meter.undecided(it.campaign, it.why));
            decider.take_askings().into_iter().for_each(|asking| act.asked(asking));
            if !news.is_empty() {
                act.told(tick, news, view)?;
            }
            act.decided(tick, decided, view)?;
            if erased.is_empty() { Ok(()) } else { act.erased(tick, &erased, view) }
        })
    }
}

/// What a closed tick came to.
struct Decisions {
    tick: Tick,
    decided: Vec<Decided>,
    /// Whose profiles came to be deleted.
    erased: Vec<Id>,
    /// What the KPIs follow.
    news: Vec<News>,
}

/// Takes up closed ticks, those before `upper`, one after the other, and decides what entered at each. Beside the ticks at
/// which something changed it visits those at which the decider wants to be woken.
fn decide_ticks(
    changes: Vec<(Tick, Change)>,
    upper: Option<Tick>,
    decider: &mut Decider,
    dictionary: &Dictionary,
    state: &RwLock<State>,
    mut act: impl FnMut(Decisions, &mut Decider, &View<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut changes = changes.into_iter().peekable();
    loop {
        let changed = changes.peek().map(|(tick, _)| *tick);
        let wake = decider.next_wake().filter(|wake| upper.is_none_or(|upper| *wake < upper));
        let Some(tick) = changed.into_iter().chain(wake).min() else { return Ok(()) };
        let now = std::iter::from_fn(|| changes.next_if(|(other, _)| *other == tick).map(|(_, change)| change));
        let Edges { left, entered, erased, news } = take_up(tick, now, &mut write(state), dictionary);
        let state = read(state);
        let view = View { state: &state, dictionary };
        let decided = decider.decide(tick, &left, entered, &view);
        act(Decisions { tick, decided, erased, news }, decider, &view)?;
    }
}

/// What is to be acted on of a tick's changes.
#[derive(Default)]
struct Edges {
    left: Vec<Episode>,
    entered: Vec<Opening>,
    erased: Vec<Id>,
    news: Vec<News>,
}

/// Takes up a tick's changes whole, and only then says who left, who entered and who was erased.
fn take_up(tick: Tick, changes: impl Iterator<Item = Change>, state: &mut State, dictionary: &Dictionary) -> Edges {
    state.close(tick);
    let text = |id| dictionary.text(id).unwrap_or_default();
    let mut edges = Edges::default();
    for edge in changes.filter_map(|change| state.apply(tick, change, text)) {
        match edge {
            Edge::Left(episode) => edges.left.push(episode),
            Edge::Entered(opening) => edges.entered.push(opening),
            Edge::Erased(customer) => edges.erased.push(customer),
            Edge::News(news) => edges.news.push(news),
        }
    }
    edges
}

fn read(state: &RwLock<State>) -> RwLockReadGuard<'_, State> {
    state.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(state: &RwLock<State>) -> RwLockWriteGuard<'_, State> {
    state.write().unwrap_or_else(PoisonError::into_inner)
}
