//! A real Apache Kafka for tests: one KRaft node, broker and controller in one process. In: Java, and jars that Maven
//! fetches once; or `KAFKA_BOOTSTRAP`, naming a broker that is used instead. Out: an address, and topics to write and
//! read. Fails with a `Skip` where the parts can't be had, and panics with Kafka's own log where they can but it
//! doesn't start.
//!
//! The test binary declares `mod skip;` beside this module.
#![allow(dead_code, unused_imports)] // each test binary uses its own part of this file

mod jars;
mod leash;
mod topics;

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};
use tempfile::TempDir;

use crate::skip::Skip;
use leash::Leashed;
pub use topics::StoredRecord;

/// How long a broker may take to answer before a test gives it up.
const START_WAIT_MAX: Duration = Duration::from_secs(90);

/// Another program may take a port between its choice and its use; then the broker starts on others.
const START_TRIES_MAX: u32 = 3;

/// Below the range from which Linux gives a client its own ports, so that no client can sit on a broker's port, or
/// connect to itself there, while the broker is down.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// A Kafka cluster id is any 16 bytes in URL-safe base64.
const CLUSTER_ID: &str = "YmVja29uLXRlc3RzLTAwMQ";

/// A running broker. Dropping it kills it and removes its log directory; so does the end of the test process,
/// however that ends.
pub struct Broker {
    bootstrap: String,
    /// `None` for the broker of `KAFKA_BOOTSTRAP`, which is not ours to start or stop.
    node: Option<Node>,
}

/// What is needed to start our own broker, and again on the same ports and log directory.
struct Node {
    java: PathBuf,
    jars: PathBuf,
    /// Before `directory`, and so dropped before it: nothing writes there any more when it is removed.
    process: Option<Leashed>,
    directory: TempDir,
}

impl Broker {
    /// A broker: `KAFKA_BOOTSTRAP`'s where that is set, else one of this caller's own.
    pub fn start() -> Result<Broker, Skip> {
        match bootstrap_from_environment() {
            Some(bootstrap) => Ok(Broker { bootstrap, node: None }),
            None => Broker::start_own(),
        }
    }

    /// A broker of this caller's own, which it may stop, kill and restart. A `Skip` where `KAFKA_BOOTSTRAP` is set.
    pub fn start_own() -> Result<Broker, Skip> {
        Broker::start_own_in(&jars::kafka_dir().join("run"))
    }

    /// The same for benches, whose log is in memory where the system has a folder there: a broker would have another disk than the service. On
    /// the service's, the kernel writes half a minute of the log at once, and whoever syncs meanwhile waits.
    pub fn start_own_in_memory() -> Result<Broker, Skip> {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Broker::start_own_in(&memory.join("beckon-bench")) } else { Broker::start_own() }
    }

    /// The same, whose log is in a folder of its own in `runs`, made if there is none.
    fn start_own_in(runs: &Path) -> Result<Broker, Skip> {
        if let Some(bootstrap) = bootstrap_from_environment() {
            return Err(Skip::because(not_ours(&bootstrap)));
        }
        let java = jars::java()?;
        let jars = jars::jars()?;
        let mut tried = 1;
        loop {
            match start_on_free_ports(&java, &jars, runs) {
                Ok(broker) => return Ok(broker),
                Err(error) if tried == START_TRIES_MAX || !port_was_taken(&error) => panic!("{error:#}"),
                Err(_) => tried += 1,
            }
        }
    }

    /// The one broker that all tests of this binary share. They keep apart by `topic_name`.
    pub fn shared() -> Result<&'static Broker, Skip> {
        static SHARED: OnceLock<Result<Broker, Skip>> = OnceLock::new();
        SHARED.get_or_init(Broker::start).as_ref().map_err(Skip::clone)
    }

    /// The address for `bootstrap.servers`: `host:port`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A topic name that no other test, binary or run uses: `name`, made unique.
    pub fn topic_name(&self, name: &str) -> String {
        static TAKEN: AtomicU32 = AtomicU32::new(0);
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        let run: u32 = rand::random();
        format!("{name}.{run:08x}.{taken}")
    }

    /// Shuts the broker down cleanly (SIGTERM) and waits for its end. Without effect on one that has ended.
    pub fn stop(&mut self) -> Result<()> {
        self.own_node()?.process.take().map_or(Ok(()), Leashed::stop)
    }

    /// Kills the broker (SIGKILL) and waits for its end. Without effect on one that has ended.
    pub fn kill(&mut self) -> Result<()> {
        self.own_node()?.process.take().map_or(Ok(()), Leashed::kill)
    }

    /// Starts the broker again, on its own port and log directory, after `stop` or `kill`; one that still runs is
    /// stopped first. Waits until it answers.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let bootstrap = self.bootstrap.clone();
        let node = self.own_node()?;
        node.run(&bootstrap)
    }

    fn own_node(&mut self) -> Result<&mut Node> {
        self.node.as_mut().ok_or_else(|| anyhow!(not_ours(&self.bootstrap)))
    }
}

