//! The links of mails: what a click, an open and an unsubscribe answer and tell, and what a forged one does not.

use std::sync::{Arc, Mutex};

use beckon::decision::DecisionId;
use beckon::secret::Secret;
use beckon::tracking::{Does, Seal, Token};
use beckon::web::publish::{Acknowledged, NotAcknowledged, Publish};
use beckon::web::track::{self, Tracker};
use beckon::web::{listen, routes, serve};
use reqwest::header::{CONTENT_TYPE, LOCATION, USER_AGENT};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15";

/// A broker that keeps what it acknowledges, or acknowledges nothing.
#[derive(Clone, Default)]
struct Broker(Arc<Mutex<Vec<Value>>>, Arc<std::sync::atomic::AtomicBool>);

impl Publish for Broker {
    fn publish(&self, key: &str, json: &[u8]) -> Acknowledged<'_> {
        let record: Value = serde_json::from_slice(json).unwrap();
        assert_eq!(record["event_id"], key);
        Box::pin(async move {
            if self.1.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(NotAcknowledged("down".into()));
            }
            self.0.lock().unwrap().push(record);
            Ok(())
        })
    }
}

impl Broker {
    /// What was told, once there are so many; the names that are different each time left out.
    async fn told(&self, count: usize) -> Vec<Value> {
        for _ in 0..200 {
            if self.0.lock().unwrap().len() >= count {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let mut told = std::mem::take(&mut *self.0.lock().unwrap());
        for record in &mut told {
            assert_eq!(record.as_object_mut().unwrap().remove("event_id").unwrap().as_str().unwrap().len(), 32);
        }
        told
    }
}

struct Site {
    base: String,
    broker: Broker,
    client: Client,
}

impl Site {
    async fn start() -> Site {
        let broker = Broker::default();
        let publish = Arc::new(broker.clone());
        let tracker = Tracker { seal: seal(), publish, now_ms: Box::new(|| 1_767_261_600_000) };
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, routes(track::routes(tracker)), std::future::pending()));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Site { base, broker, client }
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.base)).header(USER_AGENT, PHONE).send().await.unwrap()
    }

    async fn post(&self, path: &str) -> Response {
        let body = "List-Unsubscribe=One-Click";
        let request = self.client.post(format!("{}{path}", self.base)).body(body);
        request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").send().await.unwrap()
    }
}

fn seal() -> Seal {
    Seal::of(&Secret::new(b"a secret of the shop").unwrap())
}

fn token(does: Does) -> String {
    seal().seal(&Token { decision: DecisionId(0xabc), customer: "u1".into(), does }).unwrap()
}

fn record(kind: &str, machine: bool) -> Value {
    json!({
        "type": kind,
        "decision_id": "00000000000000000000000000000abc",
        "user_id": "u1",
        "occurred_at": 1_767_261_600_000_u64,
        "machine": machine,
    })
}

#[tokio::test]
async fn an_open_is_told_and_always_answered_with_a_picture() {
    let site = Site::start().await;
    let path = format!("/o/{}.gif", token(Does::Open));
    let answer = site.get(&path).await;
    assert_eq!((answer.status(), &answer.headers()[CONTENT_TYPE]), (StatusCode::OK, &"image/gif".parse().unwrap()));
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert!(answer.bytes().await.unwrap().starts_with(b"GIF89a"));
    assert_eq!(site.broker.told(1).await, [record("opened", false)]);
    let bare = site.client.get(format!("{}{path}", site.base)).header(USER_AGENT, "Mozilla/5.0");
    assert_eq!(bare.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(site.broker.told(1).await, [record("opened", true)]);
    for path in
        ["/o/x.gif", "/o/.gif", &format!("/o/{}", token(Does::Open)), &format!("/o/{}.gif", token(Does::Unsubscribe))]
    {
        assert_eq!(site.get(path).await.status(), StatusCode::OK, "{path}");
    }
    assert!(site.broker.told(0).await.is_empty());
}

#[tokio::test]
async fn a_click_leads_only_where_a_mail_of_ours_led() {
    let site = Site::start().await;
    let target = "https://shop.example/p?a=1&b=%C3%B6#x";
    let answer = site.get(&format!("/c/{}", token(Does::Click(target.into())))).await;
    assert_eq!((answer.status(), answer.headers()[LOCATION].to_str().unwrap()), (StatusCode::FOUND, target));
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    let mut clicked = record("clicked", false);
    clicked["url"] = target.into();
    assert_eq!(site.broker.told(1).await, [clicked]);
    let sound = token(Does::Click(target.into()));
    let stranger = Seal::of(&Secret::new(b"a secret of another").unwrap());
    let does = Does::Click("https://evil.example/".into());
    let forged = stranger.seal(&Token { decision: DecisionId(1), customer: "u1".into(), does }).unwrap();
    let cut_off = &sound[..sound.len() - 1];
    let endless = "A".repeat(20_000);
    for text in [
        &forged,
        cut_off,
        &endless,
        &token(Does::Open),
        "https:%2F%2Fevil.example",
        "..%2F..%2Fetc%2Fpasswd",
        "%00",
        "%FF",
    ] {
        let answer = site.get(&format!("/c/{text}")).await;
        assert!(answer.status().is_client_error(), "{text}: {}", answer.status());
        assert!(!answer.headers().contains_key(LOCATION), "{text}");
    }
    assert!(site.broker.told(0).await.is_empty());
}

#[tokio::test]
async fn only_a_post_unsubscribes_and_only_once_it_is_acknowledged() {
    let site = Site::start().await;
    let path = format!("/u/{}", token(Does::Unsubscribe));
    let asked = site.get(&path).await;
    assert_eq!(asked.status(), StatusCode::OK);
    assert!(asked.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert!(asked.text().await.unwrap().contains("<form method=\"post\">"));
    assert!(site.broker.told(0).await.is_empty());
    let done = site.post(&path).await;
    assert_eq!(done.status(), StatusCode::OK);
    assert!(done.text().await.unwrap().contains("You are unsubscribed"));
    assert_eq!(site.broker.told(1).await, [record("unsubscribed", false)]);
    site.broker.1.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(site.post(&path).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    for forged in ["/u/x".to_owned(), format!("/u/{}", token(Does::Open))] {
        assert_eq!(site.post(&forged).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(site.get(&forged).await.status(), StatusCode::NOT_FOUND);
    }
}
