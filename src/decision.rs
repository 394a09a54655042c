//! What was decided, and the words the stages after it share: [`Decision`] (SPEC §5), [`DeliveryState`] (SPEC §6),
//! [`Send`] and [`Message`]. `decide` makes decisions, `ledger` keeps them, `render` and `sink` send them; none of them
//! knows the others. Plain rows: no clock, no I/O. Only reading them back from text can fail.

mod delivery;
mod discount;
mod errand;
mod message;
mod text;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use beckon_dataflows::model::{Episode, Money, Tick};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

pub use delivery::{DeliveryRecord, DeliveryState};
pub use discount::{Discount, Percent};
pub use errand::{Errand, OpenDelivery};
pub use message::{Header, HeaderFault, Mailbox, MailboxFault, Message};
pub use text::Moment;

/// Stands between the parts of a name that is hashed, so that no two lists of parts give the same bytes (SPEC §5, ␟).
const UNIT_SEPARATOR: u8 = 0x1F;

/// A decision's name, made of what it is about and nothing else: the same in every run, replay and process (SPEC §5).
/// Written as 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DecisionId(pub u128);

impl DecisionId {
    /// XXH3-128 over campaign ␟ customer ␟ subject ␟ anchor, the anchor in decimal epoch milliseconds (SPEC §5).
    pub fn of(campaign: &str, customer: &str, subject: &str, anchor_ms: u64) -> DecisionId {
        let mut hasher = Xxh3::new();
        for part in [campaign, customer, subject] {
            hasher.update(part.as_bytes());
            hasher.update(&[UNIT_SEPARATOR]);
        }
        hasher.update(anchor_ms.to_string().as_bytes());
        DecisionId(hasher.digest128())
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

/// A text that is no [`DecisionId`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no decision id; one has 32 digits, 0-9 and a-f")]
pub struct NotADecisionId(String);

impl FromStr for DecisionId {
    type Err = NotADecisionId;

    fn from_str(text: &str) -> Result<Self, NotADecisionId> {
        let hex = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let id = if hex { u128::from_str_radix(text, 16).ok() } else { None };
        id.map(DecisionId).ok_or_else(|| NotADecisionId(text.to_owned()))
    }
}

/// What a decision came to (SPEC §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A mail is owed.
    Send,
    /// A gate refused; [`Decision::reason`] says which.
    Suppress,
    /// Would have been sent, but the customer is in the control group.
    Holdout,
}

/// The gate that refused, in the order in which they are asked (SPEC §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No profile, no e-mail address, or erased.
    Unreachable,
    /// Consent not given, or withdrawn by an unsubscribe, a complaint or a hard bounce.
    NoConsent,
    /// The campaign's expression is false.
    Audience,
    /// A send of this campaign to the customer in the last `cooldown`.
    Cooldown,
    /// As many sends to the customer as a rolling window allows.
    FrequencyCap,
    /// As many sends of this SKU in this restock as its stock allows.
    StockBudget,
    /// Another of the customer's campaigns goes first at this tick.
    Outranked,
}

impl Outcome {
    /// The word of SPEC §5, also the metric label.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Send => "send",
            Outcome::Suppress => "suppress",
            Outcome::Holdout => "holdout",
        }
    }
}

impl Reason {
    /// The word of SPEC §5, also the metric label.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Unreachable => "unreachable",
            Reason::NoConsent => "no_consent",
            Reason::Audience => "audience",
            Reason::Cooldown => "cooldown",
            Reason::FrequencyCap => "frequency_cap",
            Reason::StockBudget => "stock_budget",
            Reason::Outranked => "outranked",
        }
    }
}

/// What was decided about an episode, once, at its rising edge. Its JSON is SPEC §5's to the byte: the members in this
/// order, times in UTC with milliseconds, money as text with the scale it came with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// [`DecisionId::of`] the four fields that name the episode.
    pub decision_id: DecisionId,
    /// The campaign's name.
    pub campaign: Arc<str>,
    /// Whom it is about, by the shop's id.
    pub customer_id: Arc<str>,
    /// The campaign's trigger (SPEC §4).
    pub trigger: Arc<str>,
    /// What it is about: a cart, a SKU, an order, by trigger.
    pub subject: Arc<str>,
    /// Tells this episode from the others of its subject.
    #[serde(with = "text::time")]
    pub anchor: Tick,
    /// The closed tick it was decided at.
    #[serde(with = "text::time")]
    pub as_of: Tick,
    /// Send, suppress or hold out.
    pub outcome: Outcome,
    /// Why suppressed; `null` otherwise.
    pub reason: Option<Reason>,
    /// The variant of a send; `null` without variants, held out or suppressed.
    pub variant: Option<Arc<str>>,
    /// What it speaks of, as of `as_of`.
    pub payload: Payload,
}

impl Decision {
    /// What is kept of it at rest when its customer is erased: not what it is about.
    pub fn erased(&self) -> Decision {
        Decision { subject: "".into(), payload: Payload::default(), ..self.clone() }
    }

    /// Decisions are written in the order of this key (SPEC §5): tick, customer, campaign, subject. A user and a visitor of one
    /// id can tie in these; then the earlier anchor goes first.
    pub fn sort_key(&self) -> (Tick, &str, &str, &str, Tick) {
        (self.as_of, &self.customer_id, &self.campaign, &self.subject, self.anchor)
    }
}

