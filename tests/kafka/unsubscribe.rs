//! From a mail back into the streams: its links lead to the tracker, and to unsubscribe with them is a record in Kafka.

use std::time::{SystemTime, UNIX_EPOCH};

use beckon::ledger::Ledger;
use beckon_datagen::esp::{Esp, EspConfig};
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::service;

/// Adds the tracker to the configuration, and returns where it answers.
fn track(directory: &std::path::Path) -> String {
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = directory.join("beckon.toml");
    let sections = format!(
        "[web]\nlisten = \"{address}\"\n[tracking]\nbase_url = \"http://{address}\"\nsecret_file = \"secret\"\n"
    );
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{config}{sections}")).unwrap();
    std::fs::write(directory.join("secret"), "a secret of the shop\n").unwrap();
    format!("http://{address}")
}

/// The header of a mail as the ESP got it.
fn header(body: &Value, name: &str) -> String {
    body["headers"][name].as_str().unwrap_or_else(|| panic!("no {name} in {body}")).to_owned()
}

pub fn a_mail_s_links_lead_back(broker: &Broker) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let esp = runtime.block_on(Esp::start(EspConfig::default())).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let prefix = service::produce(broker, &service::shop_of_this_morning());
    service::configure(directory.path(), broker, &prefix, &esp);
    let site = track(directory.path());
    let running = service::start(directory.path(), 1);
    service::wait_for_mail(&esp);

    let mail = esp.latest_messages(1).pop().expect("a mail");
    let html = mail.body["html"].as_str().unwrap();
    assert!(html.contains(&format!("{site}/o/")) && html.contains(&format!("{site}/c/")), "{html}");
    assert_eq!(header(&mail.body, "List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    let unsubscribe = header(&mail.body, "List-Unsubscribe");
    let url = unsubscribe.trim_matches(['<', '>']).to_owned();
    let client = beckon::sink::client(10_000).unwrap();
    let answer = runtime.block_on(async { client.post(&url).send().await.unwrap() });
    assert!(answer.status().is_success(), "{answer:?}");

    // It was acknowledged before it was answered.
    let told = broker.read_all(&format!("{prefix}.engagement")).unwrap();
    let told: Vec<Value> =
        told.iter().map(|it| serde_json::from_slice(it.payload.as_ref().unwrap()).unwrap()).collect();
    let told: Vec<&Value> = told.iter().filter(|it| it["decision_id"].as_str() == mail.key.as_deref()).collect();
    let [record] = &told[..] else { panic!("one record of the mail: {told:?}") };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    assert!(record["occurred_at"].as_u64().is_some_and(|at_ms| at_ms.abs_diff(now_ms) < 60_000), "{record}");
    assert_eq!((&record["type"], &record["machine"]), (&json!("unsubscribed"), &json!(false)));
    assert!(running.interrupt().success());
    let ledger = Ledger::open_existing(&directory.path().join("state")).unwrap();
    let decision = ledger.decision(mail.key.as_deref().unwrap().parse().unwrap()).unwrap().unwrap();
    assert_eq!(record["user_id"], *decision.customer_id);
    runtime.block_on(esp.stop());
}
