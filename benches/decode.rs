//! What decoding costs: nanoseconds a record for each stream, names known to the dictionary and new to it; and beside the
//! clickstream, what two JSON libraries take for parsing alone. `--quick` measures fewer rounds; a name measures what has it.
//!
//! `cargo bench --bench decode [-- [--quick] [NAME]]`

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use beckon::decode::{Decoder, Dictionary};
use beckon_dataflows::model::{Position, Stream};
use serde::Deserialize;

/// Records in a round: more than fit a core's own cache.
const RECORDS: usize = 20_000;
/// Records that are timed together.
const SLICE: usize = 500;

fn main() {
    // Cargo itself passes `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let wanted = arguments.into_iter().find(|argument| argument != "--quick").unwrap_or_default();
    let bench = Bench { rounds: if quick { 5 } else { 41 }, wanted };
    println!("{:<32} {:>6} {:>10} {:>10}", "records", "bytes", "ns/record", "MB/s");
    for (name, stream, record) in SHAPES {
        let mut decoder = Decoder::new(Arc::new(Dictionary::new()));
        bench.report(name, *record, |n, bytes| {
            black_box(decoder.decode(Position::new(*stream, 0, n as u64), bytes)).is_ok()
        });
    }
    let mut decoder = Decoder::new(Arc::default());
    bench.report("Product Viewed, new names", viewed, |n, bytes| {
        if n == 0 {
            decoder = Decoder::new(Arc::default());
        }
        black_box(decoder.decode(Position::new(Stream::Clickstream, 0, n as u64), bytes)).is_ok()
    });
    bench.report("parsing alone, serde_json", viewed, |_, bytes| {
        black_box(serde_json::from_slice::<Message<'_>>(bytes)).is_ok()
    });
    bench.report("parsing alone, sonic-rs", viewed, |_, bytes| {
        black_box(sonic_rs::from_slice::<Message<'_>>(bytes)).is_ok()
    });
}

/// How to measure, and what.
struct Bench {
    rounds: usize,
    /// Part of the names of the wanted measurements.
    wanted: String,
}

impl Bench {
    /// Prints the median cost of `decode` over records of one shape. It is timed in slices so short that on a busy machine
    /// most of them are not interrupted.
    fn report(&self, name: &str, record: fn(usize) -> String, mut decode: impl FnMut(usize, &[u8]) -> bool) {
        if !name.contains(&self.wanted) {
            return;
        }
        let records: Vec<Vec<u8>> = (0..RECORDS).map(|n| record(n).into_bytes()).collect();
        let mut costs = Vec::new();
        for round in 0..=self.rounds {
            for (slice, records) in records.chunks(SLICE).enumerate() {
                let start = Instant::now();
                for (n, bytes) in records.iter().enumerate() {
                    assert!(decode(slice * SLICE + n, bytes), "{name}: {}", String::from_utf8_lossy(bytes));
                }
                // The first round makes the names known.
                if round > 0 {
                    costs.push(start.elapsed().as_nanos() as f64 / records.len() as f64);
                }
            }
        }
        costs.sort_by(f64::total_cmp);
        let bytes = records.iter().map(Vec::len).sum::<usize>() as f64 / records.len() as f64;
        let ns = costs[costs.len() / 2];
        println!("{name:<32} {bytes:>6.0} {ns:>10.0} {:>10.0}", bytes * 1e3 / ns);
    }
}

type Shape = (&'static str, Stream, fn(usize) -> String);

const SHAPES: &[Shape] = &[
    ("Product Viewed", Stream::Clickstream, viewed),
    ("Product Added", Stream::Clickstream, added),
    ("Order Completed, 3 products", Stream::Clickstream, ordered),
    ("page", Stream::Clickstream, page),
    ("identify", Stream::Clickstream, identify),
    ("carts, 3 lines", Stream::Carts, cart),
    ("inventory", Stream::Inventory, stock),
    ("catalog", Stream::Catalog, product),
    ("orders, 3 lines", Stream::Orders, order),
    ("profiles", Stream::Profiles, profile),
    ("engagement", Stream::Engagement, engagement),
];

/// The user and the SKU of the nth record: 10,000 of the former, 1,000 of the latter, in no order.
fn keys(n: usize) -> (usize, usize) {
    (n * 7_919 % 10_000, n * 104_729 % 1_000)
}

fn time(n: usize) -> String {
    format!("2026-01-01T{:02}:{:02}:{:02}.{:03}Z", n / 3_600 % 24, n / 60 % 60, n % 60, n % 1_000)
}

fn segment(n: usize, head: &str, tail: &str) -> String {
    let (user, _) = keys(n);
    format!(
        r#"{{{head},"messageId":"m-{n}","userId":"u{user}","anonymousId":"a{user}","timestamp":"{}",{tail},"context":{{"page":{{"url":"https://shop.example.com/p/s{n}"}},"userAgent":"Mozilla/5.0"}}}}"#,
        time(n)
    )
}

fn viewed(n: usize) -> String {
    let properties = format!(
        r#""properties":{{"sku":"s{}","name":"Blue shirt","price":19.90,"currency":"EUR","category":"shirts"}}"#,
        keys(n).1
    );
    segment(n, r#""type":"track","event":"Product Viewed""#, &properties)
}

fn added(n: usize) -> String {
    let (user, sku) = keys(n);
    let properties = format!(
        r#""properties":{{"cart_id":"cart-{user}","sku":"s{sku}","name":"Blue shirt","price":19.90,"currency":"EUR","quantity":2}}"#
    );
    segment(n, r#""type":"track","event":"Product Added""#, &properties)
}

fn ordered(n: usize) -> String {
    let properties =
        format!(r#""properties":{{"order_id":"o-{n}","total":59.70,"currency":"EUR","products":[{}]}}"#, lines(n));
    segment(n, r#""type":"track","event":"Order Completed""#, &properties)
}

fn page(n: usize) -> String {
    segment(n, r#""type":"page","name":"Home""#, r#""properties":{"path":"/","title":"Shop","referrer":""}"#)
}

fn identify(n: usize) -> String {
    segment(n, r#""type":"identify""#, r#""traits":{"email":"someone@example.com","firstName":"Ada"}"#)
}

fn lines(n: usize) -> String {
    let line = |at| format!(r#"{{"sku":"s{}","quantity":1,"price":"19.90"}}"#, keys(n + at).1);
    [line(0), line(1), line(2)].join(",")
}

fn cart(n: usize) -> String {
    let (user, _) = keys(n);
    format!(
        r#"{{"cart_id":"cart-{user}","user_id":"u{user}","version":{n},"updated_at":"{}","currency":"EUR","lines":[{}]}}"#,
        time(n),
        lines(n)
    )
}

fn stock(n: usize) -> String {
    format!(
        r#"{{"sku":"s{}","location":"berlin","on_hand":{},"version":{n},"updated_at":"{}"}}"#,
        keys(n).1,
        n % 50,
        time(n)
    )
}

fn product(n: usize) -> String {
    let (_, sku) = keys(n);
    format!(
        r#"{{"sku":"s{sku}","name":"Blue shirt","category":"shirts","brand":"Acme","price":"19.90","currency":"EUR","image_url":"https://cdn.example.com/s{sku}.jpg","url":"https://shop.example.com/p/s{sku}","version":{n},"updated_at":"{}"}}"#,
        time(n)
    )
}

fn order(n: usize) -> String {
    let (user, _) = keys(n);
    format!(
        r#"{{"order_id":"o-{n}","user_id":"u{user}","cart_id":"cart-{user}","status":"placed","placed_at":"{}","total":"59.70","currency":"EUR","lines":[{}]}}"#,
        time(n),
        lines(n)
    )
}

fn profile(n: usize) -> String {
    let (user, _) = keys(n);
    format!(
        r#"{{"user_id":"u{user}","email":"u{user}@example.com","first_name":"Ada","locale":"en-GB","timezone":"Europe/London","consent":{{"email":true}},"attributes":{{"tier":"gold","city":"Leeds"}},"version":{n},"updated_at":"{}"}}"#,
        time(n)
    )
}

fn engagement(n: usize) -> String {
    let (user, _) = keys(n);
    format!(
        r#"{{"event_id":"e-{n}","type":"opened","decision_id":"{:032x}","user_id":"u{user}","occurred_at":"{}","machine":false}}"#,
        n + 1,
        time(n)
    )
}

/// What the decoder reads of a Segment message, as serde derives it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "only parsed")]
struct Message<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    anonymous_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    properties: Option<Properties<'a>>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only parsed")]
struct Properties<'a> {
    #[serde(borrow)]
    sku: Option<Cow<'a, str>>,
    #[serde(borrow)]
    product_id: Option<Cow<'a, str>>,
    quantity: Option<i64>,
    price: Option<f64>,
    #[serde(borrow)]
    currency: Option<Cow<'a, str>>,
    #[serde(borrow)]
    cart_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    order_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    query: Option<Cow<'a, str>>,
}
