//! Over HTTP into Kafka and on to a decision, with Segment's own libraries; and what an acknowledgement is worth when a broker, or who
//! took the messages in, is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use beckon_datagen::STREAMS;
use beckon_datagen::esp::{Esp, EspConfig};
use reqwest::Client;
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::segment::Library;
use crate::service::{self, Running};

/// The write key of the tests.
const KEY: &str = "the-key-of-the-backend-0123456789";

/// How long a server may take to answer at all, and a message to become a mail.
const DEADLINE: Duration = Duration::from_secs(60);

/// Makes the topics, and writes the configuration and key of a collector, with what else is wanted of it. Returns the topics' prefix and
/// where it will answer.
fn configure(directory: &Path, broker: &Broker, more: &str) -> (String, String) {
    let prefix = broker.topic_name("collect");
    STREAMS.iter().for_each(|stream| broker.create_topic(&format!("{prefix}.{stream}"), 3).unwrap());
    let topics: Vec<String> = STREAMS.iter().map(|stream| format!("{stream} = \"{prefix}.{stream}\"")).collect();
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        r#"
allowed_lateness = "1s"
idle_after = "1s"
templates = "{templates}"
[kafka]
brokers = "{brokers}"
topics = {{ {topics} }}
mirror_prefix = "{prefix}"
[web]
listen = "{address}"
[collect]
[[collect.key]]
name = "backend"
secret_file = "key"
profiles = true
{more}
"#,
        templates = concat!(env!("CARGO_MANIFEST_DIR"), "/campaigns/templates"),
        brokers = broker.bootstrap(),
        topics = topics.join(", "),
    );
    std::fs::write(directory.join("beckon.toml"), config).unwrap();
    std::fs::write(directory.join("key"), format!("{KEY}\n")).unwrap();
    (prefix, format!("http://{address}"))
}

