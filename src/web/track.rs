//! The links of mails (SPEC §8): `/o/TOKEN.gif` counts an open, `/c/TOKEN` a click and leads on, `/u/TOKEN` unsubscribes, or asks which
//! mails are wanted. In: requests with tokens that we have sealed. Out: `engagement` records. A token that is not ours gets a 404 and
//! leads nowhere.
//!
//! A recipient never waits for the broker to see a picture or follow a link: those are told it beside the answer. An unsubscribe or a
//! choice is answered only once it is acknowledged, so that a mail program tries again what was lost (RFC 8058).
//!
//! Who has the link may choose, without a password: the token in the path is the proof, and no other site can know it, so a form needs no
//! other. Whatever is posted unsubscribes, as RFC 8058 has it, but the page's own form.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::choices::{Choices, Chosen, Form};
use super::engagement::{Engagement, Kind};
use super::machine::is_machine;
use super::page;
use super::publish::{NotAcknowledged, Publish};
use super::{PIXEL, Queue, body};
use crate::tracking::{Does, NoToken, Seal, Token};

/// The longest form, in bytes: some hundred titles.
const FORM_BYTES_MAX: usize = 256 << 10;

/// The room for forms that are not answered yet, in bytes.
const FORMS_BYTES_MAX: usize = 8 << 20;

/// How long what was just chosen is remembered: until the state has it, which it has when the next ticks are closed.
const CHOSEN_FOR: Duration = Duration::from_secs(120);

/// The most recipients of whom that is remembered.
const CHOSEN_MAX: u64 = 10_000;

/// What the tracker needs.
pub struct Tracker {
    seal: Seal,
    /// Where `engagement` records go.
    publish: Arc<dyn Publish>,
    /// Epoch ms.
    now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
    choices: Option<Arc<dyn Choices>>,
    /// What was acknowledged lately, and is perhaps not in the state yet.
    chosen: moka::future::Cache<String, Chosen>,
    forms: Queue,
}

impl Tracker {
    /// Opens tokens with `seal` and publishes to `engagement`. Without `choices` a recipient can do nothing but unsubscribe.
    pub fn new(
        seal: Seal,
        publish: Arc<dyn Publish>,
        now_ms: impl Fn() -> u64 + Send + Sync + 'static,
        choices: Option<Arc<dyn Choices>>,
    ) -> Tracker {
        let chosen = moka::future::Cache::builder().max_capacity(CHOSEN_MAX).time_to_live(CHOSEN_FOR).build();
        Tracker { seal, publish, now_ms: Box::new(now_ms), choices, chosen, forms: Queue::new(FORMS_BYTES_MAX) }
    }
}

type Shared = State<Arc<Tracker>>;

/// The tracker's routes.
pub fn routes(tracker: Tracker) -> Router {
    Router::new()
        .route("/o/{token}", get(opened))
        .route("/c/{token}", get(clicked))
        .route("/u/{token}", get(ask).post(answered))
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
    let Ok(token @ Token { does: Does::Unsubscribe, .. }) = tracker.seal.open(&text) else { return page::no_link() };
    match tracker.known(&token.customer).await {
        Some((_, Chosen::Nothing)) => page::unsubscribed(),
        Some((choices, Chosen::AllBut(declined))) => page::ask_which(choices.offers(), &declined, false),
        None => page::ask_to_unsubscribe(),
    }
}

/// The page's form, or an unsubscribe: of a mail program, or of who wants nothing any more.
async fn answered(State(tracker): Shared, Path(text): Path<String>, request: Request) -> Response {
    let Ok(token @ Token { does: Does::Unsubscribe, .. }) = tracker.seal.open(&text) else { return page::no_link() };
    // Its place is kept until the answer.
    let (bytes, _place) = match body::read(request, FORM_BYTES_MAX, &tracker.forms).await {
        Ok(read) => read,
        Err(fault) => return page::not_read(fault),
    };
    match Form::of(&bytes) {
        None => tracker.unsubscribe(token).await,
        Some(form) => tracker.choose(token, &form).await,
    }
}

impl Tracker {
    /// What is known of a recipient, and by whom.
    async fn known(&self, customer: &str) -> Option<(Arc<dyn Choices>, Chosen)> {
        let choices = self.choices.clone().filter(|choices| !choices.offers().is_empty())?;
        if let Some(chosen) = self.chosen.get(customer).await {
            return Some((choices, chosen));
        }
        let (asked, customer) = (choices.clone(), customer.to_owned());
        let chosen = tokio::task::spawn_blocking(move || asked.of(&customer)).await.ok().flatten()?;
        Some((choices, chosen))
    }

    async fn unsubscribe(&self, token: Token) -> Response {
        let customer = token.customer.clone();
        match self.publish(self.engagement(token, false)).await {
            Ok(()) => {
                self.chosen.insert(customer, Chosen::Nothing).await;
                page::unsubscribed()
            }
            Err(error) => refused(&error),
        }
    }

    async fn choose(&self, token: Token, form: &Form) -> Response {
        let (choices, declined) = match self.known(&token.customer).await {
            Some((_, Chosen::Nothing)) => return page::unsubscribed(),
            Some((choices, Chosen::AllBut(declined))) => (choices, declined),
            None => return page::try_again(),
        };
        let declined = form.apply(choices.offers(), &declined);
        let customer = token.customer.clone();
        let told = self.engagement(token, false);
        let record = Engagement { r#type: Kind::Chosen, declined: Some(declined.clone()), ..told };
        match self.publish(record).await {
            Ok(()) => {
                self.chosen.insert(customer, Chosen::AllBut(declined.clone())).await;
                page::ask_which(choices.offers(), &declined, true)
            }
            Err(error) => refused(&error),
        }
    }

    /// Publishes what a token says, and lets nobody wait for it.
    fn tell(self: &Arc<Tracker>, token: Token, is_machine: bool) {
        let tracker = self.clone();
        tokio::spawn(async move {
            let record = tracker.engagement(token, is_machine);
            if let Err(error) = tracker.publish(record).await {
                metrics::counter!("beckon_engagement_lost_total").increment(1);
                tracing::warn!(%error, "an open or a click is not counted");
            }
        });
    }

    async fn publish(&self, record: Engagement) -> Result<(), NotAcknowledged> {
        let json = serde_json::to_vec(&record).map_err(|error| NotAcknowledged(error.to_string()))?;
        let machine = if record.machine { "yes" } else { "no" };
        metrics::counter!("beckon_engagement_total", "machine" => machine).increment(1);
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
            declined: None,
        }
    }
}

/// The broker did not take it: nothing was changed.
fn refused(error: &NotAcknowledged) -> Response {
    tracing::error!(%error, "an unsubscribe or a choice was not taken; the recipient is asked to try again");
    page::try_again()
}
