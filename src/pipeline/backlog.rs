//! The ledger as the sender's backlog (SPEC §6): what is owed is read from there, whichever process decided it, and made whole
//! with what the configuration says of its campaign. Fails when the disk does.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use beckon_dataflows::model::Episode;

use crate::config::{self, Config};
use crate::decision::{self, Decision, DecisionId, DeliveryRecord, OpenDelivery};
use crate::json_lines::JsonLines;
use crate::ledger::Ledger;
use crate::pipeline::lanes::dead_letters;
use crate::sink::delivery::Owed;
use crate::sink::{Backlog, BoxFuture, DeliveryLog, LogFault};

/// The ledger as the sender reads and writes it, and the dead letters.
pub struct Log {
    ledger: Arc<Ledger>,
    campaigns: Campaigns,
    dead_letters: Mutex<JsonLines>,
}

impl Log {
    /// Fails when the dead letters cannot be opened.
    pub(super) fn open(config: &Config, ledger: Arc<Ledger>) -> anyhow::Result<Log> {
        Ok(Log::new(config, ledger, dead_letters(&config.state)?))
    }

    /// One whose dead letters are elsewhere.
    pub fn new(config: &Config, ledger: Arc<Ledger>, dead_letters: JsonLines) -> Log {
        Log { ledger, campaigns: Campaigns::of(config), dead_letters: Mutex::new(dead_letters) }
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
        tracing::warn!(%id, "a delivery was never answered, and is now a dead letter");
        Ok(())
    }
}

impl DeliveryLog for Log {
    fn write(&self, id: DecisionId, record: DeliveryRecord) -> BoxFuture<'_, Result<(), LogFault>> {
        Box::pin(async move { self.ledger.advance(id, record).await.map_err(|error| LogFault(error.into())) })
    }

    fn owed(&self, count: usize, in_hand: &HashSet<DecisionId>) -> Result<Backlog, LogFault> {
        let owed = self.ledger.owed(count, |id| !in_hand.contains(&id));
        let (owed, more) = owed.map_err(|error| LogFault(error.into()))?;
        Ok(Backlog { owed: owed.into_iter().map(|open| self.campaigns.send(open)).collect(), more })
    }

    fn bury_unanswered(&self, before_ms: u64) -> BoxFuture<'_, Result<(), LogFault>> {
        Box::pin(async move {
            for id in self.ledger.unanswered(before_ms).map_err(|error| LogFault(error.into()))? {
                self.bury(id).await.map_err(|error| LogFault(error.into()))?;
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
    template: Arc<str>,
    variants: Vec<(String, Arc<str>)>,
}

impl Campaigns {
    pub(super) fn of(config: &Config) -> Campaigns {
        let campaigns = (0..).zip(&config.campaigns);
        Campaigns(campaigns.map(|(index, campaign)| (campaign.name.clone(), Campaign::of(index, campaign))).collect())
    }

    /// The campaign's priority; 0 of one that is not configured.
    pub(super) fn priority(&self, name: &str) -> i32 {
        self.0.get(name).map_or(0, |campaign| campaign.priority)
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
