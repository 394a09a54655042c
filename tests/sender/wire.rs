//! Requests as they go over the wire, and what each class of answer makes of a delivery: its states and its requests.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::esp::{Answer, FakeEsp, hangs_up, nobody, says};
use crate::world::{World, http, send, sendgrid};

#[tokio::test]
async fn the_generic_request() {
    let world = World::new();
    let esp = FakeEsp::start([Answer::Says(202, vec![], r#"{"id":"m-1"}"#)], world.events.clone()).await;
    let cart = send("cart-9");
    world.deliver(http(&esp.base_url()), vec![cart.clone()]).await.unwrap();
    insta::assert_json_snapshot!("http_request", esp.requests());
    let delivery = world.ledger.delivery(cart.decision.decision_id).unwrap().unwrap();
    assert_eq!(delivery.note.as_deref(), Some("m-1"));
}

#[tokio::test]
async fn the_sendgrid_request() {
    let world = World::new();
    let script = [Answer::Says(202, vec![("x-message-id", "sg-1".into())], "")];
    let esp = FakeEsp::start(script, world.events.clone()).await;
    let cart = send("cart-9");
    world.deliver(sendgrid(&esp.base_url()), vec![cart.clone()]).await.unwrap();
    insta::assert_json_snapshot!("sendgrid_request", esp.requests());
    let delivery = world.ledger.delivery(cart.decision.decision_id).unwrap().unwrap();
    assert_eq!(delivery.note.as_deref(), Some("sg-1"));
}

/// Delivers one send to an ESP that first answers so, and then 202. Returns what happened, in order.
async fn happens(kind: &str, first: Answer) -> String {
    let world = World::new();
    let esp = FakeEsp::start([first], world.events.clone()).await;
    let sends = vec![send("cart-9")];
    let done = match kind {
        "http" => world.deliver(http(&esp.base_url()), sends).await,
        _ => world.deliver(sendgrid(&esp.base_url()), sends).await,
    };
    done.unwrap();
    world.events().join(", ").replace("request cart-9", "request")
}

#[tokio::test]
async fn a_settling_answer_ends_it() {
    for kind in ["http", "sendgrid"] {
        for status in [200, 202] {
            assert_eq!(happens(kind, says(status)).await, "in_flight 1, request, accepted 1", "{kind} {status}");
        }
        for status in [301, 400, 401, 404, 413] {
            assert_eq!(happens(kind, says(status)).await, "in_flight 1, request, refused 1", "{kind} {status}");
        }
    }
}

#[tokio::test]
async fn what_was_not_taken_is_sent_again_by_anyone() {
    let again = "in_flight 1, request, pending 1, in_flight 2, request, accepted 2";
    for kind in ["http", "sendgrid"] {
        for status in [429, 503] {
            assert_eq!(happens(kind, says(status)).await, again, "{kind} {status}");
        }
    }
}

#[tokio::test]
async fn what_may_have_been_taken_is_sent_again_only_where_the_key_is_honoured() {
    for first in [says(500), says(502), says(504), says(408), Answer::Hangs] {
        let again = "in_flight 1, request, unknown 1, in_flight 2, request, accepted 2";
        assert_eq!(happens("http", first.clone()).await, again, "{first:?}");
        assert_eq!(happens("sendgrid", first.clone()).await, "in_flight 1, request, unknown 1", "{first:?}");
    }
}

#[tokio::test]
async fn a_repeated_request_is_the_same_to_the_byte() {
    let world = World::new();
    let esp = FakeEsp::start([says(500), Answer::Hangs], world.events.clone()).await;
    world.deliver(http(&esp.base_url()), vec![send("cart-9")]).await.unwrap();
    let requests = esp.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| *request == requests[0]), "{requests:#?}");
}

#[tokio::test]
async fn retry_after_is_waited_for_in_seconds_and_as_a_date() {
    // A date has whole seconds.
    let date = Timestamp::from_second(Timestamp::now().as_second() + 3).unwrap();
    let written = DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
    for (retry_after, earliest) in [("1".to_owned(), Timestamp::now() + Duration::from_secs(1)), (written, date)] {
        let world = World::new();
        let script = [Answer::Says(429, vec![("retry-after", retry_after.clone())], "slow down")];
        let esp = FakeEsp::start(script, world.events.clone()).await;
        let started = Instant::now();
        world.deliver(http(&esp.base_url()), vec![send("cart-9")]).await.unwrap();
        assert!(Timestamp::now() >= earliest, "{retry_after}: too early");
        assert!(started.elapsed() < Duration::from_secs(20), "{retry_after}: {:?}", started.elapsed());
        assert_eq!(esp.requests().len(), 2);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_unknown_and_one_never_made_is_pending() {
    let cases = [(hangs_up().await, "unknown"), (nobody().await, "pending")];
    for (address, state) in cases {
        let world = World::new();
        let cart = send("cart-9");
        world.record(std::slice::from_ref(&cart));
        let stop = tokio::time::sleep(Duration::from_millis(300));
        let esp = http(&format!("http://{address}"));
        let drained = world.deliver_until(esp, vec![cart.clone()], stop).await.unwrap();
        let (reached, attempts) = world.outcome(&cart);
        assert_eq!((reached.name(), drained.owed), (state, 1));
        assert!(attempts >= 2, "{attempts} attempts");
    }
}

#[tokio::test]
async fn a_broken_connection_is_not_tried_again_without_a_key() {
    let world = World::new();
    let esp = sendgrid(&format!("http://{}", hangs_up().await));
    world.deliver(esp, vec![send("cart-9")]).await.unwrap();
    assert_eq!(world.events(), ["in_flight 1", "unknown 1"]);
}
