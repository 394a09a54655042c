//! What an ESP says happened to a mail. In: its words, read. Out: an `engagement` record with a name that is the same whenever the ESP
//! says it again. Cannot fail.

use jiff::Timestamp;
use ring::digest;

use crate::decision::DecisionId;
use crate::web::engagement::{Engagement, Kind};

/// The longest address of a click that is kept, in bytes.
const URL_BYTES_MAX: usize = 2 << 10;

/// What happened to a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The ESP's name for it.
    pub id: String,
    /// The decision whose mail it is.
    pub decision: DecisionId,
    /// What happened; none where it only proves that the ESP has taken the mail.
    pub kind: Option<Kind>,
    /// When, epoch ms.
    pub at_ms: u64,
    /// Where a click led.
    pub url: Option<String>,
    /// Whether a machine did it.
    pub machine: bool,
}

impl Event {
    /// The record of it; none where it is only a proof. It did not happen after it was told.
    pub(super) fn record(self, esp: &str, customer: &str, now_ms: u64) -> Option<Engagement> {
        Some(Engagement {
            event_id: event_id(esp, &self.id),
            r#type: self.kind?,
            decision_id: self.decision,
            user_id: customer.to_owned(),
            occurred_at: self.at_ms.min(now_ms),
            url: self.url.filter(|url| url.len() <= URL_BYTES_MAX),
            machine: self.machine,
            declined: None,
        })
    }
}

/// 32 hex digits: the beginning of the SHA-256 of both names, so that an ESP can call an event what it likes.
fn event_id(esp: &str, id: &str) -> String {
    let hash = digest::digest(&digest::SHA256, format!("{esp}\u{1f}{id}").as_bytes());
    hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A time of RFC 3339, or like it, as epoch ms.
pub(super) fn time_ms(text: &str) -> Option<u64> {
    let time: Timestamp = text.trim().parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

/// Epoch seconds, with a fraction or without one, as epoch ms.
pub(super) fn seconds_ms(seconds: f64) -> Option<u64> {
    let ms = seconds * 1000.0;
    (ms.is_finite() && (0.0..1e15).contains(&ms)).then(|| ms.round() as u64)
}

/// Epoch seconds in a header, whole ones, as epoch ms.
pub(super) fn whole_seconds_ms(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse::<u64>().ok().filter(|_| digits).map(|seconds| seconds * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_each_time_and_of_one_esp() {
        assert_eq!(event_id("ses", "a"), event_id("ses", "a"));
        assert_ne!(event_id("ses", "a"), event_id("resend", "a"));
        assert_eq!(event_id("mailgun", &"long".repeat(10_000)).len(), 32);
    }

    #[test]
    fn times_are_read_as_esps_write_them() {
        for text in ["2026-01-01T10:00:00.5Z", "2026-01-01T11:00:00.5000000+01:00", "2026-01-01 10:00:00.500+00"] {
            assert_eq!(time_ms(text), Some(1_767_261_600_500), "{text}");
        }
        assert_eq!((time_ms("yesterday"), time_ms("1900-01-01T00:00:00Z")), (None, None));
        assert_eq!(
            (seconds_ms(1_767_261_600.25), seconds_ms(f64::NAN), seconds_ms(-1.0)),
            (Some(1_767_261_600_250), None, None)
        );
        assert_eq!(
            (whole_seconds_ms("1767261600"), whole_seconds_ms("+1"), whole_seconds_ms("9999999999999")),
            (Some(1_767_261_600_000), None, None)
        );
    }
}
