//! Random worlds, each from one seed: small and dense, so that things coincide. In: a seed. Out: a configuration and the
//! lines of each stream, good, late, stale, repeated and bad. Cannot fail.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::campaigns::{self, Drawn};
use super::records::STREAMS;
use super::{World, bad_lines};

/// What a world may contain.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// Whether anonymous ids are linked to users, and users made aliases.
    pub identity: bool,
    /// The triggers of its campaigns.
    pub triggers: &'a [&'a str],
    /// Whether what does not change is forgotten soon.
    pub forget: bool,
    /// Whether profiles are deleted often.
    pub erasure: bool,
}

/// What `random_world` draws.
pub const CONTENTS: Contents =
    Contents { triggers: &["cart_abandonment", "cart_abandonment", "back_in_stock"], ..EVERY_TRIGGER };

/// Every trigger, and identities.
pub const EVERYTHING: Contents = Contents { identity: true, ..EVERY_TRIGGER };

/// All of that, and what does not change is forgotten soon.
pub const FORGETFUL: Contents = Contents { forget: true, ..EVERYTHING };

/// Customers are erased, and come again.
pub const ERASING: Contents = Contents { erasure: true, ..EVERYTHING };

/// And all is forgotten soon.
pub const ERASING_FORGETFUL: Contents = Contents { erasure: true, ..FORGETFUL };

/// Every trigger, where every id stays whose it is.
pub const EVERY_TRIGGER: Contents = Contents {
    identity: false,
    triggers: &[
        "cart_abandonment",
        "checkout_abandonment",
        "browse_abandonment",
        "search_abandonment",
        "back_in_stock",
        "low_stock",
        "price_drop",
        "replenishment",
        "post_purchase",
        "win_back",
        "welcome",
    ],
    forget: false,
    erasure: false,
};

const DAY_MS: i64 = 86_400_000;

/// Draws the world of `seed`.
pub fn random_world(seed: u64) -> World {
    random_world_of(seed, CONTENTS)
}

/// Draws the world of `seed` with other contents.
pub fn random_world_of(seed: u64, contents: Contents) -> World {
    let (story, config_toml, begin_ms) = story_of(seed, contents);
    World { seed, config_toml, begin_ms, streams: story.into_streams() }
}

/// The same world as it comes in live: its lines in the order in which they arrive, late, stale, repeated and bad ones too.
pub fn random_arrivals(seed: u64, contents: Contents) -> Arrivals {
    let (mut story, config_toml, begin_ms) = story_of(seed, contents);
    story.written.sort_by_key(|written| written.arrives_ms);
    Arrivals { config_toml, begin_ms, lines: story.written }
}

fn story_of(seed: u64, contents: Contents) -> (Story, String, i64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let drawn = campaigns::draw(&mut rng, contents.triggers, contents.forget, contents.erasure);
    let (config_toml, begin_ms) = (drawn.config_toml.clone(), drawn.begin_ms);
    let mut story = Story::new(rng, drawn, contents);
    // Drawn from the seed alone, so that other worlds stay what they were.
    story.circles = seed % 8 == 5;
    story.chooses = seed % 4 == 2;
    story.begin();
    let records = story.between(30, 200);
    let day = story.chance(0.12).then(|| story.between(5, 60));
    for record in 0..records {
        if Some(record) == day {
            story.now_ms += DAY_MS + story.between(-600_000, 600_000);
        }
        story.step();
        story.happen();
    }
    (story, config_toml, begin_ms)
}

