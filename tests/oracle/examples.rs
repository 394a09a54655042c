//! Examples computed by hand, one a rule, that hold the oracle to SPEC. In: a few lines. Out: the decisions, in short:
//! `time campaign customer subject @anchor outcome`, then the reason or the variant, where there is one.

#[path = "examples/gates.rs"]
mod gates;
#[path = "examples/similar.rs"]
mod similar;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::oracle::{Outcome, Until, World, run};

/// A cart campaign of W = 30 s that asks nothing of the stock.
const CART: &str = r#"
[[campaign]]
name = "cart"
trigger = "cart_abandonment"
after = "30s"
stock = "ignore"
"#;

/// A back-in-stock campaign.
const BACK: &str = r#"
[[campaign]]
name = "back"
trigger = "back_in_stock"
"#;

/// 2026-01-01T10:00:00Z.
const TEN_MS: i64 = 1_767_261_600_000;

/// A world written line by line.
struct Shop(World);

impl Shop {
    /// With a profile for u1 and u2 that can be mailed, from ten o'clock on.
    fn new(config_toml: &str) -> Shop {
        Shop::empty(config_toml).profile("u1").profile("u2")
    }

    fn empty(config_toml: &str) -> Shop {
        Shop(World { seed: 0, config_toml: config_toml.to_owned(), begin_ms: TEN_MS, streams: BTreeMap::new() })
    }

    /// One line as it is.
    fn raw(mut self, stream: &'static str, line: &str) -> Shop {
        let lines = self.0.streams.entry(stream).or_default();
        lines.push(line.to_owned());
        self
    }

    fn line(self, stream: &'static str, record: Value) -> Shop {
        self.raw(stream, &record.to_string())
    }

    fn profile(self, user: &str) -> Shop {
        let email = format!("{user}@example.com");
        let record = json!({"user_id": user, "email": email, "consent": {"email": true}, "updated_at": at("00:00")});
        self.line("profiles", record)
    }

    /// One of each SKU, without a price.
    fn cart(self, time: &str, cart: &str, user: &str, skus: &[&str]) -> Shop {
        let lines: Vec<Value> = skus.iter().map(|sku| json!({"sku": sku})).collect();
        let record = json!({"cart_id": cart, "user_id": user, "updated_at": at(time), "lines": lines});
        self.line("carts", record)
    }

    fn order(self, time: &str, order: &str, user: &str, more: Value) -> Shop {
        let mut record = json!({"order_id": order, "user_id": user, "status": "placed", "placed_at": at(time)});
        extend(&mut record, more);
        self.line("orders", record)
    }

    fn stock(self, time: &str, sku: &str, on_hand: i64) -> Shop {
        let record = json!({"sku": sku, "on_hand": on_hand, "updated_at": at(time)});
        self.line("inventory", record)
    }

    fn product(self, time: &str, sku: &str, more: Value) -> Shop {
        let mut record = json!({"sku": sku, "updated_at": at(time)});
        extend(&mut record, more);
        self.line("catalog", record)
    }

    fn track(self, time: &str, user: &str, event: &str, properties: Value) -> Shop {
        let record = json!({"type": "track", "event": event, "userId": user, "timestamp": at(time),
            "properties": properties});
        self.line("clickstream", record)
    }

    fn message(self, time: &str, more: Value) -> Shop {
        let mut record = json!({"type": "page", "timestamp": at(time)});
        extend(&mut record, more);
        self.line("clickstream", record)
    }

    fn engage(self, time: &str, id: &str, user: &str, kind: &str) -> Shop {
        let record = json!({"event_id": id, "type": kind, "user_id": user, "occurred_at": at(time)});
        self.line("engagement", record)
    }

    fn choose(self, time: &str, id: &str, user: &str, declined: Value) -> Shop {
        let record = json!({"event_id": id, "type": "chosen", "user_id": user, "declined": declined,
            "occurred_at": at(time)});
        self.line("engagement", record)
    }

    fn run(&self) -> Outcome {
        run(&self.0, Until::Drain)
    }

    /// The decisions until no deadline is pending.
    #[track_caller]
    fn decides(self, expected: &[&str]) -> Shop {
        let got: Vec<String> = self.run().decisions.iter().map(brief).collect();
        assert_eq!(got, expected);
        self
    }

    /// Each decision's payload lines, in short: `sku×quantity price/on_hand`.
    #[track_caller]
    fn gives(self, expected: &[&str]) -> Shop {
        let decisions = self.run().decisions;
        let got: Vec<String> = decisions.iter().map(brief_payload).collect();
        assert_eq!(got, expected);
        self
    }

    /// The subjects in the trigger set from each tick on at which it changed.
    #[track_caller]
    fn holds(self, expected: &[(&str, &[&str])]) -> Shop {
        let outcome = self.run();
        let got: Vec<(String, Vec<&str>)> = outcome
            .trigger_set
            .iter()
            .map(|(tick, set)| {
                let seconds = (tick - TEN_MS) / 1000;
                let subjects = set.iter().map(|member| member.2.as_str()).collect();
                (format!("{:02}:{:02}", seconds / 60, seconds % 60), subjects)
            })
            .collect();
        let expected: Vec<(String, Vec<&str>)> =
            expected.iter().map(|(time, subjects)| ((*time).to_owned(), subjects.to_vec())).collect();
        assert_eq!(got, expected);
        self
    }
}

/// `MM:SS` or `MM:SS.mmm` after ten o'clock, as a time.
fn at(time: &str) -> String {
    format!("2026-01-01T10:{time}Z")
}

fn extend(record: &mut Value, more: Value) {
    let (Some(record), Some(more)) = (record.as_object_mut(), more.as_object()) else {
        panic!("records are objects");
    };
    record.extend(more.clone());
}

