//! `/metrics` and `/readyz`: of a whole service, whose dashboard and alert rules name nothing that it does not tell; and of checks that
//! fail.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use beckon::config::{Collect, SecretSource, Webhooks, WriteKey};
use beckon::pipeline::service::Service;
use beckon::pipeline::site::{Behind, Site};
use beckon::web::vitals::{self, Check, Vitals};
use beckon::web::{broker, listen, routes, serve};
use beckon_dataflows::model::Stream;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use serde_json::{Value, json};

use crate::service::{NOW_MS, StopAtEnd, abandon_a_cart, configuration};

async fn get(url: &str) -> (u16, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Somebody new leaves a cart, and will not buy it.
fn leave_a_cart(brokers: &str) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let send = |stream: Stream, record: Value| {
        let json = record.to_string();
        producer.send(BaseRecord::to(stream.name()).key("k").payload(&json)).map_err(|(error, _)| error).unwrap();
    };
    for customer in 0..20 {
        let (user, cart) = (format!("new-{customer}"), format!("new-cart-{customer}"));
        let consent = json!({ "email": true });
        send(
            Stream::Profiles,
            json!({ "user_id": user, "email": "b@example.com", "consent": consent, "updated_at": NOW_MS }),
        );
        let line = json!({ "sku": "s1", "quantity": 1, "price": "30.00" });
        send(
            Stream::Carts,
            json!({ "cart_id": cart, "user_id": user, "updated_at": NOW_MS, "currency": "EUR", "lines": [line] }),
        );
    }
    producer.flush(Duration::from_secs(10)).unwrap();
}

fn ask(url: &str) -> (u16, String) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(get(url))
}

/// The metrics that a text names: in Prometheus' format, a dashboard's expressions, or rules.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("beckon_"));
    let bare =
        |name: &str| ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end).map(str::to_owned));
    names.map(|name| bare(name).unwrap_or_else(|| name.to_owned())).collect()
}

/// The value of a line of a scrape.
fn value(scrape: &str, series: &str) -> Option<f64> {
    scrape.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn what_the_dashboard_and_the_rules_name_is_told_and_a_service_is_ready_while_its_ticks_close() {
    let directory = tempfile::tempdir().unwrap();
    let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    Stream::ALL.into_iter().for_each(|stream| broker.create_topic(stream.name(), 1, 1).unwrap());
    let mut config = configuration(directory.path(), &broker.bootstrap_servers());
    let secret = SecretSource::File(directory.path().join("token"));
    let key = WriteKey { name: "site".into(), secret: secret.clone(), profiles: false };
    config.collect = Some(Collect { keys: vec![key], origins: None, queue_bytes: 1 << 20 });
    config.webhooks = Some(Webhooks { mailgun: Some(secret), ..Webhooks::default() });
    config.snapshot_every_ms = Some(60_000);
    abandon_a_cart(&broker.bootstrap_servers());
    let (began, ahead) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let wall: Arc<dyn Fn() -> u64 + Send + Sync> = {
        let ahead = ahead.clone();
        Arc::new(move || NOW_MS + began.elapsed().as_millis() as u64 + ahead.load(Ordering::Relaxed))
    };
    let service = Service::open(&config, 1, wall.clone()).unwrap();
    let site = Site::start(&config, 1, Behind::of(&service), wall).unwrap().unwrap();
    let (url, stop) = (format!("http://{}", site.address()), StopAtEnd(service.stop()));
    let brokers = broker.bootstrap_servers();
    let asking = std::thread::spawn(move || {
        let mut scrape = String::new();
        leave_a_cart(&brokers);
        let done = |scrape: &str| {
            scrape.contains("beckon_esp_request_seconds_count{esp=\"default\"}")
                && scrape.contains("beckon_snapshot_age_seconds")
        };
        while began.elapsed() < Duration::from_secs(40) && !done(&scrape) {
            std::thread::sleep(Duration::from_millis(100));
            // A snapshot is due each minute, and a mail about the second carts in half an hour; its ESP is not there.
            ahead.fetch_add(20_000, Ordering::Relaxed);
            scrape = ask(&format!("{url}/metrics")).1;
        }
        let ready = ask(&format!("{url}/readyz"));
        // The clock goes on, and the ticks do not.
        drop(stop);
        ahead.fetch_add(600_000, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2_500));
        (scrape, ready, ask(&format!("{url}/readyz")))
    });
    service.run(Box::new(|_| Ok(()))).unwrap();
    let (scrape, ready, stalled) = asking.join().unwrap();
    site.stop().unwrap();
    assert_eq!(ready, (200, "broker ok\nledger ok\nticks ok\n".to_owned()));
    assert_eq!((stalled.0, stalled.1.contains("ticks failed")), (503, true), "{stalled:?}");
    let told = named(&scrape);
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for file in ["grafana/beckon.json", "prometheus/alerts.yml"] {
        let wanted = named(&std::fs::read_to_string(deploy.join(file)).unwrap());
        assert!(wanted.len() > 8, "{file}: {wanted:?}");
        let missing: Vec<_> = wanted.difference(&told).collect();
        assert!(missing.is_empty(), "{file} names what is not told: {missing:?}\n{scrape}");
    }
    let lines = |kind: &str| scrape.lines().filter(|line| line.starts_with(kind)).count();
    assert_eq!(lines("# HELP "), lines("# TYPE "), "each has a meaning:\n{scrape}");
    assert_eq!(value(&scrape, "beckon_records_total{stream=\"profiles\"}"), Some(50.0), "{scrape}");
    assert_eq!(
        value(&scrape, "beckon_decisions_total{outcome=\"send\",reason=\"none\"}").map(|count| count > 0.0),
        Some(true)
    );
    assert!(value(&scrape, "beckon_watermark_lag_seconds{stream=\"carts\",partition=\"0\"}").is_some(), "{scrape}");
    assert!(scrape.contains("beckon_trigger_set_episodes{campaign=\"cart-abandonment\"}"), "{scrape}");
}

