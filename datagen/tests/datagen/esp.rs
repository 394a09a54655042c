//! The ESP simulator over real HTTP: what a client saw and what the simulator counted must agree.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use beckon_datagen::esp::{Esp, EspConfig, EspHandle, FaultShares, Totals};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

const FAULTS: FaultShares =
    FaultShares { too_many: 0.15, unavailable: 0.1, failed: 0.1, timeout_after_accept: 0.15, refuse: 0.1 };

fn client() -> Client {
    // Only the first of the tests in this process installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new()
}

fn mail(decision_id: Option<&str>) -> Value {
    json!({
        "personalizations": [{ "to": [{ "email": "ada@example.com" }] }],
        "from": { "email": "shop@example.com", "name": "Shop" },
        "subject": "Still in your cart",
        "content": [{ "type": "text/plain", "value": "Hello" }],
        "custom_args": { "decision_id": decision_id },
    })
}

async fn post(client: &Client, esp: &EspHandle, key: &str) -> reqwest::Result<reqwest::Response> {
    let request = client.post(format!("{}/v3/mail/send", esp.base_url())).header("Idempotency-Key", key);
    request.json(&mail(Some(key))).send().await
}

/// What a client that retries everything saw: how often each status came, `None` for no answer; and of each key, how
/// often it got no answer.
async fn send_all(client: &Client, esp: &EspHandle, keys: u32) -> (BTreeMap<Option<u16>, u64>, BTreeMap<String, u64>) {
    let mut seen = BTreeMap::new();
    let mut unanswered = BTreeMap::new();
    for key in (0..keys).map(|key| format!("key-{key}")) {
        loop {
            let status = post(client, esp, &key).await.ok().map(|response| response.status());
            *seen.entry(status.map(|status| status.as_u16())).or_default() += 1;
            match status {
                None => *unanswered.entry(key.clone()).or_default() += 1,
                Some(StatusCode::ACCEPTED | StatusCode::BAD_REQUEST) => break,
                Some(_) => {}
            }
        }
    }
    (seen, unanswered)
}

async fn start(honour_idempotency: bool) -> EspHandle {
    let hold = Duration::from_millis(20);
    Esp::start(EspConfig { faults: FAULTS, honour_idempotency, hold, ..EspConfig::default() }).await.unwrap()
}

fn assert_agree(seen: &BTreeMap<Option<u16>, u64>, totals: &Totals) {
    let of = |status| seen.get(&status).copied().unwrap_or_default();
    assert_eq!(totals.requests, seen.values().sum::<u64>());
    assert_eq!(totals.too_many, of(Some(429)));
    assert_eq!(totals.unavailable, of(Some(503)));
    assert_eq!(totals.failed, of(Some(500)));
    assert_eq!(totals.timed_out, of(None));
    assert_eq!(totals.refused, of(Some(400)));
    assert_eq!(totals.accepted + totals.replays, of(Some(202)) + of(None));
    assert!(totals.timed_out > 5 && totals.refused > 5 && totals.failed > 5, "too few faults to tell: {totals:?}");
}

#[tokio::test]
async fn an_esp_that_honours_keys_takes_each_once() {
    let (client, esp) = (client(), start(true).await);
    let (seen, unanswered) = send_all(&client, &esp, 120).await;
    let totals = esp.stop().await;
    assert_agree(&seen, &totals);
    assert_eq!(totals.keys_accepted_more_than_once, 0);
    assert_eq!(totals.accepted, totals.distinct_keys);
    assert_eq!(totals.distinct_keys + totals.refused, 120);
    assert_eq!(totals.replays, unanswered.values().sum::<u64>());
}

#[tokio::test]
async fn an_esp_that_does_not_takes_again_what_timed_out() {
    let (client, esp) = (client(), start(false).await);
    let (seen, unanswered) = send_all(&client, &esp, 120).await;
    for (key, counts) in esp.seen_keys() {
        let times = unanswered.get(&key).copied().unwrap_or_default() + u64::from(counts.message_id.is_some());
        assert_eq!(counts.accepted, times, "{key}");
    }
    let totals = esp.stop().await;
    assert_agree(&seen, &totals);
    assert_eq!(totals.keys_accepted_more_than_once, unanswered.len() as u64);
    assert_eq!(totals.replays, 0);
}

