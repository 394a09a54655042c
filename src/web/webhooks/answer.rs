//! What an ESP is told that is not thanked. In: why. Out: a status, and a sentence that says nothing about keys or what we know. What may
//! be sent again is answered with 429 or 503; ESPs send again what got another answer too, and are refused again.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::web::body::NoBody;
use crate::web::head;

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not signed, or not by the ESP, or not this body.
    #[error("the signature is not that of this body")]
    Forged,
    /// It was signed too long ago, or by a clock too far ahead.
    #[error("it was signed too long ago, or in the future")]
    Old,
    /// It was taken already, or is being taken.
    #[error("it was taken already")]
    Replayed,
    /// It comes by a way that is not configured.
    #[error("nobody asked for it: {0}")]
    Unasked(&'static str),
    /// It is signed, and still cannot be read.
    #[error("it cannot be read")]
    Malformed,
    /// The body is too large.
    #[error("the body is too large")]
    TooLarge,
    /// The body broke off.
    #[error("the body broke off")]
    Broken,
    /// The body did not come in time.
    #[error("the body did not come in time")]
    Slow,
    /// Too much waits for the broker.
    #[error("too much waits to be written; try again")]
    Busy,
    /// The broker or the ledger has not taken all of it; or what is needed to check it cannot be had now.
    #[error("not everything was written; send the same again")]
    NotWritten(String),
}

impl Refusal {
    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Refusal::Forged => (StatusCode::UNAUTHORIZED, "forged"),
            Refusal::Old => (StatusCode::FORBIDDEN, "old"),
            Refusal::Replayed => (StatusCode::CONFLICT, "replayed"),
            Refusal::Unasked(_) => (StatusCode::FORBIDDEN, "unasked"),
            Refusal::Malformed => (StatusCode::BAD_REQUEST, "malformed"),
            Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Refusal::Broken => (StatusCode::BAD_REQUEST, "broken"),
            Refusal::Slow => (StatusCode::REQUEST_TIMEOUT, "slow"),
            Refusal::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Refusal::NotWritten(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_written"),
        }
    }

    /// The word of metrics.
    pub(super) fn name(&self) -> &'static str {
        self.code().1
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

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let head = match self {
            Refusal::Busy => Some(head::when_busy()),
            Refusal::NotWritten(_) => Some(head::when_not_written()),
            Refusal::Slow | Refusal::TooLarge => Some(head::when_unread()),
            _ => None,
        };
        let mut answer = (self.code().0, format!("{self}\n")).into_response();
        answer.headers_mut().extend(head);
        answer
    }
}
