//! A whole service that an ESP tells of a complaint: whoever complained gets no mail from the next tick on. Its broker is librdkafka's mock
//! cluster.

use beckon::config::{BasicAuth, SecretSource, Webhooks};
use beckon::decision::{Decision, Outcome};
use beckon::pipeline::service::Service;
use beckon::pipeline::site::{Behind, Site};
use beckon_dataflows::model::Stream;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use serde_json::json;

use crate::second_carts::{Clock, assert_refused_alone, leave_second_carts, wait_for, wait_for_first_carts};
use crate::service::{StopAtEnd, abandon_a_cart, configuration};

const PASSWORD: &str = "a password of postmark";

/// Tells of a complaint as Postmark does.
fn complain(site: &str, decision: &Decision, at_ms: u64) -> u16 {
    let time = jiff::Timestamp::from_millisecond(at_ms as i64).unwrap();
    let what = json!({ "RecordType": "SpamComplaint", "ID": 42, "Type": "SpamComplaint", "BouncedAt": time.to_string(),
        "Email": "a@example.com", "Metadata": { "decision_id": decision.decision_id } });
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("{site}/webhooks/postmark")).basic_auth("beckon", Some(PASSWORD));
        request.body(what.to_string()).send().await.unwrap().status().as_u16()
    })
}

#[test]
fn who_complained_gets_no_mail_from_the_next_tick_on() {
    let directory = tempfile::tempdir().unwrap();
    let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    Stream::ALL.into_iter().for_each(|stream| broker.create_topic(stream.name(), 1, 1).unwrap());
    let mut config = configuration(directory.path(), &broker.bootstrap_servers());
    let secret = directory.path().join("password");
    std::fs::write(&secret, PASSWORD).unwrap();
    let password = SecretSource::File(secret);
    let postmark = Some(BasicAuth { username: "beckon".into(), password });
    config.webhooks = Some(Webhooks { postmark, ..Webhooks::default() });
    let brokers = broker.bootstrap_servers();
    abandon_a_cart(&brokers);
    let (clock, wall) = Clock::start();
    let service = Service::open(&config, 1, wall.clone()).unwrap();
    let site = Site::start(&config, 1, Behind::of(&service), wall).unwrap().unwrap();
    let (url, stop) = (format!("http://{}", site.address()), StopAtEnd(service.stop()));
    let readings = service.readings();
    let ledger = service.readings().ledger().unwrap();
    let telling = std::thread::spawn(move || {
        let of_cart = |it: &Decision| &*it.campaign == "cart-abandonment" && it.outcome == Outcome::Send;
        let mut found = None;
        wait_for("a cart that was left", || {
            found = ledger.decisions().unwrap().into_iter().find(of_cart);
            found.is_some()
        });
        let who = found.unwrap();
        wait_for_first_carts(&readings);
        assert_eq!(complain(&url, &who, clock.now_ms()), 200);
        leave_second_carts(&brokers, &clock, &readings);
        drop(stop);
        who
    });
    service.run(Box::new(|_| Ok(()))).unwrap();
    let who = telling.join().unwrap();
    site.stop().unwrap();
    assert_refused_alone(&config, &who.customer_id);
}
