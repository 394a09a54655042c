//! Postmark ("Webhooks overview" and the pages of each webhook in its developer documentation). Postmark signs nothing: it proves itself with
//! the user and password of basic authentication that its webhook is set up with. It tries again for half a day. `Metadata` has the
//! decision. Only bounces and complaints have an id.

use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::event::time_ms;
use super::{Event, Refusal, Said, SelfContained, Told, header, in_time};
use crate::secret::Secret;
use crate::web::engagement::Kind;
use crate::web::machine::is_machine_agent;

/// How long after what it tells of a request is taken.
const WITHIN_MS: u64 = 24 * 3_600_000;

/// Kinds of bounces after which the address takes no more ("Bounce types").
const HARD: [&str; 3] = ["HardBounce", "BadEmailAddress", "ManuallyDeactivated"];

/// A Postmark server's webhook.
pub struct Postmark {
    user: String,
    password: Secret,
}

impl Postmark {
    /// One that is set up with this user and password.
    pub fn new(user: &str, password: Secret) -> Postmark {
        Postmark { user: user.to_owned(), password }
    }

    fn lets_in(&self, told: &Told) -> Option<()> {
        let (scheme, credentials) = header(&told.headers, AUTHORIZATION.as_str())?.split_once(' ')?;
        let credentials = BASE64_STANDARD.decode(credentials.trim()).ok()?;
        let colon = credentials.iter().position(|byte| *byte == b':')?;
        let (user, password) = (&credentials[..colon], &credentials[colon + 1..]);
        let is_let_in = self.password.is(password) & (user == self.user.as_bytes());
        (scheme.eq_ignore_ascii_case("basic") && is_let_in).then_some(())
    }
}

impl SelfContained for Postmark {
    const NAME: &'static str = "postmark";

    fn said(&self, told: &Told) -> Result<Said<'static>, Refusal> {
        self.lets_in(told).ok_or(Refusal::Forged)?;
        let one: One = serde_json::from_slice(&told.body).map_err(|_| Refusal::Malformed)?;
        let at_ms = one.at_ms().ok_or(Refusal::Malformed)?;
        in_time(at_ms, WITHIN_MS, told.now_ms)?;
        Ok(Said::of(Self::NAME, &told.body, at_ms + WITHIN_MS, [event(one, at_ms)]))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    record_type: String,
    #[serde(rename = "MessageID")]
    message_id: Option<String>,
    #[serde(rename = "ID")]
    id: Option<u64>,
    r#type: Option<String>,
    delivered_at: Option<String>,
    bounced_at: Option<String>,
    received_at: Option<String>,
    changed_at: Option<String>,
    suppress_sending: Option<bool>,
    suppression_reason: Option<String>,
    original_link: Option<String>,
    user_agent: Option<String>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    decision_id: Option<String>,
}

impl One {
    fn at_ms(&self) -> Option<u64> {
        let times = [&self.delivered_at, &self.bounced_at, &self.received_at, &self.changed_at];
        times.into_iter().flatten().next().and_then(|time| time_ms(time))
    }

    fn kind(&self) -> Option<Kind> {
        match self.record_type.as_str() {
            "Delivery" => Some(Kind::Delivered),
            "Open" => Some(Kind::Opened),
            "Click" => Some(Kind::Clicked),
            "SpamComplaint" => Some(Kind::Complained),
            "Bounce" => match self.r#type.as_deref()? {
                "SpamComplaint" => Some(Kind::Complained),
                "Unsubscribe" => Some(Kind::Unsubscribed),
                kind => HARD.contains(&kind).then_some(Kind::Bounced),
            },
            "SubscriptionChange" if self.suppress_sending == Some(true) => match self.suppression_reason.as_deref()? {
                "HardBounce" => Some(Kind::Bounced),
                "SpamComplaint" => Some(Kind::Complained),
                _ => Some(Kind::Unsubscribed),
            },
            _ => None,
        }
    }
}

fn event(one: One, at_ms: u64) -> Option<Event> {
    let decision = one.metadata.as_ref()?.decision_id.as_ref()?.parse().ok()?;
    let kind = one.kind();
    let machine =
        matches!(kind, Some(Kind::Opened | Kind::Clicked)) && one.user_agent.as_deref().is_some_and(is_machine_agent);
    let named = one.id.map(|id| id.to_string()).or(one.message_id)?;
    let url = one.original_link.filter(|_| kind == Some(Kind::Clicked));
    let id = format!("{}\u{1f}{named}\u{1f}{at_ms}\u{1f}{}", one.record_type, url.as_deref().unwrap_or_default());
    Some(Event { id, decision, kind, at_ms, url, machine })
}
