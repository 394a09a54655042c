//! What Beckon answers to who may read (SPEC §8): `GET /v1/kpis`. In: requests with the token. Out: JSON, each with the tick it is of. Without the
//! token, or with another, a 401 that says no more.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::secret::Secret;

/// What is answered, and to whom.
pub struct Api {
    /// What a request must bear, as `Authorization: Bearer TOKEN`.
    pub token: Secret,
    /// The KPIs as of the newest closed tick, as JSON.
    pub kpis: Box<dyn Fn() -> String + Send + Sync>,
}

/// The routes.
pub fn routes(api: Api) -> Router {
    Router::new().route("/v1/kpis", get(kpis)).with_state(Arc::new(api))
}

async fn kpis(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    if !api.lets_in(&headers) {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response();
    }
    ([(header::CONTENT_TYPE, "application/json")], (api.kpis)()).into_response()
}

impl Api {
    fn lets_in(&self, headers: &HeaderMap) -> bool {
        const SCHEME: &[u8] = b"bearer ";
        let Some((scheme, token)) =
            headers.get(header::AUTHORIZATION).and_then(|borne| borne.as_bytes().split_at_checked(SCHEME.len()))
        else {
            return false;
        };
        scheme.eq_ignore_ascii_case(SCHEME) && self.token.is(token)
    }
}
