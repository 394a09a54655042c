//! Real faults (SPEC §6, "After a crash at any point"): `beckon run` is killed again and again while a shop sells, the broker goes
//! away and comes back, the ESP is down, refuses, fails, or takes a message and never answers. At the end the ESP has been sent
//! what an undisturbed replay of the same topics decides: nothing lost, nothing extra, nothing twice, nothing taken back.
//!
//! ```text
//! BECKON_CHAOS_KILLS=200 BECKON_CHAOS_SENDS=100000 BECKON_SEED=1 cargo test --release --test kafka chaos -- --nocapture
//! ```
//!
//! The same happens to a cluster, of which one process is killed at a time: the others must notice and end, and all start again, as
//! another number of processes and workers.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use beckon::decision::{Decision, DeliveryState, Outcome};
use beckon::ledger::Ledger;
use beckon_datagen::STREAMS;
use beckon_datagen::esp::{Esp, EspConfig, EspHandle, FaultShares};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use serde_json::json;
use tempfile::TempDir;

use crate::broker::Broker;
use crate::service::{self, Running};

/// A refund that the broker acknowledged so long ago is known: then nothing may be sent about its order.
const KNOWN_AFTER_MS: u64 = 5_000;

/// One order in so many is refunded.
const REFUNDED: u64 = 16;

/// At most so many orders later.
const REFUNDED_BACK: u64 = 400;

const CONFIG: &str = r#"
tick = "200ms"
allowed_lateness = "1s"
idle_after = "500ms"
snapshot_every = "1s"
templates = "templates"
[kafka]
brokers = "BROKERS"
mirror_prefix = "chaos"
[[campaign]]
name = "thanks"
trigger = "post_purchase"
after = "2s"
template = "thanks"
[esp]
kind = "http"
base_url = "ESP"
honours_idempotency_key = true
timeout = "500ms"
from = "Shop <shop@example.com>"
requests_per_second = 10000
max_in_flight = 256
"#;

/// So many kills leave time for a snapshot between some of them.
const MANY: u64 = 20;

/// How long a process may take to notice that another is gone.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

/// What is done to whom.
pub struct Chaos {
    seed: u64,
    kills: u64,
    sends: u64,
    /// Of how many processes the service is, at most.
    processes: usize,
}

/// What was done, for the report.
#[derive(Debug, Default)]
struct Done {
    service_kills: u64,
    /// Processes that ended by themselves because another was gone.
    noticed: u64,
    /// Starts that went on from a snapshot.
    resumed: u64,
    broker_kills: u64,
    esp_moods: u64,
}

impl Chaos {
    /// As the environment asks, or little enough for the gate: to a service that is one process.
    pub fn asked_for() -> Chaos {
        Chaos::asked_of(1, 5, 2_000)
    }

    /// The same to a cluster.
    pub fn asked_for_a_cluster() -> Chaos {
        Chaos::asked_of(3, 3, 600)
    }

    fn asked_of(processes: usize, kills: u64, sends: u64) -> Chaos {
        let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
        Chaos {
            seed: number("BECKON_SEED", 1),
            kills: number("BECKON_CHAOS_KILLS", kills),
            sends: number("BECKON_CHAOS_SENDS", sends),
            processes,
        }
    }

    fn start(&self, directory: &Path, rng: &mut ChaCha8Rng) -> Running {
        let workers = rng.random_range(1..3);
        match self.processes {
            1 => service::start(directory, workers),
            most => service::start_cluster(directory, rng.random_range(2..=most), workers),
        }
    }

    /// Kills the service, or one process of it: the others end by themselves once all have found each other. How many did.
    fn kill(&self, mut running: Running, directory: &Path, rng: &mut ChaCha8Rng) -> u64 {
        if running.processes() == 1 {
            return 0;
        }
        let killed = rng.random_range(0..running.processes());
        running.signal(killed, "KILL");
        let log = |process| std::fs::read_to_string(directory.join(format!("run-{process}.log"))).unwrap();
        let mut noticed = 0;
        for other in (0..running.processes()).filter(|it| *it != killed) {
            let wait = if noticed == 0 { NOTICED_WITHIN } else { NOTICED_WITHIN / 10 };
            if let Some(status) = running.ended_within(other, wait) {
                assert_eq!(status.code(), Some(1), "{}", log(other));
                assert!(log(other).contains("is gone\n  this one ends too"), "{}", log(other));
                noticed += 1;
            }
        }
        noticed
    }

