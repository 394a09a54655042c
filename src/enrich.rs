//! Enrichment: what is fetched from elsewhere when a mail is rendered (SPEC §10, `enrich`). In: what a template can name of the
//! customer. Out: for each enrichment its JSON, or its fallback where there is none in time: never a failure, so that no mail
//! depends on a stranger. For the same reason an answer has the fallback's shape: what it lacks of that, it gets from there.
//!
//! An answer is used again for `cache`, and what many mails ask for at once is asked once. Within `timeout`, which is the whole wait,
//! a connection that was never made and an answer that says to come again are tried again. The host never comes from a
//! customer: what is put into a URL is percent-encoded, and redirects are not followed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use handlebars::Handlebars;
use moka::future::Cache;
use reqwest::{Client, StatusCode, Url};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

/// Answers that are kept of one enrichment.
const ANSWERS_MAX: u64 = 10_000;

/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Requests under way to one source at a time.
const REQUESTS_MAX: usize = 64;

/// How long it waits before it tries again, ms; doubles.
const AGAIN_MS: u64 = 20;

/// One enrichment, as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// `enrich.NAME` in templates.
    pub name: String,
    /// A Handlebars template of a URL.
    pub url: String,
    /// How long a mail waits for it, ms.
    pub timeout_ms: u64,
    /// How long an answer is used again for the same URL, ms; 0: not at all.
    pub cache_ms: u64,
    /// What there is without an answer, and what an answer must have: members of objects, and each as what it is here.
    pub fallback: Value,
}

/// An enrichment that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Its URL is no template.
    #[error("[enrich.{name}]: the URL's template does not parse: {reason}")]
    Url {
        /// Which.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The HTTP client cannot be made.
    #[error("cannot set up HTTP: {0}")]
    Client(#[from] reqwest::Error),
}

/// Why there is no answer; for the log.
#[derive(Clone, Debug, thiserror::Error)]
enum NoAnswer {
    #[error("{0}")]
    Url(String),
    #[error("no connection or no answer: {0}")]
    Network(String),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("no JSON: {0}")]
    Json(String),
    #[error("none within {0} ms")]
    Late(u64),
}

impl NoAnswer {
    /// Whether asking again can help.
    fn may_pass(&self) -> bool {
        match self {
            NoAnswer::Network(_) => true,
            NoAnswer::Status(status) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            _ => false,
        }
    }
}

/// Fetches.
pub struct Enricher {
    sources: Vec<Arc<Fetcher>>,
}

struct Fetcher {
    source: Source,
    client: Client,
    /// Has the URL's template, and percent-encodes what is put into it.
    urls: Handlebars<'static>,
    answers: Cache<String, Arc<Value>>,
    room: Semaphore,
}

impl Enricher {
    /// Sets up the sources. `client` must not follow redirects.
    pub fn new(sources: Vec<Source>, client: &Client) -> Result<Enricher, SetupError> {
        let fetcher = |source: Source| Fetcher::new(source, client.clone()).map(Arc::new);
        Ok(Enricher { sources: sources.into_iter().map(fetcher).collect::<Result<_, _>>()? })
    }

    /// Fetches those of the enrichments that `is_wanted`, side by side; `context` is what their URLs can name. Takes as long as the
    /// slowest, which is its `timeout` at most.
    pub async fn fetch(&self, context: &Value, is_wanted: impl Fn(&str) -> bool) -> Map<String, Value> {
        let wanted = self.sources.iter().filter(|fetcher| is_wanted(&fetcher.source.name));
        let fetched = wanted.map(|fetcher| async { (fetcher.source.name.clone(), fetcher.fetch(context).await) });
        futures_util::future::join_all(fetched).await.into_iter().collect()
    }
}

impl Fetcher {
    fn new(source: Source, client: Client) -> Result<Fetcher, SetupError> {
        let mut urls = Handlebars::new();
        urls.register_escape_fn(percent_encoded);
        let fault = |reason: String| SetupError::Url { name: source.name.clone(), reason };
        urls.register_template_string("url", &source.url).map_err(|error| fault(error.to_string()))?;
        let answers = Cache::builder().max_capacity(ANSWERS_MAX);
        let answers = answers.time_to_live(Duration::from_millis(source.cache_ms.max(1))).build();
        Ok(Fetcher { source, client, urls, answers, room: Semaphore::new(REQUESTS_MAX) })
    }

