//! KPIs beside whoever acts on what was decided (SPEC §9). In: the decisions of closed ticks, what these say of orders, owners and
//! engagement, and from the ledger which deliveries were accepted. Out: the table of KPIs as of the newest closed tick. Fails
//! when an earlier snapshot does not read as it was written, or the ledger cannot be read.
//!
//! What is decided and delivered comes out of the engine and goes back in here, into a second, small dataflow on a thread of its own: it is
//! told a tick when all is known of it, so that neither the graph nor who decides ever waits for it but when far ahead of it.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use beckon_dataflows::horizon::Horizon;
use beckon_dataflows::kpis::{Cell, Fact, Followed, Tally, Terms};
use beckon_dataflows::model::{Id, Tick};
use beckon_dataflows::plan::Plan;
use beckon_dataflows::snapshot::{Earlier, Fault};
use beckon_dataflows::time::tick_at;
use crossbeam_channel::{Receiver, Sender};

use super::{Act, View};
use crate::decide::{Asking, Decided};
use crate::decision::{Decision, DecisionId, Outcome};
use crate::kpis::{Follower, Names, Part, Reader, SharedTable, Table};
use crate::ledger::Ledger;
use crate::state::News;

/// How many ticks may wait for the dataflow before who decides waits.
const TICKS_WAITING: usize = 256;

/// The section of a snapshot that has the table.
const TABLE: &str = "table";

/// A delivery that an ESP took: the decision's id, and when, epoch ms.
pub type Accepted = (DecisionId, u64);

/// What the ledger has of a decision, where it may have another outcome than the log gives now.
pub type Recorded = Box<dyn Fn(DecisionId) -> anyhow::Result<Option<Decision>> + Send>;

/// Hears what is added to the table at each tick.
pub type Listen = Box<dyn FnMut(Tick, Cell, &Tally) + Send>;

/// What is told to the thread of the dataflow.
enum Command {
    Tell(Vec<(Fact, Tick)>),
    Advance(Tick),
    Keep(Tick, Sender<Vec<Part>>),
    Finish,
}

/// What KPIs are made with.
pub struct Setup {
    /// The campaigns' arms.
    pub names: Arc<Names>,
    /// Where the table is kept.
    pub table: SharedTable,
    /// What an earlier snapshot has.
    pub earlier: Option<Earlier>,
    /// What was accepted before.
    pub accepted: Vec<Accepted>,
    /// What is accepted from now on.
    pub accepting: Option<Receiver<Accepted>>,
    /// What was recorded of decisions before this tick; none: what the log gives is what was decided.
    pub recorded: Option<(Tick, Recorded)>,
    /// Hears of each tick, if anybody does.
    pub listen: Option<Listen>,
}

impl Setup {
    /// Of campaigns, from nothing.
    pub fn new(names: Arc<Names>) -> Setup {
        let table = SharedTable::default();
        Setup { names, table, earlier: None, accepted: Vec::new(), accepting: None, recorded: None, listen: None }
    }

    /// Of campaigns, into the reader's table.
    pub fn of(reader: &Reader) -> Setup {
        Setup { table: reader.table.clone(), ..Setup::new(reader.names.clone()) }
    }

    /// Of campaigns whose decisions and deliveries are in a ledger: what that has of decisions before `live_from` goes before what the
    /// log gives now, because another configuration may have decided them.
    pub fn of_ledger(reader: &Reader, ledger: &Arc<Ledger>, live_from: Tick) -> anyhow::Result<Setup> {
        let accepted = ledger.accepted()?;
        let ledger = ledger.clone();
        let recorded: Recorded = Box::new(move |id| Ok(ledger.decision(id)?));
        Ok(Setup { accepted, recorded: Some((live_from, recorded)), ..Setup::of(reader) })
    }

