//! The web around the engine (SPEC §8). In: requests of browsers and mail programs. Out: records in Kafka, and answers. `collect` takes in
//! what shops and their pages tell; `track` has the links of mails, `choices` which of them a recipient wants, `webhooks` what ESPs say of them, and `engagement` what both tell; `live`
//! has what mails show when they are opened; `publish` brings records to the broker; `vitals` tells how it all does, and `broker` whether that
//! can be reached; `body` and `queue` bound what is read, and what waits; `answer` tells who may read, `letters` of what could not be read;
//! `dashboard` shows all of that; `serve` has the connections. Nothing here decides anything.

pub mod answer;
mod body;
pub mod broker;
pub mod choices;
pub mod collect;
pub mod dashboard;
pub mod engagement;
mod head;
pub mod letters;
pub mod live;
mod machine;
mod meanings;
mod page;
pub mod publish;
mod queue;
mod serve;
pub mod track;
pub mod vitals;
pub mod webhooks;

use std::net::SocketAddr;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;

pub use queue::Queue;
pub use serve::{Limits, serve, serve_within};

/// A transparent GIF of one pixel.
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

/// What every answer says: nothing is guessed, framed, kept or told on to where a link leads, and no page runs a script.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("x-robots-tag"), "noindex"),
];

/// Everything that is answered: `parts`, and whether the server lives.
pub fn routes(parts: Router) -> Router {
    let probes = Router::new().route("/healthz", get(|| async { "ok\n" }));
    Router::new().merge(probes).merge(parts).layer(map_response(with_headers))
}

async fn with_headers(mut answer: Response) -> Response {
    for (name, value) in HEADERS {
        answer.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

/// Listens on `address`.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}
