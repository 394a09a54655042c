//! What one kind of ESP takes and no other. In: the ESP's section. Out: [`Own`]. Fails into the report. Which keys are whose is said once,
//! in [`KEYS`].

use reqwest::header::HeaderName;

use super::{EspKind, KeySource, Mailbox, Wanted, key};
use crate::body_template::BodyTemplate;
use crate::config::kafka;
use crate::config::section::{Section, Value};

/// What one kind takes and no other.
#[derive(Clone, Debug, PartialEq)]
pub enum Own {
    /// Of `sendgrid` and `resend`: nothing.
    Nothing,
    /// Of `postmark`.
    Postmark {
        /// The message stream; `outbound` unless set.
        stream: String,
    },
    /// Of `mailgun`.
    Mailgun {
        /// The sending domain; that of `from` unless set.
        domain: String,
    },
    /// Of `ses`.
    Ses {
        /// Such as `eu-west-1`.
        region: String,
        /// Where the access key's id is; `AWS_ACCESS_KEY_ID` unless set.
        access_key_id: KeySource,
        /// Where the session token of temporary credentials is; none unless set.
        session_token: Option<KeySource>,
        /// The configuration set whose event destinations get the events; the identity's own unless set.
        configuration_set: Option<String>,
    },
    /// Of `smtp`.
    Smtp {
        /// Whom the key is the password of.
        username: Option<String>,
        /// When the connection is encrypted.
        encryption: Encryption,
    },
    /// Of `http`.
    Http {
        /// Where requests go below `base_url`; `/send` unless set.
        path: Option<String>,
        /// The header that the key alone goes into; `Authorization: Bearer KEY` unless set.
        auth_header: Option<String>,
        /// The body of requests; Beckon's own unless set.
        body: Option<BodyTemplate>,
    },
    /// Of `kafka`.
    Kafka {
        /// Those of `[kafka]` unless set.
        brokers: String,
        /// The topic that sends go to.
        topic: String,
    },
}

/// When an SMTP connection is encrypted; a `smtps` one always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// By STARTTLS, or nothing is sent.
    #[default]
    Starttls,
    /// Never.
    None,
}

const ENCRYPTIONS: [(&str, Encryption); 2] = [("starttls", Encryption::Starttls), ("none", Encryption::None)];

/// The kinds that speak HTTP or SMTP themselves.
const SPEAK_TLS: [EspKind; 7] = [
    EspKind::Sendgrid,
    EspKind::Postmark,
    EspKind::Mailgun,
    EspKind::Ses,
    EspKind::Resend,
    EspKind::Smtp,
    EspKind::Http,
];

/// Keys of single kinds.
const KEYS: [(&str, &[EspKind]); 15] = [
    ("ca_file", &SPEAK_TLS),
    ("honours_idempotency_key", &[EspKind::Http, EspKind::Kafka]),
    ("stream", &[EspKind::Postmark]),
    ("domain", &[EspKind::Mailgun]),
    ("region", &[EspKind::Ses]),
    ("access_key_id_env", &[EspKind::Ses]),
    ("session_token_env", &[EspKind::Ses]),
    ("configuration_set", &[EspKind::Ses]),
    ("username", &[EspKind::Smtp]),
    ("encryption", &[EspKind::Smtp]),
    ("path", &[EspKind::Http]),
    ("auth_header", &[EspKind::Http]),
    ("body", &[EspKind::Http]),
    ("brokers", &[EspKind::Kafka]),
    ("topic", &[EspKind::Kafka]),
];

/// Why `key` is not one of this kind, if it is one of another: fault and hint.
pub(super) fn explain(key: &str, kind: EspKind) -> Option<(String, String)> {
    let (key, kinds) = KEYS.iter().find(|(name, _)| *name == key)?;
    let hint = match *key {
        "honours_idempotency_key" => {
            "whether it does is known; only kinds `http` and `kafka` have to say so".to_owned()
        }
        "ca_file" => "it is for those that speak HTTP or SMTP".to_owned(),
        _ => format!("it is one of kind `{}`", kinds[0].name()),
    };
    Some((format!("kind `{}` does not take `{key}`", kind.name()), hint))
}