impl Node {
    /// Starts the Java process and waits until it answers at `bootstrap`.
    fn run(&mut self, bootstrap: &str) -> Result<()> {
        let directory = self.directory.path();
        let log_path = directory.join("broker.log");
        let log = File::options().create(true).append(true).open(&log_path)?;
        let args = [
            "-Xmx512m".into(),
            "-XX:+UseSerialGC".into(),
            "-XX:TieredStopAtLevel=1".into(),
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".into(),
            "-Dorg.slf4j.simpleLogger.showDateTime=true".into(),
            "-cp".into(),
            self.jars.join("*"),
            "kafka.Kafka".into(),
            directory.join("server.properties"),
        ];
        let process = self.process.insert(Leashed::run(&self.java, &args, directory, log)?);
        wait_until_it_answers(process, bootstrap).with_context(|| {
            let said = fs::read_to_string(&log_path).unwrap_or_default();
            format!("Apache Kafka did not start; it said:\n{}", last_lines(&said, 200))
        })
    }
}

fn bootstrap_from_environment() -> Option<String> {
    std::env::var("KAFKA_BOOTSTRAP").ok().filter(|address| !address.is_empty())
}

fn not_ours(bootstrap: &str) -> String {
    format!(
        "KAFKA_BOOTSTRAP names {bootstrap}, a broker that these tests did not start and so may not stop, kill or \
         restart; unset it for a test that does"
    )
}

fn start_on_free_ports(java: &Path, jars: &Path, runs: &Path) -> Result<Broker> {
    fs::create_dir_all(runs)?;
    let directory = TempDir::new_in(runs)?;
    let (port, controller_port) = free_ports()?;
    let properties = directory.path().join("server.properties");
    fs::write(&properties, server_properties(port, controller_port, &directory.path().join("log")))?;
    format_storage(java, jars, &properties)?;
    let mut node = Node { java: java.to_owned(), jars: jars.to_owned(), directory, process: None };
    let bootstrap = format!("127.0.0.1:{port}");
    node.run(&bootstrap)?;
    Ok(Broker { bootstrap, node: Some(node) })
}

/// Two different ports on which nothing listens now.
fn free_ports() -> Result<(u16, u16)> {
    let mut held = Vec::new(); // both at once, or they might be the same
    for _ in 0..1_000 {
        let port = rand::random_range(PORTS);
        held.extend(TcpListener::bind(("127.0.0.1", port)));
        if let [first, second] = &held[..] {
            return Ok((first.local_addr()?.port(), second.local_addr()?.port()));
        }
    }
    bail!("no two free ports in {PORTS:?} on 127.0.0.1")
}

/// One node that is broker and controller, small, and quick to start. Records keep whatever time they carry: tests
/// write times of any year, so nothing may be refused or deleted for its age. A killed broker is admitted again only
/// once its old session is over, so that is short.
fn server_properties(port: u16, controller_port: u16, log_dir: &Path) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={}
auto.create.topics.enable=false
message.max.bytes={}
log.retention.ms=-1
log.message.timestamp.after.max.ms={}
log.cleaner.dedupe.buffer.size=8388608
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
",
        log_dir.display(),
        topics::MESSAGE_BYTES_MAX,
        i64::MAX,
    )
}

fn format_storage(java: &Path, jars: &Path, properties: &Path) -> Result<()> {
    let formatted = Command::new(java)
        .args(["-XX:TieredStopAtLevel=1", "-cp"])
        .arg(jars.join("*"))
        .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
        .arg(properties)
        .stdin(Stdio::null())
        .output()
        .context("java does not run")?;
    if !formatted.status.success() {
        let said = [formatted.stdout, formatted.stderr].concat();
        bail!("Kafka's storage can't be formatted:\n{}", last_lines(&String::from_utf8_lossy(&said), 40));
    }
    Ok(())
}

/// Waits until the broker lists itself, which it does once the controller has admitted it.
fn wait_until_it_answers(process: &mut Leashed, bootstrap: &str) -> Result<()> {
    let client: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "200")
        .set("log_level", "0") // a refused connection is what is waited through
        .create()?;
    let deadline = Instant::now() + START_WAIT_MAX;
    loop {
        if let Some(status) = process.ended()? {
            bail!("the process ended with {status}");
        }
        if let Ok(metadata) = client.client().fetch_metadata(None, Duration::from_millis(500))
            && !metadata.brokers().is_empty()
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("no answer at {bootstrap} in {START_WAIT_MAX:?}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn port_was_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("Address already in use")
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
