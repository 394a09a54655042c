//! `beckon reconcile`: what differs from an export, and that what it writes makes it equal. The state is recomputed here from the
//! records alone (SPEC §1, last write wins).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use beckon::pipeline::reconcile::{Comparison, Reconciled};
use beckon::source::files;
use beckon_dataflows::model::Stream;
use proptest::prelude::*;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use tempfile::TempDir;

/// When exports are made.
const AS_OF: u64 = 1_767_225_600_000;

fn write(folder: &TempDir, file: &str, rows: &[Value]) {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(folder.path().join(file), lines).unwrap();
}

fn compare(folder: &TempDir, stream: Stream, percent: u32) -> anyhow::Result<Reconciled> {
    let truth = folder.path().join("truth.json");
    let comparison = Comparison { stream, truth: &truth, as_of: AS_OF, removed_percent_max: percent };
    let log = files::open(&folder.path().join("log"))?;
    comparison.run(log.into_iter().filter(|partition| comparison.reads(partition.stream())).collect())
}

/// A log of these records, and an export of these rows.
fn folder(logs: &[(&str, &[Value])], truth: &[Value]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("log")).unwrap();
    for (stream, records) in logs {
        write(&folder, &format!("log/{stream}.jsonl"), records);
    }
    write(&folder, "truth.json", truth);
    folder
}

fn corrections(come_to: &Reconciled) -> Vec<Value> {
    come_to.corrections.iter().map(|(_, record)| record.clone()).collect()
}

fn stock(sku: &str, location: Option<&str>, on_hand: i64, version: i64, updated_at: u64) -> Value {
    let mut record = json!({ "sku": sku, "on_hand": on_hand, "version": version, "updated_at": updated_at });
    if let Some(location) = location {
        record["location"] = location.into();
    }
    record
}

#[test]
fn only_what_differs_is_corrected_and_a_correction_goes_before_the_last_write_and_after_no_later_one() {
    let at = AS_OF - 1000;
    let log = [
        stock("same", None, 5, 3, at),
        stock("other", Some("a"), 5, 7, at),
        stock("gone", Some("b"), 2, 1, at),
        stock("sold out", None, 0, 1, at),
        stock("since then", None, 4, 9, AS_OF + 1),
        stock("gone since then", None, 4, 9, AS_OF + 1),
    ];
    let truth = [
        json!({ "sku": "same", "on_hand": 5 }),
        json!({ "sku": "other", "location": "a", "on_hand": 6 }),
        json!({ "sku": "new", "on_hand": 1, "version": 4 }),
        json!({ "sku": "since then", "on_hand": 3 }),
    ];
    let folder = folder(&[("inventory", &log)], &truth);
    let come_to = compare(&folder, Stream::Inventory, 100).unwrap();
    let mut written = corrections(&come_to);
    written.sort_by_key(|record| record["sku"].to_string());
    let expected = [
        json!({ "sku": "gone", "location": "b", "on_hand": 0, "version": 1, "updated_at": AS_OF }),
        json!({ "sku": "new", "on_hand": 1, "version": 4, "updated_at": AS_OF }),
        json!({ "sku": "other", "location": "a", "on_hand": 6, "version": 7, "updated_at": AS_OF }),
    ];
    assert_eq!(written, expected);
    assert_eq!((come_to.changed, come_to.added, come_to.removed, come_to.newer), (1, 1, 1, 2));
}

#[test]
fn an_export_that_lacks_much_is_refused_and_so_is_one_that_cannot_be_read_whole() {
    let log: Vec<Value> = (0..100).map(|sku| stock(&format!("s{sku}"), None, 1, 1, AS_OF - 9)).collect();
    let export = folder(&[("inventory", &log)], &log[..80]);
    let refused = compare(&export, Stream::Inventory, 10).unwrap_err().to_string();
    assert!(refused.contains("lacks 20 of 100") && refused.contains("--at-most 20"), "{refused}");
    assert_eq!(compare(&export, Stream::Inventory, 20).unwrap().removed, 20);
    let broken = folder(
        &[("inventory", &log)],
        &[json!({ "sku": "s1", "on_hand": 1 }), json!({ "sku": "s2" }), json!({ "sku": "s1", "on_hand": 2 })],
    );
    let refused = compare(&broken, Stream::Inventory, 100).unwrap_err().to_string();
    assert!(
        refused.contains("2 of its rows") && refused.contains("line 2") && refused.contains("line 3: an earlier row"),
        "{refused}"
    );
    let cut_off = folder(&[("inventory", &log)], &[]);
    fs::write(cut_off.path().join("truth.json"), "{\"sku\":\"s1\",\"on_ha").unwrap();
    assert!(compare(&cut_off, Stream::Inventory, 100).is_err());
}