/// Reads what the kind takes.
pub(super) fn read(
    section: &Section<'_>,
    kind: Option<EspKind>,
    from: Option<&Mailbox>,
    wanted: Wanted<'_>,
) -> Option<Own> {
    let text = |key| section.get(key).and_then(Value::text);
    match kind? {
        EspKind::Sendgrid | EspKind::Resend => Some(Own::Nothing),
        EspKind::Postmark => Some(Own::Postmark { stream: text("stream").unwrap_or("outbound").to_owned() }),
        EspKind::Mailgun => {
            let set = section.get("domain").map(read_domain);
            let from = || from.and_then(|from| from.address.rsplit_once('@')).map(|(_, domain)| domain.to_owned());
            Some(Own::Mailgun { domain: set.unwrap_or_else(from)? })
        }
        EspKind::Ses => read_ses(section, wanted),
        EspKind::Smtp => read_smtp(section),
        EspKind::Http => Some(Own::Http {
            path: section.get("path").and_then(read_path),
            auth_header: section.get("auth_header").and_then(read_header_name),
            body: section.get("body").and_then(read_body),
        }),
        EspKind::Kafka => {
            let set = section.get("brokers").map(kafka::read_brokers);
            if set.is_none() && wanted.brokers.is_none() {
                section.fault("`brokers` is missing", "such as: brokers = \"localhost:9092\"; or set those of [kafka]");
            }
            let topic = section.required("topic", "where sends go, such as: topic = \"push\"");
            let topic = topic.and_then(kafka::read_topic_name)?;
            Some(Own::Kafka { brokers: set.unwrap_or_else(|| wanted.brokers.map(str::to_owned))?, topic })
        }
    }
}

fn read_domain(value: Value<'_>) -> Option<String> {
    let domain = value.clone().text()?;
    if !domain.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '.') {
        value.fault(format!("`{domain}` is not a domain"), "the sending domain of the account, such as mg.example.com");
        return None;
    }
    Some(domain.to_owned())
}

fn read_ses(section: &Section<'_>, wanted: Wanted<'_>) -> Option<Own> {
    let region = section.required("region", "the account's, such as: region = \"eu-west-1\"");
    let region = region.and_then(|value| {
        let region = value.clone().text()?;
        let is_good = region.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !is_good {
            value.fault(format!("`{region}` is not a region"), "such as eu-west-1");
        }
        is_good.then(|| region.to_owned())
    });
    let id_hint = "such as: access_key_id_env = \"AWS_ACCESS_KEY_ID\"";
    let access_key_id = match section.get("access_key_id_env") {
        Some(value) => key::variable(&value, id_hint, wanted),
        None => {
            let source = KeySource::Variable("AWS_ACCESS_KEY_ID".to_owned());
            if let Some(fault) = wanted.mailing.then(|| source.read().err()).flatten() {
                section.fault(fault, format!("the access key's id; in another variable, {id_hint}"));
            }
            Some(source)
        }
    };
    let token_hint = "such as: session_token_env = \"AWS_SESSION_TOKEN\"";
    let session_token = section.get("session_token_env").and_then(|value| key::variable(&value, token_hint, wanted));
    let configuration_set = section.get("configuration_set").and_then(Value::name).map(str::to_owned);
    Some(Own::Ses { region: region?, access_key_id: access_key_id?, session_token, configuration_set })
}

fn read_smtp(section: &Section<'_>) -> Option<Own> {
    let username = section.get("username").and_then(Value::name).map(str::to_owned);
    let has_key = section.has("api_key_env") || section.has("api_key_file");
    if username.is_some() != has_key {
        let hint = "username, and the variable with the password in api_key_env; or neither of them";
        section.fault("a user and a password are given together", hint);
    }
    let encryption = section.get("encryption").and_then(|value| value.one_of(&ENCRYPTIONS)).unwrap_or_default();
    Some(Own::Smtp { username, encryption })
}

fn read_path(value: Value<'_>) -> Option<String> {
    let path = value.clone().text()?;
    if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace() || c.is_control()) {
        value.fault(format!("`{path}` is not a path"), "it begins with /, such as: path = \"/v1/messages\"");
        return None;
    }
    Some(path.to_owned())
}

fn read_header_name(value: Value<'_>) -> Option<String> {
    let name = value.clone().text()?;
    if name.parse::<HeaderName>().is_err() {
        value.fault(format!("`{name}` cannot be the name of a header"), "such as: auth_header = \"X-Api-Key\"");
        return None;
    }
    Some(name.to_owned())
}

fn read_body(value: Value<'_>) -> Option<BodyTemplate> {
    if !value.is_table() {
        value.fault("`body` must be a table", "such as: body = { to = \"{{to.address}}\", html = \"{{html}}\" }");
        return None;
    }
    let body = BodyTemplate::new(value.clone().json()?);
    let hint = "names: to.address, to.name, from.address, from.name, subject, text, html, message_id, headers, \
                decision_id, campaign, customer_id, trigger";
    body.map_err(|fault| value.fault(format!("`body`: {fault}"), hint)).ok()
}
