//! What is told about customers, episodes and decisions (SPEC §8, "Answer"). In: ids. Out: JSON, each as of one closed tick that it
//! names: the tick is closed, decided and in the ledger. Fails when that cannot be read, or when no tick comes to rest.
//!
//! The state is looked at under its lock for as long as it takes to copy what is asked for, some microseconds, and never while a disk
//! is waited for: whoever decides waits no longer than that.

mod choices;
mod customer;
mod decision;
mod flow;
mod letters;
mod live;
mod triggers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use beckon_dataflows::counts::Counts;
use beckon_dataflows::model::{Id, Tick};
use serde_json::Value;

use super::live::WallClock;
use super::{SharedState, View, read};
use crate::config::Config;
use crate::decision::DecisionId;
use crate::decode::Dictionary;
use crate::kpis::Reader;
use crate::ledger::Ledger;
use crate::mails::{Mail, Mails};
use crate::meter::Meter;
use crate::web::answer::{Source, Told, TriggersAsked};
pub use choices::Chooser;
pub use letters::Desk;
pub use live::Now;

/// How long a tick is waited for that is closed and decided. Live that is always; while an old log is read it may not come.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);

/// How often it is looked meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A campaign, as far as answers name it.
pub(super) struct Campaign {
    name: Arc<str>,
    trigger: Arc<str>,
}

/// What answers are made from.
#[derive(Clone)]
pub struct Answers {
    pub(super) state: SharedState,
    pub(super) dictionary: Arc<Dictionary>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) meter: Arc<Meter>,
    pub(super) counts: Arc<Counts>,
    pub(super) clock: WallClock,
    pub(super) kpis: Option<Reader>,
    pub(super) campaigns: Arc<[Campaign]>,
    pub(super) mails: Option<Arc<Mails>>,
}

/// No tick is closed and decided at the moment.
#[derive(Debug, thiserror::Error)]
#[error("no tick is closed and decided yet")]
struct Unsettled;

impl Answers {
    /// Looks at the state as of the newest tick that is closed and decided, which is `least` or later. When this returns, the ledger has
    /// all that was decided up to then.
    fn settled<T>(&self, least: Tick, look: impl Fn(&View<'_>) -> T) -> anyhow::Result<(Tick, T)> {
        let began = Instant::now();
        let seen = loop {
            {
                let state = read(&self.state);
                let as_of = state.as_of();
                // What closes a tick says so last, when all of it is decided and handed over to the ledger.
                if as_of == self.meter.as_of() && as_of >= least.max(1) {
                    break (as_of, look(&View { state: &state, dictionary: &self.dictionary }));
                }
            }
            ensure!(began.elapsed() <= SETTLED_WITHIN, Unsettled);
            std::thread::sleep(LOOK_EVERY);
        };
        ensure!(self.ledger.settle(SETTLED_WITHIN)?, Unsettled);
        Ok(seen)
    }

    fn text(&self, id: Id) -> String {
        self.dictionary.text(id).unwrap_or_default()
    }

    /// As many campaigns as an episode can name.
    fn campaign_count(&self) -> u16 {
        u16::try_from(self.campaigns.len()).unwrap_or(u16::MAX)
    }
}

/// The campaigns of a configuration, in its order.
pub(super) fn campaigns(config: &Config) -> Arc<[Campaign]> {
    let of = |campaign: &crate::config::Campaign| Campaign {
        name: campaign.name.as_str().into(),
        trigger: campaign.trigger.name().into(),
    };
    config.campaigns.iter().map(of).collect()
}

/// What an answer comes to.
fn told(answer: anyhow::Result<Option<Value>>) -> Told {
    match answer {
        Ok(Some(answer)) => Told::Json(answer.to_string()),
        Ok(None) => Told::NotThere,
        Err(fault) if fault.is::<Unsettled>() => Told::NotNow,
        Err(fault) => {
            tracing::error!("a request was not answered: {fault:#}");
            Told::Failed
        }
    }
}

impl Source for Answers {
    fn kpis(&self) -> Told {
        match &self.kpis {
            Some(kpis) => Told::Json(serde_json::to_string(&kpis.report()).unwrap_or_default()),
            None => Told::NotThere,
        }
    }

    fn customer(&self, id: &str) -> Told {
        told(self.tell_customer(id))
    }

    fn triggers(&self, asked: &TriggersAsked) -> Told {
        told(self.tell_triggers(asked))
    }

    fn decision(&self, id: &str) -> Told {
        match id.parse() {
            Ok(id) => told(self.tell_decision(id)),
            Err(_) => Told::NotThere,
        }
    }

    fn flow(&self) -> Told {
        told(self.tell_flow().map(Some))
    }

    fn mail(&self, id: DecisionId) -> anyhow::Result<Option<Mail>> {
        Ok(self.mails.as_ref().map_or(Ok(None), |mails| mails.read(id))?)
    }
}
