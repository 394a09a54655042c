//! Tests against a real Apache Kafka. `broker` starts it, or skips them where Java or Maven is missing.
#![cfg(unix)] // the broker is watched over by a shell script

#[path = "kafka/broker.rs"]
mod broker;
#[path = "kafka/chaos.rs"]
mod chaos;
#[path = "kafka/cluster.rs"]
mod cluster;
#[path = "kafka/collect.rs"]
mod collect;
#[path = "kafka/disk_full.rs"]
mod disk_full;
mod fetched;
mod hosts;
#[path = "kafka/load.rs"]
mod load;
#[path = "kafka/mirror.rs"]
mod mirror;
#[path = "kafka/segment.rs"]
mod segment;
#[path = "kafka/service.rs"]
mod service;
mod skip;
#[path = "kafka/snapshots.rs"]
mod snapshots;
#[path = "kafka/source.rs"]
mod source;
#[path = "kafka/timeline.rs"]
mod timeline;
#[path = "kafka/unsubscribe.rs"]
mod unsubscribe;
#[path = "kafka/webhook.rs"]
mod webhook;

use std::collections::{HashMap, HashSet};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use broker::{Broker, StoredRecord};
use chaos::Chaos;
use segment::Library;
use skip::or_skip;

/// `count` lines over 50 keys, each naming its key and its number.
fn numbered_lines(count: usize) -> Vec<(String, String)> {
    (0..count).map(|number| (format!("key-{}", number % 50), format!("line {number}"))).collect()
}

/// Asserts that `read` is exactly `lines`: each where it was acknowledged, and offsets from 0 without a gap.
fn assert_all_read_back(lines: &[(String, String)], acknowledged: &[(i32, i64)], read: &[StoredRecord]) {
    assert_eq!(acknowledged.len(), lines.len());
    assert_eq!(read.len(), lines.len());
    let by_position: HashMap<_, _> = read.iter().map(|record| ((record.partition, record.offset), record)).collect();
    for ((key, line), position) in lines.iter().zip(acknowledged) {
        let record = by_position[position];
        assert_eq!(record.key.as_deref(), Some(key.as_bytes()));
        assert_eq!(record.payload.as_deref(), Some(line.as_bytes()));
    }
    let mut next_offset = HashMap::new();
    for record in read {
        let next = next_offset.entry(record.partition).or_insert(0);
        assert_eq!(record.offset, *next, "a gap in partition {}", record.partition);
        *next += 1;
    }
}

#[test]
fn acknowledged_records_are_read_back_from_every_partition() {
    let name = "acknowledged_records_are_read_back_from_every_partition";
    let Some(broker) = or_skip(name, Broker::shared()) else {
        return;
    };
    let topic = broker.topic_name("read-back");
    broker.create_topic(&topic, 3).unwrap();
    let lines = numbered_lines(1_000);

    let acknowledged = broker.produce(&topic, &lines).unwrap();

    let read = broker.read_all(&topic).unwrap();
    assert_all_read_back(&lines, &acknowledged, &read);
    let partitions: HashSet<_> = read.iter().map(|record| record.partition).collect();
    assert_eq!(partitions.len(), 3, "50 keys spread over all three partitions");
}

#[test]
fn an_empty_topic_reads_as_empty_and_an_unknown_one_as_an_error() {
    let name = "an_empty_topic_reads_as_empty_and_an_unknown_one_as_an_error";
    let Some(broker) = or_skip(name, Broker::shared()) else {
        return;
    };
    let topic = broker.topic_name("empty");
    broker.create_topic_with(&topic, 2, &[("cleanup.policy", "compact")]).unwrap();

    assert_eq!(broker.read_all(&topic).unwrap(), []);
    assert!(broker.read_all(&broker.topic_name("never-created")).is_err());
    assert!(broker.create_topic(&topic, 2).is_err(), "it exists already");
}

#[test]
fn a_killed_broker_keeps_what_it_acknowledged() {
    let name = "a_killed_broker_keeps_what_it_acknowledged";
    let Some(mut broker) = or_skip(name, Broker::start_own()) else {
        return;
    };
    broker.create_topic("orders", 3).unwrap();
    let lines = numbered_lines(1_000);
    let (before, after) = lines.split_at(700);
    let mut acknowledged = broker.produce("orders", before).unwrap();

    broker.kill().unwrap();
    broker.restart().unwrap();

    assert_all_read_back(before, &acknowledged, &broker.read_all("orders").unwrap());
    acknowledged.extend(broker.produce("orders", after).unwrap());
    broker.stop().unwrap();
    broker.restart().unwrap();
    assert_all_read_back(&lines, &acknowledged, &broker.read_all("orders").unwrap());
}

