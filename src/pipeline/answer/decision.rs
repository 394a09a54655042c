//! One decision: what was decided, what the gates answered, what became of its mail, and the mail. In: its id. Out: JSON as of one closed
//! tick. Fails when the ledger cannot be read.

use beckon_dataflows::model::Episode;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Answers;
use crate::decision::{Decision, DecisionId, DeliveryRecord, Moment};
use crate::web::answer::Source;

impl Answers {
    pub(super) fn tell_decision(&self, id: DecisionId) -> anyhow::Result<Option<Value>> {
        let Some(decision) = self.ledger.decision(id)? else { return Ok(None) };
        let episode = self.episode(&decision)?;
        let (as_of, holds) =
            self.settled(decision.as_of, |view| episode.map(|episode| view.state.trigger_set().contains(&episode)))?;
        let gates = self.ledger.account(id)?.map(|account| serde_json::from_slice::<Box<RawValue>>(&account));
        Ok(Some(json!({
            "as_of": Moment(as_of),
            "decision": decision,
            "gates": gates.transpose()?,
            "holds": holds,
            "delivery": self.ledger.delivery(id)?.as_ref().map(delivery),
            "mail": self.mail(id)?,
        })))
    }

    /// The episode of a send of a campaign that is configured.
    fn episode(&self, decision: &Decision) -> anyhow::Result<Option<Episode>> {
        let campaign = self.campaigns.iter().position(|campaign| campaign.name == decision.campaign);
        let (Some(campaign), Some(errand)) = (campaign, self.ledger.errand(decision.decision_id)?) else {
            return Ok(None);
        };
        let (customer, subject, anchor) = (errand.customer, errand.subject, decision.anchor);
        Ok(u16::try_from(campaign).ok().map(|campaign| Episode { campaign, customer, subject, anchor }))
    }
}

/// How far a delivery is, at the moment of the answer.
pub(super) fn delivery(delivery: &DeliveryRecord) -> Value {
    json!({
        "state": delivery.state,
        "attempts": delivery.attempts,
        "since": Moment(delivery.since_ms),
        "note": delivery.note,
        "awaits_webhook": delivery.awaits_webhook,
    })
}
