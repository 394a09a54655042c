//! Mailgun ("Webhooks" and "Securing webhooks" in its documentation). Its signature stands in the body, and is the HMAC-SHA256 of
//! `timestamp` and `token`, in hex: of nothing else. So a token is taken once, and who has seen one that was not taken could put another
//! body to it; only TLS prevents that. It tries again for eight hours. `user-variables` have the decision, and `client-info.bot` says
//! whether a machine opened.

use serde::Deserialize;

use super::event::{seconds_ms, whole_seconds_ms};
use super::{Event, Refusal, Said, SelfContained, Told, in_time};
use crate::signing::MacKey;
use crate::web::engagement::Kind;
use crate::web::machine::is_machine_agent;

/// How long after it was signed a request is taken: as long as Mailgun tries, and an hour more.
const WITHIN_MS: u64 = 9 * 3_600_000;

/// A Mailgun account's webhook.
pub struct Mailgun(MacKey);

impl Mailgun {
    /// That of an account with this signing key.
    pub fn new(key: MacKey) -> Mailgun {
        Mailgun(key)
    }
}

impl SelfContained for Mailgun {
    const NAME: &'static str = "mailgun";

    fn said(&self, told: &Told) -> Result<Said<'static>, Refusal> {
        let Body { signature, event: one } = serde_json::from_slice(&told.body).map_err(|_| Refusal::Forged)?;
        let tag = hex(&signature.signature).ok_or(Refusal::Forged)?;
        let signed = [signature.timestamp.as_bytes(), signature.token.as_bytes()].concat();
        if !self.0.verifies(&signed, &tag) {
            return Err(Refusal::Forged);
        }
        let at_ms = whole_seconds_ms(&signature.timestamp).ok_or(Refusal::Malformed)?;
        in_time(at_ms, WITHIN_MS, told.now_ms)?;
        // Marked by what is signed, and not by the token: where that begins is not signed.
        Ok(Said::of(Self::NAME, &signed, at_ms + WITHIN_MS, [serde_json::from_value(one).ok().and_then(event)]))
    }
}

#[derive(Deserialize)]
struct Body {
    signature: Signature,
    #[serde(rename = "event-data")]
    event: serde_json::Value,
}

#[derive(Deserialize)]
struct Signature {
    timestamp: String,
    token: String,
    signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct One {
    event: String,
    id: String,
    timestamp: f64,
    severity: Option<String>,
    reason: Option<String>,
    url: Option<String>,
    user_variables: Variables,
    #[serde(default)]
    client_info: Client,
}

#[derive(Deserialize)]
struct Variables {
    decision_id: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Client {
    bot: Option<String>,
    user_agent: Option<String>,
}

impl Client {
    /// Gmail's bot fetches a picture for who looks at the mail, and others fetch it for nobody.
    fn is_machine(&self) -> bool {
        match self.bot.as_deref().unwrap_or_default() {
            "" => self.user_agent.as_deref().is_some_and(is_machine_agent),
            bot => bot != "gmail",
        }
    }
}

fn event(one: One) -> Option<Event> {
    let is_for_good = one.severity.as_deref() == Some("permanent");
    let kind = match one.event.as_str() {
        "delivered" => Some(Kind::Delivered),
        "opened" => Some(Kind::Opened),
        "clicked" => Some(Kind::Clicked),
        "complained" => Some(Kind::Complained),
        "unsubscribed" => Some(Kind::Unsubscribed),
        "failed" if is_for_good => match one.reason.as_deref() {
            Some("suppress-complaint") => Some(Kind::Complained),
            Some("suppress-unsubscribe") => Some(Kind::Unsubscribed),
            // Its server was not reached for days; that says nothing about the address.
            Some("old") => None,
            _ => Some(Kind::Bounced),
        },
        "failed" | "accepted" => None,
        _ => return None,
    };
    let machine = matches!(kind, Some(Kind::Opened | Kind::Clicked)) && one.client_info.is_machine();
    Some(Event {
        id: one.id,
        decision: one.user_variables.decision_id.parse().ok()?,
        kind,
        at_ms: seconds_ms(one.timestamp)?,
        url: one.url.filter(|_| kind == Some(Kind::Clicked)),
        machine,
    })
}

/// The 32 bytes that 64 hex digits are.
fn hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}
