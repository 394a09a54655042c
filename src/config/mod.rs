//! The configuration (SPEC §10). In: one TOML file, and the templates that it names. Out: a [`Config`] that cannot be wrong,
//! defaults filled in, or [`Faults`]: everything that is wrong, all at once, each with its place.
//!
//! The document is walked by hand (`section.rs`) rather than by serde, which would stop at the first fault. A new key is
//! read in its section's file, next to the field it fills; there is no list of keys to keep in step, since a key nobody asked
//! for is an unknown one.
//!
//! Durations are milliseconds in fields that end in `_ms`. Relative paths are relative to the file, so that a service
//! started from another folder finds the same ledger.

mod campaign;
mod collect;
mod duration;
mod enrich;
mod esp;
mod expression;
mod fault;
mod fingerprint;
mod kafka;
mod kinds;
mod limits;
mod nearest;
mod secret;
mod section;
mod telemetry;
mod template;
#[cfg(test)]
mod tests;
mod tracking;
mod trigger;
mod web;
mod webhooks;

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Url;
use toml::de::DeTable;

pub use campaign::{Campaign, Discount, Variant};
pub use collect::{Collect, WriteKey};
pub use enrich::Enrichment;
pub use esp::{DEFAULT as DEFAULT_ESP, Encryption, Esp, EspKind, KeySource, Mailbox, Own};
pub use expression::Expression;
pub use fault::{Fault, Faults, Place};
pub use kafka::Kafka;
pub use kinds::{Custom, Keys, KindFault, TriggerKind, TriggerKinds};
pub use limits::{FrequencyCap, Limits, QuietHours};
pub use secret::SecretSource;
pub use section::Value;
pub use template::PARTS as TEMPLATE_PARTS;
pub use tracking::{Tracking, Utm};
pub use trigger::{StockRule, Trigger};
pub use web::Web;
pub use webhooks::{BasicAuth, Webhooks};

use section::{Report, Section};
use template::Templates;

const DAY_MS: u64 = 86_400_000;

/// The most SKUs of a customer that may count for similarity: what a record costs grows with them, and memory with their square.
const RECENT_MAX: u32 = 100;

/// The section with the streams, and an example of what it says.
const KAFKA: (&str, &str) = ("kafka", "brokers = \"localhost:9092\"");

/// An example of what `[web]` says.
const LISTEN: &str = "listen = \"127.0.0.1:8080\"";

/// The largest configuration that is read, in bytes.
const FILE_BYTES_MAX: usize = 4 << 20;

/// A whole configuration, every value checked (SPEC §10).
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Milliseconds between ticks: at least 2, and a whole number of them makes a day; 1 s unless set (SPEC §2).
    pub tick_ms: u64,
    /// How far a partition's watermark is behind its greatest event time, in milliseconds; 5 s unless set (SPEC §2).
    pub allowed_lateness_ms: u64,
    /// How long a live partition may be silent before it follows the wall clock, in milliseconds; 10 s unless set (SPEC §2).
    pub idle_after_ms: u64,
    /// A snapshot is taken of the multiples of this time, in milliseconds: 10 minutes unless set, none where it is off
    /// (ARCHITECTURE, "Snapshots").
    pub snapshot_every_ms: Option<u64>,
    /// A hash of all that the state depends on: what it has of one configuration is of no use under another.
    pub state_fingerprint: u64,
    /// How long what does not change is kept at least, in milliseconds; 90 days unless set (ARCHITECTURE, "What leaves").
    pub forget_after_ms: u64,
    /// What becomes of a customer's carts, orders and the rest when their profile is deleted (ARCHITECTURE, "Erasure").
    pub erasure: Erasure,
    /// How long after a decision an order counts for it, in milliseconds; 5 days unless set (SPEC §9).
    pub attribution_ms: u64,
    /// How long the frontier may stand still while the inputs go on before a running service ends itself, to be started again;
    /// 5 minutes unless set, in milliseconds.
    pub watchdog_after_ms: u64,
    /// The folder of ledger, timeline and snapshots; `state` beside the file unless set (SPEC §10).
    pub state: PathBuf,
    /// The folder of the templates; `templates` beside the file unless set (SPEC §10).
    pub templates: PathBuf,
    /// Where the streams are; always there for [`Purpose::Run`] (SPEC §10).
    pub kafka: Option<Kafka>,
    /// Limits over all campaigns (SPEC §5, §10).
    pub limits: Limits,
    /// What makes SKUs similar (SPEC §3).
    pub similar: Similar,
    /// The campaigns in the order of the file: the index is the engine's campaign number (SPEC §4, §5).
    pub campaigns: Vec<Campaign>,
    /// What is fetched when a mail is rendered, in the order of the file (SPEC §10).
    pub enrichments: Vec<Enrichment>,
    /// Who sends the mails, in the order of the file: one, or those that campaigns choose from; always there for [`Purpose::Run`]
    /// (SPEC §6, §10; ARCHITECTURE, "Several ESPs").
    pub esps: Vec<Esp>,
    /// The secret of the discounts' codes; always there where a campaign that is run has a discount (SPEC §6).
    pub coupons: Option<SecretSource>,
    /// How links in mails lead back to us; without it they are plain (SPEC §8).
    pub tracking: Option<Tracking>,
    /// Where Beckon answers over HTTP; nowhere without it (SPEC §8).
    pub web: Option<Web>,
    /// What it takes in there; nothing without it (SPEC §8).
    pub collect: Option<Collect>,
    /// Whose webhooks it takes there; nobody's without it (SPEC §8).
    pub webhooks: Option<Webhooks>,
    /// The collector that hears of mails as spans, over OTLP; nobody without it.
    pub telemetry: Option<Url>,
    /// Whether a running service maintains the KPIs (SPEC §9): where `[web]` has a token for who may read them, and in the demo.
    pub measures: bool,
}

