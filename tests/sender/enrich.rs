//! Enrichment against a real HTTP server: what is asked, how often, and what there is when nobody answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use beckon::enrich::{Enricher, Source};
use beckon::sink::client;
use serde_json::{Map, Value, json};

/// How often each path was asked.
type Asked = Arc<AtomicUsize>;

/// A server, its address and how often it was asked.
async fn server() -> (String, Asked) {
    let asked = Asked::default();
    let routes = Router::new()
        .route("/echo", get(|RawQuery(query): RawQuery| async move { json!({"query": query}).to_string() }))
        .route("/slow", get(|| async { tokio::time::sleep(Duration::from_secs(5)).await }))
        .route("/gone", get(|| async { StatusCode::NOT_FOUND }))
        .route("/moved", get(|| async { (StatusCode::FOUND, [(header::LOCATION, "/echo")]) }))
        .route("/text", get(|| async { "sunny" }))
        .route("/long", get(|| async { format!("\"{}\"", "x".repeat(300 << 10)) }))
        .route("/again", get(again))
        .route("/count", get(count))
        .with_state(asked.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (base, asked)
}

/// Fails twice.
async fn again(State(asked): State<Asked>) -> Response {
    match asked.fetch_add(1, Ordering::Relaxed) {
        0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        1 => StatusCode::TOO_MANY_REQUESTS.into_response(),
        _ => "1".into_response(),
    }
}

/// Takes its time.
async fn count(State(asked): State<Asked>) -> String {
    tokio::time::sleep(Duration::from_millis(50)).await;
    asked.fetch_add(1, Ordering::Relaxed).to_string()
}

fn source(name: &str, url: String) -> Source {
    Source { name: name.into(), url, timeout_ms: 1_000, cache_ms: 0, fallback: json!("fallback") }
}

/// The same, whose answers are as `fallback`.
fn like(fallback: Value, source: Source) -> Source {
    Source { fallback, ..source }
}

fn enricher(sources: Vec<Source>) -> Enricher {
    Enricher::new(sources, &client(10_000).unwrap()).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

async fn fetch(source: Source, context: &Value) -> Value {
    let name = source.name.clone();
    enricher(vec![source]).fetch(context, |_| true).await[&name].clone()
}

#[tokio::test]
async fn what_a_customer_is_called_ends_no_url() {
    let (base, _) = server().await;
    let url = format!("{base}/echo?city={{{{customer.city}}}}&b=1");
    let asked = |city: &str| {
        let (url, context) = (url.clone(), json!({"customer": {"city": city}}));
        async move { fetch(like(json!({"query": ""}), source("a", url)), &context).await["query"].clone() }
    };
    assert_eq!(asked("Köln&b=2#/../x y").await, "city=K%C3%B6ln%26b%3D2%23%2F%2E%2E%2Fx%20y&b=1");
    let unknown = like(json!({"query": ""}), source("a", url.clone()));
    assert_eq!(fetch(unknown, &json!({})).await["query"], "city=&b=1");
}

#[tokio::test]
async fn without_an_answer_in_time_there_is_the_fallback() {
    let (base, _) = server().await;
    for path in ["gone", "moved", "text", "long"] {
        assert_eq!(fetch(source("a", format!("{base}/{path}")), &json!({})).await, "fallback", "{path}");
    }
    let began = Instant::now();
    let sources = ["slow", "slow"].map(|path| Source { timeout_ms: 200, ..source("a", format!("{base}/{path}")) });
    let nobody = Source { timeout_ms: 200, ..source("b", "http://127.0.0.1:9/".into()) };
    let sources = sources.into_iter().chain([nobody]).collect();
    assert_eq!(enricher(sources).fetch(&json!({}), |_| true).await, object(json!({"a": "fallback", "b": "fallback"})));
    assert!(began.elapsed() < Duration::from_millis(1_500), "side by side: {:?}", began.elapsed());
}

#[tokio::test]
async fn it_asks_again_where_that_can_help_and_only_for_what_is_wanted() {
    let (base, asked) = server().await;
    assert_eq!(fetch(like(json!(-1), source("a", format!("{base}/again"))), &json!({})).await, 1);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    let sources = vec![like(json!(-1), source("a", format!("{base}/count"))), source("b", format!("{base}/text"))];
    assert_eq!(enricher(sources).fetch(&json!({}), |name| name == "a").await, object(json!({"a": 3})));
}

#[tokio::test]
async fn what_many_ask_at_once_is_asked_once_and_an_answer_is_used_again_while_it_is_fresh() {
    let (base, asked) = server().await;
    let enricher = enricher(vec![Source { cache_ms: 300, ..like(json!(-1), source("a", format!("{base}/count"))) }]);
    let context = json!({});
    let all = (0..20).map(|_| enricher.fetch(&context, |_| true));
    for value in futures_util::future::join_all(all).await {
        assert_eq!(value, object(json!({"a": 0})));
    }
    assert_eq!(enricher.fetch(&context, |_| true).await, object(json!({"a": 0})));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(enricher.fetch(&context, |_| true).await, object(json!({"a": 1})));
}
