//! Audiences, stock budgets and quiet hours by hand. The engine is held to these as well, with one worker and with two.

use super::*;
use crate::engine;

/// A profile with more in it.
fn profile(time: &str, user: &str, more: Value) -> Value {
    let mut record =
        json!({"user_id": user, "email": "e@example.com", "consent": {"email": true}, "updated_at": at(time)});
    extend(&mut record, more);
    record
}

/// What both decide, in short.
#[track_caller]
fn both_decide(shop: &Shop, expected: &[&str]) {
    let got: Vec<String> = both_run(shop).iter().map(brief).collect();
    assert_eq!(got, expected);
}

/// The decisions of both, which must be the same.
#[track_caller]
pub(super) fn both_run(shop: &Shop) -> Vec<Value> {
    let outcome = shop.run();
    for workers in [1, 2] {
        let found = engine::replay(&shop.0, Until::Drain, workers);
        let decisions: Vec<Value> =
            found.decisions.iter().map(|line| serde_json::from_str(line).expect("a decision")).collect();
        assert_eq!(decisions, outcome.decisions, "the engine, {workers} workers");
    }
    outcome.decisions
}

fn config(limits: &str, campaign: &str) -> String {
    format!("[limits]\n{limits}\n{campaign}")
}

/// Quiet from ten to five past, for those who name no zone.
const QUIET: &str = "quiet_hours = { from = \"10:00\", to = \"10:05\" }";

#[test]
fn an_audience_is_asked_of_profile_history_and_cart() {
    let audience = |text: &str| Shop::empty(&format!("{CART}audience = \"{text}\"\n"));
    let gold = json!({"attributes": {"tier": "gold"}});
    let shop = |text: &str| {
        audience(text)
            .line("profiles", profile("00:00", "u1", gold.clone()))
            .line("profiles", profile("00:00", "u2", json!({})))
            .order("00:01", "o1", "u2", json!({"cart_id": "another", "total": "19.90"}))
            .cart("00:05", "c1", "u1", &["s1"])
            .cart("00:05", "c2", "u2", &["s1"])
    };
    let first = ["00:35 cart u1 c1 @00:05 send", "00:35 cart u2 c2 @00:05 suppress audience"];
    let second = ["00:35 cart u1 c1 @00:05 suppress audience", "00:35 cart u2 c2 @00:05 send"];
    // Of u2, who has no tier, nothing can be told.
    both_decide(&shop("customer.attributes.tier == 'gold'"), &first);
    both_decide(&shop("customer.orders == 0"), &first);
    both_decide(&shop("customer.total == 19.90"), &second);
    let neither = ["00:35 cart u1 c1 @00:05 suppress audience", "00:35 cart u2 c2 @00:05 suppress audience"];
    both_decide(&shop("customer.orders"), &neither);
    // A cancelled order is no history.
    let cancelled = json!({"status": "cancelled", "version": 1, "updated_at": at("00:03"), "total": "19.90"});
    both_decide(&shop("customer.orders == 0").order("00:01", "o1", "u2", cancelled), &{
        ["00:35 cart u1 c1 @00:05 send", "00:35 cart u2 c2 @00:05 send"]
    });
}

