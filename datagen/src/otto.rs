//! Real shopping sessions from the OTTO dataset (github.com/otto-de/recsys-dataset) as the seven streams. In: one
//! session a line, `{session, events: [{aid, ts, type}]}`, `ts` in epoch milliseconds, `type` one of clicks, carts and
//! orders. Out: events in nondecreasing time. Fails where a line is none of that, with its number.
//!
//! A session becomes the user `otto-SESSION`. A click is a Product Viewed, a cart event puts one into the cart
//! `otto-cart-SESSION`, orders of one time are one order from that cart. What was ordered leaves the cart; the cart is
//! said again at its next change. What the dataset does not have is made from the ids alone, so that it is the same in
//! every run: prices, and, a second before the first event, profiles that consent, catalogue and stock for every aid.
//!
//! Everything is held in memory, as sessions overlap and events are wanted by time: about 1 KB an event.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::stream::Event;
use crate::wire::{
    Attributes, CURRENCY, CartRecord, CatalogRecord, Consent, InventoryRecord, LineRecord, Message, Money, OrderRecord,
    ProductProperties, ProfileRecord, Properties, Time,
};

/// How long before the first event profiles, catalogue and stock are said.
const PREAMBLE_MS: i64 = 1_000;

/// A session, as the dataset has it.
#[derive(Debug, Deserialize)]
struct Session {
    session: u64,
    events: Vec<Act>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Act {
    aid: u64,
    ts: i64,
    #[serde(rename = "type")]
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Clicks,
    Carts,
    Orders,
}

/// Reads the sessions of a `.jsonl` or `.jsonl.gz` file.
pub fn read_file(path: &Path) -> Result<Vec<Event>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    read(BufReader::new(reader)).with_context(|| format!("in {}", path.display()))
}

/// Reads sessions, one a line; empty lines are passed over.
pub fn read(lines: impl BufRead) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut users = Vec::new();
    let mut articles = BTreeSet::new();
    let mut first_ms = i64::MAX;
    for (number, line) in lines.lines().enumerate() {
        let line = line.with_context(|| format!("cannot read line {}", number + 1))?;
        if line.trim().is_empty() {
            continue;
        }
        let mut session: Session = serde_json::from_str(&line)
            .with_context(|| format!("line {} is no session of the OTTO dataset", number + 1))?;
        session.events.sort_by_key(|act| act.ts);
        first_ms = first_ms.min(session.events.first().map_or(i64::MAX, |act| act.ts));
        articles.extend(session.events.iter().map(|act| act.aid));
        users.push(session.session);
        Journey::new(session.session).retell(&session.events, &mut events);
    }
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let preamble_ms = first_ms - PREAMBLE_MS;
    let mut all: Vec<Event> = articles.iter().map(|aid| Article::new(*aid).catalog_event(preamble_ms)).collect();
    all.extend(articles.iter().map(|aid| Article::new(*aid).inventory_event(preamble_ms)));
    all.extend(users.iter().map(|session| profile_event(*session, preamble_ms)));
    // Stable: events of one session and time keep their order.
    events.sort_by_key(|event| event.time_ms);
    all.append(&mut events);
    Ok(all)
}

/// An article; all but its id is made up from the id.
struct Article {
    sku: String,
    name: String,
    price: Money,
    on_hand: i64,
    url: String,
    image_url: String,
}

impl Article {
    fn new(aid: u64) -> Article {
        let drawn = xxh3_64(&aid.to_le_bytes());
        Article {
            sku: aid.to_string(),
            name: format!("Article {aid}"),
            // 4.90 to 199.90.
            price: Money(490 + 100 * (drawn % 196) as i64),
            on_hand: 10 + (drawn >> 32) as i64 % 90,
            url: format!("https://shop.example.com/p/{aid}"),
            image_url: format!("https://img.example.com/{aid}.jpg"),
        }
    }

    fn catalog_event(&self, time_ms: i64) -> Event {
        let record = CatalogRecord {
            sku: &self.sku,
            name: &self.name,
            category: "OTTO",
            brand: "OTTO",
            price: self.price,
            currency: CURRENCY,
            image_url: &self.image_url,
            url: &self.url,
            version: 1,
            updated_at: Time(time_ms),
        };
        record.event()
    }

    fn inventory_event(&self, time_ms: i64) -> Event {
        InventoryRecord { sku: &self.sku, location: None, on_hand: self.on_hand, version: 1, updated_at: time_ms }
            .event()
    }

    fn properties(&self) -> Properties<'_> {
        Properties::Product(ProductProperties {
            product_id: &self.sku,
            sku: &self.sku,
            name: &self.name,
            category: "OTTO",
            brand: "OTTO",
            price: self.price.number(),
            currency: CURRENCY,
            quantity: None,
            url: &self.url,
            image_url: &self.image_url,
        })
    }
}

