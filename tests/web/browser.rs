//! The dashboard in headless Chromium, driven by Playwright as somebody would use it: while the demo runs, and in a world in which every
//! field has script in it. And the page on which recipients choose. Skipped where there is no Chromium, Node or npm.
//!
//! With `BECKON_SCREENSHOTS=docs` the pictures of the documentation are drawn anew, in `dashboard` and `choices` there.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use beckon::decision::DecisionId;
use beckon::mails::{Mail, Mails};
use beckon::pipeline::lanes::dead_letters;
use beckon::pipeline::service::Service;
use beckon::pipeline::site::{Behind, Site};
use beckon_dataflows::model::Stream;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use serde_json::{Value, json};

use crate::fetched::{npm, version_of};
use crate::service::{NOW_MS, TOKEN, ask, configuration};
use crate::skip::{Skip, or_skip};
use crate::track;

const PLAYWRIGHT: &str = "playwright-core@1.57.0";

/// What looks, and the browser that it looks with.
struct Eyes {
    program: PathBuf,
    chromium: PathBuf,
}

impl Eyes {
    fn open() -> Result<Eyes, Skip> {
        let chromium = chromium().ok_or_else(|| {
            Skip::because("no Chromium; install chromium, or name one that is there by CHROMIUM=/path/of/it")
        })?;
        let node = version_of("node", "install Node.js 18 or newer")?;
        let major: u32 = node.trim_start_matches('v').split('.').next().unwrap_or_default().parse().unwrap_or(0);
        if major < 18 {
            return Err(Skip::because(format!("Playwright needs Node.js 18 or newer, and node is {node}")));
        }
        let look = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web/browser/look.mjs");
        Ok(Eyes { program: npm("playwright", PLAYWRIGHT, &look)?, chromium })
    }

    /// Looks, and returns what was seen.
    fn look(&self, what: &str, base: &str, token: &str, more: &[&str]) -> Value {
        let mut command = Command::new("node");
        command.arg(&self.program).arg(what).arg(&self.chromium).args([base, token]).args(more);
        let ran = command.stdin(Stdio::null()).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let saw: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(saw["faults"], json!([]), "{saw:#}");
        saw
    }
}

fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let names = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
}

/// Where pictures of this kind go, if they are wanted; else nowhere.
fn pictures(of: &str) -> String {
    let folder = std::env::var("BECKON_SCREENSHOTS").ok().filter(|folder| !folder.is_empty());
    folder.map(|folder| format!("{folder}/{of}")).unwrap_or_default()
}

/// A demo that is ended with the test.
struct Demo {
    process: Child,
    base: String,
    token: String,
}

