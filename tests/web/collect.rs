//! Segment's HTTP API: what is taken in, which records it becomes, and what its senders are told.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use beckon::decode::Check;
use beckon::secret::Secret;
use beckon::web::collect::{self, Collector, Letters, WriteKey, WriteKeys};
use beckon::web::publish::{Acknowledged, NotAcknowledged, Publish};
use beckon::web::{Limits, Queue, listen, routes, serve_within};
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, ORIGIN, RETRY_AFTER,
    SET_COOKIE,
};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The key of the shop's pages.
pub const SITE: &str = "key-of-the-site-0123";
/// The key of the shop's servers, which may tell profiles.
pub const BACKEND: &str = "key-of-the-backend-0123";

/// 2026-01-01T10:00:00Z, which it always is here.
const NOW_MS: u64 = 1_767_261_600_000;

/// A topic that keeps what it acknowledges: the records' keys and texts.
#[derive(Clone, Default)]
pub struct Topic {
    records: Arc<Mutex<Vec<(String, String)>>>,
    is_down: Arc<AtomicBool>,
    is_silent: Arc<AtomicBool>,
}

impl Publish for Topic {
    fn publish(&self, key: &str, json: &[u8]) -> Acknowledged<'_> {
        let record = (key.to_owned(), String::from_utf8(json.to_vec()).unwrap());
        Box::pin(async move {
            if self.is_silent.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            if self.is_down.load(Ordering::Relaxed) {
                return Err(NotAcknowledged("down".into()));
            }
            self.records.lock().unwrap().push(record);
            Ok(())
        })
    }
}

impl Topic {
    /// What it has by now, with the keys; then it has nothing.
    pub fn take(&self) -> Vec<(String, Value)> {
        self.take_texts().into_iter().map(|(key, text)| (key, serde_json::from_str(&text).unwrap())).collect()
    }

    /// The same as it was written.
    fn take_texts(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.records.lock().unwrap())
    }

    /// The one record it has, without its key.
    fn only(&self) -> Value {
        let [(_, record)] = &self.take()[..] else { panic!("one record") };
        record.clone()
    }
}

/// A running collector.
pub struct Site {
    pub base: String,
    pub clickstream: Topic,
    profiles: Topic,
    pub client: Client,
    state: TempDir,
}

/// What a test wants otherwise.
pub struct Setting {
    pub queue_bytes: usize,
    pub origins: Option<Vec<&'static str>>,
    pub limits: Limits,
}

impl Default for Setting {
    fn default() -> Setting {
        Setting { queue_bytes: 4 << 20, origins: None, limits: Limits::default() }
    }
}

impl Site {
    pub async fn start() -> Site {
        Site::with(Setting::default()).await
    }

    pub async fn with(setting: Setting) -> Site {
        let (clickstream, profiles, state) = (Topic::default(), Topic::default(), tempfile::tempdir().unwrap());
        let key = |name, may, key: &str| WriteKey::new(name, may, Secret::new(key.as_bytes()).unwrap());
        let collector = Collector {
            keys: WriteKeys::new(vec![key("site", false, SITE), key("backend", true, BACKEND)]),
            origins: setting.origins.map(|origins| origins.into_iter().map(|it| it.parse().unwrap()).collect()),
            clickstream: Arc::new(clickstream.clone()),
            profiles: Arc::new(profiles.clone()),
            letters: Arc::new(Letters::open(state.path()).unwrap()),
            queue: Queue::new(setting.queue_bytes),
            check: Check::new(),
            now_ms: Box::new(|| NOW_MS),
        };
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let routes = routes(collect::routes(collector));
        tokio::spawn(serve_within(setting.limits, listener, routes, std::future::pending()));
        let _ = rustls::crypto::ring::default_provider().install_default();
        Site { base, clickstream, profiles, client: Client::new(), state }
    }

