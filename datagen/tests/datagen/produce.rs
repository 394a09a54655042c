//! Producing, against librdkafka's mock cluster.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use beckon_datagen::produce::{Pace, ProduceError, Progress, produce};
use beckon_datagen::shop::{FaultShares, Mix, Shop, ShopConfig};
use beckon_datagen::{Event, STREAMS};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::{ClientConfig, Message};

/// Every reading starts from the beginning, with a group of its own.
static GROUPS: AtomicU32 = AtomicU32::new(0);

type Records = BTreeMap<String, Vec<(Vec<u8>, Vec<u8>)>>;

fn bench(records: Option<u64>, records_per_second: f64) -> Shop {
    let (faults, mix) = (FaultShares::NONE, Mix::Bench);
    Shop::new(ShopConfig { mix, records, records_per_second, faults, customers: 50, skus: 20, ..ShopConfig::default() })
}

/// Reads `count` records from the topics of all streams.
fn consume(brokers: &str, count: usize) -> Records {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", format!("test-{}", GROUPS.fetch_add(1, Ordering::Relaxed)))
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&STREAMS).unwrap();
    let mut records = Records::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while records.values().map(Vec::len).sum::<usize>() < count {
        assert!(Instant::now() < deadline, "only {} of {count} records", records.values().map(Vec::len).sum::<usize>());
        // A topic that nothing was produced to is not there, which is said as an error.
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let part = |part: Option<&[u8]>| part.unwrap_or_default().to_vec();
            records.entry(message.topic().to_owned()).or_default().push((part(message.key()), part(message.payload())));
        }
    }
    records
}

#[test]
fn every_event_arrives_on_its_topic_under_its_key() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let events: Vec<Event> = bench(Some(2_000), 10_000.0).collect();
    let progress = Arc::new(Progress::default());
    produce(&brokers, events.clone(), Pace::Unpaced, &AtomicBool::new(false), &progress).unwrap();
    assert_eq!(progress.said_total(), events.len() as u64);
    assert_eq!(progress.acknowledged.load(Ordering::Relaxed), events.len() as u64);

    let mut expected = Records::new();
    for event in events {
        expected.entry(event.stream.to_owned()).or_default().push((event.key.into_bytes(), event.json));
    }
    let mut arrived = consume(&brokers, progress.said_total() as usize);
    // Partitions are read in any order.
    expected.values_mut().chain(arrived.values_mut()).for_each(|records| records.sort());
    assert_eq!(arrived, expected);
}

#[test]
fn the_pace_is_kept_and_the_flag_stops_it() {
    let cluster = MockCluster::new(1).unwrap();
    let progress = Arc::new(Progress::default());
    let stop = AtomicBool::new(false);
    let brokers = cluster.bootstrap_servers();
    let began = Instant::now();
    std::thread::scope(|scope| {
        // 100 records a virtual second, ten times as fast, for ever.
        let producing = scope.spawn(|| produce(&brokers, bench(None, 100.0), Pace::Speed(10.0), &stop, &progress));
        while progress.said_total() < 50 + 20 + 26 + 1_000 {
            assert!(began.elapsed() < Duration::from_secs(30), "stuck at {}", progress.said_total());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(began.elapsed() > Duration::from_millis(900), "too fast: {:?}", began.elapsed());
        stop.store(true, Ordering::Relaxed);
        producing.join().unwrap().unwrap();
    });
    assert_eq!(progress.acknowledged.load(Ordering::Relaxed), progress.said_total());
}

#[test]
fn brokers_that_are_not_there_are_named() {
    // Port 1 is nobody's.
    let result = produce("127.0.0.1:1", bench(Some(1), 1.0), Pace::Unpaced, &AtomicBool::new(false), &Arc::default());
    assert!(matches!(result, Err(ProduceError::Unreachable { .. })), "{result:?}");
    assert!(result.unwrap_err().to_string().contains("127.0.0.1:1"));
}

#[test]
fn ctrl_c_closes_a_live_shop_with_everything_acknowledged() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let arguments = ["shop", "--live", "--rate", "200", "--customers", "50", "--skus", "20", "--kafka", &brokers];
    let shop = Command::new(env!("CARGO_BIN_EXE_datagen"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    consume(&brokers, 50 + 20 + 26 + 200);
    let interrupted = Command::new("kill").args(["-INT", &shop.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let ended = shop.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let table = String::from_utf8(ended.stdout).unwrap();
    let row = |name: &str| {
        table.lines().find_map(|line| line.strip_prefix(name)).unwrap().split_whitespace().next().unwrap().to_owned()
    };
    let total: usize = row("total").replace(',', "").parse().unwrap();
    assert!(total >= 50 + 20 + 26 + 200, "{table}");
    assert_eq!(consume(&brokers, total).values().map(Vec::len).sum::<usize>(), total);
}