#[tokio::test]
async fn faults_depend_on_nothing_but_seed_key_and_attempt() {
    let client = client();
    let (first, second) = (start(true).await, start(true).await);
    // Another request in between changes nothing.
    post(&client, &second, "another").await.ok();
    for key in ["a", "b", "c", "d", "e", "f"] {
        let first = post(&client, &first, key).await.ok().map(|response| response.status());
        let second = post(&client, &second, key).await.ok().map(|response| response.status());
        assert_eq!(first, second, "{key}");
    }
}

#[tokio::test]
async fn a_repeated_key_is_answered_as_before() {
    let (client, esp) = (client(), Esp::start(EspConfig::default()).await.unwrap());
    let id = |response: reqwest::Response| response.headers()["x-message-id"].to_str().unwrap().to_owned();
    let first = id(post(&client, &esp, "k").await.unwrap());
    let again = id(post(&client, &esp, "k").await.unwrap());
    let other = id(post(&client, &esp, "l").await.unwrap());
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_eq!(esp.seen_key("k").map(|counts| (counts.attempts, counts.accepted)), Some((2, 1)));
}

#[tokio::test]
async fn without_the_header_a_decision_id_counts_but_is_not_honoured() {
    let (client, esp) = (client(), Esp::start(EspConfig::default()).await.unwrap());
    for _ in 0..2 {
        let request = client.post(format!("{}/v3/mail/send", esp.base_url())).json(&mail(Some("d1")));
        assert_eq!(request.send().await.unwrap().status(), 202);
    }
    let plain = client.post(format!("{}/send", esp.base_url())).json(&json!({ "to": "ada@example.com" }));
    assert_eq!(plain.send().await.unwrap().status(), 202);
    let totals = esp.stop().await;
    assert_eq!(totals.keys_accepted_more_than_once, 1);
    assert_eq!((totals.accepted, totals.accepted_without_key, totals.replays), (3, 1, 0));
}

#[tokio::test]
async fn what_is_no_message_is_refused_as_sendgrid_does() {
    let (client, esp) = (client(), Esp::start(EspConfig::default()).await.unwrap());
    let url = format!("{}/v3/mail/send", esp.base_url());
    let mut without_to = mail(None);
    without_to["personalizations"][0]["to"] = json!([]);
    let response = client.post(&url).json(&without_to).send().await.unwrap();
    assert_eq!(response.status(), 400);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["errors"][0]["field"], "personalizations.0.to.0.email");
    assert_eq!(client.post(&url).body("{").send().await.unwrap().status(), 400);
    let totals = esp.stop().await;
    assert_eq!((totals.malformed, totals.accepted), (2, 0));
}

#[tokio::test]
async fn the_rate_limit_answers_429_with_retry_after() {
    let (client, esp) =
        (client(), Esp::start(EspConfig { rate_limit: Some(3), ..EspConfig::default() }).await.unwrap());
    let mut statuses = Vec::new();
    for key in 0..10 {
        let response = post(&client, &esp, &key.to_string()).await.unwrap();
        statuses.push(response.status());
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(response.headers()["retry-after"], "1");
        }
    }
    let limited = statuses.iter().filter(|status| **status == StatusCode::TOO_MANY_REQUESTS).count();
    assert!((4..=7).contains(&limited), "{statuses:?}");
    assert_eq!(esp.stop().await.too_many, limited as u64);
}

#[tokio::test]
async fn stats_and_messages_are_there_for_a_look() {
    let (client, esp) = (client(), Esp::start(EspConfig::default()).await.unwrap());
    for key in ["a", "b", "c"] {
        post(&client, &esp, key).await.unwrap();
    }
    let get = async |path: &str| client.get(format!("{}{path}", esp.base_url())).send().await.unwrap();
    let stats: Value = get("/stats").await.json().await.unwrap();
    assert_eq!((&stats["requests"], &stats["accepted"]), (&json!(3), &json!(3)));
    let messages: Value = get("/messages?limit=2").await.json().await.unwrap();
    let keys: Vec<&Value> = messages.as_array().unwrap().iter().map(|message| &message["key"]).collect();
    assert_eq!(keys, ["c", "b"]);
    assert_eq!(messages[0]["body"], mail(Some("c")));
    assert_eq!(get("/messages?limit=x").await.status(), 400);
}

