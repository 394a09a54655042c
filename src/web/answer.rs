//! What Beckon answers to who may read (SPEC §8): `GET /v1/kpis`, `/v1/customers/ID`, `/v1/triggers` and `/v1/decisions/ID`. In: requests
//! with the token. Out: JSON, each with the tick it is of. Without the token, or with another, a 401 that says no more.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::decision::DecisionId;
use crate::mails::Mail;
use crate::secret::Secret;

/// The most episodes of one page.
const PAGE_MAX: usize = 1_000;

/// The episodes of one page, unless asked otherwise.
const PAGE: usize = 100;

/// Whoever knows. What it takes to answer may wait for a disk.
pub trait Source: Send + Sync {
    /// The KPIs as of the newest closed tick.
    fn kpis(&self) -> Told;
    /// A customer.
    fn customer(&self, id: &str) -> Told;
    /// A page of the trigger set.
    fn triggers(&self, asked: &TriggersAsked) -> Told;
    /// A decision.
    fn decision(&self, id: &str) -> Told;
    /// What flows; nothing of any person.
    fn flow(&self) -> Told;
    /// The mail of a decision as it was sent, where it is kept.
    fn mail(&self, id: DecisionId) -> anyhow::Result<Option<Mail>>;
}

/// What an answer comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// This.
    Json(String),
    /// There is nothing of that name.
    NotThere,
    /// No tick is closed and decided at the moment: the log is being read up to now.
    NotNow,
    /// It could not be read; the log says why.
    Failed,
}

/// What is asked of the trigger set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggersAsked {
    /// Of this campaign alone.
    pub campaign: Option<String>,
    /// After the page that ended here.
    pub after: Option<String>,
    /// How many at most.
    pub limit: usize,
}

/// What is answered, and to whom.
pub struct Api {
    /// What a request must bear, as `Authorization: Bearer TOKEN`.
    pub token: Secret,
    /// Whether figures in which nobody is named are told without it: what flows, and the KPIs.
    pub is_open: bool,
    /// Whoever knows.
    pub source: Arc<dyn Source>,
}

type Shared = State<Arc<Api>>;

/// The routes.
pub fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/kpis", get(kpis))
        .route("/v1/customers/{id}", get(customer))
        .route("/v1/triggers", get(triggers))
        .route("/v1/decisions/{id}", get(decision))
        .with_state(api)
}

async fn kpis(State(api): Shared, headers: HeaderMap) -> Response {
    if api.lets_look(&headers) { api.ask(|source| source.kpis()).await } else { refused() }
}

async fn customer(State(api): Shared, headers: HeaderMap, Path(id): Path<String>) -> Response {
    api.tell(&headers, move |source| source.customer(&id)).await
}

#[derive(Deserialize)]
struct Page {
    campaign: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

async fn triggers(State(api): Shared, headers: HeaderMap, Query(page): Query<Page>) -> Response {
    let Page { campaign, after, limit } = page;
    let asked = TriggersAsked { campaign, after, limit: limit.unwrap_or(PAGE).clamp(1, PAGE_MAX) };
    api.tell(&headers, move |source| source.triggers(&asked)).await
}

async fn decision(State(api): Shared, headers: HeaderMap, Path(id): Path<String>) -> Response {
    api.tell(&headers, move |source| source.decision(&id)).await
}

impl Api {
    /// Answers who has the token, on a thread that may wait.
    async fn tell(&self, headers: &HeaderMap, ask: impl FnOnce(&dyn Source) -> Told + Send + 'static) -> Response {
        if !self.lets_in(headers) {
            return refused();
        }
        self.ask(ask).await
    }

    /// Answers whoever asks.
    async fn ask(&self, ask: impl FnOnce(&dyn Source) -> Told + Send + 'static) -> Response {
        let source = self.source.clone();
        let told = tokio::task::spawn_blocking(move || ask(&*source)).await;
        told.unwrap_or(Told::Failed).into_response()
    }

    /// Whether figures are told to the request.
    pub(super) fn lets_look(&self, headers: &HeaderMap) -> bool {
        self.is_open || self.lets_in(headers)
    }

    /// Whether the request bears the token.
    pub(super) fn lets_in(&self, headers: &HeaderMap) -> bool {
        const SCHEME: &[u8] = b"bearer ";
        let Some((scheme, token)) =
            headers.get(header::AUTHORIZATION).and_then(|borne| borne.as_bytes().split_at_checked(SCHEME.len()))
        else {
            return false;
        };
        scheme.eq_ignore_ascii_case(SCHEME) && self.token.is(token)
    }
}

/// Says no more than that.
pub(super) fn refused() -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response()
}

impl IntoResponse for Told {
    fn into_response(self) -> Response {
        const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
        let fault = |status, error: &str| (status, JSON, format!(r#"{{"error":"{error}"}}"#)).into_response();
        match self {
            Told::Json(text) => (JSON, text).into_response(),
            Told::NotThere => fault(StatusCode::NOT_FOUND, "not_found"),
            Told::NotNow => {
                let later = [(header::RETRY_AFTER, "2")];
                (later, fault(StatusCode::SERVICE_UNAVAILABLE, "catching_up")).into_response()
            }
            Told::Failed => fault(StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        }
    }
}