/// A JSON object in the making: each member's name and its own text.
#[derive(Clone, Default)]
struct Object(Vec<(&'static str, String)>);

impl Object {
    fn raw(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    fn text(self, name: &'static str, value: &str) -> Self {
        self.raw(name, quoted(value))
    }

    fn maybe(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    fn json(&self) -> String {
        let member = |(name, value): &(&str, String)| format!("{}:{value}", quoted(name));
        let members: Vec<String> = self.0.iter().map(member).collect();
        format!("{{{}}}", members.join(","))
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A world as it comes in live.
pub struct Arrivals {
    pub config_toml: String,
    /// When it begins, or shortly before, epoch ms.
    pub begin_ms: i64,
    /// In the order in which they arrive.
    pub lines: Vec<Written>,
}

/// A line written, and when it arrives.
pub struct Written {
    pub stream: &'static str,
    pub arrives_ms: i64,
    pub line: String,
}

/// The ids that a record carries.
#[derive(Clone, PartialEq)]
struct Who {
    user: Option<String>,
    anonymous: Option<String>,
}

/// A cart or an order as last written.
#[derive(Clone)]
struct Known {
    id: String,
    who: Who,
    skus: Vec<String>,
    time_ms: i64,
}

/// A world being drawn.
struct Story {
    rng: ChaCha8Rng,
    tick_ms: i64,
    lateness_ms: i64,
    waits_ms: Vec<i64>,
    identity: bool,
    erasure: bool,
    /// Whether users may be made aliases of those who are aliases of them.
    circles: bool,
    /// Whether users choose which campaigns' mails they want.
    chooses: bool,
    now_ms: i64,
    users: Vec<String>,
    visitors: Vec<String>,
    skus: Vec<String>,
    locations: Vec<Option<String>>,
    carts: Vec<Known>,
    orders: Vec<Known>,
    /// For each key, the last version and its time.
    versions: BTreeMap<String, (i64, i64)>,
    versioned: bool,
    messages: Vec<(&'static str, &'static str, Object)>,
    ids: usize,
    written: Vec<Written>,
}

impl Story {
    fn new(rng: ChaCha8Rng, drawn: Drawn, contents: Contents) -> Self {
        let mut story = Story {
            rng,
            tick_ms: drawn.tick_ms,
            lateness_ms: drawn.lateness_ms,
            waits_ms: drawn.waits_ms,
            identity: contents.identity,
            erasure: contents.erasure,
            circles: false,
            chooses: false,
            now_ms: drawn.begin_ms,
            users: Vec::new(),
            visitors: Vec::new(),
            skus: Vec::new(),
            locations: Vec::new(),
            carts: Vec::new(),
            orders: Vec::new(),
            versions: BTreeMap::new(),
            versioned: true,
            messages: Vec::new(),
            ids: 0,
            written: Vec::new(),
        };
        story.now_ms += story.between(0, 3_600_000);
        story.versioned = story.chance(0.85);
        story.users = named("u", story.between(3, 8));
        // A visitor may have a user's id as its own, where that cannot make two decisions one.
        let visitor = match !drawn.shared_subjects && story.chance(0.2) {
            true => "u",
            false => "a",
        };
        story.visitors = named(visitor, story.between(1, 3));
        story.skus = named("s", story.between(3, 6));
        story.locations = match story.chance(0.4) {
            true => vec![None],
            false => named("l", story.between(1, 3)).into_iter().map(Some).collect(),
        };
        story
    }

    fn between(&mut self, least: i64, greatest: i64) -> i64 {
        self.rng.random_range(least..=greatest)
    }

    fn chance(&mut self, of: f64) -> bool {
        self.rng.random_bool(of)
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        let choice = choices.choose(&mut self.rng);
        choice.expect("there is something to choose").clone()
    }

    /// Most profiles, stocks and products are known from the start.
    fn begin(&mut self) {
        for user in self.users.clone() {
            if self.chance(0.9) {
                self.profile(&user, 0.95);
            }
        }
        for sku in self.skus.clone() {
            if self.chance(0.8) {
                self.product(&sku);
            }
            for location in self.locations.clone() {
                if self.chance(0.7) {
                    self.inventory(&sku, location.as_deref());
                }
            }
        }
    }

    /// Moves the time on: mostly within a tick or a few, sometimes to just about a deadline.
    fn step(&mut self) {
        let tick_ms = self.tick_ms;
        let step_ms = match self.between(0, 99) {
            0..=29 => 0,
            30..=54 => self.between(1, tick_ms),
            55..=79 => self.between(1, 4) * tick_ms,
            80..=91 => self.between(1, 40 * tick_ms),
            _ => {
                let wait_ms = match self.waits_ms.is_empty() {
                    true => tick_ms,
                    false => self.pick(&self.waits_ms.clone()),
                };
                wait_ms.min(3_600_000) + self.between(-1, 1) * tick_ms
            }
        };
        self.now_ms += step_ms.max(0);
        if self.chance(0.2) {
            self.now_ms -= self.now_ms % tick_ms;
        }
    }

    /// One thing happens.
    fn happen(&mut self) {
        let sku = self.pick(&self.skus.clone());
        let user = self.pick(&self.users.clone());
        match self.between(0, 99) {
            0..=13 => self.interest(&sku),
            14..=19 => self.other_message(),
            20..=31 => self.cart_message(&sku),
            32..=52 => self.cart(),
            53..=68 => {
                let location = self.pick(&self.locations.clone());
                self.inventory(&sku, location.as_deref());
            }
            69..=71 => self.product(&sku),
            72..=79 => self.order(),
            80..=82 => self.order_message(),
            83..=87 => self.profile(&user, 0.8),
            88..=90 => self.engagement(&user),
            91..=94 => self.repeat(),
            _ => {
                let time = self.time(self.now_ms);
                let (stream, line) = bad_lines::draw(&mut self.rng, &time);
                self.write(stream, self.now_ms, line);
            }
        }
    }

    // Writing

    /// Writes a line of event time `time_ms`: it arrives then, or after others that are later.
    fn write(&mut self, stream: &'static str, time_ms: i64, line: String) {
        let lateness_ms = self.lateness_ms;
        let delay_ms = match self.between(0, 99) {
            0..=69 => 0,
            70..=91 => self.between(0, lateness_ms),
            _ => lateness_ms + self.between(0, 20 * self.tick_ms),
        };
        self.written.push(Written { stream, arrives_ms: self.now_ms.max(time_ms) + delay_ms, line });
    }

    fn into_streams(mut self) -> BTreeMap<&'static str, Vec<String>> {
        let mut streams: BTreeMap<&'static str, Vec<String>> =
            STREAMS.into_iter().map(|stream| (stream, Vec::new())).collect();
        self.written.sort_by_key(|written| written.arrives_ms);
        for written in std::mem::take(&mut self.written) {
            if let Some(lines) = streams.get_mut(written.stream) {
                lines.push(written.line);
            }
        }
        if self.chance(0.2) {
            streams.remove(self.pick(&STREAMS));
        }
        let absent = self.chance(0.5);
        streams.retain(|_, lines| !absent || !lines.is_empty());
        streams
    }

    /// A time in one of the forms that SPEC §1 allows.
    fn time(&mut self, time_ms: i64) -> String {
        let offset = match self.between(0, 3) {
            0 => return time_ms.to_string(),
            1 => Offset::constant(2),
            2 => Offset::from_seconds(-(5 * 3600 + 1800)).expect("an offset within a day"),
            _ => Offset::UTC,
        };
        let time = Timestamp::from_millisecond(time_ms).expect("a time within range");
        let zoned = time.to_zoned_datetime(TimeZone::fixed(offset));
        match offset == Offset::UTC {
            true => format!("\"{time}\""),
            false => format!("\"{}\"", zoned.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z")),
        }
    }

    fn money(&mut self) -> String {
        let amount = self.pick(&["19.90", "5", "0.50", "100.00", "7.125", "20.00", "9.99"]);
        match self.chance(0.5) {
            true => quoted(amount),
            false => amount.to_owned(),
        }
    }

    /// Gives `object` the next version of `key`, or the same, an older one, or none; returns the time it is of.
    fn version(&mut self, key: &str, object: Object) -> (Object, i64) {
        let (version, time_ms) = self.versions.get(key).copied().unwrap_or((0, self.now_ms));
        let (version, time_ms) = match self.between(0, 99) {
            0..=79 => (version + 1, self.now_ms),
            80..=84 => (version, self.now_ms),
            85..=91 => (version, time_ms),
            92..=95 => ((version - 1).max(0), self.now_ms),
            _ => (0, self.now_ms),
        };
        self.versions.insert(key.to_owned(), (version, time_ms));
        let object = match self.versioned && version > 0 {
            true => object.raw("version", version.to_string()),
            false => object,
        };
        (object, time_ms)
    }

    fn write_versioned(&mut self, stream: &'static str, key: &str, object: Object) -> i64 {
        let (object, time_ms) = self.version(&format!("{stream} {key}"), object);
        let time = self.time(time_ms);
        let object = object.raw("updated_at", time);
        self.write(stream, time_ms, object.json());
        time_ms
    }

    fn next_id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}{}", self.ids)
    }

    fn who(&mut self) -> Who {
        let user = self.pick(&self.users.clone());
        let visitor = self.pick(&self.visitors.clone());
        let (user, anonymous) = match self.between(0, 9) {
            0..=6 => (Some(user), None),
            7 => (Some(user), Some(visitor)),
            _ => (None, Some(visitor)),
        };
        Who { user, anonymous }
    }

    // Clickstream

    fn message(&mut self, who: &Who, object: Object) {
        let object = object.maybe("userId", who.user.as_deref()).maybe("anonymousId", who.anonymous.as_deref());
        let object = match self.chance(0.9) {
            true => {
                let id = self.next_id("m");
                self.messages.push(("clickstream", "timestamp", object.clone().text("messageId", &id)));
                object.text("messageId", &id)
            }
            false => object,
        };
        let time_ms = self.now_ms;
        let time = self.time(time_ms);
        self.write("clickstream", time_ms, object.raw("timestamp", time).json());
    }

    fn track(&mut self, who: &Who, event: &str, properties: &Object) {
        let object = Object::default().text("type", "track").text("event", event).raw("properties", properties.json());
        self.message(who, object);
    }

    /// A product's name in a message: `sku`, else `product_id`.
    fn named_product(&mut self, sku: &str) -> Object {
        match self.between(0, 3) {
            0 => Object::default().text("product_id", sku),
            1 => Object::default().text("product_id", "other").text("sku", sku),
            _ => Object::default().text("sku", sku),
        }
    }

    fn interest(&mut self, sku: &str) {
        let who = self.who();
        let event = self.pick(&[
            "Product Viewed",
            "Product Viewed",
            "Viewed Product",
            "Product Clicked",
            "Clicked Product",
            "Product Added to Wishlist",
        ]);
        let properties = self.named_product(sku);
        self.track(&who, event, &properties);
    }

    fn other_message(&mut self) {
        let who = self.who();
        let kind = self.between(0, if self.identity { 9 } else { 4 });
        let object = Object::default();
        match kind {
            0 => self.message(&who, object.text("type", "page")),
            1 => self.message(&who, object.text("type", "screen").raw("properties", "null")),
            2 => {
                let user = self.pick(&self.users.clone());
                let alone = Who { user: Some(user), anonymous: None };
                let traits = Object::default().text("plan", "gold").json();
                self.message(&alone, object.text("type", "identify").raw("traits", traits));
            }
            3 | 4 => {
                let event = self.pick(&[
                    "Products Searched",
                    "Products Searched",
                    "Searched Products",
                    "Checkout Started",
                    "Started Checkout",
                    "Product List Viewed",
                    "Viewed Product List",
                    "Viewed Product Category",
                    "Cart Viewed",
                    "Checkout Started",
                    "Newsletter Read",
                ]);
                let query = self.pick(&["red shoes", "boots"]);
                let cart = self.cart_of(&who).map(|cart| cart.id);
                let properties = Object::default().text("query", query).maybe("cart_id", cart.as_deref());
                let properties = match self.orders.is_empty() || self.chance(0.8) {
                    true => properties,
                    false => properties.text("order_id", &self.pick(&self.orders.clone()).id),
                };
                self.track(&who, event, &properties);
            }
            5 | 6 => self.link(),
            _ => self.alias(),
        }
    }

    fn link(&mut self) {
        let who =
            Who { user: Some(self.pick(&self.users.clone())), anonymous: Some(self.pick(&self.visitors.clone())) };
        self.message(&who, Object::default().text("type", "identify"));
    }

    /// From a visitor or a user to a later user, so that no circle comes about.
    fn alias(&mut self) {
        let users = self.users.clone();
        let to = self.between(1, users.len() as i64 - 1) as usize;
        let previous = match self.chance(0.6) {
            true => self.pick(&self.visitors.clone()),
            false => users[self.between(0, to as i64 - 1) as usize].clone(),
        };
        let (mut user, mut previous) = (users[to].clone(), previous);
        if self.circles && self.ids % 2 == 1 && users.contains(&previous) {
            std::mem::swap(&mut user, &mut previous);
        }
        let who = Who { user: Some(user), anonymous: None };
        let object = Object::default().text("type", "alias");
        self.message(&who, object.text("previousId", &previous));
    }

    /// Product Added or Removed, to a named cart or the owner's own.
    fn cart_message(&mut self, sku: &str) {
        let who = self.who();
        let mut properties = self.named_product(sku);
        // The own carts of a user and a visitor of one id would be one subject.
        if self.visitors.iter().any(|visitor| self.users.contains(visitor)) || self.chance(0.4) {
            let cart = self.between(1, self.users.len() as i64 + 2);
            properties = properties.text("cart_id", &format!("cart-{cart}"));
        }
        if self.chance(0.6) {
            let quantity = self.between(1, 3).to_string();
            properties = properties.raw("quantity", quantity);
        }
        if self.chance(0.65) {
            if self.chance(0.6) {
                let price = self.money();
                properties = properties.raw("price", price);
            }
            let event = self.pick(&["Product Added", "Product Added", "Added Product"]);
            self.track(&who, event, &properties);
        } else {
            let event = self.pick(&["Product Removed", "Removed Product"]);
            self.track(&who, event, &properties);
        }
    }

    /// An order told of by messages: completed, updated, cancelled or refunded, known before or not.
    fn order_message(&mut self) {
        let known = match self.orders.is_empty() || self.chance(0.4) {
            true => None,
            false => Some(self.pick(&self.orders.clone())),
        };
        let mut order = match known {
            Some(known) => known,
            None => self.new_order(),
        };
        order.time_ms = self.now_ms;
        let event =
            self.pick(&["Order Completed", "Completed Order", "Order Updated", "Order Cancelled", "Order Refunded"]);
        let mut properties = Object::default().text("order_id", &order.id);
        let says_all = event.contains("Completed") || event.contains("Updated");
        if says_all || self.chance(0.3) {
            let lines = self.lines(&order.skus);
            properties = properties.raw("products", lines);
            let total = self.money();
            properties = properties.raw("total", total);
        }
        if self.chance(0.4) {
            let cart = self.cart_of(&order.who);
            properties = properties.maybe("cart_id", cart.map(|cart| cart.id).as_deref());
        }
        self.track(&order.who.clone(), event, &properties);
        self.remember_order(order);
    }

    // Records

    /// JSON lines of these SKUs; now and then one of quantity 0, or without quantity or price.
    fn lines(&mut self, skus: &[String]) -> String {
        let lines: Vec<String> = skus
            .iter()
            .map(|sku| {
                let mut line = Object::default().text("sku", sku);
                if self.chance(0.8) {
                    let quantity = self.pick(&[1, 1, 2, 3, 0]).to_string();
                    line = line.raw("quantity", quantity);
                }
                if self.chance(0.8) {
                    let price = self.money();
                    line = line.raw("price", price);
                }
                line.json()
            })
            .collect();
        format!("[{}]", lines.join(","))
    }

    fn some_skus(&mut self, least: i64) -> Vec<String> {
        let count = self.between(least, 4) as usize;
        let skus = self.skus.clone();
        let chosen = skus.sample(&mut self.rng, count.min(skus.len()));
        chosen.cloned().collect()
    }

    fn owned(&self, who: &Who) -> Object {
        Object::default().maybe("user_id", who.user.as_deref()).maybe("anonymous_id", who.anonymous.as_deref())
    }

    fn cart(&mut self) {
        let number = self.between(1, self.users.len() as i64 + 2);
        let id = format!("cart-{number}");
        let known = self.carts.iter().position(|cart| cart.id == id);
        let who = match known {
            Some(index) if self.chance(0.85) => self.carts[index].who.clone(),
            _ => self.who(),
        };
        let skus = match self.chance(0.12) {
            true => Vec::new(),
            false => self.some_skus(1),
        };
        let lines = self.lines(&skus);
        let object = self.owned(&who).text("cart_id", &id).text("currency", "EUR").raw("lines", lines);
        let time_ms = self.write_versioned("carts", &id, object);
        self.carts.retain(|cart| cart.id != id);
        self.carts.push(Known { id, who, skus, time_ms });
    }

    fn inventory(&mut self, sku: &str, location: Option<&str>) {
        let on_hand = match self.between(0, 9) {
            0..=4 => 0,
            5 => -self.between(1, 3),
            _ => self.between(1, 5),
        };
        let object = Object::default().text("sku", sku).maybe("location", location).raw("on_hand", on_hand.to_string());
        let key = format!("{sku} {location:?}");
        self.write_versioned("inventory", &key, object);
    }

    fn product(&mut self, sku: &str) {
        let price = self.money();
        let mut object = Object::default().text("sku", sku).text("category", "shoes");
        if self.chance(0.85) {
            let name = self.pick(&["Red shoe", "Größe \"42\" – é", "Tab\there \\ 靴"]);
            object = object.text("name", name);
        }
        if self.chance(0.85) {
            object = object.raw("price", price).text("currency", "EUR");
        }
        if self.chance(0.7) {
            object = object.text("image_url", &format!("https://shop.example/{sku}.jpg"));
        }
        if self.chance(0.7) {
            object = object.text("url", &format!("https://shop.example/{sku}?a=1&b=2"));
        }
        self.write_versioned("catalog", sku, object);
    }

    fn cart_of(&mut self, who: &Who) -> Option<Known> {
        let own = |cart: &&Known| cart.who == *who;
        let carts: Vec<Known> = self.carts.iter().filter(own).cloned().collect();
        (!carts.is_empty()).then(|| self.pick(&carts))
    }

    /// An order of someone's, of a cart's SKUs or of any.
    fn new_order(&mut self) -> Known {
        let who = match self.carts.is_empty() || self.chance(0.3) {
            true => self.who(),
            false => self.pick(&self.carts.clone()).who,
        };
        let skus = match self.cart_of(&who) {
            Some(cart) if self.chance(0.5) => cart.skus,
            _ => self.some_skus(0),
        };
        Known { id: self.next_id("order-"), who, skus, time_ms: self.now_ms }
    }

    fn remember_order(&mut self, order: Known) {
        self.orders.retain(|known| known.id != order.id);
        self.orders.push(order);
    }

    fn order(&mut self) {
        if !self.orders.is_empty() && self.chance(0.35) {
            return self.order_update();
        }
        let mut order = self.new_order();
        let cart = self.cart_of(&order.who);
        let mut object = Object::default().text("status", "placed");
        if let Some(cart) = &cart {
            if self.chance(0.35) {
                // In the very tick of the cart's change, before or after it.
                let tick = cart.time_ms - cart.time_ms.rem_euclid(self.tick_ms);
                order.time_ms = match cart.time_ms == tick {
                    true => tick,
                    false => tick + self.between(1, self.tick_ms),
                };
            }
            if self.chance(0.4) {
                object = object.text("cart_id", &cart.id);
            } else if self.chance(0.15) {
                let other = self.pick(&self.carts.clone());
                object = object.text("cart_id", &other.id);
            }
        }
        let placed = self.time(order.time_ms);
        let object = object.raw("placed_at", placed);
        let object = match self.chance(0.3) {
            true => {
                let updated = self.time(order.time_ms);
                object.raw("updated_at", updated)
            }
            false => object,
        };
        let object = match self.versioned && self.chance(0.7) {
            true => object.raw("version", "1"),
            false => object,
        };
        self.write_order(&order, object, order.time_ms);
        self.remember_order(order);
    }

    /// A later version of an order: cancelled, refunded, or placed with other lines.
    fn order_update(&mut self) {
        let mut order = self.pick(&self.orders.clone());
        let status = self.pick(&["cancelled", "cancelled", "refunded", "placed"]);
        if status == "placed" {
            order.skus = self.some_skus(1);
        }
        let placed = self.time(order.time_ms);
        let updated = self.time(self.now_ms);
        let mut object = Object::default().text("status", status).raw("placed_at", placed).raw("updated_at", updated);
        if self.versioned && self.chance(0.9) {
            let version = self.pick(&["2", "2", "3", "1"]);
            object = object.raw("version", version);
        }
        self.write_order(&order, object, self.now_ms);
        self.remember_order(order);
    }

    fn write_order(&mut self, order: &Known, object: Object, time_ms: i64) {
        let lines = self.lines(&order.skus);
        let total = self.money();
        let mut whole = self.owned(&order.who).text("order_id", &order.id);
        whole.0.extend(object.0);
        let whole = whole.raw("lines", lines).raw("total", total);
        self.write("orders", time_ms, whole.text("currency", "EUR").json());
    }

    /// A profile that can be mailed with about the chance `good`.
    fn profile(&mut self, user: &str, good: f64) {
        let mut object = Object::default().text("user_id", user);
        if self.chance(good) {
            object = object.text("email", &format!("{user}@example.com"));
        } else if self.chance(0.5) {
            object = object.raw("email", "null");
        }
        if self.chance(good) {
            object = object.raw("consent", "{\"email\":true}");
        } else if self.chance(0.7) {
            let consent = self.pick(&["{\"email\":false}", "{}", "{\"sms\":true}"]);
            object = object.raw("consent", consent);
        }
        let deleted = if self.erasure && good < 0.9 { 0.5 } else { (1.0 - good) / 2.0 };
        if self.chance(deleted) {
            object = object.raw("deleted", "true");
        }
        object = self.personal(object);
        self.write_versioned("profiles", user, object);
    }

    /// What audiences and quiet hours ask for; now and then of the wrong type, or missing.
    fn personal(&mut self, object: Object) -> Object {
        let object = object.text("first_name", "Ada");
        let locale = self.pick(&[Some("de-DE"), Some("de"), Some("en-GB"), None]);
        let timezone = self.pick(&campaigns::ZONES);
        let object = object.maybe("locale", locale).maybe("timezone", timezone);
        let mut attributes = Object::default();
        if self.chance(0.8) {
            let tier = self.pick(&["\"gold\"", "\"gold\"", "\"silver\"", "7", "null"]);
            attributes = attributes.raw("tier", tier);
        }
        if self.chance(0.7) {
            let age = self.pick(&["17", "18", "40", "\"old\""]);
            attributes = attributes.raw("age", age);
        }
        if self.chance(0.7) {
            let tags = self.pick(&["[]", "[\"new\",\"vip\"]", "[1,\"vip\"]", "[\"new\"]"]);
            attributes = attributes.raw("tags", tags);
        }
        match self.chance(0.8) {
            true => object.raw("attributes", attributes.json()),
            false => object,
        }
    }

    fn engagement(&mut self, user: &str) {
        if self.chooses && self.chance(0.6) {
            return self.choice(user);
        }
        let kind = self.pick(&["delivered", "opened", "opened", "clicked", "bounced", "complained", "unsubscribed"]);
        let id = self.next_id("e");
        let object = Object::default().text("event_id", &id).text("type", kind).text("user_id", user);
        self.engage(object);
    }

    /// Some campaigns, all or none, are not wanted any more.
    fn choice(&mut self, user: &str) {
        let id = self.next_id("e");
        let wanted = self.pick(&[0.0, 0.5, 0.5, 1.0]);
        let names: Vec<&str> = campaigns::NAMES.into_iter().filter(|_| !self.chance(wanted)).collect();
        let declined = serde_json::Value::from(names).to_string();
        let object = Object::default().text("event_id", &id).text("type", "chosen").text("user_id", user);
        self.engage(object.raw("declined", declined));
    }

    fn engage(&mut self, object: Object) {
        self.messages.push(("engagement", "occurred_at", object.clone()));
        let time = self.time(self.now_ms);
        let line = object.raw("occurred_at", time).json();
        self.write("engagement", self.now_ms, line);
    }

    /// A message or engagement again, with its id, now.
    fn repeat(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        let (stream, time_name, object) = self.pick(&self.messages.clone());
        let time = self.time(self.now_ms);
        self.write(stream, self.now_ms, object.raw(time_name, time).json());
    }
}

fn named(prefix: &str, count: i64) -> Vec<String> {
    (1..=count).map(|number| format!("{prefix}{number}")).collect()
}
