//! What an HTTP exchange with an ESP came to. In: the request. Out: the answer if it is a 2xx, else the [`SendError`] that
//! says whether the message may have been taken. Every ESP that speaks HTTP reads its answers here.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};

use super::SendError;

/// How much of an answer's body is kept, characters.
const EXCERPT_CHARS_MAX: usize = 300;
/// How much of an answer's body is read, bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// A longer wait than this is taken for a mistake of the ESP.
const RETRY_AFTER_MS_MAX: u64 = 15 * 60 * 1000;

/// A 2xx answer.
pub(super) struct Taken {
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Makes the request and reads its answer.
pub(super) async fn exchange(request: RequestBuilder) -> Result<Taken, SendError> {
    let started = Instant::now();
    let result = request.send().await;
    metrics::histogram!("beckon_esp_request_seconds").record(started.elapsed().as_secs_f64());
    let response = result.map_err(|error| no_answer(&error, started.elapsed()))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = beginning(response).await;
    match status {
        _ if status.is_success() => Ok(Taken { headers, body }),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Err(SendError::Throttled {
            status: status.as_u16(),
            retry_after_ms: retry_after_ms(&headers, SystemTime::now()),
        }),
        // A 408 says that the server gave up waiting for the request, not what it made of it.
        _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => Err(SendError::Unknown {
            status: Some(status.as_u16()),
            waited_ms: started.elapsed().as_millis() as u64,
            reason: excerpt(&body),
        }),
        _ => Err(SendError::Refused { status: status.as_u16(), excerpt: excerpt(&body) }),
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

fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.trim().chars().take(EXCERPT_CHARS_MAX).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// How long the ESP wants to be left alone: `Retry-After` (seconds, or a date, RFC 9110 §10.2.3), else the epoch second
/// in SendGrid's `X-RateLimit-Reset`. A date is measured from the answer's own `Date`, which has the same clock.
fn retry_after_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let now_ms = || -> Option<i64> {
        let dated = text(DATE.as_str()).and_then(date_ms);
        dated.or_else(|| Timestamp::try_from(now).ok().map(Timestamp::as_millisecond))
    };
    let wait_ms = match text(RETRY_AFTER.as_str()) {
        Some(value) => match value.parse::<u64>() {
            Ok(seconds) => seconds.saturating_mul(1000),
            Err(_) => u64::try_from(date_ms(value)? - now_ms()?).unwrap_or(0),
        },
        None => {
            let reset_seconds: i64 = text("x-ratelimit-reset")?.parse().ok()?;
            u64::try_from(reset_seconds.saturating_mul(1000).saturating_sub(now_ms()?)).unwrap_or(0)
        }
    };
    Some(wait_ms.min(RETRY_AFTER_MS_MAX))
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
        let cases: [(Headers, Option<u64>); 8] = [
            (&[("retry-after", "3")], Some(3_000)),
            (&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")], Some(10_000)),
            (
                &[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), ("date", "Wed, 21 Oct 2015 07:27:55 GMT")],
                Some(5_000),
            ),
            (&[("retry-after", "Wed, 21 Oct 2015 07:00:00 GMT")], Some(0)),
            (&[("x-ratelimit-reset", "1445412472")], Some(2_000)),
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
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(b" bad\r\nrequest \xff "), "bad  request \u{fffd}");
        assert_eq!(excerpt("ä".repeat(1000).as_bytes()).chars().count(), EXCERPT_CHARS_MAX);
    }
}