impl Demo {
    fn start() -> Demo {
        let arguments = ["demo", "--listen", "127.0.0.1:0", "--speed", "240", "--for", "8m", "--mail", "/dev/null"];
        let mut process = Command::new(env!("CARGO_BIN_EXE_beckon"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map(Result::unwrap);
        let address = lines.find_map(|line| Some(line.strip_prefix("The dashboard: ")?.to_owned()));
        // Nobody else reads what it says.
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.expect("the demo says where its dashboard is");
        let (base, token) = address.split_once("/#token=").unwrap();
        Demo { base: base.to_owned(), token: token.to_owned(), process }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn somebody_looks_around_while_the_demo_runs() {
    let Some(eyes) = or_skip("somebody_looks_around_while_the_demo_runs", Eyes::open()) else { return };
    let demo = Demo::start();
    let saw = eyes.look("tour", &demo.base, &demo.token, &[&pictures("dashboard")]);
    let text = |name: &str| saw[name].as_str().unwrap_or_default();

    assert_eq!(
        (&saw["hidesToken"], &saw["isLive"], &saw["charts"]),
        (&json!(true), &json!(true), &json!(3)),
        "{saw:#}"
    );
    assert!(text("chart").contains("clickstream"), "{saw:#}");
    for shown in ["cart-abandonment", "Open rate (> 30 %)", "Click rate (> 10 %)", "Conversion (> 5 %)"] {
        assert!(text("kpis").contains(shown), "{shown}: {saw:#}");
    }
    assert_eq!(saw["firstTab"], "skip");

    assert!(!text("badRecord").is_empty() && !text("refusal").contains("said again"), "{saw:#}");
    assert_eq!((text("replayed"), &saw["visitor"]), ("said again", &json!(true)), "{saw:#}");

    for shown in ["consents", "Open carts", "Decided: send", "Mail of", "accepted"] {
        assert!(text("customer").contains(shown), "{shown}: {saw:#}");
    }
    let gates: Vec<&str> = saw["gates"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for gate in ["unreachable", "no consent", "frequency cap", "outranked"] {
        assert!(gates.iter().any(|row| row.starts_with(gate) && row.contains("passed")), "{gate}: {gates:#?}");
    }
    assert!(text("subject").len() > 3 && text("mail").contains("Unsubscribe"), "{saw:#}");
    assert_eq!(saw["tooWide"], json!([]));
}

/// Script in as many ways as a field can have it.
const SCRIPT: &str = "\"'><img src=x onerror=\"window.pwned=1\"><script>window.pwned=1;alert(1)</script>";

/// Profiles, products, carts and a record that is none, all of them with script in every text.
fn say_script(brokers: &str) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let send = |stream: Stream, record: Value| {
        let json = record.to_string();
        producer.send(BaseRecord::to(stream.name()).key("k").payload(&json)).map_err(|(error, _)| error).unwrap();
    };
    let at = NOW_MS - 3_600_000;
    let sku = format!("sku{SCRIPT}");
    for number in 0..4 {
        let user = customer(number);
        send(
            Stream::Profiles,
            json!({ "user_id": user, "email": "a@example.com", "first_name": SCRIPT, "locale": SCRIPT, "timezone": SCRIPT,
                "consent": { "email": true }, "attributes": { SCRIPT: SCRIPT, "page": "javascript:window.pwned=1" },
                "updated_at": at }),
        );
        let line = json!({ "sku": sku, "quantity": 1, "price": "30.00" });
        send(
            Stream::Carts,
            json!({ "cart_id": format!("cart{number}{SCRIPT}"), "user_id": user, "updated_at": at, "currency": SCRIPT,
                "lines": [line] }),
        );
    }
    send(Stream::Inventory, json!({ "sku": sku, "on_hand": 99, "updated_at": at }));
    send(
        Stream::Catalog,
        json!({ "sku": sku, "name": SCRIPT, "brand": SCRIPT, "category": SCRIPT, "price": "30.00", "currency": "EUR",
            "url": "javascript:window.pwned=1", "image_url": SCRIPT, "updated_at": at }),
    );
    send(Stream::Carts, json!({ "user_id": SCRIPT, "updated_at": SCRIPT, "lines": [] }));
    producer.flush(Duration::from_secs(10)).unwrap();
}

fn customer(number: u32) -> String {
    format!("u{number}{SCRIPT}")
}

/// A customer to whom a mail was to be sent, and its decision, with which the sender has done: it makes no other mail of it.
fn settled(base: &str) -> (String, String) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        for number in 0..4 {
            let name: String = customer(number).bytes().map(|byte| format!("%{byte:02x}")).collect();
            let told = ask(&format!("{base}/v1/customers/{name}"), TOKEN).unwrap().1.unwrap_or_default();
            let decisions = told["decisions"].as_array().into_iter().flatten();
            let mut sends = decisions.filter(|it| it["delivery"]["state"] == "expired");
            if let Some(id) = sends.next().and_then(|it| it["decision_id"].as_str()) {
                return (customer(number), id.to_owned());
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nothing was settled");
}

/// A mail with script of its own.
fn keep_script(state: &Path, id: &str) {
    let html = format!(
        "<p>A mail {SCRIPT}</p><script>parent.pwned=1;top.location='/gone'</script><a href=\"/gone\" target=\"_top\">away</a>\
         <form action=\"/gone\"><button>send</button></form><meta http-equiv=\"refresh\" content=\"0;url=/gone\">"
    );
    let mails = Mails::open(state, 100).unwrap();
    let (from, to, subject, text) = (SCRIPT.into(), SCRIPT.into(), SCRIPT.into(), SCRIPT.into());
    mails.keep(id.parse::<DecisionId>().unwrap(), Mail { made_ms: NOW_MS, from, to, subject, text, html });
    mails.forget(Vec::new());
}

#[test]
fn script_in_every_field_is_shown_and_runs_nowhere() {
    let Some(eyes) = or_skip("script_in_every_field_is_shown_and_runs_nowhere", Eyes::open()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    Stream::ALL.into_iter().for_each(|stream| broker.create_topic(stream.name(), 1, 1).unwrap());
    let mut config = configuration(directory.path(), &broker.bootstrap_servers());
    config.web.as_mut().unwrap().open_figures = true;
    say_script(&config.kafka.as_ref().unwrap().brokers);
    let began = Instant::now();
    let clock: Arc<dyn Fn() -> u64 + Send + Sync> = Arc::new(move || NOW_MS + began.elapsed().as_millis() as u64);
    let service = Service::open(&config, 1, clock.clone()).unwrap();
    let site = Site::start(&config, 1, Behind::of(&service), clock).unwrap().unwrap();
    let (base, stop, state) = (format!("http://{}", site.address()), service.stop(), config.state.clone());
    let looking = std::thread::spawn(move || {
        let (customer, decision) = settled(&base);
        keep_script(&state, &decision);
        let saw = std::panic::catch_unwind(|| eyes.look("hostile", &base, TOKEN, &[&customer, &decision]));
        stop.store(true, Ordering::Relaxed);
        saw
    });
    let mut letters = dead_letters(&config.state, 0).unwrap();
    service.run(Box::new(move |letter| letters.write(&letter.json()))).unwrap();
    let saw = looking.join().unwrap().unwrap_or_else(|fault| std::panic::resume_unwind(fault));
    site.stop().unwrap();

    assert_eq!(saw["ran"], json!([]), "{saw:#}");
    assert!(saw["withoutToken"].as_str().unwrap().contains("needs the token"), "{saw:#}");
    assert!(saw["withAnother"].as_str().unwrap().contains("needs the token"), "{saw:#}");
    // It was there to be run: as text, each character of it.
    for view in ["customer", "decision", "triggers", "mail as Text", "mail as HTML"] {
        assert!(saw["shown"][view].as_str().unwrap().contains(SCRIPT), "{view}: {saw:#}");
    }
    let in_a_record = json!(SCRIPT).to_string();
    assert!(saw["shown"]["letters"].as_str().unwrap().contains(&in_a_record), "{saw:#}");
    assert!(saw["framed"].as_str().unwrap().starts_with("A mail"), "{saw:#}");
    assert_eq!(saw["frames"], json!(["", "mail"]), "neither went anywhere");
}

#[test]
fn a_recipient_chooses_by_keyboard_and_on_a_phone() {
    let Some(eyes) = or_skip("a_recipient_chooses_by_keyboard_and_on_a_phone", Eyes::open()) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let offers = ["Reminders of your cart", "When something is back in stock", "When a price falls", "News"];
    let site = runtime.block_on(track::Site::offering(&offers));
    let saw = eyes.look("choose", &site.base, "", &[&track::link_of("u4"), &pictures("choices")]);
    assert_eq!((&saw["boxes"], &saw["labels"]), (&json!(4), &json!(offers)), "{saw:#}");
    let by_keyboard = [&saw["firstTab"], &saw["unticked"]];
    assert_eq!((by_keyboard, &saw["button"]), ([&json!(true); 2], &json!("Save")), "{saw:#}");
    assert!(saw["saved"].as_str().unwrap().starts_with("Saved"), "{saw:#}");
    assert_eq!(saw["after"], json!([false, true, true, true]), "{saw:#}");
    assert_eq!((&saw["tooWide"], &saw["small"], &saw["unsubscribed"]), (&json!(false), &json!([]), &json!(true)));
    // Each was told, and what was acknowledged before the state has it is where the next choice begins.
    let told = runtime.block_on(site.broker.told(3));
    let declined: Vec<&Value> = told.iter().map(|record| &record["declined"]).collect();
    let names = [json!(["campaign-0"]), json!(["campaign-0", "campaign-1"]), Value::Null];
    assert_eq!(declined, names.iter().collect::<Vec<_>>());
    assert_eq!(told[2]["type"], "unsubscribed");
}
