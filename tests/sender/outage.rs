//! An ESP that is down for an hour: what is decided meanwhile waits in the ledger, what is no longer true or too late by then is never
//! sent, and the rest goes out, the most important first, as soon as the ESP is back.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use beckon::decision::{self, DeliveryState};
use beckon_dataflows::model::Id;
use tokio::sync::mpsc;

use crate::esp::FakeEsp;
use crate::world::{AS_OF_MS, World, http, send};

const MINUTE_MS: u64 = 60_000;

/// When a third of the episodes ends, minutes after the ESP went down.
const ENDS_AT: u64 = 20;

/// When more is decided.
const MORE_AT: u64 = 40;

/// The `n`th send, decided `minute` minutes after the ESP went down.
fn ranked(n: u64, minute: u64, priority: i32) -> decision::Send {
    let send_within_ms = match n % 5 {
        0 => Some(15 * MINUTE_MS),
        1 => None,
        _ => Some(120 * MINUTE_MS),
    };
    let mut send = decision::Send { send_within_ms, priority, ..send(&format!("{minute:02}-{n:02}")) };
    send.episode.subject = Id(n);
    Arc::make_mut(&mut send.decision).as_of = AS_OF_MS + minute * MINUTE_MS + n;
    send
}

fn ends(n: u64) -> bool {
    n % 3 == 2
}

/// What has to become of the `n`th send.
fn expected(n: u64) -> DeliveryState {
    match (ends(n), n % 5) {
        (true, _) => DeliveryState::Withdrawn,
        (false, 0) => DeliveryState::Expired,
        (false, _) => DeliveryState::Accepted,
    }
}

#[tokio::test]
async fn after_an_hour_without_the_esp_only_what_still_holds_goes_out_the_most_important_first() {
    let mut world = World::new();
    (world.limits.concurrency, world.limits.queue_max, world.limits.backoff_cap_ms) = (2, 10, 50);
    let esp = FakeEsp::start([], world.events.clone()).await;
    esp.set_down(true);
    let before: Vec<_> = (0..60).map(|n| ranked(n, 0, (n % 4) as i32)).collect();
    let meanwhile: Vec<_> = (60..75).map(|n| ranked(n, MORE_AT, 9)).collect();
    let all: Vec<_> = before.iter().chain(&meanwhile).cloned().collect();
    let now_ms = world.now_ms.clone();
    *world.still_true.lock().unwrap() = Some(Box::new(move |episode| {
        !ends(episode.subject.0) || now_ms.load(Ordering::SeqCst) < AS_OF_MS + ENDS_AT * MINUTE_MS
    }));
    let (wake, woken) = mpsc::channel(1);
    world.record(&before);
    wake.send(()).await.unwrap();
    let hour = async {
        for minute in 0..=60 {
            world.now_ms.store(AS_OF_MS + minute * MINUTE_MS, Ordering::SeqCst);
            if minute == MORE_AT {
                world.record(&meanwhile);
                wake.send(()).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(8)).await;
        }
        let tried = world.events().iter().filter(|event| event.starts_with("turned away")).count();
        assert!(tried > 5, "it is looked whether the ESP is back");
        assert!(esp.requests().is_empty());
        esp.set_down(false);
        drop(wake);
    };
    let delivering = world.deliver_woken(http(&esp.base_url()), all.clone(), woken, std::future::pending());
    let (delivered, ()) = tokio::join!(delivering, hour);
    delivered.unwrap();

    for (n, send) in (0..).zip(&all) {
        assert_eq!(world.outcome(send).0, expected(n), "{}", send.decision.subject);
    }
    assert_eq!(world.owed(), 0);
    let events = world.events();
    let taken: Vec<&str> = events.iter().filter_map(|event| event.strip_prefix("request ")).collect();
    assert_eq!(taken.iter().collect::<HashSet<_>>().len(), taken.len(), "nothing twice");
    assert_eq!(taken.len(), (0..75).filter(|n| expected(*n) == DeliveryState::Accepted).count());
    let taken: Vec<&decision::Send> =
        taken.iter().map(|subject| all.iter().find(|send| *send.decision.subject == **subject).unwrap()).collect();
    // Which of two requests under way at a time comes first is not said, and who was tried in vain waits for its next attempt.
    let rank = |send: &decision::Send| (-send.priority, Reverse(send.decision.as_of));
    for (place, first) in taken.iter().enumerate() {
        let overtaken = taken[place + 1..].iter().skip(1).filter(|later| rank(later) < rank(first));
        for later in overtaken {
            assert!(world.outcome(later).1 > 1, "{} after {}", later.decision.subject, first.decision.subject);
        }
    }
}

/// How many come too late.
const OVERDUE: u64 = 2_000;

#[tokio::test]
async fn what_came_too_late_does_not_make_the_rest_late() {
    let mut world = World::new();
    (world.limits.concurrency, world.limits.queue_max) = (2, 10);
    let esp = FakeEsp::start([], world.events.clone()).await;
    // Ten minutes later, and what is overdue is of greater priority.
    world.now_ms.store(AS_OF_MS + 10 * MINUTE_MS, Ordering::SeqCst);
    let decided = |n: u64| if n < OVERDUE { 0 } else { 10 };
    let sends: Vec<_> = (0..OVERDUE + 20)
        .map(|n| decision::Send {
            send_within_ms: Some(5 * MINUTE_MS),
            ..ranked(n, decided(n), i32::from(n < OVERDUE))
        })
        .collect();
    world.deliver(http(&esp.base_url()), sends.clone()).await.unwrap();
    for (n, send) in (0..).zip(&sends) {
        let state = if n < OVERDUE { DeliveryState::Expired } else { DeliveryState::Accepted };
        assert_eq!(world.outcome(send).0, state, "{n}");
    }
    let events = world.events();
    let last_request = events.iter().rposition(|event| event.starts_with("request ")).unwrap();
    let before = events[..last_request].iter().filter(|event| event.starts_with("expired")).count() as u64;
    assert!(before < OVERDUE / 2, "{before} expired before the last was sent");
}

#[tokio::test]
async fn what_becomes_too_late_while_it_waits_is_settled_too() {
    let mut world = World::new();
    (world.limits.concurrency, world.limits.queue_max) = (1, 4);
    let esp = FakeEsp::start([], world.events.clone()).await;
    let now_ms = world.now_ms.clone();
    // Ten are asked about before all are late.
    *world.still_true.lock().unwrap() = Some(Box::new(move |_| {
        now_ms.fetch_add(MINUTE_MS / 2, Ordering::SeqCst);
        true
    }));
    let sends: Vec<_> =
        (0..200).map(|n| decision::Send { send_within_ms: Some(5 * MINUTE_MS), ..ranked(n, 0, 0) }).collect();
    world.deliver(http(&esp.base_url()), sends.clone()).await.unwrap();
    let states: Vec<DeliveryState> = sends.iter().map(|send| world.outcome(send).0).collect();
    let count = |state| states.iter().filter(|it| **it == state).count();
    assert!(count(DeliveryState::Accepted) > 0, "{states:?}");
    assert_eq!(count(DeliveryState::Accepted) + count(DeliveryState::Expired), 200, "{states:?}");
    assert_eq!(world.owed(), 0);
}