#[test]
fn a_profile_is_the_same_in_whatever_order_it_is_written_and_one_that_is_gone_is_deleted() {
    let profile = |user: &str, attributes: Value| json!({ "user_id": user, "email": "a@example.com", "consent": { "email": true }, "attributes": attributes, "updated_at": AS_OF - 5 });
    let log = [
        profile("u1", json!({ "a": 1, "b": [{ "c": 2, "d": 3 }] })),
        profile("u2", json!({})),
        json!({ "user_id": "u3", "deleted": true, "updated_at": AS_OF - 5 }),
    ];
    let truth = [
        json!({ "attributes": { "b": [{ "d": 3, "c": 2 }], "a": 1 }, "consent": { "email": true }, "email": "a@example.com", "user_id": "u1" }),
    ];
    let folder = folder(&[("profiles", &log)], &truth);
    let come_to = compare(&folder, Stream::Profiles, 100).unwrap();
    assert_eq!(corrections(&come_to), [json!({ "user_id": "u2", "deleted": true, "version": 0, "updated_at": AS_OF })]);
}

#[test]
fn a_cart_that_only_messages_tell_of_is_compared_by_what_they_add_up_to() {
    let message = |id: &str, event: &str, sku: &str, quantity: i64, cart: &str, at: u64| {
        json!({ "type": "track", "event": event, "messageId": id, "userId": "u1", "timestamp": AS_OF - 1000 + at,
            "properties": { "cart_id": cart, "sku": sku, "quantity": quantity, "price": "2.50", "currency": "EUR" } })
    };
    let clicks = [
        message("1", "Product Added", "s1", 2, "agreed", 10),
        message("1", "Product Added", "s1", 2, "agreed", 10),
        message("2", "Product Added", "s2", 1, "agreed", 20),
        message("3", "Product Removed", "s2", 1, "agreed", 30),
        message("4", "Product Added", "s1", 1, "gone", 40),
        message("5", "Product Added", "s1", 1, "recorded", 50),
    ];
    let line = |quantity: u32| json!([{ "sku": "s1", "quantity": quantity, "price": "2.50" }]);
    let cart =
        |id: &str, quantity: u32| json!({ "cart_id": id, "user_id": "u1", "currency": "EUR", "lines": line(quantity) });
    let mut recorded = cart("recorded", 7);
    recorded["updated_at"] = (AS_OF - 5).into();
    let folder = folder(&[("clickstream", &clicks), ("carts", &[recorded])], &[cart("agreed", 2), cart("recorded", 7)]);
    let come_to = compare(&folder, Stream::Carts, 100).unwrap();
    let emptied = json!({ "cart_id": "gone", "user_id": "u1", "lines": [], "version": 0, "updated_at": AS_OF });
    assert_eq!(corrections(&come_to), [emptied]);
}

/// What is maintained after these records: of each key the greatest write, without what is nothing.
fn state(stream: &str, records: &[Value]) -> BTreeMap<String, Value> {
    let key = |record: &Value| match stream {
        "inventory" => format!("{}/{}", record["sku"], record["location"]),
        "carts" => record["cart_id"].to_string(),
        _ => record["user_id"].to_string(),
    };
    let mut last = BTreeMap::<String, (i64, u64, usize, Value)>::new();
    for (place, record) in records.iter().enumerate() {
        let (version, updated_at) = (record["version"].as_i64().unwrap_or(0), record["updated_at"].as_u64().unwrap());
        let is_last = last.get(&key(record)).is_none_or(|old| (old.0, old.1, old.2) < (version, updated_at, place));
        if is_last {
            last.insert(key(record), (version, updated_at, place, record.clone()));
        }
    }
    let rows = last.into_iter().map(|(key, (.., row))| (key, content(stream, &row)));
    rows.filter_map(|(key, content)| Some((key, content?))).collect()
}