/// What becomes of the rest when a profile is deleted; the profile itself is gone at once, and nothing is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Erasure {
    /// It stays: their episodes are found, and suppressed as `unreachable` (SPEC §5).
    #[default]
    Suppress,
    /// It is forgotten at that tick, as if it had never been.
    Forget,
}

/// As they are written.
const ERASURES: [(&str, Erasure); 2] = [("suppress", Erasure::Suppress), ("forget", Erasure::Forget)];

/// What makes SKUs similar (SPEC §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Similar {
    /// How long an interest counts, in milliseconds; 7 days unless set.
    pub window_ms: u64,
    /// How many of a customer's latest distinct SKUs count, from 1 to 100; 20 unless set.
    pub recent: u32,
}

impl Default for Similar {
    fn default() -> Similar {
        Similar { window_ms: 7 * DAY_MS, recent: 20 }
    }
}

/// What a configuration is wanted for, which decides what it must have (SPEC §7, §10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `beckon run`: `[kafka]`, `[esp]` with its key in the environment, a whole template for all that may be sent, and
    /// where a campaign has a discount, `[coupons]` with its secret; those of `[tracking]`, `[collect]` and `[webhooks]`, where there are such.
    Run,
    /// `beckon demo`: the same, but the demo brings the secrets.
    Demo,
    /// `beckon replay`: nothing is sent, so neither `[kafka]` nor `[esp]` nor any template is needed or looked for.
    Replay,
    /// `beckon check`: all that is there must be right, the templates it names included; nothing need be there.
    Check,
    /// `beckon coupon`: `[coupons]` with its secret, and nothing else.
    Coupon,
    /// `beckon ingest`: `[kafka]`, `[web]`, and `[collect]` with its keys.
    Ingest,
}

impl Purpose {
    /// Whether mails are going to be sent.
    fn is_mailing(self) -> bool {
        matches!(self, Purpose::Run | Purpose::Demo)
    }

    /// Whether messages are going to be taken in over HTTP.
    fn collects(self) -> bool {
        matches!(self, Purpose::Run | Purpose::Ingest)
    }

    /// The sections that must be there, each with an example of what it says.
    fn needs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Purpose::Run | Purpose::Demo => &[KAFKA, ("esp", "kind, api_key_env and from")],
            Purpose::Ingest => &[KAFKA, ("web", LISTEN), ("collect", "[[collect.key]] with name and secret_env")],
            Purpose::Replay | Purpose::Check | Purpose::Coupon => &[],
        }
    }

    /// Whether templates are looked at.
    fn reads_templates(self) -> bool {
        self.is_mailing() || self == Purpose::Check
    }
}

impl Config {
    /// Reads and checks the configuration at `path`. Fails with every fault in it; with a single one when the file cannot
    /// be read, and with those of its syntax alone when it is not TOML.
    pub fn load(path: &Path, purpose: Purpose) -> Result<Config, Faults> {
        Config::load_with(path, purpose, &TriggerKinds::default())
    }

