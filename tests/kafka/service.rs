//! `beckon run` against a real broker and the simulated ESP.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use beckon::decision::{DecisionId, DeliveryState};
use beckon::ledger::Ledger;
use beckon_datagen::esp::{Esp, EspConfig, EspHandle, FaultShares};
use beckon_datagen::files::{Compression, StreamFiles};
use beckon_datagen::shop::{Shop, ShopConfig};
use beckon_datagen::{Event, STREAMS};

use crate::broker::Broker;
use crate::hosts;

/// How long a service may take to read, decide and deliver everything.
const DEADLINE: Duration = Duration::from_secs(90);

/// A service, of one process or several, that is killed when the test ends.
pub struct Running(Vec<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Running {
    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.iter_mut().find_map(|child| child.try_wait().unwrap())
    }

    /// Asks it to stop, as Ctrl-C does, and waits. Of several processes the last is asked, and all stop.
    pub fn interrupt(mut self) -> ExitStatus {
        self.signal(self.0.len() - 1, "INT");
        let ended: Vec<ExitStatus> = self.0.iter_mut().map(|child| child.wait().unwrap()).collect();
        ended.iter().copied().find(|status| !status.success()).unwrap_or(ended[0])
    }

    /// Sends a process a signal.
    pub fn signal(&self, process: usize, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.0[process].id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// How many processes it has.
    pub fn processes(&self) -> usize {
        self.0.len()
    }

    /// Waits for a process to end by itself; none if it does not.
    pub fn ended_within(&mut self, process: usize, wait: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + wait;
        while Instant::now() < until {
            let ended = self.0[process].try_wait().unwrap();
            if ended.is_some() {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

/// A shop that was open from three to two hours ago: everything that it leads to has come due by now.
pub fn shop_of_this_morning() -> Vec<Event> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let start_ms = now_ms - 3 * 3_600_000;
    let config = ShopConfig { customers: 300, start_ms, until_ms: Some(start_ms + 3_600_000), ..ShopConfig::default() };
    Shop::new(config).collect()
}

/// Produces the events to topics of their own, three partitions each, and returns the topics' prefix.
pub fn produce(broker: &Broker, events: &[Event]) -> String {
    let prefix = broker.topic_name("shop");
    for stream in STREAMS {
        broker.create_topic(&format!("{prefix}.{stream}"), 3).unwrap();
    }
    produce_to(broker, &prefix, events);
    prefix
}

/// Produces the events to topics that are there.
pub fn produce_to(broker: &Broker, prefix: &str, events: &[Event]) {
    for stream in STREAMS {
        let topic = format!("{prefix}.{stream}");
        let of_stream = events.iter().filter(|event| event.stream == stream);
        let lines: Vec<(String, String)> =
            of_stream.map(|event| (event.key.clone(), String::from_utf8_lossy(&event.json).into_owned())).collect();
        broker.produce(&topic, &lines).unwrap();
    }
}

/// The configuration of the tests: two campaigns, no limits that a restart could hide behind.
pub fn configure(directory: &Path, broker: &Broker, prefix: &str, esp: &EspHandle) {
    let topics: Vec<String> = STREAMS.iter().map(|stream| format!("{stream} = \"{prefix}.{stream}\"")).collect();
    let config = format!(
        r#"
idle_after = "1s"
templates = "{templates}"
[kafka]
brokers = "{brokers}"
topics = {{ {topics} }}
mirror_prefix = "{prefix}"
[[campaign]]
name = "cart-abandonment"
trigger = "cart_abandonment"
after = "30m"
expires = "24h"
holdout = 0.1
template = "cart_abandonment"
[[campaign]]
name = "back-in-stock"
trigger = "back_in_stock"
expires = "12h"
template = "back_in_stock"
[esp]
kind = "http"
base_url = "{esp}"
honours_idempotency_key = true
timeout = "1s"
from = "Shop <shop@example.com>"
requests_per_second = 1000
"#,
        templates = concat!(env!("CARGO_MANIFEST_DIR"), "/campaigns/templates"),
        brokers = broker.bootstrap(),
        topics = topics.join(", "),
        esp = esp.base_url(),
    );
    std::fs::write(directory.join("beckon.toml"), config).unwrap();
}

/// An ESP that refuses now and then for a while, and takes a message without an answer.
pub async fn moody_esp() -> EspHandle {
    let faults =
        FaultShares { too_many: 0.1, unavailable: 0.05, failed: 0.05, timeout_after_accept: 0.03, refuse: 0.0 };
    let hold = Duration::from_millis(1500);
    Esp::start(EspConfig { faults, hold, retry_after_s: 0, ..EspConfig::default() }).await.unwrap()
}

/// Starts `beckon run` in `directory`.
pub fn start(directory: &Path, workers: usize) -> Running {
    Running(vec![spawn(directory, "run.log", &["run", "--workers", &workers.to_string()])])
}

/// Starts `beckon ingest` in `directory`.
pub fn start_ingest(directory: &Path) -> Running {
    Running(vec![spawn(directory, "ingest.log", &["ingest"])])
}

/// Starts the processes of a cluster in `directory`, which share its folder `state`. Process I logs to `run-I.log`.
pub fn start_cluster(directory: &Path, processes: usize, workers: usize) -> Running {
    let hosts = hosts::free(processes).unwrap();
    std::fs::write(directory.join("hosts"), hosts.join("\n") + "\n").unwrap();
    let process = |process: usize| {
        let (process, workers) = (process.to_string(), workers.to_string());
        let arguments = ["run", "--workers", &workers, "--process", &process, "--hosts", "hosts"];
        spawn(directory, &format!("run-{process}.log"), &arguments)
    };
    Running((0..processes).map(process).collect())
}

/// Starts `beckon cluster` in `directory`.
pub fn start_supervised(directory: &Path, processes: usize) -> Running {
    Running(vec![spawn(directory, "run.log", &["cluster", "--processes", &processes.to_string()])])
}

/// Starts a command that becomes `beckon run`, in `directory`.
pub fn start_command(directory: &Path, command: &mut Command) -> Running {
    Running(vec![spawn_command(directory, "run.log", command)])
}

fn spawn(directory: &Path, log: &str, arguments: &[&str]) -> Child {
    spawn_command(directory, log, Command::new(env!("CARGO_BIN_EXE_beckon")).args(arguments))
}

fn spawn_command(directory: &Path, log: &str, command: &mut Command) -> Child {
    let log = std::fs::File::create(directory.join(log)).unwrap();
    command.current_dir(directory).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// What a replay of the same records decides.
pub fn replayed(directory: &Path, events: &[Event]) -> BTreeSet<String> {
    let input = directory.join("streams");
    let mut files = StreamFiles::create(&input, Compression::None).unwrap();
    events.iter().for_each(|event| files.write(event).unwrap());
    files.finish().unwrap();
    replay(directory, &["--input", input.to_str().unwrap()])
}

/// What a replay decides of what the topics retain.
pub fn replayed_from_kafka(directory: &Path) -> BTreeSet<String> {
    replay(directory, &["--kafka"])
}

/// What `beckon explain` says of a decision from what the topics retain.
pub fn explained_from_kafka(directory: &Path, id: DecisionId) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_beckon"))
        .args(["explain", &id.to_string(), "--kafka", "--json", "--quiet"])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn replay(directory: &Path, source: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_beckon"))
        .args(["replay", "--quiet", "--until", "drain"])
        .args(source)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Longer than a service sends nothing after a start: it holds back until the ticks before its start are closed, which takes
/// the allowed lateness (5 s) and `idle_after` (1 s).
pub const QUIET: Duration = Duration::from_secs(9);

/// Waits until the ESP has heard nothing new for [`QUIET`] after it took `at_least` messages.
pub fn wait_until_quiet(esp: &EspHandle, at_least: u64) {
    let began = Instant::now();
    let (mut last, mut since) = (0, Instant::now());
    while esp.seen().distinct_keys < at_least || since.elapsed() < QUIET {
        assert!(began.elapsed() < DEADLINE, "{:?} after {DEADLINE:?}", esp.seen());
        std::thread::sleep(Duration::from_millis(50));
        let requests = esp.seen().requests;
        if requests != last {
            (last, since) = (requests, Instant::now());
        }
    }
}

/// Waits until the ESP has taken a message.
pub fn wait_for_mail(esp: &EspHandle) {
    let began = Instant::now();
    while esp.seen().distinct_keys == 0 {
        assert!(began.elapsed() < DEADLINE, "{:?} after {DEADLINE:?}", esp.seen());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The ledger's decisions with these ids, as JSON, and how many deliveries are in each of the states of interest.
pub fn ledger(directory: &Path, ids: &[DecisionId]) -> (BTreeSet<String>, u64, u64, u64) {
    let ledger = Ledger::open(&directory.join("state")).unwrap();
    let decisions = ids.iter().filter_map(|id| ledger.decision(*id).unwrap());
    let decisions = decisions.map(|decision| serde_json::to_string(&decision).unwrap()).collect();
    let counts = ledger.counts().unwrap();
    let of = |state| counts.deliveries.get(&state).copied().unwrap_or(0);
    let others: u64 =
        counts.deliveries.values().sum::<u64>() - of(DeliveryState::Accepted) - of(DeliveryState::Withdrawn);
    (decisions, of(DeliveryState::Accepted), of(DeliveryState::Withdrawn), others)
}
