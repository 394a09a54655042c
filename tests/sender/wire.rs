//! Requests as they go over the wire, and what each class of answer makes of a delivery: its states and its requests.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use beckon::body_template::BodyTemplate;
use beckon::decision;
use beckon::sink::client;
use beckon::sink::http::{Differs, Http};

use crate::esp::{Answer, FakeEsp, hangs_up, nobody, says};
use crate::world::{World, http, key, send, sendgrid, speaks};

/// The kinds that speak HTTP.
const KINDS: [&str; 6] = ["http", "sendgrid", "postmark", "mailgun", "ses", "resend"];

fn is_repeated(kind: &str) -> bool {
    ["http", "resend"].contains(&kind)
}

#[tokio::test]
async fn requests_are_as_each_esp_wants_them_and_its_name_of_the_mail_is_kept() {
    let named = |kind| match kind {
        "sendgrid" => Answer::Says(202, vec![("x-message-id", "m-1".into())], ""),
        "postmark" => {
            Answer::Says(200, vec![], r#"{"ErrorCode":0,"Message":"OK","MessageID":"m-1","To":"ada@example.org"}"#)
        }
        "mailgun" => Answer::Says(200, vec![], r#"{"id":"m-1","message":"Queued. Thank you."}"#),
        "ses" => Answer::Says(200, vec![], r#"{"MessageId":"m-1"}"#),
        _ => Answer::Says(200, vec![], r#"{"id":"m-1"}"#),
    };
    for kind in KINDS {
        let world = World::new();
        let esp = FakeEsp::start([named(kind)], world.events.clone()).await;
        let cart = send("cart-9");
        world.deliver(speaks(kind, &esp.base_url()), vec![cart.clone()]).await.unwrap();
        insta::assert_json_snapshot!(format!("{kind}_request"), esp.requests());
        let delivery = world.ledger.delivery(cart.decision.decision_id).unwrap().unwrap();
        assert_eq!(delivery.note.as_deref(), Some("m-1"), "{kind}");
    }
}

#[tokio::test]
async fn the_request_of_a_body_of_the_configuration_s_own() {
    let world = World::new();
    let esp = FakeEsp::start([], world.events.clone()).await;
    let body = serde_json::json!({
        "subject": "{{subject}}", "recipients": [{"address": "{{to.address}}"}], "html": "{{html}}",
        "from": "{{from.name}} <{{from.address}}>", "reference": "{{campaign}}/{{decision_id}}", "headers": "{{headers}}",
    });
    let differs = Differs {
        path: Some("/v1/transmissions".into()),
        auth_header: Some("X-Api-Key".into()),
        body: Some(BodyTemplate::new(body).unwrap()),
    };
    let http = Http::new(client(1_000).unwrap(), &esp.base_url(), Some(key("shop-key")), false, differs).unwrap();
    world.deliver(http, vec![send("cart-9")]).await.unwrap();
    insta::assert_json_snapshot!("own_body_request", esp.requests());
}

/// Delivers one send to an ESP that first answers so, and then 202. Returns what happened, in order.
async fn happens(kind: &str, first: Answer) -> String {
    let world = World::new();
    let esp = FakeEsp::start([first], world.events.clone()).await;
    world.deliver(speaks(kind, &esp.base_url()), vec![send("cart-9")]).await.unwrap();
    world.events().join(", ").replace("request cart-9", "request")
}

const REFUSED: &str = "in_flight 1, request, refused 1";
const ACCEPTED: &str = "in_flight 1, request, accepted 1";
const AGAIN: &str = "in_flight 1, request, pending 1, in_flight 2, request, accepted 2";
const REPEATED: &str = "in_flight 1, request, unknown 1, in_flight 2, request, accepted 2";
const UNKNOWN: &str = "in_flight 1, request, unknown 1";

#[tokio::test]
async fn a_settling_answer_ends_it() {
    for kind in KINDS {
        for status in [200, 202] {
            assert_eq!(happens(kind, says(status)).await, ACCEPTED, "{kind} {status}");
        }
        for status in [301, 400, 413, 422] {
            assert_eq!(happens(kind, says(status)).await, REFUSED, "{kind} {status}");
        }
    }
}

#[tokio::test]
async fn what_was_not_taken_is_sent_again_by_anyone() {
    for kind in KINDS {
        // The last three refuse the account, which is no fault of the message.
        for status in [429, 503, 401, 402, 403] {
            assert_eq!(happens(kind, says(status)).await, AGAIN, "{kind} {status}");
        }
    }
}

#[tokio::test]
async fn what_may_have_been_taken_is_sent_again_only_where_the_key_is_honoured() {
    for kind in KINDS {
        for first in [says(500), says(502), says(504), says(408), Answer::Hangs] {
            let expected = if is_repeated(kind) { REPEATED } else { UNKNOWN };
            assert_eq!(happens(kind, first.clone()).await, expected, "{kind} {first:?}");
        }
    }
}

#[tokio::test]
async fn each_esp_has_words_of_its_own() {
    let postmark = |status, body| ("postmark", Answer::Says(status, vec![], body));
    let ses = |status, name: &str| ("ses", Answer::Says(status, vec![("x-amzn-errortype", name.to_owned())], "{}"));
    let mailgun = |status, body| ("mailgun", Answer::Says(status, vec![], body));
    let ses_body = |status, body| ("ses", Answer::Says(status, vec![], body));
    let resend = |status, body| ("resend", Answer::Says(status, vec![], body));
    let cases = [
        // The recipient is inactive; the request is wrong.
        (postmark(422, r#"{"ErrorCode":406,"Message":"inactive"}"#), REFUSED),
        (postmark(422, r#"{"ErrorCode":300,"Message":"To"}"#), REFUSED),
        (postmark(200, r#"{"ErrorCode":406,"Message":"inactive"}"#), REFUSED),
        // The token, the sender, the credits, the account.
        (postmark(401, r#"{"ErrorCode":10,"Message":"token"}"#), AGAIN),
        (postmark(422, r#"{"ErrorCode":400,"Message":"signature"}"#), AGAIN),
        (postmark(422, r#"{"ErrorCode":405,"Message":"credits"}"#), AGAIN),
        (postmark(422, r#"{"ErrorCode":412,"Message":"pending"}"#), AGAIN),
        (postmark(422, r#"{"ErrorCode":100,"Message":"maintenance"}"#), AGAIN),
        // A stream that is not there, and one that takes no mails.
        (postmark(422, r#"{"ErrorCode":1235,"Message":"stream"}"#), AGAIN),
        (postmark(422, r#"{"ErrorCode":1236,"Message":"stream"}"#), AGAIN),
        // Wrong JSON; too large.
        (postmark(422, r#"{"ErrorCode":402,"Message":"JSON"}"#), REFUSED),
        (("postmark", says(413)), REFUSED),
        // In most cases the message is lost, Postmark says.
        (postmark(500, r#"{"ErrorCode":0,"Message":"internal"}"#), UNKNOWN),
        // The domain may not send, or no more for now; a mail that is wrong.
        (mailgun(400, r#"{"message":"Domain x is not allowed to send: The domain is unverified"}"#), AGAIN),
        (mailgun(403, r#"{"message":"Domain x is not allowed to send: domain disabled"}"#), AGAIN),
        (mailgun(400, r#"{"message":"Domain x is not allowed to send: recipient limit exceeded"}"#), AGAIN),
        (mailgun(420, r#"{"message":"Domain x is not allowed to send: recipient limit exceeded"}"#), AGAIN),
        (mailgun(400, r#"{"message":"to parameter is not a valid address"}"#), REFUSED),
        // No such domain, or no such place at all.
        (("mailgun", says(404)), AGAIN),
        (("sendgrid", says(404)), AGAIN),
        (("sendgrid", says(405)), AGAIN),
        (("postmark", says(404)), AGAIN),
        (("ses", says(404)), AGAIN),
        (resend(404, r#"{"name":"not_found"}"#), AGAIN),
        (resend(405, r#"{"name":"method_not_allowed"}"#), AGAIN),
        // A gateway of the shop's own may mean the recipient.
        (("http", says(404)), REFUSED),
        // The account's data are to stay in another region.
        (("sendgrid", says(451)), AGAIN),
        (ses(400, "MessageRejected"), REFUSED),
        (ses_body(400, r#"{"__type":"com.amazonaws.sesv2#MessageRejected","message":"Blocked content"}"#), REFUSED),
        (ses_body(400, r#"{"code":"MessageRejected","message":"Email address is not verified."}"#), AGAIN),
        (ses_body(400, r#"{"__type":"com.amazonaws.sesv2#SendingPausedException"}"#), AGAIN),
        (ses(400, "RequestExpired"), AGAIN),
        (ses(400, "IncompleteSignature"), AGAIN),
        (ses(403, "SignatureDoesNotMatch"), AGAIN),
        (ses(401, "NotAuthorized"), AGAIN),
        (ses(404, "UnknownOperationException"), AGAIN),
        (ses(400, "BadRequestException:http://internal.amazon.com/coral/"), REFUSED),
        (ses(400, "SendingPausedException"), AGAIN),
        (ses(400, "ThrottlingException"), AGAIN),
        (ses(404, "NotFoundException"), AGAIN),
        (ses(403, "InvalidSignatureException"), AGAIN),
        (ses(500, "InternalFailure"), UNKNOWN),
        // An earlier request of this key is under way; had another content, and was taken.
        (resend(409, r#"{"name":"concurrent_idempotent_requests"}"#), REPEATED),
        (resend(409, r#"{"name":"invalid_idempotent_request"}"#), ACCEPTED),
        (resend(429, r#"{"name":"daily_quota_exceeded"}"#), AGAIN),
        // The key does not look like one; the sender; the message.
        (resend(400, r#"{"name":"validation_error","message":"API key is invalid"}"#), AGAIN),
        (resend(403, r#"{"name":"validation_error","message":"The domain is not verified"}"#), AGAIN),
        (resend(422, r#"{"name":"invalid_from_address","message":"Invalid `from` field."}"#), AGAIN),
        (resend(400, r#"{"name":"validation_error","message":"Invalid `to` field."}"#), REFUSED),
        (resend(422, r#"{"name":"missing_required_field"}"#), REFUSED),
        (resend(500, r#"{"name":"application_error"}"#), REPEATED),
        (resend(451, r#"{"name":"security_error"}"#), REFUSED),
    ];
    for ((kind, first), expected) in cases {
        assert_eq!(happens(kind, first.clone()).await, expected, "{kind} {first:?}");
    }
}

#[tokio::test]
async fn a_wrong_key_refuses_nothing_and_is_said_where_to_look_for() {
    let mut world = World::new();
    (world.limits.concurrency, world.limits.backoff_cap_ms) = (2, 60_000);
    let esp = FakeEsp::start((0..3).map(|_| says(401)), world.events.clone()).await;
    let sends: Vec<_> = (0..4).map(|n| send(&n.to_string())).collect();
    world.record(&sends);
    let stop = tokio::time::sleep(Duration::from_millis(400));
    world.deliver_until(sendgrid(&esp.base_url()), sends.clone(), stop).await.unwrap();
    // Only those that were under way found out.
    let asked = esp.requests().len();
    assert!((1..=2).contains(&asked), "{asked} requests with a wrong key");
    let note = |send: &decision::Send| world.ledger.delivery(send.decision.decision_id).unwrap().unwrap().note;
    let notes: Vec<String> = sends.iter().filter_map(note).collect();
    assert!(notes.iter().any(|note| note.contains("check the environment variable `KEY`")), "{notes:?}");
    // The key is put right.
    world.limits.backoff_cap_ms = 20;
    world.deliver_until(sendgrid(&esp.base_url()), sends.clone(), std::future::pending()).await.unwrap();
    assert!(sends.iter().all(|send| world.outcome(send).0.name() == "accepted"), "{:#?}", world.events());
}

#[tokio::test]
async fn a_message_for_which_alone_the_account_is_refused_is_refused() {
    let mut world = World::new();
    world.limits.concurrency = 1;
    // The greater goes first, is refused, lets another go, and is refused again.
    let esp = FakeEsp::start([says(403), says(202), says(403)], world.events.clone()).await;
    let bad = decision::Send { priority: 9, ..send("bad") };
    let good = send("good");
    world.deliver(sendgrid(&esp.base_url()), vec![bad.clone(), good.clone()]).await.unwrap();
    assert_eq!((world.outcome(&bad).0.name(), world.outcome(&good).0.name()), ("refused", "accepted"));
    assert_eq!(esp.requests().len(), 3);
}

#[tokio::test]
async fn an_esp_whose_allowance_is_used_up_is_left_alone_until_it_is_renewed() {
    let mut world = World::new();
    world.limits.concurrency = 1;
    let used_up = vec![("ratelimit-remaining", "0".to_owned()), ("ratelimit-reset", "0.4".to_owned())];
    let esp = FakeEsp::start([Answer::Says(200, used_up, r#"{"id":"m"}"#)], world.events.clone()).await;
    let started = Instant::now();
    world.deliver(speaks("resend", &esp.base_url()), vec![send("1"), send("2")]).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
    assert_eq!(esp.requests().len(), 2);
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
async fn a_mailgun_domain_at_its_limit_is_left_alone_until_it_says() {
    // A date has whole seconds.
    let until = Timestamp::from_second(Timestamp::now().as_second() + 3).unwrap();
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&until).unwrap().replace("GMT", "UTC");
    let said = format!(
        r#"{{"message":"Domain mg.example.com is not allowed to send: recipient limit exceeded, try again after {date}"}}"#
    );
    let world = World::new();
    let esp = FakeEsp::start([Answer::Says(420, vec![], said.leak())], world.events.clone()).await;
    world.deliver(speaks("mailgun", &esp.base_url()), vec![send("cart-9")]).await.unwrap();
    assert!(Timestamp::now() >= until, "too early");
    assert_eq!(world.events().join(", ").replace("request cart-9", "request"), AGAIN);
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
