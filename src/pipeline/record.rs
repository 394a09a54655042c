//! From decisions to the ledger (SPEC §6). In: the decisions of closed ticks. Out: all of them durable, and then the sender woken. A
//! decided send is in the ledger before any request for it leaves. Who decides hands over and goes on to the next tick, while the
//! disk is waited for by the ledger's own thread; ticks that are closed at once are handed over at once.
//!
//! While the log is still being read up to where it ended when the process started, the sender sleeps: the trigger set of an
//! old tick does not say what is true now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use beckon_dataflows::model::{Episode, Id, Opening, Tick};
use tokio::sync::mpsc;

use super::backlog::Campaigns;
use super::explain;
use super::{Act, View};
use crate::config::Config;
use crate::decide::{Asking, Decided};
use crate::decision::{Decision, DecisionId, Errand, Outcome};
use crate::kpis::Part;
use crate::ledger::Ledger;
use crate::mails::Mails;
use crate::reclock::Timeline;

/// Decisions are handed over when so many wait for it, though there are more.
const WAITING_MAX: usize = 1024;

/// How many may be handed over and not yet durable.
const UNDER_WAY_MAX: usize = 8 * WAITING_MAX;

/// How often it is said that the disk is still waited for.
const SETTLING: Duration = Duration::from_secs(30);

/// Records decisions and wakes the sender.
pub struct Recorder {
    ledger: Arc<Ledger>,
    timeline: Arc<Timeline>,
    campaigns: Campaigns,
    sender: mpsc::Sender<()>,
    live_from: Tick,
    live: bool,
    /// Decided, and not handed over yet.
    waiting: Vec<(Decision, Option<Errand>)>,
    /// How many are handed over, and not durable yet.
    under_way: Arc<AtomicUsize>,
    /// What the gates answered about those, and at this tick, by decision, where somebody listens to them.
    accounts: HashMap<DecisionId, Asking>,
    /// Where mails are kept, if they are.
    mails: Option<Arc<Mails>>,
}

impl Recorder {
    /// A recorder that wakes `sender` for what it records, but not before the ticks before `live_from` are closed.
    pub fn new(
        config: &Config,
        ledger: Arc<Ledger>,
        timeline: Arc<Timeline>,
        live_from: Tick,
        sender: mpsc::Sender<()>,
    ) -> Recorder {
        let (campaigns, waiting, accounts) = (Campaigns::of(config), Vec::new(), HashMap::new());
        let under_way = Arc::default();
        Recorder {
            ledger,
            timeline,
            campaigns,
            sender,
            live_from,
            live: false,
            waiting,
            under_way,
            accounts,
            mails: None,
        }
    }

    /// The same, which forgets the mails of who is erased.
    pub fn forgetting(self, mails: Option<Arc<Mails>>) -> Recorder {
        Recorder { mails, ..self }
    }

    /// What the ledger keeps of a send beside its decision; nothing for other outcomes.
    fn errand(&self, (decision, opening): &Decided, view: &View<'_>) -> Option<Errand> {
        if decision.outcome != Outcome::Send {
            return None;
        }
        let currency = currency(opening, view);
        let Episode { customer, subject, .. } = opening.episode;
        let (priority, esp) = self.campaigns.priority_and_esp(&decision.campaign);
        Some(Errand { customer, subject, currency, priority, esp })
    }

    /// Hands over what was decided. Fails also when the ledger has failed with what was handed over before.
    fn hand_over(&mut self) -> anyhow::Result<()> {
        // Those that wait for the end of quiet hours are asked again, and what decides is then.
        let mut accounts = std::mem::take(&mut self.accounts);
        if self.waiting.is_empty() {
            return Ok(self.ledger.check()?);
        }
        let decided = std::mem::take(&mut self.waiting);
        let count = decided.len();
        if self.under_way.fetch_add(count, Ordering::AcqRel) + count > UNDER_WAY_MAX {
            self.settle()?;
        }
        let account_of = |id| explain::gates(&[accounts.remove(&id)?]).ok();
        // What the decisions follow from comes first, or a replay could not repeat them (SPEC §2).
        let timeline = self.timeline.clone();
        let first = Box::new(move || Ok(timeline.sync()?));
        let (under_way, sender) = (self.under_way.clone(), self.live.then(|| self.sender.clone()));
        let then = move || {
            under_way.fetch_sub(count, Ordering::AcqRel);
            sender.iter().for_each(wake);
        };
        Ok(self.ledger.hand_over(&decided, account_of, first, then)?)
    }

