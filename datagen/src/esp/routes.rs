//! The simulator's HTTP. In: requests as SendGrid's v3 API or a plain JSON endpoint has them. Out: answers, some of
//! them faults. What is no message is answered 400.
//!
//! | path | for |
//! |---|---|
//! | `POST /v3/mail/send` | SendGrid v3 |
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
use serde_json::{Value, json};

use crate::esp::Shared;
use crate::esp::connection::Cut;
use crate::esp::inbox::{Answer, Request, Totals};

/// SendGrid's own limit on a mail, 30 MB.
const BODY_BYTES_MAX: usize = 30_000_000;

/// How many messages `GET /messages` gives without a limit.
const MESSAGES_DEFAULT: usize = 20;

const SENDGRID: &str = "/v3/mail/send";
const PLAIN: &str = "/send";

/// All routes.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(SENDGRID, post(sendgrid))
        .route(PLAIN, post(plain))
        .route("/stats", get(stats))
        .route("/messages", get(messages))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

async fn sendgrid(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match read_sendgrid(&body) {
        Ok((body, body_key)) => {
            let request = Request { path: SENDGRID, header_key: header_key(&headers), body_key, body };
            receive(&shared, &cut, request).await
        }
        Err(fault) => malformed(&shared, fault),
    }
}

async fn plain(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match serde_json::from_slice::<Value>(&body) {
        Ok(body @ Value::Object(_)) => {
            let request = Request { path: PLAIN, header_key: header_key(&headers), body_key: None, body };
            receive(&shared, &cut, request).await
        }
        Ok(_) => malformed(&shared, MessageFault { field: None, message: "the body is no JSON object".into() }),
        Err(error) => {
            malformed(&shared, MessageFault { field: None, message: format!("the body is not JSON: {error}") })
        }
    }
}

async fn stats(State(shared): State<Arc<Shared>>) -> Json<Totals> {
    Json(shared.inbox().totals())
}

async fn messages(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    match limit(uri.query().unwrap_or_default()) {
        Ok(limit) => Json(shared.inbox().latest(limit)).into_response(),
        Err(message) => (StatusCode::BAD_REQUEST, errors(None, &message)).into_response(),
    }
}

/// The `limit` of a query such as `limit=5`.
fn limit(query: &str) -> Result<usize, String> {
    match query.split('&').find_map(|pair| pair.strip_prefix("limit=")) {
        None => Ok(MESSAGES_DEFAULT),
        Some(text) => text.parse().map_err(|_| format!("limit must be a whole number, not '{text}'")),
    }
}

fn header_key(headers: &HeaderMap) -> Option<String> {
    headers.get("idempotency-key").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Why a request is no message.
struct MessageFault {
    field: Option<&'static str>,
    message: String,
}

/// A SendGrid message and its `custom_args.decision_id`.
fn read_sendgrid(body: &[u8]) -> Result<(Value, Option<String>), MessageFault> {
    let fault = |field, message: &str| MessageFault { field, message: message.to_owned() };
    let body: Value = serde_json::from_slice(body).map_err(|error| fault(None, &format!("Bad Request: {error}")))?;
    let there = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let first = &body["personalizations"][0];
    if !there(&first["to"][0]["email"]) {
        return Err(fault(Some("personalizations.0.to.0.email"), "The to email is required."));
    }
    if !there(&body["from"]["email"]) {
        return Err(fault(Some("from.email"), "The from email is required."));
    }
    let has_template = there(&body["template_id"]);
    if !has_template && !there(&body["subject"]) && !there(&first["subject"]) {
        return Err(fault(Some("subject"), "The subject is required."));
    }
    if !has_template && !there(&body["content"][0]["value"]) {
        return Err(fault(Some("content"), "The content is required."));
    }
    let args = [&body["custom_args"], &first["custom_args"]];
    let key = args.iter().find_map(|args| args["decision_id"].as_str()).map(str::to_owned);
    Ok((body, key))
}

fn malformed(shared: &Shared, fault: MessageFault) -> Response {
    shared.inbox().receive_malformed();
    (StatusCode::BAD_REQUEST, errors(fault.field, &fault.message)).into_response()
}

/// An error as SendGrid writes it.
fn errors(field: Option<&str>, message: &str) -> Json<Value> {
    Json(json!({ "errors": [{ "message": message, "field": field, "help": null }] }))
}

async fn receive(shared: &Shared, cut: &Cut, request: Request) -> Response {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let is_plain = request.path == PLAIN;
    let answer = shared.inbox().receive(request, Instant::now(), now_ms);
    if let Answer::Accepted { hang: true, .. } = answer {
        shared.hold().await;
        cut.cut();
    } else {
        tokio::time::sleep(shared.config.delay).await;
    }
    respond(shared, answer, is_plain)
}

fn respond(shared: &Shared, answer: Answer, is_plain: bool) -> Response {
    let again = [("retry-after", shared.config.retry_after_s.to_string())];
    match answer {
        Answer::Accepted { message_id, .. } if is_plain => {
            (StatusCode::ACCEPTED, [("x-message-id", message_id.clone())], Json(json!({ "message_id": message_id })))
                .into_response()
        }
        Answer::Accepted { message_id, .. } => (StatusCode::ACCEPTED, [("x-message-id", message_id)]).into_response(),
        Answer::TooMany => (StatusCode::TOO_MANY_REQUESTS, again, errors(None, "too many requests")).into_response(),
        Answer::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, again, errors(None, "service unavailable")).into_response()
        }
        Answer::Failed => (StatusCode::INTERNAL_SERVER_ERROR, errors(None, "internal server error")).into_response(),
        Answer::Refused => (
            StatusCode::BAD_REQUEST,
            errors(Some("personalizations.0.to.0.email"), "Does not contain a valid address."),
        )
            .into_response(),
    }
}
