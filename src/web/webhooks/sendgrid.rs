//! SendGrid ("Event Webhook Reference" and "Signed Event Webhook" in its documentation). Signed is the time in
//! `X-Twilio-Email-Event-Webhook-Timestamp` and the body after it, with ECDSA P-256, in `X-Twilio-Email-Event-Webhook-Signature`. It tries
//! again for a day. `custom_args` stand among an event's own members; `sg_machine_open` is Apple's privacy prefetch.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::event::{seconds_ms, whole_seconds_ms};
use super::{Event, Refusal, Said, SelfContained, Told, header, in_time};
use crate::signing::P256Key;
use crate::web::engagement::Kind;
use crate::web::machine::is_machine_agent;

/// How long after it was signed a request is taken: SendGrid tries for a day, and does not say whether it signs each attempt anew.
const WITHIN_MS: u64 = 25 * 3_600_000;

/// A SendGrid account's webhook.
pub struct SendGrid(P256Key);

impl SendGrid {
    /// That of an account with this verification key.
    pub fn new(key: P256Key) -> SendGrid {
        SendGrid(key)
    }
}

impl SelfContained for SendGrid {
    const NAME: &'static str = "sendgrid";

    fn said(&self, told: &Told) -> Result<Said<'static>, Refusal> {
        let named = |name| header(&told.headers, name).ok_or(Refusal::Forged);
        let timestamp = named("x-twilio-email-event-webhook-timestamp")?;
        let signature = named("x-twilio-email-event-webhook-signature")?;
        let signature = BASE64_STANDARD.decode(signature).map_err(|_| Refusal::Forged)?;
        let signed = [timestamp.as_bytes(), &told.body].concat();
        if !self.0.verifies(&signed, &signature) {
            return Err(Refusal::Forged);
        }
        let at_ms = whole_seconds_ms(timestamp).ok_or(Refusal::Malformed)?;
        in_time(at_ms, WITHIN_MS, told.now_ms)?;
        let all: Vec<&RawValue> = serde_json::from_slice(&told.body).map_err(|_| Refusal::Malformed)?;
        let events = all.iter().map(|one| event(serde_json::from_str(one.get()).ok()?));
        // Marked by what is signed: of the signature there may be another that is as good.
        Ok(Said::of(Self::NAME, &signed, at_ms + WITHIN_MS, events))
    }
}

#[derive(Deserialize)]
struct One {
    event: String,
    sg_event_id: String,
    timestamp: f64,
    decision_id: String,
    r#type: Option<String>,
    reason: Option<String>,
    url: Option<String>,
    useragent: Option<String>,
    #[serde(default)]
    sg_machine_open: bool,
}

fn event(one: One) -> Option<Event> {
    let kind = match one.event.as_str() {
        "delivered" => Some(Kind::Delivered),
        "open" => Some(Kind::Opened),
        "click" => Some(Kind::Clicked),
        // A `blocked` one is refused for what it is or where it comes from, and the address is sound.
        "bounce" if one.r#type.as_deref() != Some("blocked") => Some(Kind::Bounced),
        "spamreport" => Some(Kind::Complained),
        "unsubscribe" | "group_unsubscribe" => Some(Kind::Unsubscribed),
        "dropped" => dropped(one.reason.as_deref().unwrap_or_default()),
        "processed" | "deferred" | "bounce" => None,
        _ => return None,
    };
    let machine = match kind {
        Some(Kind::Opened | Kind::Clicked) => {
            one.sg_machine_open || one.useragent.as_deref().is_some_and(is_machine_agent)
        }
        _ => false,
    };
    Some(Event {
        id: one.sg_event_id,
        decision: one.decision_id.parse().ok()?,
        kind,
        at_ms: seconds_ms(one.timestamp)?,
        url: one.url.filter(|_| kind == Some(Kind::Clicked)),
        machine,
    })
}

/// What was taken from us and not sent, because SendGrid knows of the address.
fn dropped(reason: &str) -> Option<Kind> {
    match reason {
        "Bounced Address" | "Invalid" => Some(Kind::Bounced),
        "Spam Reporting Address" => Some(Kind::Complained),
        "Unsubscribed Address" => Some(Kind::Unsubscribed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    /// The vector of SendGrid's tests of its own libraries.
    const KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
    const SIGNATURE: &str =
        "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=";
    const TIMESTAMP: &str = "1600112502";
    const BODY: &str = concat!(
        r#"[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address","#,
        r#""sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA","#,
        r#""sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0","#,
        r#""smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]"#,
        "\r\n"
    );

    fn said(timestamp: &str, signature: &str, body: &str, now_ms: u64) -> Result<usize, Refusal> {
        let headers = [
            ("x-twilio-email-event-webhook-timestamp", timestamp),
            ("x-twilio-email-event-webhook-signature", signature),
        ];
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let told = Told { headers: headers.into_iter().collect(), body: body.into(), now_ms };
        let key = P256Key::of(&Secret::new(KEY.as_bytes()).unwrap()).unwrap();
        SendGrid::new(key).said(&told).map(|said| said.passed_over)
    }

    #[test]
    fn the_vector_of_its_libraries_is_verified_and_nothing_near_it() {
        let now_ms = 1_600_112_503_000;
        assert_eq!(said(TIMESTAMP, SIGNATURE, BODY, now_ms), Ok(1));
        assert_eq!(said(TIMESTAMP, SIGNATURE, BODY.trim_end(), now_ms), Err(Refusal::Forged));
        assert_eq!(said("1600112503", SIGNATURE, BODY, now_ms), Err(Refusal::Forged));
        let other = "MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIgJTz2C+8a8xonZGi6BpSzoQsbVRamr2nlxFDWYNH3j/0=";
        for signature in [other, "", "!", "AAAA"] {
            assert_eq!(said(TIMESTAMP, signature, BODY, now_ms), Err(Refusal::Forged), "{signature}");
        }
        assert_eq!(said(TIMESTAMP, SIGNATURE, BODY, now_ms + WITHIN_MS), Err(Refusal::Old));
        assert_eq!(said(TIMESTAMP, SIGNATURE, BODY, now_ms - 400_000), Err(Refusal::Old));
    }
}
