//! Customers who leave a cart twice, so that it shows what became of them in between. Time is put forward for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use beckon::config::Config;
use beckon::decision::{Decision, Reason};
use beckon::ledger::Ledger;
use beckon::pipeline::service::Readings;
use beckon_dataflows::model::Stream;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;

use crate::service::NOW_MS;

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

fn fill_carts_again(brokers: &str, at_ms: u64) {
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

/// Waits until the carts of `abandon_a_cart` are decided.
pub fn wait_for_first_carts(readings: &Readings) {
    wait_for("all carts that were left", || decided(readings) >= 30);
}

/// Lets all of them leave a second cart, once what was just told is read, and waits until those are decided.
pub fn leave_second_carts(brokers: &str, clock: &Clock, readings: &Readings) {
    wait_for("what was told", || readings.meter.records_of(Stream::Engagement) == 1);
    let (records, at_ms) = (readings.meter.records(), clock.now_ms());
    fill_carts_again(brokers, at_ms);
    wait_for("the second carts", || readings.meter.records() == records + 30 && readings.meter.as_of() > at_ms);
    let before = decided(readings);
    clock.put_forward(40 * 60_000);
    wait_for("the second carts left too", || decided(readings) >= before + 30);
}

/// Of the second carts this customer's are refused for want of consent, and nobody else's.
#[track_caller]
pub fn assert_refused_alone(config: &Config, customer: &str) {
    let decisions = Ledger::open_existing(&config.state).unwrap().decisions().unwrap();
    let second: Vec<&Decision> = decisions.iter().filter(|it| it.subject.starts_with("second-")).collect();
    let (theirs, others): (Vec<&Decision>, Vec<&Decision>) =
        second.into_iter().partition(|it| &*it.customer_id == customer);
    assert!(!theirs.is_empty() && theirs.iter().all(|it| it.reason == Some(Reason::NoConsent)), "{theirs:?}");
    assert!(others.len() >= 29 && others.iter().all(|it| it.reason != Some(Reason::NoConsent)), "{others:?}");
}

fn decided(readings: &Readings) -> u64 {
    readings.meter.decisions().values().sum()
}
