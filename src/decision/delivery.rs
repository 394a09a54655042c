//! The states of a delivery (SPEC §6) and which may follow which. A wrong step is a fault of ours and is refused, so that
//! no mail that was sent is ever called withdrawn.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Decided; no request is under way, and none that left can have been taken.
    Pending,
    /// A request may be under way. After a crash that is all that is known: see [`DeliveryState::is_ambiguous`].
    InFlight,
    /// The ESP took it.
    Accepted,
    /// Left the trigger set before it was sent; never sent.
    Withdrawn,
    /// Not sent within `send_within`; never sent.
    Expired,
    /// Refused for good, by the ESP's answer or because no message could be made of it.
    Refused,
    /// Sent, but no answer says whether it was taken.
    Unknown,
}

impl DeliveryState {
    /// Every state, in the order of SPEC §6.
    pub const ALL: [DeliveryState; 7] = [
        DeliveryState::Pending,
        DeliveryState::InFlight,
        DeliveryState::Accepted,
        DeliveryState::Withdrawn,
        DeliveryState::Expired,
        DeliveryState::Refused,
        DeliveryState::Unknown,
    ];

    /// The word of SPEC §6, also the metric label.
    pub fn name(self) -> &'static str {
        match self {
            DeliveryState::Pending => "pending",
            DeliveryState::InFlight => "in_flight",
            DeliveryState::Accepted => "accepted",
            DeliveryState::Withdrawn => "withdrawn",
            DeliveryState::Expired => "expired",
            DeliveryState::Refused => "refused",
            DeliveryState::Unknown => "unknown",
        }
    }

    /// Whether `next` may follow. An `unknown` delivery is sent again (`in_flight`), or settled by the ESP's webhook; it is
    /// never withdrawn or expired, because both say that nothing was sent.
    pub fn may_become(self, next: DeliveryState) -> bool {
        use DeliveryState::*;
        match self {
            Pending => matches!(next, InFlight | Withdrawn | Expired | Refused),
            InFlight => matches!(next, Pending | Accepted | Refused | Unknown),
            Unknown => matches!(next, InFlight | Accepted | Refused | Unknown),
            Accepted | Withdrawn | Expired | Refused => false,
        }
    }

    /// Whether anything may still follow.
    pub fn is_open(self) -> bool {
        matches!(self, DeliveryState::Pending | DeliveryState::InFlight | DeliveryState::Unknown)
    }

    /// Whether the ESP may have taken it without our knowing.
    pub fn is_ambiguous(self) -> bool {
        matches!(self, DeliveryState::InFlight | DeliveryState::Unknown)
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// What is known of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// Where it stands.
    pub state: DeliveryState,
    /// Requests made so far, the one under way included.
    pub attempts: u32,
    /// Since when it stands there, epoch ms.
    pub since_ms: u64,
    /// Since when a request is out that the ESP may have taken, epoch ms; none before the first, and once it is settled. However
    /// often the process is started again meanwhile, it is not repeated for longer than `unknown_after` from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ambiguous_since_ms: Option<u64>,
    /// What the ESP answered, or why it stands there; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// It is `unknown`, and must not be sent again: only the ESP's webhook can say what became of it (SPEC §6).
    #[serde(default, skip_serializing_if = "is_false")]
    pub awaits_webhook: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl DeliveryRecord {
    /// A delivery that was just decided.
    pub fn pending(since_ms: u64) -> DeliveryRecord {
        let state = DeliveryState::Pending;
        DeliveryRecord { state, attempts: 0, since_ms, ambiguous_since_ms: None, note: None, awaits_webhook: false }
    }

    /// Whether the sender still has to do something about it.
    pub fn is_owed(&self) -> bool {
        self.state.is_open() && !self.awaits_webhook
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_settled_stays_settled_and_what_may_be_sent_is_never_called_unsent() {
        for next in DeliveryState::ALL {
            for settled in DeliveryState::ALL.into_iter().filter(|state| !state.is_open()) {
                assert!(!settled.may_become(next), "{settled} → {next}");
            }
            let unsent = matches!(next, DeliveryState::Withdrawn | DeliveryState::Expired);
            for ambiguous in [DeliveryState::InFlight, DeliveryState::Unknown] {
                assert!(!(unsent && ambiguous.may_become(next)), "{ambiguous} → {next}");
            }
        }
    }

    #[test]
    fn names_are_the_serialised_words() {
        for state in DeliveryState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }
}
