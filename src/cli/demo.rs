//! `beckon demo`: a shop, a broker and an ESP in this process, and Beckon between them; nothing to set up (SPEC §7). The broker
//! is librdkafka's mock cluster, which keeps nothing: what the demo shows is the way of a decision, not durability.

mod recipients;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use beckon_dataflows::model::Stream;
use beckon_datagen::esp::{self, Esp, EspConfig, EspHandle};
use beckon_datagen::produce::{Pace, Progress, produce};
use beckon_datagen::shop::{Mix, Shop, ShopConfig};
use comfy_table::{Cell, CellAlignment, Table, presets};
use include_dir::{Dir, include_dir};
use rdkafka::mocking::MockCluster;

use crate::config::{Config, Purpose, SecretSource, Tracking, Utm, Web};
use crate::pipeline::lanes::dead_letters;
use crate::pipeline::live::WallClock;
use crate::pipeline::service::{Readings, Service};
use crate::pipeline::site::{Behind, Site};
use crate::secret::Secret;
use recipients::Recipients;

/// Partitions of each topic.
const PARTITIONS: i32 = 3;

/// How long the demo lasts unless said otherwise.
const LASTS: Duration = Duration::from_secs(60);

/// How late, in real time, the way through the broker may make a record.
const BROKER_DELAY: Duration = Duration::from_millis(1500);

/// The example campaigns, so that the demo needs no file.
static CAMPAIGNS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/campaigns");

/// The arguments of `beckon demo`.
#[derive(clap::Args)]
pub struct Arguments {
    /// How long, such as 60s or 5m [default: 60s; with --listen until interrupted]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lasts: Option<Duration>,
    /// Show the dashboard here, such as 127.0.0.1:8080, and let recipients open mails and follow links
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Open the dashboard in a browser; with --listen
    #[arg(long, requires = "listen")]
    open: bool,
    /// How many seconds of the shop's time pass in one of yours
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=600))]
    speed: u32,
    /// The shop's seed: the same seed is the same shop
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The shop's customers
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    customers: u32,
    /// Worker threads of the dataflow
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Where the rendered mail is written at the end
    #[arg(long, value_name = "FILE", default_value = "beckon-demo-mail.html")]
    mail: PathBuf,
    /// Show the live summary even if standard error is no terminal
    #[arg(long)]
    summary: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}; write it like 60s or 5m"))?;
    Duration::try_from(span).map_err(|_| "a time cannot be negative".into())
}

/// Runs the demo.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let directory = tempfile::tempdir().context("cannot make a directory for the demo")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let esp = runtime.block_on(Esp::start(esp_config(arguments.seed))).context("cannot start the simulated ESP")?;
    let (esp, broker) = (Arc::new(esp), start_broker()?);
    let mut config = configure(directory.path(), &broker.bootstrap_servers(), &esp, arguments.speed)?;
    let token = arguments.listen.map(|listen| show_on(listen, directory.path(), &mut config)).transpose()?;
    let lasts = arguments.lasts.or_else(|| arguments.listen.is_none().then_some(LASTS));
    say_what(arguments, lasts);
    let clock = compressed(arguments.speed);
    let service = Service::open(&config, arguments.workers.into(), clock.clone())?;
    let site = Site::start(&config, 1, Behind::of(&service), clock.clone())?;
    let (stop, readings, kpis) = (service.stop(), service.readings(), service.kpis());
    super::on_interrupt(stop.clone())?;
    lasts.into_iter().for_each(|lasts| end_after(lasts, stop.clone()));
    if let (Some(site), Some(token)) = (&site, token) {
        let (base_url, brokers) = (format!("http://{}", site.address()), broker.bootstrap_servers());
        say_where(&base_url, &token, arguments.open);
        let (engagement, speed) = (Recipients::topic(&brokers)?, arguments.speed);
        let recipients = Recipients { esp: esp.clone(), base_url, engagement, clock: clock.clone(), speed };
        runtime.spawn(recipients.run(stop.clone()));
    }
    let shop = Shop::new(shop_config(arguments, clock()));
    let (brokers, pace, closed) = (broker.bootstrap_servers(), Pace::Speed(arguments.speed.into()), stop.clone());
    let shopping = std::thread::spawn(move || produce(&brokers, shop, pace, &closed, &Arc::new(Progress::default())));
    let summary = super::summary::Shown::start(arguments.summary, readings.clone());
    let mut letters = dead_letters(&config.state, 0)?;
    let ran = service.run(Box::new(move |letter| letters.write(&letter.json())));
    summary.finish();
    ran?;
    site.map_or(Ok(()), Site::stop)?;
    shopping.join().map_err(|_| anyhow::anyhow!("the simulated shop failed"))??;
    let mail = write_mail(&esp, &arguments.mail)?;
    println!("{}", report(&readings, &esp.seen()));
    kpis.iter().for_each(|kpis| super::kpis::show(&kpis.report(), false));
    println!("\n{} deliveries were not settled when the demo ended", readings.deliveries().open());
    match mail {
        Some(subject) => {
            println!("One of the mails, «{subject}», is in {}: open it in a browser.", arguments.mail.display())
        }
        None => {
            println!("No mail was sent yet: carts are abandoned after 30 min of the shop's time; try a longer --for.")
        }
    }
    Ok(())
}

