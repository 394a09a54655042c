//! The timeline on a real broker: records that come late or from the future are decided upon by a live run through a crash
//! and a restart, and a replay of the same topics repeats every decision.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use beckon_datagen::STREAMS;
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::service::{self, Running};

/// Long enough for the partitions to fall idle (1 s) and follow the wall clock to past what was just produced (5 s).
const SETTLED: Duration = Duration::from_secs(8);

const CONFIG: &str = r#"
idle_after = "1s"
templates = "TEMPLATES"
[kafka]
brokers = "BROKERS"
topics = { TOPICS }
mirror_prefix = "PREFIX"
[[campaign]]
name = "back"
trigger = "back_in_stock"
expires = "1d"
template = "back_in_stock"
[[campaign]]
name = "cart"
trigger = "cart_abandonment"
after = "1s"
stock = "ignore"
template = "cart_abandonment"
[esp]
kind = "http"
base_url = "http://127.0.0.1:9"
from = "Shop <shop@example.com>"
"#;

/// Topics of one partition each, and what is produced to them.
struct Shop<'b> {
    broker: &'b Broker,
    prefix: String,
}

impl Shop<'_> {
    fn open(broker: &Broker) -> Shop<'_> {
        let prefix = broker.topic_name("timeline");
        STREAMS.iter().for_each(|stream| broker.create_topic(&format!("{prefix}.{stream}"), 1).unwrap());
        Shop { broker, prefix }
    }

    fn configure(&self, directory: &Path) {
        let topics: Vec<String> = STREAMS.iter().map(|name| format!("{name} = \"{}.{name}\"", self.prefix)).collect();
        let config = CONFIG
            .replace("TEMPLATES", concat!(env!("CARGO_MANIFEST_DIR"), "/campaigns/templates"))
            .replace("BROKERS", self.broker.bootstrap())
            .replace("PREFIX", &self.prefix)
            .replace("TOPICS", &topics.join(", "));
        std::fs::write(directory.join("beckon.toml"), config).unwrap();
    }

    fn produce(&self, stream: &str, records: impl IntoIterator<Item = Value>) {
        let lines: Vec<(String, String)> = records.into_iter().map(|it| (String::new(), it.to_string())).collect();
        self.broker.produce(&format!("{}.{stream}", self.prefix), &lines).unwrap();
    }

    /// Customers who want what there is none of, two hours ago.
    fn wishes(&self, customers: std::ops::Range<u32>) {
        let at = now_ms() - 7_200_000;
        self.produce("profiles", customers.clone().map(|n| {
            json!({"user_id": format!("u{n}"), "email": format!("u{n}@example.com"), "consent": {"email": true}, "updated_at": at})
        }));
        self.produce("clickstream", customers.map(|n| {
            json!({"type": "track", "event": "Product Viewed", "messageId": format!("m{n}"), "userId": format!("u{n}"),
                "timestamp": at + u64::from(n), "properties": {"sku": format!("s{}", n % 5)}})
        }));
    }

    /// The stock of all, as of a time `ago_ms` before now; before it, when that is negative.
    fn stock(&self, version: u32, on_hand: u32, ago_ms: i64) {
        let at = now_ms().saturating_add_signed(-ago_ms);
        self.produce(
            "inventory",
            (0..5)
                .map(|n| json!({"sku": format!("s{n}"), "on_hand": on_hand, "version": version, "updated_at": at + n})),
        );
    }

    /// A cart of each, as of a time before or after now.
    fn carts(&self, customers: std::ops::Range<u32>, ago_ms: i64) {
        let at = now_ms().saturating_add_signed(-ago_ms);
        self.produce(
            "carts",
            customers.map(|n| {
                json!({"cart_id": format!("c{n}"), "user_id": format!("u{n}"), "updated_at": at, "version": at,
                "lines": [{"sku": "s1", "quantity": 1, "price": "9.90"}]})
            }),
        );
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn settle() {
    std::thread::sleep(SETTLED);
}

fn beckon(directory: &Path, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_beckon")).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Runs the service three times: ended by a crash, by a crash, and as asked.
fn live(shop: &Shop<'_>, directory: &Path) {
    shop.wishes(0..20);
    shop.stock(1, 0, 7_200_000);
    let running = service::start(directory, 1);
    settle();
    // Late by the wall clock alone: the partition's own watermark is two hours ago.
    shop.stock(2, 3, 3_600_000);
    shop.carts(0..5, 3_600_000);
    settle();
    // From the future, and then from the present.
    shop.carts(5..10, -3_600_000);
    shop.carts(10..15, 0);
    settle();
    drop::<Running>(running);
    let running = service::start(directory, 2);
    shop.stock(3, 0, 0);
    settle();
    shop.stock(4, 7, 1_800_000);
    shop.carts(0..3, 1_800_000);
    settle();
    drop::<Running>(running);
    let running = service::start(directory, 1);
    settle();
    assert!(running.interrupt().success(), "{}", std::fs::read_to_string(directory.join("run.log")).unwrap());
}

/// See the module.
pub fn a_replay_of_the_topics_repeats_a_live_run(broker: &Broker) {
    let directory = tempfile::tempdir().unwrap();
    let shop = Shop::open(broker);
    shop.configure(directory.path());
    live(&shop, directory.path());

    let decided = beckon(directory.path(), &["decisions"]);
    assert!(decided.len() >= 50, "{} decisions are too few to prove anything", decided.len());
    let last: Value = serde_json::from_str(decided.last().unwrap()).unwrap();
    let replay = ["replay", "--kafka", "--quiet", "--until", last["as_of"].as_str().unwrap()];
    assert_eq!(beckon(directory.path(), &replay), decided);

    let timeline = directory.path().join("state/timeline.jsonl");
    let notes = std::fs::read_to_string(&timeline).unwrap();
    assert!((1..100).contains(&notes.lines().count()), "{notes}");
    std::fs::remove_file(timeline).unwrap();
    assert_ne!(beckon(directory.path(), &replay), decided, "it is the timeline that tells");
}
