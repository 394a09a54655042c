//! A whole service whose page a recipient uses: what they decline is not sent to them any more, and all else is. Its broker is librdkafka's
//! mock cluster.

use beckon::decision::DecisionId;
use beckon::pipeline::service::Service;
use beckon::pipeline::site::{Behind, Site};
use beckon::secret::Secret;
use beckon::tracking::{Does, Seal, Token};
use beckon_dataflows::model::Stream;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use serde_json::json;

use crate::second_carts::{Clock, assert_refused_alone, leave_second_carts, wait_for, wait_for_first_carts};
use crate::service::{StopAtEnd, TOKEN, abandon_a_cart, ask, configuration};

const CUSTOMER: &str = "customer-7-of-a-test";

/// The page of the customer, and what it says once `form` is posted.
fn page(site: &str, form: Option<&'static str>) -> String {
    let seal = Seal::of(&Secret::new(TOKEN.as_bytes()).unwrap());
    let token = Token { decision: DecisionId(1), customer: CUSTOMER.into(), does: Does::Unsubscribe };
    let url = format!("{site}/u/{}", seal.seal(&token).unwrap());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = form.map_or_else(|| client.get(&url), |form| client.post(&url).body(form));
        request.send().await.unwrap().text().await.unwrap()
    })
}

#[test]
fn what_a_recipient_declines_is_not_sent_to_them() {
    let directory = tempfile::tempdir().unwrap();
    let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    Stream::ALL.into_iter().for_each(|stream| broker.create_topic(stream.name(), 1, 1).unwrap());
    let brokers = broker.bootstrap_servers();
    let config = configuration(directory.path(), &brokers);
    abandon_a_cart(&brokers);
    let (clock, wall) = Clock::start();
    let service = Service::open(&config, 1, wall.clone()).unwrap();
    let site = Site::start(&config, 1, Behind::of(&service), wall).unwrap().unwrap();
    let (url, stop) = (format!("http://{}", site.address()), StopAtEnd(service.stop()));
    let readings = service.readings();
    let choosing = std::thread::spawn(move || {
        wait_for_first_carts(&readings);
        let mut shown = String::new();
        wait_for("the boxes", || {
            shown = page(&url, None);
            shown.contains("checkbox")
        });
        let saved = page(&url, Some("shown=Reminders+of+your+cart&do=save"));
        leave_second_carts(&brokers, &clock, &readings);
        let told = ask(&format!("{url}/v1/customers/{CUSTOMER}"), TOKEN).unwrap().1.unwrap();
        drop(stop);
        (shown, saved, told)
    });
    service.run(Box::new(|_| Ok(()))).unwrap();
    let (shown, saved, told) = choosing.join().unwrap();
    site.stop().unwrap();
    assert!(shown.contains(r#"value="Reminders of your cart" checked>"#), "{shown}");
    assert!(shown.contains(r#"value="When something is back in stock" checked>"#), "{shown}");
    assert!(saved.contains("Saved") && saved.contains(r#"name="wanted" value="Reminders of your cart">"#), "{saved}");
    assert_eq!(told["profile"]["declined"], json!(["cart-abandonment"]), "{told:#}");
    assert_refused_alone(&config, CUSTOMER);
}