fn say_what(arguments: &Arguments, lasts: Option<Duration>) {
    let lasts = lasts.map_or("until interrupted".to_owned(), |lasts| format!("for {lasts:?}"));
    eprintln!(
        "A shop of {} customers, {}× faster than life, {lasts}: carts are abandoned after 30 min of its time.",
        arguments.customers, arguments.speed
    );
}

/// Says where the dashboard is. The token stands behind the `#`, which no browser sends to anybody.
fn say_where(base_url: &str, token: &str, open: bool) {
    let address = format!("{base_url}/#token={token}");
    eprintln!("The dashboard: {address}");
    if open {
        let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        let quiet = std::process::Stdio::null;
        let opened =
            std::process::Command::new(opener).arg(&address).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
        if opened.is_err() {
            eprintln!("(`{opener}` does not run here: open the address by hand)");
        }
    }
}

/// Has the dashboard shown at `listen`, and the mails' links lead there. Returns the token of who may read all of it.
fn show_on(listen: SocketAddr, directory: &Path, config: &mut Config) -> anyhow::Result<String> {
    // The links need the port before the service listens on it.
    let free = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let listen = free.local_addr()?;
    let (file, token) = (directory.join("token"), format!("{:032x}", rand::random::<u128>()));
    std::fs::write(&file, &token)?;
    let api_token = Some(SecretSource::File(file));
    config.web = Some(Web { listen, api_token, open_figures: true, mails_kept: 10_000 });
    config.tracking = Some(Tracking {
        base_url: format!("http://{listen}"),
        secret: SecretSource::File(directory.join("secret")),
        opens: true,
        clicks: true,
        utm: Some(Utm { source: "beckon".into(), medium: "email".into() }),
        unsubscribe_mailto: None,
    });
    Ok(token)
}

/// An ESP with the faults of a bad day.
fn esp_config(seed: u64) -> EspConfig {
    let faults =
        esp::FaultShares { too_many: 0.03, unavailable: 0.01, failed: 0.01, timeout_after_accept: 0.005, refuse: 0.0 };
    EspConfig { seed, delay: Duration::from_millis(20), hold: Duration::from_secs(1), faults, ..EspConfig::default() }
}

fn start_broker() -> anyhow::Result<MockCluster<'static, rdkafka::producer::DefaultProducerContext>> {
    let broker = MockCluster::new(1).context("cannot start the embedded broker")?;
    for stream in Stream::ALL {
        broker.create_topic(stream.name(), PARTITIONS, 1).with_context(|| format!("cannot make the topic {stream}"))?;
    }
    Ok(broker)
}

