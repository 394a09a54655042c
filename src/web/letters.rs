//! Dead letters over HTTP: `GET /v1/letters`, `GET /v1/letters/ID` and `POST /v1/letters/ID/replay`, whose body is the record as it should
//! have been; an empty one says it again as it was. In: requests with the token. Out: JSON. Without the token a 401 that says no more.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use super::answer::{Api, Told, refused};

/// The largest record (SPEC §1), and a little more, so that it is the decoder that says so.
const BODY_BYTES_MAX: usize = (1 << 20) + 1024;

/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// What saying a letter again comes to, in a while.
pub type Said<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Replayed>> + Send + 'a>>;

/// Whoever has the letters.
pub trait Letters: Send + Sync {
    /// The newest, as JSON.
    fn list(&self) -> anyhow::Result<String>;
    /// One, whole, as JSON.
    fn one(&self, id: &str) -> anyhow::Result<Option<String>>;
    /// Says one again, as it was or as it is corrected; resolves once the broker has it.
    fn replay(&self, id: String, corrected: Option<String>) -> Said<'_>;
}

/// What saying a letter again came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The broker has it.
    Done,
    /// There is no such letter.
    NotThere,
    /// It was said again before.
    Already,
    /// It is no record, but a delivery that was never answered.
    NoRecord,
    /// The decoder would refuse it again, for this reason.
    StillBad(String),
}

/// Who may see them, and whoever has them.
pub struct LettersApi {
    /// Knows the token.
    pub api: Arc<Api>,
    /// The letters.
    pub letters: Arc<dyn Letters>,
}

type Shared = State<Arc<LettersApi>>;

/// The routes.
pub fn routes(api: LettersApi) -> Router {
    Router::new()
        .route("/v1/letters", get(list))
        .route("/v1/letters/{id}", get(one))
        .route("/v1/letters/{id}/replay", post(replay))
        .with_state(Arc::new(api))
}

async fn list(State(desk): Shared, headers: HeaderMap) -> Response {
    desk.look(&headers, |letters| letters.list().map(Some)).await
}

async fn one(State(desk): Shared, headers: HeaderMap, Path(id): Path<String>) -> Response {
    desk.look(&headers, move |letters| letters.one(&id)).await
}

async fn replay(State(desk): Shared, Path(id): Path<String>, request: Request) -> Response {
    // Who has no token is not even read.
    if !desk.api.lets_in(request.headers()) {
        return refused();
    }
    let body = tokio::time::timeout(BODY_WITHIN, to_bytes(request.into_body(), BODY_BYTES_MAX)).await;
    let body = match body {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return said(StatusCode::PAYLOAD_TOO_LARGE, "too_large", None),
        Err(_) => return said(StatusCode::REQUEST_TIMEOUT, "slow", None),
    };
    let Ok(corrected) = String::from_utf8(body.to_vec()) else {
        return said(StatusCode::UNPROCESSABLE_ENTITY, "still_bad", Some("the record is not UTF-8"));
    };
    let corrected = Some(corrected).filter(|record| !record.trim().is_empty());
    match desk.letters.replay(id, corrected).await {
        Ok(Replayed::Done) => (StatusCode::OK, axum::Json(json!({ "success": true }))).into_response(),
        Ok(Replayed::NotThere) => Told::NotThere.into_response(),
        Ok(Replayed::Already) => said(StatusCode::CONFLICT, "already", Some("it was said again before")),
        Ok(Replayed::NoRecord) => said(StatusCode::CONFLICT, "no_record", Some("a delivery is not said again")),
        Ok(Replayed::StillBad(reason)) => said(StatusCode::UNPROCESSABLE_ENTITY, "still_bad", Some(&reason)),
        Err(fault) => {
            tracing::error!("a dead letter was not said again: {fault:#}");
            said(StatusCode::SERVICE_UNAVAILABLE, "not_written", Some("the broker has not acknowledged it; try again"))
        }
    }
}

fn said(status: StatusCode, error: &str, reason: Option<&str>) -> Response {
    (status, axum::Json(json!({ "error": error, "reason": reason }))).into_response()
}

impl LettersApi {
    async fn look(
        &self,
        headers: &HeaderMap,
        look: impl FnOnce(&dyn Letters) -> anyhow::Result<Option<String>> + Send + 'static,
    ) -> Response {
        if !self.api.lets_in(headers) {
            return refused();
        }
        let letters = self.letters.clone();
        let found = tokio::task::spawn_blocking(move || look(&*letters)).await.map_err(anyhow::Error::from);
        match found.flatten() {
            Ok(Some(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Ok(None) => Told::NotThere.into_response(),
            Err(fault) => {
                tracing::error!("dead letters were not read: {fault:#}");
                Told::Failed.into_response()
            }
        }
    }
}
