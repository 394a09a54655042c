//! The decoder: literal records of every stream and every kind of bad input, and properties over generated ones.

use std::sync::Arc;

use beckon::decode::{Bad, Decoded, Decoder, Dictionary, RECORD_BYTES_MAX};
use beckon_dataflows::model::{
    Action, CartRecord, CatalogRecord, Click, Contact, EngagementKind, EngagementRecord, Fold, Id, Line, MessageId,
    Money, Namespace, OrderRecord, OrderStatus, Position, Product, ProfileRecord, Record, Standing, StockRecord,
    Stream, Words, Written,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// 2026-01-01T10:00:00Z, epoch ms.
const TEN_MS: u64 = 1_767_261_600_000;

/// One valid record of each stream, and of each kind of Segment message that a rule reads.
const VALID: [(Stream, &str); 14] = [
    (Stream::Clickstream, VIEWED),
    (
        Stream::Clickstream,
        r#"{"type":"track","event":"Product Added","messageId":"m-2","userId":"u1","timestamp":"2026-01-01T10:00:00Z","properties":{"cart_id":"c1","sku":"s1","quantity":2,"price":"19.90","currency":"EUR"}}"#,
    ),
    (
        Stream::Clickstream,
        r#"{"type":"track","event":"Product Removed","userId":"u1","timestamp":1767261600000,"properties":{"product_id":"s1"}}"#,
    ),
    (
        Stream::Clickstream,
        r#"{"type":"track","event":"Order Completed","userId":"u1","timestamp":"2026-01-01T11:00:00+01:00","properties":{"order_id":"o1","revenue":39.80,"cart_id":"c1","products":[{"product_id":"s1","quantity":2,"price":19.90}]}}"#,
    ),
    (
        Stream::Clickstream,
        r#"{"type":"track","event":"Checkout Started","userId":"u1","timestamp":"2026-01-01T10:00:00Z","properties":{"order_id":"o1"}}"#,
    ),
    (
        Stream::Clickstream,
        r#"{"type":"track","event":"Products Searched","anonymousId":"a1","timestamp":"2026-01-01T10:00:00Z","properties":{"query":"blaue H\u00f6se"}}"#,
    ),
    (
        Stream::Clickstream,
        r#"{"type":"identify","userId":"u1","anonymousId":"a1","timestamp":"2026-01-01T10:00:00Z","traits":{"email":"u1@example.com"}}"#,
    ),
    (Stream::Clickstream, r#"{"type":"alias","userId":"u1","previousId":"x1","timestamp":"2026-01-01T10:00:00Z"}"#),
    (Stream::Carts, CART),
    (
        Stream::Inventory,
        r#"{"sku":"s1","location":"berlin","on_hand":-3,"version":7,"updated_at":"2026-01-01T10:00:00Z"}"#,
    ),
    (
        Stream::Catalog,
        r#"{"sku":"s1","name":"Blue \"shirt\"","category":"shirts","brand":"Acme","price":"19.90","currency":"EUR","image_url":"https://cdn.example.com/s1.jpg","url":"https://shop.example.com/p/s1","version":7,"updated_at":"2026-01-01T10:00:00Z"}"#,
    ),
    (Stream::Orders, ORDER),
    (
        Stream::Profiles,
        r#"{"user_id":"u1","email":"u1@example.com","first_name":"Ada","locale":"en-GB","timezone":"Europe/London","consent":{"email":true},"attributes":{ "tier" : "gold card", "n": [1, 2.50] },"version":7,"updated_at":"2026-01-01T10:00:00Z"}"#,
    ),
    (
        Stream::Engagement,
        r#"{"event_id":"e1","type":"clicked","decision_id":"0123456789abcdef0123456789ABCDEF","user_id":"u1","occurred_at":"2026-01-01T10:00:00Z","url":"https://shop.example.com","machine":true}"#,
    ),
];

const VIEWED: &str = r#"{"type":"track","event":"Product Viewed","messageId":"m-1","userId":"u1","anonymousId":"a1","timestamp":"2026-01-01T10:00:00.000Z","properties":{"sku":"s1","name":"Blue shirt","price":19.90,"currency":"EUR","category":"shirts"},"context":{"page":{"url":"https://shop.example.com/p/s1"},"userAgent":"Mozilla/5.0"}}"#;
const CART: &str = r#"{"cart_id":"c1","user_id":"u1","version":7,"updated_at":"2026-01-01T10:00:00Z","currency":"EUR","lines":[{"sku":"s1","quantity":2,"price":19.90},{"sku":"s2","price":"5"},{"sku":"s3","quantity":0}]}"#;
const ORDER: &str = r#"{"order_id":"o1","anonymous_id":"a1","cart_id":"c1","status":"refunded","placed_at":"2026-01-01T10:00:00Z","version":7,"updated_at":"2026-01-01T10:00:01.5Z","total":"39.80","currency":"EUR","lines":[{"sku":"s1","quantity":2,"price":19.90}]}"#;

fn at(stream: Stream) -> Position {
    Position::new(stream, 3, 42)
}

fn decode(stream: Stream, text: &str) -> Result<Decoded, Bad> {
    Decoder::new(Arc::default()).decode(at(stream), text.as_bytes())
}

fn id(namespace: Namespace, text: &str) -> Id {
    Id::of(namespace, text).0
}

fn user(text: &str) -> Id {
    id(Namespace::User, text)
}

fn sku(text: &str) -> Id {
    id(Namespace::Sku, text)
}

fn money(text: &str) -> Option<Money> {
    Some(text.parse().unwrap())
}

fn written(stream: Stream, version: i64, updated_ms: u64) -> Written {
    Written { version, updated_ms, position: at(stream) }
}

#[track_caller]
fn check(stream: Stream, text: &str, event_ms: u64, record: Record) {
    assert_eq!(decode(stream, text), Ok(Decoded { record, event_ms }), "{text}");
}

/// The action of a Segment message with these members beside its owner `u1` and its time.
#[track_caller]
fn action(members: &str) -> Action {
    let text = format!(r#"{{"userId":"u1","timestamp":"2026-01-01T10:00:00Z",{members}}}"#);
    match decode(Stream::Clickstream, &text) {
        Ok(Decoded { record: Record::Click(click), .. }) => click.action,
        other => panic!("{text}: {other:?}"),
    }
}

#[track_caller]
fn check_bad(stream: Stream, text: &str, bad: Bad) {
    assert_eq!(decode(stream, text), Err(bad), "{text}");
}

// Clickstream

#[test]
fn a_product_view_is_a_click_of_its_user() {
    let decoded = decode(Stream::Clickstream, VIEWED).unwrap();
    let Record::Click(click) = decoded.record else { panic!("{decoded:?}") };
    assert_ne!(click.message, MessageId::NONE);
    let expected = Click {
        owner: user("u1"),
        message: click.message,
        at_ms: TEN_MS,
        position: at(Stream::Clickstream),
        action: Action::Viewed(sku("s1")),
    };
    assert_eq!((click, decoded.event_ms), (expected, TEN_MS));
}

#[test]
fn a_message_without_a_user_is_the_visitors() {
    let text = r#"{"type":"screen","userId":"","anonymousId":"u1","timestamp":1767261600000}"#;
    let click = Click {
        owner: id(Namespace::Anonymous, "u1"),
        message: MessageId::NONE,
        at_ms: TEN_MS,
        position: at(Stream::Clickstream),
        action: Action::Seen,
    };
    check(Stream::Clickstream, text, TEN_MS, Record::Click(click));
}

#[test]
fn events_mean_what_their_names_say_in_both_versions() {
    let track = |event: &str| {
        action(&format!(
            r#""type":"track","event":"{event}","properties":{{"sku":"s1","product_id":"p1","query":"hat","order_id":"o1"}}"#
        ))
    };
    for event in ["Product Viewed", "Viewed Product"] {
        assert_eq!(track(event), Action::Viewed(sku("s1")));
    }
    for event in ["Product Clicked", "Clicked Product", "Product Added to Wishlist"] {
        assert_eq!(track(event), Action::Wanted(sku("s1")));
    }
    for event in ["Products Searched", "Searched Products"] {
        assert_eq!(track(event), Action::Searched(id(Namespace::Text, "hat")));
    }
    for event in ["Checkout Started", "Started Checkout"] {
        assert_eq!(track(event), Action::CheckoutStarted(id(Namespace::Order, "o1")));
    }
    for (event, quantity) in
        [("Product Added", 1), ("Added Product", 1), ("Product Removed", -1), ("Removed Product", -1)]
    {
        assert!(matches!(track(event), Action::Folded(fold) if fold.quantity == quantity), "{event}");
    }
    for (event, status) in [
        ("Order Completed", OrderStatus::Placed),
        ("Completed Order", OrderStatus::Placed),
        ("Order Updated", OrderStatus::Placed),
        ("Updated Order", OrderStatus::Placed),
        ("Order Cancelled", OrderStatus::Cancelled),
        ("Cancelled Order", OrderStatus::Cancelled),
        ("Order Refunded", OrderStatus::Refunded),
        ("Refunded Order", OrderStatus::Refunded),
    ] {
        assert!(matches!(track(event), Action::Ordered(order) if order.status == status), "{event}");
    }
    for event in
        ["Product List Viewed", "Viewed Product Category", "Cart Viewed", "Product Removed from Wishlist", "Signed Up"]
    {
        assert_eq!(track(event), Action::Seen);
    }
}

#[test]
fn a_product_is_named_by_sku_else_by_product_id_else_there_is_none() {
    let viewed =
        |properties: &str| action(&format!(r#""type":"track","event":"Product Viewed","properties":{properties}"#));
    assert_eq!(viewed(r#"{"product_id":"p1"}"#), Action::Viewed(sku("p1")));
    assert_eq!(viewed(r#"{"sku":"","product_id":"p1"}"#), Action::Viewed(sku("p1")));
    assert_eq!(viewed(r#"{"sku":null}"#), Action::Seen);
    assert_eq!(viewed("null"), Action::Seen);
    assert_eq!(action(r#""type":"track","event":"Product Viewed""#), Action::Seen);
    assert_eq!(viewed(r#"{"\u0073ku":"\u0073\u0031"}"#), Action::Viewed(sku("s1")), "escaped");
    assert_eq!(viewed(r#"{"sku":"s1","sku":"s2"}"#), Action::Viewed(sku("s2")), "the later wins");
}

#[test]
fn an_added_product_folds_into_the_named_cart_or_the_owners_own() {
    let fold = Fold {
        cart: id(Namespace::Cart, "c1"),
        owner: user("u1"),
        written: written(Stream::Clickstream, 0, TEN_MS),
        sku: sku("s1"),
        quantity: 2,
        price: money("19.90"),
        currency: id(Namespace::Text, "EUR"),
    };
    let event = r#""type":"track","event":"Product Added","properties":{"#;
    let named = action(&format!(r#"{event}"cart_id":"c1","sku":"s1","quantity":2,"price":19.90,"currency":"EUR"}}"#));
    assert_eq!(named, Action::Folded(Box::new(fold.clone())));
    let own = action(&format!(r#"{event}"sku":"s1"}}"#));
    let own_fold = Fold { cart: user("u1"), quantity: 1, price: None, currency: Id::NONE, ..fold };
    assert_eq!(own, Action::Folded(Box::new(own_fold)));
    assert_eq!(action(&format!(r#"{event}"sku":"s1","quantity":0}}"#)), Action::Seen);
}

#[test]
fn a_checkout_is_of_its_order_or_else_its_cart() {
    let started =
        |properties: &str| action(&format!(r#""type":"track","event":"Checkout Started","properties":{properties}"#));
    assert_eq!(started(r#"{"order_id":"o1","cart_id":"c1"}"#), Action::CheckoutStarted(id(Namespace::Order, "o1")));
    assert_eq!(started(r#"{"cart_id":"c1"}"#), Action::CheckoutStarted(id(Namespace::Cart, "c1")));
    assert_eq!(started("{}"), Action::Seen);
}

#[test]
fn an_order_event_is_an_order() {
    let event = r#""type":"track","event":"Order Completed","properties":"#;
    let lines =
        r#""products":[{"product_id":"s1","quantity":2,"price":19.90},{"name":"gift"},{"sku":"s2","quantity":0}]"#;
    let order = OrderRecord {
        order: id(Namespace::Order, "o1"),
        owner: user("u1"),
        cart: id(Namespace::Cart, "c1"),
        status: OrderStatus::Placed,
        written: written(Stream::Clickstream, 0, TEN_MS),
        placed_ms: TEN_MS,
        from_click: true,
        total: money("39.80"),
        lines: Box::new([Line { sku: sku("s1"), quantity: 2, price: money("19.90") }]),
    };
    let full = action(&format!(r#"{event}{{"order_id":"o1","cart_id":"c1","total":39.80,"revenue":1,{lines}}}"#));
    assert_eq!(full, Action::Ordered(Box::new(order.clone())));
    let bare = action(&format!(r#"{event}{{"order_id":"o1","revenue":"39.80"}}"#));
    assert_eq!(bare, Action::Ordered(Box::new(OrderRecord { cart: Id::NONE, lines: Box::default(), ..order })));
    assert_eq!(action(&format!(r#"{event}{{{lines}}}"#)), Action::Seen, "no order_id");
}

#[test]
fn identify_and_alias_link_only_when_they_name_both() {
    let visitor = id(Namespace::Anonymous, "a1");
    assert_eq!(action(r#""type":"identify","anonymousId":"a1""#), Action::Identified(visitor));
    assert_eq!(action(r#""type":"identify""#), Action::Seen);
    assert_eq!(action(r#""type":"alias","previousId":"a1""#), Action::Aliased(Box::new([visitor, user("a1")])));
    assert_eq!(action(r#""type":"page","anonymousId":"a1""#), Action::Seen);
    assert_eq!(action(r#""type":"group","groupId":"g1""#), Action::Seen);
}

#[test]
fn message_ids_tell_messages_apart() {
    let message = |id: &str| {
        let text = format!(r#"{{"type":"page","userId":"u1","messageId":{id},"timestamp":1767261600000}}"#);
        match decode(Stream::Clickstream, &text).unwrap().record {
            Record::Click(click) => click.message,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(message(r#""m-1""#), message(r#""m\u002d1""#));
    assert_ne!(message(r#""m-1""#), message(r#""m-2""#));
    assert_eq!(message("null"), MessageId::NONE);
    assert_eq!(message(r#""""#), MessageId::NONE);
}

// The other streams

#[test]
fn a_cart_has_its_lines_in_order() {
    let lines = [
        Line { sku: sku("s1"), quantity: 2, price: money("19.90") },
        Line { sku: sku("s2"), quantity: 1, price: money("5") },
    ];
    let cart = CartRecord {
        cart: id(Namespace::Cart, "c1"),
        owner: user("u1"),
        written: written(Stream::Carts, 7, TEN_MS),
        currency: id(Namespace::Text, "EUR"),
        lines: Box::new(lines),
    };
    check(Stream::Carts, CART, TEN_MS, Record::Cart(cart.clone()));
    let emptied = CartRecord {
        owner: id(Namespace::Anonymous, "a1"),
        written: written(Stream::Carts, 0, TEN_MS),
        currency: Id::NONE,
        lines: Box::default(),
        ..cart
    };
    let text = r#" {"cart_id": "c1", "anonymous_id": "a1", "updated_at": 1767261600000, "lines": [ ]} "#;
    check(Stream::Carts, text, TEN_MS, Record::Cart(emptied));
}

#[test]
fn stock_may_be_negative_and_nowhere() {
    let stock = StockRecord {
        sku: sku("s1"),
        location: id(Namespace::Location, "berlin"),
        written: written(Stream::Inventory, 7, TEN_MS),
        on_hand: -3,
    };
    check(Stream::Inventory, VALID[9].1, TEN_MS, Record::Stock(stock));
    let nowhere =
        StockRecord { location: Id::NONE, written: written(Stream::Inventory, 0, TEN_MS), on_hand: 2, ..stock };
    check(Stream::Inventory, r#"{"sku":"s1","on_hand":2.0,"updated_at":1.7672616e12}"#, TEN_MS, Record::Stock(nowhere));
}

#[test]
fn a_catalog_record_is_the_whole_product() {
    let product = Product {
        name: Some("Blue \"shirt\"".to_owned()),
        category: Some("shirts".to_owned()),
        brand: Some("Acme".to_owned()),
        price: money("19.90"),
        currency: Some("EUR".to_owned()),
        image_url: Some("https://cdn.example.com/s1.jpg".to_owned()),
        url: Some("https://shop.example.com/p/s1".to_owned()),
    };
    let record = |version, product| {
        let written = written(Stream::Catalog, version, TEN_MS);
        Record::Catalog(CatalogRecord { sku: sku("s1"), written, product: Arc::new(product) })
    };
    check(Stream::Catalog, VALID[10].1, TEN_MS, record(7, product));
    check(Stream::Catalog, r#"{"sku":"s1","updated_at":1767261600000}"#, TEN_MS, record(0, Product::default()));
}

#[test]
fn an_order_falls_back_on_the_time_that_it_has() {
    let order = OrderRecord {
        order: id(Namespace::Order, "o1"),
        owner: id(Namespace::Anonymous, "a1"),
        cart: id(Namespace::Cart, "c1"),
        status: OrderStatus::Refunded,
        written: written(Stream::Orders, 7, TEN_MS + 1_500),
        placed_ms: TEN_MS,
        from_click: false,
        total: money("39.80"),
        lines: Box::new([Line { sku: sku("s1"), quantity: 2, price: money("19.90") }]),
    };
    check(Stream::Orders, ORDER, TEN_MS + 1_500, Record::Order(order.clone()));
    let bare = OrderRecord {
        cart: Id::NONE,
        status: OrderStatus::Placed,
        written: written(Stream::Orders, 0, TEN_MS),
        total: None,
        lines: Box::default(),
        ..order
    };
    for time in ["placed_at", "updated_at"] {
        let text = format!(r#"{{"order_id":"o1","anonymous_id":"a1","{time}":1767261600000}}"#);
        check(Stream::Orders, &text, TEN_MS, Record::Order(bare.clone()));
    }
}

#[test]
fn a_profile_keeps_its_attributes_as_text_and_a_deleted_one_nothing() {
    let words = Words {
        email: Some("u1@example.com"),
        first_name: Some("Ada"),
        locale: Some("en-GB"),
        timezone: Some("Europe/London"),
        attributes: Some(r#"{"tier":"gold card","n":[1,2.50]}"#),
    };
    let contact = Contact::new(Standing { known: true, consent: true, ..Standing::default() }, &words);
    let record = |version, contact| {
        let written = written(Stream::Profiles, version, TEN_MS);
        Record::Profile(ProfileRecord { user: user("u1"), written, contact })
    };
    check(Stream::Profiles, VALID[12].1, TEN_MS, record(7, contact));
    let erased = Contact::new(Standing { known: true, erased: true, ..Standing::default() }, &Words::default());
    let text = r#"{"user_id":"u1","email":"u1@example.com","consent":5,"deleted":true,"updated_at":1767261600000}"#;
    check(Stream::Profiles, text, TEN_MS, record(0, erased));
    let unstated = Contact::new(Standing { known: true, ..Standing::default() }, &Words::default());
    let text = r#"{"user_id":"u1","email":"","consent":{},"deleted":false,"updated_at":1767261600000}"#;
    check(Stream::Profiles, text, TEN_MS, record(0, unstated));
}

#[test]
fn an_engagement_names_its_decision() {
    let decoded = decode(Stream::Engagement, VALID[13].1).unwrap();
    let Record::Engagement(record) = decoded.record else { panic!("{decoded:?}") };
    assert_ne!(record.event, MessageId::NONE);
    let expected = EngagementRecord {
        event: record.event,
        user: user("u1"),
        position: at(Stream::Engagement),
        kind: EngagementKind::Clicked,
        decision: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
        machine: true,
        choice: None,
    };
    assert_eq!((&record, decoded.event_ms), (&expected, TEN_MS));
    for (name, kind) in KINDS {
        let text = format!(r#"{{"event_id":"e1","type":"{name}","occurred_at":1767261600000}}"#);
        let bare = EngagementRecord { user: Id::NONE, kind, decision: 0, machine: false, ..expected.clone() };
        check(Stream::Engagement, &text, TEN_MS, Record::Engagement(bare));
    }
}

#[test]
fn a_choice_is_a_set_of_campaigns() {
    let choice = |declined: &str| {
        let text =
            format!(r#"{{"event_id":"e1","type":"chosen","occurred_at":1767261600000,"user_id":"u1"{declined}}}"#);
        decode(Stream::Engagement, &text).map(|decoded| match decoded.record {
            Record::Engagement(record) => record.choice.unwrap().declined.to_vec(),
            other => panic!("{other:?}"),
        })
    };
    let names = |names: &[&str]| Ok(names.iter().map(|name| Box::from(*name)).collect::<Vec<_>>());
    assert_eq!(choice(r#","declined":[]"#), names(&[]));
    assert_eq!(choice(r#","declined":["restock","\u0063art","restock"]"#), names(&["cart", "restock"]));
    let (field, expected) = ("declined", "an array of names");
    for none in ["", r#","declined":null"#] {
        assert_eq!(choice(none), Err(Bad::Missing { field }), "{none}");
    }
    for other in [r#""cart""#, "{}", "[null]", r#"["cart",""]"#] {
        assert_eq!(choice(&format!(r#","declined":{other}"#)), Err(Bad::WrongType { field, expected }), "{other}");
    }
    assert!(matches!(choice(r#","declined":[7]"#), Err(Bad::WrongType { .. })));
}

const KINDS: [(&str, EngagementKind); 6] = [
    ("delivered", EngagementKind::Delivered),
    ("opened", EngagementKind::Opened),
    ("clicked", EngagementKind::Clicked),
    ("bounced", EngagementKind::Bounced),
    ("complained", EngagementKind::Complained),
    ("unsubscribed", EngagementKind::Unsubscribed),
];

// Bad input

#[test]
fn what_is_not_a_json_object_is_bad() {
    let not_json = |text: &str, at, expected| check_bad(Stream::Carts, text, Bad::NotJson { at, expected });
    check_bad(Stream::Carts, "", Bad::Empty);
    not_json(" ", 1, "a value");
    not_json("nul", 0, "null");
    not_json("{", 1, "a key in quotes");
    not_json("{,}", 1, "a key in quotes");
    not_json(r#"{"a":1,}"#, 7, "a key in quotes");
    not_json(r#"{"a":1 "b":2}"#, 7, "`,` or `}`");
    not_json(r#"{"a" 1}"#, 5, "`:`");
    not_json(r#"{"a":01}"#, 6, "`,` or `}`");
    not_json(r#"{"a":1.}"#, 7, "a digit");
    not_json(r#"{"a":-}"#, 6, "a digit");
    not_json(r#"{"a":NaN}"#, 5, "a value");
    not_json(r#"{"a":[1,]}"#, 8, "a value");
    not_json(r#"{"a":[1}"#, 7, "`,` or `]`");
    not_json(r#"{"a":"b"#, 7, "a character of a string, control characters escaped");
    not_json("{\"a\":\"b\n\"}", 7, "a character of a string, control characters escaped");
    not_json(r#"{"a":"\x"}"#, 6, "an escape sequence");
    not_json(r#"{"a":"\u12g4"}"#, 6, "an escape sequence");
    not_json("{} {}", 3, "the end");
    not_json("\u{feff}{}", 0, "a value");
    let wrong = Bad::WrongType { field: "the record", expected: "an object" };
    for text in ["null", "5", "[]", r#""{}""#, "true"] {
        check_bad(Stream::Carts, text, wrong.clone());
    }
    let mut decoder = Decoder::new(Arc::default());
    assert_eq!(decoder.decode(at(Stream::Carts), b"{\"a\":\"\xff\"}"), Err(Bad::NotUtf8 { at: 6 }));
}

#[test]
fn a_record_is_bad_past_a_mebibyte_and_not_before() {
    let padded = |bytes: usize| format!("{CART}{}", " ".repeat(bytes - CART.len()));
    assert!(decode(Stream::Carts, &padded(RECORD_BYTES_MAX)).is_ok());
    check_bad(Stream::Carts, &padded(RECORD_BYTES_MAX + 1), Bad::TooLarge { bytes: RECORD_BYTES_MAX + 1 });
}

#[test]
fn nesting_cannot_exhaust_the_stack() {
    for nested in ["[".repeat(100_000), r#"{"a":"#.repeat(100_000), r#"{"lines":["#.repeat(50_000)] {
        for text in [nested.clone(), format!(r#"{{"lines":{nested}"#), format!(r#"{{"x":{nested}"#)] {
            assert_eq!(decode(Stream::Carts, &text).unwrap_err().kind(), "not_json");
        }
    }
    let deep = |depth: usize| CART.replacen('{', &format!(r#"{{"x":{}{},"#, "[".repeat(depth), "]".repeat(depth)), 1);
    assert!(decode(Stream::Carts, &deep(128)).is_ok());
    assert_eq!(decode(Stream::Carts, &deep(129)).unwrap_err().kind(), "not_json");
}

#[test]
fn a_record_without_its_key_or_its_time_is_bad() {
    let missing: [(Stream, &[&'static str]); 8] = [
        (Stream::Clickstream, &["type", "timestamp"]),
        (Stream::Carts, &["cart_id", "updated_at"]),
        (Stream::Inventory, &["sku", "on_hand", "updated_at"]),
        (Stream::Catalog, &["sku", "updated_at"]),
        (Stream::Orders, &["order_id"]),
        (Stream::Profiles, &["user_id", "updated_at"]),
        (Stream::Engagement, &["event_id", "type", "occurred_at"]),
        (Stream::Clickstream, &[]),
    ];
    for (stream, fields) in missing {
        let (_, text) = VALID.into_iter().find(|(of, _)| *of == stream).unwrap();
        for field in fields {
            let mut row: Map<String, Value> = serde_json::from_str(text).unwrap();
            row.remove(*field);
            check_bad(stream, &json!(row).to_string(), Bad::Missing { field });
            row.insert((*field).to_owned(), Value::Null);
            check_bad(stream, &json!(row).to_string(), Bad::Missing { field });
        }
    }
    let nobody =
        |text: &str, owner: [&str; 2]| owner.iter().fold(text.to_owned(), |text, key| text.replace(key, "nobody"));
    check_bad(
        Stream::Clickstream,
        &nobody(VIEWED, ["userId", "anonymousId"]),
        Bad::Missing { field: "userId or anonymousId" },
    );
    let owner = Bad::Missing { field: "user_id or anonymous_id" };
    check_bad(Stream::Carts, &nobody(CART, ["user_id", "anonymous_id"]), owner.clone());
    check_bad(Stream::Orders, &nobody(ORDER, ["user_id", "anonymous_id"]), owner);
    let timeless = Bad::Missing { field: "updated_at or placed_at" };
    check_bad(Stream::Orders, &nobody(ORDER, ["updated_at", "placed_at"]), timeless);
    check_bad(Stream::Carts, &CART.replace(r#""sku":"s1""#, r#""sku":"""#), Bad::Missing { field: "lines[].sku" });
}

#[test]
fn a_field_that_is_read_must_have_its_type() {
    let wrong = |stream, text: &str, from: &str, to: &str, field, expected| {
        assert!(text.contains(from), "{from}");
        check_bad(stream, &text.replace(from, to), Bad::WrongType { field, expected });
    };
    let string = "a string";
    let clicks = Stream::Clickstream;
    wrong(clicks, VIEWED, r#""track""#, "5", "type", string);
    wrong(clicks, VIEWED, r#""Product Viewed""#, "{}", "event", string);
    wrong(clicks, VIEWED, r#""m-1""#, "1", "messageId", string);
    wrong(clicks, VIEWED, r#""u1""#, "1", "userId", string);
    wrong(clicks, VIEWED, r#""a1""#, "[]", "anonymousId", string);
    wrong(clicks, VIEWED, r#""s1","#, "1,", "properties.sku", string);
    wrong(clicks, VIEWED, r#""s1","#, r#""\ud800","#, "properties.sku", "Unicode text");
    wrong(clicks, VIEWED, r#""properties":{"#, r#""properties":[],"x":{"#, "properties", "an object");
    let quantity = "a whole number from 0 to 4294967295";
    wrong(clicks, VALID[1].1, r#""quantity":2"#, r#""quantity":-2"#, "properties.quantity", quantity);
    wrong(clicks, VALID[3].1, r#""products":["#, r#""products":{},"x":["#, "properties.products", "an array");
    wrong(clicks, VALID[3].1, "\"s1\"", "1", "properties.products[].product_id", string);
    wrong(clicks, VALID[3].1, "[{", "[7,{", "properties.products", "an array of objects");
    wrong(Stream::Carts, CART, r#""quantity":2"#, r#""quantity":-1"#, "lines[].quantity", quantity);
    wrong(Stream::Carts, CART, r#""quantity":2"#, r#""quantity":4294967296"#, "lines[].quantity", quantity);
    let whole = "a whole number of at most 64 bits";
    wrong(Stream::Carts, CART, r#""quantity":2"#, r#""quantity":1.5"#, "lines[].quantity", whole);
    wrong(Stream::Carts, CART, r#""quantity":2"#, r#""quantity":"2""#, "lines[].quantity", "a whole number");
    wrong(Stream::Carts, CART, r#""version":7"#, r#""version":9223372036854775808"#, "version", whole);
    wrong(Stream::Carts, CART, r#""lines":["#, r#""lines":5,"x":["#, "lines", "an array");
    wrong(Stream::Orders, ORDER, "refunded", "lost", "status", "placed, cancelled or refunded");
    wrong(Stream::Profiles, VALID[12].1, "true", "1", "consent.email", "true or false");
    wrong(Stream::Profiles, VALID[12].1, r#"{"email":true}"#, "true", "consent", "an object");
    wrong(Stream::Profiles, VALID[12].1, r#""attributes":{"#, r#""attributes":[],"x":{"#, "attributes", "an object");
    let kinds = "delivered, opened, clicked, bounced, complained, unsubscribed or chosen";
    wrong(Stream::Engagement, VALID[13].1, "clicked", "read", "type", kinds);
    wrong(Stream::Engagement, VALID[13].1, "0123456789a", "+123456789a", "decision_id", "32 hex digits");
    wrong(Stream::Engagement, VALID[13].1, "0123456789a", "", "decision_id", "32 hex digits");
    let time = "an RFC 3339 time or an integer of epoch milliseconds";
    for value in [r#""yesterday""#, r#""2026-01-01""#, "1767261600000.5", "true", "[]"] {
        wrong(Stream::Carts, CART, r#""2026-01-01T10:00:00Z""#, value, "updated_at", time);
    }
}

#[test]
fn what_is_not_read_may_have_any_type() {
    let text = r#"{"type":"page","userId":"u1","timestamp":1767261600000,"event":5,"properties":[],"previousId":{},"traits":7}"#;
    assert!(decode(Stream::Clickstream, text).is_ok());
    assert!(decode(Stream::Clickstream, &VIEWED.replace("19.90", r#""cheap""#)).is_ok());
}

#[test]
fn absurd_times_are_bad() {
    let absurd = |value: &str| {
        let text = format!(r#"{{"sku":"s1","on_hand":1,"updated_at":{value}}}"#);
        let quoted = value.trim_matches('"').to_owned();
        check_bad(Stream::Inventory, &text, Bad::AbsurdTime { field: "updated_at", value: quoted });
    };
    absurd("1767261600"); // seconds
    absurd("1767261600000000"); // microseconds
    absurd("-1");
    absurd(r#""1999-12-31T23:59:59.999Z""#);
    absurd(r#""2100-01-01T00:00:00.001Z""#);
    absurd(r#""0000-01-01T00:00:00Z""#);
    for value in [r#""2000-01-01T00:00:00Z""#, r#""2100-01-01T00:00:00Z""#, "946684800000"] {
        assert!(decode(Stream::Inventory, &format!(r#"{{"sku":"s1","on_hand":1,"updated_at":{value}}}"#)).is_ok());
    }
}

/// The price of a catalog record.
fn price(value: &str) -> Result<Option<Money>, Bad> {
    let text = format!(r#"{{"sku":"s1","price":{value},"updated_at":1767261600000}}"#);
    decode(Stream::Catalog, &text).map(|decoded| match decoded.record {
        Record::Catalog(record) => record.product.price,
        other => panic!("{other:?}"),
    })
}

#[test]
fn money_is_exact_or_bad() {
    let check = |value: &str, written: &str| assert_eq!(price(value).unwrap().unwrap().to_string(), written, "{value}");
    check("19.90", "19.90");
    check(r#""19.90""#, "19.90");
    check("0.1", "0.1");
    check("0.30000000000000004", "0.30000000000000004");
    check("1234567890123456789.12345678", "1234567890123456789.12345678");
    check("79228162514264337593543950335", "79228162514264337593543950335");
    check("-5.00", "-5.00");
    check("1.99e1", "19.9");
    check("1E+3", "1000");
    check("5e-3", "0.005");
    let sum = price("0.1").unwrap().unwrap().0 + price("0.2").unwrap().unwrap().0;
    assert_eq!(Some(Money(sum)), price("0.3").unwrap());
    assert_eq!(price("null"), Ok(None));
    for value in [
        "79228162514264337593543950336",
        "0.00000000000000000000000000001",
        "1.00000000000000000000000000001e5",
        "1e400",
        "1e-400",
        "1e99999999999999999999",
        r#""""#,
        r#"" 1""#,
        r#""NaN""#,
        r#""1_000""#,
        r#""1,50""#,
        r#"".5""#,
        r#""5.""#,
        r#""+5""#,
        r#""0x10""#,
        r#""--5""#,
        r#""1e""#,
        r#""1e--5""#,
        r#""١""#,
    ] {
        let quoted = value.trim_matches('"').to_owned();
        assert_eq!(price(value), Err(Bad::BadMoney { field: "price", value: quoted }), "{value}");
    }
    assert_eq!(price("[]").unwrap_err().kind(), "wrong_type");
}

#[test]
fn a_reason_says_what_and_what_to_do() {
    let long = "9".repeat(500);
    let reasons = [
        decode(Stream::Carts, ""),
        decode(Stream::Carts, "{"),
        decode(Stream::Carts, "{}"),
        decode(Stream::Carts, r#"{"cart_id":5}"#),
        decode(Stream::Carts, r#"{"cart_id":"c1","updated_at":1767261600}"#),
        decode(Stream::Catalog, &format!(r#"{{"sku":"s1","updated_at":1767261600000,"price":{long}}}"#)),
    ];
    let reasons: Vec<String> =
        reasons.map(|reason| reason.unwrap_err()).iter().map(|bad| format!("{}: {bad}", bad.kind())).collect();
    insta::assert_snapshot!(reasons.join("\n"), @r"
    empty: the record is empty; send one JSON object a record
    not_json: the record is not JSON: byte 1 should be a key in quotes; send one JSON object a record
    missing: `cart_id` is missing; correct its sender
    wrong_type: `cart_id` is not a string; correct its sender
    absurd_time: `updated_at` is 1767261600, outside 2000-01-01 to 2100-01-01; send RFC 3339 or an integer of epoch milliseconds
    bad_money: `price` is 9999999999999999999999999999999999999999999999999999999999999999…, not a decimal of at most 28 digits; send money as a JSON number or a string of one
    ");
}

// The dictionary

#[test]
fn names_are_known_once_to_all_threads_and_come_back_as_text() {
    let dictionary = Arc::new(Dictionary::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mut decoder = Decoder::new(dictionary.clone());
            scope.spawn(move || {
                for n in 0..20_000 {
                    let text = format!(r#"{{"sku":"s{n}","on_hand":1,"updated_at":1767261600000}}"#);
                    decoder.decode(Position::new(Stream::Inventory, 0, n), text.as_bytes()).unwrap();
                }
            });
        }
    });
    assert_eq!(dictionary.len(), 20_000);
    assert!(dictionary.bytes() < 4 << 20, "{}", dictionary.bytes());
    for n in 0..20_000 {
        assert_eq!(dictionary.text(sku(&format!("s{n}"))), Some(format!("s{n}")));
    }
    assert_eq!(dictionary.text(user("s1")), None, "a name of another kind");
    assert_eq!(dictionary.text(Id::NONE), None);
}

// Properties

/// Any JSON, shallow enough that every reader takes it.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(".*", inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A valid record, and a way to spoil its bytes: at a place, remove some and put others there.
fn spoilt() -> impl Strategy<Value = (Stream, Vec<u8>)> {
    let noise = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..4),
        prop::sample::select(vec!["\"", "\\", "{", "}", "[", "]", ",", ":", "null", "1e9", "-", "\\u12", "\u{0}"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    (prop::sample::select(VALID.to_vec()), any::<prop::sample::Index>(), 0usize..6, noise).prop_map(
        |((stream, text), at, removed, noise)| {
            let mut bytes = text.as_bytes().to_vec();
            let start = at.index(bytes.len());
            bytes.splice(start..(start + removed).min(text.len()), noise);
            (stream, bytes)
        },
    )
}

/// A record is decoded or bad for a reason, its verdict on the grammar is serde_json's, and its neighbour comes through.
fn check_contained(stream: Stream, bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut decoder = Decoder::new(Arc::default());
    let verdict = decoder.decode(at(stream), bytes);
    if let Err(bad) = &verdict {
        prop_assert!(!bad.kind().is_empty() && !bad.to_string().is_empty());
    }
    if let Ok(text) = str::from_utf8(bytes)
        && !text.is_empty()
    {
        let json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        prop_assert_eq!(json, !matches!(verdict, Err(Bad::NotJson { .. })), "{:?}: {:?}", text, verdict);
    }
    prop_assert_eq!(decoder.decode(at(Stream::Carts), CART.as_bytes()), decode(Stream::Carts, CART));
    Ok(())
}

fn streams() -> impl Strategy<Value = Stream> {
    prop::sample::select(Stream::ALL.to_vec())
}

/// Members and what they were made from, in any order and with others between them: for `decode(encode(x)) == x`.
fn shuffled(row: Value, extra: Value, seed: usize) -> String {
    let Value::Object(row) = row else { panic!("{row}") };
    let mut members: Vec<(String, Value)> = row.into_iter().filter(|(_, value)| !value.is_null()).collect();
    members.push(("unread".to_owned(), extra));
    let turned = seed % members.len();
    members.rotate_left(turned);
    if seed.is_multiple_of(2) {
        members.reverse();
    }
    serde_json::to_string_pretty(&members.into_iter().collect::<Map<_, _>>()).unwrap()
}

fn lines_json(lines: &[(String, u32, i64)]) -> Value {
    let line = |(sku, quantity, cents): &(String, u32, i64)| json!({"sku": sku, "quantity": quantity, "price": cents_text(*cents)});
    lines.iter().map(line).collect()
}

fn lines_rows(lines: &[(String, u32, i64)]) -> Box<[Line]> {
    lines
        .iter()
        .map(|(text, quantity, cents)| Line { sku: sku(text), quantity: *quantity, price: money(&cents_text(*cents)) })
        .collect()
}

fn cents_text(cents: i64) -> String {
    format!("{}{}.{:02}", if cents < 0 { "-" } else { "" }, cents.unsigned_abs() / 100, cents.unsigned_abs() % 100)
}

fn any_lines() -> impl Strategy<Value = Vec<(String, u32, i64)>> {
    prop::collection::vec((".+", 1u32.., any::<i64>()), 0..5)
}

fn any_ms() -> impl Strategy<Value = u64> {
    946_684_800_000u64..=4_102_444_800_000
}

/// A time as a producer might write it.
fn any_time() -> impl Strategy<Value = (u64, Value)> {
    (any_ms(), 0..3).prop_map(|(ms, shape)| {
        let instant = jiff::Timestamp::from_millisecond(ms as i64).unwrap();
        let east = jiff::tz::Offset::from_seconds(9_000).unwrap();
        let local = instant.display_with_offset(east).to_string();
        let time = match shape {
            0 => json!(ms),
            1 => json!(instant.to_string()),
            _ => json!(local),
        };
        (ms, time)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_contained(stream in streams(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_contained(stream, &bytes)?;
    }

    #[test]
    fn any_text_like_json_is_contained(stream in streams(), text in r#"[\[\]{}:,"\\0-9eE+.\-ntrufalse \n\tu]{0,40}"#) {
        check_contained(stream, text.as_bytes())?;
    }

    #[test]
    fn any_json_is_contained(stream in streams(), json in any_json()) {
        check_contained(stream, json.to_string().as_bytes())?;
        check_contained(stream, serde_json::to_string_pretty(&json).unwrap().as_bytes())?;
    }

    #[test]
    fn spoilt_records_are_contained((stream, bytes) in spoilt()) {
        check_contained(stream, &bytes)?;
    }

    #[test]
    fn any_value_in_any_member_is_contained((stream, text) in prop::sample::select(VALID.to_vec()), member in any::<prop::sample::Index>(), value in any_json()) {
        let mut row: Map<String, Value> = serde_json::from_str(text).unwrap();
        let key = row.keys().nth(member.index(row.len())).unwrap().clone();
        row.insert(key, value);
        check_contained(stream, json!(row).to_string().as_bytes())?;
    }

    #[test]
    fn money_comes_back_digit_for_digit(units in any::<i64>(), scale in 0usize..=28, quoted: bool) {
        let digits = format!("{:0>width$}", units.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if units < 0 { "-" } else { "" };
        let text = if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") };
        let json = if quoted { format!("\"{text}\"") } else { text.clone() };
        prop_assert_eq!(price(&json).unwrap().unwrap().to_string(), text);
    }

    #[test]
    fn carts_come_back((ms, time) in any_time(), key in ".+", owner in ".+", version: i64, currency in ".*", lines in any_lines(), extra in any_json(), seed: usize) {
        let row = json!({"cart_id": key, "user_id": owner, "version": version, "updated_at": time, "currency": currency, "lines": lines_json(&lines)});
        let currency = if currency.is_empty() { Id::NONE } else { id(Namespace::Text, &currency) };
        let record = CartRecord { cart: id(Namespace::Cart, &key), owner: user(&owner), written: written(Stream::Carts, version, ms), currency, lines: lines_rows(&lines) };
        prop_assert_eq!(decode(Stream::Carts, &shuffled(row, extra, seed)), Ok(Decoded { record: Record::Cart(record), event_ms: ms }));
    }

    #[test]
    fn orders_come_back((placed_ms, placed) in any_time(), (ms, time) in any_time(), key in ".+", owner in ".+", cart in ".+", status in 0usize..3, lines in any_lines(), cents: i64, extra in any_json(), seed: usize) {
        let (name, status) = [("placed", OrderStatus::Placed), ("cancelled", OrderStatus::Cancelled), ("refunded", OrderStatus::Refunded)][status];
        let row = json!({"order_id": key, "anonymous_id": owner, "cart_id": cart, "status": name, "placed_at": placed, "updated_at": time, "total": cents_text(cents), "lines": lines_json(&lines)});
        let record = OrderRecord {
            order: id(Namespace::Order, &key), owner: id(Namespace::Anonymous, &owner), cart: id(Namespace::Cart, &cart), status,
            written: written(Stream::Orders, 0, ms), placed_ms, from_click: false, total: money(&cents_text(cents)), lines: lines_rows(&lines),
        };
        prop_assert_eq!(decode(Stream::Orders, &shuffled(row, extra, seed)), Ok(Decoded { record: Record::Order(record), event_ms: ms }));
    }

    #[test]
    fn stock_and_products_come_back((ms, time) in any_time(), key in ".+", location in prop::option::of(".+"), on_hand: i64, version: i64, name in prop::option::of(".*"), extra in any_json(), seed: usize) {
        let row = json!({"sku": key, "location": location, "on_hand": on_hand, "version": version, "updated_at": time});
        let place = location.as_deref().map_or(Id::NONE, |text| id(Namespace::Location, text));
        let record = StockRecord { sku: sku(&key), location: place, written: written(Stream::Inventory, version, ms), on_hand };
        prop_assert_eq!(decode(Stream::Inventory, &shuffled(row, extra.clone(), seed)), Ok(Decoded { record: Record::Stock(record), event_ms: ms }));
        let row = json!({"sku": key, "name": name, "url": location, "version": version, "updated_at": time});
        let product = Product { name, url: location, ..Product::default() };
        let record = CatalogRecord { sku: sku(&key), written: written(Stream::Catalog, version, ms), product: Arc::new(product) };
        prop_assert_eq!(decode(Stream::Catalog, &shuffled(row, extra, seed)), Ok(Decoded { record: Record::Catalog(record), event_ms: ms }));
    }

    #[test]
    fn profiles_come_back((ms, time) in any_time(), key in ".+", email in prop::option::of(".+"), consent: Option<bool>, attributes in prop::collection::hash_map(".*", any_json(), 0..4), extra in any_json(), seed: usize) {
        let attributes = Value::Object(attributes.into_iter().collect());
        let row = json!({"user_id": key, "email": email, "consent": {"email": consent}, "attributes": attributes, "updated_at": time});
        let words = Words { email: email.as_deref(), attributes: Some(&attributes.to_string()), ..Words::default() };
        let contact = Contact::new(Standing { known: true, consent: consent == Some(true), ..Standing::default() }, &words);
        let record = ProfileRecord { user: user(&key), written: written(Stream::Profiles, 0, ms), contact };
        prop_assert_eq!(decode(Stream::Profiles, &shuffled(row, extra, seed)), Ok(Decoded { record: Record::Profile(record), event_ms: ms }));
    }

    #[test]
    fn messages_and_engagement_come_back((ms, time) in any_time(), owner in ".+", product in ".+", cart in prop::option::of(".+"), quantity in 1u32.., kind in 0usize..6, decision in 1u128.., machine: bool, extra in any_json(), seed: usize) {
        let row = json!({"type": "track", "event": "Product Removed", "anonymousId": owner, "timestamp": time, "properties": {"sku": product, "cart_id": cart, "quantity": quantity}});
        let visitor = id(Namespace::Anonymous, &owner);
        let fold = Fold {
            cart: cart.as_deref().map_or(visitor, |text| id(Namespace::Cart, text)), owner: visitor, written: written(Stream::Clickstream, 0, ms),
            sku: sku(&product), quantity: -i64::from(quantity), price: None, currency: Id::NONE,
        };
        let click = Click { owner: visitor, message: MessageId::NONE, at_ms: ms, position: at(Stream::Clickstream), action: Action::Folded(Box::new(fold)) };
        prop_assert_eq!(decode(Stream::Clickstream, &shuffled(row, extra.clone(), seed)), Ok(Decoded { record: Record::Click(click), event_ms: ms }));
        let (name, kind) = KINDS[kind];
        let row = json!({"event_id": product, "type": name, "decision_id": format!("{decision:032x}"), "user_id": owner, "occurred_at": time, "machine": machine});
        let decoded = decode(Stream::Engagement, &shuffled(row, extra, seed)).unwrap();
        let Record::Engagement(record) = decoded.record else { panic!("{decoded:?}") };
        let expected = EngagementRecord { event: record.event, user: user(&owner), position: at(Stream::Engagement), kind, decision, machine, choice: None };
        prop_assert_eq!((record, decoded.event_ms), (expected, ms));
    }
}