/// What a decision speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The cart's or order's lines, or the one product.
    pub lines: Vec<PayloadLine>,
    /// SKUs similar to the most expensive line's, the most similar first (SPEC §3); missing where the campaign asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similar: Option<Vec<PayloadLine>>,
    /// What it takes off the prices. Missing in the JSON where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discount: Option<Discount>,
}

/// A product in a payload. What is not known is left out of the JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadLine {
    /// The product.
    pub sku: Arc<str>,
    /// Units; missing where the line is no cart's or order's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<u32>,
    /// Price of a unit.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::money")]
    pub price: Option<Money>,
    /// The catalog's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Address of its picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Address of its page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Units in stock over all locations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_hand: Option<i64>,
}

/// A decision that is to be sent, with what the sender needs to know beside it. Lives in memory only: it is made from the
/// ledger's [`OpenDelivery`] and the configuration.
#[derive(Clone, Debug)]
pub struct Send {
    /// What was decided.
    pub decision: Arc<Decision>,
    /// Looked up in the trigger set just before the request (SPEC §6).
    pub episode: Episode,
    /// ISO 4217 code of the payload's prices.
    pub currency: Option<Arc<str>>,
    /// Milliseconds after `as_of` at which the delivery expires; `None`: never.
    pub send_within_ms: Option<u64>,
    /// The campaign's; greater goes first.
    pub priority: i32,
    /// The stem of the template's files: the variant's, else the campaign's.
    pub template: Arc<str>,
}

impl Send {
    /// Epoch ms from which on it is expired (SPEC §6, `send_within`); `None`: never.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.send_within_ms.map(|within_ms| self.decision.as_of.saturating_add(within_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision() -> Decision {
        let anchor = 1_767_261_600_000;
        Decision {
            decision_id: DecisionId::of("cart-abandonment", "u1", "cart-9", anchor),
            campaign: "cart-abandonment".into(),
            customer_id: "u1".into(),
            trigger: "cart_abandonment".into(),
            subject: "cart-9".into(),
            anchor,
            as_of: anchor + 30 * 60_000,
            outcome: Outcome::Send,
            reason: None,
            variant: Some("urgent".into()),
            payload: Payload {
                lines: vec![PayloadLine {
                    sku: "s1".into(),
                    quantity: Some(1),
                    price: Some("19.90".parse().unwrap()),
                    name: None,
                    image: None,
                    url: None,
                    on_hand: Some(3),
                }],
                ..Payload::default()
            },
        }
    }

    #[test]
    fn the_json_is_the_specification_s() {
        let id = decision().decision_id;
        let json = serde_json::to_string(&decision()).unwrap();
        assert_eq!(
            json,
            format!(
                r#"{{"decision_id":"{id}","campaign":"cart-abandonment","customer_id":"u1","trigger":"cart_abandonment","subject":"cart-9","anchor":"2026-01-01T10:00:00.000Z","as_of":"2026-01-01T10:30:00.000Z","outcome":"send","reason":null,"variant":"urgent","payload":{{"lines":[{{"sku":"s1","quantity":1,"price":"19.90","on_hand":3}}]}}}}"#
            )
        );
        assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), decision());
    }

    #[test]
    fn a_suppressed_decision_keeps_every_member_that_is_known() {
        let mut suppressed = decision();
        suppressed.outcome = Outcome::Suppress;
        suppressed.reason = Some(Reason::NoConsent);
        suppressed.variant = None;
        let line = &mut suppressed.payload.lines[0];
        (line.name, line.image, line.url) =
            (Some("A \"B\"".into()), Some("https://i".into()), Some("https://u".into()));
        let json = serde_json::to_string(&suppressed).unwrap();
        assert!(json.contains(r#""outcome":"suppress","reason":"no_consent","variant":null,"payload""#), "{json}");
        let line = r#""price":"19.90","name":"A \"B\"","image":"https://i","url":"https://u","on_hand":3}"#;
        assert!(json.contains(line), "{json}");
        assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), suppressed);
    }

    #[test]
    fn a_discount_is_the_last_of_the_payload() {
        let mut discounted = decision();
        discounted.payload.discount = Percent::of_hundredths(1250).map(|percent| Discount { percent });
        let json = serde_json::to_string(&discounted).unwrap();
        assert!(json.ends_with(r#""on_hand":3}],"discount":{"percent":12.5}}}"#), "{json}");
        assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), discounted);
    }

    #[test]
    fn an_id_is_the_hash_of_the_joined_names() {
        let joined = b"cart-abandonment\x1fu1\x1fcart-9\x1f1767261600000";
        let id = DecisionId::of("cart-abandonment", "u1", "cart-9", 1_767_261_600_000);
        assert_eq!(id.0, xxhash_rust::xxh3::xxh3_128(joined));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(DecisionId(10).to_string(), "0000000000000000000000000000000a");
        assert!("0000000000000000000000000000000A".parse::<DecisionId>().is_err());
        assert!("+000000000000000000000000000000a".parse::<DecisionId>().is_err());
    }

    #[test]
    fn names_are_the_serialised_words() {
        for reason in [Reason::Unreachable, Reason::NoConsent, Reason::FrequencyCap, Reason::StockBudget] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
        for outcome in [Outcome::Send, Outcome::Suppress, Outcome::Holdout] {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
        }
    }
}