/// What a record says; none of what is nothing.
fn content(stream: &str, record: &Value) -> Option<Value> {
    match stream {
        "inventory" => Some(record["on_hand"].clone()).filter(|units| *units != 0),
        "carts" => Some(json!([record["user_id"], record["lines"]])).filter(|cart| cart[1] != json!([])),
        _ => (record["deleted"] != true).then(|| json!([record["email"], record["consent"]])),
    }
}

/// A record of few keys, so that they meet, of before the export.
fn record(stream: &'static str) -> BoxedStrategy<Value> {
    let written = (0_u64..6, -1_i64..4, AS_OF - 500..AS_OF);
    match stream {
        "inventory" => (written, 0_u32..3, 0_i64..4)
            .prop_map(|((sku, version, at), location, units)| {
                let location = (location > 0).then(|| format!("l{location}"));
                stock(&format!("s{sku}"), location.as_deref(), units, version, at)
            })
            .boxed(),
        "carts" => (written, 0_u32..3, proptest::collection::vec((0_u32..3, 1_u32..3), 0..3))
            .prop_map(|((cart, version, at), user, lines)| {
                let mut seen = std::collections::HashSet::new();
                let lines = lines.into_iter().filter(|(sku, _)| seen.insert(*sku));
                let lines: Vec<Value> = lines.map(|(sku, units)| json!({ "sku": format!("s{sku}"), "quantity": units, "price": "1.00" })).collect();
                json!({ "cart_id": format!("c{cart}"), "user_id": format!("u{user}"), "currency": "EUR", "lines": lines, "version": version, "updated_at": at })
            })
            .boxed(),
        _ => (written, 0_u32..3, any::<bool>(), 0_u32..5)
            .prop_map(|((user, version, at), email, consent, fate)| {
                if fate == 0 {
                    return json!({ "user_id": format!("u{user}"), "deleted": true, "version": version, "updated_at": at });
                }
                json!({ "user_id": format!("u{user}"), "email": format!("{email}@example.com"), "consent": { "email": consent }, "version": version, "updated_at": at })
            })
            .boxed(),
    }
}

/// The rows of an export: one a key, some without saying which write they are.
fn export(stream: &'static str) -> impl Strategy<Value = Vec<Value>> {
    proptest::collection::vec(record(stream), 0..12).prop_map(move |records| {
        let mut rows = BTreeMap::new();
        for mut row in records {
            row.as_object_mut().unwrap().retain(|name, _| name != "version" && name != "updated_at");
            let key = format!("{}{}{}{}", row["sku"], row["location"], row["cart_id"], row["user_id"]);
            let key = if stream == "carts" { row["cart_id"].to_string() } else { key };
            rows.insert(key, row);
        }
        rows.into_values().collect()
    })
}

