//! The ledger's mirror on a real broker: a service that lost its disk knows what it decided and sent, and sends nothing again.

use std::process::Command;

use beckon_datagen::esp::{Esp, EspConfig};

use crate::broker::Broker;
use crate::service;

/// See the module.
pub fn a_lost_disk_sends_nothing_again(broker: &Broker) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let esp = runtime.block_on(Esp::start(EspConfig::default())).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let prefix = service::produce(broker, &service::shop_of_this_morning());
    service::configure(directory.path(), broker, &prefix, &esp);
    let run = || {
        let running = service::start(directory.path(), 1);
        service::wait_until_quiet(&esp, 1);
        let log = || std::fs::read_to_string(directory.path().join("run.log")).unwrap();
        assert!(running.interrupt().success(), "{}", log());
        let decisions =
            Command::new(env!("CARGO_BIN_EXE_beckon")).arg("decisions").current_dir(directory.path()).output().unwrap();
        assert!(decisions.status.success(), "{}", String::from_utf8_lossy(&decisions.stderr));
        (decisions.stdout, log())
    };
    let (before, _) = run();
    let seen = esp.seen();
    assert!(seen.distinct_keys > 10, "{seen:?}: too few to prove anything");

    std::fs::remove_dir_all(directory.path().join("state")).unwrap();
    let (after, log) = run();
    assert!(log.contains("made again from its mirror"), "{log}");
    assert_eq!(String::from_utf8(after).unwrap(), String::from_utf8(before).unwrap());
    assert_eq!(esp.seen().requests, seen.requests, "nothing is sent again, not even with the same key");
    runtime.block_on(esp.stop());
}