    pub fn post(&self, path: &str, key: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.base)).basic_auth(key, Some(""))
    }

    /// Posts one message as the site, and returns the record that it became.
    async fn record_of(&self, path: &str, message: Value) -> Value {
        let answer = self.post(path, SITE).json(&message).send().await.unwrap();
        assert_taken(answer).await;
        self.clickstream.only()
    }

    /// The dead letters so far.
    pub fn letters(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.state.path().join("dead_letters-collect.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

async fn assert_taken(answer: Response) {
    let status = answer.status();
    assert_eq!((status, answer.json::<Value>().await.unwrap()), (StatusCode::OK, json!({"success": true})));
}

/// Asserts a refusal, which says `code`.
pub async fn assert_refused(answer: Response, status: StatusCode, code: &str) {
    assert_eq!(answer.status(), status);
    let told: Value = answer.json().await.unwrap();
    assert_eq!((&told["success"], &told["code"]), (&json!(false), &json!(code)), "{told}");
    assert!(told["message"].is_string() && !told.to_string().contains("key-of"), "{told}");
}

fn view(user: &str) -> Value {
    json!({"type": "track", "userId": user, "messageId": format!("view of {user}"), "event": "Product Viewed",
        "timestamp": "2026-01-01T09:59:59Z", "properties": {"sku": "s1"}})
}

#[tokio::test]
async fn a_message_is_a_clickstream_record_once_it_is_acknowledged() {
    let site = Site::start().await;
    // As the text is: prices must not become binary floats on the way.
    let body = r#"{"userId":"u1","anonymousId":"a1","messageId":"m1","event":"Product Added","timestamp":"2026-01-01T09:59:59.5+00:00",
        "properties":{"sku":"s1","price":19.90,"quantity":2,"big":12345678901234567890.10},
        "context":{"ip":"10.1.2.3","userAgent":"secret of the visitor"},"integrations":{"All":true},"type":"identify","x":1}"#;
    let answer = site.post("/v1/track", SITE).body(body).send().await.unwrap();
    assert_taken(answer).await;
    let [(key, record)] = &site.clickstream.take_texts()[..] else { panic!("one record") };
    assert_eq!(key, "u1");
    let expected = r#"{"type":"track","event":"Product Added","messageId":"m1","userId":"u1","anonymousId":"a1","timestamp":"2026-01-01T09:59:59.5+00:00","properties":{"sku":"s1","price":19.90,"quantity":2,"big":12345678901234567890.10}}"#;
    assert_eq!(record, expected);
    site.clickstream.is_down.store(true, Ordering::Relaxed);
    let answer = site.post("/v1/track", SITE).body(body).send().await.unwrap();
    assert_eq!(answer.headers()[RETRY_AFTER], "5");
    assert_refused(answer, StatusCode::SERVICE_UNAVAILABLE, "unavailable").await;
}

#[tokio::test]
async fn each_call_is_told_by_its_path() {
    let site = Site::start().await;
    for call in ["track", "identify", "page", "screen", "group"] {
        let record = site.record_of(&format!("/v1/{call}"), json!({"anonymousId": "a1"})).await;
        assert_eq!((&record["type"], &record["timestamp"]), (&json!(call), &json!("2026-01-01T10:00:00.000Z")));
        assert_eq!(record["messageId"].as_str().map(str::len), Some(32), "{record}");
    }
    let record = site.record_of("/v1/alias", json!({"userId": "u2", "previousId": "u1", "messageId": "m"})).await;
    assert_eq!(
        (&record["type"], &record["previousId"], &record["messageId"]),
        (&json!("alias"), &json!("u1"), &json!("m"))
    );
    let answer = site.client.get(format!("{}/v1/track", site.base)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_sender_s_clock_is_put_right() {
    let site = Site::start().await;
    let at = |timestamp: Value, sent_at: Value| json!({"userId": "u", "timestamp": timestamp, "sentAt": sent_at});
    let hour_behind = at(json!("2026-01-01T08:59:50Z"), json!("2026-01-01T09:00:00.000Z"));
    assert_eq!(site.record_of("/v1/page", hour_behind).await["timestamp"], "2026-01-01T09:59:50.000Z");
    let in_ms = at(json!(NOW_MS - 3_610_000), json!(NOW_MS - 3_600_000));
    assert_eq!(site.record_of("/v1/page", in_ms).await["timestamp"], "2026-01-01T09:59:50.000Z");
    let without = at(json!("2026-01-01T08:59:50Z"), Value::Null);
    assert_eq!(site.record_of("/v1/page", without).await["timestamp"], "2026-01-01T08:59:50Z");
    let unreadable = at(json!("2026-01-01T08:59:50Z"), json!("yesterday"));
    assert_eq!(site.record_of("/v1/page", unreadable).await["timestamp"], "2026-01-01T08:59:50Z");
}

#[tokio::test]
async fn a_batch_is_taken_and_what_is_malformed_in_it_is_a_dead_letter() {
    let site = Site::start().await;
    let too_large = json!({"type": "page", "userId": "u", "properties": {"x": "x".repeat(33_000)}});
    let batch = json!([
        view("u1"), {"type": "track", "event": "Product Viewed"}, view("u2"), "text", ["page"], too_large,
        {"type": "dance", "userId": "u"}, {"type": "page", "userId": 7},
        {"type": "page", "userId": "u", "timestamp": "yesterday"}, {"type": "page", "userId": "u", "timestamp": 5},
        {"type": "alias", "userId": "u"}, {"type": "track", "userId": "u", "event": "Product Added", "properties": {"sku": "s", "quantity": "two"}}
    ]);
    let body =
        json!({"batch": batch, "sentAt": "2026-01-01T10:00:00.000Z", "writeKey": "not looked at beside the head's"});
    let answer = site.post("/v1/batch", SITE).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let told: Value = answer.json().await.unwrap();
    assert_eq!(told["success"], true);
    let dead: Vec<_> =
        told["dead_letters"].as_array().unwrap().iter().map(|it| it["index"].as_u64().unwrap()).collect();
    assert_eq!(dead, [1, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    let keys: Vec<_> = site.clickstream.take().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["u1", "u2"]);

    let letters = site.letters();
    let kinds: Vec<_> = letters.iter().map(|letter| letter["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "missing",
            "wrong_type",
            "wrong_type",
            "too_large",
            "wrong_type",
            "wrong_type",
            "wrong_type",
            "absurd_time",
            "missing",
            "wrong_type"
        ]
    );
    let first = json!({"stream": "clickstream", "key": "site", "received_at": NOW_MS, "kind": "missing",
        "reason": "`userId or anonymousId` is missing; correct its sender",
        "record": r#"{"type":"track","event":"Product Viewed"}"#});
    assert_eq!(letters[0], first);
}

#[tokio::test]
async fn what_cannot_be_read_at_all_is_a_400() {
    let site = Site::start().await;
    for body in
        ["", "{", "[]", "7", "null", r#"{"batch":7}"#, r#"{"messages":[]}"#, "{\"batch\":[\u{1}]}", r#"[[],"x"]"#]
    {
        let answer = site.post("/v1/batch", SITE).body(body).send().await.unwrap();
        assert_refused(answer, StatusCode::BAD_REQUEST, "invalid_request").await;
    }
    for body in ["", "{", "[]", "7", "\"x\"", "\u{feff}{}"] {
        let answer = site.post("/v1/track", SITE).body(body).send().await.unwrap();
        assert_refused(answer, StatusCode::BAD_REQUEST, "invalid_request").await;
    }
    let many = format!("{{\"batch\":[{}0]}}", "0,".repeat(2_500));
    let answer = site.post("/v1/batch", SITE).body(many).send().await.unwrap();
    assert_refused(answer, StatusCode::BAD_REQUEST, "invalid_request").await;
    assert!(site.clickstream.take().is_empty() && site.letters().is_empty());
    let empty = site.post("/v1/batch", SITE).body("{\"batch\":[]}").send().await.unwrap();
    assert_taken(empty).await;
}

#[tokio::test]
async fn only_a_backend_s_traits_are_a_profile() {
    let site = Site::start().await;
    let traits = json!({"email": "ada@example.com", "firstName": "Ada", "timezone": "Europe/Berlin",
        "consent": {"email": true}, "tier": "gold", "spent": 10.50});
    let message = json!({"userId": "u1", "anonymousId": "a1", "traits": traits,
        "timestamp": "2026-01-01T09:00:00Z", "context": {"locale": "de-DE", "timezone": "UTC", "ip": "10.0.0.1"}});
    let link = site.record_of("/v1/identify", message.clone()).await;
    assert_eq!((&link["type"], &link["traits"]["tier"]), (&json!("identify"), &json!("gold")));
    assert!(site.profiles.take().is_empty(), "anybody has the key of a page");

    assert_taken(site.post("/v1/identify", BACKEND).json(&message).send().await.unwrap()).await;
    assert_eq!(site.clickstream.take().len(), 1);
    let [(key, profile)] = &site.profiles.take()[..] else { panic!("one profile") };
    assert_eq!(key, "u1");
    let expected = json!({"user_id": "u1", "updated_at": "2026-01-01T09:00:00Z", "email": "ada@example.com",
        "first_name": "Ada", "locale": "de-DE", "timezone": "Europe/Berlin", "consent": {"email": true},
        "attributes": {"tier": "gold", "spent": 10.50}});
    assert_eq!(profile, &expected);

    // A profile is a whole state: without the address it would take it away.
    let partly = json!({"userId": "u1", "traits": {"tier": "silver"}});
    let nobody = json!({"anonymousId": "a1", "traits": {"email": "x@example.com"}});
    for message in [partly, nobody] {
        assert_taken(site.post("/v1/identify", BACKEND).json(&message).send().await.unwrap()).await;
    }
    assert_taken(site.post("/v1/track", BACKEND).json(&message).send().await.unwrap()).await;
    assert!(site.profiles.take().is_empty());
    site.clickstream.take();
    let mistyped = json!({"userId": "u1", "traits": {"email": 7}});
    let answer = site.post("/v1/identify", BACKEND).json(&mistyped).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["dead_letters"][0]["index"], 0);
    assert!(site.profiles.take().is_empty() && site.clickstream.take().is_empty(), "whole or not at all");
}

#[tokio::test]
async fn compressed_bodies_and_keys_in_bodies_are_read() {
    let site = Site::start().await;
    let body = json!({"writeKey": SITE, "batch": [view("u1")]}).to_string();
    let beacon = site.client.post(format!("{}/v1/batch", site.base)).header(CONTENT_TYPE, "text/plain;charset=UTF-8");
    assert_taken(beacon.body(body.clone()).send().await.unwrap()).await;
    let gzipped = site.post("/v1/batch", SITE).header(CONTENT_ENCODING, "gzip").body(gzip(body.as_bytes()));
    assert_taken(gzipped.send().await.unwrap()).await;
    assert_eq!(site.clickstream.take().len(), 2);
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

#[tokio::test]
async fn pages_of_any_host_may_send_unless_some_are_named() {
    let site = Site::start().await;
    let asked = |site: &Site, origin: &str| {
        let request = site.client.request(Method::OPTIONS, format!("{}/v1/batch", site.base)).header(ORIGIN, origin);
        let request = request.header("access-control-request-method", "POST");
        request.header("access-control-request-headers", "authorization,content-type").send()
    };
    let answer = asked(&site, "https://shop.example").await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN]),
        (StatusCode::OK, &"*".parse().unwrap())
    );
    assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_METHODS], "POST");
    assert!(answer.headers()[ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap().contains("authorization"));
    assert!(!answer.headers().contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
    let sent =
        site.post("/v1/track", SITE).header(ORIGIN, "https://shop.example").json(&view("u")).send().await.unwrap();
    assert_eq!(sent.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");

    let named = Site::with(Setting { origins: Some(vec!["https://shop.example"]), ..Setting::default() }).await;
    let answer = asked(&named, "https://shop.example").await.unwrap();
    assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "https://shop.example");
    for stranger in ["https://evil.example", "https://shop.example.evil.example", "null", "http://shop.example"] {
        let answer = asked(&named, stranger).await.unwrap();
        assert!(!answer.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{stranger}");
    }
}

#[tokio::test]
async fn too_much_at_a_time_is_told_to_come_again() {
    let site = Site::with(Setting { queue_bytes: 1_000, ..Setting::default() }).await;
    site.clickstream.is_silent.store(true, Ordering::Relaxed);
    let body = format!("{:<800}", view("u1").to_string());
    let waiting = tokio::spawn(site.post("/v1/track", SITE).body(body.clone()).send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let answer = site.post("/v1/track", SITE).body(body.clone()).send().await.unwrap();
    assert_eq!(answer.headers()[RETRY_AFTER], "1");
    assert_refused(answer, StatusCode::TOO_MANY_REQUESTS, "busy").await;
    // A broker that says nothing is given up before Segment's libraries give us up; then there is room again.
    let given_up = waiting.await.unwrap().unwrap();
    assert_refused(given_up, StatusCode::SERVICE_UNAVAILABLE, "unavailable").await;
    site.clickstream.is_silent.store(false, Ordering::Relaxed);
    assert_taken(site.post("/v1/track", SITE).body(body).send().await.unwrap()).await;
}

#[tokio::test]
async fn a_pixel_is_a_message_and_always_a_picture() {
    let site = Site::start().await;
    let get = |query: String| site.client.get(format!("{}/p.gif?{query}", site.base));
    let query = format!("writeKey={SITE}&event=Product%20Viewed&userId=u1&sku=s%201&price=19.90&quantity=2");
    let answer = get(query).send().await.unwrap();
    assert_eq!((answer.status(), &answer.headers()[CONTENT_TYPE]), (StatusCode::OK, &"image/gif".parse().unwrap()));
    assert_eq!(
        (&answer.headers()[CACHE_CONTROL], answer.headers().get(SET_COOKIE)),
        (&"no-store".parse().unwrap(), None)
    );
    assert!(answer.bytes().await.unwrap().starts_with(b"GIF89a"));
    let record = site.clickstream.only();
    assert_eq!((&record["type"], &record["userId"]), (&json!("track"), &json!("u1")));
    assert_eq!(record["properties"], json!({"sku": "s 1", "price": "19.90", "quantity": 2}));

    let page = format!("writeKey={SITE}&name=Home");
    let answer = get(page.clone()).send().await.unwrap();
    let cookie = answer.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let visitor = site.clickstream.only()["anonymousId"].clone();
    assert_eq!(cookie, format!("beckon_anonymous_id={}", visitor.as_str().unwrap()));
    get(page.clone()).header(COOKIE, format!("a=b; {cookie}; c=d")).send().await.unwrap();
    let again = site.clickstream.only();
    assert_eq!((&again["anonymousId"], &again["type"], &again["name"]), (&visitor, &json!("page"), &json!("Home")));
    let hostile = get(page.clone()).header(COOKIE, "beckon_anonymous_id=<script>").send().await.unwrap();
    assert!(!hostile.headers()[SET_COOKIE].to_str().unwrap().contains('<'));
    site.clickstream.take();

    for (query, status) in [
        ("writeKey=key-of-the-site-012&userId=u".to_owned(), StatusCode::FORBIDDEN),
        ("userId=u".to_owned(), StatusCode::FORBIDDEN),
        (String::new(), StatusCode::FORBIDDEN),
    ] {
        let answer = get(query).send().await.unwrap();
        assert_eq!((answer.status(), &answer.headers()[CONTENT_TYPE]), (status, &"image/gif".parse().unwrap()));
        assert!(!answer.headers().contains_key("www-authenticate"));
    }
    assert!(site.clickstream.take().is_empty());
}
