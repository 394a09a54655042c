//! Which deliveries are made, when, and in what order; and what is left of them after a stop.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use beckon::decision::{self, DeliveryRecord, DeliveryState};
use beckon::sink::delivery::{Drained, Unsendable};

use crate::esp::{Answer, FakeEsp, nobody, says};
use crate::world::{AS_OF_MS, World, http, send, sendgrid};

async fn esp(world: &World) -> FakeEsp {
    FakeEsp::start([], world.events.clone()).await
}

#[tokio::test]
async fn what_left_the_trigger_set_is_withdrawn_without_a_request() {
    let world = World::new();
    let esp = esp(&world).await;
    *world.still_true.lock().unwrap() = Some(Box::new(|_| false));
    world.deliver(http(&esp.base_url()), vec![send("cart-9")]).await.unwrap();
    assert_eq!(world.events(), ["withdrawn 0"]);
    assert!(esp.requests().is_empty());
}

#[tokio::test]
async fn what_leaves_while_in_flight_is_being_written_is_withdrawn_all_the_same() {
    let world = World::new();
    let esp = esp(&world).await;
    let events = world.events.clone();
    *world.still_true.lock().unwrap() = Some(Box::new(move |_| events.lock().unwrap().is_empty()));
    let cart = send("cart-9");
    world.deliver(http(&esp.base_url()), vec![cart.clone()]).await.unwrap();
    assert_eq!(world.events(), ["in_flight 1", "pending 0", "withdrawn 0"]);
    assert!(esp.requests().is_empty());
    assert_eq!(world.outcome(&cart), (DeliveryState::Withdrawn, 0));
}

#[tokio::test]
async fn a_late_one_expires_and_one_without_a_limit_never_does() {
    let world = World::new();
    let esp = esp(&world).await;
    world.now_ms.store(AS_OF_MS + 60_001, Ordering::SeqCst);
    let late = send("late");
    let patient = decision::Send { send_within_ms: None, ..send("patient") };
    let just = decision::Send { send_within_ms: Some(60_001), ..send("just in time") };
    world.deliver(http(&esp.base_url()), vec![late.clone(), patient.clone(), just.clone()]).await.unwrap();
    assert_eq!(world.outcome(&late), (DeliveryState::Expired, 0));
    assert_eq!(world.outcome(&patient), (DeliveryState::Accepted, 1));
    assert_eq!(world.outcome(&just), (DeliveryState::Accepted, 1));
    assert_eq!(esp.requests().len(), 2);
}

#[tokio::test]
async fn one_that_was_throttled_too_long_expires() {
    let world = World::new();
    let esp = FakeEsp::start([says(503), says(503)], world.events.clone()).await;
    let (now_ms, events) = (world.now_ms.clone(), world.events.clone());
    *world.still_true.lock().unwrap() = Some(Box::new(move |_| {
        let requests = events.lock().unwrap().iter().filter(|event| event.starts_with("request")).count();
        now_ms.store(AS_OF_MS + 40_000 * requests as u64, Ordering::SeqCst);
        true
    }));
    let cart = send("cart-9");
    world.deliver(sendgrid(&esp.base_url()), vec![cart.clone()]).await.unwrap();
    assert_eq!(world.outcome(&cart), (DeliveryState::Expired, 2));
    assert_eq!(esp.requests().len(), 2);
}

#[tokio::test]
async fn nobody_to_send_to_withdraws_and_a_broken_template_refuses() {
    let cases = [
        (Unsendable::Unreachable("erased".into()), DeliveryState::Withdrawn),
        (Unsendable::Broken("no `nmae`".into()), DeliveryState::Refused),
    ];
    for (fault, state) in cases {
        let mut world = World::new();
        world.unsendable = Some(fault);
        let esp = esp(&world).await;
        let cart = send("cart-9");
        world.deliver(http(&esp.base_url()), vec![cart.clone()]).await.unwrap();
        assert_eq!(world.outcome(&cart), (state, 0));
        assert!(esp.requests().is_empty());
    }
}

#[tokio::test]
async fn higher_priority_goes_first_then_the_newer_decision() {
    let mut world = World::new();
    world.limits.concurrency = 1;
    let esp = esp(&world).await;
    let ranked = |subject: &str, priority, as_of| {
        let mut send = decision::Send { priority, ..send(subject) };
        Arc::make_mut(&mut send.decision).as_of = as_of;
        send
    };
    let sends = vec![
        ranked("low", 1, AS_OF_MS - 9),
        ranked("high, younger", 9, AS_OF_MS),
        ranked("lowest", -1, AS_OF_MS - 9),
        ranked("high, older", 9, AS_OF_MS - 5),
    ];
    world.deliver(http(&esp.base_url()), sends).await.unwrap();
    let order: Vec<_> =
        world.events().into_iter().filter_map(|event| event.strip_prefix("request ").map(String::from)).collect();
    assert_eq!(order, ["high, younger", "high, older", "low", "lowest"]);
}

