//! What a sender is told, as Segment tells it: `{"success": true}`, or a code and what to do. In: what became of a request. Out: the
//! answer. What may be sent again says when; nothing that was sent, and no key, is repeated in it.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::key::NoKey;
use super::message::{BODY_BYTES_MAX, Unreadable};
use crate::web::body::NoBody;
use crate::web::head;
use crate::web::queue::Full;

/// Everything is in Kafka, or in the dead letters.
#[derive(Serialize)]
pub(super) struct Taken {
    success: bool,
    /// The messages that are in the dead letters; Segment's libraries do not look at them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dead_letters: Vec<Dead>,
}

/// A message that was malformed.
#[derive(Serialize)]
pub(super) struct Dead {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// What was wrong with it.
    pub reason: String,
}

impl Taken {
    /// All but `dead_letters` was taken.
    pub(super) fn but(dead_letters: Vec<Dead>) -> Taken {
        Taken { success: true, dead_letters }
    }
}

impl IntoResponse for Taken {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// Why nothing of a request counts as taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// There is no such key.
    #[error("no such write key: send it as the user name of Basic auth, or as `writeKey` in the body")]
    NoKey,
    /// The body is too large, before or after it was decompressed.
    #[error("the body has more than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// The body is not what the path asks for.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The body broke off, or is not compressed as it says.
    #[error("the body broke off, or is not compressed as `Content-Encoding` says")]
    Broken,
    /// The body did not come in time.
    #[error("the body did not come in time")]
    Slow,
    /// Too much waits for the broker.
    #[error("too much waits to be written; try again")]
    Busy,
    /// The broker, or the disk of the dead letters, has not taken it; it may have some of it all the same.
    #[error("not everything was written; send the same again")]
    NotWritten,
}

impl Refusal {
    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Refusal::NoKey => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Refusal::TooLarge | Refusal::Unreadable(Unreadable::TooLarge(_)) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
            }
            Refusal::Unreadable(_) | Refusal::Broken => (StatusCode::BAD_REQUEST, "invalid_request"),
            Refusal::Slow => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            Refusal::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Refusal::NotWritten => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }

    /// What the answer's head says beside.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Refusal::NoKey => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"collect\""))),
            Refusal::Busy => Some(head::when_busy()),
            Refusal::NotWritten => Some(head::when_not_written()),
            Refusal::Slow | Refusal::TooLarge => Some(head::when_unread()),
            Refusal::Unreadable(_) | Refusal::Broken => None,
        }
    }

    /// The status alone, for who shows no text.
    pub(super) fn status(&self) -> StatusCode {
        self.code().0
    }
}

#[derive(Serialize)]
struct Refused {
    success: bool,
    code: &'static str,
    message: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = self.code();
        metrics::counter!("beckon_collect_refused_total", "code" => code).increment(1);
        let told = Json(Refused { success: false, code, message: self.to_string() });
        let mut answer = (status, told).into_response();
        answer.headers_mut().extend(self.header());
        answer
    }
}

impl From<NoKey> for Refusal {
    fn from(_: NoKey) -> Refusal {
        Refusal::NoKey
    }
}

impl From<NoBody> for Refusal {
    fn from(fault: NoBody) -> Refusal {
        match fault {
            NoBody::TooLarge => Refusal::TooLarge,
            NoBody::Broken => Refusal::Broken,
            NoBody::Slow => Refusal::Slow,
            NoBody::Full => Refusal::Busy,
        }
    }
}

impl From<Full> for Refusal {
    fn from(_: Full) -> Refusal {
        Refusal::Busy
    }
}
