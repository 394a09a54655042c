//! The shop: the same from the same seed, right in every record, and wrong where it is meant to be.

use std::collections::{BTreeSet, HashMap};

use beckon_datagen::shop::{DEFAULT_START_MS, FaultShares, Mix, Shop, ShopConfig};
use beckon_datagen::{Event, STREAMS};
use serde_json::Value;

use crate::record;

const HOUR_MS: i64 = 3_600_000;

fn six_hours(seed: u64, faults: FaultShares) -> Vec<Event> {
    let until_ms = Some(DEFAULT_START_MS + 6 * HOUR_MS);
    Shop::new(ShopConfig { seed, faults, until_ms, ..ShopConfig::default() }).collect()
}

fn bench(records: u64, preamble: bool) -> Vec<Event> {
    let (records, faults) = (Some(records), FaultShares::NONE);
    let config = ShopConfig {
        mix: Mix::Bench,
        records,
        preamble,
        faults,
        records_per_second: 10_000.0,
        ..ShopConfig::default()
    };
    Shop::new(config).collect()
}

fn count(events: &[Event], stream: &str) -> usize {
    events.iter().filter(|event| event.stream == stream).count()
}

fn value(event: &Event) -> Value {
    serde_json::from_slice(&event.json).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let faults = FaultShares::each(0.01);
    assert_eq!(six_hours(3, faults), six_hours(3, faults));
    assert_ne!(six_hours(3, faults), six_hours(4, faults));
    assert_eq!(bench(500, true), bench(500, true));
}

#[test]
fn without_faults_every_record_is_right_and_in_time() {
    for events in [six_hours(1, FaultShares::NONE), bench(5_000, true)] {
        for event in &events {
            assert_eq!(record::fault(event), None, "{}: {}", event.stream, String::from_utf8_lossy(&event.json));
            assert_eq!(record::time_ms(event), event.time_ms);
        }
        assert!(events.windows(2).all(|pair| pair[0].time_ms <= pair[1].time_ms));
    }
}

#[test]
fn versions_grow_and_messages_differ() {
    for events in [six_hours(1, FaultShares::NONE), bench(20_000, true)] {
        let mut versions: HashMap<(&str, &str), u64> = HashMap::new();
        let mut messages = BTreeSet::new();
        for event in &events {
            let record = value(event);
            match record["version"].as_u64() {
                Some(version) => {
                    let before = versions.insert((event.stream, &event.key), version);
                    assert!(before.is_none_or(|before| before < version), "{} {}", event.stream, event.key);
                }
                None if event.stream == "clickstream" => {
                    assert!(messages.insert(record["messageId"].to_string()));
                }
                None => {}
            }
        }
    }
}

#[test]
fn the_preamble_comes_first_and_whole() {
    let events = six_hours(1, FaultShares::each(0.1));
    let preamble: Vec<_> = events.iter().take_while(|event| event.time_ms == DEFAULT_START_MS).cloned().collect();
    assert_eq!(count(&preamble, "catalog"), 500);
    assert_eq!(count(&preamble, "profiles"), 1_000);
    let stocked: BTreeSet<_> = preamble
        .iter()
        .filter(|event| event.stream == "inventory")
        .map(|event| value(event)["sku"].to_string())
        .collect();
    assert_eq!(stocked.len(), 500);
    let consenting = preamble.iter().filter(|event| value(event)["consent"]["email"] == true).count();
    assert!((800..=900).contains(&consenting), "{consenting} of 1,000 consent");
}

#[test]
fn a_day_in_the_shop_has_all_that_campaigns_wait_for() {
    let until_ms = Some(DEFAULT_START_MS + 24 * HOUR_MS);
    let events: Vec<_> =
        Shop::new(ShopConfig { until_ms, faults: FaultShares::NONE, ..ShopConfig::default() }).collect();
    let records: Vec<(&str, Value)> = events.iter().map(|event| (event.stream, value(event))).collect();
    let happened = |what: &str, holds: &dyn Fn(&str, &Value) -> bool| {
        let times = records.iter().filter(|(stream, record)| holds(stream, record)).count();
        assert!(times > 0, "never: {what}");
        times
    };
    for event in [
        "Product Viewed",
        "Product Clicked",
        "Product List Viewed",
        "Products Searched",
        "Cart Viewed",
        "Checkout Started",
        "Product Added",
        "Product Removed",
        "Product Added to Wishlist",
    ] {
        happened(event, &|_, record| record["event"] == event);
    }
    for kind in ["page", "screen", "identify", "alias", "unsubscribed", "bounced"] {
        happened(kind, &|_, record| record["type"] == kind);
    }
    happened("an emptied cart", &|stream, record| {
        stream == "carts" && record["lines"].as_array().is_some_and(Vec::is_empty)
    });
    happened("an anonymous cart", &|stream, record| stream == "carts" && record["anonymous_id"].is_string());
    happened("a cancelled order", &|_, record| record["status"] == "cancelled");
    happened("a refunded order", &|_, record| record["status"] == "refunded");
    happened("a new price", &|stream, record| stream == "catalog" && record["version"].as_u64() > Some(1));
    happened("sold out", &|stream, record| {
        stream == "inventory" && record["on_hand"] == 0 && record["version"].as_u64() > Some(1)
    });
    assert!(events.iter().all(|event| event.stream != "inventory" || value(event)["on_hand"].as_i64() >= Some(0)));
    let carts: BTreeSet<_> =
        events.iter().filter(|event| event.stream == "carts").map(|event| event.key.clone()).collect();
    let bought = happened("an order", &|_, record| record["status"] == "placed" && record["cart_id"].is_string());
    assert!(bought * 10 > carts.len() && bought * 2 < carts.len(), "{bought} of {} carts were bought", carts.len());
}

