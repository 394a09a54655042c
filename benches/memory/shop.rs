//! A shop whose visitors are ever new ones. In: a rate. Out: records, in the order of their times, each as its bytes. One visit in
//! five logs in, to one of a few thousand accounts that come again.

use std::collections::BTreeMap;

use beckon_dataflows::model::Stream;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

const SKUS: u64 = 2_000;
const ACCOUNTS: u64 = 5_000;

/// How much was said so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said {
    /// Records.
    pub records: u64,
    /// Visitors.
    pub visitors: u64,
    /// Carts.
    pub carts: u64,
    /// Orders.
    pub orders: u64,
}

/// The shop.
pub struct Shop {
    rng: ChaCha8Rng,
    now_ms: u64,
    /// Between two visits.
    gap_ms: u64,
    /// What will be said, by its time.
    ahead: BTreeMap<(u64, u64), (Stream, String)>,
    said: Said,
    numbers: u64,
}

impl Shop {
    /// Opens with its products, their stock and the accounts.
    pub fn new(visits_a_day: u64) -> Shop {
        let mut shop = Shop {
            rng: ChaCha8Rng::seed_from_u64(1),
            now_ms: 1_767_225_600_000,
            gap_ms: 86_400_000 / visits_a_day.clamp(1, 1_000_000),
            ahead: BTreeMap::new(),
            said: Said::default(),
            numbers: 0,
        };
        for sku in 0..SKUS {
            let name = format!("Product {sku}");
            let product =
                json!({"sku": format!("sku-{sku}"), "name": name, "price": "19.90", "currency": "EUR", "version": 1});
            shop.put(0, Stream::Catalog, "updated_at", product);
            shop.stock(0, sku, 5);
        }
        for account in 0..ACCOUNTS {
            let user = format!("user-{account}");
            let email = format!("{user}@example.com");
            let profile = json!({"user_id": user, "email": email, "consent": {"email": true}, "version": 1});
            shop.put(0, Stream::Profiles, "updated_at", profile);
        }
        shop
    }

    /// The time up to which all has been said, epoch ms.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// How much was said so far.
    pub fn said(&self) -> Said {
        self.said
    }

    /// Lets the next visit begin, and says what comes before it.
    pub fn say(&mut self, mut hear: impl FnMut(Stream, u64, &[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.visit();
        self.now_ms += self.gap_ms;
        let later = self.ahead.split_off(&(self.now_ms, 0));
        for (stream, record) in std::mem::replace(&mut self.ahead, later).into_values() {
            self.said.records += 1;
            hear(stream, self.said.records, record.as_bytes())?;
        }
        Ok(())
    }

    fn put(&mut self, after_ms: u64, stream: Stream, time: &str, mut record: serde_json::Value) {
        let at_ms = self.now_ms + after_ms;
        self.numbers += 1;
        record[time] = at_ms.into();
        self.ahead.insert((at_ms, self.numbers), (stream, record.to_string()));
    }

    fn stock(&mut self, after_ms: u64, sku: u64, on_hand: u64) {
        let record = json!({"sku": format!("sku-{sku}"), "on_hand": on_hand, "version": self.numbers});
        self.put(after_ms, Stream::Inventory, "updated_at", record);
    }

    /// A visitor looks at a few products, puts one or two into a cart and may buy them.
    fn visit(&mut self) {
        self.said.visitors += 1;
        let visitor = format!("visitor-{:032x}", self.rng.random::<u128>());
        let mut at_ms = self.rng.random_range(0..self.gap_ms);
        if self.rng.random_bool(0.2) {
            let user = format!("user-{}", self.rng.random_range(0..ACCOUNTS));
            self.click(at_ms, json!({"type": "identify", "userId": user, "anonymousId": visitor}));
        }
        for _ in 0..self.rng.random_range(2..9) {
            at_ms += self.rng.random_range(2_000..60_000);
            let sku = format!("sku-{}", self.rng.random_range(0..SKUS));
            let record = json!({"type": "track", "event": "Product Viewed", "anonymousId": visitor,
                "properties": {"sku": sku}});
            self.click(at_ms, record);
        }
        if self.rng.random_bool(0.5) {
            self.shop_on(at_ms, &visitor);
        }
        for _ in 0..2 {
            let (sku, on_hand) = (self.rng.random_range(0..SKUS), self.rng.random_range(0..4));
            self.stock(at_ms, sku, on_hand);
        }
    }

    fn shop_on(&mut self, mut at_ms: u64, visitor: &str) {
        self.said.carts += 1;
        let cart = format!("cart-{:016x}", self.rng.random::<u64>());
        let mut lines = Vec::new();
        for version in 1..=self.rng.random_range(1..4) {
            at_ms += self.rng.random_range(2_000..60_000);
            let sku = format!("sku-{}", self.rng.random_range(0..SKUS));
            lines.push(json!({"sku": sku, "quantity": 1, "price": "19.90"}));
            let record = json!({"cart_id": cart, "anonymous_id": visitor, "version": version, "currency": "EUR",
                "lines": lines});
            self.put(at_ms, Stream::Carts, "updated_at", record);
        }
        if self.rng.random_bool(0.3) {
            self.said.orders += 1;
            at_ms += self.rng.random_range(10_000..300_000);
            let record = json!({"order_id": format!("order-{:016x}", self.rng.random::<u64>()), "cart_id": cart,
                "anonymous_id": visitor, "status": "placed", "total": "39.80", "currency": "EUR", "lines": lines});
            self.put(at_ms, Stream::Orders, "placed_at", record);
        }
    }

    fn click(&mut self, after_ms: u64, mut record: serde_json::Value) {
        record["messageId"] = format!("message-{:016x}", self.rng.random::<u64>()).into();
        self.put(after_ms, Stream::Clickstream, "timestamp", record);
    }
}