async fn wait_until_it_answers(client: &Client, base: &str) {
    let began = Instant::now();
    while client.get(format!("{base}/healthz")).send().await.is_err() {
        assert!(began.elapsed() < DEADLINE, "no answer at {base}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How often each message is in the clickstream, by its id.
fn stored(broker: &Broker, prefix: &str) -> BTreeMap<String, u64> {
    let mut stored = BTreeMap::new();
    for record in broker.read_all(&format!("{prefix}.clickstream")).unwrap() {
        let record: Value = serde_json::from_slice(record.payload.as_ref().unwrap()).unwrap();
        *stored.entry(record["messageId"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    stored
}

/// What a library sends is in Kafka when it says so, and a cart in it that is left alone gets a mail.
pub fn a_library_s_messages_lead_to_a_decision(broker: &Broker, mut library: Library) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let esp = runtime.block_on(Esp::start(EspConfig::default())).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let more = format!(
        r#"
[[campaign]]
name = "cart-abandonment"
trigger = "cart_abandonment"
after = "2s"
expires = "1h"
stock = "ignore"
audience = "customer.attributes.tier == 'gold'"
template = "cart_abandonment"
[esp]
kind = "http"
base_url = "{}"
honours_idempotency_key = true
from = "Shop <shop@example.com>"
"#,
        esp.base_url()
    );
    let (prefix, base) = configure(directory.path(), broker, &more);
    let running = service::start(directory.path(), 1);
    runtime.block_on(wait_until_it_answers(&beckon::sink::client(1_000).unwrap(), &base));

    let sent = library.run(&base, KEY);
    assert_eq!(sent.len(), 6, "{sent:?}");
    let stored = stored(broker, &prefix);
    assert_eq!(
        stored.keys().cloned().collect::<BTreeSet<_>>(),
        sent.into_iter().collect(),
        "acknowledged before it ended"
    );
    assert!(stored.values().all(|times| *times == 1), "{stored:?}");
    let profiles = broker.read_all(&format!("{prefix}.profiles")).unwrap();
    let [profile] = &profiles[..] else { panic!("one profile: {profiles:?}") };
    let profile: Value = serde_json::from_slice(profile.payload.as_ref().unwrap()).unwrap();
    let language = library.language;
    assert_eq!(
        (&profile["user_id"], &profile["attributes"]),
        (&json!(format!("{language}-user")), &json!({"tier": "gold"}))
    );

    service::wait_for_mail(&esp);
    let mail = esp.latest_messages(1).pop().expect("a mail");
    assert!(mail.body.to_string().contains(&format!("{language}@example.com")), "{}", mail.body);
    assert!(running.interrupt().success());
    assert!(!directory.path().join("state/dead_letters.jsonl").metadata().is_ok_and(|file| file.len() > 0));
    let ledger = beckon::ledger::Ledger::open_existing(&directory.path().join("state")).unwrap();
    let decision = ledger.decision(mail.key.as_deref().unwrap().parse().unwrap()).unwrap().unwrap();
    let decision = serde_json::to_value(&decision).unwrap();
    assert_eq!(
        (&decision["customer_id"], &decision["subject"]),
        (&json!(format!("{language}-user")), &json!(format!("{language}-cart")))
    );
    let line = &decision["payload"]["lines"][0];
    let sku = json!(format!("{}-1", language.to_uppercase()));
    assert_eq!((&line["sku"], &line["quantity"], &line["price"]), (&sku, &json!(2), &json!("19.9")), "{decision}");
    runtime.block_on(esp.stop());
}

/// Those who send: each its batches one after the other, each batch until it is acknowledged.
struct Senders {
    batches: Arc<AtomicU64>,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    refused: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Senders {
    fn start(count: usize, base: &str) -> Senders {
        let mut senders = Senders {
            batches: Arc::default(),
            acknowledged: Arc::default(),
            refused: Arc::default(),
            stop: Arc::default(),
            tasks: Vec::new(),
        };
        for _ in 0..count {
            let (batches, acknowledged) = (senders.batches.clone(), senders.acknowledged.clone());
            let (refused, stop, url) = (senders.refused.clone(), senders.stop.clone(), format!("{base}/v1/batch"));
            senders.tasks.push(tokio::spawn(async move {
                let client = beckon::sink::client(15_000).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let number = batches.fetch_add(1, Ordering::Relaxed);
                    let ids: Vec<String> = (0..20).map(|message| format!("{number}.{message}")).collect();
                    while !send(&client, &url, &ids).await {
                        refused.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    acknowledged.lock().unwrap().extend(ids);
                }
            }));
        }
        senders
    }

    /// Waits until `more` messages are acknowledged beyond those that are now.
    async fn wait_for(&self, more: usize) {
        let (began, wanted) = (Instant::now(), self.acknowledged.lock().unwrap().len() + more);
        while self.acknowledged.lock().unwrap().len() < wanted {
            assert!(began.elapsed() < DEADLINE, "{} of {wanted}", self.acknowledged.lock().unwrap().len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets each finish its batch.
    async fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            tokio::time::timeout(DEADLINE, task).await.expect("all is taken in the end").unwrap();
        }
    }
}

/// Whether the batch was acknowledged.
async fn send(client: &Client, url: &str, ids: &[String]) -> bool {
    let messages: Vec<Value> = ids
        .iter()
        .map(|id| json!({"type": "track", "event": "Product Viewed", "messageId": id, "userId": id, "properties": {"sku": "s1"}}))
        .collect();
    let sent = client.post(url).basic_auth(KEY, Some("")).json(&json!({"batch": messages})).send().await;
    let Ok(answer) = sent else { return false };
    let status = answer.status();
    assert!(status.is_success() || status == 429 || status == 503, "{status}");
    // Only an answer that is read whole is one.
    status.is_success() && answer.json::<Value>().await.is_ok_and(|told| told == json!({"success": true}))
}

/// Kills the broker, and the collector, while messages come.
pub fn what_was_acknowledged_is_in_kafka(mut broker: Broker) {
    let directory = tempfile::tempdir().unwrap();
    let (prefix, base) = configure(directory.path(), &broker, "");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut collector = service::start_ingest(directory.path());
    runtime.block_on(wait_until_it_answers(&beckon::sink::client(1_000).unwrap(), &base));
    let mut senders = runtime.block_on(async { Senders::start(8, &base) });
    for _ in 0..3 {
        runtime.block_on(senders.wait_for(2_000));
        broker.kill().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        broker.restart().unwrap();
        runtime.block_on(senders.wait_for(2_000));
        collector = killed_and_started_again(collector, directory.path());
    }
    runtime.block_on(senders.wait_for(2_000));
    runtime.block_on(senders.stop());
    assert!(collector.interrupt().success());

    let (acknowledged, stored) = (senders.acknowledged.lock().unwrap(), stored(&broker, &prefix));
    let lost: Vec<_> = acknowledged.iter().filter(|id| !stored.contains_key(*id)).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged messages are not in Kafka: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
    let (sent, refused) = (senders.batches.load(Ordering::Relaxed) * 20, senders.refused.load(Ordering::Relaxed));
    assert_eq!(acknowledged.len() as u64, sent, "all was taken in the end");
    assert!(refused > 0, "no kill was noticed");
    let again: u64 = stored.values().map(|times| times - 1).sum();
    println!(
        "{sent} messages acknowledged over 3 kills of each; {refused} batches sent again, {again} messages twice in Kafka"
    );
}

fn killed_and_started_again(collector: Running, directory: &Path) -> Running {
    collector.signal(0, "KILL");
    drop(collector);
    service::start_ingest(directory)
}
