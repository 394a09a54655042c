//! The dashboard at `/` (SPEC §8). In: browsers. Out: its page, which is in the binary; what flows, as server-sent events; and mails, each
//! in a document of its own that can do nothing. All else it shows it asks of `answer` and `letters`, with the token that its user gives it.
//!
//! The page comes to whoever asks, and tells nothing. It runs no script but its own files, makes no request elsewhere, and puts nothing
//! that it shows into HTML: the browser test has script in every field.

mod flow;
mod mail;

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use include_dir::{Dir, include_dir};
use xxhash_rust::xxh3::xxh3_128;

use super::answer::Api;
pub use flow::{Feed, feed};

/// The page's files.
static PAGE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/web/dashboard/page");

/// What the page may do: run its own files, ask its own server, and show a mail that the server gives it.
const PAGE_MAY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-src 'self'; \
     form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
);

/// What no page of ours needs.
const NOTHING_ALLOWED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("permissions-policy"),
    HeaderValue::from_static("camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
);

/// The routes. What flows is as `feed` says.
pub fn routes(api: Arc<Api>, feed: Feed) -> Router {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { file("index.html", &headers) }))
        .route(
            "/dashboard/{file}",
            get(|Path(name): Path<String>, headers: HeaderMap| async move { file(&name, &headers) }),
        )
        .merge(flow::routes(api.clone(), feed))
        .merge(mail::routes(api))
}

/// A file of the page.
fn file(name: &str, headers: &HeaderMap) -> Response {
    let Some((file, kind)) = PAGE.get_file(name).zip(kind(name)) else { return StatusCode::NOT_FOUND.into_response() };
    let tag = format!("\"{:032x}\"", xxh3_128(file.contents()));
    let (allowed, nothing) = NOTHING_ALLOWED;
    let head = [
        (header::ETAG, HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))),
        // Asked for each time, and sent only when it is another.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, PAGE_MAY),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
        (allowed, nothing),
    ];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    (head, [(header::CONTENT_TYPE, kind)], file.contents()).into_response()
}

fn kind(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "html" => Some("text/html; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        "LICENSE" => Some("text/plain; charset=utf-8"),
        _ => None,
    }
}
