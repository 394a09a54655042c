//! Who sends the mails (SPEC §6, §10). In: the `[esp]` section, or several `[esp.NAME]`. Out: [`Esp`]s. Fails into the report.
//!
//! What every kind takes is here; what one alone takes is in `own.rs`.

mod key;
mod own;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::section::{Section, Value};
use crate::authorities::Authorities;

pub use key::KeySource;
pub use own::{Encryption, Own};

/// The name of the one `[esp]`, and of the one among several that campaigns use which name none.
pub const DEFAULT: &str = "default";

/// `requests_per_second` unless set.
const REQUESTS_PER_SECOND: u32 = 10;
/// `timeout` unless set, in milliseconds.
const TIMEOUT_MS: u64 = 10_000;
/// `max_in_flight` unless set.
const MAX_IN_FLIGHT: u32 = 32;
/// `unknown_after` unless set, in milliseconds.
const UNKNOWN_AFTER_MS: u64 = 86_400_000;
/// How long Resend knows an idempotency key, less an hour for clocks and queues, in milliseconds.
const RESEND_KNOWS_KEYS_MS: u64 = 23 * 3_600_000;
/// The most ESPs that a configuration may have.
const ESPS_MAX: usize = 100;

/// One who sends mails, and how it is asked to.
#[derive(Clone, Debug, PartialEq)]
pub struct Esp {
    /// The table's; [`DEFAULT`] of the one `[esp]`.
    pub name: String,
    /// Whose protocol is spoken.
    pub kind: EspKind,
    /// Where the key is; always given, but for `http`, `smtp` and `kafka`.
    pub key: Option<KeySource>,
    /// Where the requests go: `http` or `https`; for `smtp`, `smtp` or `smtps`; none for `kafka`.
    pub base_url: Option<Url>,
    /// A file of certificates (PEM) whose servers are trusted beside those that this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// The sender.
    pub from: Mailbox,
    /// The most requests in a second, at least 1; 10 unless set.
    pub requests_per_second: u32,
    /// How long to wait for an answer, in milliseconds; 10 s unless set. After it a delivery is `unknown` (SPEC §6).
    pub timeout_ms: u64,
    /// Whether a request repeated with the same `Idempotency-Key` is sent once, so that `unknown` may be retried (SPEC §6).
    /// A property of the kind; for `http` (`false` unless set) and `kafka` (`true` unless set) as configured.
    pub honours_idempotency_key: bool,
    /// The most requests without an answer yet, at least 1; 32 unless set.
    pub max_in_flight: u32,
    /// How long an `unknown` delivery waits for the ESP's webhook, in milliseconds, before it is dead-lettered; a day unless
    /// set (SPEC §6), 23 h at most where the ESP forgets keys after a day.
    pub unknown_after_ms: u64,
    /// What its kind alone takes.
    pub own: Own,
}

/// The protocols that can be spoken (SPEC §10, and `kafka`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EspKind {
    /// Twilio SendGrid, v3.
    Sendgrid,
    /// Postmark.
    Postmark,
    /// Mailgun, v3.
    Mailgun,
    /// Amazon SES, v2.
    Ses,
    /// Resend.
    Resend,
    /// Any SMTP server.
    Smtp,
    /// JSON over HTTP: Beckon's own request for a gateway of one's own, or one of the configuration's.
    Http,
    /// A Kafka topic, for channels other than e-mail.
    Kafka,
}

const KINDS: [(&str, EspKind); 8] = [
    ("sendgrid", EspKind::Sendgrid),
    ("postmark", EspKind::Postmark),
    ("mailgun", EspKind::Mailgun),
    ("ses", EspKind::Ses),
    ("resend", EspKind::Resend),
    ("smtp", EspKind::Smtp),
    ("http", EspKind::Http),
    ("kafka", EspKind::Kafka),
];

impl EspKind {
    /// The kind's name in the configuration.
    pub fn name(self) -> &'static str {
        KINDS[self as usize].0
    }

    /// Where the provider's API is; nothing where that depends on the account.
    fn base_url(self) -> Option<&'static str> {
        match self {
            EspKind::Sendgrid => Some("https://api.sendgrid.com"),
            EspKind::Postmark => Some("https://api.postmarkapp.com"),
            EspKind::Mailgun => Some("https://api.mailgun.net"),
            EspKind::Resend => Some("https://api.resend.com"),
            EspKind::Ses | EspKind::Smtp | EspKind::Http | EspKind::Kafka => None,
        }
    }

    /// Whether it sends a request of one key once. `None`: the configuration says so, or this.
    fn honours_idempotency_key(self) -> Result<bool, bool> {
        match self {
            EspKind::Http => Err(false),
            EspKind::Kafka => Err(true),
            kind => Ok(kind == EspKind::Resend),
        }
    }

    fn needs_key(self) -> bool {
        !matches!(self, EspKind::Smtp | EspKind::Http | EspKind::Kafka)
    }

    fn schemes(self) -> &'static [&'static str] {
        if self == EspKind::Smtp { &["smtp", "smtps"] } else { &["http", "https"] }
    }
}

