//! `GET /beckon.js`: what a shop's page loads. In: nothing. Out: `beckon.js`, as it is in the repository.

use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};

/// Pages of any host may load it, also those that let nothing in that does not say so.
pub(super) const SHARED: (HeaderName, &str) = (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin");

/// A browser asks for it again after an hour, and shows the old one meanwhile for a day.
const KEPT: &str = "public, max-age=3600, stale-while-revalidate=86400";

pub(super) async fn script() -> Response {
    let head = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, KEPT), SHARED];
    (head, include_str!("beckon.js")).into_response()
}
