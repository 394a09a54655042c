//! A mail as it was sent, for the dashboard: `GET /v1/decisions/ID/mail` gives it to who has the token, with the path of a page that shows
//! it, `/mail/PASS`. A frame sends no token, so the pass stands for it: sealed with a key of this process alone, of one decision, and for a
//! few minutes.
//!
//! The page is a mail's own HTML, whoever wrote that: it runs no script, loads nothing, leads nowhere and has no origin. So looking at
//! a mail here is counted as no open.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;
use tokio::time::{Duration, Instant};

use crate::decision::DecisionId;
use crate::web::answer::{Api, Told, refused};

/// How long a pass is good for.
const GOOD_FOR: Duration = Duration::from_secs(300);

/// What a mail's page may do: look like a mail.
const MAIL_MAY: HeaderValue = HeaderValue::from_static(
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; frame-ancestors 'self'; \
     base-uri 'none'",
);

/// Makes passes and knows its own.
struct Passes {
    key: hmac::Key,
    began: Instant,
}

struct Mails {
    api: Arc<Api>,
    passes: Passes,
}

type Shared = State<Arc<Mails>>;

pub(super) fn routes(api: Arc<Api>) -> Router {
    let passes = Passes { key: hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()), began: Instant::now() };
    Router::new()
        .route("/v1/decisions/{id}/mail", get(mail))
        .route("/mail/{pass}", get(page))
        .with_state(Arc::new(Mails { api, passes }))
}

async fn mail(State(mails): Shared, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if !mails.api.lets_in(&headers) {
        return refused();
    }
    let Ok(id) = id.parse() else { return Told::NotThere.into_response() };
    let page = format!("/mail/{}", mails.passes.issue(id));
    match mails.read(id).await {
        Ok(Some(mail)) => axum::Json(json!({ "mail": mail, "page": page })).into_response(),
        Ok(None) => Told::NotThere.into_response(),
        Err(failed) => failed.into_response(),
    }
}

async fn page(State(mails): Shared, Path(pass): Path<String>) -> Response {
    let Some(id) = mails.passes.open(&pass) else { return Told::NotThere.into_response() };
    let head = [
        (header::CONTENT_SECURITY_POLICY, MAIL_MAY),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN")),
    ];
    match mails.read(id).await {
        Ok(Some(mail)) => (head, Html(mail.html)).into_response(),
        Ok(None) => Told::NotThere.into_response(),
        Err(failed) => failed.into_response(),
    }
}

impl Mails {
    async fn read(&self, id: DecisionId) -> Result<Option<crate::mails::Mail>, Told> {
        let source = self.api.source.clone();
        let read = tokio::task::spawn_blocking(move || source.mail(id)).await;
        read.map_err(|_| Told::Failed)?.map_err(|fault| {
            tracing::error!(%id, "a mail that was kept was not read: {fault:#}");
            Told::Failed
        })
    }
}

impl Passes {
    /// The decision's id, when it ends in seconds since the process began, and a MAC of both.
    fn issue(&self, id: DecisionId) -> String {
        let until = (self.began.elapsed() + GOOD_FOR).as_secs().to_be_bytes();
        let said = [&id.0.to_be_bytes()[..], &until].concat();
        let mac = hmac::sign(&self.key, &said);
        BASE64_URL_SAFE_NO_PAD.encode([&said, mac.as_ref()].concat())
    }

    fn open(&self, pass: &str) -> Option<DecisionId> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(pass).ok()?;
        let (said, mac) = bytes.split_at_checked(24)?;
        hmac::verify(&self.key, said, mac).ok()?;
        let (id, until) = said.split_first_chunk()?;
        let until = u64::from_be_bytes(until.try_into().ok()?);
        (self.began.elapsed().as_secs() <= until).then(|| DecisionId(u128::from_be_bytes(*id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pass_is_of_one_decision_and_for_a_while() {
        let passes =
            |secret: u8| Passes { key: hmac::Key::new(hmac::HMAC_SHA256, &[secret; 32]), began: Instant::now() };
        let (own, other) = (passes(1), passes(2));
        let pass = own.issue(DecisionId(7));
        assert_eq!(own.open(&pass), Some(DecisionId(7)));
        assert_eq!(other.open(&pass), None);
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&pass).unwrap();
        for place in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[place] ^= 1;
            assert_eq!(own.open(&BASE64_URL_SAFE_NO_PAD.encode(forged)), None, "{place}");
            assert_eq!(own.open(&BASE64_URL_SAFE_NO_PAD.encode(&bytes[..place])), None, "{place}");
        }
        tokio::time::advance(GOOD_FOR + Duration::from_secs(2)).await;
        assert_eq!(own.open(&pass), None);
    }
}