    /// Starts the thread, and measures what `act` is told. The plan must ask for KPIs; if it does not, nothing is followed.
    pub fn measure<A: Act>(self, plan: &Plan, act: A) -> anyhow::Result<Measuring<A>> {
        let Setup { names, table, earlier, accepted, accepting, recorded, listen } = self;
        let horizon = Horizon::of(plan);
        let terms = Terms { tick_ms: plan.tick_ms, attribution_ms: plan.attribution_ms.unwrap_or(0), horizon };
        let open = earlier.as_ref().map_or(0, |earlier| earlier.tick + 1);
        let (to, commands) = crossbeam_channel::bounded(TICKS_WAITING);
        let (ready, started) = crossbeam_channel::bounded(1);
        let thread = std::thread::Builder::new().name("kpis".into()).spawn(move || {
            let begun = Following::begin(terms, earlier, table, listen);
            let (following, fault) =
                begun.map_or_else(|fault| (None, Some(fault)), |following| (Some(following), None));
            let _ = ready.send(fault);
            following.into_iter().for_each(|following| following.run(&commands));
        })?;
        if let Some(fault) = started.recv()? {
            anyhow::bail!(
                "the KPIs of the snapshot: {fault}\n  remove the folder `snapshots` from the state and start again: then the log is read whole"
            );
        }
        let (tick_ms, thread) = (terms.tick_ms, Some(thread));
        let mut measuring =
            Measuring { act, names, to, thread, open, tick_ms, waiting: BTreeSet::new(), accepting, recorded };
        accepted.into_iter().for_each(|accepted| measuring.accept(accepted));
        Ok(measuring)
    }
}

/// Tells the dataflow what it tells `A`.
pub struct Measuring<A> {
    act: A,
    names: Arc<Names>,
    to: Sender<Command>,
    thread: Option<JoinHandle<()>>,
    /// The least tick that is not closed.
    open: Tick,
    tick_ms: u64,
    /// Accepted deliveries, each at the tick at which it counts.
    waiting: BTreeSet<(Tick, DecisionId)>,
    accepting: Option<Receiver<Accepted>>,
    recorded: Option<(Tick, Recorded)>,
}

impl<A> Measuring<A> {
    fn accept(&mut self, (id, since_ms): Accepted) {
        self.waiting.insert((tick_at(since_ms, self.tick_ms), id));
    }

    fn send(&self, command: Command) -> anyhow::Result<()> {
        self.to.send(command).map_err(|_| anyhow::anyhow!("the thread of the KPIs has ended"))
    }

    /// The deliveries that count at the ticks before `upper`, all when there is none. One whose tick is closed counts at the first that
    /// is not.
    fn accepted_before(&mut self, upper: Option<Tick>) -> Vec<(Fact, Tick)> {
        let come: Vec<Accepted> = self.accepting.iter().flat_map(Receiver::try_iter).collect();
        come.into_iter().for_each(|accepted| self.accept(accepted));
        let later = upper.map_or_else(BTreeSet::new, |upper| self.waiting.split_off(&(upper, DecisionId(0))));
        let due = std::mem::replace(&mut self.waiting, later);
        due.into_iter().map(|(tick, id)| (Fact::Accepted(id.0), tick.max(self.open))).collect()
    }

    /// The decision as it was recorded, where that may be otherwise; none of one that has no mail and is in no control.
    fn followed(&self, tick: Tick, (decision, opening): &Decided) -> anyhow::Result<Option<Followed>> {
        let recorded = match &self.recorded {
            Some((before, recorded)) if tick < *before => recorded(decision.decision_id)?,
            _ => None,
        };
        let decision = recorded.as_ref().unwrap_or(decision);
        let campaign = opening.episode.campaign;
        let arm = match decision.outcome {
            Outcome::Send => self.names.place(campaign, decision.variant.as_deref()),
            Outcome::Holdout => Some(Cell::HOLDOUT),
            Outcome::Suppress => None,
        };
        let (id, customer) = (decision.decision_id.0, opening.episode.customer);
        Ok(arm.map(|arm| Followed { at: tick, id, customer, cell: Cell::of(campaign, arm, tick) }))
    }
}

/// What is told of customers who may have another owner now that this one was made an alias.
fn owners(from: Id, tick: Tick, view: &View<'_>) -> Vec<(Fact, Tick)> {
    let owner = |customer| (Fact::Owner(customer, view.state.owner(customer)), tick);
    view.state.led_to(from).map(owner).collect()
}

impl<A: Act> Act for Measuring<A> {
    fn told(&mut self, tick: Tick, news: Vec<News>, view: &View<'_>) -> anyhow::Result<()> {
        let facts = news.iter().flat_map(|news| match news {
            News::Order(id, order) => vec![(Fact::Order(*id, order.clone()), tick)],
            News::Engaged(engagement) => vec![(Fact::Engaged(*engagement), tick)],
            News::Aliased(from) => owners(*from, tick, view),
        });
        self.send(Command::Tell(facts.collect()))?;
        self.act.told(tick, news, view)
    }

