//! The web around the engine (SPEC §8). In: requests of browsers and mail programs. Out: records in Kafka, and answers. `track` has the
//! links of mails; `answer` what is told to who may read; `engagement` is what they tell; `publish` brings it to the broker. Nothing here decides anything.

pub mod answer;
mod engagement;
mod machine;
mod page;
pub mod publish;
pub mod track;

use std::future::Future;
use std::net::SocketAddr;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;

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

/// Everything that is answered.
pub fn routes(track: Router) -> Router {
    let probes = Router::new().route("/healthz", get(|| async { "ok\n" }));
    Router::new().merge(probes).merge(track).layer(map_response(with_headers))
}

async fn with_headers(mut answer: Response) -> Response {
    for (name, value) in HEADERS {
        answer.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

/// Answers on `listen` until `shutdown` resolves, and says on which address as soon as it does.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, routes).with_graceful_shutdown(shutdown).await
}

/// Listens on `address`.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}