    /// Kills and spoils until it has killed often enough and the shop is closed.
    fn reign(&self, directory: &Path, broker: &mut Broker, esp: &EspHandle, closed: &AtomicBool) -> Done {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut done = Done::default();
        let mut running = self.start(directory, &mut rng);
        while done.service_kills < self.kills || !closed.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(rng.random_range(300..2_500)));
            match rng.random_range(0..20) {
                0..2 => {
                    broker.kill().unwrap();
                    std::thread::sleep(Duration::from_millis(rng.random_range(0..1_500)));
                    broker.restart().unwrap();
                    done.broker_kills += 1;
                }
                2..7 => {
                    esp.set_faults(mood(&mut rng));
                    done.esp_moods += 1;
                }
                _ => {
                    let log = if self.processes == 1 { "run.log" } else { "run-0.log" };
                    let said = std::fs::read_to_string(directory.join(log)).unwrap();
                    done.resumed += u64::from(said.contains("going on from"));
                    done.noticed += self.kill(running, directory, &mut rng);
                    running = self.start(directory, &mut rng);
                    done.service_kills += 1;
                }
            }
        }
        esp.set_faults(FaultShares::default());
        drop(running);
        done
    }
}

/// How an ESP can be.
fn mood(rng: &mut ChaCha8Rng) -> FaultShares {
    let well = FaultShares::default();
    match rng.random_range(0..5) {
        0 => FaultShares { unavailable: 1.0, ..well },
        1 => FaultShares { too_many: 0.3, unavailable: 0.1, ..well },
        2 => FaultShares { failed: 0.3, timeout_after_accept: 0.05, ..well },
        3 => FaultShares { timeout_after_accept: 0.3, ..well },
        _ => well,
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Sells: each order in its time, and now and then takes one back. Returns when each refund was acknowledged.
fn sell(bootstrap: &str, chaos: &Chaos) -> HashMap<String, u64> {
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .set("log_level", "0") // it is known that the broker goes away
        .create()
        .unwrap();
    let send = |topic: &str, key: &str, record: serde_json::Value| {
        let payload = record.to_string();
        let mut message = BaseRecord::to(topic).key(key).payload(payload.as_str());
        while let Err((_, back)) = producer.send(message) {
            std::thread::sleep(Duration::from_millis(5));
            message = back;
        }
    };
    let flush = || producer.flush(Duration::from_secs(120)).unwrap();
    for n in 0..chaos.sends {
        let (user, email) = (format!("u{n}"), format!("u{n}@example.com"));
        send(
            "profiles",
            &user,
            json!({"user_id": user, "email": email, "consent": {"email": true}, "updated_at": now_ms()}),
        );
    }
    flush();
    // About as long as the kills will take.
    let pause = Duration::from_millis(chaos.kills * 1_500) / u32::try_from(chaos.sends / 20).unwrap().max(1);
    let mut refunds = HashMap::new();
    for n in 0..chaos.sends {
        let (order, user) = (format!("o{n}"), format!("u{n}"));
        let at = now_ms();
        let placed =
            json!({"order_id": order, "user_id": user, "placed_at": at, "total": "9.90", "lines": [{"sku": "s1"}]});
        send("orders", &order, placed);
        // One of those before it: some are decided already, some were sent.
        if n % REFUNDED == REFUNDED - 1 {
            let n = n.saturating_sub(n / REFUNDED * 37 % REFUNDED_BACK);
            let (order, user) = (format!("o{n}"), format!("u{n}"));
            let refund = json!({"order_id": order, "user_id": user, "status": "refunded", "version": 1, "placed_at": at,
                "updated_at": at, "total": "9.90", "lines": [{"sku": "s1"}]});
            send("orders", &order, refund);
            flush();
            refunds.insert(order, now_ms());
        }
        if n % 20 == 19 {
            std::thread::sleep(pause);
        }
    }
    flush();
    refunds
}

fn configure(directory: &Path, broker: &Broker, esp: &EspHandle) {
    let config = CONFIG.replace("BROKERS", broker.bootstrap()).replace("ESP", &esp.base_url());
    std::fs::write(directory.join("beckon.toml"), config).unwrap();
    let templates = directory.join("templates");
    std::fs::create_dir(&templates).unwrap();
    for part in ["subject", "html", "txt"] {
        std::fs::write(templates.join(format!("thanks.{part}.hbs")), "Thank you, {{customer.id}}").unwrap();
    }
}

fn decisions(directory: &Path, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_beckon")).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Runs the service undisturbed until it owes nothing.
fn heal(directory: &Path, esp: &EspHandle) {
    for _ in 0..20 {
        let running = service::start(directory, 1);
        let mut before = u64::MAX;
        while esp.seen().requests != before {
            before = esp.seen().requests;
            std::thread::sleep(Duration::from_secs(6));
        }
        assert!(running.interrupt().success(), "{}", std::fs::read_to_string(directory.join("run.log")).unwrap());
        if Ledger::open(&directory.join("state")).unwrap().owed(1, |_| true).unwrap().0.is_empty() {
            return;
        }
    }
    panic!("deliveries are still owed after twenty undisturbed runs");
}

/// See the module.
pub fn what_is_sent_is_what_was_decided(mut broker: Broker, chaos: &Chaos) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = EspConfig {
        hold: Duration::from_secs(1),
        retry_after_s: 0,
        messages_kept: usize::MAX,
        seed: chaos.seed,
        ..EspConfig::default()
    };
    let esp = runtime.block_on(Esp::start(config)).unwrap();
    let folder = Folder(tempfile::tempdir().unwrap(), if chaos.processes == 1 { "chaos" } else { "chaos-cluster" });
    let directory = folder.0.path();
    STREAMS.iter().for_each(|stream| broker.create_topic(stream, 3).unwrap());
    configure(directory, &broker, &esp);
    let (began, closed) = (Instant::now(), AtomicBool::new(false));
    let bootstrap = broker.bootstrap().to_owned();
    let (done, refunds) = std::thread::scope(|scope| {
        let selling = scope.spawn(|| {
            let refunds = sell(&bootstrap, chaos);
            closed.store(true, Ordering::Relaxed);
            refunds
        });
        let done = chaos.reign(directory, &mut broker, &esp, &closed);
        (done, selling.join().unwrap())
    });
    heal(directory, &esp);

    let decided = decisions(directory, &["decisions"]);
    let last: Decision = serde_json::from_str(decided.last().expect("something was decided")).unwrap();
    let until = last.as_of.to_string();
    let undisturbed = decisions(directory, &["replay", "--kafka", "--quiet", "--until", &until]);
    if undisturbed != decided {
        std::fs::write(directory.join("live.jsonl"), decided.join("\n")).unwrap();
        std::fs::write(directory.join("replay.jsonl"), undisturbed.join("\n")).unwrap();
        panic!("seed {}: a replay decides otherwise", chaos.seed);
    }
    assert!(chaos.processes == 1 || done.noticed > 0, "no process noticed that another was killed: {done:?}");
    assert!(chaos.kills < MANY || done.resumed > 0, "no start went on from a snapshot: {done:?}");
    let sent = Sent::judge(&decided, directory, &esp, &refunds);
    println!(
        "seed {}, {:.0} s: {} kills of the service ({} processes noticed that of another, {} starts went on from a snapshot), {} of the broker, {} moods of the ESP; {} sends decided, {} accepted, {} \
         withdrawn, {} taken back while unanswered; {} requests, {} repeated with a key that was taken; 0 lost, 0 extra, 0 twice, 0 stale",
        chaos.seed,
        began.elapsed().as_secs_f64(),
        done.service_kills,
        done.noticed,
        done.resumed,
        done.broker_kills,
        done.esp_moods,
        sent.decided,
        sent.accepted,
        sent.withdrawn,
        sent.unknown,
        esp.seen().requests,
        esp.seen().replays,
    );
    runtime.block_on(esp.stop());
}

/// The service's folder, which is kept for whoever looks for the cause when the test fails.
struct Folder(TempDir, &'static str);

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.1);
            let _ = std::fs::remove_dir_all(&kept);
            let _ = Command::new("cp").arg("-r").arg(self.0.path()).arg(&kept).status();
            eprintln!("kept in {}", kept.display());
        }
    }
}

