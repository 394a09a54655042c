//! Open-time content (SPEC §8): `GET /live/TOKEN/BLOCK.png` is a picture for mails, `GET /live/TOKEN/BLOCK` a piece of HTML for pages; BLOCK is
//! `stock`, `price` or `countdown`, and `?sku=` names another product of the mail than its most expensive. In: tokens that we have
//! sealed. Out: what is so as of the newest closed tick, which is in the head `X-Beckon-As-Of`. A token that is not ours gets a 404;
//! whoever wants a picture gets one all the same, of nothing, never a broken one.
//!
//! However many open a mail within a tick, what they see is made once.

mod picture;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use beckon_dataflows::model::Tick;
use serde::Deserialize;

use super::PIXEL;
use crate::decision::{DecisionId, Moment};
use crate::tracking::{Does, NoToken, Seal, Token};

/// The most answers that are kept of one tick.
const KEPT_MAX: usize = 4_096;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// Which block.
    pub block: String,
    /// Of which product; the mail's most expensive one, where none is named.
    pub sku: Option<String>,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The closed tick that it is of.
    pub as_of: Tick,
    /// This.
    pub text: String,
    /// A price that is no more, struck out.
    pub struck: Option<String>,
}

/// Whoever knows what is so now.
pub trait Live: Send + Sync {
    /// The newest closed tick.
    fn as_of(&self) -> Tick;
    /// What a block of the token's mail says; none where it can say nothing. It may wait for a disk.
    fn show(&self, token: &Token, asked: &Asked) -> Option<Shown>;
}

/// What opens tokens, and whoever knows.
pub struct LiveApi {
    seal: Seal,
    live: Arc<dyn Live>,
    kept: Mutex<Kept>,
}

/// What was answered at a tick.
#[derive(Default)]
struct Kept {
    as_of: Tick,
    answers: HashMap<Key, Option<Answer>>,
}

type Key = (DecisionId, Asked, Form);

/// As what it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    Html,
    Picture,
}

#[derive(Clone)]
struct Answer {
    as_of: Tick,
    body: Arc<[u8]>,
}

impl LiveApi {
    /// Shows what `live` knows to who has a token of this seal.
    pub fn new(seal: Seal, live: Arc<dyn Live>) -> LiveApi {
        LiveApi { seal, live, kept: Mutex::default() }
    }

    /// What was answered at this tick already, or what is answered now.
    fn answer(&self, token: &Token, asked: Asked, form: Form) -> Option<Answer> {
        let (as_of, key) = (self.live.as_of(), (token.decision, asked, form));
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = {
            let kept = lock();
            kept.answers.get(&key).filter(|_| kept.as_of == as_of).cloned()
        };
        known.unwrap_or_else(|| {
            let answer = self.live.show(token, &key.1).map(|shown| Answer::of(&shown, form));
            let mut kept = lock();
            if kept.as_of != as_of || kept.answers.len() >= KEPT_MAX {
                *kept = Kept { as_of, answers: HashMap::new() };
            }
            kept.answers.insert(key, answer.clone());
            answer
        })
    }
}

impl Answer {
    fn of(shown: &Shown, form: Form) -> Answer {
        let body = match form {
            Form::Html => html(shown).into_bytes(),
            Form::Picture => picture::draw(&shown.text, shown.struck.as_deref()),
        };
        Answer { as_of: shown.as_of, body: body.into() }
    }
}

fn html(shown: &Shown) -> String {
    let escaped = |text: &str| handlebars::html_escape(text);
    let struck = shown.struck.as_deref().map(|struck| format!("<s>{}</s> ", escaped(struck))).unwrap_or_default();
    format!("<span data-as-of=\"{}\">{struck}{}</span>\n", Moment(shown.as_of), escaped(&shown.text))
}

/// The routes.
pub fn routes(api: LiveApi) -> Router {
    Router::new().route("/live/{token}/{block}", get(show)).with_state(Arc::new(api))
}

#[derive(Deserialize)]
struct Which {
    sku: Option<String>,
}

async fn show(
    State(api): State<Arc<LiveApi>>,
    Path((text, block)): Path<(String, String)>,
    Query(Which { sku }): Query<Which>,
) -> Response {
    let (block, form) = match block.strip_suffix(".png") {
        Some(block) => (block.to_owned(), Form::Picture),
        None => (block, Form::Html),
    };
    let token = api.seal.open(&text).and_then(|token| if token.does == Does::Live { Ok(token) } else { Err(NoToken) });
    let answer = match token {
        Ok(token) => {
            let asked = Asked { block, sku };
            tokio::task::spawn_blocking(move || api.answer(&token, asked, form)).await.ok().flatten()
        }
        Err(NoToken) => None,
    };
    let kind = if form == Form::Html { "text/html; charset=utf-8" } else { "image/png" };
    match (answer, form) {
        (Some(Answer { as_of, body }), _) => {
            let as_of = (HeaderName::from_static("x-beckon-as-of"), Moment(as_of).to_string());
            ([(header::CONTENT_TYPE, kind.to_owned()), as_of], body.to_vec()).into_response()
        }
        (None, Form::Picture) => (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "image/gif")], PIXEL).into_response(),
        (None, Form::Html) => StatusCode::NOT_FOUND.into_response(),
    }
}