#[tokio::test]
async fn the_rate_holds_for_all_requests_together() {
    let mut world = World::new();
    world.limits.requests_per_second = NonZeroU32::new(20).unwrap();
    let esp = FakeEsp::start([says(503), says(503)], world.events.clone()).await;
    let sends = (0..4).map(|n| send(&n.to_string())).collect();
    let started = Instant::now();
    world.deliver(http(&esp.base_url()), sends).await.unwrap();
    // Six requests: two at once, and each of the others 50 ms after the one before.
    assert_eq!(esp.requests().len(), 6);
    assert!(started.elapsed() >= Duration::from_millis(190), "{:?}", started.elapsed());
}

#[tokio::test]
async fn every_request_comes_after_its_durable_in_flight() {
    let world = World::new();
    let esp = FakeEsp::start((0..10).map(|n| says([202, 503, 500][n % 3])), world.events.clone()).await;
    let sends: Vec<_> = (0..20).map(|n| send(&n.to_string())).collect();
    world.deliver(http(&esp.base_url()), sends).await.unwrap();
    let (mut announced, mut made) = (0, 0);
    for event in world.events() {
        announced += usize::from(event.starts_with("in_flight"));
        made += usize::from(event.starts_with("request"));
        assert!(made <= announced, "a request before its in_flight: {:#?}", world.events());
    }
    assert_eq!((made, esp.requests().len()), (26, 26));
}

/// A process died around the request: the ledger has `in_flight`.
async fn after_a_crash(world: &World) -> decision::Send {
    let cart = send("cart-9");
    world.record(std::slice::from_ref(&cart));
    let in_flight = DeliveryRecord { state: DeliveryState::InFlight, attempts: 1, ..DeliveryRecord::pending(AS_OF_MS) };
    world.ledger.advance(cart.decision.decision_id, in_flight).await.unwrap();
    assert_eq!(world.owed(), 1);
    cart
}

#[tokio::test]
async fn after_a_crash_it_is_repeated_where_the_key_is_honoured_and_else_unknown() {
    let world = World::new();
    let esp = esp(&world).await;
    let cart = after_a_crash(&world).await;
    world.deliver_until(http(&esp.base_url()), vec![cart.clone()], std::future::pending()).await.unwrap();
    assert_eq!((world.outcome(&cart), esp.requests().len()), ((DeliveryState::Accepted, 2), 1));

    let world = World::new();
    let cart = after_a_crash(&world).await;
    world.deliver_until(sendgrid(&esp.base_url()), vec![cart.clone()], std::future::pending()).await.unwrap();
    assert_eq!((world.outcome(&cart), esp.requests().len()), ((DeliveryState::Unknown, 1), 1));
}

#[tokio::test]
async fn what_may_have_been_sent_is_never_called_withdrawn() {
    let world = World::new();
    let esp = esp(&world).await;
    let cart = after_a_crash(&world).await;
    *world.still_true.lock().unwrap() = Some(Box::new(|_| false));
    world.deliver_until(http(&esp.base_url()), vec![cart.clone()], std::future::pending()).await.unwrap();
    assert_eq!((world.outcome(&cart), esp.requests().len()), ((DeliveryState::Unknown, 1), 0));
}

#[tokio::test]
async fn an_unanswered_message_is_not_repeated_for_ever() {
    let mut world = World::new();
    world.limits.unknown_after_ms = 0;
    let esp = FakeEsp::start([says(500)], world.events.clone()).await;
    let cart = send("cart-9");
    world.deliver(http(&esp.base_url()), vec![cart.clone()]).await.unwrap();
    assert_eq!(world.outcome(&cart), (DeliveryState::Unknown, 1));
}

/// Found by simulation: what was repeated only after a long wait, as an ESP asks for with `Retry-After`, was repeated too late.
#[tokio::test]
async fn an_unanswered_message_is_not_repeated_after_its_time_though_it_was_to_be() {
    let mut world = World::new();
    world.limits.unknown_after_ms = 30_000;
    let esp = FakeEsp::start([says(500)], world.events.clone()).await;
    let (now_ms, events) = (world.now_ms.clone(), world.events.clone());
    *world.still_true.lock().unwrap() = Some(Box::new(move |_| {
        let requests = events.lock().unwrap().iter().filter(|event| event.starts_with("request")).count();
        now_ms.store(AS_OF_MS + 40_000 * requests as u64, Ordering::SeqCst);
        true
    }));
    let cart = send("cart-9");
    world.deliver(http(&esp.base_url()), vec![cart.clone()]).await.unwrap();
    assert_eq!((world.outcome(&cart).0, esp.requests().len()), (DeliveryState::Unknown, 1));
}

