//! The body of a request. In: the request, whose body decompresses as it is read. Out: its bytes, at most as many as a body may have, and
//! the room they take. Fails as soon as it is clear that it is too large or too slow: of a bomb no more than that is decompressed.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;

use super::answer::Refusal;
use super::message::BODY_BYTES_MAX;
use super::queue::{Place, Queue};

/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Reads the body. [`axum::extract::DefaultBodyLimit`] has to be [`BODY_BYTES_MAX`].
pub(super) async fn read(request: Request, queue: &Queue) -> Result<(Bytes, Place), Refusal> {
    // One whose length is not told, or that is compressed, could become as long as any.
    let declared = declared(request.headers())?.unwrap_or(BODY_BYTES_MAX);
    if declared > BODY_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    let mut place = queue.enter(declared)?;
    let read = tokio::time::timeout(BODY_WITHIN, Bytes::from_request(request, &()));
    let bytes = read.await.map_err(|_| Refusal::Slow)?.map_err(|fault| match fault.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge,
        _ => Refusal::Broken,
    })?;
    place.shrink_to(bytes.len());
    Ok((bytes, place))
}

/// The body's length as its head tells it; the layer that decompresses has taken that of a compressed one away.
fn declared(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    // A number of more digits than fit is no smaller.
    length.to_str().map_err(|_| Refusal::Broken).map(|text| Some(text.parse().unwrap_or(usize::MAX)))
}
