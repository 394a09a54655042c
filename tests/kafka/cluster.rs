//! A cluster on a real broker: it decides like a replay, under its supervisor; it stops as one; and a process that stands still is
//! noticed by the others.

use std::time::Duration;

use beckon_datagen::esp::{Esp, EspConfig};

use crate::broker::Broker;
use crate::service::{self, Running};

/// More than the watchdog of this test waits.
const BARKS_WITHIN: Duration = Duration::from_secs(20);

/// See the module.
pub fn a_cluster_decides_like_a_replay(broker: &Broker) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let esp = runtime.block_on(Esp::start(EspConfig::default())).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let events = service::shop_of_this_morning();
    let prefix = service::produce(broker, &events);
    service::configure(path, broker, &prefix, &esp);
    let config = std::fs::read_to_string(path.join("beckon.toml")).unwrap();
    std::fs::write(path.join("beckon.toml"), format!("watchdog_after = \"3s\"\n{config}")).unwrap();
    let expected = service::replayed(path, &events);
    let log = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();

    let running = service::start_supervised(path, 2);
    service::wait_until_quiet(&esp, 1);
    assert!(running.interrupt().success(), "{}", log("run.log"));
    let ids: Vec<_> = expected.iter().map(|line| crate::decision_id(line)).collect();
    let (decided, accepted, withdrawn, others) = service::ledger(path, &ids);
    assert_eq!(decided, expected);
    let sends = expected.iter().filter(|line| line.contains(r#""outcome":"send""#)).count() as u64;
    assert!(sends > 10, "{sends} sends are too few to prove anything");
    assert_eq!((accepted + withdrawn, others), (sends, 0));
    assert_eq!((esp.seen().distinct_keys, esp.seen().keys_accepted_more_than_once), (accepted, 0));

    // The last is asked, and all stop.
    let running = service::start_cluster(path, 3, 1);
    std::thread::sleep(service::QUIET);
    assert!(running.interrupt().success(), "{}{}{}", log("run-0.log"), log("run-1.log"), log("run-2.log"));
    assert_eq!(esp.seen().distinct_keys, accepted, "another number of processes sends nothing again");

    let mut running = service::start_cluster(path, 2, 1);
    std::thread::sleep(service::QUIET / 2);
    running.signal(1, "STOP");
    let status = running.ended_within(0, BARKS_WITHIN).expect("the first process notices that the second stands still");
    assert_eq!(status.code(), Some(1), "{}", log("run-0.log"));
    let said = log("run-0.log");
    assert!(said.contains("worker 0 of process 1 has not been seen for ") && said.contains("(at 127.0.0.1:"), "{said}");
    running.signal(1, "CONT");
    let status = running.ended_within(1, BARKS_WITHIN).expect("the second notices that the first is gone");
    assert_eq!(status.code(), Some(1), "{}", log("run-1.log"));
    drop::<Running>(running);
    runtime.block_on(esp.stop());
}
