//! `beckon explain` as a user runs it: a small log as files, a decision of its replay, and what the command says of it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use beckon::decision::DecisionId;
use serde_json::Value;
use tempfile::TempDir;

const CART: &str = r#"
tick = "1s"
[[campaign]]
name = "cart"
trigger = "cart_abandonment"
after = "30m"
"#;

const PROFILE: &str = r#"{"user_id":"u1","email":"ada@example.com","first_name":"Ada","consent":{"email":true},"timezone":"Europe/Berlin","attributes":{"tier":"gold"},"version":2,"updated_at":"2026-01-01T09:00:00Z"}"#;
const PRODUCT: &str = r#"{"sku":"s1","name":"Red shoe","price":"19.90","updated_at":"2026-01-01T09:00:00Z"}"#;
const STOCK: &str = r#"{"sku":"s1","on_hand":3,"updated_at":"2026-01-01T09:00:00Z"}"#;
const CART_9: &str = r#"{"cart_id":"cart-9","user_id":"u1","version":1,"updated_at":"2026-01-01T10:00:00Z","lines":[{"sku":"s1","quantity":1,"price":19.90}]}"#;

/// A log and a configuration, and the commands on them.
struct Shop {
    directory: TempDir,
}

impl Shop {
    /// The streams, each with its lines.
    fn of(config: &str, streams: &[(&str, &[&str])]) -> Shop {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("beckon.toml"), config).unwrap();
        for (stream, lines) in streams {
            fs::write(directory.path().join(format!("{stream}.jsonl")), lines.join("\n")).unwrap();
        }
        Shop { directory }
    }

    /// One customer, one product, one cart; and what `more` adds.
    fn with(config: &str, more: &[(&str, &[&str])]) -> Shop {
        let mut streams: Vec<(&str, Vec<&str>)> = vec![
            ("profiles", vec![PROFILE]),
            ("catalog", vec![PRODUCT]),
            ("inventory", vec![STOCK]),
            ("carts", vec![CART_9]),
        ];
        for (stream, lines) in more {
            match streams.iter_mut().find(|(known, _)| known == stream) {
                Some((_, known)) => known.extend(*lines),
                None => streams.push((stream, lines.to_vec())),
            }
        }
        let streams: Vec<(&str, &[&str])> = streams.iter().map(|(stream, lines)| (*stream, &lines[..])).collect();
        Shop::of(config, &streams)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_beckon"));
        command.args(arguments).args(["--input", "."]).current_dir(self.directory.path());
        command.output().unwrap()
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The last decision of the replay that `is_it`.
    fn decision(&self, is_it: impl Fn(&Value) -> bool) -> (String, String) {
        let lines = self.said(&["replay", "--quiet", "--until", "drain"]);
        let parsed = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
        let line = lines.lines().rfind(|line| is_it(&parsed(line))).unwrap_or_else(|| panic!("none in {lines}"));
        (parsed(line)["decision_id"].as_str().unwrap().to_owned(), line.to_owned())
    }

    fn explain(&self, id: &str) -> String {
        self.said(&["explain", id, "--quiet", "--json"])
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn places(explanation: &Value) -> Vec<String> {
    let place = |record: &Value| format!("{} {}", record["stream"].as_str().unwrap(), record["offset"]);
    explanation["records"].as_array().unwrap().iter().map(place).collect()
}

/// Two carts in a row, another customer, a message that is none, and older and later writes.
fn busy_shop() -> Shop {
    let config = format!(
        "{CART}priority = 7\nvariants = [{{ name = \"plain\", weight = 1 }}, {{ name = \"urgent\", weight = 1 }}]\n"
    );
    Shop::with(
        &config,
        &[
            (
                "profiles",
                &[r#"{"user_id":"u1","email":"old@example.com","version":1,"updated_at":"2026-01-01T09:30:00Z"}"#],
            ),
            (
                "inventory",
                &[
                    r#"{"sku":"s1","on_hand":9,"updated_at":"2026-01-01T10:20:00Z"}"#,
                    r#"{"sku":"s2","on_hand":5,"updated_at":"2026-01-01T10:20:01Z"}"#,
                    r#"{"sku":"s1","on_hand":0,"updated_at":"2026-01-01T11:00:00Z"}"#,
                ],
            ),
            (
                "clickstream",
                &[
                    r#"{"type":"track","event":"Product Viewed","messageId":"m1","userId":"u2","timestamp":"2026-01-01T09:59:00Z","properties":{"sku":"s1"}}"#,
                    r#"{"type":"track","event":"Product Viewed","messageId":"m2","anonymousId":"a1","timestamp":"2026-01-01T10:01:00Z","properties":{"sku":"s1"}}"#,
                    "no record",
                    r#"{"type":"identify","messageId":"m3","userId":"u1","anonymousId":"a1","timestamp":"2026-01-01T10:04:00Z"}"#,
                ],
            ),
        ],
    )
}

#[test]
fn the_story_tells_who_and_why_and_shows_the_records() {
    let shop = busy_shop();
    let (id, _) = shop.decision(|decision| decision["outcome"] == "send");
    insta::assert_snapshot!("story", shop.said(&["explain", &id, "--quiet"]));
}

#[test]
fn the_json_has_the_decision_the_gates_and_the_records_to_the_byte() {
    let shop = busy_shop();
    let (id, decision) = shop.decision(|decision| decision["outcome"] == "send");
    let text = shop.explain(&id);
    assert!(text.starts_with(&format!("{{\"decision\":{decision},\"gates\":[{{\"as_of\":")), "{text}");
    assert!(text.contains(&format!("\"tick\":\"2026-01-01T10:00:00.000Z\",\"record\":{CART_9}}}")), "{text}");
    let explanation = json(&text);
    // The first stock was replaced, the old profile never was the state, and the view was not the last activity.
    let expected = ["catalog 1", "profiles 1", "carts 1", "clickstream 4", "inventory 2"];
    assert_eq!(places(&explanation), expected);
    assert_eq!((&explanation["minimal"], &explanation["depends_on_others"]), (&true.into(), &json("[]")));
    assert_eq!(explanation["considered"], 8);
    let gates: Vec<&str> =
        explanation["gates"].as_array().unwrap().iter().map(|it| it["gate"].as_str().unwrap()).collect();
    assert_eq!(gates, ["unreachable", "no_consent", "outranked", "variant"]);
}

/// The last thing that the gates say of the decision: gate, answer and why; and where the records stand that made it.
#[track_caller]
fn check(shop: &Shop, campaign: &str, expected: (&str, &str, &str), records: &[&str]) -> Value {
    let (id, line) = shop.decision(|decision| decision["campaign"] == campaign);
    let explanation = json(&shop.explain(&id));
    assert_eq!(explanation["decision"], json(&line));
    let last = explanation["gates"].as_array().unwrap().last().unwrap();
    let (gate, answer, why) = expected;
    assert_eq!((&last["gate"], &last["answer"]), (&gate.into(), &answer.into()), "{explanation}");
    assert_eq!(last["why"].as_str().unwrap(), why);
    assert_eq!(places(&explanation), records, "{explanation}");
    assert_eq!(explanation["minimal"], true);
    explanation
}

const USUAL: [&str; 4] = ["inventory 1", "catalog 1", "profiles 1", "carts 1"];

#[test]
fn unreachable_says_what_is_missing() {
    let streams: [(&str, &[&str]); 2] = [("inventory", &[STOCK]), ("carts", &[CART_9])];
    let shop = Shop::of(CART, &streams);
    check(&shop, "cart", ("unreachable", "refused", "there is no profile"), &["inventory 1", "carts 1"]);
    let nameless = r#"{"user_id":"u1","consent":{"email":true},"updated_at":"2026-01-01T09:00:00Z"}"#;
    let shop = Shop::of(CART, &[streams[0], streams[1], ("profiles", &[nameless])]);
    let why = "the profile has no e-mail address";
    check(&shop, "cart", ("unreachable", "refused", why), &["inventory 1", "profiles 1", "carts 1"]);
}

#[test]
fn no_consent_shows_what_withheld_it() {
    let unsubscribed = r#"{"event_id":"e1","type":"unsubscribed","user_id":"u1","occurred_at":"2026-01-01T10:10:00Z"}"#;
    let opened = r#"{"event_id":"e0","type":"opened","user_id":"u1","occurred_at":"2026-01-01T10:09:00Z"}"#;
    let shop = Shop::with(CART, &[("engagement", &[opened, unsubscribed])]);
    let why = "an unsubscribe, a complaint or a bounce withholds consent";
    check(&shop, "cart", ("no_consent", "refused", why), &[&USUAL[..], &["engagement 2"]].concat());
}

#[test]
fn no_consent_shows_the_choice_that_declined() {
    let choice = |id: &str, minute: &str, declined: &str| {
        format!(
            r#"{{"event_id":"{id}","type":"chosen","user_id":"u1","declined":{declined},"occurred_at":"2026-01-01T10:{minute}:00Z"}}"#
        )
    };
    let records = [choice("e1", "10", "[]"), choice("e2", "11", r#"["another","cart"]"#)];
    let shop = Shop::with(CART, &[("engagement", &[&records[0], &records[1]])]);
    let why = "the customer has chosen to get no mails of this campaign";
    check(&shop, "cart", ("no_consent", "refused", why), &[&USUAL[..], &["engagement 2"]].concat());
}

#[test]
fn audience_shows_the_expression_and_what_it_came_to() {
    let silver = format!("{CART}audience = \"customer.attributes.tier == 'silver'\"\n");
    let why = "false: customer.attributes.tier == 'silver'";
    check(&Shop::with(&silver, &[]), "cart", ("audience", "refused", why), &USUAL);
    let nothing = format!("{CART}audience = \"customer.attributes.nothing == 1\"\n");
    let why = "counts as false (No such key: nothing): customer.attributes.nothing == 1";
    check(&Shop::with(&nothing, &[]), "cart", ("audience", "refused", why), &USUAL);
}

/// The cart again, an hour later.
const CART_9_AGAIN: &str = r#"{"cart_id":"cart-9","user_id":"u1","version":2,"updated_at":"2026-01-01T11:00:00Z","lines":[{"sku":"s1","quantity":2}]}"#;

#[test]
fn cooldown_and_cap_show_the_sends_that_count_and_what_made_them() {
    let again: [(&str, &[&str]); 1] = [("carts", &[CART_9_AGAIN])];
    let cooldown = Shop::with(&format!("{CART}cooldown = \"2h\"\n"), &again);
    let why = "cart last sent at 2026-01-01T10:30:00.000Z, within 2h";
    check(&cooldown, "cart", ("cooldown", "refused", why), &[&USUAL[..], &["carts 2"]].concat());
    let config = CART.replace(
        "[[campaign]]",
        "[limits]\nfrequency_cap = [{ sends = 2, per = \"1h\" }, { sends = 1, per = \"7d\" }]\n[[campaign]]",
    );
    let why = "1 of 2 sends in 1h, the last at 2026-01-01T10:30:00.000Z; 1 of 1 sends in 7d, the last at 2026-01-01T10:30:00.000Z";
    let cap = Shop::with(&config.replace("per = \"1h\"", "per = \"2h\""), &again);
    let explained = check(
        &cap,
        "cart",
        ("frequency_cap", "refused", &why.replace("1h", "2h")),
        &[&USUAL[..], &["carts 2"]].concat(),
    );
    assert_eq!(explained["gates"][2]["figures"]["caps"][1]["per_ms"], 604_800_000);
}

#[test]
fn a_stock_budget_shows_the_sends_to_others() {
    let config = format!("{CART}stock_budget = 0.4\n");
    let profile = PROFILE.replace("u1", "u0");
    let cart = CART_9.replace("u1", "u0").replace("cart-9", "cart-8").replace("10:00:00", "09:50:00");
    let other = PROFILE.replace("u1", "u3");
    let bystander =
        CART_9.replace("u1", "u3").replace("cart-9", "cart-7").replace("s1", "s3").replace("10:00:00", "10:00:01");
    let third = STOCK.replace("s1", "s3");
    let more = CART_9.replace("cart-9", "cart-6").replace("u1", "u4").replace("10:00:00", "09:55:00");
    let fourth = PROFILE.replace("u1", "u4");
    let shop = Shop::with(
        &config,
        &[("profiles", &[&profile, &other, &fourth]), ("carts", &[&cart, &more, &bystander]), ("inventory", &[&third])],
    );
    let (id, _) = shop.decision(|decision| decision["customer_id"] == "u1");
    let explanation = json(&shop.explain(&id));
    let last = &explanation["gates"][2];
    let why = "2 sends of 0.4 × 3 on hand have named s1 since its restock at 2026-01-01T09:00:00.000Z";
    assert_eq!((last["gate"].as_str(), last["why"].as_str()), (Some("stock_budget"), Some(why)), "{explanation}");
    let expected =
        ["inventory 1", "catalog 1", "profiles 1", "profiles 2", "profiles 4", "carts 2", "carts 3", "carts 1"];
    assert_eq!(places(&explanation), expected, "u0's and u4's records had a say, and u3's had none");
    assert_eq!(explanation["depends_on_others"], json("[]"));
}

#[test]
fn similar_products_are_said_to_depend_on_others() {
    let view = |user: &str, sku: &str| {
        format!(
            r#"{{"type":"track","event":"Product Viewed","userId":"{user}","timestamp":"2026-01-01T09:30:00Z","properties":{{"sku":"{sku}"}}}}"#
        )
    };
    let views = [view("u7", "s1"), view("u7", "s2"), view("u8", "s1"), view("u8", "s2"), view("u1", "s4")];
    let views: Vec<&str> = views.iter().map(String::as_str).collect();
    let (second, fourth) = (STOCK.replace("s1", "s2"), STOCK.replace("s1", "s4"));
    let more: [(&str, &[&str]); 2] = [("clickstream", &views), ("inventory", &[&second, &fourth])];
    let shop = Shop::with(&format!("{CART}similar = 1\n"), &more);
    let why = "nothing else for this customer goes first at this tick";
    let explanation = check(&shop, "cart", ("outranked", "passed", why), &USUAL);
    assert_eq!(explanation["decision"]["payload"]["similar"][0]["sku"], "s2");
    assert_eq!(explanation["depends_on_others"], json("[\"payload.similar\"]"));
    let (id, _) = shop.decision(|_| true);
    let story = shop.said(&["explain", &id, "--quiet"]);
    assert!(
        story.contains("Other customers had a say as well: these records alone do not give payload.similar."),
        "{story}"
    );
}

#[test]
fn quiet_hours_show_each_wait() {
    let config =
        CART.replace("[[campaign]]", "[limits]\nquiet_hours = { from = \"11:00\", to = \"12:00\" }\n[[campaign]]");
    let shop = Shop::with(&config, &[]);
    let why = "nothing else for this customer goes first at this tick";
    let explanation = check(&shop, "cart", ("outranked", "passed", why), &USUAL);
    let said: Vec<String> = explanation["gates"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|reply| reply["gate"] == "quiet_hours")
        .map(|reply| {
            format!(
                "{} {}: {}",
                reply["as_of"].as_str().unwrap(),
                reply["answer"].as_str().unwrap(),
                reply["why"].as_str().unwrap()
            )
        })
        .collect();
    let expected = [
        "2026-01-01T10:30:00.000Z waits: it is between 11:00 and 12:00 in Europe/Berlin, the profile's zone, until 2026-01-01T11:00:00.000Z",
        "2026-01-01T11:00:00.000Z passed: it is not between 11:00 and 12:00 in Europe/Berlin, the profile's zone",
    ];
    assert_eq!(said, expected);
}

#[test]
fn one_that_left_while_it_waited_was_never_decided() {
    let config =
        CART.replace("[[campaign]]", "[limits]\nquiet_hours = { from = \"11:00\", to = \"12:00\" }\n[[campaign]]");
    let order = r#"{"order_id":"o1","user_id":"u1","placed_at":"2026-01-01T10:45:00Z","lines":[{"sku":"s1"}]}"#;
    let shop = Shop::with(&config, &[("orders", &[order])]);
    let id = DecisionId::of("cart", "u1", "cart-9", 1_767_261_600_000);
    let output = shop.run(&["explain", &id.to_string(), "--quiet"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("nothing was decided"), "{said}");
    let why =
        "waited at 2026-01-01T10:30:00.000Z for the end of quiet hours at 2026-01-01T11:00:00.000Z, and left before";
    assert!(said.contains(why), "{said}");
}

#[test]
fn outranked_names_who_goes_first() {
    let loud = CART.replace("tick = \"1s\"", "").replace("\"cart\"", "\"loud\"");
    let shop = Shop::with(&format!("{CART}{loud}priority = 10\n"), &[]);
    let why = "loud about cart-9 goes first: priority 10 to 0";
    check(&shop, "cart", ("outranked", "refused", why), &USUAL);
}

#[test]
fn holdout_and_variant_show_the_draw() {
    let held = Shop::with(&format!("{CART}holdout = 0.99\n"), &[]);
    let why = "u = 0.833904 of experiment cart is below 0.99";
    check(&held, "cart", ("holdout", "held_out", why), &USUAL);
    let variants = "variants = [{ name = \"plain\", weight = 1 }, { name = \"urgent\", weight = 3 }]";
    let drawn = Shop::with(&format!("{CART}holdout = 0.1\n{variants}\n"), &[]);
    let why = "u = 0.833904 of experiment cart falls to urgent: plain below 0.325000, urgent below 1.000000";
    check(&drawn, "cart", ("variant", "drawn", why), &USUAL);
}

#[test]
fn trials_are_bounded_and_none_may_be_asked_for() {
    let shop = busy_shop();
    let (id, _) = shop.decision(|decision| decision["outcome"] == "send");
    let all = json(&shop.said(&["explain", &id, "--quiet", "--json", "--trials", "0"]));
    assert_eq!((&all["minimal"], &all["trials"]), (&false.into(), &0.into()));
    assert_eq!(places(&all).len(), 8);
    let few = json(&shop.said(&["explain", &id, "--quiet", "--json", "--trials", "3"]));
    assert_eq!((&few["minimal"], &few["trials"]), (&false.into(), &3.into()));
    assert_eq!(places(&few).len(), 6, "what is no longer in force went first: {few}");
}

#[test]
fn an_id_that_is_none_or_unknown_is_refused_with_a_way_on() {
    let shop = busy_shop();
    let unknown = shop.run(&["explain", &"0".repeat(32), "--quiet"]);
    assert_eq!(unknown.status.code(), Some(1));
    let said = String::from_utf8(unknown.stderr).unwrap();
    let expected = "no such decision in what the log retains: 1 decisions from 2026-01-01T10:34:00.000Z to 2026-01-01T10:34:00.000Z";
    assert!(said.contains(expected) && said.contains("check the id"), "{said}");
    assert_eq!(shop.run(&["explain", "cart-9"]).status.code(), Some(2));
    let empty = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_beckon"))
        .args(["explain", &"0".repeat(32), "--input", "."])
        .args(["--config", Path::new(env!("CARGO_MANIFEST_DIR")).join("campaigns/beckon.toml").to_str().unwrap()])
        .current_dir(empty.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "a directory without a log");
}
