//! A whole service with its site: what it maintains is what it answers. Its broker is librdkafka's mock cluster.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use beckon::config::{Config, Purpose, SecretSource, Tracking, Web};
use beckon::decision::{Decision, Outcome};
use beckon::ledger::Ledger;
use beckon::pipeline::service::Service;
use beckon::pipeline::site::{Behind, Site};
use beckon::secret::Secret;
use beckon::tracking::{Does, Seal, Token};
use beckon_dataflows::model::Stream;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use serde_json::{Value, json};

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub const NOW_MS: u64 = 1_767_225_600_000;

/// The example campaigns, with that broker, and somebody who may read.
pub fn configuration(directory: &Path, brokers: &str) -> Config {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("campaigns/beckon.toml");
    let mut config = Config::load(&example, Purpose::Demo).unwrap();
    let secret = directory.join("token");
    std::fs::write(&secret, TOKEN).unwrap();
    let api_token = Some(SecretSource::File(secret.clone()));
    config.web = Some(Web { listen: "127.0.0.1:0".parse().unwrap(), api_token, open_figures: false, mails_kept: 100 });
    config.coupons = Some(SecretSource::File(secret));
    config.tracking = Some(Tracking {
        base_url: "http://127.0.0.1:9".into(),
        secret: SecretSource::File(directory.join("token")),
        opens: true,
        clicks: true,
        utm: None,
        unsubscribe_mailto: None,
    });
    config.state = directory.join("state");
    std::fs::create_dir(&config.state).unwrap();
    let kafka = config.kafka.as_mut().unwrap();
    (kafka.brokers, kafka.mirror_prefix) = (brokers.into(), None);
    config.idle_after_ms = 2000;
    config.allowed_lateness_ms = 10;
    config
}

/// A customer who can be written to, an item, and a cart that is left alone.
pub fn abandon_a_cart(brokers: &str) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let send = |stream: Stream, record: Value| {
        let json = record.to_string();
        producer.send(BaseRecord::to(stream.name()).key("k").payload(&json)).map_err(|(error, _)| error).unwrap();
    };
    let at = NOW_MS - 3_600_000;
    for customer in 0..30 {
        let [user, cart, order] = ["customer", "cart", "order"].map(|of| format!("{of}-{customer}-of-a-test"));
        let profile =
            json!({ "user_id": user, "email": "a@example.com", "consent": { "email": true }, "updated_at": at });
        send(Stream::Profiles, profile);
        let line = json!({ "sku": "s1", "quantity": 1, "price": "30.00" });
        let left = json!({ "cart_id": cart, "user_id": user, "updated_at": at, "currency": "EUR", "lines": [line] });
        send(Stream::Carts, left);
        let placed = json!({ "order_id": order, "user_id": user, "status": "placed", "total": "30.00", "lines": [],
            "placed_at": at + 35 * 60_000 });
        send(Stream::Orders, placed);
    }
    send(Stream::Inventory, json!({ "sku": "s1", "on_hand": 99, "updated_at": at }));
    producer.flush(Duration::from_secs(10)).unwrap();
}

/// Stops the service also when what asks it fails: else that would never be said.
pub struct StopAtEnd(pub Arc<std::sync::atomic::AtomicBool>);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub fn ask(url: &str, token: &str) -> reqwest::Result<(u16, Option<Value>)> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client.get(url).bearer_auth(token).send().await?;
        Ok((answer.status().as_u16(), answer.json().await.ok()))
    })
}

/// What a browser gets.
fn text(url: &str) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    })
}

fn arms(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["campaigns"][0]["arms"].as_array().unwrap().iter()
}

fn sum(answer: &Value, member: &str) -> i64 {
    arms(answer).map(|arm| arm[member].as_i64().unwrap()).sum()
}

