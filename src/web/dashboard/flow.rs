//! What flows, as server-sent events at `GET /v1/flow`: one a second. In: whoever knows. Out: the same event to everybody who looks, made
//! once, and not at all while nobody does. A viewer who is slow misses events, and keeps nobody waiting.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::MissedTickBehavior;

use crate::web::answer::{Api, Source, Told, refused};

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// How many may look at a time.
const VIEWERS_MAX: usize = 64;

/// What viewers are told.
#[derive(Clone)]
pub struct Feed(watch::Receiver<Arc<str>>);

/// What flows, told by the future as long as it is run: when it is dropped, no viewer is told any more, and their connections end.
pub fn feed(source: Arc<dyn Source>) -> (Feed, impl Future<Output = ()> + Send) {
    let (tell, told) = watch::channel(Arc::from(""));
    let telling = async move {
        let mut beat = tokio::time::interval(EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // One receiver is the feed's own, which those of viewers are copies of.
        while !tell.is_closed() {
            beat.tick().await;
            if tell.receiver_count() > 1 {
                let source = source.clone();
                let flow = tokio::task::spawn_blocking(move || source.flow()).await;
                if let Ok(Told::Json(flow)) = flow {
                    tell.send_replace(flow.into());
                }
            }
        }
    };
    (Feed(told), telling)
}

struct Viewing {
    api: Arc<Api>,
    feed: Feed,
    places: Arc<Semaphore>,
}

pub(super) fn routes(api: Arc<Api>, feed: Feed) -> Router {
    let viewing = Viewing { api, feed, places: Arc::new(Semaphore::new(VIEWERS_MAX)) };
    Router::new().route("/v1/flow", get(flow)).with_state(Arc::new(viewing))
}

async fn flow(State(viewing): State<Arc<Viewing>>, headers: HeaderMap) -> Response {
    if !viewing.api.lets_look(&headers) {
        return refused();
    }
    match viewing.places.clone().try_acquire_owned() {
        Ok(place) => Sse::new(events(viewing.feed.clone(), place)).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// The events of one viewer, whose place is theirs until they go.
fn events(Feed(mut told): Feed, place: OwnedSemaphorePermit) -> impl Stream<Item = Result<Event, Infallible>> {
    // What was told to those who looked before is old.
    told.mark_unchanged();
    stream::unfold((told, place), |(mut told, place)| async move {
        told.changed().await.ok()?;
        let flow = told.borrow_and_update().clone();
        Some((Ok(Event::default().event("flow").data(&*flow)), (told, place)))
    })
}
