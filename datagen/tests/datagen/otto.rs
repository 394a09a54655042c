//! The OTTO conversion: a small session by hand, and the real sample where it is there.

use std::io::Cursor;
use std::path::Path;

use beckon_datagen::{Event, otto};
use serde_json::{Value, json};

use crate::record;

const SESSION: &str = r#"{"session":7,"events":[
 {"aid":10,"ts":1659304800000,"type":"clicks"},
 {"aid":10,"ts":1659304801000,"type":"carts"},
 {"aid":10,"ts":1659304802000,"type":"carts"},
 {"aid":20,"ts":1659304803000,"type":"carts"},
 {"aid":10,"ts":1659304804000,"type":"orders"},
 {"aid":30,"ts":1659304804000,"type":"orders"},
 {"aid":40,"ts":1659304805000,"type":"carts"}]}"#;

fn convert(text: &str) -> anyhow::Result<Vec<Event>> {
    otto::read(Cursor::new(text.to_owned()))
}

fn one_line(text: &str) -> String {
    text.replace('\n', "")
}

fn of<'a>(events: &'a [Event], stream: &str) -> Vec<(&'a str, Value)> {
    let of_stream = events.iter().filter(|event| event.stream == stream);
    of_stream.map(|event| (&*event.key, serde_json::from_slice(&event.json).unwrap())).collect()
}

#[test]
fn a_session_becomes_views_carts_and_orders() {
    let events = convert(&one_line(SESSION)).unwrap();
    let views = of(&events, "clickstream");
    assert_eq!(views.len(), 1);
    assert_eq!(views[0].0, "otto-7");
    assert_eq!(views[0].1["event"], "Product Viewed");
    assert_eq!(views[0].1["properties"]["sku"], "10");

    let carts = of(&events, "carts");
    assert!(carts.iter().all(|(key, _)| *key == "otto-cart-7"));
    let states: Vec<Value> = carts.iter().map(|(_, cart)| json!([cart["version"], quantities(cart)])).collect();
    let expected = [
        json!([1, [["10", 1]]]),
        json!([2, [["10", 2]]]),
        json!([3, [["10", 2], ["20", 1]]]),
        // What was ordered is gone; what was not is still there.
        json!([4, [["20", 1], ["40", 1]]]),
    ];
    assert_eq!(states, expected);

    let orders = of(&events, "orders");
    assert_eq!(orders.len(), 1, "one time, one order");
    assert_eq!(orders[0].1["cart_id"], "otto-cart-7");
    assert_eq!(quantities(&orders[0].1), json!([["10", 1], ["30", 1]]));
}

fn quantities(record: &Value) -> Value {
    let lines = record["lines"].as_array().unwrap();
    lines.iter().map(|line| json!([line["sku"], line["quantity"]])).collect()
}

#[test]
fn what_campaigns_need_stands_just_before() {
    let events = convert(&one_line(SESSION)).unwrap();
    assert!(events.iter().all(|event| record::fault(event).is_none()));
    assert!(events.windows(2).all(|pair| pair[0].time_ms <= pair[1].time_ms));
    let first_ms = 1_659_304_800_000;
    let before = events.iter().filter(|event| event.time_ms == first_ms - 1_000).count();
    assert_eq!(before, 4 + 4 + 1, "catalogue and stock of four articles, and a profile");
    assert!(of(&events, "inventory").iter().all(|(_, stock)| stock["on_hand"].as_i64() > Some(0)));
    assert_eq!(of(&events, "profiles")[0].1["consent"]["email"], true);
}

#[test]
fn a_line_that_is_no_session_is_named() {
    let error = convert("\n{\"session\":1,\"events\":[{\"aid\":1,\"ts\":\"x\",\"type\":\"clicks\"}]}").unwrap_err();
    assert!(format!("{error:#}").contains("line 2"), "{error:#}");
    assert!(convert("").unwrap().is_empty());
}

#[test]
fn the_real_sample_is_whole() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/otto_sessions.jsonl.gz");
    if !sample.exists() {
        eprintln!("skipped: {} is not there", sample.display());
        return;
    }
    let events = otto::read_file(&sample).unwrap();
    let counts = ["clickstream", "carts", "profiles"].map(|stream| of(&events, stream).len());
    assert_eq!(counts, [800, 52, 20]);
    // Ten order events, some of one time.
    let ordered: u64 = of(&events, "orders")
        .iter()
        .flat_map(|(_, order)| order["lines"].as_array().cloned().unwrap())
        .map(|line| line["quantity"].as_u64().unwrap())
        .sum();
    assert_eq!(ordered, 10);
    for event in &events {
        assert_eq!(record::fault(event), None, "{}", String::from_utf8_lossy(&event.json));
    }
}