/// Minutes and seconds of a time, with milliseconds where there are any.
fn brief_time(time: &Value) -> String {
    let time = time.as_str().expect("a time");
    time[14..23].trim_end_matches(".000").to_owned()
}

fn brief(decision: &Value) -> String {
    let text = |member: &str| decision[member].as_str().unwrap_or_default();
    let words = [
        &brief_time(&decision["as_of"]),
        text("campaign"),
        text("customer_id"),
        text("subject"),
        &format!("@{}", brief_time(&decision["anchor"])),
        text("outcome"),
        text("reason"),
        text("variant"),
    ];
    words.join(" ").trim_end().replace("  ", " ")
}

fn brief_payload(decision: &Value) -> String {
    let lines = decision["payload"]["lines"].as_array().expect("lines");
    let line = |line: &Value| {
        let quantity = line.get("quantity").map(|it| format!("×{it}"));
        let price = line["price"].as_str().unwrap_or("-");
        let sku = line["sku"].as_str().expect("a SKU");
        format!("{sku}{} {price}/{}", quantity.unwrap_or_default(), line["on_hand"])
    };
    lines.iter().map(line).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_decision_to_the_byte() {
    let config = format!("{CART}variants = [{{ name = \"plain\", weight = 1 }}]\n");
    let outcome = Shop::new(&config)
        .raw(
            "carts",
            r#"{"cart_id":"c1","user_id":"u1","version":1,"updated_at":"2026-01-01T10:00:00Z",
                "lines":[{"sku":"s1","quantity":2,"price":19.90}]}"#,
        )
        .stock("00:00", "s1", 3)
        .product("00:00", "s1", json!({"name": "Schuh \"é\"", "image_url": "i", "url": "u"}))
        .run();
    let lines: Vec<String> = outcome.decisions.iter().map(Value::to_string).collect();
    // The id is XXH3-128 of "cart\x1Fu1\x1Fc1\x1F1767261600000", by another implementation.
    let expected = r#"{"decision_id":"db55a5d7de598f6af22b8e56939fd5b3","campaign":"cart","customer_id":"u1","trigger":"cart_abandonment","subject":"c1","anchor":"2026-01-01T10:00:00.000Z","as_of":"2026-01-01T10:00:30.000Z","outcome":"send","reason":null,"variant":"plain","payload":{"lines":[{"sku":"s1","quantity":2,"price":"19.90","name":"Schuh \"é\"","image":"i","url":"u","on_hand":3}]}}"#;
    assert_eq!(lines, [expected]);
}

