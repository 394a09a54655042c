//! Several ESPs at once, as the service runs them: a dead one slows no other, and mails follow their campaigns.

use std::path::Path;
use std::sync::Arc;

use beckon::config::{Config, Purpose};
use beckon::decision::DeliveryState;
use beckon::ledger::Ledger;

use crate::esp::{FakeEsp, nobody};
use crate::shop::{record, send_until};

/// Two campaigns, `a` and `b`; the ESPs are where it is said.
fn config(folder: &Path, a: &str, b: &str, esps: &[(&str, &str)]) -> Config {
    for part in ["subject", "html", "txt"] {
        std::fs::create_dir_all(folder.join("templates")).unwrap();
        std::fs::write(folder.join(format!("templates/t.{part}.hbs")), "Hello").unwrap();
    }
    let campaign = |name, esp| {
        format!("[[campaign]]\nname = '{name}'\ntrigger = 'welcome'\nafter = '0s'\ntemplate = 't'\nesp = '{esp}'\n")
    };
    let esp = |(name, url): &(&str, &str)| {
        format!(
            "[esp.{name}]\nkind = 'http'\nbase_url = '{url}'\nfrom = '{name}@example.com'\nrequests_per_second = 1000\n"
        )
    };
    let esps: String = esps.iter().map(esp).collect();
    let text = format!("[kafka]\nbrokers = 'k:1'\n{}{}{esps}", campaign("a", a), campaign("b", b));
    Config::parse(&folder.join("beckon.toml"), &text, Purpose::Run).unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn a_dead_esp_slows_no_other_and_what_it_owes_follows_the_campaign() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (alive, dead) = runtime.block_on(async { (FakeEsp::start([], Arc::default()).await, nobody().await) });
    let (alive_url, dead_url) = (alive.base_url(), format!("http://{dead}"));
    let folder = tempfile::tempdir().unwrap();
    // More than is held in hand is owed by the dead one, and all of it is older.
    let both = config(folder.path(), "dead", "alive", &[("dead", &dead_url), ("alive", &alive_url)]);
    let ledger = Arc::new(Ledger::open(&both.state).unwrap());
    record(&ledger, "a", "dead", 0..1_500);
    record(&ledger, "b", "alive", 0..50);
    let counts = send_until(&both, &ledger, 1_500, 50);
    assert_eq!((counts.values().sum::<u64>(), counts[&DeliveryState::Accepted]), (1_550, 50));
    assert!(alive.requests().iter().all(|request| request["body"]["from"]["email"] == "alive@example.com"));

    let one = config(folder.path(), "alive", "alive", &[("alive", &alive_url)]);
    let counts = send_until(&one, &ledger, 1_500, 1_550);
    assert_eq!(counts, [(DeliveryState::Accepted, 1_550)].into());
}
