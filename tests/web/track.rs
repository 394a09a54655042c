//! The links of mails: what a click, an open and an unsubscribe answer and tell, and what a forged one does not. And the page on which
//! recipients choose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use beckon::decision::DecisionId;
use beckon::secret::Secret;
use beckon::tracking::{Does, Seal, Token};
use beckon::web::choices::{Choices, Chosen, Offer};
use beckon::web::publish::{Acknowledged, NotAcknowledged, Publish};
use beckon::web::track::{self, Tracker};
use beckon::web::{listen, routes, serve};
use reqwest::header::{CONTENT_TYPE, LOCATION, USER_AGENT};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15";

/// A broker that keeps what it acknowledges, or acknowledges nothing.
#[derive(Clone, Default)]
pub struct Broker(Arc<Mutex<Vec<Value>>>, Arc<std::sync::atomic::AtomicBool>);

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
    pub async fn told(&self, count: usize) -> Vec<Value> {
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

/// What a shop offers, and what is known of whom; nothing is known of anybody else.
struct Known(Vec<Offer>, BTreeMap<String, Chosen>);

impl Choices for Known {
    fn offers(&self) -> &[Offer] {
        &self.0
    }

    fn of(&self, customer: &str) -> Option<Chosen> {
        self.1.get(customer).cloned()
    }
}

/// Two boxes, one of them for two campaigns, and a title that would be script. u1 has declined one of the carts', and one that is not
/// offered; u2 is unsubscribed.
fn known() -> Known {
    let offer = |title: &str, campaigns: &[&str]| Offer {
        title: title.into(),
        campaigns: campaigns.iter().map(|name| (*name).into()).collect(),
    };
    let offers = vec![
        offer("Reminders of your cart", &["cart", "cart-2"]),
        offer("Back in stock", &["restock"]),
        offer("\"><script>alert(1)</script> & more", &["odd"]),
    ];
    let declined = names(&["cart-2", "gone"]);
    let of = [("u1", Chosen::AllBut(declined)), ("u2", Chosen::Nothing), ("u4", Chosen::AllBut(names(&[])))];
    Known(offers, of.map(|(customer, chosen)| (customer.to_owned(), chosen)).into())
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub struct Site {
    pub base: String,
    pub broker: Broker,
    client: Client,
}

impl Site {
    /// One that knows of no choices.
    async fn start() -> Site {
        Site::with(None).await
    }

    /// One that offers these, a campaign each, all of which u4 wants.
    pub async fn offering(titles: &[&str]) -> Site {
        let offer = |(number, title): (usize, &&str)| Offer {
            title: (*title).to_owned(),
            campaigns: vec![format!("campaign-{number}")],
        };
        let offers = titles.iter().enumerate().map(offer).collect();
        Site::with(Some(Arc::new(Known(offers, known().1)))).await
    }

    async fn with(choices: Option<Arc<dyn Choices>>) -> Site {
        let broker = Broker::default();
        let publish = Arc::new(broker.clone());
        let tracker = Tracker::new(seal(), publish, || 1_767_261_600_000, choices);
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
        self.send(path, "List-Unsubscribe=One-Click").await
    }

    async fn send(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.client.post(format!("{}{path}", self.base)).body(body);
        request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").send().await.unwrap()
    }

    /// The page of a customer, and their link.
    async fn page_of(&self, customer: &str) -> (String, String) {
        let path = link_of(customer);
        let answer = self.get(&path).await;
        assert_eq!(answer.status(), StatusCode::OK);
        (answer.text().await.unwrap(), path)
    }
}

pub fn link_of(customer: &str) -> String {
    let token = Token { decision: DecisionId(0xabc), customer: customer.into(), does: Does::Unsubscribe };
    format!("/u/{}", seal().seal(&token).unwrap())
}

/// The record of a choice of `customer`'s.
fn choice(customer: &str, declined: &[&str]) -> Value {
    let mut record = record("chosen", false);
    (record["user_id"], record["declined"]) = (customer.into(), json!(declined));
    record
}

/// Whether the box of these mails is ticked.
fn is_ticked(page: &str, title: &str) -> bool {
    let ticked = page.contains(&format!("name=\"wanted\" value=\"{title}\" checked>"));
    assert!(ticked || page.contains(&format!("name=\"wanted\" value=\"{title}\">")), "{title}: {page}");
    ticked
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

#[tokio::test]
async fn the_page_shows_what_holds_and_a_form_changes_what_it_showed() {
    let site = Site::with(Some(Arc::new(known()))).await;
    let (page, path) = site.page_of("u1").await;
    let (cart, stock) = ("Reminders of your cart", "Back in stock");
    assert_eq!([cart, stock].map(|title| is_ticked(&page, title)), [false, true]);
    assert!(site.broker.told(0).await.is_empty());
    let body = "shown=Reminders+of+your+cart&wanted=Reminders+of+your+cart&shown=Back+in+stock&do=save";
    let saved = site.send(&path, body).await;
    assert_eq!(saved.status(), StatusCode::OK);
    let page = saved.text().await.unwrap();
    assert!(page.contains("role=\"status\">Saved"), "{page}");
    // What is not offered any more stays declined.
    assert_eq!(site.broker.told(1).await, [choice("u1", &["gone", "restock"])]);
    // The state does not have it yet; who looks again sees it all the same, and can take it back.
    for page in [page, site.page_of("u1").await.0] {
        assert_eq!([cart, stock].map(|title| is_ticked(&page, title)), [true, false]);
    }
    site.send(&path, "shown=Back+in+stock&wanted=Back+in+stock&do=save").await;
    assert_eq!(site.broker.told(1).await, [choice("u1", &["gone"])]);
    // Of somebody else nothing has changed.
    assert!(is_ticked(&site.page_of("u4").await.0, stock));
    // All of them off is still no unsubscribe.
    site.send(&path, "shown=Reminders+of+your+cart&shown=Back+in+stock&do=save").await;
    assert_eq!(site.broker.told(1).await, [choice("u1", &["cart", "cart-2", "gone", "restock"])]);
}

#[tokio::test]
async fn whatever_else_is_posted_unsubscribes_and_that_is_final() {
    let site = Site::with(Some(Arc::new(known()))).await;
    let unsubscribed = |customer: &str| {
        let mut record = record("unsubscribed", false);
        record["user_id"] = customer.into();
        record
    };
    for body in
        ["List-Unsubscribe=One-Click", "", "do=save&List-Unsubscribe=One-Click", "{\"do\":\"save\"}", "do=delete"]
    {
        // A recipient each, as nobody can unsubscribe from what they do not get.
        let answer = site.send(&link_of("u4"), body).await;
        assert!(answer.text().await.unwrap().contains("You are unsubscribed"), "{body}");
        assert_eq!(site.broker.told(1).await, [unsubscribed("u4")], "{body}");
    }
    let multipart = "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n";
    let request = site.client.post(format!("{}{}", site.base, link_of("u1"))).body(multipart);
    let answer = request.header(CONTENT_TYPE, "multipart/form-data; boundary=x").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(site.broker.told(1).await, [unsubscribed("u1")]);
    // A page that is still open cannot bring anything back.
    for customer in ["u1", "u2", "u4"] {
        let (page, path) = site.page_of(customer).await;
        assert!(page.contains("You are unsubscribed") && !page.contains("<form"), "{page}");
        let answer = site.send(&path, "shown=Back+in+stock&wanted=Back+in+stock&do=save").await;
        assert!(answer.text().await.unwrap().contains("You are unsubscribed"));
    }
    assert!(site.broker.told(0).await.is_empty());
}

#[tokio::test]
async fn who_is_not_known_now_can_only_unsubscribe() {
    // A state that is behind, a site without one, and a shop without campaigns.
    for choices in [Some(known()), None, Some(Known(Vec::new(), known().1))] {
        let site = Site::with(choices.map(|choices| -> Arc<dyn Choices> { Arc::new(choices) })).await;
        let (page, path) = site.page_of("u3").await;
        assert!(page.contains("<h1>Unsubscribe?</h1>") && !page.contains("checkbox"), "{page}");
        assert_eq!(site.send(&path, "shown=Back+in+stock&do=save").await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(site.broker.told(0).await.is_empty());
        assert_eq!(site.post(&path).await.status(), StatusCode::OK);
        assert_eq!(site.broker.told(1).await.len(), 1);
    }
}

#[tokio::test]
async fn a_choice_that_is_not_acknowledged_or_not_theirs_changes_nothing() {
    let site = Site::with(Some(Arc::new(known()))).await;
    let save = "shown=Back+in+stock&do=save";
    site.broker.1.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(site.send(&link_of("u4"), save).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    site.broker.1.store(false, std::sync::atomic::Ordering::Relaxed);
    assert!(is_ticked(&site.page_of("u4").await.0, "Back in stock"));
    let stranger = Seal::of(&Secret::new(b"a secret of another").unwrap());
    let forged = Token { decision: DecisionId(1), customer: "u4".into(), does: Does::Unsubscribe };
    let forged = stranger.seal(&forged).unwrap();
    for text in [&forged, &token(Does::Open), &token(Does::Click("https://shop.example/".into())), "x", "%00"] {
        let answer = site.send(&format!("/u/{text}"), save).await;
        assert!(answer.status().is_client_error() && !answer.headers().contains_key(LOCATION), "{text}");
    }
    // Neither what was not offered nor what is too large is taken; other methods are none.
    let path = link_of("u4");
    site.send(&path, "shown=restock&shown=gone&wanted=x&do=save").await;
    assert_eq!(site.broker.told(1).await, [choice("u4", &[])]);
    let large = format!("{save}&x={}", "x".repeat(256 << 10));
    assert_eq!(site.send(&path, large).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let put = site.client.put(format!("{}{path}", site.base)).body(save).send().await.unwrap();
    assert_eq!(put.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(site.broker.told(0).await.is_empty());
}

#[tokio::test]
async fn the_page_runs_no_script_and_tells_nobody() {
    let site = Site::with(Some(Arc::new(known()))).await;
    let answer = site.get(&link_of("u1")).await;
    let head = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let policy = head("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("form-action 'self'"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(
        ["cache-control", "referrer-policy", "x-robots-tag"].map(head),
        ["no-store", "no-referrer", "noindex"].map(str::to_owned)
    );
    let page = answer.text().await.unwrap();
    assert!(!page.contains("<script") && page.contains("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt; &amp; more"));
    assert!(!page.contains("u1"), "{page}");
    // It comes back as it was written.
    let odd = "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E+%26+more";
    site.send(&link_of("u4"), format!("shown={odd}&do=save")).await;
    assert_eq!(site.broker.told(1).await, [choice("u4", &["odd"])]);
}
