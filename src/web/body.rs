//! The body of a request. In: the request, whose body may decompress as it is read. Out: its bytes, at most as many as a body may have,
//! and the room they take. Fails as soon as it is clear that it is too large or too slow: of a bomb no more than that is decompressed.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;

use super::queue::{Full, Place, Queue};

/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Why there is no whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoBody {
    /// It is larger than a body may be.
    TooLarge,
    /// It broke off, or is not compressed as it says.
    Broken,
    /// It did not come in time.
    Slow,
    /// There is no room for it now.
    Full,
}

impl From<Full> for NoBody {
    fn from(_: Full) -> NoBody {
        NoBody::Full
    }
}

/// Reads the body, of at most `bytes_max`.
pub(super) async fn read(request: Request, bytes_max: usize, queue: &Queue) -> Result<(Vec<u8>, Place), NoBody> {
    if declared_too_large(request.headers(), bytes_max) {
        return Err(NoBody::TooLarge);
    }
    let reading = tokio::time::timeout(BODY_WITHIN, gather(request.into_body(), bytes_max, queue));
    reading.await.map_err(|_| NoBody::Slow)?
}

/// Takes room for what has come, and no more: who sends slowly takes little from the others.
async fn gather(body: Body, bytes_max: usize, queue: &Queue) -> Result<(Vec<u8>, Place), NoBody> {
    let (mut bytes, mut place) = (Vec::new(), queue.enter()?);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| NoBody::Broken)?;
        if bytes.len() + chunk.len() > bytes_max {
            return Err(NoBody::TooLarge);
        }
        place.grow(queue, chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, place))
}

/// Whether the head says so already. The layer that decompresses has taken away the length of what is compressed.
fn declared_too_large(headers: &HeaderMap, bytes_max: usize) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    // A number of more digits than fit is no smaller.
    length.is_some_and(|length| length.parse().map_or(true, |length: usize| length > bytes_max))
}
