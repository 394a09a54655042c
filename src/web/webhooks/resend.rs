//! Resend ("Verify Webhooks Requests" and "Event Types" in its documentation), whose webhooks are Svix's: `svix-id`, `svix-timestamp` and the body,
//! with dots between them, are signed with HMAC-SHA256, in `svix-signature` after `v1,`; there may be several signatures. Each attempt is
//! signed anew, and the id stays. The tag `decision_id` comes back. Opens have no user agent.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::event::{time_ms, whole_seconds_ms};
use super::{Event, Refusal, Said, SelfContained, Told, header, in_time};
use crate::signing::MacKey;
use crate::web::engagement::Kind;
use crate::web::machine::is_machine_agent;

/// How long after it was signed a request is taken, as Svix's libraries have it.
const WITHIN_MS: u64 = 300_000;

/// The most signatures that are looked at.
const SIGNATURES_MAX: usize = 8;

/// A Resend account's webhook.
pub struct Resend(MacKey);

impl Resend {
    /// One with this signing secret.
    pub fn new(key: MacKey) -> Resend {
        Resend(key)
    }

    fn verifies(&self, signed: &[u8], signatures: &str) -> bool {
        let tags = signatures.split(' ').take(SIGNATURES_MAX).filter_map(|one| one.strip_prefix("v1,"));
        tags.filter_map(|tag| BASE64_STANDARD.decode(tag).ok()).any(|tag| self.0.verifies(signed, &tag))
    }
}

impl SelfContained for Resend {
    const NAME: &'static str = "resend";

    fn said(&self, told: &Told) -> Result<Said<'static>, Refusal> {
        let named = |name| header(&told.headers, name).ok_or(Refusal::Forged);
        let (id, timestamp) = (named("svix-id")?, named("svix-timestamp")?);
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &told.body].concat();
        if !self.verifies(&signed, named("svix-signature")?) {
            return Err(Refusal::Forged);
        }
        let at_ms = whole_seconds_ms(timestamp).ok_or(Refusal::Malformed)?;
        in_time(at_ms, WITHIN_MS, told.now_ms)?;
        let one: One = serde_json::from_slice(&told.body).map_err(|_| Refusal::Malformed)?;
        Ok(Said::of(Self::NAME, &signed, at_ms + WITHIN_MS, [event(one, id, at_ms)]))
    }
}

#[derive(Deserialize)]
struct One {
    r#type: String,
    created_at: Option<String>,
    data: Mail,
}

#[derive(Deserialize)]
struct Mail {
    /// A list of names and values, or an object of them: Resend has had both.
    #[serde(default)]
    tags: Value,
    bounce: Option<Bounce>,
    click: Option<Click>,
}

#[derive(Deserialize)]
struct Bounce {
    r#type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Click {
    link: Option<String>,
    user_agent: Option<String>,
}

fn event(one: One, id: &str, at_ms: u64) -> Option<Event> {
    let is_passing = |bounce: &Bounce| matches!(bounce.r#type.as_deref(), Some("Transient" | "Undetermined"));
    let kind = match one.r#type.as_str() {
        "email.delivered" => Some(Kind::Delivered),
        "email.opened" => Some(Kind::Opened),
        "email.clicked" => Some(Kind::Clicked),
        "email.complained" => Some(Kind::Complained),
        "email.bounced" if !one.data.bounce.as_ref().is_some_and(is_passing) => Some(Kind::Bounced),
        // Resend knows of the address that it bounced or complained before.
        "email.suppressed" => Some(Kind::Bounced),
        "email.sent" | "email.delivery_delayed" | "email.bounced" => None,
        _ => return None,
    };
    let Click { link, user_agent } = one.data.click.unwrap_or(Click { link: None, user_agent: None });
    Some(Event {
        id: id.to_owned(),
        decision: tag(&one.data.tags)?.parse().ok()?,
        kind,
        at_ms: one.created_at.as_deref().and_then(time_ms).unwrap_or(at_ms),
        machine: kind == Some(Kind::Clicked) && user_agent.as_deref().is_some_and(is_machine_agent),
        url: link.filter(|_| kind == Some(Kind::Clicked)),
    })
}

fn tag(tags: &Value) -> Option<&str> {
    let listed = || tags.as_array()?.iter().find(|tag| tag["name"] == "decision_id")?["value"].as_str();
    tags["decision_id"].as_str().or_else(listed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    /// The vector of Svix's own tests, which is also that of Standard Webhooks.
    #[test]
    fn the_vector_of_svix_is_verified_and_nothing_near_it() {
        let secret = Secret::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let resend = Resend::new(MacKey::of_svix(&secret).unwrap());
        let signed = br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert!(resend.verifies(signed, signature));
        assert!(resend.verifies(signed, &format!("v1,AAAA v2,x {signature}")));
        for wrong in [&signature[3..], "v1,", "", "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="] {
            assert!(!resend.verifies(signed, wrong), "{wrong}");
        }
        assert!(!resend.verifies(&signed[1..], signature));
        let ninth = format!("{}{signature}", "v1,AAAA ".repeat(SIGNATURES_MAX));
        assert!(!resend.verifies(signed, &ninth));
    }
}
