//! What an HTTP exchange with an ESP came to. In: the request. Out: the answer, or the [`SendError`] that says whether the message
//! may have been taken. Every ESP that speaks HTTP reads its answers here: statuses, `Retry-After`, and what is left of its allowance.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

use super::{Accepted, SendError};

/// How much of an answer's body is kept, characters.
const EXCERPT_CHARS_MAX: usize = 300;
/// How much of an answer's body is read, bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// A longer wait than this is taken for a mistake of the ESP.
const RETRY_AFTER_MS_MAX: u64 = 15 * 60 * 1000;

/// An ESP's answer, of whatever status.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    waited_ms: u64,
}

/// Makes the request and reads its answer. Fails only when there is none.
pub(super) async fn exchange(request: RequestBuilder) -> Result<Answer, SendError> {
    let started = Instant::now();
    let result = request.send().await;
    let response = result.map_err(|error| no_answer(&error, started.elapsed()))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = beginning(response).await;
    Ok(Answer { status, headers, body, waited_ms: started.elapsed().as_millis() as u64 })
}

impl Answer {
    /// What most ESPs mean by their statuses: itself if it is a 2xx. `account` says where the key is from.
    pub fn judged(self, account: &str) -> Result<Answer, SendError> {
        match self.status {
            status if status.is_success() => Ok(self),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Err(self.throttled()),
            StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED | StatusCode::FORBIDDEN => {
                Err(self.denied(account))
            }
            // A 408 says that the server gave up waiting for the request, not what it made of it.
            status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => Err(self.unknown()),
            _ => Err(self.refused()),
        }
    }

    /// The same of an ESP whose API has one address for mails: 404 and 405 say that it is not there, whatever the message. `place` says
    /// what leads there.
    pub fn judged_at(self, place: &str, account: &str) -> Result<Answer, SendError> {
        match self.status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Err(self.denied(place)),
            _ => self.judged(account),
        }
    }

    /// The body, if it is JSON of this shape.
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The header, if it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        text_of(&self.headers, name)
    }

    /// It is taken.
    pub fn accepted(&self, esp_id: Option<String>) -> Accepted {
        Accepted { esp_id, rest_ms: rest_ms(&self.headers, SystemTime::now()) }
    }

    /// It is not taken, and never will be.
    pub fn refused(&self) -> SendError {
        SendError::Refused { status: self.status.as_u16(), excerpt: excerpt(&self.body) }
    }

    /// It is not taken, as long as nobody sees to the account.
    pub fn denied(&self, account: &str) -> SendError {
        SendError::Denied { status: self.status.as_u16(), account: account.to_owned(), excerpt: excerpt(&self.body) }
    }

    /// It is not taken now.
    pub fn throttled(&self) -> SendError {
        let retry_after_ms = retry_after_ms(&self.headers, SystemTime::now());
        SendError::Throttled { status: self.status.as_u16(), retry_after_ms }
    }

    /// It is not taken before the date that the body has after `words`, if it has one; else as [`throttled`](Self::throttled).
    pub fn throttled_until(&self, words: &str) -> SendError {
        let text = String::from_utf8_lossy(&self.body);
        let wait_ms = text.split_once(words).and_then(|(_, date)| {
            let date = date.split_inclusive("UTC").next()?.trim().replace("UTC", "GMT");
            let wait_ms = date_ms(&date)? - now_ms(&self.headers, SystemTime::now())?;
            Some(u64::try_from(wait_ms).unwrap_or(0).min(RETRY_AFTER_MS_MAX))
        });
        match wait_ms {
            Some(wait_ms) => SendError::Throttled { status: self.status.as_u16(), retry_after_ms: Some(wait_ms) },
            None => self.throttled(),
        }
    }

    /// It may have been taken.
    pub fn unknown(&self) -> SendError {
        let (status, reason) = (Some(self.status.as_u16()), excerpt(&self.body));
        SendError::Unknown { status, waited_ms: self.waited_ms, reason }
    }
}

/// No answer came. Only a connection that was never made proves that nothing was taken.
fn no_answer(error: &reqwest::Error, waited: Duration) -> SendError {
    let reason = causes(error);
    if error.is_connect() {
        return SendError::NotSent { reason };
    }
    SendError::Unknown { status: None, waited_ms: waited.as_millis() as u64, reason }
}

/// An error with all its causes on one line, without the URL.
fn causes(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timed out".to_owned() } else { String::new() };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let separator = if text.is_empty() { "" } else { ": " };
        text = format!("{text}{separator}{error}");
        cause = error.source();
    }
    text
}

