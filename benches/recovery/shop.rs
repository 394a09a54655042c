//! The shop whose service is restarted. In: how many customers. Out: records in Kafka, of a profile and an open cart of each, and then of carts
//! that change as time goes on.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::{Value, json};

use super::broker::Broker;
use super::serve::now_ms;

/// Partitions of each topic.
const PARTITIONS: i32 = 3;

/// The first profile is so old, ms; the last cart is new.
const PAST_MS: u64 = 20 * 60_000;

/// Records between two looks at the clock.
const AT_ONCE: u64 = 20;

const CONFIG: &str = r#"
tick = "1s"
allowed_lateness = "1s"
idle_after = "2s"
snapshot_every = "EVERY"
templates = "templates"
[kafka]
brokers = "BROKERS"
[[campaign]]
name = "cart"
trigger = "cart_abandonment"
after = "6h"
template = "cart"
[esp]
kind = "http"
base_url = "http://127.0.0.1:9"
from = "Shop <shop@example.com>"
"#;

/// Writes the configuration: snapshots `every` so long.
pub fn configure(folder: &Path, broker: &Broker, every: &str) -> Result<()> {
    let config = CONFIG.replace("BROKERS", broker.bootstrap()).replace("EVERY", every);
    std::fs::write(folder.join("beckon.toml"), config)?;
    std::fs::create_dir_all(folder.join("templates"))?;
    for part in ["subject", "html", "txt"] {
        std::fs::write(folder.join(format!("templates/cart.{part}.hbs")), "Your cart, {{customer.id}}")?;
    }
    Ok(())
}

/// The shop.
pub struct Shop {
    producer: ThreadedProducer<DefaultProducerContext>,
    customers: u64,
}

impl Shop {
    /// Opens it, with topics of its own names.
    pub fn open(broker: &Broker, customers: u64) -> Result<Shop> {
        for stream in beckon_datagen::STREAMS {
            broker.create_topic(stream, PARTITIONS)?;
        }
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.bootstrap()).set("linger.ms", "5").set("compression.type", "lz4");
        Ok(Shop { producer: config.create()?, customers })
    }

    /// Says what was before. Returns the time of the last of it, epoch ms.
    pub fn fill(&self) -> Result<u64> {
        let (began, now) = (now_ms() - PAST_MS, now_ms());
        let at = |n: u64, of: u64| began + PAST_MS * n / of;
        self.send("inventory", "s1", &json!({"sku": "s1", "on_hand": 99, "updated_at": began}));
        for n in 0..2 * self.customers {
            let at = at(n, 2 * self.customers);
            match n.checked_sub(self.customers) {
                None => {
                    let user = format!("u{n}");
                    let email = format!("{user}@example.com");
                    let profile =
                        json!({"user_id": user, "email": email, "consent": {"email": true}, "updated_at": at});
                    self.send("profiles", &user, &profile);
                }
                Some(n) => self.send_cart(n, at),
            }
        }
        self.producer.flush(Duration::from_secs(300))?;
        Ok(now)
    }

    /// Lets `rate` carts change a second, until told to stop.
    pub fn sell(&self, rate: u64, stop: &AtomicBool) {
        let began = Instant::now();
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            self.send_cart(n * 7919 % self.customers, now_ms());
            n += 1;
            if n % AT_ONCE == 0 {
                std::thread::sleep(Duration::from_millis(n * 1000 / rate).saturating_sub(began.elapsed()));
            }
        }
    }

    fn send_cart(&self, n: u64, at: u64) {
        let (cart, user) = (format!("c{n}"), format!("u{n}"));
        let line = json!({"sku": "s1", "quantity": 1 + at % 3, "price": "19.90"});
        self.send(
            "carts",
            &cart,
            &json!({"cart_id": cart, "user_id": user, "updated_at": at, "currency": "EUR", "lines": [line]}),
        );
    }

    fn send(&self, topic: &str, key: &str, record: &Value) {
        let json = record.to_string();
        let mut message = BaseRecord::to(topic).key(key).payload(&json);
        while let Err((_, back)) = self.producer.send(message) {
            std::thread::sleep(Duration::from_millis(2));
            message = back;
        }
    }
}
