//! `GET /p.gif`: for pages and mails without JavaScript. In: a message as a query: `writeKey`, `type` (`page` unless set, or `track` where
//! there is an `event`), the members of a message, and all else its properties. Out: the same as of a message that is posted, and
//! always a picture, so that no page shows a broken one; the status says what became of it.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::value::to_raw_value;
use serde_json::{Map, Value};

use super::answer::Refusal;
use super::message::Said;
use super::script::SHARED;
use super::{Collector, Shared};
use crate::web::PIXEL;

/// Who somebody is who has not said so, for a year. `beckon.js` keeps the same name on the shop's own host.
const COOKIE: &str = "beckon_anonymous_id";

/// What of a query is a member of the message; the rest are properties.
const MEMBERS: [&str; 7] = ["type", "event", "name", "userId", "anonymousId", "messageId", "timestamp"];

pub(super) async fn pixel(
    State(collector): Shared,
    headers: HeaderMap,
    query: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else { return picture(StatusCode::BAD_REQUEST, None) };
    let (mut message, write_key) = message(query);
    let visitor = (!message.contains_key("userId") && !message.contains_key("anonymousId"))
        .then(|| cookie(&headers).unwrap_or_else(|| format!("{:032x}", rand::random::<u128>())));
    if let Some(visitor) = &visitor {
        message.insert("anonymousId".to_owned(), visitor.as_str().into());
    }
    match take(&collector, &message, &write_key).await {
        Ok(()) => picture(StatusCode::OK, visitor),
        // A picture that wants a password would make a browser ask for one.
        Err(Refusal::NoKey) => picture(StatusCode::FORBIDDEN, None),
        Err(refusal) => picture(refusal.status(), None),
    }
}

async fn take(collector: &Arc<Collector>, message: &Map<String, Value>, write_key: &str) -> Result<(), Refusal> {
    let key = collector.keys.of(write_key.as_bytes())?;
    let message = to_raw_value(message).map_err(|_| Refusal::Broken)?;
    let mut place = collector.queue.enter()?;
    place.grow(&collector.queue, message.get().len())?;
    let said = Said { write_key: None, sent_at: None, messages: vec![&message] };
    collector.write(key, &said, None).await.map(drop)
}

/// The message that a query is, and the key that it names. Of one name the last counts.
fn message(query: Vec<(String, String)>) -> (Map<String, Value>, String) {
    let (mut message, mut properties, mut write_key) = (Map::new(), Map::new(), String::new());
    for (name, value) in query {
        match name.as_str() {
            "writeKey" => write_key = value,
            name if MEMBERS.contains(&name) => drop(message.insert(name.to_owned(), value.into())),
            // The one property that has to be a number.
            "quantity" => drop(properties.insert(name, value.parse().map_or(value.into(), |units: u32| units.into()))),
            _ => drop(properties.insert(name, value.into())),
        }
    }
    let kind = if message.contains_key("event") { "track" } else { "page" };
    message.entry("type").or_insert(kind.into());
    message.insert("properties".to_owned(), properties.into());
    (message, write_key)
}

/// Who it was the last time.
fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let value = pairs.find_map(|(name, value)| (name == COOKIE).then_some(value))?;
    // What is set again must be able to stand in a head.
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (!value.is_empty() && value.len() <= 64 && value.chars().all(fits)).then(|| value.to_owned())
}

fn picture(status: StatusCode, visitor: Option<String>) -> Response {
    let head = [(header::CONTENT_TYPE, "image/gif"), SHARED];
    let mut answer = (status, head, PIXEL).into_response();
    let cookie = visitor.map(|visitor| format!("{COOKIE}={visitor}; Max-Age=31536000; Path=/; SameSite=Lax"));
    if let Some(cookie) = cookie.and_then(|cookie| cookie.parse().ok()) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}