/// The example configuration, pointed at the demo's broker and ESP.
fn configure(directory: &Path, brokers: &str, esp: &EspHandle, speed: u32) -> anyhow::Result<Config> {
    CAMPAIGNS.extract(directory).context("cannot unpack the example campaigns")?;
    let mut config = Config::load(&directory.join("beckon.toml"), Purpose::Demo)?;
    let secret = directory.join("secret");
    std::fs::write(&secret, rand::random::<[u8; 2 * Secret::BYTES_MIN]>())?;
    let source = SecretSource::File(secret);
    config.tracking.iter_mut().for_each(|tracking| tracking.secret = source.clone());
    config.coupons = Some(source);
    if let Some(kafka) = &mut config.kafka {
        kafka.brokers = brokers.into();
        // The embedded broker keeps little, and cannot compact.
        kafka.mirror_prefix = None;
    }
    config.state = directory.join("state");
    std::fs::create_dir(&config.state)?;
    for configured in &mut config.esps {
        configured.base_url = Some(esp.base_url().parse()?);
        configured.timeout_ms = 800;
    }
    // The shop's time runs faster; the way through the broker does not.
    let delay_ms = u64::try_from(BROKER_DELAY.as_millis())? * u64::from(speed);
    config.allowed_lateness_ms = config.allowed_lateness_ms.max(delay_ms);
    config.idle_after_ms = config.idle_after_ms.max(delay_ms);
    Ok(config)
}

/// A clock that starts now and runs `speed` times as fast.
fn compressed(speed: u32) -> WallClock {
    let began = Instant::now();
    let start_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    Arc::new(move || start_ms + began.elapsed().as_millis() as u64 * u64::from(speed))
}

fn shop_config(arguments: &Arguments, start_ms: u64) -> ShopConfig {
    ShopConfig {
        seed: arguments.seed,
        start_ms: start_ms as i64,
        customers: arguments.customers,
        records_per_second: ShopConfig::default_rate(Mix::Shop, arguments.customers),
        ..ShopConfig::default()
    }
}

fn end_after(lasts: Duration, stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        std::thread::sleep(lasts);
        stop.store(true, Ordering::Relaxed);
    });
}

/// Writes the latest mail that the ESP took, and returns its subject.
fn write_mail(esp: &EspHandle, path: &Path) -> anyhow::Result<Option<String>> {
    let text = |message: &esp::Message, member: &str| message.body[member].as_str().map(str::to_owned);
    let Some(message) = esp.latest_messages(1).pop() else { return Ok(None) };
    let html = text(&message, "html").unwrap_or_default();
    std::fs::write(path, html).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(text(&message, "subject"))
}

/// What came of it.
fn report(readings: &Readings, esp: &esp::Totals) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut above = "";
    let mut row = |of: &'static str, what: String, count: u64| {
        let heading = if of == std::mem::replace(&mut above, of) { "" } else { of };
        table.add_row([Cell::new(heading), Cell::new(what), Cell::new(count).set_alignment(CellAlignment::Right)]);
    };
    for stream in Stream::ALL {
        row("records", stream.name().into(), readings.meter.records_of(stream));
    }
    row("records", "bad".into(), readings.meter.bad_records().values().sum());
    for ((outcome, reason), count) in readings.meter.decisions() {
        let reason = reason.map(|reason| format!(": {}", reason.name())).unwrap_or_default();
        row("decisions", format!("{}{reason}", outcome.name()), count);
    }
    for (state, count) in readings.deliveries().deliveries {
        row("deliveries", state.name().into(), count);
    }
    row("ESP", "requests".into(), esp.requests);
    row("ESP", "answered 429, 503 or 500".into(), esp.too_many + esp.unavailable + esp.failed);
    row("ESP", "taken, and never answered".into(), esp.timed_out);
    row("ESP", "mails taken".into(), esp.distinct_keys);
    row("ESP", "mails taken twice".into(), esp.keys_accepted_more_than_once);
    table
}
