//! Dead letters looked at and said again, over HTTP, with librdkafka's mock cluster as the broker.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use beckon::config::{Config, Purpose};
use beckon::pipeline::answer::Desk;
use beckon::secret::Secret;
use beckon::web::answer::Api;
use beckon::web::letters::{self, LettersApi};
use beckon::web::{listen, routes, serve};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::answer::Echo;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A service's folder with these lines in its files, and whoever deals with them.
struct World {
    broker: MockCluster<'static, DefaultProducerContext>,
    state: tempfile::TempDir,
    base: String,
    client: Client,
}

impl World {
    async fn with(files: &[(&str, &[Value])]) -> World {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let broker = MockCluster::new(1).unwrap();
        broker.create_topic("carts", 1, 1).unwrap();
        let state = tempfile::tempdir().unwrap();
        for (name, lines) in files {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            std::fs::write(state.path().join(name), text).unwrap();
        }
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("campaigns/beckon.toml");
        let mut kafka = Config::load(&example, Purpose::Demo).unwrap().kafka.unwrap();
        kafka.brokers = broker.bootstrap_servers();
        let desk = Desk::open(state.path(), &kafka, Arc::new(|| 1_767_225_600_000)).unwrap();
        let token = Secret::new(TOKEN.as_bytes()).unwrap();
        let api = Arc::new(Api { token, is_open: true, source: Arc::new(Echo) });
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let base = format!("http://{}/v1/letters", listener.local_addr().unwrap());
        let letters = letters::routes(LettersApi { api, letters: Arc::new(desk) });
        tokio::spawn(serve(listener, routes(letters), std::future::pending()));
        World { broker, state, base, client: Client::builder().no_proxy().build().unwrap() }
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(TOKEN);
        let answer = request.body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn list(&self) -> Vec<Value> {
        let (status, answer) = self.ask(Method::GET, "", "").await;
        assert_eq!((status, &answer["count"]), (200, &json!(answer["letters"].as_array().unwrap().len())));
        answer["letters"].as_array().unwrap().clone()
    }

    async fn replay(&self, letter: &Value, body: &str) -> (u16, Value) {
        self.ask(Method::POST, &format!("/{}/replay", letter["id"].as_str().unwrap()), body).await
    }

    /// All records of a topic, with their keys.
    fn topic(&self, name: &str) -> Vec<(String, String)> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.broker.bootstrap_servers())
            .set("group.id", "t")
            .create()
            .unwrap();
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(name, 0, Offset::Beginning).unwrap();
        consumer.assign(&from).unwrap();
        let (mut records, (_, end)) = (Vec::new(), consumer.fetch_watermarks(name, 0, Duration::from_secs(5)).unwrap());
        while (records.len() as i64) < end {
            let message = consumer.poll(Duration::from_secs(5)).unwrap().unwrap();
            let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
            records.push((text(message.key()), text(message.payload())));
        }
        records
    }
}

fn bad_cart(offset: u64) -> Value {
    json!({ "stream": "carts", "partition": 0, "offset": offset, "kind": "missing", "reason": "`cart_id` is missing",
            "record": "{\"user_id\":\"u1\",\"updated_at\":1767225600000,\"lines\":[]}" })
}