#[test]
fn carts_have_the_prices_of_the_catalogue_at_some_time() {
    let events = six_hours(1, FaultShares::NONE);
    let mut prices: HashMap<String, BTreeSet<String>> = HashMap::new();
    for event in events {
        let record = value(&event);
        match event.stream {
            "catalog" => {
                prices.entry(event.key.clone()).or_default().insert(record["price"].to_string());
            }
            "carts" => {
                for line in record["lines"].as_array().unwrap() {
                    assert!(prices[line["sku"].as_str().unwrap()].contains(&line["price"].to_string()));
                }
            }
            _ => {}
        }
    }
}

#[test]
fn the_rate_is_the_one_asked_for() {
    for (customers, rate, hours) in [(1_000, 2.0, 24), (5_000, 50.0, 1)] {
        let until_ms = Some(DEFAULT_START_MS + hours * HOUR_MS);
        let config =
            ShopConfig { customers, until_ms, records_per_second: rate, preamble: false, ..ShopConfig::default() };
        let measured = Shop::new(config).count() as f64 / (hours * 3_600) as f64;
        assert!((measured / rate - 1.0).abs() < 0.15, "{measured} instead of {rate} records a second");
    }
}

#[test]
fn faults_add_and_delay_but_never_take_away() {
    let clean = six_hours(5, FaultShares::NONE);
    let faulty = six_hours(5, FaultShares::each(0.02));
    let mut said: HashMap<(&str, &[u8]), usize> = HashMap::new();
    faulty.iter().for_each(|event| *said.entry((event.stream, &event.json)).or_default() += 1);
    // What is held back at the very end is not said any more.
    let end_ms = DEFAULT_START_MS + 6 * HOUR_MS - 5_000;
    for event in clean.iter().filter(|event| event.time_ms < end_ms) {
        assert!(said.contains_key(&(event.stream, &*event.json)), "{}", String::from_utf8_lossy(&event.json));
    }
    assert!(faulty.windows(2).all(|pair| pair[0].time_ms <= pair[1].time_ms));
    let share = |count: usize| count as f64 / clean.len() as f64;
    let (good, bad): (Vec<&Event>, Vec<&Event>) = faulty.iter().partition(|event| record::fault(event).is_none());
    assert!((0.01..0.03).contains(&share(bad.len())), "bad: {}", bad.len());
    assert!(bad.iter().any(|event| serde_json::from_slice::<Value>(&event.json).is_err()), "none that is not JSON");
    let duplicates = said.iter().filter(|((stream, _), times)| *stream == "clickstream" && **times == 2).count();
    assert!((0.01..0.03).contains(&share(duplicates)), "duplicates: {duplicates}");
    let late: Vec<i64> =
        good.iter().map(|event| event.time_ms - record::time_ms(event)).filter(|by| *by != 0).collect();
    assert!(late.iter().all(|by| (1..5_000).contains(by)), "later than 5 s");
    assert!((0.02..0.06).contains(&share(late.len())), "out of order, or again: {}", late.len());
    assert!(stale(&good) > 10, "stale: {}", stale(&good));
}

/// Records whose version is less than one said before.
fn stale(events: &[&Event]) -> usize {
    let mut newest: HashMap<(&str, &str), u64> = HashMap::new();
    let mut stale = 0;
    for event in events {
        let version = value(event)["version"].as_u64().unwrap_or_default();
        let newest = newest.entry((event.stream, &event.key)).or_default();
        stale += usize::from(version < *newest);
        *newest = version.max(*newest);
    }
    stale
}

#[test]
fn the_bench_mix_has_its_shares() {
    let events = bench(10_000, false);
    assert_eq!(events.len(), 10_000);
    let shares = STREAMS.map(|stream| count(&events, stream));
    assert_eq!(shares, [7_000, 1_500, 1_000, 0, 500, 0, 0]);
    assert!(events.iter().filter(|event| event.stream == "clickstream").all(|event| {
        let record = value(event);
        record["event"] == "Product Viewed" && record["userId"].is_string() && record["properties"]["sku"].is_string()
    }));
    // 10,000 records at 10,000 a second take a second.
    assert_eq!(events[9_999].time_ms - events[0].time_ms, 999);
    assert_eq!(bench(10_000, true).len() - 10_000, 500 + 1_000 + 650);
}

#[test]
fn a_later_run_repeats_no_id_and_no_version() {
    let run = |numbered_from| {
        let config =
            ShopConfig { numbered_from, records: Some(3_000), faults: FaultShares::NONE, ..ShopConfig::default() };
        Shop::new(config).collect::<Vec<_>>()
    };
    let (first, second) = (run(1), run(1_000_000));
    let ids = |events: &[Event], stream: &str, field: &str| -> BTreeSet<String> {
        events.iter().filter(|event| event.stream == stream).map(|event| value(event)[field].to_string()).collect()
    };
    for (stream, field) in
        [("clickstream", "messageId"), ("carts", "cart_id"), ("orders", "order_id"), ("inventory", "version")]
    {
        assert!(ids(&first, stream, field).is_disjoint(&ids(&second, stream, field)), "{stream}.{field}");
    }
}
