//! Mails with enrichments, as the service sends them: what is fetched stands in the mail, a slow or strange answer harms nobody.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::RawQuery;
use axum::routing::get;
use beckon::config::{Config, Purpose};
use beckon::decision::{self, DeliveryState};
use beckon::ledger::Ledger;
use beckon::sink::{BoxFuture, Enrich};
use serde_json::{Map, Value, json};

use crate::esp::{FakeEsp, says};
use crate::shop::{record, send_until};
use crate::world::{World, http, send};

/// A source that is asked at `/news`, and one that takes half a minute. Says whom it was asked about.
async fn sources() -> (String, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let noted = asked.clone();
    let news = move |RawQuery(query): RawQuery| {
        let whom = query.unwrap_or_default().replace("of=", "");
        noted.lock().unwrap().push(whom.clone());
        // What u3 gets does not fit the template: it has another list than the fallback, and a line break.
        let items = if whom == "u3" { json!(["no object"]) } else { json!([{"title": format!("<{whom}>\r\nBcc: x")}]) };
        async move { json!({"title": format!("for {whom}"), "items": items}).to_string() }
    };
    let slow = || async { tokio::time::sleep(Duration::from_secs(30)).await };
    let routes = Router::new().route("/news", get(news)).route("/slow", get(slow));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (base, asked)
}

/// Campaign `a` has the news in its mails; campaign `b` has nothing, or the slow one.
fn config(folder: &Path, source: &str, esp: &str, slow_in_b: bool) -> Config {
    let write = |name: &str, part: &str, text: &str| {
        std::fs::create_dir_all(folder.join("templates")).unwrap();
        std::fs::write(folder.join(format!("templates/{name}.{part}.hbs")), text).unwrap();
    };
    let html = "{{#each enrich.news.items}}<b>{{title}}</b>{{/each}}";
    for (part, text) in [("subject", "{{enrich.news.title}}"), ("html", html), ("txt", "-")] {
        write("a", part, text);
    }
    let text = if slow_in_b { "{{enrich.slow.text}}" } else { "nothing" };
    for part in ["subject", "html", "txt"] {
        write("b", part, text);
    }
    let campaign =
        |name| format!("[[campaign]]\nname = '{name}'\ntrigger = 'welcome'\nafter = '0s'\ntemplate = '{name}'\n");
    let text = format!(
        "[kafka]\nbrokers = 'k:1'\n{}{}\
         [esp]\nkind = 'http'\nbase_url = '{esp}'\nfrom = 's@example.com'\nrequests_per_second = 1000\n\
         [enrich.news]\nurl = '{source}/news?of={{{{customer.id}}}}'\nfallback = {{ title = 'no news', items = [] }}\n\
         timeout = '2s'\n\
         [enrich.slow]\nurl = '{source}/slow'\nfallback = {{ text = 'too slow' }}\ntimeout = '3s'\n",
        campaign("a"),
        campaign("b"),
    );
    Config::parse(&folder.join("beckon.toml"), &text, Purpose::Run).unwrap_or_else(|faults| panic!("{faults}"))
}

fn mail_to<'r>(requests: &'r [Value], customer: &str) -> &'r Value {
    let address = format!("{customer}@example.org");
    let mail = requests.iter().find(|request| request["body"]["to"].to_string().contains(&address));
    &mail.unwrap_or_else(|| panic!("no mail to {customer}: {requests:?}"))["body"]
}

#[test]
fn what_is_fetched_stands_in_the_mail_and_what_does_not_fit_does_not() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (esp, (source, asked)) =
        runtime.block_on(async { (FakeEsp::start([], Arc::default()).await, sources().await) });
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &source, &esp.base_url(), false);
    let ledger = Arc::new(Ledger::open(&config.state).unwrap());
    record(&ledger, "a", "default", 0..200);
    record(&ledger, "b", "default", 200..210);
    let counts = send_until(&config, &ledger, 210, 210);
    assert_eq!(counts, [(DeliveryState::Accepted, 210)].into());
    let requests = esp.requests();
    let mail = mail_to(&requests, "u7");
    assert_eq!((&mail["subject"], &mail["html"]), (&json!("for u7"), &json!("<b>&lt;u7&gt;\nBcc: x</b>")));
    // No mail comes of that answer, so the mail has the fallback.
    let mail = mail_to(&requests, "u3");
    assert_eq!((&mail["subject"], &mail["html"]), (&json!("no news"), &json!("")));
    // Each was asked about once, and nobody whose template names nothing.
    let mut asked = asked.lock().unwrap().clone();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 200);
    assert!(!asked.contains(&"u205".to_owned()), "{asked:?}");
}

#[test]
fn a_slow_enrichment_delays_no_other_campaign() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (esp, (source, _)) = runtime.block_on(async { (FakeEsp::start([], Arc::default()).await, sources().await) });
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &source, &esp.base_url(), true);
    let ledger = Arc::new(Ledger::open(&config.state).unwrap());
    // More than is fetched at a time, and older.
    record(&ledger, "b", "default", 0..100);
    record(&ledger, "a", "default", 100..300);
    let began = Instant::now();
    let counts = send_until(&config, &ledger, 300, 200);
    assert!(began.elapsed() < Duration::from_millis(2_900), "it was waited for: {:?}", began.elapsed());
    assert_eq!(counts[&DeliveryState::Accepted], 200, "{counts:?}");
    let counts = send_until(&config, &ledger, 300, 300);
    assert_eq!(counts[&DeliveryState::Accepted], 300);
    assert_eq!(mail_to(&esp.requests(), "u99")["subject"], "too slow");
}

/// Counts how often it is asked, and says so.
struct Counted(Arc<AtomicUsize>);

impl Enrich for Counted {
    fn is_wanted(&self, _send: &decision::Send) -> bool {
        true
    }

    fn fetch<'a>(&'a self, _send: &'a decision::Send) -> BoxFuture<'a, Map<String, Value>> {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        Box::pin(async move { json!({"count": count}).as_object().cloned().unwrap_or_default() })
    }
}

#[tokio::test]
async fn an_attempt_fetches_anew_and_what_may_have_been_taken_is_repeated_as_it_was() {
    let asked = Arc::<AtomicUsize>::default();
    let mut world = World::new();
    world.enrich = Some(Arc::new(Counted(asked.clone())));
    // Not taken, so rendered anew; then perhaps taken, so repeated.
    let esp = FakeEsp::start([says(429), says(500), says(202)], world.events.clone()).await;
    let one = send("u1");
    world.deliver(http(&esp.base_url()), vec![one.clone()]).await.unwrap();
    assert_eq!(world.outcome(&one), (DeliveryState::Accepted, 3));
    let texts: Vec<Value> = esp.requests().iter().map(|request| request["body"]["text"].clone()).collect();
    assert_eq!(texts, ["Your cart & you, 1", "Your cart & you, 2", "Your cart & you, 2"]);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn nothing_is_fetched_for_what_is_not_sent_any_more() {
    let asked = Arc::<AtomicUsize>::default();
    let mut world = World::new();
    world.enrich = Some(Arc::new(Counted(asked.clone())));
    *world.still_true.lock().unwrap() = Some(Box::new(|_| false));
    let esp = FakeEsp::start([], world.events.clone()).await;
    let one = send("u1");
    world.deliver(http(&esp.base_url()), vec![one.clone()]).await.unwrap();
    assert_eq!(world.outcome(&one).0, DeliveryState::Withdrawn);
    assert_eq!((asked.load(Ordering::Relaxed), esp.requests().len()), (0, 0));
}
