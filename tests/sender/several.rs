//! Several ESPs at once, as the service runs them: a dead one slows no other, and mails follow their campaigns.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use beckon::config::{Config, Purpose};
use beckon::decision::{Decision, DecisionId, DeliveryState, Errand, Outcome, Payload};
use beckon::ledger::Ledger;
use beckon::pipeline::deliver::Sender;
use beckon::state::State;
use beckon_dataflows::model::{Change, Contact, Episode, Id, Namespace, Opening};

use crate::esp::{FakeEsp, nobody};
use crate::world::AS_OF_MS;

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

fn customer(number: usize) -> Id {
    Id::of(Namespace::User, &format!("u{number}")).0
}

fn episode(campaign: u16, number: usize) -> Episode {
    Episode { campaign, customer: customer(number), subject: customer(number), anchor: AS_OF_MS }
}

/// A state in which both campaigns hold for so many customers.
fn state(customers: usize) -> Arc<RwLock<State>> {
    let mut state = State::default();
    for number in 0..customers {
        let email = Some(format!("u{number}@example.org"));
        let contact = Contact { known: true, consent: true, email, ..Contact::default() };
        state.apply(AS_OF_MS, Change::Contact(customer(number), Arc::new(contact)), |_| "".into());
        for campaign in [0, 1] {
            let opening = Opening { episode: episode(campaign, number), currency: Id::NONE, lines: Arc::new([]) };
            state.apply(AS_OF_MS, Change::Entered(opening), |_| "".into());
        }
    }
    Arc::new(RwLock::new(state))
}

fn record(ledger: &Ledger, campaign: &str, esp: &str, numbers: std::ops::Range<usize>) {
    let entry = |number: usize| {
        let name = format!("u{number}");
        let decision = Decision {
            decision_id: DecisionId::of(campaign, &name, &name, AS_OF_MS),
            campaign: campaign.into(),
            customer_id: name.as_str().into(),
            trigger: "welcome".into(),
            subject: name.as_str().into(),
            anchor: AS_OF_MS,
            as_of: AS_OF_MS,
            outcome: Outcome::Send,
            reason: None,
            variant: None,
            payload: Payload::default(),
        };
        let (customer, subject) = (customer(number), customer(number));
        (decision, Some(Errand { customer, subject, currency: None, priority: 0, esp: Some(esp.into()) }))
    };
    ledger.record(&numbers.map(entry).collect::<Vec<_>>()).unwrap();
}

/// Sends until the ledger has so many that were accepted. Returns how many are in each state.
fn send_until(config: &Config, ledger: &Arc<Ledger>, customers: usize, accepted: u64) -> BTreeMap<DeliveryState, u64> {
    let ended = Arc::new(AtomicBool::new(false));
    let (sender, wake) = Sender::start(config, ledger.clone(), state(customers), Arc::new(|| AS_OF_MS), ended).unwrap();
    wake.blocking_send(()).unwrap();
    let began = Instant::now();
    let counts = || ledger.counts().unwrap().deliveries;
    while counts().get(&DeliveryState::Accepted).copied().unwrap_or_default() < accepted {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", counts());
        std::thread::sleep(Duration::from_millis(5));
    }
    sender.stop().unwrap();
    counts()
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