    /// Makes durable what was decided so far.
    fn record(&mut self) -> anyhow::Result<()> {
        self.hand_over()?;
        self.settle()
    }

    /// Waits for what is handed over.
    fn settle(&self) -> anyhow::Result<()> {
        while !self.ledger.settle(SETTLING)? {
            tracing::warn!("decisions wait for the ledger's disk, or for its mirror");
        }
        Ok(())
    }
}

/// One that is awake already finds what is new; one that has stopped leaves it to the ledger, and the service ends with it.
fn wake(sender: &mpsc::Sender<()>) {
    let _ = sender.try_send(());
}

/// The currency of an episode's prices: its cart's or order's, else its product's.
pub(super) fn currency(opening: &Opening, view: &View<'_>) -> Option<Arc<str>> {
    view.dictionary.text(opening.currency).map(Arc::from).or_else(|| {
        let product = view.state.product(opening.lines.first()?.sku)?;
        product.currency.as_deref().map(Arc::from)
    })
}

/// Where another process decides, nothing is to be recorded.
pub struct Elsewhere;

impl Act for Elsewhere {
    fn decided(&mut self, _tick: Tick, _decided: Vec<Decided>, _view: &View<'_>) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Act for Recorder {
    fn decided(&mut self, _tick: Tick, decided: Vec<Decided>, view: &View<'_>) -> anyhow::Result<()> {
        for decided in decided {
            let errand = self.errand(&decided, view);
            // Of the erased no more is kept than that something was decided.
            let contact = view.state.contact(decided.1.episode.customer);
            let is_erased = contact.is_some_and(|contact| contact.standing().erased);
            if is_erased {
                self.accounts.remove(&decided.0.decision_id);
            }
            self.waiting.push((if is_erased { decided.0.erased() } else { decided.0 }, errand));
        }
        if self.waiting.len() >= WAITING_MAX { self.hand_over() } else { Ok(()) }
    }

    fn asked(&mut self, asking: Asking) {
        self.accounts.insert(asking.decision, asking);
    }

    /// Also those who are aliases of the erased. What is owed to them is withdrawn by the sender, which finds them unreachable.
    fn erased(&mut self, tick: Tick, customers: &[Id], view: &View<'_>) -> anyhow::Result<()> {
        self.record()?;
        let all: HashSet<Id> =
            customers.iter().flat_map(|id| view.state.all_of(*id)).chain(customers.iter().copied()).collect();
        let names: Vec<String> = all.into_iter().filter_map(|id| view.dictionary.text(id)).collect();
        let mut mails = Vec::new();
        if let Some(kept) = &self.mails {
            for name in &names {
                mails.extend(self.ledger.ids_of(name)?);
            }
            kept.forget(mails);
        }
        self.ledger.erase(names, tick)?;
        Ok(())
    }

    fn kept(&mut self, _tick: Tick) -> anyhow::Result<Vec<Part>> {
        self.record()?;
        Ok(Vec::new())
    }

    fn closed(&mut self, upper: Option<Tick>, _view: &View<'_>) -> anyhow::Result<()> {
        let becomes_live = !self.live && upper.is_some_and(|upper| upper >= self.live_from);
        // At the end nobody comes after who would see that it failed.
        if !becomes_live && upper.is_some() {
            return self.hand_over();
        }
        self.record()?;
        if becomes_live {
            self.live = true;
            wake(&self.sender);
        }
        Ok(())
    }
}