/// The shared broker is never dropped, and a test may be killed: `leash.sh` must see either.
#[test]
fn a_broker_ends_with_its_test_and_leaves_no_files() {
    let directory = tempfile::tempdir().unwrap().keep();
    let mut broker = Command::new("sh")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/leash.sh"))
        .arg(&directory)
        .args(["sleep", "600"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();

    drop(broker.stdin.take()); // all that the system does for a test that was killed

    let status = broker.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "{status}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while directory.exists() {
        assert!(Instant::now() < deadline, "{} is still there", directory.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The main job on a real broker: what is decided is what a replay of the same records decides; every send that still holds
/// reaches the ESP once, through its faults; and a restart sends nothing again.
#[test]
fn the_service_decides_like_a_replay_and_sends_once() {
    let name = "the_service_decides_like_a_replay_and_sends_once";
    let Some(broker) = or_skip(name, Broker::shared()) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let esp = runtime.block_on(service::moody_esp());
    let directory = tempfile::tempdir().unwrap();
    let events = service::shop_of_this_morning();
    let prefix = service::produce(broker, &events);
    service::configure(directory.path(), broker, &prefix, &esp);
    let expected = service::replayed(directory.path(), &events);
    assert_eq!(service::replayed_from_kafka(directory.path()), expected, "topics retain what files hold");
    let sends = expected.iter().filter(|line| line.contains(r#""outcome":"send""#)).count() as u64;
    assert!(sends > 10, "{sends} sends are too few to prove anything");

    let ids: Vec<_> = expected.iter().map(|line| decision_id(line)).collect();
    for (line, id) in expected.iter().zip(&ids).step_by(expected.len().div_ceil(3)) {
        let explanation = service::explained_from_kafka(directory.path(), *id);
        assert_eq!(explanation["decision"], serde_json::from_str::<serde_json::Value>(line).unwrap());
        assert_eq!(explanation["minimal"], true, "{explanation}");
        for told in explanation["records"].as_array().unwrap() {
            let produced = events.iter().filter(|event| told["stream"] == event.stream);
            let mut produced =
                produced.filter_map(|event| serde_json::from_slice::<serde_json::Value>(&event.json).ok());
            assert!(produced.any(|record| record == told["record"]), "{told} was never produced");
        }
    }
    // What is still between two attempts when the service is stopped is taken up when it is started again.
    let settled = (0..6).find_map(|_| {
        let running = service::start(directory.path(), 2);
        service::wait_until_quiet(&esp, 1);
        assert!(
            running.interrupt().success(),
            "{}",
            std::fs::read_to_string(directory.path().join("run.log")).unwrap()
        );
        Some(service::ledger(directory.path(), &ids)).filter(|(_, _, _, others)| *others == 0)
    });
    let (decided, accepted, withdrawn, _) = settled.expect("every send is settled within six starts");
    assert_eq!(decided, expected);
    assert_eq!(accepted + withdrawn, sends, "every send is accepted or withdrawn");
    let seen = esp.seen();
    assert_eq!((seen.distinct_keys, seen.keys_accepted_more_than_once), (accepted, 0), "{seen:?}");

    let again = service::start(directory.path(), 1);
    std::thread::sleep(service::QUIET);
    assert!(again.interrupt().success());
    assert_eq!(esp.seen().requests, seen.requests, "a restart sends nothing again");
    runtime.block_on(esp.stop());
}

#[test]
fn a_partition_has_ended_as_long_as_its_broker_says_so() {
    let name = "a_partition_has_ended_as_long_as_its_broker_says_so";
    if let Some(broker) = or_skip(name, Broker::start_own()) {
        source::a_partition_has_ended_as_long_as_its_broker_says_so(broker);
    }
}

#[test]
fn a_replay_of_the_topics_repeats_a_live_run_late_records_included() {
    let name = "a_replay_of_the_topics_repeats_a_live_run_late_records_included";
    if let Some(broker) = or_skip(name, Broker::shared()) {
        timeline::a_replay_of_the_topics_repeats_a_live_run(broker);
    }
}

#[test]
fn a_restart_reads_what_came_after_the_snapshot() {
    let name = "a_restart_reads_what_came_after_the_snapshot";
    if let Some(broker) = or_skip(name, Broker::shared()) {
        snapshots::a_restart_reads_what_came_after_the_snapshot(broker);
    }
}

#[test]
fn a_cluster_goes_on_from_the_snapshot_of_all() {
    if let Some(broker) = or_skip("a_cluster_goes_on_from_the_snapshot_of_all", Broker::shared()) {
        snapshots::a_cluster_goes_on_from_the_snapshot_of_all(broker);
    }
}

#[test]
fn a_service_that_lost_its_disk_sends_nothing_again() {
    let name = "a_service_that_lost_its_disk_sends_nothing_again";
    if let Some(broker) = or_skip(name, Broker::shared()) {
        mirror::a_lost_disk_sends_nothing_again(broker);
    }
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let name = "a_full_disk_is_said_and_loses_nothing";
    if let Some(broker) = or_skip(name, Broker::shared()) {
        disk_full::a_full_disk_loses_nothing(broker);
    }
}

#[test]
fn the_links_of_a_mail_lead_back_into_the_streams() {
    let name = "the_links_of_a_mail_lead_back_into_the_streams";
    if let Some(broker) = or_skip(name, Broker::shared()) {
        unsubscribe::a_mail_s_links_lead_back(broker);
    }
}

#[test]
fn what_an_esp_tells_by_webhook_settles_a_delivery() {
    let name = "what_an_esp_tells_by_webhook_settles_a_delivery";
    if let Some(broker) = or_skip(name, Broker::shared()) {
        webhook::what_an_esp_tells_settles_a_delivery(broker);
    }
}

#[test]
fn messages_of_segment_s_node_library_lead_to_a_decision() {
    let name = "messages_of_segment_s_node_library_lead_to_a_decision";
    if let (Some(broker), Some(library)) = (or_skip(name, Broker::shared()), or_skip(name, Library::node())) {
        collect::a_library_s_messages_lead_to_a_decision(broker, library);
    }
}

#[test]
fn messages_of_segment_s_python_library_lead_to_a_decision() {
    let name = "messages_of_segment_s_python_library_lead_to_a_decision";
    if let (Some(broker), Some(library)) = (or_skip(name, Broker::shared()), or_skip(name, Library::python())) {
        collect::a_library_s_messages_lead_to_a_decision(broker, library);
    }
}

#[test]
fn what_was_acknowledged_over_http_is_in_kafka_whoever_is_killed() {
    let name = "what_was_acknowledged_over_http_is_in_kafka_whoever_is_killed";
    if let Some(broker) = or_skip(name, Broker::start_own()) {
        collect::what_was_acknowledged_is_in_kafka(broker);
    }
}

#[test]
fn chaos_loses_nothing_and_sends_nothing_twice() {
    let name = "chaos_loses_nothing_and_sends_nothing_twice";
    if let Some(broker) = or_skip(name, Broker::start_own()) {
        chaos::what_is_sent_is_what_was_decided(broker, &Chaos::asked_for());
    }
}

#[test]
fn chaos_in_a_cluster_loses_nothing_and_sends_nothing_twice() {
    let name = "chaos_in_a_cluster_loses_nothing_and_sends_nothing_twice";
    if let Some(broker) = or_skip(name, Broker::start_own()) {
        chaos::what_is_sent_is_what_was_decided(broker, &Chaos::asked_for_a_cluster());
    }
}

#[test]
fn a_cluster_decides_like_a_replay_and_ends_whole() {
    let name = "a_cluster_decides_like_a_replay_and_ends_whole";
    if let Some(broker) = or_skip(name, Broker::shared()) {
        cluster::a_cluster_decides_like_a_replay(broker);
    }
}

#[test]
fn a_load_on_a_running_service_is_measured_from_outside() {
    let name = "a_load_on_a_running_service_is_measured_from_outside";
    if let Some(broker) = or_skip(name, Broker::start_own()) {
        load::a_load_is_measured(&broker);
    }
}

fn decision_id(line: &str) -> beckon::decision::DecisionId {
    let decision: serde_json::Value = serde_json::from_str(line).unwrap();
    decision["decision_id"].as_str().unwrap().parse().unwrap()
}