fn world() -> impl Strategy<Value = (&'static str, Vec<Value>, Vec<Value>)> {
    prop_oneof![Just("inventory"), Just("carts"), Just("profiles")]
        .prop_flat_map(|stream| (Just(stream), proptest::collection::vec(record(stream), 0..30), export(stream)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn whatever_was_maintained_equals_the_export_once_it_is_corrected((stream, mut log, truth) in world()) {
        let parsed: Stream = stream.parse().unwrap();
        let before = folder(&[(stream, &log)], &truth);
        let come_to = compare(&before, parsed, 100).unwrap();
        let rows: Vec<Value> = truth.iter().map(|row| {
            let mut row = row.clone();
            row["updated_at"] = 0.into();
            row
        }).collect();
        let (maintained, exported) = (state(stream, &log), state(stream, &rows));
        let differing = maintained.keys().chain(exported.keys()).collect::<std::collections::BTreeSet<_>>();
        let differing = differing.into_iter().filter(|key| maintained.get(*key) != exported.get(*key)).count();
        prop_assert!(come_to.corrections.len() >= differing);
        log.extend(corrections(&come_to));
        prop_assert_eq!(state(stream, &log), exported);
        let after = folder(&[(stream, &log)], &truth);
        let again = compare(&after, parsed, 100).unwrap();
        prop_assert_eq!((again.corrections.len(), again.newer), (0, 0));
        // What changes after the export goes before the correction, though it comes with a lesser position.
        if let Some((_, corrected)) = come_to.corrections.first() {
            let mut later = corrected.clone();
            later["updated_at"] = (AS_OF + 1).into();
            log.insert(0, later);
            let later = folder(&[(stream, &log)], &truth);
            prop_assert!(compare(&later, parsed, 100).unwrap().corrections.is_empty());
        }
    }
}

fn beckon(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_beckon")).current_dir(directory).args(arguments).output().unwrap()
}

/// All that is in a topic.
fn read_all(brokers: &str, topic: &str) -> Vec<Value> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let mut records = Vec::new();
    loop {
        match consumer.poll(Duration::from_secs(20)).expect("the broker answers") {
            Ok(message) => records.push(serde_json::from_slice(message.payload().unwrap()).unwrap()),
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => return records,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_command_shows_what_differs_and_applies_it_to_the_topic() {
    let folder = tempfile::tempdir().unwrap();
    let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    broker.create_topic("shop.stock", 1, 1).unwrap();
    let brokers = broker.bootstrap_servers();
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    for sku in 0..50 {
        let record = stock(&format!("s{sku}"), Some("a"), 3, 1, AS_OF - 1000).to_string();
        producer.send(BaseRecord::to("shop.stock").key("k").payload(&record)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
    let config = format!("[kafka]\nbrokers = \"{brokers}\"\ntopics = {{ inventory = \"shop.stock\" }}\n");
    fs::write(folder.path().join("beckon.toml"), config).unwrap();
    let rows = (0..49).map(|sku| format!("s{sku},a,{}\n", if sku == 7 { 4 } else { 3 }));
    let csv = format!("sku,location,on_hand\n{}new,,9\n", rows.collect::<String>());
    fs::write(folder.path().join("stock.csv"), csv).unwrap();
    let as_of = AS_OF.to_string();
    let arguments = ["reconcile", "--stream", "inventory", "--truth", "stock.csv", "--as-of", &as_of];
    let shown = beckon(folder.path(), &arguments);
    let (said, told) = (String::from_utf8_lossy(&shown.stderr), String::from_utf8_lossy(&shown.stdout));
    assert!(shown.status.success() && said.contains("50 maintained, 50 in the export"), "{said}");
    assert!(said.contains("3 differ (1 otherwise, 1 more, 1 fewer); 0 are newer"), "{said}");
    assert_eq!(told.lines().count(), 3, "{told}");
    assert_eq!(read_all(&brokers, "shop.stock").len(), 50, "nothing is written unless asked for");

    let applied = beckon(folder.path(), &[&arguments[..], &["--apply"]].concat());
    assert!(applied.status.success() && applied.stdout.is_empty(), "{}", String::from_utf8_lossy(&applied.stderr));
    let records = read_all(&brokers, "shop.stock");
    let mut expected: BTreeMap<String, Value> = (0..49).map(|sku| (format!("\"s{sku}\"/\"a\""), json!(3))).collect();
    expected.insert("\"s7\"/\"a\"".into(), json!(4));
    expected.insert("\"new\"/null".into(), json!(9));
    assert_eq!((records.len(), state("inventory", &records)), (53, expected));
    let again = beckon(folder.path(), &[&arguments[..], &["--apply"]].concat());
    assert!(String::from_utf8_lossy(&again.stderr).contains("0 differ"), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(read_all(&brokers, "shop.stock").len(), 53);

    fs::write(folder.path().join("stock.csv"), "sku,location,on_hand\ns1,a,many\n").unwrap();
    let broken = beckon(folder.path(), &arguments);
    assert_eq!(broken.status.code(), Some(2), "{}", String::from_utf8_lossy(&broken.stderr));
    fs::write(folder.path().join("stock.csv"), "sku,location,on_hand\ns1,a,3\n").unwrap();
    let cut_off = beckon(folder.path(), &arguments);
    assert_eq!(cut_off.status.code(), Some(1), "{}", String::from_utf8_lossy(&cut_off.stderr));
}
