//! Deliveries that an ESP's webhook settles, in a ledger.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use beckon::decision::{Decision, DecisionId, DeliveryRecord, DeliveryState, Errand, Outcome, Payload};
use beckon::ledger::Ledger;
use beckon::pipeline::told::ToldByEsps;
use beckon::web::webhooks::Deliveries;
use beckon_dataflows::model::Id;

const NOW_MS: u64 = 1_767_261_600_000;

fn send(subject: &str) -> (Decision, Option<Errand>) {
    let decision = Decision {
        decision_id: DecisionId::of("c", "u", subject, 1_000),
        campaign: "c".into(),
        customer_id: "u".into(),
        trigger: "cart_abandonment".into(),
        subject: subject.into(),
        anchor: 1_000,
        as_of: 2_000,
        outcome: Outcome::Send,
        reason: None,
        variant: None,
        payload: Payload::default(),
    };
    (decision, Some(Errand { customer: Id(1), subject: Id(2), currency: None, priority: 0, esp: None }))
}

fn at(state: DeliveryState, awaits_webhook: bool) -> DeliveryRecord {
    DeliveryRecord { attempts: 1, state, awaits_webhook, ambiguous_since_ms: Some(5), ..DeliveryRecord::pending(3_000) }
}

fn told(ledger: &Arc<Ledger>) -> (ToldByEsps, crossbeam_channel::Receiver<(DecisionId, u64)>) {
    let (accepting, accepted) = crossbeam_channel::unbounded();
    (ToldByEsps::new(ledger.clone(), Arc::new(|| NOW_MS), Some(accepting)), accepted)
}

#[tokio::test]
async fn a_delivery_that_waits_to_be_told_is_accepted_and_no_other_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::open(dir.path()).unwrap());
    let sends = ["waits", "repeats", "pending"].map(send);
    ledger.record(&sends).unwrap();
    let [waits, repeats, pending] = sends.each_ref().map(|(decision, _)| decision.decision_id);
    for (id, awaits_webhook) in [(waits, true), (repeats, false)] {
        ledger.advance(id, at(DeliveryState::InFlight, false)).await.unwrap();
        ledger.advance(id, at(DeliveryState::Unknown, awaits_webhook)).await.unwrap();
    }
    let (told, accepted) = told(&ledger);
    // Twice at a time, as two events of one mail come.
    let (one, other) = tokio::join!(told.taken(waits, "mailgun"), told.taken(waits, "mailgun"));
    assert_eq!((one, other), (Ok(()), Ok(())));
    for id in [repeats, pending, DecisionId(7), waits] {
        assert_eq!(told.taken(id, "mailgun").await, Ok(()));
    }
    let note = Some("told by a webhook of mailgun".to_owned());
    let settled =
        DeliveryRecord { since_ms: NOW_MS, note, ambiguous_since_ms: None, ..at(DeliveryState::Accepted, false) };
    assert_eq!(ledger.delivery(waits).unwrap(), Some(settled));
    assert_eq!(ledger.unanswered(u64::MAX).unwrap(), []);
    assert_eq!(ledger.delivery(repeats).unwrap().unwrap().state, DeliveryState::Unknown);
    assert_eq!(ledger.delivery(pending).unwrap().unwrap().state, DeliveryState::Pending);
    assert_eq!(accepted.try_iter().collect::<Vec<_>>(), [(waits, NOW_MS)]);
    assert_eq!((told.customer(waits), told.customer(DecisionId(7))), (Ok(Some("u".into())), Ok(None)));
}

#[tokio::test]
async fn what_an_esp_says_before_it_has_answered_is_believed_when_that_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::open(dir.path()).unwrap());
    let sends = ["answered", "never"].map(send);
    ledger.record(&sends).unwrap();
    let [answered, never] = sends.each_ref().map(|(decision, _)| decision.decision_id);
    for id in [answered, never] {
        ledger.advance(id, at(DeliveryState::InFlight, false)).await.unwrap();
    }
    let (told, _accepted) = told(&ledger);
    let order = Mutex::new(Vec::new());
    let settling = async {
        let settled = told.taken(answered, "ses").await;
        order.lock().unwrap().push("settled");
        settled
    };
    let answering = async {
        tokio::time::sleep(Duration::from_millis(250)).await;
        order.lock().unwrap().push("answered");
        ledger.advance(answered, at(DeliveryState::Unknown, true)).await.unwrap();
    };
    let (settled, ()) = tokio::join!(settling, answering);
    assert_eq!((settled, &*order.lock().unwrap()), (Ok(()), &["answered", "settled"].to_vec()));
    assert_eq!(ledger.delivery(answered).unwrap().unwrap().state, DeliveryState::Accepted);
    // The ESP is asked to say it again, once somebody knows.
    assert!(told.taken(never, "ses").await.unwrap_err().contains("still under way"));
}
