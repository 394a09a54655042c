//! The links of mails (SPEC §8): `/o/TOKEN.gif` counts an open, `/c/TOKEN` a click and leads on, `/u/TOKEN` unsubscribes. In: requests
//! with tokens that we have sealed. Out: `engagement` records. A token that is not ours gets a 404 and leads nowhere.
//!
//! A recipient never waits for the broker to see a picture or follow a link: those are told it beside the answer. An unsubscribe is
//! answered only once it is acknowledged, so that a mail program tries again what was lost (RFC 8058).

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::PIXEL;
use super::engagement::{Engagement, Kind};
use super::machine::is_machine;
use super::page;
use super::publish::{NotAcknowledged, Publish};
use crate::tracking::{Does, NoToken, Seal, Token};

/// What the tracker needs.
pub struct Tracker {
    /// Opens tokens.
    pub seal: Seal,
    /// Where `engagement` records go.
    pub publish: Arc<dyn Publish>,
    /// Epoch ms.
    pub now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
}

type Shared = State<Arc<Tracker>>;

/// The tracker's routes.
pub fn routes(tracker: Tracker) -> Router {
    Router::new()
        .route("/o/{token}", get(opened))
        .route("/c/{token}", get(clicked))
        .route("/u/{token}", get(ask).post(unsubscribed))
        .with_state(Arc::new(tracker))
}

async fn opened(State(tracker): Shared, Path(file): Path<String>, method: Method, headers: HeaderMap) -> Response {
    // Whoever asks gets a picture, never a broken one.
    let token = file.strip_suffix(".gif").ok_or(NoToken).and_then(|text| tracker.seal.open(text));
    if let Ok(token @ Token { does: Does::Open, .. }) = token {
        tracker.tell(token, is_machine(&method, &headers));
    }
    ([(header::CONTENT_TYPE, "image/gif")], PIXEL).into_response()
}

async fn clicked(State(tracker): Shared, Path(text): Path<String>, method: Method, headers: HeaderMap) -> Response {
    match tracker.seal.open(&text) {
        Ok(token @ Token { does: Does::Click(_), .. }) => {
            let location = token.target().map(str::to_owned).unwrap_or_default();
            tracker.tell(token, is_machine(&method, &headers));
            (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
        }
        _ => page::no_link(),
    }
}

async fn ask(State(tracker): Shared, Path(text): Path<String>) -> Response {
    match tracker.seal.open(&text) {
        Ok(Token { does: Does::Unsubscribe, .. }) => page::ask_to_unsubscribe(),
        _ => page::no_link(),
    }
}

async fn unsubscribed(State(tracker): Shared, Path(text): Path<String>) -> Response {
    let Ok(token @ Token { does: Does::Unsubscribe, .. }) = tracker.seal.open(&text) else { return page::no_link() };
    match tracker.publish(token, false).await {
        Ok(()) => page::unsubscribed(),
        Err(error) => {
            tracing::error!(%error, "an unsubscribe was not taken; the recipient is asked to try again");
            page::try_again()
        }
    }
}

impl Tracker {
    /// Publishes what a token says, and lets nobody wait for it.
    fn tell(self: &Arc<Tracker>, token: Token, is_machine: bool) {
        let tracker = self.clone();
        tokio::spawn(async move {
            if let Err(error) = tracker.publish(token, is_machine).await {
                metrics::counter!("beckon_engagement_lost_total").increment(1);
                tracing::warn!(%error, "an open or a click is not counted");
            }
        });
    }

    async fn publish(&self, token: Token, machine: bool) -> Result<(), NotAcknowledged> {
        let record = self.engagement(token, machine);
        let json = serde_json::to_vec(&record).map_err(|error| NotAcknowledged(error.to_string()))?;
        metrics::counter!("beckon_engagement_total", "machine" => if machine { "yes" } else { "no" }).increment(1);
        self.publish.publish(&record.event_id, &json).await
    }

    fn engagement(&self, token: Token, machine: bool) -> Engagement {
        let Token { decision, customer, does } = token;
        let (kind, url) = match does {
            Does::Open => (Kind::Opened, None),
            Does::Click(url) => (Kind::Clicked, Some(url)),
            // What is shown when a mail is opened is no link of the tracker's; if it were, it would tell of that.
            Does::Live => (Kind::Opened, None),
            Does::Unsubscribe => (Kind::Unsubscribed, None),
        };
        Engagement {
            // Each is one of its own: a second unsubscribe may come after consent was given again.
            event_id: format!("{:032x}", rand::random::<u128>()),
            r#type: kind,
            decision_id: decision,
            user_id: customer,
            occurred_at: (self.now_ms)(),
            url,
            machine,
        }
    }
}
