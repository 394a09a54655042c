//! What the ledger keeps of a send beside its decision, so that it can be delivered without being decided again.

use std::sync::Arc;

use beckon_dataflows::model::Id;
use serde::{Deserialize, Serialize};

use super::{Decision, DeliveryRecord};

/// What a delivery needs to know that its decision does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// Whom the episode is about, as the graph names them.
    pub customer: Id,
    /// What it is about, as the graph names it.
    pub subject: Id,
    /// ISO 4217 code of the payload's prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Arc<str>>,
    /// The campaign's as of the decision; greater goes first (SPEC §6).
    pub priority: i32,
    /// The name of the ESP that it goes to; `None` of the one that is called `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub esp: Option<Arc<str>>,
}

/// A delivery that is not settled, with all that is needed to make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenDelivery {
    /// What was decided.
    pub decision: Decision,
    /// What else is known.
    pub errand: Errand,
    /// How far it came.
    pub delivery: DeliveryRecord,
}
