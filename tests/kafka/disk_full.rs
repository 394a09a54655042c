//! A disk that is full under a running service: it ends and says so, what was sent is durable, and once there is space again a
//! restart goes on as if nothing had been.
//!
//! The disk is a small file system in memory, where the test may mount one; else a limit on the size of files, which says
//! otherwise why it fails, and fails no less.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use beckon::decision::Outcome;
use beckon::ledger::Ledger;
use beckon_datagen::STREAMS;
use beckon_datagen::esp::{Esp, EspConfig, EspHandle};
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::service::{self, Running};

/// The size of the disk, and of the largest file where there is no such disk, MiB.
const DISK_MIB: u64 = 8;

/// Orders while all is well, and those that meet the full disk: more than it can take.
const ORDERS_BEFORE: u64 = 200;
const ORDERS_MEANWHILE: u64 = 8_000;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"
tick = "200ms"
allowed_lateness = "1s"
idle_after = "500ms"
snapshot_every = "2s"
templates = "templates"
[kafka]
brokers = "BROKERS"
topics = { TOPICS }
[[campaign]]
name = "thanks"
trigger = "post_purchase"
after = "1s"
template = "thanks"
[esp]
kind = "http"
base_url = "ESP"
honours_idempotency_key = true
from = "Shop <shop@example.com>"
requests_per_second = 10000
"#;

/// Where the service keeps its state.
enum Disk {
    /// A file system of its own, with a file that takes what is left of it.
    Mounted { at: PathBuf },
    /// The tests' own, and the service may not make large files.
    Limited,
}

impl Disk {
    fn under(directory: &Path) -> Disk {
        let at = directory.join("state");
        fs::create_dir(&at).unwrap();
        let size = format!("size={DISK_MIB}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "beckon-test"]).arg(&at).output();
        if mounted.is_ok_and(|output| output.status.success()) { Disk::Mounted { at } } else { Disk::Limited }
    }

    fn filler(at: &Path) -> PathBuf {
        at.join("filler")
    }

    /// Nothing more can be written to it, but to what files have in part.
    fn fill(&self) {
        if let Disk::Mounted { at } = self {
            let mut filler = fs::File::create(Disk::filler(at)).unwrap();
            while filler.write_all(&[7; 4096]).is_ok() {}
        }
    }

    /// There is space again.
    fn free(&self) {
        if let Disk::Mounted { at } = self {
            fs::remove_file(Disk::filler(at)).unwrap();
            let larger = format!("remount,size={}m", DISK_MIB * 16);
            assert!(Command::new("mount").args(["-o", &larger]).arg(at).status().unwrap().success());
        }
    }

    /// Starts the service on it.
    fn start(&self, directory: &Path) -> Running {
        match self {
            Disk::Mounted { .. } => service::start(directory, 1),
            // A file of that size gives an error and no signal, which would end the service without a word.
            Disk::Limited => {
                let limited = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" run", DISK_MIB * 2048);
                service::start_command(
                    directory,
                    Command::new("sh").args(["-c", &limited, env!("CARGO_BIN_EXE_beckon")]),
                )
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Disk::Mounted { at } = self {
            let _ = Command::new("umount").arg("--lazy").arg(at).stderr(Stdio::null()).status();
        }
    }
}

struct Shop<'b> {
    broker: &'b Broker,
    prefix: String,
}

impl Shop<'_> {
    fn open(broker: &Broker) -> Shop<'_> {
        let prefix = broker.topic_name("disk");
        STREAMS.iter().for_each(|stream| broker.create_topic(&format!("{prefix}.{stream}"), 1).unwrap());
        Shop { broker, prefix }
    }

    fn configure(&self, directory: &Path, esp: &EspHandle) {
        let topics: Vec<String> = STREAMS.iter().map(|name| format!("{name} = \"{}.{name}\"", self.prefix)).collect();
        let config = CONFIG
            .replace("BROKERS", self.broker.bootstrap())
            .replace("ESP", &esp.base_url())
            .replace("TOPICS", &topics.join(", "));
        fs::write(directory.join("beckon.toml"), config).unwrap();
        let templates = directory.join("templates");
        fs::create_dir(&templates).unwrap();
        for part in ["subject", "html", "txt"] {
            fs::write(templates.join(format!("thanks.{part}.hbs")), "Thank you, {{customer.id}}").unwrap();
        }
    }

    fn produce(&self, stream: &str, records: impl Iterator<Item = Value>) {
        let lines: Vec<(String, String)> = records.map(|it| (String::new(), it.to_string())).collect();
        self.broker.produce(&format!("{}.{stream}", self.prefix), &lines).unwrap();
    }

    /// Orders of customers of their own.
    fn sell(&self, orders: std::ops::Range<u64>) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        self.produce("profiles", orders.clone().map(|n| {
            json!({"user_id": format!("u{n}"), "email": format!("u{n}@example.com"), "consent": {"email": true}, "updated_at": at})
        }));
        self.produce(
            "orders",
            orders.map(|n| {
                json!({"order_id": format!("o{n}"), "user_id": format!("u{n}"), "placed_at": at, "total": "9.90",
                "lines": [{"sku": "s1", "quantity": 1, "price": "9.90"}]})
            }),
        );
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < DEADLINE, "not {what} after {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The service ends by itself, and says what happened, where, and what to do.
#[track_caller]
fn ends_and_says_why(mut running: Running, directory: &Path) {
    let mut ended = None;
    wait_until("ended", || {
        ended = running.ended();
        ended.is_some()
    });
    let said = fs::read_to_string(directory.join("run.log")).unwrap();
    assert_eq!(ended.and_then(|status| status.code()), Some(1), "{said}");
    println!("{said}");
    let lower = said.to_lowercase();
    let why = ["no space left", "file too large"].iter().any(|why| lower.contains(why));
    assert!(why && said.contains("state/") && said.contains("start again"), "{said}");
}

