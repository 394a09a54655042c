//! Lines that are bad in each of the ways of SPEC §1. In: a random number generator, and a good time. Out: a stream, and
//! a line that it must refuse; were it taken, it would show. Cannot fail.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::records::STREAMS;

/// Draws a stream and a bad line for it; `time` is the JSON of a time that is good.
pub fn draw(rng: &mut ChaCha8Rng, time: &str) -> (&'static str, String) {
    let stream = pick(rng, &STREAMS);
    match rng.random_range(0..10) {
        0..=2 => (stream, pick(rng, &NOT_RECORDS).to_owned()),
        3 if rng.random_bool(0.08) => {
            let pad = "x".repeat(1024 * 1024);
            (stream, format!("{{\"pad\":\"{pad}\"}}"))
        }
        3 | 4 => (stream, bad_time(rng, stream)),
        _ => {
            let (stream, members) = pick(rng, &BAD_MEMBERS);
            let name = time_of(stream);
            let line = format!("{{{members},\"version\":1000000,\"{name}\":{time}}}");
            (stream, line)
        }
    }
}

fn pick<T: Copy>(rng: &mut ChaCha8Rng, choices: &[T]) -> T {
    *choices.choose(rng).expect("there is something to choose")
}

/// The member that gives a record's event time.
fn time_of(stream: &str) -> &'static str {
    match stream {
        "clickstream" => "timestamp",
        "engagement" => "occurred_at",
        "orders" => "placed_at",
        _ => "updated_at",
    }
}

/// A record that is right but for its time, which is missing, unreadable or absurd.
fn bad_time(rng: &mut ChaCha8Rng, stream: &str) -> String {
    let members = match stream {
        "clickstream" => r#""type":"page","userId":"u1""#,
        "engagement" => r#""type":"opened","event_id":"e","user_id":"u1""#,
        "orders" => r#""status":"placed","order_id":"order-1","user_id":"u1""#,
        _ => r#""cart_id":"cart-1","sku":"s1","user_id":"u1","on_hand":7,"version":1000000"#,
    };
    let name = time_of(stream);
    match pick(rng, &BAD_TIMES) {
        "" => format!("{{{members}}}"),
        time => format!("{{{members},\"{name}\":{time}}}"),
    }
}

/// The empty one stands for none.
const BAD_TIMES: [&str; 8] = [
    "",
    "null",
    "\"yesterday\"",
    "true",
    "1767600000",
    "\"1999-12-31T23:59:59Z\"",
    "\"2100-01-02T00:00:00Z\"",
    "99999999999999",
];

/// Lines that are no JSON object.
const NOT_RECORDS: [&str; 8] = [
    "not json",
    "{\"sku\":\"s1\",\"on_hand\":",
    "{\"sku\":\"s1\"} trailing",
    "{'sku':'s1'}",
    "[]",
    "42",
    "null",
    "\"text\"",
];

/// Streams, and members of which one is missing or of the wrong type.
const BAD_MEMBERS: [(&str, &str); 24] = [
    ("clickstream", r#""type":"page""#),
    ("clickstream", r#""userId":"u1""#),
    ("clickstream", r#""type":"page","userId":7"#),
    ("clickstream", r#""type":"dance","userId":"u1""#),
    ("clickstream", r#""type":"alias","userId":"u1""#),
    ("clickstream", r#""type":"track","event":"Product Added","userId":"u1","properties":{"sku":"s1","quantity":-1}"#),
    (
        "clickstream",
        r#""type":"track","event":"Product Added","userId":"u1","properties":{"sku":"s1","price":"cheap"}"#,
    ),
    ("clickstream", r#""type":"track","event":"Product Viewed","userId":"u1","properties":"s1""#),
    ("carts", r#""user_id":"u1","lines":[]"#),
    ("carts", r#""cart_id":"cart-1","lines":[]"#),
    ("carts", r#""cart_id":"cart-1","user_id":"u1","lines":{"sku":"s1"}"#),
    ("carts", r#""cart_id":"cart-1","user_id":"u1","lines":[{"quantity":1}]"#),
    ("carts", r#""cart_id":"cart-1","user_id":"u1","lines":[{"sku":"s1","quantity":1.5}]"#),
    ("carts", r#""cart_id":"cart-1","user_id":"u1","lines":[{"sku":"s1","quantity":-2}]"#),
    ("carts", r#""cart_id":"cart-1","user_id":"u1","lines":[{"sku":"s1","price":true}]"#),
    ("inventory", r#""on_hand":9"#),
    ("inventory", r#""sku":"s1""#),
    ("inventory", r#""sku":"s1","on_hand":"many""#),
    ("catalog", r#""sku":["s1"],"price":"1.00""#),
    ("orders", r#""order_id":"order-1","user_id":"u1","status":"eaten""#),
    ("orders", r#""user_id":"u1","status":"placed""#),
    ("profiles", r#""user_id":"u1","consent":"yes""#),
    ("profiles", r#""user_id":"u1","consent":{"email":"yes"}"#),
    ("engagement", r#""event_id":"e1","type":"yawned","user_id":"u1""#),
];
