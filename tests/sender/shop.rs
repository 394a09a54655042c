//! The sender as the service runs it, on a real ledger, with a state in which everything holds.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use beckon::config::Config;
use beckon::decision::{Decision, DecisionId, DeliveryState, Errand, Outcome, Payload};
use beckon::ledger::Ledger;
use beckon::pipeline::deliver::Sender;
use beckon::state::State;
use beckon_dataflows::model::{Change, Contact, Episode, Id, Namespace, Opening, Standing, Words};

use crate::world::AS_OF_MS;

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
        let words = Words { email: Some(&format!("u{number}@example.org")), ..Words::default() };
        let contact = Contact::new(Standing { known: true, consent: true, ..Standing::default() }, &words);
        state.apply(AS_OF_MS, Change::Contact(customer(number), contact), |_| "".into());
        for campaign in [0, 1] {
            let opening = Opening { episode: episode(campaign, number), currency: Id::NONE, lines: Arc::new([]) };
            state.apply(AS_OF_MS, Change::Entered(opening), |_| "".into());
        }
    }
    Arc::new(RwLock::new(state))
}

/// Records a decision to send for each of these customers.
pub fn record(ledger: &Ledger, campaign: &str, esp: &str, numbers: std::ops::Range<usize>) {
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
pub fn send_until(
    config: &Config,
    ledger: &Arc<Ledger>,
    customers: usize,
    accepted: u64,
) -> BTreeMap<DeliveryState, u64> {
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