fn profile_event(session: u64, time_ms: i64) -> Event {
    let user_id = format!("otto-{session}");
    let email = format!("{user_id}@example.com");
    let record = ProfileRecord {
        user_id: &user_id,
        email: Some(&email),
        first_name: "Otto",
        locale: "de-DE",
        timezone: "Europe/Berlin",
        consent: Consent { email: true },
        attributes: Attributes { tier: "bronze", city: "Hamburg" },
        deleted: false,
        version: 1,
        updated_at: Time(time_ms),
    };
    record.event()
}

/// A line of a cart or an order.
struct Line {
    aid: u64,
    quantity: u32,
}

/// One session, retold.
struct Journey {
    session: u64,
    user_id: String,
    cart_id: String,
    cart: Vec<Line>,
    version: u64,
}

impl Journey {
    fn new(session: u64) -> Journey {
        Journey {
            session,
            user_id: format!("otto-{session}"),
            cart_id: format!("otto-cart-{session}"),
            cart: Vec::new(),
            version: 0,
        }
    }

    /// `acts` must be sorted by time.
    fn retell(&mut self, acts: &[Act], into: &mut Vec<Event>) {
        for (nth, act) in acts.iter().enumerate() {
            match act.kind {
                Kind::Clicks => into.push(self.view(nth, act)),
                Kind::Carts => into.push(self.add_to_cart(act)),
                Kind::Orders if is_first_order_of_its_time(&acts[..nth], act) => {
                    let of_this_time = acts[nth..].iter().take_while(|other| other.ts == act.ts);
                    let bought = of_this_time.filter(|other| other.kind == Kind::Orders).map(|other| other.aid);
                    into.push(self.order(act.ts, bought));
                }
                Kind::Orders => {}
            }
        }
    }

    fn view(&self, nth: usize, act: &Act) -> Event {
        let article = Article::new(act.aid);
        let message = Message {
            kind: "track",
            event: Some("Product Viewed"),
            message_id: &format!("otto-{}-{nth}", self.session),
            user_id: Some(&self.user_id),
            anonymous_id: None,
            previous_id: None,
            timestamp: Time(act.ts),
            properties: Some(article.properties()),
            traits: None,
        };
        message.event()
    }

    fn add_to_cart(&mut self, act: &Act) -> Event {
        add(&mut self.cart, act.aid);
        self.version += 1;
        let articles = articles(&self.cart);
        let record = CartRecord {
            cart_id: &self.cart_id,
            user_id: Some(&self.user_id),
            anonymous_id: None,
            version: self.version,
            updated_at: Time(act.ts),
            currency: CURRENCY,
            lines: &line_records(&self.cart, &articles),
        };
        record.event()
    }

    fn order(&mut self, time_ms: i64, bought: impl Iterator<Item = u64>) -> Event {
        let mut lines = Vec::new();
        bought.for_each(|aid| add(&mut lines, aid));
        self.cart.retain(|line| lines.iter().all(|ordered| ordered.aid != line.aid));
        let articles = articles(&lines);
        let priced = lines.iter().zip(&articles);
        let record = OrderRecord {
            order_id: &format!("otto-order-{}-{time_ms}", self.session),
            user_id: Some(&self.user_id),
            anonymous_id: None,
            cart_id: Some(&self.cart_id),
            status: "placed",
            placed_at: Time(time_ms),
            version: 1,
            updated_at: Time(time_ms),
            total: Money(priced.map(|(line, article)| i64::from(line.quantity) * article.price.0).sum()),
            currency: CURRENCY,
            lines: &line_records(&lines, &articles),
        };
        record.event()
    }
}

fn is_first_order_of_its_time(before: &[Act], act: &Act) -> bool {
    let of_this_time = before.iter().rev().take_while(|other| other.ts == act.ts);
    of_this_time.into_iter().all(|other| other.kind != Kind::Orders)
}

/// Puts one more of an article in.
fn add(lines: &mut Vec<Line>, aid: u64) {
    match lines.iter_mut().find(|line| line.aid == aid) {
        Some(line) => line.quantity += 1,
        None => lines.push(Line { aid, quantity: 1 }),
    }
}

fn articles(lines: &[Line]) -> Vec<Article> {
    lines.iter().map(|line| Article::new(line.aid)).collect()
}

fn line_records<'a>(lines: &[Line], articles: &'a [Article]) -> Vec<LineRecord<'a>> {
    let written = |(line, article): (&Line, &'a Article)| LineRecord {
        sku: &article.sku,
        quantity: line.quantity,
        price: article.price,
    };
    lines.iter().zip(articles).map(written).collect()
}
