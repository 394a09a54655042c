//! Similar SKUs by hand (SPEC §3). The engine is held to these as well, with one worker and with two.

use super::gates::both_run;
use super::*;

/// A cart campaign of W = 30 s that asks for two similar SKUs.
fn shop(similar: &str) -> Shop {
    let shop = Shop::new(&format!("[similar]\n{similar}\n{CART}similar = 2\n"));
    ["s1", "s2", "s3", "s4"].into_iter().fold(shop, |shop, sku| shop.stock("00:00", sku, 9))
}

fn views(shop: Shop, time: &str, user: &str, skus: &[&str]) -> Shop {
    skus.iter().fold(shop, |shop, sku| shop.track(time, user, "Product Viewed", json!({"sku": sku})))
}

/// u1's cart of s1 at 10:01, decided half a minute later.
fn cart(shop: Shop) -> Shop {
    shop.cart("01:00", "c1", "u1", &["s1"])
}

/// The similar SKUs of each decision of both.
#[track_caller]
fn both_suggest(shop: &Shop, expected: &[&[&str]]) {
    let skus = |decision: &Value| -> Vec<String> {
        let similar = decision["payload"]["similar"].as_array().expect("similar SKUs were asked for");
        similar.iter().map(|line| line["sku"].as_str().expect("a SKU").to_owned()).collect()
    };
    let got: Vec<Vec<String>> = both_run(shop).iter().map(skus).collect();
    assert_eq!(got, expected);
}

#[test]
fn most_customers_first_then_the_lesser_sku() {
    let wanted = |shop| views(views(shop, "00:10", "u2", &["s1", "s4", "s3"]), "00:20", "u3", &["s1", "s3", "s2"]);
    both_suggest(&cart(wanted(shop(""))), &[&["s3", "s2"]]);
    // Each customer counts once, however often they look, and only with interest in both.
    both_suggest(
        &cart(views(views(wanted(shop("")), "00:30", "u2", &["s2"; 3]), "00:30", "u4", &["s4"])),
        &[&["s2", "s3"]],
    );
    // Any interest counts, the customer's own too.
    let added = wanted(shop("")).track("00:40", "u1", "Product Added", json!({"sku": "s4", "cart_id": "c1"}));
    both_suggest(&cart(added), &[&["s3", "s4"]]);
}

#[test]
fn what_is_out_of_stock_or_ordered_is_left_out() {
    let wanted = |shop| cart(views(shop, "00:10", "u2", &["s1", "s2", "s3", "s4"]));
    both_suggest(&wanted(shop("")), &[&["s2", "s3"]]);
    both_suggest(&wanted(shop("").stock("01:20", "s2", 0)), &[&["s3", "s4"]]);
    let order = |shop: Shop, more: Value| {
        let mut order = json!({"cart_id": "another", "lines": [{"sku": "s3"}]});
        extend(&mut order, more);
        wanted(shop.order("00:05", "o1", "u1", order))
    };
    both_suggest(&order(shop(""), json!({})), &[&["s2", "s4"]]);
    both_suggest(&order(shop(""), json!({"status": "refunded"})), &[&["s2", "s4"]]);
    both_suggest(&order(shop(""), json!({"status": "cancelled"})), &[&["s2", "s3"]]);
    // Another's order is nothing to u1.
    both_suggest(&wanted(shop("").order("00:05", "o1", "u2", json!({"lines": [{"sku": "s3"}]}))), &[&["s2", "s3"]]);
}

#[test]
fn interest_counts_for_the_window_and_of_each_customer_the_latest() {
    let seen = |time: &str, terms: &str| cart(views(shop(terms), time, "u2", &["s1", "s2", "s3", "s4"]));
    // Decided at 01:30.
    both_suggest(&seen("00:30", "window = \"60s\""), &[&["s2", "s3"]]);
    both_suggest(&seen("00:29", "window = \"60s\""), &[&[]]);
    // Of one tick the lesser SKUs count, which is the other way round when s4 is looked at again.
    both_suggest(&seen("00:30", "recent = 2"), &[&["s2"]]);
    both_suggest(&views(seen("00:30", "recent = 2"), "00:31", "u2", &["s4"]), &[&["s4"]]);
    both_suggest(&views(seen("00:30", "recent = 2"), "00:31", "u2", &["s3", "s4"]), &[&[]]);
}

#[test]
fn the_subject_is_the_most_expensive_line() {
    let lines = json!([{"sku": "s1", "price": 5}, {"sku": "s2", "price": 7, "quantity": 9}, {"sku": "s3", "price": 7}]);
    let wanted = |shop| views(views(shop, "00:10", "u2", &["s1", "s4"]), "00:20", "u3", &["s2", "s3"]);
    let cart = json!({"cart_id": "c1", "user_id": "u1", "updated_at": at("01:00"), "lines": lines});
    // u1 is interested in all three; what is in the cart itself is not left out.
    both_suggest(&wanted(shop("")).line("carts", cart), &[&["s3", "s1"]]);
    // Without lines there is none: an empty checkout, a search.
    let checkout = Shop::new(&campaign("checkout_abandonment", "similar = 1")).stock("00:00", "s4", 1);
    let checkout = wanted(checkout).track("00:30", "u1", "Checkout Started", json!({"cart_id": "c9"}));
    both_suggest(&checkout, &[&[]]);
}

#[test]
fn interest_goes_with_its_owner() {
    let seen = |shop: Shop, time: &str, visitor: &str, sku: &str| {
        let viewed =
            json!({"type": "track", "event": "Product Viewed", "anonymousId": visitor, "properties": {"sku": sku}});
        shop.message(time, viewed)
    };
    let apart = || seen(seen(shop(""), "00:10", "a1", "s1"), "00:20", "a2", "s2");
    both_suggest(&cart(apart()), &[&[]]);
    let link = |shop: Shop, time: &str, visitor: &str| {
        shop.message(time, json!({"type": "identify", "anonymousId": visitor, "userId": "u2"}))
    };
    both_suggest(&cart(link(link(apart(), "00:30", "a1"), "00:40", "a2")), &[&["s2"]]);
    // Two who turn out to be one count once.
    let two =
        || ["s1", "s3"].into_iter().fold(apart(), |shop, sku| seen(seen(shop, "00:21", "a1", sku), "00:22", "a2", sku));
    both_suggest(&cart(two()), &[&["s3", "s2"]]);
    both_suggest(&cart(link(link(two(), "00:30", "a1"), "00:40", "a2")), &[&["s2", "s3"]]);
}

#[test]
fn a_payload_says_what_is_known_and_nothing_where_it_is_not_asked() {
    let wanted =
        cart(views(shop(""), "00:10", "u2", &["s1", "s2"])).product("00:00", "s2", json!({"name": "Two", "price": 5}));
    let decisions = both_run(&wanted);
    let similar = decisions[0]["payload"]["similar"].to_string();
    assert_eq!(similar, r#"[{"sku":"s2","price":"5","name":"Two","on_hand":9}]"#);
    let payload = both_run(&Shop::new(CART).cart("01:00", "c1", "u1", &["s1"]))[0]["payload"].to_string();
    assert_eq!(payload, r#"{"lines":[{"sku":"s1","quantity":1,"on_hand":0}]}"#);
}