/// A sender: an address, perhaps with a name. Holds no control characters, so it cannot add a header of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The name to show.
    pub name: Option<String>,
    /// The address, `local@domain`.
    pub address: String,
}

impl fmt::Display for Mailbox {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(out, "\"{}\" <{}>", name.replace('\\', "\\\\").replace('"', "\\\""), self.address),
            None => out.write_str(&self.address),
        }
    }
}

/// What reading an ESP needs to know.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Mails are going to be sent: the keys must be there.
    pub mailing: bool,
    /// The folder that relative paths are relative to.
    pub folder: &'a Path,
    /// The brokers of `[kafka]`.
    pub brokers: Option<&'a str>,
}

/// The names of the ESPs that `[esp]` has, as campaigns may use them.
pub(super) fn names<'d>(section: &Section<'d>) -> Vec<&'d str> {
    if is_one(section) { vec![DEFAULT] } else { section.entries().into_iter().map(|(name, ..)| name).collect() }
}

/// Whether `[esp]` is an ESP itself, rather than a table of them.
fn is_one(section: &Section<'_>) -> bool {
    section.has("kind") || !section.entries().iter().all(|(_, _, value)| value.is_table())
}

/// Reads the one ESP, or each of several.
pub(super) fn read_all(section: Section<'_>, wanted: Wanted<'_>) -> Vec<Esp> {
    if is_one(&section) {
        return read(DEFAULT, section, wanted).into_iter().collect();
    }
    let entries = section.entries();
    if entries.is_empty() || entries.len() > ESPS_MAX {
        let hint = "kind, api_key_env and from; or several in tables [esp.NAME]";
        section.fault(format!("`[esp]` has {} ESPs, of which there must be from 1 to {ESPS_MAX}", entries.len()), hint);
    }
    let read_one = |(name, span, value): (&str, _, Value<'_>)| {
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            let hint = "letters, digits, `_` and `-`".to_owned();
            value.report().fault(span, format!("`{name}` cannot be an ESP's name"), Some(hint));
        }
        read(name, value.section("esp")?, wanted)
    };
    entries.into_iter().filter_map(read_one).collect()
}

/// Reads one ESP. When mails are going to be sent, its key must be there.
fn read(name: &str, section: Section<'_>, wanted: Wanted<'_>) -> Option<Esp> {
    let kind = section.required("kind", "such as: kind = \"sendgrid\"").and_then(|value| value.one_of(&KINDS));
    let key = key::read(&section, kind.is_some_and(EspKind::needs_key), wanted);
    let from = section.required("from", "the sender, such as: from = \"Shop <shop@example.com>\"");
    let from = from.and_then(read_mailbox);
    let own = own::read(&section, kind, from.as_ref(), wanted);
    let base_url = read_base_url(&section, kind, own.as_ref());
    if let (Some(Own::Smtp { username: Some(_), encryption: Encryption::None }), Some(Some(url))) = (&own, &base_url)
        && !(url.scheme() == "smtps" || is_this_machine(url))
    {
        let hint = "leave out encryption = \"none\", or send through this machine: base_url = \"smtp://localhost:25\"";
        section.fault("the password would cross the network in the clear", hint);
    }
    let encrypts = base_url.as_ref().is_none_or(|url| url.as_ref().is_some_and(|url| is_encrypted(url, own.as_ref())));
    let ca_file = if kind == Some(EspKind::Kafka) { None } else { read_ca_file(&section, encrypts, wanted) };
    let per_second = section.get("requests_per_second").and_then(|value| value.count(1..=100_000));
    let timeout_ms = section.get("timeout").and_then(Value::positive_ms).unwrap_or(TIMEOUT_MS);
    let max_in_flight = section.get("max_in_flight").and_then(|value| value.count(1..=10_000));
    let unknown_after_ms = read_unknown_after(&section, kind);
    let honours = match kind.map_or(Err(false), EspKind::honours_idempotency_key) {
        Err(unless_set) => section.get("honours_idempotency_key").and_then(Value::boolean).unwrap_or(unless_set),
        Ok(known) => known,
    };
    section.finish_with(|key| own::explain(key, kind?));
    Some(Esp {
        name: name.to_owned(),
        kind: kind?,
        key,
        base_url: base_url?,
        ca_file,
        from: from?,
        requests_per_second: per_second.unwrap_or(REQUESTS_PER_SECOND),
        timeout_ms,
        honours_idempotency_key: honours,
        max_in_flight: max_in_flight.unwrap_or(MAX_IN_FLIGHT),
        unknown_after_ms,
        own: own?,
    })
}

/// Whether a connection to `url` is encrypted, now or after STARTTLS.
fn is_encrypted(url: &Url, own: Option<&Own>) -> bool {
    match url.scheme() {
        "http" => false,
        "smtp" => !matches!(own, Some(Own::Smtp { encryption: Encryption::None, .. })),
        _ => true,
    }
}

