//! The ledger as the sender's backlog (SPEC §6): what is owed is read from there, whichever process decided it, and made whole
//! with what the configuration says of its campaign. Fails when the disk does.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use beckon_dataflows::model::{Episode, Tick};

use super::measure::Accepted;
use crate::config::{self, Config};
use crate::decision::{self, Decision, DecisionId, DeliveryRecord, DeliveryState, OpenDelivery};
use crate::json_lines::JsonLines;
use crate::ledger::{Ledger, Owing};
use crate::pipeline::lanes::dead_letters;
use crate::sink::delivery::Owed;
use crate::sink::{Backlog, BoxFuture, DeliveryLog, Due, LogFault};
use crate::telemetry::Spans;

/// The ledger as one ESP's sender reads and writes it, and the dead letters.
pub struct Log {
    ledger: Arc<Ledger>,
    campaigns: Arc<Campaigns>,
    dead_letters: Arc<Mutex<JsonLines>>,
    esp: Option<Arc<str>>,
    /// Whose dead letters this one writes: its own, and the first of the ESPs also of those that are no longer there.
    others: Vec<Option<Arc<str>>>,
    is_first: bool,
    /// Who hears of all that becomes of deliveries, if anybody does.
    spans: Option<Arc<Spans>>,
    /// Who hears of accepted deliveries, if anybody does.
    accepting: Option<crossbeam_channel::Sender<Accepted>>,
}

/// The ESP's name as the ledger has it.
fn ledger_name(name: &str) -> Option<Arc<str>> {
    (name != config::DEFAULT_ESP).then(|| name.into())
}

impl Log {
    /// One for each ESP, in their order. What is owed is given to the ESP that its campaign has now. Fails when the ledger does, or
    /// the dead letters cannot be opened.
    pub(super) fn open_all(config: &Config, ledger: &Arc<Ledger>) -> anyhow::Result<Vec<Log>> {
        Log::all(config, ledger, dead_letters(&config.state, 0)?)
    }

    /// The same, whose dead letters are elsewhere.
    pub fn all(config: &Config, ledger: &Arc<Ledger>, dead_letters: JsonLines) -> anyhow::Result<Vec<Log>> {
        let dead_letters = Arc::new(Mutex::new(dead_letters));
        let campaigns = Arc::new(Campaigns::of(config));
        let esps: Vec<Option<Arc<str>>> = config.esps.iter().map(|esp| ledger_name(&esp.name)).collect();
        // What is of no campaign will be withdrawn, and any ESP may do that.
        let first = esps.first().and_then(|esp| esp.as_deref());
        let of = |name: &str| campaigns.0.get(name).map_or(first, |campaign| campaign.esp.as_deref());
        let moved = ledger.assign(&esps.iter().map(Option::as_deref).collect::<Vec<_>>(), of)?;
        if moved > 0 {
            tracing::info!(deliveries = moved, "what is owed goes to the ESPs that its campaigns have now");
        }
        let spans = config.telemetry.as_ref().map(Spans::open).transpose()?.map(Arc::new);
        let log = |(index, esp): (usize, &Option<Arc<str>>)| Log {
            ledger: ledger.clone(),
            campaigns: campaigns.clone(),
            dead_letters: dead_letters.clone(),
            esp: esp.clone(),
            others: esps.iter().filter(|other| *other != esp).cloned().collect(),
            is_first: index == 0,
            spans: spans.clone(),
            accepting: None,
        };
        Ok(esps.iter().enumerate().map(log).collect())
    }

    /// The same, which tells of each delivery that is accepted once that is durable.
    pub(super) fn telling(self, accepting: Option<crossbeam_channel::Sender<Accepted>>) -> Log {
        Log { accepting, ..self }
    }

    /// Whether it is this ESP's to say that a delivery was never answered.
    fn buries(&self, id: DecisionId) -> anyhow::Result<bool> {
        let esp = self.ledger.errand(id)?.and_then(|errand| errand.esp);
        Ok(esp == self.esp || self.is_first && !self.others.contains(&esp))
    }

    /// Writes the letter before the ledger forgets that it is due: twice rather than not at all.
    async fn bury(&self, id: DecisionId) -> anyhow::Result<()> {
        let letter = serde_json::json!({
            "kind": "unanswered",
            "reason": "sent, and neither an answer nor a webhook said within unknown_after whether it was taken",
            "decision": self.ledger.decision(id)?,
            "delivery": self.ledger.delivery(id)?,
        });
        self.dead_letters.lock().unwrap_or_else(PoisonError::into_inner).write(&letter)?;
        self.ledger.bury(id).await?;
        metrics::counter!("beckon_deliveries_unanswered_total").increment(1);
        tracing::warn!(%id, "a delivery was never answered, and is now a dead letter");
        Ok(())
    }
}