    fn decided(&mut self, tick: Tick, decided: Vec<Decided>, view: &View<'_>) -> anyhow::Result<()> {
        let mut facts = Vec::new();
        for decided in &decided {
            if let Some(followed) = self.followed(tick, decided)? {
                facts.push((Fact::Decided(followed, view.state.owner(followed.customer)), tick));
            }
        }
        self.act.decided(tick, decided, view)?;
        if facts.is_empty() { Ok(()) } else { self.send(Command::Tell(facts)) }
    }

    fn kept(&mut self, tick: Tick) -> anyhow::Result<Vec<Part>> {
        let accepted = self.accepted_before(Some(tick + 1));
        self.open = tick + 1;
        self.send(Command::Tell(accepted))?;
        let (answer, answered) = crossbeam_channel::bounded(1);
        self.send(Command::Keep(tick, answer))?;
        let mut parts = answered.recv().map_err(|_| anyhow::anyhow!("the thread of the KPIs has ended"))?;
        parts.extend(self.act.kept(tick)?);
        Ok(parts)
    }

    fn asked(&mut self, asking: Asking) {
        self.act.asked(asking);
    }

    fn erased(&mut self, tick: Tick, customers: &[Id], view: &View<'_>) -> anyhow::Result<()> {
        self.act.erased(tick, customers, view)
    }

    fn closed(&mut self, upper: Option<Tick>, view: &View<'_>) -> anyhow::Result<()> {
        if upper.is_none_or(|upper| upper > self.open) {
            let accepted = self.accepted_before(upper);
            if !accepted.is_empty() {
                self.send(Command::Tell(accepted))?;
            }
            self.send(upper.map_or(Command::Finish, Command::Advance))?;
            self.open = upper.unwrap_or(self.open);
        }
        self.act.closed(upper, view)?;
        // At the end the table is whole before anybody goes on.
        let thread = if upper.is_none() { self.thread.take() } else { None };
        thread.map_or(Ok(()), |it| it.join().map_err(|_| anyhow::anyhow!("the thread of the KPIs failed")))
    }
}

/// The thread of the dataflow.
struct Following {
    follower: Follower,
    table: SharedTable,
    listen: Option<Listen>,
}

impl Following {
    fn begin(
        terms: Terms,
        earlier: Option<Earlier>,
        table: SharedTable,
        listen: Option<Listen>,
    ) -> Result<Following, Fault> {
        let earlier_table = earlier.as_ref().map(table_of).transpose()?;
        *table.write().unwrap_or_else(PoisonError::into_inner) = earlier_table.unwrap_or_default();
        Ok(Following { follower: Follower::new(terms, earlier)?, table, listen })
    }

    fn run(mut self, commands: &Receiver<Command>) {
        for command in commands {
            match command {
                Command::Tell(facts) => facts.into_iter().for_each(|(fact, tick)| self.follower.tell(fact, tick)),
                Command::Advance(upper) => {
                    let added = self.follower.advance(upper);
                    self.add(added, Some(upper));
                }
                Command::Keep(tick, answer) => {
                    let (added, parts) = self.follower.snapshot(tick);
                    self.add(added, Some(tick + 1));
                    let _ = answer.send(self.with_table(parts));
                }
                Command::Finish => {
                    let added = self.follower.finish();
                    self.add(added, None);
                    return;
                }
            }
        }
    }

    fn add(&mut self, added: Vec<(Tick, Cell, Tally)>, upper: Option<Tick>) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for (tick, cell, tally) in &added {
            table.add(*cell, tally);
            self.listen.iter_mut().for_each(|listen| listen(*tick, *cell, tally));
        }
        let last = added.last().map_or(0, |(tick, ..)| *tick);
        table.close(upper.map_or(last, |upper| upper.saturating_sub(1)));
    }

    fn with_table(&self, mut parts: Vec<Part>) -> Vec<Part> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        // Serialising to memory what has no maps of unknown length cannot fail.
        parts.push((Arc::from(TABLE), postcard::to_stdvec(&*table).unwrap_or_default()));
        parts
    }
}

/// The table that an earlier snapshot has.
fn table_of(earlier: &Earlier) -> Result<Table, Fault> {
    let unread = |error: postcard::Error| Fault(format!("the table does not read as it was written: {error}"));
    let part = earlier.parts.parts(0, TABLE).next();
    let part = part.unwrap_or_else(|| Err(Fault("there is no table".into())))?;
    postcard::from_bytes(&part).map_err(unread)
}
