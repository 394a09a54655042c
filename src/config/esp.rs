//! The e-mail service provider (SPEC §6, §10). In: the `[esp]` section. Out: [`Esp`]. Fails into the report.

use std::env;
use std::fmt;

use reqwest::Url;

use super::section::{Section, Value};

/// `requests_per_second` unless set.
const REQUESTS_PER_SECOND: u32 = 10;
/// `timeout` unless set, in milliseconds.
const TIMEOUT_MS: u64 = 10_000;
/// `max_in_flight` unless set.
const MAX_IN_FLIGHT: u32 = 32;
/// `unknown_after` unless set, in milliseconds.
const UNKNOWN_AFTER_MS: u64 = 86_400_000;

/// Who sends the mails, and how it is asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Esp {
    /// Whose protocol is spoken.
    pub kind: EspKind,
    /// Name of the environment variable that holds the key; always given, but for `http` and `smtp`.
    pub api_key_env: Option<String>,
    /// Where the requests go: `http` or `https`; for `smtp`, `smtp` or `smtps`.
    pub base_url: Url,
    /// The sender.
    pub from: Mailbox,
    /// The most requests in a second, at least 1; 10 unless set.
    pub requests_per_second: u32,
    /// How long to wait for an answer, in milliseconds; 10 s unless set. After it a delivery is `unknown` (SPEC §6).
    pub timeout_ms: u64,
    /// Whether a request repeated with the same `Idempotency-Key` is sent once, so that `unknown` may be retried (SPEC §6).
    /// A property of the kind; for `http` as configured, `false` unless set.
    pub honours_idempotency_key: bool,
    /// The most requests without an answer yet, at least 1; 32 unless set.
    pub max_in_flight: u32,
    /// How long an `unknown` delivery waits for the ESP's webhook, in milliseconds, before it is dead-lettered; a day unless
    /// set (SPEC §6).
    pub unknown_after_ms: u64,
}

/// The protocols that can be spoken (SPEC §10).
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
    /// Beckon's own JSON request, for a gateway of one's own.
    Http,
}

const KINDS: [(&str, EspKind); 7] = [
    ("sendgrid", EspKind::Sendgrid),
    ("postmark", EspKind::Postmark),
    ("mailgun", EspKind::Mailgun),
    ("ses", EspKind::Ses),
    ("resend", EspKind::Resend),
    ("smtp", EspKind::Smtp),
    ("http", EspKind::Http),
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
            EspKind::Ses | EspKind::Smtp | EspKind::Http => None,
        }
    }

    /// The one that documents an `Idempotency-Key`.
    fn honours_idempotency_key(self) -> bool {
        self == EspKind::Resend
    }

    fn needs_key(self) -> bool {
        !matches!(self, EspKind::Smtp | EspKind::Http)
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

/// Reads the section. With `mailing`, the key must be in the environment.
pub(super) fn read(section: Section<'_>, mailing: bool) -> Option<Esp> {
    let kind = section.required("kind", "such as: kind = \"sendgrid\"").and_then(|value| {
        let kind = value.clone().one_of(&KINDS)?;
        value.refuse_unbuilt(&format!("esp.kind.{}", kind.name()), &format!("ESP `{}`", kind.name()));
        Some(kind)
    });
    let api_key_env = read_key(&section, kind, mailing);
    let base_url = read_base_url(&section, kind);
    let from = section.required("from", "the sender, such as: from = \"Shop <shop@example.com>\"");
    let from = from.and_then(read_mailbox);
    let per_second = section.get("requests_per_second").and_then(|value| value.count(1..=100_000));
    let timeout_ms = section.get("timeout").and_then(Value::positive_ms).unwrap_or(TIMEOUT_MS);
    let max_in_flight = section.get("max_in_flight").and_then(|value| value.count(1..=10_000));
    let unknown_after_ms = section.get("unknown_after").and_then(Value::positive_ms).unwrap_or(UNKNOWN_AFTER_MS);
    let honours = match kind {
        Some(EspKind::Http) | None => section.get("honours_idempotency_key").and_then(Value::boolean).unwrap_or(false),
        Some(kind) => kind.honours_idempotency_key(),
    };
    section.finish_with(|key| {
        let own = (key == "honours_idempotency_key").then_some(kind?)?;
        let what = format!("kind `{}` does not take `{key}`", own.name());
        Some((what, "whether it does is known; only kind `http` has to say so".to_owned()))
    });
    Some(Esp {
        kind: kind?,
        api_key_env,
        base_url: base_url?,
        from: from?,
        requests_per_second: per_second.unwrap_or(REQUESTS_PER_SECOND),
        timeout_ms,
        honours_idempotency_key: honours,
        max_in_flight: max_in_flight.unwrap_or(MAX_IN_FLIGHT),
        unknown_after_ms,
    })
}

fn read_key(section: &Section<'_>, kind: Option<EspKind>, mailing: bool) -> Option<String> {
    let hint = "the name of the environment variable with the key, such as: api_key_env = \"SENDGRID_API_KEY\"";
    let needed = kind.is_some_and(EspKind::needs_key);
    let value = if needed { section.required("api_key_env", hint) } else { section.get("api_key_env") }?;
    let name = value.clone().env_name(hint)?;
    if mailing && env::var_os(name).is_none_or(|key| key.is_empty()) {
        value.fault(format!("the environment variable `{name}` is not set"), format!("export {name}=…"));
        return None;
    }
    Some(name.to_owned())
}

fn read_base_url(section: &Section<'_>, kind: Option<EspKind>) -> Option<Url> {
    let Some(value) = section.get("base_url") else {
        // Without a kind it is not known whether it may be left out.
        let default = kind?.base_url();
        if default.is_none() {
            let example = if kind == Some(EspKind::Smtp) { "smtp://localhost:25" } else { "http://127.0.0.1:9090" };
            section.fault("`base_url` is missing", format!("such as: base_url = \"{example}\""));
        }
        return Url::parse(default?).ok();
    };
    let text = value.clone().text()?;
    let schemes = kind.map_or(&["http", "https", "smtp", "smtps"][..], EspKind::schemes);
    let url = Url::parse(text).ok().filter(|url| schemes.contains(&url.scheme()) && url.has_host());
    if url.is_none() {
        let hint = format!("it begins with {}://, then the host", schemes.join(":// or "));
        value.fault(format!("`{text}` is not a URL for this"), hint);
    }
    url
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
