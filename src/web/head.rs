//! What the head of a refusal says beside its status. In: nothing. Out: a header. Said once, for all that is taken in.

use axum::http::{HeaderName, HeaderValue, header};

/// A queue is full, and soon is not.
pub(super) fn when_busy() -> (HeaderName, HeaderValue) {
    (header::RETRY_AFTER, HeaderValue::from_static("1"))
}

/// Where a broker is down it takes longer to come back than a queue to empty.
pub(super) fn when_not_written() -> (HeaderName, HeaderValue) {
    (header::RETRY_AFTER, HeaderValue::from_static("5"))
}

/// What still comes of the body is not read.
pub(super) fn when_unread() -> (HeaderName, HeaderValue) {
    (header::CONNECTION, HeaderValue::from_static("close"))
}