/// When mails are going to be sent, there must be certificates in it.
fn read_ca_file(section: &Section<'_>, encrypts: bool, wanted: Wanted<'_>) -> Option<PathBuf> {
    let value = section.get("ca_file")?;
    let path = wanted.folder.join(value.clone().text()?);
    if !encrypts {
        let hint = "leave it out, or use https, smtps or STARTTLS";
        value.fault("`ca_file` is set, but nothing is encrypted on the way to this ESP", hint);
    } else if let Some(fault) = wanted.mailing.then(|| Authorities::read(&path).err()).flatten() {
        value.fault(
            fault,
            "a file with the certificate of your own authority, which begins -----BEGIN CERTIFICATE-----",
        );
    }
    Some(path)
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A message is never repeated when the ESP no longer knows its key.
fn read_unknown_after(section: &Section<'_>, kind: Option<EspKind>) -> u64 {
    let most_ms = if kind == Some(EspKind::Resend) { RESEND_KNOWS_KEYS_MS } else { u64::MAX };
    let Some(value) = section.get("unknown_after") else { return UNKNOWN_AFTER_MS.min(most_ms) };
    let set_ms = value.clone().positive_ms().unwrap_or(UNKNOWN_AFTER_MS);
    if set_ms > most_ms {
        value.fault("Resend forgets an idempotency key after a day", "at most: unknown_after = \"23h\"");
    }
    set_ms
}

/// The outer `None` is a fault, the inner one that there is nothing to be had.
fn read_base_url(section: &Section<'_>, kind: Option<EspKind>, own: Option<&Own>) -> Option<Option<Url>> {
    if kind == Some(EspKind::Kafka) {
        return Some(None);
    }
    let Some(value) = section.get("base_url") else {
        if let Some(Own::Ses { region, .. }) = own {
            return Some(Url::parse(&format!("https://email.{region}.amazonaws.com")).ok());
        }
        // Without a kind, or a region, it is not known whether it may be left out.
        let default = kind?.base_url();
        if default.is_none() && kind != Some(EspKind::Ses) {
            let example = if kind == Some(EspKind::Smtp) { "smtp://localhost:25" } else { "http://127.0.0.1:9090" };
            section.fault("`base_url` is missing", format!("such as: base_url = \"{example}\""));
        }
        return Some(Some(Url::parse(default?).ok()?));
    };
    let text = value.clone().text()?;
    let schemes = kind.map_or(&["http", "https", "smtp", "smtps"][..], EspKind::schemes);
    let url = Url::parse(text).ok().filter(|url| schemes.contains(&url.scheme()) && url.has_host());
    if url.is_none() {
        let hint = format!("it begins with {}://, then the host", schemes.join(":// or "));
        value.fault(format!("`{text}` is not a URL for this"), hint);
    }
    url.map(Some)
}

fn read_mailbox(value: Value<'_>) -> Option<Mailbox> {
    let text = value.clone().text()?;
    let mailbox = parse_mailbox(text);
    if mailbox.is_none() {
        value.fault(format!("`{text}` is not an e-mail sender"), "such as \"Shop <shop@example.com>\"");
    }
    mailbox
}

/// Reads `address`, `<address>`, `Name <address>` or `"Name" <address>`.
fn parse_mailbox(text: &str) -> Option<Mailbox> {
    let text = text.trim();
    if text.chars().any(char::is_control) {
        return None;
    }
    let (name, address) = match text.strip_suffix('>') {
        Some(rest) => rest.rsplit_once('<')?,
        None => ("", text),
    };
    let name = name.trim();
    let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
    let (local, domain) = address.split_once('@')?;
    let local_is_good = !local.is_empty() && local.chars().all(|c| !c.is_whitespace() && !"<>()[],;:\\\"@".contains(c));
    let label_is_good = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-') && !label.starts_with('-')
    };
    let is_good = local_is_good && domain.split('.').all(label_is_good) && address.len() <= 254;
    let has_brackets = name.contains(['<', '>']);
    (is_good && !has_brackets)
        .then(|| Mailbox { name: (!name.is_empty()).then(|| name.to_owned()), address: address.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_read_with_and_without_a_name() {
        let read = |text| parse_mailbox(text).map(|mailbox| mailbox.to_string());
        assert_eq!(read("shop@example.com").as_deref(), Some("shop@example.com"));
        assert_eq!(read("Shop <shop@example.com>").as_deref(), Some("\"Shop\" <shop@example.com>"));
        assert_eq!(read("\"Shop, Inc.\" <shop@example.com>").as_deref(), Some("\"Shop, Inc.\" <shop@example.com>"));
        assert_eq!(read("<shop@localhost>").as_deref(), Some("shop@localhost"));
    }

    #[test]
    fn what_is_no_sender_is_refused() {
        for text in [
            "shop",
            "@example.com",
            "shop@",
            "a b@example.com",
            "Shop <shop@example.com",
            "a@b@c",
            "a@b..c",
            "x\n<a@b>",
        ] {
            assert_eq!(parse_mailbox(text), None, "{text}");
        }
    }

    #[test]
    fn kinds_are_named_as_they_are_read() {
        for (name, kind) in KINDS {
            assert_eq!(kind.name(), name);
        }
    }
}