#[test]
fn a_running_service_answers_with_the_kpis_that_it_maintains() {
    let directory = tempfile::tempdir().unwrap();
    let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    Stream::ALL.into_iter().for_each(|stream| broker.create_topic(stream.name(), 1, 1).unwrap());
    let config = configuration(directory.path(), &broker.bootstrap_servers());
    abandon_a_cart(&config.kafka.as_ref().unwrap().brokers);
    let began = Instant::now();
    let clock: Arc<dyn Fn() -> u64 + Send + Sync> = Arc::new(move || NOW_MS + began.elapsed().as_millis() as u64);
    let service = Service::open(&config, 1, clock.clone()).unwrap();
    let site = Site::start(&config, 1, Behind::of(&service), clock).unwrap().unwrap();
    let (base, stop) = (format!("http://{}/v1", site.address()), service.stop());
    let asking = std::thread::spawn(move || {
        let url = format!("{base}/kpis");
        let mut answer = Value::Null;
        while began.elapsed() < Duration::from_secs(30) {
            answer = ask(&url, TOKEN).unwrap().1.unwrap();
            if sum(&answer, "decided") > 0 && sum(&answer, "orders") == sum(&answer, "decided") {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let refused = ask(&url, "another token of a length").unwrap().0;
        let told = Told::ask(&base);
        stop.store(true, Ordering::Relaxed);
        (answer, refused, told)
    });
    service.run(Box::new(|_| Ok(()))).unwrap();
    let (answer, refused, told) = asking.join().unwrap();
    site.stop().unwrap();
    assert_eq!(refused, 401);
    let decisions = Ledger::open_existing(&config.state).unwrap().decisions().unwrap();
    let followed = decisions.iter().filter(|it| &*it.campaign == "cart-abandonment" && it.outcome != Outcome::Suppress);
    let decided = followed.count() as i64;
    let counted = ["decided", "converted", "orders"].map(|member| sum(&answer, member));
    assert_eq!(decided, 30);
    assert_eq!(counted, [decided; 3], "{answer:#}");
    let revenue = arms(&answer).map(|arm| arm["revenue"].as_str().unwrap().parse::<i64>().unwrap());
    assert_eq!(revenue.sum::<i64>(), 30 * decided);
    assert!(answer["as_of"].as_str().unwrap() > "2025-12-31", "{answer:#}");
    told.is_of(&decisions);
}

/// What was told of one of the customers.
struct Told {
    customer: Value,
    pages: Vec<Value>,
    decision: Value,
    nobody: u16,
    /// What is shown when a mail of it is opened: of the stock, of a product that is not in it, and to who has another's link.
    live: [(u16, String); 3],
}

impl Told {
    fn ask(base: &str) -> Told {
        let get = |path: &str| ask(&format!("{base}/{path}"), TOKEN).unwrap();
        let customer = get("customers/customer-7-of-a-test").1.unwrap();
        let id = customer["decisions"][0]["decision_id"].as_str().unwrap().to_owned();
        let mut pages = vec![get("triggers?limit=7").1.unwrap()];
        while let Some(next) = pages.last().unwrap()["next"].as_str() {
            pages.push(get(&format!("triggers?limit=7&after={next}")).1.unwrap());
        }
        let decision = get(&format!("decisions/{id}")).1.unwrap();
        let live = |does, sku: &str| {
            let (decision, customer) = (id.parse().unwrap(), "customer-7-of-a-test".to_owned());
            let seal = Seal::of(&Secret::new(TOKEN.as_bytes()).unwrap());
            let token = seal.seal(&Token { decision, customer, does }).unwrap();
            text(&format!("{}/live/{token}/stock?sku={sku}", base.trim_end_matches("/v1")))
        };
        let live = [live(Does::Live, "s1"), live(Does::Live, "s2"), live(Does::Open, "s1")];
        Told { customer, pages, decision, nobody: get("customers/nobody").0, live }
    }

    /// All of it is what the ledger has, and what was sent to the topics.
    fn is_of(&self, decisions: &[Decision]) {
        let Told { customer, pages, decision, nobody, live } = self;
        assert!(live[0].0 == 200 && live[0].1.contains(">In stock</span>"), "{live:?}");
        assert_eq!([&live[1], &live[2]], [&(404, String::new()); 2]);
        assert_eq!(*nobody, 404);
        let own: Vec<_> = decisions.iter().filter(|it| &*it.customer_id == "customer-7-of-a-test").collect();
        let told = customer["decisions"].as_array().unwrap();
        assert_eq!((told.len(), customer["waiting"].as_array().unwrap().len()), (own.len(), 0), "{customer:#}");
        assert_eq!(customer["profile"]["email"], "a@example.com");
        assert_eq!(customer["profile"]["consent"], true);
        // The order has closed the cart, and with it the episode: no page of the set has one.
        assert_eq!((&customer["history"]["orders"], &customer["carts"]), (&json!(1), &json!([])), "{customer:#}");
        assert!(told[0]["why"].as_str().is_some_and(|why| !why.is_empty()), "{customer:#}");
        assert!(told.iter().all(|it| it["as_of"].as_str() <= customer["as_of"].as_str()), "{customer:#}");
        let named = |name: &'static str| pages.iter().flat_map(move |page| page[name].as_array().into_iter().flatten());
        assert!(named("episodes").all(|it| it["campaign"] != "cart-abandonment"), "{pages:#?}");
        assert!(pages.iter().all(|page| page["counts"]["cart-abandonment"] == 0), "{pages:#?}");
        assert_eq!(decision["decision"]["decision_id"], told[0]["decision_id"]);
        let gates = decision["gates"].as_array().unwrap();
        assert_eq!((&gates[0]["gate"], &gates[0]["answer"]), (&json!("unreachable"), &json!("passed")), "{decision:#}");
        let is_send = decision["decision"]["outcome"] == "send";
        assert_eq!(decision["delivery"].is_object(), is_send, "{decision:#}");
        assert_eq!(decision["holds"], if is_send { json!(false) } else { Value::Null });
    }
}
