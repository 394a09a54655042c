//! A whole service that an ESP tells of a complaint: whoever complained gets no mail from the next tick on. Its broker is librdkafka's mock
//! cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use beckon::config::{BasicAuth, SecretSource, Webhooks};
use beckon::decision::{Decision, Outcome, Reason};
use beckon::ledger::Ledger;
use beckon::pipeline::service::{Readings, Service};
use beckon::pipeline::site::{Behind, Site};
use beckon_dataflows::model::Stream;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use serde_json::json;

use crate::service::{NOW_MS, StopAtEnd, abandon_a_cart, configuration};

const PASSWORD: &str = "a password of postmark";

/// The service's clock: as fast as ours, from `NOW_MS` on, and put forward when nothing else happens.
pub struct Clock {
    began: Instant,
    ahead_ms: AtomicU64,
}

impl Clock {
    /// It, and as a service takes it.
    pub fn start() -> (Arc<Clock>, Arc<dyn Fn() -> u64 + Send + Sync>) {
        let clock = Arc::new(Clock { began: Instant::now(), ahead_ms: AtomicU64::new(0) });
        let wall = clock.clone();
        (clock, Arc::new(move || wall.now_ms()))
    }

    pub fn put_forward(&self, by_ms: u64) {
        self.ahead_ms.store(by_ms, Ordering::Relaxed);
    }

    pub fn now_ms(&self) -> u64 {
        NOW_MS + self.began.elapsed().as_millis() as u64 + self.ahead_ms.load(Ordering::Relaxed)
    }
}

#[track_caller]
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(40), "{what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

pub fn fill_carts_again(brokers: &str, at_ms: u64) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    for customer in 0..30 {
        let (user, cart) = (format!("customer-{customer}-of-a-test"), format!("second-{customer}"));
        let line = json!({ "sku": "s1", "quantity": 1, "price": "30.00" });
        let left = json!({ "cart_id": cart, "user_id": user, "updated_at": at_ms, "currency": "EUR", "lines": [line] });
        let left = left.to_string();
        let record = BaseRecord::to(Stream::Carts.name()).key("k").payload(&left);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
}

/// Tells of a complaint as Postmark does.
fn complain(site: &str, decision: &Decision, at_ms: u64) -> u16 {
    let time = jiff::Timestamp::from_millisecond(at_ms as i64).unwrap();
    let what = json!({ "RecordType": "SpamComplaint", "ID": 42, "Type": "SpamComplaint", "BouncedAt": time.to_string(),
        "Email": "a@example.com", "Metadata": { "decision_id": decision.decision_id } });
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("{site}/webhooks/postmark")).basic_auth("beckon", Some(PASSWORD));
        request.body(what.to_string()).send().await.unwrap().status().as_u16()
    })
}

pub fn decided(readings: &Readings) -> u64 {
    readings.meter.decisions().values().sum()
}

#[test]
fn who_complained_gets_no_mail_from_the_next_tick_on() {
    let directory = tempfile::tempdir().unwrap();
    let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    Stream::ALL.into_iter().for_each(|stream| broker.create_topic(stream.name(), 1, 1).unwrap());
    let mut config = configuration(directory.path(), &broker.bootstrap_servers());
    let secret = directory.path().join("password");
    std::fs::write(&secret, PASSWORD).unwrap();
    let password = SecretSource::File(secret);
    let postmark = Some(BasicAuth { username: "beckon".into(), password });
    config.webhooks = Some(Webhooks { postmark, ..Webhooks::default() });
    let brokers = broker.bootstrap_servers();
    abandon_a_cart(&brokers);
    let (clock, wall) = Clock::start();
    let service = Service::open(&config, 1, wall.clone()).unwrap();
    let site = Site::start(&config, 1, Behind::of(&service), wall).unwrap().unwrap();
    let (url, stop) = (format!("http://{}", site.address()), StopAtEnd(service.stop()));
    let readings = service.readings();
    let ledger = service.readings().ledger().unwrap();
    let telling = std::thread::spawn(move || {
        let of_cart = |it: &Decision| &*it.campaign == "cart-abandonment" && it.outcome == Outcome::Send;
        let mut found = None;
        wait_for("a cart that was left", || {
            found = ledger.decisions().unwrap().into_iter().find(of_cart);
            found.is_some()
        });
        let who = found.unwrap();
        wait_for("all carts that were left", || decided(&readings) >= 30);
        assert_eq!(complain(&url, &who, clock.now_ms()), 200);
        wait_for("the complaint", || readings.meter.records_of(Stream::Engagement) == 1);
        let (records, at_ms) = (readings.meter.records(), clock.now_ms());
        fill_carts_again(&brokers, at_ms);
        wait_for("the second carts", || readings.meter.records() == records + 30 && readings.meter.as_of() > at_ms);
        let before = decided(&readings);
        clock.put_forward(40 * 60_000);
        wait_for("the second carts left too", || decided(&readings) >= before + 30);
        drop(stop);
        who
    });
    service.run(Box::new(|_| Ok(()))).unwrap();
    let who = telling.join().unwrap();
    site.stop().unwrap();
    let decisions = Ledger::open_existing(&config.state).unwrap().decisions().unwrap();
    let second: Vec<&Decision> = decisions.iter().filter(|it| it.subject.starts_with("second-")).collect();
    let (theirs, others): (Vec<&Decision>, Vec<&Decision>) =
        second.into_iter().partition(|it| it.customer_id == who.customer_id);
    assert!(!theirs.is_empty() && theirs.iter().all(|it| it.reason == Some(Reason::NoConsent)), "{theirs:?}");
    assert!(others.len() >= 29 && others.iter().all(|it| it.reason != Some(Reason::NoConsent)), "{others:?}");
}