    /// The answer, or the fallback.
    async fn fetch(&self, context: &Value) -> Value {
        let Source { name, timeout_ms, fallback, .. } = &self.source;
        let began = Instant::now();
        let answer = tokio::time::timeout(Duration::from_millis(*timeout_ms), self.answer(context)).await;
        let answer = answer.unwrap_or(Err(NoAnswer::Late(*timeout_ms)));
        let label = if answer.is_ok() { "answer" } else { "fallback" };
        metrics::counter!("beckon_enrichments_total", "name" => name.clone(), "came_to" => label).increment(1);
        metrics::histogram!("beckon_enrichment_seconds", "name" => name.clone()).record(began.elapsed());
        match answer {
            Ok(value) => Value::clone(&value),
            Err(why) => {
                tracing::warn!(enrichment = name, %why, "the mail gets the fallback");
                fallback.clone()
            }
        }
    }

    /// One that is kept, or a new one; what others are asking for already is waited for.
    async fn answer(&self, context: &Value) -> Result<Arc<Value>, NoAnswer> {
        let url = self.urls.render("url", context).map_err(|error| NoAnswer::Url(error.to_string()))?;
        if self.source.cache_ms == 0 {
            return self.ask(&url).await;
        }
        self.answers.try_get_with_by_ref(&url, self.ask(&url)).await.map_err(|why| NoAnswer::clone(&why))
    }

    /// Asks until there is an answer or it makes no sense. Whoever waits has set a limit.
    async fn ask(&self, url: &str) -> Result<Arc<Value>, NoAnswer> {
        let url = Url::parse(url).map_err(|error| NoAnswer::Url(error.to_string()))?;
        let mut wait = Duration::from_millis(AGAIN_MS);
        loop {
            match self.ask_once(url.clone()).await {
                Err(why) if why.may_pass() => {
                    tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
                    wait *= 2;
                }
                answer => return answer.map(|answer| Arc::new(shaped(answer, &self.source.fallback))),
            }
        }
    }

    async fn ask_once(&self, url: Url) -> Result<Value, NoAnswer> {
        let network = |error: reqwest::Error| NoAnswer::Network(error.without_url().to_string());
        // Nobody closes it.
        let _room = self.room.acquire().await;
        let timeout = Duration::from_millis(self.source.timeout_ms);
        let request = self.client.get(url).header("accept", "application/json").timeout(timeout);
        let mut answer = request.send().await.map_err(network)?;
        if !answer.status().is_success() {
            return Err(NoAnswer::Status(answer.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(network)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(NoAnswer::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|error| NoAnswer::Json(error.to_string()))
    }
}

/// The answer, with the fallback in place of what it lacks or has as something else.
fn shaped(answer: Value, fallback: &Value) -> Value {
    match (answer, fallback) {
        (Value::Object(mut answer), Value::Object(members)) => {
            for (name, fallback) in members {
                let said = answer.remove(name).unwrap_or_default();
                answer.insert(name.clone(), shaped(said, fallback));
            }
            Value::Object(answer)
        }
        (answer, fallback) if std::mem::discriminant(&answer) == std::mem::discriminant(fallback) => answer,
        (_, fallback) => fallback.clone(),
    }
}

/// As it can stand in any part of a URL without ending it.
fn percent_encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_has_the_shape_of_its_fallback() {
        let fallback = json!({"text": "", "rain": 0, "days": [], "wind": {"from": "west", "strong": false}});
        let answer = json!({"text": null, "rain": "much", "days": [1], "wind": {"from": 7, "strong": true}, "more": 1});
        let expected = json!({"text": "", "rain": 0, "days": [1], "wind": {"from": "west", "strong": true}, "more": 1});
        assert_eq!(shaped(answer, &fallback), expected);
        assert_eq!(shaped(json!([1, 2]), &fallback), fallback);
        assert_eq!(shaped(json!("now"), &json!("")), "now");
    }
}