/// Found by simulation: each start began the time anew in which an unanswered message may be repeated.
#[tokio::test]
async fn the_time_of_doubt_goes_on_over_restarts() {
    let mut world = World::new();
    world.limits.unknown_after_ms = 5_000;
    let cart = after_a_crash(&world).await;
    world.now_ms.store(AS_OF_MS + 4_000, Ordering::SeqCst);
    let esp = FakeEsp::start([Answer::Hangs], world.events.clone()).await;
    let stop = tokio::time::sleep(Duration::from_millis(100));
    world.deliver_until(http(&esp.base_url()), vec![cart.clone()], stop).await.unwrap();
    assert_eq!((world.outcome(&cart), esp.requests().len()), ((DeliveryState::InFlight, 2), 1));
    world.now_ms.store(AS_OF_MS + 6_000, Ordering::SeqCst);
    world.deliver_until(http(&esp.base_url()), vec![cart.clone()], std::future::pending()).await.unwrap();
    assert_eq!((world.outcome(&cart).0, esp.requests().len()), (DeliveryState::Unknown, 1));
}

#[tokio::test]
async fn a_stop_lets_a_request_finish_within_its_bound_and_cuts_off_the_rest() {
    let world = World::new();
    let esp = FakeEsp::start([Answer::Hangs], world.events.clone()).await;
    let cart = send("cart-9");
    world.record(std::slice::from_ref(&cart));
    let stop = tokio::time::sleep(Duration::from_millis(100));
    let drained = world.deliver_until(http(&esp.base_url()), vec![cart.clone()], stop).await.unwrap();
    assert_eq!(drained, Drained { owed: 1, cut_off: 1 });
    assert_eq!(world.outcome(&cart), (DeliveryState::InFlight, 1));
}

#[tokio::test]
async fn a_stop_leaves_what_waits_in_the_ledger() {
    let world = World::new();
    let sends: Vec<_> = (0..3).map(|n| send(&n.to_string())).collect();
    world.record(&sends);
    let esp = http(&format!("http://{}", nobody().await));
    let drained = world.deliver_until(esp, sends, tokio::time::sleep(Duration::from_millis(100))).await.unwrap();
    assert_eq!(drained, Drained { owed: 3, cut_off: 0 });
    assert_eq!(world.owed(), 3);
}

/// An ESP that takes one at a time, and far more owed than is held in hand: nothing is lost, what goes out is what goes first
/// of all, also of what is decided meanwhile, and what has become too old expires.
#[tokio::test]
async fn a_backlog_waits_in_the_ledger_and_goes_out_by_priority() {
    let mut world = World::new();
    (world.limits.concurrency, world.limits.queue_max) = (1, 4);
    let esp = esp(&world).await;
    let ranked = |n: u64| {
        let mut send = decision::Send { priority: (n % 3) as i32, ..send(&format!("{n:02}")) };
        Arc::make_mut(&mut send.decision).as_of = AS_OF_MS + n;
        send
    };
    let mut sends: Vec<_> = (0..60).map(ranked).collect();
    sends.push(decision::Send { send_within_ms: Some(0), ..send("too old") });
    world.now_ms.store(AS_OF_MS + 1000, Ordering::SeqCst);
    world.deliver(http(&esp.base_url()), sends.clone()).await.unwrap();
    let order: Vec<String> =
        world.events().iter().filter_map(|event| event.strip_prefix("request ").map(String::from)).collect();
    let mut expected: Vec<u64> = (0..60).collect();
    expected.sort_by_key(|n| std::cmp::Reverse((n % 3, *n)));
    assert_eq!(order, expected.iter().map(|n| format!("{n:02}")).collect::<Vec<_>>());
    assert_eq!(world.outcome(sends.last().unwrap()).0, DeliveryState::Expired);
    assert_eq!(world.owed(), 0);
}

#[tokio::test]
async fn what_no_webhook_settles_in_time_becomes_a_dead_letter() {
    let mut world = World::new();
    (world.limits.unknown_after_ms, world.limits.sweep_ms) = (5_000, 5);
    let esp = FakeEsp::start([says(500)], world.events.clone()).await;
    let cart = send("cart-9");
    world.deliver(sendgrid(&esp.base_url()), vec![cart.clone()]).await.unwrap();
    assert_eq!(world.outcome(&cart), (DeliveryState::Unknown, 1));
    for (later_ms, buried) in [(4_000, false), (5_001, true)] {
        world.now_ms.store(AS_OF_MS + later_ms, Ordering::SeqCst);
        // Somebody else is being delivered to meanwhile.
        let other = send(&format!("cart-{later_ms}"));
        world.record(std::slice::from_ref(&other));
        let nobody = http(&format!("http://{}", nobody().await));
        let stop = tokio::time::sleep(Duration::from_millis(60));
        world.deliver_until(nobody, vec![send("cart-4000"), other], stop).await.unwrap();
        assert_eq!(world.events().contains(&format!("buried {}", cart.decision.decision_id)), buried);
    }
    assert_eq!(world.outcome(&cart), (DeliveryState::Unknown, 1));
}
