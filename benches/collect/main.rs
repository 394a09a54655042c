//! What taking messages in costs: `beckon ingest` on a real Apache Kafka, over loopback, under the load of oha. In: `--seconds N`,
//! `--connections N`, `--batches N,N`. Out: a line for each size of batch: records a second, how long the acknowledgement takes, and what it costs
//! the collector. Fails where a request is refused, or Kafka has less than was acknowledged.
//!
//! ```sh
//! cargo install oha
//! cargo bench --bench collect
//! ```

#[path = "../../tests/kafka/broker.rs"]
mod broker;
#[path = "../replay/cost.rs"]
#[allow(dead_code)] // how long it took is for the load tool to say
mod cost;
mod load;
#[path = "../../tests/skip/mod.rs"]
mod skip;

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use broker::Broker;
use load::{Load, Loaded};

/// The write key.
const KEY: &str = "the-key-of-the-bench-0123456789";

/// Partitions of the topic.
const PARTITIONS: i32 = 3;

/// Broker and collector are warm after so long, s.
const WARM_UP_S: u32 = 5;

#[derive(Parser)]
struct Arguments {
    /// How long each size of batch is measured, s
    #[arg(long, default_value_t = 15)]
    seconds: u32,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// Messages a batch, each of these
    #[arg(long, value_delimiter = ',', default_values_t = [1, 20, 100])]
    batches: Vec<u32>,
    /// Requests a second at most; as many as there can be unless set
    #[arg(long)]
    rate: Option<u32>,
    /// The load tool
    #[arg(long, default_value = "oha")]
    oha: String,
    /// Cargo says this to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let broker = Broker::start().map_err(|missing| anyhow::anyhow!(missing.reason))?;
    let folder = tempfile::tempdir()?;
    let topic = broker.topic_name("collect");
    for stream in ["clickstream", "profiles"] {
        broker.create_topic(&format!("{topic}.{stream}"), PARTITIONS)?;
    }
    let (collector, url) = Collector::start(folder.path(), &broker, &topic)?;
    let load = Load {
        oha: &arguments.oha,
        url: &url,
        key: KEY,
        folder: folder.path(),
        connections: arguments.connections,
        rate: arguments.rate,
    };
    load.run(WARM_UP_S, 20).context("the warm-up")?;
    println!("messages a batch | records/s | requests/s | p50 ms | p99 ms | CPU µs a record");
    for batch in arguments.batches {
        let (before, cpu_before_s) = (stored(&broker, &topic)?, collector.cpu_s()?);
        let Loaded { requests, requests_s, p50_ms, p99_ms } = load.run(arguments.seconds, batch)?;
        let acknowledged = requests * u64::from(batch);
        let written = stored(&broker, &topic)? - before;
        ensure!(written >= acknowledged, "Kafka has {written} of {acknowledged} acknowledged records");
        let each_us = (collector.cpu_s()? - cpu_before_s) * 1e6 / written as f64;
        let records_s = requests_s * f64::from(batch);
        println!(
            "{batch:>16} | {records_s:>9.0} | {requests_s:>10.0} | {p50_ms:>6.1} | {p99_ms:>6.1} | {each_us:>15.1}"
        );
    }
    Ok(())
}

/// How many records the clickstream has.
fn stored(broker: &Broker, topic: &str) -> Result<u64> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create()?;
    let high =
        |partition| consumer.fetch_watermarks(&format!("{topic}.clickstream"), partition, Duration::from_secs(10));
    (0..PARTITIONS).map(|partition| Ok(high(partition)?.1 as u64)).sum()
}

/// A running `beckon ingest`, which ends with this.
struct Collector(Child);

impl Collector {
    fn start(folder: &Path, broker: &Broker, topic: &str) -> Result<(Collector, String)> {
        // A port that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let brokers = broker.bootstrap();
        let config = format!(
            "[kafka]\nbrokers = \"{brokers}\"\ntopics = {{ clickstream = \"{topic}.clickstream\", profiles = \"{topic}.profiles\" }}\n\
             [web]\nlisten = \"{address}\"\n[collect]\n[[collect.key]]\nname = \"bench\"\nsecret_file = \"key\"\n"
        );
        std::fs::write(folder.join("beckon.toml"), config)?;
        std::fs::write(folder.join("key"), KEY)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_beckon"));
        command.arg("ingest").current_dir(folder).stdin(Stdio::null()).stderr(File::create(folder.join("log"))?);
        let collector = Collector(command.spawn().context("beckon does not run")?);
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            ensure!(began.elapsed() < Duration::from_secs(20), "the collector does not answer: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok((collector, format!("http://{address}/v1/batch")))
    }

    /// The CPU time that it took so far, s.
    fn cpu_s(&self) -> Result<f64> {
        Ok(cost::of_process(&self.0.id().to_string())?.cpu_s())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