/// What became of the sends.
struct Sent {
    decided: usize,
    accepted: usize,
    withdrawn: usize,
    unknown: usize,
}

impl Sent {
    /// Holds the ESP's own account to what was decided.
    fn judge(decided: &[String], directory: &Path, esp: &EspHandle, refunds: &HashMap<String, u64>) -> Sent {
        let sends = decided.iter().map(|line| serde_json::from_str::<Decision>(line).unwrap());
        let sends: BTreeMap<String, Decision> =
            sends.filter(|it| it.outcome == Outcome::Send).map(|it| (it.decision_id.to_string(), it)).collect();
        let taken = esp.seen_keys();
        let taken: BTreeMap<_, _> = taken.into_iter().filter(|(_, counts)| counts.accepted > 0).collect();
        let extra: Vec<_> = taken.keys().filter(|key| !sends.contains_key(*key)).collect();
        assert!(extra.is_empty(), "sent, and never decided: {extra:?}");
        let twice: Vec<_> = taken.iter().filter(|(_, counts)| counts.accepted > 1).collect();
        assert!(twice.is_empty(), "sent twice: {twice:?}");

        let ledger = Ledger::open(&directory.join("state")).unwrap();
        let (mut withdrawn, mut unknown) = (0, 0);
        for (_, send) in sends.iter().filter(|(key, _)| !taken.contains_key(*key)) {
            let state = ledger.delivery(send.decision_id).unwrap().map(|delivery| delivery.state);
            match state {
                Some(DeliveryState::Withdrawn) => withdrawn += 1,
                // It may have been taken, for all the service knows, and must not be repeated any more.
                Some(DeliveryState::Unknown) => unknown += 1,
                _ => panic!("lost, {state:?}: {send:?}"),
            }
            assert!(refunds.contains_key(&*send.subject), "taken back, though it still holds: {send:?}");
        }
        for message in esp.latest_messages(usize::MAX) {
            let send = &sends[&message.key.expect("every request has a key")];
            if let Some(refunded_ms) = refunds.get(&*send.subject) {
                let after_ms = (message.received_ms as u64).saturating_sub(*refunded_ms);
                assert!(after_ms < KNOWN_AFTER_MS, "stale: sent {after_ms} ms after its order was refunded: {send:?}");
            }
        }
        Sent { decided: sends.len(), accepted: taken.len(), withdrawn, unknown }
    }
}