#[test]
fn the_first_discount_that_holds_is_in_the_payload_whatever_is_decided() {
    let discount = concat!(
        "discount = [{ when = \"customer.attributes.tier == 'gold'\", percent = 12.50 }, ",
        "{ when = \"customer.orders == 0\", percent = 10 }, ",
        "{ when = \"cart.total >= 20 && cart.lines.size() > 1\", percent = 5 }]\n",
    );
    let cart = |shop: Shop, time: &str, cart: &str, user: &str, price: &str| {
        let lines = json!([{"sku": "s1", "price": price}, {"sku": "s2"}]);
        shop.line("carts", json!({"cart_id": cart, "user_id": user, "updated_at": at(time), "lines": lines}))
    };
    let gold = json!({"attributes": {"tier": "gold"}, "consent": {"email": false}});
    let shop = Shop::empty(&format!("{CART}{discount}"))
        // Of u2 and u3, who have no tier, the first cannot be told; u4 has no profile.
        .line("profiles", profile("00:00", "u1", gold))
        .line("profiles", profile("00:00", "u2", json!({})))
        .line("profiles", profile("00:00", "u3", json!({})))
        .order("00:01", "o1", "u2", json!({"cart_id": "another"}))
        .order("00:01", "o2", "u4", json!({"cart_id": "another"}));
    let shop = [("c1", "u1", "1"), ("c2", "u2", "20.00"), ("c3", "u3", "30"), ("c4", "u4", "19.99")]
        .into_iter()
        .fold(shop, |shop, (id, user, price)| cart(shop, "00:05", id, user, price));
    both_decide(
        &shop,
        &[
            "00:35 cart u1 c1 @00:05 suppress no_consent",
            "00:35 cart u2 c2 @00:05 send",
            "00:35 cart u3 c3 @00:05 send",
            "00:35 cart u4 c4 @00:05 suppress unreachable",
        ],
    );
    let payloads: Vec<String> = shop.run().decisions.iter().map(|decision| decision["payload"].to_string()).collect();
    let of = |sku: &str, price: &str| format!(r#"{{"sku":"{sku}","quantity":1,{price}"on_hand":0}}"#);
    let line = |price: &str| format!(r#"{{"lines":[{},{}]"#, of("s1", &format!(r#""price":"{price}","#)), of("s2", ""));
    let expected = [
        format!(r#"{},"discount":{{"percent":12.5}}}}"#, line("1")),
        format!(r#"{},"discount":{{"percent":5}}}}"#, line("20.00")),
        format!(r#"{},"discount":{{"percent":10}}}}"#, line("30")),
        format!("{}}}", line("19.99")),
    ];
    assert_eq!(payloads, expected);
}

#[test]
fn a_discount_is_chosen_when_it_is_decided() {
    let discount = "discount = [{ when = \"customer.attributes.tier == 'gold'\", percent = 10 }]\n";
    let shop = Shop::new(&config(QUIET, &format!("{CART}{discount}"))).cart("00:05", "c1", "u1", &["s1"]);
    let gold = json!({"attributes": {"tier": "gold"}, "version": 1});
    let promised = |shop: &Shop| {
        both_decide(shop, &["05:00 cart u1 c1 @00:05 send"]);
        shop.run().decisions[0]["payload"]["discount"].clone()
    };
    assert_eq!(promised(&shop), Value::Null);
    // Between the rising edge and the end of the quiet hours.
    let shop = shop.line("profiles", profile("04:00", "u1", gold));
    assert_eq!(promised(&shop), json!({"percent": 10}));
}

#[test]
fn a_stock_budget_is_used_up_by_sends_and_renewed_by_a_restock() {
    let shop = |budget: &str, on_hand: i64| {
        let interest = |shop: Shop, user: &str| shop.track("00:01", user, "Product Viewed", json!({"sku": "s1"}));
        let config = format!("{BACK}stock_budget = {budget}\n");
        let shop = Shop::new(&config).profile("u3").stock("00:00", "s1", 0);
        let shop = ["u1", "u2", "u3"].into_iter().fold(shop, interest);
        shop.stock("01:00", "s1", on_hand).stock("02:00", "s1", 0).stock("03:00", "s1", on_hand)
    };
    let line = |time: &str, user: &str, what: &str| format!("{time} back {user} s1 @{time} {what}");
    let expect = |sends: usize| -> Vec<String> {
        let outcome = |index: usize| if index < sends { "send" } else { "suppress stock_budget" };
        let of = |time: &'static str| (0..3).map(move |index| line(time, ["u1", "u2", "u3"][index], outcome(index)));
        of("01:00").chain(of("03:00")).collect()
    };
    for (budget, on_hand, sends) in [("1", 1, 1), ("1", 2, 2), ("0.5", 2, 1), ("0.5", 1, 1), ("1.5", 1, 2), ("2", 9, 3)]
    {
        let expected = expect(sends);
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        both_decide(&shop(budget, on_hand), &expected);
    }
}

#[test]
fn a_carts_hero_is_its_most_expensive_line() {
    let cart = |shop: Shop, cart: &str, user: &str, lines: Value| {
        let record = json!({"cart_id": cart, "user_id": user, "updated_at": at("00:05"), "lines": lines});
        shop.line("carts", record)
    };
    let shop = Shop::new(&format!("{CART}stock_budget = 1\n")).profile("u3").profile("u4");
    let shop = shop.stock("00:00", "s1", 1).stock("00:00", "s2", 1);
    let shop = cart(shop, "c1", "u1", json!([{"sku": "s2", "price": "1"}, {"sku": "s1", "price": "2"}]));
    // By unit, not by line; of several, the first.
    let shop =
        cart(shop, "c2", "u2", json!([{"sku": "s2", "price": "1", "quantity": 9}, {"sku": "s1", "price": "1.5"}]));
    let shop = cart(shop, "c3", "u3", json!([{"sku": "s2", "price": "3"}, {"sku": "s1", "price": "3.00"}]));
    // Of what is not there, none may be spoken of.
    let shop = cart(shop, "c4", "u4", json!([{"sku": "s3", "price": "9"}]));
    both_decide(
        &shop,
        &[
            "00:35 cart u1 c1 @00:05 send",
            "00:35 cart u2 c2 @00:05 suppress stock_budget",
            "00:35 cart u3 c3 @00:05 send",
            "00:35 cart u4 c4 @00:05 suppress stock_budget",
        ],
    );
}

#[test]
fn quiet_hours_put_off_and_all_gates_are_asked_again() {
    let shop = Shop::new(&config(QUIET, &format!("{CART}expires = \"10m\"\n")))
        .cart("00:05", "c1", "u1", &["s1"])
        .cart("00:10", "c2", "u2", &["s1"])
        .stock("04:00", "s1", 7)
        .engage("04:59", "e1", "u2", "unsubscribed");
    both_decide(&shop, &["05:00 cart u1 c1 @00:05 send", "05:00 cart u2 c2 @00:10 suppress no_consent"]);
    shop.gives(&["s1×1 -/7", "s1×1 -/7"]);
}

#[test]
fn an_earlier_gate_does_not_wait_and_what_leaves_is_not_decided() {
    let shop = Shop::new(&config(QUIET, &format!("{CART}expires = \"2m\"\n")))
        .cart("00:05", "c1", "u1", &["s1"])
        .cart("00:05", "c3", "u3", &["s1"])
        .cart("04:00", "c2", "u2", &["s1"]);
    both_decide(&shop, &["00:35 cart u3 c3 @00:05 suppress unreachable", "05:00 cart u2 c2 @04:00 send"]);
}

#[test]
fn what_comes_back_while_it_is_quiet_waits_again() {
    let shop = Shop::new(&config(QUIET, &CART.replace("ignore", "any")))
        .stock("00:00", "s1", 1)
        .cart("00:05", "c1", "u1", &["s1"])
        .stock("01:00", "s1", 0)
        .stock("02:00", "s1", 3);
    both_decide(&shop, &["05:00 cart u1 c1 @00:05 send"]);
    both_decide(&shop.stock("04:59", "s1", 0), &[]);
}

#[test]
fn those_who_waited_are_arbitrated_together_with_those_who_enter() {
    let second = CART.replace("\"cart\"", "\"basket\"").replace("30s", "295s") + "priority = 1\n";
    let shop = Shop::new(&config(QUIET, &format!("{CART}{second}"))).cart("00:05", "c1", "u1", &["s1"]);
    both_decide(&shop, &["05:00 basket u1 c1 @00:05 send", "05:00 cart u1 c1 @00:05 suppress outranked"]);
}

#[test]
fn it_is_the_zone_of_when_they_are_asked() {
    let shop = |hours: &str, time: &str| {
        let kolkata = json!({"timezone": "Asia/Kolkata", "version": 1});
        let shop = Shop::new(&config(hours, CART)).cart("00:05", "c1", "u1", &["s1"]);
        shop.line("profiles", profile(time, "u1", kolkata))
    };
    both_decide(&shop(QUIET, "00:10"), &["00:35 cart u1 c1 @00:05 send"]);
    // One who waits does so to the end.
    both_decide(&shop(QUIET, "00:40"), &["05:00 cart u1 c1 @00:05 send"]);
    // At 10:05 in Greenwich it is 15:35 in Kolkata, and quiet again until 10:05 there, which is 04:35.
    let hours = QUIET.replace("10:00", "15:00");
    both_decide(&shop(&hours, "00:40"), &["35:00 cart u1 c1 @00:05 send"]);
}

#[test]
fn clocks_that_are_put_forward_or_back() {
    let shop = |times: &[&str]| {
        let hours = "quiet_hours = { from = \"01:30\", to = \"02:30\", default_timezone = \"Europe/Berlin\" }";
        let shop = Shop::empty(&config(hours, CART));
        let lines = [json!({"sku": "s1"})];
        times.iter().zip(["u1", "u2", "u3"]).fold(shop, |shop, (time, user)| {
            let profile = profile("00:00", user, json!({}));
            let cart = json!({"cart_id": user, "user_id": user, "updated_at": time, "lines": lines});
            shop.line("profiles", profile).line("carts", cart)
        })
    };
    // 02:30 is skipped at 01:00Z.
    let forward = shop(&["2026-03-29T00:29:00Z", "2026-03-29T00:40:00Z", "2026-03-29T01:00:10Z"]);
    both_decide(
        &forward,
        &["29:30 cart u1 u1 @29:00 send", "00:00 cart u2 u2 @40:00 send", "00:40 cart u3 u3 @00:10 send"],
    );
    // 02:30 comes at 00:30Z, and after 03:00 has become 02:00 at 01:00Z, again at 01:30Z.
    let back = shop(&["2026-10-25T00:10:00Z", "2026-10-25T00:40:00Z", "2026-10-25T01:10:00Z"]);
    both_decide(
        &back,
        &["30:00 cart u1 u1 @10:00 send", "40:30 cart u2 u2 @40:00 send", "30:00 cart u3 u3 @10:00 send"],
    );
}