/// A site with these checks, and how often the first was asked.
async fn site(checks: Vec<Check>) -> String {
    let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("http://{}/readyz", listener.local_addr().unwrap());
    let vitals = Vitals { sample: Box::new(|| ()), checks };
    tokio::spawn(serve(listener, routes(vitals::routes(vitals)), std::future::pending()));
    url
}

#[tokio::test]
async fn one_check_that_fails_or_hangs_is_enough_and_strangers_learn_no_more_nor_cost_more() {
    let (is_well, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let first = {
        let (is_well, asked) = (is_well.clone(), asked.clone());
        move || {
            asked.fetch_add(1, Ordering::Relaxed);
            let is_well = is_well.load(Ordering::Relaxed);
            Box::pin(async move { if is_well { Ok(()) } else { Err("the secret host broker-7".into()) } }) as _
        }
    };
    let second = || Box::pin(async { Ok(()) }) as _;
    let checks = vec![Check { name: "one", ask: Box::new(first) }, Check { name: "two", ask: Box::new(second) }];
    let url = site(checks).await;
    let all = futures_util::future::join_all((0..50).map(|_| get(&url))).await;
    assert!(all.iter().all(|answer| *answer == (200, "one ok\ntwo ok\n".to_owned())), "{all:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    is_well.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(get(&url).await, (503, "one failed\ntwo ok\n".to_owned()));
    let hangs = || Box::pin(std::future::pending()) as _;
    let url = site(vec![Check { name: "hangs", ask: Box::new(hangs) }]).await;
    let began = Instant::now();
    assert_eq!(get(&url).await, (503, "hangs failed\n".to_owned()));
    assert!(began.elapsed() < Duration::from_secs(6));
}

#[tokio::test]
async fn a_broker_that_is_gone_or_lacks_a_topic_is_noticed() {
    let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    broker.create_topic("there", 2, 1).unwrap();
    let check = |topics: &[&str]| {
        broker::check(&broker.bootstrap_servers(), topics.iter().map(|topic| (*topic).to_owned()).collect()).unwrap()
    };
    assert_eq!((check(&["there"]).ask)().await, Ok(()));
    assert_eq!((check(&["there", "nowhere"]).ask)().await, Err("the broker has no topic nowhere".to_owned()));
    let nobody = broker::check("127.0.0.1:1", vec!["there".to_owned()]).unwrap();
    assert!((nobody.ask)().await.is_err());
}
