//! What a recipient did with a mail, as a record of the stream `engagement` (SPEC §1).

use std::collections::BTreeSet;

use serde::Serialize;

use crate::decision::DecisionId;

/// A record of the stream `engagement`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Engagement {
    /// Tells it from every other; the key of the record.
    pub event_id: String,
    /// What was done.
    pub r#type: Kind,
    /// With the mail of which decision.
    pub decision_id: DecisionId,
    /// By whom, by the shop's id.
    pub user_id: String,
    /// When, epoch ms.
    pub occurred_at: u64,
    /// Where a click led.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether a scanner or a prefetch did it, and no person.
    pub machine: bool,
    /// The campaigns that are not wanted any more, all of them; only of [`Kind::Chosen`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declined: Option<BTreeSet<String>>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The recipient's server took the mail.
    Delivered,
    /// The pixel was fetched.
    Opened,
    /// A link was followed.
    Clicked,
    /// The address takes no mails, now or later.
    Bounced,
    /// The recipient called the mail spam.
    Complained,
    /// No more mails are wanted.
    Unsubscribed,
    /// Mails of some campaigns are not wanted (ARCHITECTURE, "Choices").
    Chosen,
}

impl Kind {
    /// The word of SPEC §1, and ours for a choice.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Delivered => "delivered",
            Kind::Opened => "opened",
            Kind::Clicked => "clicked",
            Kind::Bounced => "bounced",
            Kind::Complained => "complained",
            Kind::Unsubscribed => "unsubscribed",
            Kind::Chosen => "chosen",
        }
    }
}