/// The beginning of the body. The status has been read, so a body that breaks off changes nothing.
async fn beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < BODY_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    body.truncate(BODY_BYTES_MAX);
    body
}

pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.trim().chars().take(EXCERPT_CHARS_MAX).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// How long the ESP wants to be left alone: `Retry-After` (seconds, or a date, RFC 9110 §10.2.3), else until its allowance is
/// renewed.
fn retry_after_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let wait_ms = match text_of(headers, RETRY_AFTER.as_str()) {
        Some(value) => match value.parse::<f64>() {
            Ok(seconds) => (seconds.max(0.0) * 1000.0) as u64,
            Err(_) => u64::try_from(date_ms(value)? - now_ms(headers, now)?).unwrap_or(0),
        },
        None => reset_ms(headers, now)?,
    };
    Some(wait_ms.min(RETRY_AFTER_MS_MAX))
}

/// How long to leave alone an ESP that took a message and says that it was the last for now.
fn rest_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let left: f64 = either(headers, "ratelimit-remaining", "x-ratelimit-remaining")?.parse().ok()?;
    if left >= 1.0 {
        return None;
    }
    reset_ms(headers, now).map(|wait_ms| wait_ms.min(RETRY_AFTER_MS_MAX))
}

/// How long until the allowance is renewed. ESPs write it in three ways: seconds from now (Resend, and the IETF's draft), epoch seconds
/// (SendGrid) and epoch milliseconds; they are told apart by size, as no allowance lasts 30 years.
fn reset_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let value: f64 = either(headers, "ratelimit-reset", "x-ratelimit-reset")?.parse().ok()?;
    let until_ms = |epoch_ms: f64| Some((epoch_ms - now_ms(headers, now)? as f64).max(0.0) as u64);
    match value {
        seconds if seconds < 1e9 => Some((seconds.max(0.0) * 1000.0) as u64),
        epoch_seconds if epoch_seconds < 1e12 => until_ms(epoch_seconds * 1000.0),
        epoch_ms => until_ms(epoch_ms),
    }
}

/// The time of the answer, epoch ms: its own `Date`, which has the same clock as the other times in it.
fn now_ms(headers: &HeaderMap, now: SystemTime) -> Option<i64> {
    let dated = text_of(headers, DATE.as_str()).and_then(date_ms);
    dated.or_else(|| Timestamp::try_from(now).ok().map(Timestamp::as_millisecond))
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn either<'a>(headers: &'a HeaderMap, name: &str, other: &str) -> Option<&'a str> {
    text_of(headers, name).or_else(|| text_of(headers, other))
}

/// An HTTP date as epoch milliseconds.
fn date_ms(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn retry_after_is_read_in_every_form() {
        let now = UNIX_EPOCH + Duration::from_secs(1_445_412_470); // Wed, 21 Oct 2015 07:27:50 GMT
        type Headers = &'static [(&'static str, &'static str)];
        let cases: [(Headers, Option<u64>); 11] = [
            (&[("retry-after", "3")], Some(3_000)),
            (&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")], Some(10_000)),
            (
                &[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), ("date", "Wed, 21 Oct 2015 07:27:55 GMT")],
                Some(5_000),
            ),
            (&[("retry-after", "Wed, 21 Oct 2015 07:00:00 GMT")], Some(0)),
            (&[("x-ratelimit-reset", "1445412472")], Some(2_000)),
            (&[("x-ratelimit-reset", "1445412472500")], Some(2_500)),
            (&[("ratelimit-reset", "0.5")], Some(500)),
            (&[("ratelimit-reset", "9"), ("retry-after", "2")], Some(2_000)),
            (&[("retry-after", "99999999999999")], Some(RETRY_AFTER_MS_MAX)),
            (&[("retry-after", "soon")], None),
            (&[], None),
        ];
        for (pairs, expected) in cases {
            let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(retry_after_ms(&headers, now), expected, "{pairs:?}");
        }
    }

    #[test]
    fn an_allowance_that_is_used_up_is_waited_for() {
        let rest = |left: &str| {
            let pairs = [("x-ratelimit-remaining", left), ("x-ratelimit-reset", "7")];
            let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            rest_ms(&headers, UNIX_EPOCH)
        };
        assert_eq!((rest("0"), rest("1"), rest("many")), (Some(7_000), None, None));
        assert_eq!(rest_ms(&HeaderMap::new(), UNIX_EPOCH), None);
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(b" bad\r\nrequest \xff "), "bad  request \u{fffd}");
        assert_eq!(excerpt("ä".repeat(1000).as_bytes()).chars().count(), EXCERPT_CHARS_MAX);
    }
}