    /// The same, where campaigns may be on triggers of `kinds` too.
    pub fn load_with(path: &Path, purpose: Purpose, kinds: &TriggerKinds) -> Result<Config, Faults> {
        let refuse = |what, hint: &str| Err(Faults::one(Fault::of_file(path, what, Some(hint.to_owned()))));
        match fs::read(path) {
            Ok(bytes) if bytes.len() > FILE_BYTES_MAX => {
                refuse(format!("has {} bytes", bytes.len()), "a configuration has at most 4 MiB")
            }
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Config::parse_with(path, &text, purpose, kinds),
                Err(error) => refuse(format!("is not UTF-8: {}", error.utf8_error()), "TOML is UTF-8 text"),
            },
            Err(error) => refuse(format!("cannot be read: {error}"), "give the configuration with --config FILE"),
        }
    }

    /// Checks the configuration `text` as if it were read from `file`. Fails like [`Config::load`].
    pub fn parse(file: &Path, text: &str, purpose: Purpose) -> Result<Config, Faults> {
        Config::parse_with(file, text, purpose, &TriggerKinds::default())
    }

    /// The same, where campaigns may be on triggers of `kinds` too.
    pub fn parse_with(file: &Path, text: &str, purpose: Purpose, kinds: &TriggerKinds) -> Result<Config, Faults> {
        parse(file, text, purpose, kinds)
    }

    /// The ESP of a campaign; none where none is configured.
    pub fn esp_of(&self, campaign: &Campaign) -> Option<&Esp> {
        self.esps.iter().find(|esp| esp.name == campaign.esp)
    }

    /// Whether some campaign has a discount, so that codes are needed.
    pub fn gives_discounts(&self) -> bool {
        self.campaigns.iter().any(|campaign| !campaign.discounts.is_empty())
    }
}

fn parse(file: &Path, text: &str, purpose: Purpose, kinds: &TriggerKinds) -> Result<Config, Faults> {
    let report = Report::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let is_twice = error.message().contains("duplicate");
        let hint =
            if is_twice { "each key is given once" } else { "text and durations stand in quotes: tick = \"1s\"" };
        report.fault(error.span().unwrap_or(0..0), format!("not TOML: {}", error.message()), Some(hint.to_owned()));
    }
    // What is left of a document with broken syntax would be faulted for what was lost.
    if !errors.is_empty() {
        return Err(report.into_faults());
    }
    let config = read(file, &report, document.get_ref(), purpose, kinds);
    // A configuration only leaves here when there is no fault at all.
    let faults = report.into_faults();
    if faults.iter().len() == 0 { Ok(config) } else { Err(faults) }
}