/// How many snapshots there are.
fn snapshots(directory: &Path) -> usize {
    let files = fs::read_dir(directory.join("state/snapshots")).into_iter().flatten();
    files
        .filter(|file| file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|it| it == "snapshot")))
        .count()
}

/// The keys of the messages that the ESP took.
fn sent(esp: &EspHandle) -> BTreeSet<String> {
    esp.seen_keys().into_iter().filter(|(_, counts)| counts.accepted > 0).map(|(key, _)| key).collect()
}

fn decisions(directory: &Path, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_beckon")).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// See the module.
pub fn a_full_disk_loses_nothing(broker: &Broker) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let esp = runtime.block_on(Esp::start(EspConfig::default())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    let shop = Shop::open(broker);
    shop.configure(directory, &esp);
    let disk = Disk::under(directory);

    let running = disk.start(directory);
    shop.sell(0..ORDERS_BEFORE);
    wait_until("sent", || esp.seen().accepted == ORDERS_BEFORE);
    wait_until("snapshots", || snapshots(directory) > 0);
    disk.fill();
    shop.sell(ORDERS_BEFORE..ORDERS_BEFORE + ORDERS_MEANWHILE);
    ends_and_says_why(running, directory);
    ends_and_says_why(disk.start(directory), directory);

    // What was sent is durable, also on this disk as it is.
    let copied = tempfile::tempdir().unwrap();
    for file in ["ledger.redb", "ledger.journal"] {
        fs::copy(directory.join("state").join(file), copied.path().join(file)).unwrap();
    }
    let ledger = Ledger::open(copied.path()).unwrap();
    let already = sent(&esp);
    for key in &already {
        let decision = ledger.decision(key.parse().unwrap()).unwrap();
        assert_eq!(decision.map(|it| it.outcome), Some(Outcome::Send), "sent, and not durable: {key}");
    }
    assert!((already.len() as u64) < ORDERS_BEFORE + ORDERS_MEANWHILE, "the disk was never full");

    disk.free();
    assert!(snapshots(directory) > 0, "what was written before is lost");
    let running = service::start(directory, 1);
    wait_until("all sent", || esp.seen().accepted == ORDERS_BEFORE + ORDERS_MEANWHILE);
    let said = fs::read_to_string(directory.join("run.log")).unwrap();
    assert!(said.contains("going on from the snapshot"), "{said}");
    assert!(running.interrupt().success());
    let live = decisions(directory, &["decisions"]);
    assert_eq!(live.len() as u64, ORDERS_BEFORE + ORDERS_MEANWHILE);
    let last: Value = serde_json::from_str(live.last().unwrap()).unwrap();
    let until = last["as_of"].as_str().unwrap();
    assert!(decisions(directory, &["replay", "--kafka", "--quiet", "--until", until]) == live, "a replay differs");
    assert_eq!(esp.seen().keys_accepted_more_than_once, 0);
    runtime.block_on(esp.stop());
}