const GOOD_CART: &str = r#"{"cart_id":"c<1>","user_id":"u1","updated_at":1767225600000,"lines":[]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_corrected_and_said_again_once() {
    let files: &[(&str, &[Value])] = &[("dead_letters.jsonl", &[bad_cart(1), bad_cart(2)])];
    let world = World::with(files).await;
    let letters = world.list().await;
    assert_eq!([&letters[0]["offset"], &letters[1]["offset"]], [2, 1], "the newest first");
    let letter = &letters[0];
    assert_eq!((&letter["replayed_at"], &letter["can_replay"]), (&Value::Null, &json!(true)));

    // As it was, it is as bad as before; nothing of it is said.
    let (status, answer) = world.replay(letter, "").await;
    assert_eq!((status, &answer["error"]), (422, &json!("still_bad")));
    assert!(answer["reason"].as_str().unwrap().contains("cart_id"), "{answer}");
    assert_eq!(world.replay(letter, "{").await.0, 422);
    assert!(world.topic("carts").is_empty());

    assert_eq!(world.replay(letter, GOOD_CART).await, (200, json!({ "success": true })));
    assert_eq!(world.topic("carts"), [("c<1>".to_owned(), GOOD_CART.to_owned())]);
    let (status, answer) = world.replay(letter, GOOD_CART).await;
    assert_eq!((status, &answer["error"]), (409, &json!("already")));
    assert_eq!(world.topic("carts").len(), 1);
    let letters = world.list().await;
    assert_eq!(letters[0]["replayed_at"], "2026-01-01T00:00:00.000Z");
    assert_eq!(letters[1]["replayed_at"], Value::Null);
    let kept = std::fs::read_to_string(world.state.path().join("dead_letters-replayed.jsonl")).unwrap();
    assert_eq!(kept.lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_say_a_letter_once() {
    let world = World::with(&[("dead_letters.jsonl", &[bad_cart(1)])]).await;
    let letter = &world.list().await[0];
    let both = tokio::join!(world.replay(letter, GOOD_CART), world.replay(letter, GOOD_CART));
    let mut statuses = [both.0.0, both.1.0];
    statuses.sort_unstable();
    assert_eq!((statuses, world.topic("carts").len()), ([200, 409], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_all_kinds_are_shown_and_only_records_are_said_again() {
    let unanswered = json!({ "kind": "unanswered", "reason": "sent, and …", "decision": { "decision_id": "0" } });
    let collected = json!({ "stream": "clickstream", "key": "site", "received_at": 1, "kind": "missing", "reason": "…",
        "record": "x".repeat(3_000) });
    let world = World::with(&[
        ("dead_letters.jsonl", &[bad_cart(1), bad_cart(1), unanswered]),
        ("dead_letters-collect.jsonl", &[collected]),
        ("timeline.jsonl", &[json!({ "record": "none of theirs" })]),
    ])
    .await;
    // What a crash cut off.
    let path = world.state.path().join("dead_letters.jsonl");
    let cut = std::fs::read_to_string(&path).unwrap() + "{\"stream\":\"car";
    std::fs::write(&path, cut).unwrap();
    let letters = world.list().await;
    assert_eq!(letters.len(), 3, "the same line twice is one letter: {letters:#?}");
    let of = |kind: &str| letters.iter().find(|it| it["kind"] == kind).unwrap();
    let long = letters.iter().find(|it| it["key"] == "site").unwrap();
    assert_eq!(long["record"].as_str().unwrap().len(), 400);
    let whole = world.ask(Method::GET, &format!("/{}", long["id"].as_str().unwrap()), "").await.1;
    assert_eq!(whole["record"].as_str().unwrap().len(), 3_000);
    assert_eq!(of("unanswered")["can_replay"], false);
    let (status, answer) = world.replay(of("unanswered"), "").await;
    assert_eq!((status, &answer["error"]), (409, &json!("no_record")));
    for path in ["/0", "/..%2Ftimeline.jsonl", "/%00"] {
        assert_eq!(world.ask(Method::GET, path, "").await.0, 404, "{path}");
        assert_eq!(world.ask(Method::POST, &format!("{path}/replay"), GOOD_CART).await.0, 404, "{path}");
    }
    assert!(world.topic("carts").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_no_letter_is_seen_or_said_again() {
    let world = World::with(&[("dead_letters.jsonl", &[bad_cart(1)])]).await;
    let id = world.list().await[0]["id"].as_str().unwrap().to_owned();
    for token in ["", "another token of a length"] {
        let path = format!("{}/{id}", world.base);
        for (method, path) in
            [(Method::GET, world.base.clone()), (Method::GET, path.clone()), (Method::POST, path + "/replay")]
        {
            let request = world.client.request(method, path).bearer_auth(token).body(GOOD_CART);
            let answer = request.send().await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (401, String::new()));
        }
    }
    assert!(world.topic("carts").is_empty());
    let too_large = " ".repeat((1 << 20) + 2_000);
    assert_eq!(world.replay(&json!({ "id": id }), &too_large).await.0, 413);
}