fn read<'d>(
    file: &Path,
    report: &'d Report<'d>,
    document: &'d DeTable<'d>,
    purpose: Purpose,
    kinds: &TriggerKinds,
) -> Config {
    let section = Section::document(report, document);
    let beside = |name: &str| file.parent().unwrap_or(Path::new("")).join(name);
    let path = |key, default| beside(section.get(key).and_then(Value::text).unwrap_or(default));
    let mailing = purpose.is_mailing();

    let templates = path("templates", "templates");
    let shelf = Templates::new(purpose.reads_templates().then(|| templates.clone()));
    let table = |key: &'static str| section.get(key).and_then(|value| value.section(key));
    let kafka = table("kafka").map(kafka::read);
    let esp = table("esp");
    let esps = esp.as_ref().map(esp::names).unwrap_or_default();
    let asked = campaign::Asked { kinds, templates: &shelf, esps: &esps, mailing };
    let folder = beside("");
    let brokers = kafka.as_ref().map(|kafka| kafka.brokers.clone());
    let wanted = esp::Wanted { mailing, folder: &folder, brokers: brokers.as_deref() };
    let mut config = Config {
        file: file.to_owned(),
        tick_ms: section.get("tick").and_then(read_tick).unwrap_or(1_000),
        allowed_lateness_ms: section.get("allowed_lateness").and_then(Value::duration_ms).unwrap_or(5_000),
        idle_after_ms: section.get("idle_after").and_then(Value::positive_ms).unwrap_or(10_000),
        snapshot_every_ms: section.get("snapshot_every").map_or(Some(600_000), read_snapshot_every),
        state_fingerprint: fingerprint::of(document),
        forget_after_ms: section.get("forget_after").and_then(Value::positive_ms).unwrap_or(90 * DAY_MS),
        erasure: section.get("erasure").and_then(|value| value.one_of(&ERASURES)).unwrap_or_default(),
        attribution_ms: section.get("attribution").and_then(Value::positive_ms).unwrap_or(5 * DAY_MS),
        watchdog_after_ms: section.get("watchdog_after").and_then(Value::positive_ms).unwrap_or(300_000),
        state: path("state", "state"),
        templates,
        kafka,
        limits: table("limits").map(limits::read).unwrap_or_default(),
        similar: table("similar").map(read_similar).unwrap_or_default(),
        campaigns: section.get("campaign").map(|list| campaign::read_all(list, asked)).unwrap_or_default(),
        enrichments: table("enrich").map(enrich::read_all).unwrap_or_default(),
        esps: esp.map(|section| esp::read_all(section, wanted)).unwrap_or_default(),
        coupons: None,
        measures: false,
        web: table("web").map(|section| web::read(section, beside, mailing && purpose != Purpose::Demo)),
        tracking: table("tracking")
            .and_then(|section| tracking::read(section, beside, mailing && purpose != Purpose::Demo)),
        collect: table("collect").map(|section| collect::read(section, beside, purpose.collects())),
        telemetry: table("telemetry").and_then(telemetry::read),
        webhooks: table("webhooks").map(|section| webhooks::read(section, beside, mailing && purpose != Purpose::Demo)),
    };
    config.measures = purpose == Purpose::Demo || config.web.as_ref().is_some_and(|web| web.api_token.is_some());
    let needs_coupons = purpose == Purpose::Coupon || mailing && config.gives_discounts();
    let needs_secret = needs_coupons && purpose != Purpose::Demo;
    config.coupons = table("coupons").and_then(|section| {
        let source = secret::read(&section, "such as: secret_env = \"BECKON_COUPON_SECRET\"", beside, needs_secret);
        section.finish();
        source
    });
    if let Some(quiet) = config.limits.quiet_hours.as_ref().filter(|quiet| quiet.loud_ms() < config.tick_ms) {
        let loud_minutes = quiet.loud_ms() / 60_000;
        report.fault_of_file(
            format!("`limits.quiet_hours` leaves {loud_minutes} minutes a day, less than a `tick`"),
            "episodes would wait for ever; shorten the tick or the quiet hours",
        );
    }
    for (key, example) in purpose.needs() {
        if !section.has(key) {
            report.fault_of_file(format!("`[{key}]` is missing"), format!("a service that runs needs it: {example}"));
        }
    }
    let needs_web = ["collect", "webhooks"].into_iter().filter(|key| section.has(key) && !section.has("web"));
    for key in needs_web.filter(|_| purpose != Purpose::Ingest) {
        report.fault_of_file(format!("`[{key}]` is set, and `[web]` is not"), format!("say where to answer: {LISTEN}"));
    }
    if needs_coupons && !section.has("coupons") {
        report.fault_of_file(
            "`[coupons]` is missing",
            "codes of discounts are made and verified with a secret: secret_env = \"BECKON_COUPON_SECRET\"",
        );
    }
    section.finish();
    config
}

/// A tick, in milliseconds: a day's ticks are the same every day, and there is room for a moment between two.
fn read_tick(value: Value<'_>) -> Option<u64> {
    let tick_ms = value.clone().duration_ms()?;
    if tick_ms < 2 || !DAY_MS.is_multiple_of(tick_ms) {
        value.fault("`tick` must be at least 2ms, and divide a day evenly", "such as \"100ms\", \"1s\" or \"1m\"");
        return None;
    }
    Some(tick_ms)
}

/// A length of time, or off.
fn read_snapshot_every(value: Value<'_>) -> Option<u64> {
    if value.clone().text()? == "off" { None } else { value.positive_ms() }
}

fn read_similar(section: Section<'_>) -> Similar {
    let default = Similar::default();
    let similar = Similar {
        window_ms: section.get("window").and_then(Value::positive_ms).unwrap_or(default.window_ms),
        recent: section.get("recent").and_then(|value| value.count(1..=RECENT_MAX)).unwrap_or(default.recent),
    };
    section.finish();
    similar
}
