//! `beckon run` with snapshots: a restart reads only what came after, and decides like a replay of all that the topics hold; one that
//! is damaged, or of another configuration, is refused with its reason, and then all of it is read. So with a cluster, in which one process is
//! killed and the others end.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use beckon_datagen::Event;
use beckon_datagen::esp::EspHandle;

use crate::broker::Broker;
use crate::decision_id;
use crate::service;

/// How long a snapshot may take to be there.
const DEADLINE: Duration = Duration::from_secs(60);

/// See the module.
pub fn a_restart_reads_what_came_after_the_snapshot(broker: &Broker) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let esp = runtime.block_on(service::moody_esp());
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut events = service::shop_of_this_morning();
    let later = events.split_off(events.len() / 2);
    let prefix = open(directory, broker, &events, &esp);

    let running = service::start(directory, 2);
    service::wait_until_quiet(&esp, 1);
    assert!(!snapshots(directory).is_empty(), "{}", log(directory));
    drop(running); // killed

    service::produce_to(broker, &prefix, &later);
    let read = run_to_the_end(directory, &esp, 1);
    let since = "going on from the snapshot of";
    assert!(log(directory).contains(since), "{}", log(directory));
    assert!(read < (later.len() + events.len() / 10) as u64, "{read} of {} + {}", events.len(), later.len());
    let seen = esp.seen();
    decides_like_a_replay(directory);

    for snapshot in snapshots(directory) {
        let mut bytes = fs::read(&snapshot).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(&snapshot, bytes).unwrap();
    }
    let read = run_to_the_end(directory, &esp, 1);
    let said = log(directory);
    assert!(said.contains("a snapshot is not used") && said.contains("is damaged"), "{said}");
    assert!(!said.contains(since), "{said}");
    assert_eq!(read, all(&events, &later));
    decides_like_a_replay(directory);
    assert_eq!(esp.seen().keys_accepted_more_than_once, 0);
    assert_eq!(esp.seen().distinct_keys, seen.distinct_keys, "what was decided before is not sent again");

    let config = fs::read_to_string(directory.join("beckon.toml")).unwrap();
    fs::write(directory.join("beckon.toml"), config.replace("after = \"30m\"", "after = \"31m\"")).unwrap();
    let running = service::start(directory, 1);
    let began = Instant::now();
    while !log(directory).contains("was taken under another configuration") {
        assert!(began.elapsed() < DEADLINE, "{}", log(directory));
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(running);
    runtime.block_on(esp.stop());
}

/// See the module.
pub fn a_cluster_goes_on_from_the_snapshot_of_all(broker: &Broker) {
    const SINCE: &str = "going on from the snapshot of";
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let esp = runtime.block_on(service::moody_esp());
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut events = service::shop_of_this_morning();
    let later = events.split_off(events.len() / 2);
    let prefix = open(directory, broker, &events, &esp);
    let log = |process: usize| fs::read_to_string(directory.join(format!("run-{process}.log"))).unwrap_or_default();

    let mut running = service::start_cluster(directory, 2, 1);
    service::wait_until_quiet(&esp, 1);
    running.signal(1, "KILL");
    assert!(running.ended_within(0, DEADLINE).is_some(), "{}", log(0));
    drop(running);
    service::produce_to(broker, &prefix, &later);
    let running = service::start_cluster(directory, 2, 1);
    service::wait_until_quiet(&esp, 1);
    let said = [0, 1].map(|process| log(process).lines().find(|line| line.contains(SINCE)).map(str::to_owned));
    assert!(said[0].is_some() && said[0] == said[1], "{said:?}");
    assert!(running.interrupt().success(), "{}", log(0));
    decides_like_a_replay(directory);

    // One process alone has lost its snapshots: then none has any.
    for snapshot in fs::read_dir(directory.join("state/snapshots-1")).unwrap() {
        fs::remove_file(snapshot.unwrap().path()).unwrap();
    }
    let running = service::start_cluster(directory, 2, 1);
    service::wait_until_quiet(&esp, 1);
    assert!([0, 1].iter().all(|process| !log(*process).contains(SINCE)), "{}", log(0));
    assert!(log(0).contains("no snapshot is used"), "{}", log(0));
    assert!(running.interrupt().success(), "{}", log(0));
    decides_like_a_replay(directory);
    assert_eq!(esp.seen().keys_accepted_more_than_once, 0);
    runtime.block_on(esp.stop());
}

/// Has the events in topics, of this prefix, and a service configured for them that takes a snapshot of every second.
fn open(directory: &Path, broker: &Broker, events: &[Event], esp: &EspHandle) -> String {
    let prefix = service::produce(broker, events);
    service::configure(directory, broker, &prefix, esp);
    let config = fs::read_to_string(directory.join("beckon.toml")).unwrap();
    fs::write(directory.join("beckon.toml"), format!("snapshot_every = \"1s\"\n{config}")).unwrap();
    prefix
}

/// Runs the service until nothing happens any more, and returns how many records it has read.
fn run_to_the_end(directory: &Path, esp: &EspHandle, workers: usize) -> u64 {
    let running = service::start(directory, workers);
    service::wait_until_quiet(esp, 1);
    assert!(running.interrupt().success(), "{}", log(directory));
    let said = log(directory);
    let read = said.lines().find_map(|line| line.strip_prefix("stopped after ")?.split(' ').next()?.parse().ok());
    read.unwrap_or_else(|| panic!("it does not say how much it read: {said}"))
}

/// What has come due by now. The later half of the shop came late, so its deadlines are still to come.
fn decides_like_a_replay(directory: &Path) {
    let now = jiff::Timestamp::now();
    let is_due = |line: &String| {
        let decision: serde_json::Value = serde_json::from_str(line).unwrap();
        decision["as_of"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap() < now
    };
    let expected: BTreeSet<String> = service::replayed_from_kafka(directory).into_iter().filter(is_due).collect();
    let ids: Vec<_> = expected.iter().map(|line| decision_id(line)).collect();
    assert!(ids.len() > 20, "{} decisions are too few to prove anything", ids.len());
    let decided = service::ledger(directory, &ids).0;
    let differs: Vec<_> = decided.symmetric_difference(&expected).collect();
    assert!(differs.is_empty(), "{differs:#?}");
}

fn all(events: &[Event], later: &[Event]) -> u64 {
    (events.len() + later.len()) as u64
}

fn snapshots(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory.join("state/snapshots")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "snapshot")).collect()
}

fn log(directory: &Path) -> String {
    fs::read_to_string(directory.join("run.log")).unwrap_or_default()
}