#[test]
fn times_in_all_forms() {
    for time in [
        "\"2026-01-01T10:00:05Z\"",
        "\"2026-01-01T12:00:05.000+02:00\"",
        "\"2026-01-01T04:30:05-05:30\"",
        "1767261605000",
    ] {
        let cart = format!(r#"{{"cart_id":"c1","user_id":"u1","updated_at":{time},"lines":[{{"sku":"s1"}}]}}"#);
        Shop::new(CART).raw("carts", &cart).decides(&["00:35 cart u1 c1 @00:05 send"]);
    }
}

#[test]
fn a_record_takes_effect_at_the_next_tick_and_waits_are_rounded_up() {
    Shop::new(&CART.replace("30s", "1500ms"))
        .cart("00:05.001", "c1", "u1", &["s1"])
        .decides(&["00:08 cart u1 c1 @00:06 send"]);
    let quarters = format!("tick = \"250ms\"\n{}", CART.replace("30s", "1500ms"));
    Shop::new(&quarters).cart("00:05.001", "c1", "u1", &["s1"]).decides(&["00:06.750 cart u1 c1 @00:05.250 send"]);
}

#[test]
fn any_activity_moves_the_anchor() {
    // A view at the deadline itself is in time to prevent the decision.
    Shop::new(CART)
        .cart("00:05", "c1", "u1", &["s1"])
        .track("00:35", "u1", "Product Viewed", json!({"sku": "s2"}))
        .message("01:05", json!({"userId": "u1"}))
        .order("01:30", "o1", "u1", json!({"cart_id": "another"}))
        .decides(&["02:00 cart u1 c1 @01:30 send"]);
    // Engagement is none, and another customer's is not theirs.
    Shop::new(CART)
        .cart("00:05", "c1", "u1", &["s1"])
        .engage("00:20", "e1", "u1", "clicked")
        .message("00:25", json!({"anonymousId": "u1"}))
        .decides(&["00:35 cart u1 c1 @00:05 send"]);
}

#[test]
fn an_episode_expires_but_lasts_a_tick() {
    Shop::new(&format!("{CART}expires = \"90s\"\n"))
        .cart("00:05", "c1", "u1", &["s1"])
        .holds(&[("00:35", &["c1"]), ("02:05", &[])]);
    Shop::new(&format!("{CART}expires = \"1ms\"\n"))
        .cart("00:05", "c1", "u1", &["s1"])
        .holds(&[("00:35", &["c1"]), ("00:36", &[])]);
    Shop::new(CART).cart("00:05", "c1", "u1", &["s1"]).holds(&[("00:35", &["c1"])]);
}

#[test]
fn stock_rules() {
    let shop = |rule: &str| {
        Shop::new(&CART.replace("ignore", rule))
            .cart("00:05", "c1", "u1", &["s1", "s2", "s3"])
            .stock("00:00", "s1", 0)
            .stock("00:00", "s2", 4)
            .stock("00:40", "s1", 1)
            .stock("00:50", "s3", 1)
    };
    shop("any").gives(&["s2×1 -/4"]).holds(&[("00:35", &["c1"])]);
    shop("all").gives(&["s1×1 -/1, s2×1 -/4, s3×1 -/1"]).decides(&["00:50 cart u1 c1 @00:05 send"]);
    shop("ignore").gives(&["s1×1 -/0, s2×1 -/4, s3×1 -/0"]);
}

#[test]
fn min_total_is_over_the_payloads_lines() {
    let shop = |stock: &str, min_total: &str| {
        let config = CART.replace("ignore", stock);
        Shop::new(&format!("{config}min_total = \"{min_total}\"\n"))
            .line(
                "carts",
                json!({"cart_id": "c1", "user_id": "u1", "updated_at": at("00:05"), "lines": [
                    {"sku": "s1", "quantity": 3, "price": "0.10"}, {"sku": "s2", "price": 5},
                    {"sku": "s3"}, {"sku": "s4", "quantity": 0, "price": 9}]}),
            )
            .stock("00:00", "s1", 1)
            .product("00:00", "s3", json!({"price": "1.500"}))
            .product("00:00", "s2", json!({"price": 7}))
    };
    shop("ignore", "6.80").gives(&["s1×3 0.10/1, s2×1 5/0, s3×1 1.500/0"]);
    shop("ignore", "6.81").decides(&[]);
    shop("any", "0.30").gives(&["s1×3 0.10/1"]);
    shop("any", "0.31").decides(&[]);
}

#[test]
fn orders_close_carts() {
    let shop =
        |more: Value, time: &str| Shop::new(CART).cart("00:04.5", "c1", "u1", &["s1"]).order(time, "o1", "u1", more);
    let open = ["00:35 cart u1 c1 @00:05 send"];
    shop(json!({"cart_id": "c1"}), "00:05").decides(&[]);
    // In the tick of the cart's change, though before it.
    shop(json!({}), "00:04.2").decides(&[]);
    shop(json!({}), "00:03.9").decides(&open);
    shop(json!({"cart_id": "c2"}), "00:05").decides(&open);
    shop(json!({"status": "cancelled"}), "00:05").decides(&open);
    shop(json!({"status": "refunded"}), "00:05").decides(&[]);
    shop(json!({"user_id": "u2", "cart_id": "c1"}), "00:05").decides(&open);
    // The cart changes again; then the order turns out to be cancelled.
    shop(json!({"cart_id": "c1"}), "00:05")
        .cart("00:10", "c1", "u1", &["s2"])
        .decides(&["00:40 cart u1 c1 @00:10 send"]);
    shop(json!({"cart_id": "c1"}), "00:05")
        .order("00:05", "o1", "u1", json!({"status": "cancelled", "updated_at": at("00:50"), "version": 1}))
        .decides(&["01:20 cart u1 c1 @00:50 send"]);
}

#[test]
fn ordered_skus_are_left_out() {
    let lines = json!([{"sku": "s1", "quantity": 1}]);
    Shop::new(CART)
        .cart("00:05", "c1", "u1", &["s1", "s2"])
        .order("00:10", "o1", "u1", json!({"cart_id": "c2", "lines": lines}))
        .decides(&["00:40 cart u1 c1 @00:10 send"])
        .gives(&["s2×1 -/0"]);
}

#[test]
fn cart_messages_fold() {
    Shop::new(CART)
        .track("00:01", "u1", "Product Added", json!({"sku": "s1", "quantity": 2, "price": "3.50"}))
        .track("00:02", "u1", "Added Product", json!({"product_id": "s2"}))
        .track("00:03", "u1", "Product Added", json!({"sku": "s1"}))
        .track("00:04", "u1", "Removed Product", json!({"sku": "s2", "quantity": 9}))
        .track("00:05", "u1", "Product Added", json!({"sku": "s2", "cart_id": "c1"}))
        .decides(&["00:35 cart u1 c1 @00:05 send", "00:35 cart u1 u1 @00:05 suppress outranked"])
        .gives(&["s2×1 -/0", "s1×3 3.50/0"]);
}

#[test]
fn a_carts_record_replaces_the_fold() {
    Shop::new(CART)
        .track("00:01", "u1", "Product Added", json!({"sku": "s1", "cart_id": "c1"}))
        .cart("00:02", "c1", "u1", &["s2"])
        .track("00:03", "u1", "Product Added", json!({"sku": "s3", "cart_id": "c1"}))
        .decides(&["00:33 cart u1 c1 @00:03 send"])
        .gives(&["s2×1 -/0"]);
}

#[test]
fn a_folded_cart_does_not_bring_back_what_was_bought() {
    Shop::new(CART)
        .track("00:01", "u1", "Product Added", json!({"sku": "s1"}))
        .order("00:02", "o1", "u1", json!({}))
        .track("00:03", "u1", "Product Added", json!({"sku": "s2"}))
        .gives(&["s2×1 -/0"]);
}

#[test]
fn the_last_write_wins() {
    let cart = |version: Value, time: &str, user: &str| {
        json!({"cart_id": "c1", "user_id": user, "version": version, "updated_at": at(time),
            "lines": [{"sku": "s1"}]})
    };
    // A lesser version is stale, though later; it is no activity of its owner.
    let stale = Shop::new(CART)
        .line("carts", cart(json!(2), "00:05", "u1"))
        .line("carts", cart(json!(1), "00:10", "u2"))
        .line("carts", cart(Value::Null, "00:11", "u1"))
        .decides(&["00:35 cart u1 c1 @00:05 send"]);
    assert_eq!(stale.run().counts.stale, BTreeMap::from([("carts", 2)]));
    // Of equals, the later; of those, the last.
    Shop::new(CART)
        .line("carts", cart(json!(2), "00:05", "u1"))
        .line("carts", cart(json!(2), "00:10", "u2"))
        .decides(&["00:40 cart u2 c1 @00:10 send"]);
    let equal = Shop::new(CART)
        .line("carts", cart(json!(2), "00:05", "u1"))
        .line("carts", cart(json!(2), "00:05", "u2"))
        .decides(&["00:35 cart u2 c1 @00:05 send"]);
    assert_eq!(equal.run().counts.superseded, BTreeMap::from([("carts", 1)]));
    // In one tick only the greater has an effect, wherever it stands.
    Shop::new(CART)
        .cart("00:02", "c2", "u2", &["s1"])
        .line("carts", cart(json!(2), "00:10.2", "u1"))
        .line("carts", cart(json!(1), "00:10.8", "u2"))
        .decides(&["00:32 cart u2 c2 @00:02 send", "00:41 cart u1 c1 @00:11 send"]);
}

#[test]
fn repeated_messages_have_no_effect_for_a_day() {
    let page = |time: &str| json!({"messageId": "m1", "userId": "u1", "timestamp": time});
    let shop = |second: &str| {
        Shop::new(CART)
            .message("00:01", page("2026-01-01T10:00:01Z"))
            .message("00:01", page(second))
            .cart("00:00", "c1", "u1", &["s1"])
            .run()
    };
    let within = shop("2026-01-02T10:00:00Z");
    assert_eq!(within.counts.duplicates, BTreeMap::from([("clickstream", 1)]));
    assert_eq!(within.decisions.len(), 1);
    let after = shop("2026-01-02T10:00:02Z");
    assert_eq!(after.counts.duplicates, BTreeMap::new());
    assert_eq!(after.decisions.len(), 2);
    // In one tick the lesser position is the first.
    Shop::new(CART)
        .message("00:03", json!({"messageId": "m1", "userId": "u1"}))
        .message("00:02.1", json!({"messageId": "m1", "userId": "u2"}))
        .cart("00:00", "c1", "u1", &["s1"])
        .decides(&["00:33 cart u1 c1 @00:03 send"]);
    // A message without id is never a duplicate.
    Shop::new(CART)
        .cart("00:00", "c1", "u1", &["s1"])
        .message("00:01", json!({"userId": "u1"}))
        .message("00:02", json!({"userId": "u1"}))
        .decides(&["00:32 cart u1 c1 @00:02 send"]);
}

#[test]
fn late_records_take_effect_at_the_first_open_tick() {
    let late = Shop::new(CART)
        .cart("00:20.5", "c2", "u2", &["s1"])
        .cart("00:15.1", "c1", "u1", &["s1"])
        .cart("00:14.9", "c3", "u3", &["s1"])
        .decides(&[
            "00:46 cart u1 c1 @00:16 send",
            "00:46 cart u3 c3 @00:16 suppress unreachable",
            "00:51 cart u2 c2 @00:21 send",
        ]);
    // 00:15.1 is at 00:16, which the watermark 00:15.5 has not passed.
    assert_eq!(late.run().counts.late, BTreeMap::from([("carts", 1)]));
    // "Passed" means greater than.
    let not = Shop::new(CART).cart("00:20", "c2", "u2", &["s1"]).cart("00:14.9", "c1", "u1", &["s1"]);
    assert_eq!(not.run().counts.late, BTreeMap::new());
}

#[test]
fn bad_lines_are_counted_and_nothing_else_is_lost() {
    let shop = Shop::new(CART)
        .raw("carts", "not json")
        .raw("carts", "[]")
        .raw("carts", r#"{"cart_id":"c1","updated_at":"2026-01-01T10:00:09Z"}"#)
        .raw("carts", r#"{"cart_id":"c1","user_id":"u1"}"#)
        .raw("carts", r#"{"cart_id":"c1","user_id":"u1","updated_at":"1999-12-31T23:59:59Z"}"#)
        .raw("carts", r#"{"cart_id":"c1","user_id":"u1","updated_at":"soon"}"#)
        .raw("carts", &format!("{{\"pad\":\"{}\"}}", "x".repeat(1 << 20)))
        .cart("00:05", "c1", "u1", &["s1"])
        .decides(&["00:35 cart u1 c1 @00:05 send"]);
    let outcome = shop.run();
    assert_eq!(outcome.counts.bad, BTreeMap::from([("carts", 7)]));
    let kinds = ["NotJson", "WrongType", "Missing", "AbsurdTime", "TooLong"];
    let times = kinds.map(|kind| outcome.occurred[&format!("bad: {kind}")]);
    assert_eq!(times, [1, 2, 2, 1, 1]);
}

#[test]
fn back_in_stock() {
    let viewed = |time: &str| Shop::new(BACK).track(time, "u1", "Product Viewed", json!({"sku": "s1"}));
    // Unknown stock is 0, so the first known is a rise; interest at its very tick counts.
    viewed("00:10")
        .stock("00:10", "s1", 3)
        .product("00:00", "s1", json!({"price": 5}))
        .decides(&["00:10 back u1 s1 @00:10 send"])
        .gives(&["s1 5/3"]);
    viewed("00:11").stock("00:10", "s1", 3).decides(&[]);
    // It leaves with the stock, and comes again as another episode.
    viewed("00:01")
        .stock("00:10", "s1", 3)
        .stock("00:12", "s1", 2)
        .stock("00:20", "s1", 0)
        .stock("00:30", "s1", 1)
        .decides(&["00:10 back u1 s1 @00:10 send", "00:30 back u1 s1 @00:30 send"])
        .holds(&[("00:10", &["s1"]), ("00:20", &[]), ("00:30", &["s1"])]);
    // An order since the interest, even at the rise, ends it; one that is cancelled does not.
    let lines = json!([{"sku": "s1"}]);
    viewed("00:01").stock("00:10", "s1", 3).order("00:10", "o1", "u1", json!({"lines": lines})).decides(&[]);
    viewed("00:01")
        .stock("00:10", "s1", 3)
        .order("00:10", "o1", "u1", json!({"lines": lines, "status": "cancelled"}))
        .decides(&["00:10 back u1 s1 @00:10 send"]);
    viewed("00:05")
        .stock("00:10", "s1", 3)
        .order("00:04", "o1", "u1", json!({"lines": lines}))
        .decides(&["00:10 back u1 s1 @00:10 send"]);
}

#[test]
fn stock_is_the_sum_over_locations_at_the_tick() {
    let at_location = |shop: Shop, time: &str, location: &str, on_hand: i64| {
        shop.line("inventory", json!({"sku": "s1", "location": location, "on_hand": on_hand, "updated_at": at(time)}))
    };
    let shop = Shop::new(BACK).track("00:01", "u1", "Product Clicked", json!({"sku": "s1"}));
    let shop = at_location(shop, "00:05", "a", -2);
    let shop = at_location(shop, "00:06", "b", 2);
    // In one tick from one place to the other: the sum stays 1.
    let shop = at_location(shop, "00:10", "b", 3);
    let shop = at_location(shop, "00:19.1", "b", 0);
    let shop = at_location(shop, "00:19.9", "a", 1);
    shop.holds(&[("00:10", &["s1"])]).gives(&["s1 -/1"]);
}

#[test]
fn interest_is_looked_back_for() {
    let shop = |interest: &str| {
        Shop::new(&format!("{BACK}lookback = \"10s\"\n"))
            .track(interest, "u1", "Product Added to Wishlist", json!({"sku": "s1"}))
            .cart(interest, "c1", "u2", &["s1"])
            .stock("00:30", "s1", 3)
            .run()
            .decisions
            .len()
    };
    assert_eq!([shop("00:20"), shop("00:19")], [2, 0]);
}

#[test]
fn who_can_be_mailed() {
    let shop = |profile: Value| {
        let mut record = json!({"user_id": "u1", "updated_at": at("00:00")});
        extend(&mut record, profile);
        let shop = Shop::empty(CART).line("profiles", record);
        let decisions = shop.cart("00:05", "c1", "u1", &["s1"]).run().decisions;
        decisions[0]["reason"].as_str().map(str::to_owned)
    };
    let email = "u1@example.com";
    let reason = |reason: &str| Some(reason.to_owned());
    assert_eq!(shop(json!({"consent": {"email": true}})), reason("unreachable"));
    assert_eq!(shop(json!({"email": email, "consent": {"email": true}, "deleted": true})), reason("unreachable"));
    assert_eq!(shop(json!({"user_id": "u9", "email": email})), reason("unreachable"));
    assert_eq!(shop(json!({"email": email})), reason("no_consent"));
    assert_eq!(shop(json!({"email": email, "consent": {}})), reason("no_consent"));
    assert_eq!(shop(json!({"email": email, "consent": {"email": false}})), reason("no_consent"));
    assert_eq!(shop(json!({"email": email, "consent": {"email": true}})), None);
}

#[test]
fn engagement_withdraws_consent_for_good() {
    for (kind, expected) in [
        ("bounced", "00:35 cart u1 c1 @00:05 suppress no_consent"),
        ("complained", "00:35 cart u1 c1 @00:05 suppress no_consent"),
        ("unsubscribed", "00:35 cart u1 c1 @00:05 suppress no_consent"),
        ("opened", "00:35 cart u1 c1 @00:05 send"),
    ] {
        Shop::new(CART)
            .cart("00:05", "c1", "u1", &["s1"])
            .engage("00:35", "e1", "u1", kind)
            .line(
                "profiles",
                json!({"user_id": "u1", "email": "n@example.com", "consent": {"email": true},
                    "updated_at": at("00:35"), "version": 1}),
            )
            .decides(&[expected]);
    }
}

#[test]
fn a_choice_declines_campaigns_until_the_next_one() {
    let shop = |first: Value, second: Value| {
        Shop::new(CART)
            .cart("00:05", "c1", "u1", &["s1"])
            .choose("00:35", "e1", "u1", first)
            .cart("01:00", "c1", "u1", &["s1"])
            .choose("01:20", "e2", "u1", second)
    };
    let (sent, again) = ("00:35 cart u1 c1 @00:05 send", "01:30 cart u1 c1 @01:00 send");
    let (not, nor) = ("00:35 cart u1 c1 @00:05 suppress no_consent", "01:30 cart u1 c1 @01:00 suppress no_consent");
    shop(json!(["cart"]), json!([])).decides(&[not, again]);
    shop(json!(["x"]), json!(["cart", "x", "cart"])).decides(&[sent, nor]);
    // Another campaign's, or another customer's, is not this one's; of one time the later in place is the last.
    Shop::new(CART)
        .cart("00:05", "c1", "u1", &["s1"])
        .choose("00:20", "e1", "u2", json!(["cart"]))
        .choose("00:20", "e2", "u1", json!(["cart"]))
        .choose("00:20", "e3", "u1", json!([]))
        .decides(&[sent]);
    // An earlier one that comes later changes nothing.
    Shop::new(CART)
        .cart("00:05", "c1", "u1", &["s1"])
        .choose("00:20", "e1", "u1", json!(["cart"]))
        .choose("00:19", "e2", "u1", json!([]))
        .decides(&[not]);
    // Of two who became one the last choice holds, whoever made it.
    let aliased = |last: &str| {
        Shop::new(CART)
            .cart("00:05", "c1", "u1", &["s1"])
            .choose("00:20", "e1", "u1", json!([]))
            .choose(last, "e2", "u2", json!(["cart"]))
            .message("00:25", json!({"type": "alias", "previousId": "u2", "userId": "u1"}))
    };
    aliased("00:21").decides(&["00:55 cart u1 c1 @00:25 suppress no_consent"]);
    aliased("00:19").decides(&["00:55 cart u1 c1 @00:25 send"]);
}

#[test]
fn a_user_and_a_visitor_of_one_id_are_two() {
    Shop::new(CART)
        .line(
            "carts",
            json!({"cart_id": "c1", "anonymous_id": "u1", "updated_at": at("00:05"),
                "lines": [{"sku": "s1"}]}),
        )
        .message("00:20", json!({"userId": "u1"}))
        .decides(&["00:35 cart u1 c1 @00:05 suppress unreachable"]);
}

#[test]
fn cooldown_and_caps_count_sends() {
    let shop = |more: &str| {
        Shop::new(&format!("{more}\n{CART}"))
            .cart("00:00", "c1", "u1", &["s1"])
            .cart("00:40", "c1", "u1", &["s1"])
            .cart("02:00", "c1", "u1", &["s1"])
    };
    let line = |time: &str, anchor: &str, what: &str| format!("{time} cart u1 c1 @{anchor} {what}");
    let expect = |second: &str, third: &str| {
        [line("00:30", "00:00", "send"), line("01:10", "00:40", second), line("02:30", "02:00", third)]
    };
    let outcome = |shop: Shop| -> Vec<String> { shop.run().decisions.iter().map(brief).collect() };
    // 40 s after the send it is still within 41 s; a suppressed episode counts for nothing.
    let cap = |per: &str| shop(&format!("limits.frequency_cap = [{{ sends = 1, per = \"{per}\" }}]"));
    assert_eq!(outcome(cap("41s")), expect("suppress frequency_cap", "send"));
    assert_eq!(outcome(cap("40s")), expect("send", "send"));
    assert_eq!(outcome(cap("121s")), expect("suppress frequency_cap", "suppress frequency_cap"));
    let two = shop("limits.frequency_cap = [{ sends = 2, per = \"1h\" }]");
    assert_eq!(outcome(two), expect("send", "suppress frequency_cap"));
    let cooldown = Shop(World { config_toml: format!("{CART}cooldown = \"41s\"\n"), ..shop("").0 });
    assert_eq!(outcome(cooldown), expect("suppress cooldown", "send"));
}

#[test]
fn the_greater_priority_goes_first() {
    let second = CART.replace("\"cart\"", "\"basket\"");
    let shop = |first_priority: i64, second_priority: i64| {
        let config = format!("{CART}priority = {first_priority}\n{second}priority = {second_priority}\n");
        Shop::new(&config).cart("00:05", "c1", "u1", &["s1"]).cart("00:05", "c2", "u1", &["s1"])
    };
    let suppressed = "suppress outranked";
    let expect = |sent: usize| {
        let about = ["basket u1 c1", "basket u1 c2", "cart u1 c1", "cart u1 c2"];
        let line = |(index, about): (usize, &str)| {
            let outcome = if index == sent { "send" } else { suppressed };
            format!("00:35 {about} @00:05 {outcome}")
        };
        about.into_iter().enumerate().map(line).collect::<Vec<_>>()
    };
    for (first, second, sent) in [(0, 0, 0), (1, 0, 2), (-1, 0, 0)] {
        let expected = expect(sent);
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        shop(first, second).decides(&expected);
    }
}

#[test]
fn what_an_earlier_gate_refused_outranks_nothing() {
    let first = format!("{CART}priority = 9\ncooldown = \"1h\"\n");
    let second = CART.replace("\"cart\"", "\"zz\"");
    Shop::new(&format!("{first}{second}"))
        .cart("00:00", "c1", "u1", &["s1"])
        .cart("00:40", "c1", "u1", &["s1"])
        .decides(&[
            "00:30 cart u1 c1 @00:00 send",
            "00:30 zz u1 c1 @00:00 suppress outranked",
            "01:10 cart u1 c1 @00:40 suppress cooldown",
            "01:10 zz u1 c1 @00:40 send",
        ]);
}

#[test]
fn holdouts_and_variants_are_drawn_from_the_hash() {
    // u of ("cart", customer), by another implementation: u1 0.834, u2 0.808, u3 0.196, u4 0.420, u6 0.563.
    let variants = "variants = [{ name = \"a\", weight = 1 }, { name = \"b\", weight = 3 }]";
    let config = format!("{CART}holdout = 0.2\n{variants}\n");
    // The bounds are 0.2, 0.4 and 1.
    Shop::new(&config)
        .profile("u3")
        .profile("u4")
        .cart("00:05", "c1", "u1", &["s1"])
        .cart("00:05", "c3", "u3", &["s1"])
        .cart("00:05", "c4", "u4", &["s1"])
        .decides(&[
            "00:35 cart u1 c1 @00:05 send b",
            "00:35 cart u3 c3 @00:05 holdout",
            "00:35 cart u4 c4 @00:05 send b",
        ]);
    // Bounds 0.3, 0.475: u4 is below the second.
    Shop::new(&config.replace("0.2", "0.3"))
        .profile("u4")
        .cart("00:05", "c4", "u4", &["s1"])
        .decides(&["00:35 cart u4 c4 @00:05 send a"]);
    // u of ("shared", "u2") is 0.066.
    Shop::new(&format!("{config}experiment = \"shared\"\n"))
        .cart("00:05", "c2", "u2", &["s1"])
        .decides(&["00:35 cart u2 c2 @00:05 holdout"]);
}

#[test]
fn an_episode_is_decided_once() {
    let shop = Shop::new(&CART.replace("ignore", "any"))
        .cart("00:05", "c1", "u1", &["s1"])
        .stock("00:05", "s1", 1)
        .stock("00:40", "s1", 0)
        .stock("00:50", "s1", 1)
        .decides(&["00:35 cart u1 c1 @00:05 send"])
        .holds(&[("00:35", &["c1"]), ("00:40", &[]), ("00:50", &["c1"])]);
    assert_eq!(shop.run().occurred["re-entry with the same anchor"], 1);
}

#[test]
fn orders_told_of_by_messages() {
    let completed = json!({"order_id": "o1", "cart_id": "c1", "products": [{"sku": "s1"}]});
    let shop = || {
        Shop::new(CART).cart("00:05", "c1", "u1", &["s1"]).track("00:10", "u1", "Completed Order", completed.clone())
    };
    shop().decides(&[]);
    // The refund names no cart, and keeps the one known: the order still closes it.
    shop().track("00:20", "u1", "Order Refunded", json!({"order_id": "o1"})).decides(&[]);
    shop()
        .track("00:20", "u1", "Order Cancelled", json!({"order_id": "o1"}))
        .decides(&["00:50 cart u1 c1 @00:20 send"]);
    // The update keeps `placed_at`, so that the cart's change since then stays open.
    shop()
        .cart("00:15", "c1", "u1", &["s1"])
        .track("00:20", "u1", "Order Updated", completed.clone())
        .decides(&["00:50 cart u1 c1 @00:20 send"]);
    // An `orders` record of a version makes a message's stale, though the message stays an activity.
    let stale = shop().order("00:10", "o1", "u1", json!({"version": 1, "cart_id": "c1"})).track(
        "00:20",
        "u1",
        "Order Cancelled",
        json!({"order_id": "o1"}),
    );
    assert_eq!(stale.run().counts.stale, BTreeMap::from([("clickstream", 2)]));
    stale.decides(&[]);
}

#[test]
fn a_replay_ends_where_it_is_told_to() {
    let shop = Shop::new(CART).cart("00:05", "c1", "u1", &["s1"]).cart("00:34.5", "c2", "u2", &["s1"]);
    let decided = |until| run(&shop.0, until).decisions.len();
    assert_eq!(decided(Until::LastEvent), 1);
    assert_eq!(decided(Until::Time(TEN_MS + 34_999)), 0);
    assert_eq!(decided(Until::Time(TEN_MS + 35_000)), 1);
    assert_eq!(decided(Until::Time(TEN_MS + 65_000)), 2);
    assert_eq!(decided(Until::Drain), 2);
}

#[test]
fn a_shared_device_never_gives_one_the_others_history() {
    let identify = |user: &str| json!({"type": "identify", "userId": user, "anonymousId": "a1"});
    let anonymous_cart = |shop: Shop, time: &str, cart: &str| {
        shop.line(
            "carts",
            json!({"cart_id": cart, "anonymous_id": "a1", "updated_at": at(time),
                "lines": [{"sku": "s1"}]}),
        )
    };
    // Before the first link: its user's. After a link: that one's.
    let shop = anonymous_cart(Shop::new(CART), "00:01", "c1");
    let shop = shop.message("00:10", identify("u1"));
    let shop = anonymous_cart(shop, "00:19", "c2");
    let shop = shop.message("00:20", identify("u2"));
    let shop = anonymous_cart(shop, "00:21", "c3");
    shop.decides(&[
        "00:49 cart u1 c1 @00:19 send",
        "00:49 cart u1 c2 @00:19 suppress outranked",
        "00:51 cart u2 c3 @00:21 send",
    ]);
}

#[test]
fn an_alias_makes_everything_anothers_and_chains_are_followed() {
    let alias = |from: &str, to: &str| json!({"type": "alias", "previousId": from, "userId": to});
    Shop::new(CART)
        .message("00:01", alias("old", "older"))
        .message("00:02", alias("older", "u1"))
        .cart("00:05", "c1", "old", &["s1"])
        .decides(&["00:35 cart u1 c1 @00:05 send"]);
}

/// A campaign named after its trigger, of W = 30 s.
fn campaign(trigger: &str, more: &str) -> String {
    format!("[[campaign]]\nname = \"c\"\ntrigger = \"{trigger}\"\nafter = \"30s\"\n{more}\n")
}

#[test]
fn checkout_abandonment() {
    let started = |more: &str| {
        Shop::new(&campaign("checkout_abandonment", more))
            .cart("00:01", "c1", "u1", &["s1"])
            .track("00:05", "u1", "Checkout Started", json!({"cart_id": "c1"}))
            .message("00:20", json!({"userId": "u1"}))
    };
    started("").decides(&["00:35 c u1 c1 @00:05 send"]).gives(&["s1×1 -/0"]);
    started("").order("00:50", "o1", "u1", json!({})).holds(&[("00:35", &["c1"]), ("00:50", &[])]);
    started("").order("00:05", "o1", "u1", json!({})).decides(&[]);
}

#[test]
fn browse_abandonment() {
    let shop = || {
        let config = campaign("browse_abandonment", "min_views = 2\nlookback = \"10s\"");
        let view = |shop: Shop, time: &str, sku: &str| shop.track(time, "u1", "Product Viewed", json!({"sku": sku}));
        view(view(Shop::new(&config), "00:05", "s1"), "00:06", "s2")
    };
    shop().decides(&["00:36 c u1 s2 @00:06 send"]);
    shop().message("00:15", json!({"userId": "u1"})).decides(&["00:45 c u1 s2 @00:15 send"]);
    shop().message("00:16", json!({"userId": "u1"})).decides(&[]);
    shop().cart("00:04", "c1", "u1", &["s3"]).decides(&[]);
    shop().order("00:07", "o1", "u1", json!({})).decides(&[]);
    // By default one view will do, a day or less before the last activity.
    for (after_ms, decided) in [(86_400_000, 2), (86_401_000, 1)] {
        let shop = Shop::new(&campaign("browse_abandonment", ""));
        let shop = shop.track("00:05", "u1", "Product Viewed", json!({"sku": "s1"}));
        let shop = shop.message("00:05", json!({"userId": "u1", "timestamp": TEN_MS + 5000 + after_ms}));
        assert_eq!(shop.run().decisions.len(), decided);
    }
}

#[test]
fn the_last_view_of_a_tick_is_the_latest_by_time() {
    Shop::new(&campaign("browse_abandonment", ""))
        .track("00:05.900", "u1", "Product Viewed", json!({"sku": "s1"}))
        .track("00:05.100", "u1", "Product Viewed", json!({"sku": "s2"}))
        .decides(&["00:36 c u1 s1 @00:06 send"]);
}

#[test]
fn search_abandonment() {
    let shop = || {
        Shop::new(&campaign("search_abandonment", "")).track(
            "00:05",
            "u1",
            "Products Searched",
            json!({"query": "red shoes"}),
        )
    };
    shop().message("00:09", json!({"userId": "u1"})).decides(&["00:35 c u1 red shoes @00:05 send"]);
    shop()
        .track("00:40", "u1", "Product Viewed", json!({"sku": "s1"}))
        .holds(&[("00:35", &["red shoes"]), ("00:40", &[])]);
}

#[test]
fn low_stock() {
    let shop = |more: &str| {
        Shop::new(&format!("[[campaign]]\nname = \"c\"\ntrigger = \"low_stock\"\nthreshold = 2\n{more}\n"))
            .cart("00:01", "c1", "u1", &["s1", "s2"])
            .stock("00:00", "s1", 3)
            .stock("00:05", "s1", 2)
            .stock("00:10", "s1", 1)
            .cart("00:20", "c2", "u2", &["s1"])
            .stock("00:40", "s1", 0)
            .stock("00:50", "s1", 2)
    };
    // The anchor is the SKU's, for a line that comes later too. Sold out, then low again, is another.
    shop("")
        .decides(&[
            "00:05 c u1 s1 @00:05 send",
            "00:20 c u2 s1 @00:05 send",
            "00:50 c u1 s1 @00:50 send",
            "00:50 c u2 s1 @00:50 send",
        ])
        .gives(&["s1 -/2", "s1 -/1", "s1 -/2", "s1 -/2"]);
    // Expired before u2 had a cart.
    shop("expires = \"10s\"").holds(&[("00:05", &["s1"]), ("00:15", &[]), ("00:50", &["s1", "s1"]), ("01:00", &[])]);
    shop("").order("00:46", "o1", "u1", json!({"cart_id": "c1"})).decides(&[
        "00:05 c u1 s1 @00:05 send",
        "00:20 c u2 s1 @00:05 send",
        "00:50 c u2 s1 @00:50 send",
    ]);
    // Restocked beyond the threshold, it is no longer low.
    shop("").stock("00:55", "s1", 3).holds(&[
        ("00:05", &["s1"]),
        ("00:20", &["s1", "s1"]),
        ("00:40", &[]),
        ("00:50", &["s1", "s1"]),
        ("00:55", &[]),
    ]);
}

#[test]
fn price_drop() {
    let shop = |price: &str| {
        Shop::new(&campaign("price_drop", "percent = 10"))
            .track("00:01", "u1", "Product Viewed", json!({"sku": "s1"}))
            .product("00:00", "s1", json!({"price": "20.00"}))
            .product("00:05", "s1", json!({"price": price}))
            .product("00:50", "s1", json!({"price": "20.00"}))
    };
    shop("18.00").gives(&["s1 18.00/0"]);
    // At the drop itself, whatever `after` says.
    shop("18.00").holds(&[("00:05", &["s1"]), ("00:50", &[])]);
    shop("18.01").decides(&[]);
}

#[test]
fn after_an_order() {
    let lines = json!([{"sku": "s1", "price": "5.00"}]);
    let shop = |trigger: &str| Shop::new(&campaign(trigger, "")).order("00:05", "o1", "u1", json!({"lines": lines}));
    shop("replenishment")
        .order("00:50", "o2", "u1", json!({"lines": lines}))
        .decides(&["00:35 c u1 s1 @00:05 send", "01:20 c u1 s1 @00:50 send"])
        .holds(&[("00:35", &["s1"]), ("00:50", &[]), ("01:20", &["s1"])]);
    let refund = json!({"status": "refunded", "updated_at": at("00:50"), "version": 1});
    shop("post_purchase")
        .order("00:05", "o1", "u1", refund)
        .decides(&["00:35 c u1 o1 @00:05 send"])
        .gives(&["s1 5.00/0"])
        .holds(&[("00:35", &["o1"]), ("00:50", &[])]);
    shop("win_back")
        .message("00:10", json!({"userId": "u1"}))
        .message("00:10", json!({"userId": "u2"}))
        .decides(&["00:40 c u1 u1 @00:10 send"]);
}

#[test]
fn welcome() {
    Shop::new(&campaign("welcome", ""))
        .engage("00:31", "e1", "u2", "unsubscribed")
        .decides(&["00:30 c u1 u1 @00:00 send", "00:30 c u2 u2 @00:00 send"])
        .holds(&[("00:30", &["u1", "u2"]), ("00:31", &["u1"])]);
}