#[tokio::test]
async fn stopping_does_not_wait_for_held_connections() {
    let faults = FaultShares { timeout_after_accept: 1.0, ..FaultShares::default() };
    let hold = Duration::from_secs(600);
    let (client, esp) = (client(), Esp::start(EspConfig { faults, hold, ..EspConfig::default() }).await.unwrap());
    let url = format!("{}/send", esp.base_url());
    let held = tokio::spawn(client.post(url).json(&json!({})).send());
    while esp.seen().timed_out == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let began = Instant::now();
    assert_eq!(esp.stop().await.accepted, 1);
    assert!(held.await.unwrap().is_err(), "the held request must get no answer");
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// A message of each ESP's, with the decision `d1`: where it goes, its content type and body.
fn messages() -> [(&'static str, &'static str, &'static str, String); 4] {
    let json = "application/json";
    let ses = json!({
        "FromEmailAddress": "shop@example.com", "Destination": {"ToAddresses": ["ada@example.com"]},
        "Content": {"Simple": {"Subject": {"Data": "Hi"}}}, "EmailTags": [{"Name": "decision_id", "Value": "d1"}],
    });
    let resend = json!({
        "from": "shop@example.com", "to": ["ada@example.com"], "subject": "Hi", "tags": [{"name": "decision_id", "value": "d1"}],
    });
    let postmark = json!({"From": "shop@example.com", "To": "ada@example.com", "Metadata": {"decision_id": "d1"}});
    let mailgun = "from=shop%40example.com&to=ada%40example.com&subject=Hi&v%3Adecision_id=d1";
    [
        ("postmark", "/email", json, postmark.to_string()),
        ("mailgun", "/v3/mg.example.com/messages", "application/x-www-form-urlencoded", mailgun.to_owned()),
        ("ses", "/v2/email/outbound-emails", json, ses.to_string()),
        ("resend", "/emails", json, resend.to_string()),
    ]
}

#[tokio::test]
async fn every_esp_s_messages_are_taken_in_its_own_words_and_counted_by_their_decision() {
    let name_of = |kind: &str, answer: &Value| match kind {
        "postmark" => answer["MessageID"].as_str().map(str::to_owned),
        "ses" => answer["MessageId"].as_str().map(str::to_owned),
        _ => answer["id"].as_str().map(str::to_owned),
    };
    for (kind, path, content_type, body) in messages() {
        let (client, esp) =
            (client(), Esp::start(EspConfig { rate_limit: Some(1), ..EspConfig::default() }).await.unwrap());
        let post = async |body: String| {
            let url = format!("{}{path}", esp.base_url());
            client.post(url).header("content-type", content_type).body(body).send().await.unwrap()
        };
        let taken = post(body.clone()).await;
        assert_eq!(taken.status(), 200, "{kind}");
        let left = taken.headers().get("ratelimit-remaining").or(taken.headers().get("x-ratelimit-remaining")).cloned();
        assert_eq!(left.is_some(), ["mailgun", "resend"].contains(&kind), "{kind}");
        assert!(name_of(kind, &taken.json().await.unwrap()).is_some_and(|name| !name.is_empty()), "{kind}");
        assert_eq!(esp.seen_key("d1").map(|counts| counts.accepted), Some(1), "{kind}");
        let limited = post(body.clone()).await;
        assert_eq!(limited.status(), 429, "{kind}");
        assert_eq!(limited.headers().contains_key("retry-after"), kind != "ses", "{kind}");
        assert_eq!(limited.headers().contains_key("x-amzn-errortype"), kind == "ses", "{kind}");
        let empty = if kind == "mailgun" { "to=a" } else { "{}" };
        assert!(post(empty.to_owned()).await.status().is_client_error(), "{kind}");
        assert_eq!(esp.stop().await.malformed, 1, "{kind}");
    }
}
