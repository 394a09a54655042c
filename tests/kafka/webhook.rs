//! An ESP that takes mails and does not answer, and tells of them by webhook: what it tells is a record in Kafka, and the delivery is
//! settled.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use beckon::decision::{DecisionId, DeliveryState};
use beckon::ledger::Ledger;
use beckon_datagen::esp::{Esp, EspConfig, FaultShares};
use ring::hmac;
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::service;

const KEY: &str = "a-signing-key-of-mailgun";

/// Makes Mailgun the ESP, and adds its webhook; returns where that is answered.
fn by_mailgun(directory: &Path) -> String {
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = directory.join("beckon.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let config = config.replace("kind = \"http\"", "kind = \"mailgun\"\napi_key_file = \"key\"");
    let config = config.replace("honours_idempotency_key = true\n", "");
    let sections = format!("[web]\nlisten = \"{address}\"\n[webhooks]\nmailgun = {{ secret_file = \"key\" }}\n");
    std::fs::write(&file, format!("{config}{sections}")).unwrap();
    std::fs::write(directory.join("key"), KEY).unwrap();
    format!("http://{address}")
}

/// What Mailgun posts, signed with this key.
fn hook(key: &str, decision: &str, event: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (timestamp, token) = (now.as_secs().to_string(), format!("{:050x}", now.as_nanos()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), format!("{timestamp}{token}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let what = json!({ "event": event, "id": format!("{event} {decision}"), "timestamp": now.as_secs_f64(),
        "user-variables": { "decision_id": decision } });
    json!({ "signature": { "timestamp": timestamp, "token": token, "signature": hex }, "event-data": what }).to_string()
}

pub fn what_an_esp_tells_settles_a_delivery(broker: &Broker) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let faults = FaultShares { timeout_after_accept: 1.0, ..FaultShares::default() };
    let hold = Duration::from_millis(1_500);
    let esp = runtime.block_on(Esp::start(EspConfig { faults, hold, ..EspConfig::default() })).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let prefix = service::produce(broker, &service::shop_of_this_morning());
    service::configure(directory.path(), broker, &prefix, &esp);
    let site = by_mailgun(directory.path());
    let running = service::start(directory.path(), 1);
    service::wait_for_mail(&esp);
    let decision = esp.latest_messages(1).pop().expect("a mail").key.expect("a decision");
    let client = beckon::sink::client(10_000).unwrap();
    let (asked, url) = (client.clone(), format!("{site}/webhooks/mailgun"));
    let post = |body: String| runtime.block_on(async { asked.post(&url).body(body).send().await.unwrap() }).status();
    assert_eq!(post(hook("another key of somebody", &decision, "delivered")).as_u16(), 401);
    let body = hook(KEY, &decision, "delivered");
    let began = Instant::now();
    // While the request is under way nobody knows; then it waits to be told.
    while !post(body.clone()).is_success() {
        assert!(began.elapsed() < Duration::from_secs(30), "not taken");
    }
    assert_eq!(post(body).as_u16(), 409);
    assert_eq!(post(hook(KEY, &decision, "complained")).as_u16(), 200);
    let ready =
        runtime.block_on(async { client.get(format!("{site}/readyz")).send().await.unwrap().text().await.unwrap() });
    assert_eq!(ready, "broker ok\nledger ok\nticks ok\n");

    let told = broker.read_all(&format!("{prefix}.engagement")).unwrap();
    let told: Vec<Value> =
        told.iter().map(|it| serde_json::from_slice(it.payload.as_ref().unwrap()).unwrap()).collect();
    // What was written before the delivery could be settled was written again, under the same name.
    let ours = told.iter().filter(|it| it["decision_id"] == decision.as_str());
    let ours: BTreeMap<String, &Value> = ours.map(|it| (it["event_id"].to_string(), it)).collect();
    let mut kinds: Vec<&str> = ours.values().map(|it| it["type"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["complained", "delivered"], "{ours:?}");
    assert!(running.interrupt().success());
    let ledger = Ledger::open_existing(&directory.path().join("state")).unwrap();
    let id: DecisionId = decision.parse().unwrap();
    let delivery = ledger.delivery(id).unwrap().unwrap();
    assert_eq!(
        (delivery.state, delivery.note.as_deref()),
        (DeliveryState::Accepted, Some("told by a webhook of mailgun"))
    );
    let customer = ledger.decision(id).unwrap().unwrap().customer_id;
    assert!(ours.values().all(|it| it["user_id"] == *customer), "{ours:?}");
    let counts = ledger.counts().unwrap().deliveries;
    assert_eq!(counts.get(&DeliveryState::Accepted), Some(&1), "{counts:?}");
    runtime.block_on(esp.stop());
}
