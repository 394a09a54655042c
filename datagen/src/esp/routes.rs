//! The simulator's HTTP. In: requests as an ESP's API has them (`dialect`). Out: answers, some of them faults. What is no message is
//! refused as that ESP does.
//!
//! | path | for |
//! |---|---|
//! | `POST /v3/mail/send` | SendGrid v3 |
//! | `POST /email` | Postmark |
//! | `POST /v3/DOMAIN/messages` | Mailgun v3 |
//! | `POST /v2/email/outbound-emails` | Amazon SES v2 |
//! | `POST /emails` | Resend |
//! | `POST /send` | any JSON object |
//! | `GET /stats` | the counts |
//! | `GET /messages?limit=N` | the latest messages taken, newest first |

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use crate::esp::Shared;
use crate::esp::connection::Cut;
use crate::esp::dialect::Dialect;
use crate::esp::inbox::{Request, Totals};

/// SendGrid's own limit on a mail, 30 MB; no other ESP's is higher but Amazon's.
const BODY_BYTES_MAX: usize = 30_000_000;

/// How many messages `GET /messages` gives without a limit.
const MESSAGES_DEFAULT: usize = 20;

/// All routes.
pub fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for dialect in Dialect::ALL {
        let handler = move |state, cut, headers, body| message(dialect, state, cut, headers, body);
        router = router.route(dialect.path(), post(handler));
    }
    router
        .route("/stats", get(stats))
        .route("/messages", get(messages))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

async fn message(
    dialect: Dialect,
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (body, body_key) = match dialect.read(&body) {
        Ok(read) => read,
        Err(fault) => {
            shared.inbox().receive_malformed();
            return dialect.malformed(&fault);
        }
    };
    let header_key = headers.get("idempotency-key").map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
    let request = Request { path: dialect.path(), header_key, body_key, body };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let (answer, left) = {
        let mut inbox = shared.inbox();
        (inbox.receive(request, Instant::now(), now_ms), inbox.allowance())
    };
    if answer.hangs() {
        shared.hold().await;
        cut.cut();
    } else {
        tokio::time::sleep(shared.config.delay).await;
    }
    let mut response = dialect.answer(&answer, shared.config.retry_after_s);
    if let Some((limit, left)) = left {
        dialect.tell_rate(response.headers_mut(), limit, left, now_ms);
    }
    response
}

async fn stats(State(shared): State<Arc<Shared>>) -> Json<Totals> {
    Json(shared.inbox().totals())
}

async fn messages(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    match limit(uri.query().unwrap_or_default()) {
        Ok(limit) => Json(shared.inbox().latest(limit)).into_response(),
        Err(message) => (StatusCode::BAD_REQUEST, Json(json!({ "message": message }))).into_response(),
    }
}

/// The `limit` of a query such as `limit=5`.
fn limit(query: &str) -> Result<usize, String> {
    match query.split('&').find_map(|pair| pair.strip_prefix("limit=")) {
        None => Ok(MESSAGES_DEFAULT),
        Some(text) => text.parse().map_err(|_| format!("limit must be a whole number, not '{text}'")),
    }
}