impl DeliveryLog for Log {
    fn write(&self, id: DecisionId, record: DeliveryRecord) -> BoxFuture<'_, Result<(), LogFault>> {
        Box::pin(async move {
            let accepted = (record.state == DeliveryState::Accepted).then_some((id, record.since_ms));
            let traced = self.spans.as_ref().map(|spans| (spans, record.clone()));
            self.ledger.advance(id, record).await.map_err(|error| LogFault(error.into()))?;
            if let Some((spans, record)) = traced
                && let Some(decision) = self.ledger.decision(id).map_err(|error| LogFault(error.into()))?
            {
                spans.became(&decision, self.esp.as_deref().unwrap_or(config::DEFAULT_ESP), &record);
            }
            if let (Some(accepted), Some(accepting)) = (accepted, &self.accepting) {
                // At the end nobody may be there to hear it: the ledger has it for the next start.
                let _ = accepting.send(accepted);
            }
            Ok(())
        })
    }

    fn owed(&self, due: Due, now_ms: u64, count: usize, in_hand: &HashSet<DecisionId>) -> Result<Backlog, LogFault> {
        let since = |priority| self.campaigns.timely_since(priority, now_ms);
        let owing = match due {
            Due::InTime => Owing::Since(&since),
            Due::Overdue => Owing::Before(&since),
        };
        let owed = self.ledger.owed_by(self.esp.as_deref(), owing, count, |id| !in_hand.contains(&id));
        let (owed, more) = owed.map_err(|error| LogFault(error.into()))?;
        Ok(Backlog { owed: owed.into_iter().map(|open| self.campaigns.send(open)).collect(), more })
    }

    fn bury_unanswered(&self, before_ms: u64) -> BoxFuture<'_, Result<(), LogFault>> {
        Box::pin(async move {
            for id in self.ledger.unanswered(before_ms).map_err(|error| LogFault(error.into()))? {
                if self.buries(id).map_err(|error| LogFault(error.into()))? {
                    self.bury(id).await.map_err(|error| LogFault(error.into()))?;
                }
            }
            Ok(())
        })
    }
}

/// What the configured campaigns add to a send, by name.
pub(super) struct Campaigns(HashMap<String, Campaign>);

struct Campaign {
    index: u16,
    send_within_ms: Option<u64>,
    priority: i32,
    esp: Option<Arc<str>>,
    template: Arc<str>,
    variants: Vec<(String, Arc<str>)>,
}

impl Campaigns {
    pub(super) fn of(config: &Config) -> Campaigns {
        let campaigns = (0..).zip(&config.campaigns);
        Campaigns(campaigns.map(|(index, campaign)| (campaign.name.clone(), Campaign::of(index, campaign))).collect())
    }

    /// At `now_ms`, epoch ms, all sends of this priority that were decided before this tick are overdue: none of its campaigns gives
    /// them longer.
    fn timely_since(&self, priority: i32, now_ms: u64) -> Tick {
        let own = self.0.values().filter(|campaign| campaign.priority == priority);
        let longest_ms = own.map(|campaign| campaign.send_within_ms.unwrap_or(u64::MAX)).max();
        now_ms.saturating_sub(longest_ms.unwrap_or(u64::MAX))
    }

    /// The campaign's priority, and its ESP as the ledger names it; 0 and the default one of a campaign that is not configured.
    pub(super) fn priority_and_esp(&self, name: &str) -> (i32, Option<Arc<str>>) {
        self.0.get(name).map_or((0, None), |campaign| (campaign.priority, campaign.esp.clone()))
    }

    /// The send that the ledger has open. One of a campaign that is no longer configured is of no episode that holds, and will
    /// be withdrawn.
    fn send(&self, open: OpenDelivery) -> Owed {
        let OpenDelivery { decision, errand, delivery } = open;
        let campaign = self.0.get(&*decision.campaign);
        let episode = Episode {
            campaign: campaign.map_or(u16::MAX, |campaign| campaign.index),
            customer: errand.customer,
            subject: errand.subject,
            anchor: decision.anchor,
        };
        let send = decision::Send {
            template: campaign.map(|campaign| campaign.template_of(&decision)).unwrap_or_default(),
            episode,
            currency: errand.currency,
            send_within_ms: campaign.and_then(|campaign| campaign.send_within_ms),
            priority: errand.priority,
            decision: Arc::new(decision),
        };
        Owed { send, delivery }
    }
}

impl Campaign {
    fn of(index: u16, campaign: &config::Campaign) -> Campaign {
        let template: Arc<str> = campaign.template.as_deref().unwrap_or_default().into();
        let of = |variant: &config::Variant| variant.template.as_deref().map_or(template.clone(), Arc::from);
        let bound = if campaign.priority < 0 { i32::MIN } else { i32::MAX };
        Campaign {
            index,
            send_within_ms: campaign.send_within_ms,
            priority: i32::try_from(campaign.priority).unwrap_or(bound),
            esp: ledger_name(&campaign.esp),
            variants: campaign.variants.iter().map(|variant| (variant.name.clone(), of(variant))).collect(),
            template,
        }
    }

    fn template_of(&self, decision: &Decision) -> Arc<str> {
        let variant = decision.variant.as_deref();
        let own = self.variants.iter().find(|(name, _)| Some(name.as_str()) == variant);
        own.map_or(&self.template, |(_, template)| template).clone()
    }
}
