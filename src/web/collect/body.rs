//! The body of a request. In: the request, whose body decompresses as it is read. Out: its bytes, at most as many as a body may have, and
//! the room they take. Fails as soon as it is clear that it is too large or too slow: of a bomb no more than that is decompressed.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;

use super::answer::Refusal;
use super::message::BODY_BYTES_MAX;
use super::queue::{Place, Queue};

/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Reads the body.
pub(super) async fn read(request: Request, queue: &Queue) -> Result<(Vec<u8>, Place), Refusal> {
    if declared_too_large(request.headers()) {
        return Err(Refusal::TooLarge);
    }
    let reading = tokio::time::timeout(BODY_WITHIN, gather(request.into_body(), queue));
    reading.await.map_err(|_| Refusal::Slow)?
}

/// Takes room for what has come, and no more: who sends slowly takes little from the others.
async fn gather(body: Body, queue: &Queue) -> Result<(Vec<u8>, Place), Refusal> {
    let (mut bytes, mut place) = (Vec::new(), queue.enter()?);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::Broken)?;
        if bytes.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        place.grow(queue, chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, place))
}

/// Whether the head says so already. The layer that decompresses has taken away the length of what is compressed.
fn declared_too_large(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    // A number of more digits than fit is no smaller.
    length.is_some_and(|length| length.parse().map_or(true, |length: usize| length > BODY_BYTES_MAX))
}
