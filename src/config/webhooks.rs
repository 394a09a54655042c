//! What ESPs tell by webhook (SPEC §8). In: the `[webhooks]` section, with a table for each ESP. Out: [`Webhooks`]. Fails into the report.

use std::path::PathBuf;

use super::secret::{self, SecretSource};
use super::section::{Section, Value};
use crate::signing::{MacKey, NoKey, P256Key};

/// The most topics of SNS: each is looked at for each request.
const TOPICS_MAX: usize = 100;

/// Whose webhooks are taken, and how each proves itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Webhooks {
    /// Where SendGrid's verification key is.
    pub sendgrid: Option<SecretSource>,
    /// Whom Postmark calls itself.
    pub postmark: Option<BasicAuth>,
    /// Where Mailgun's signing key is.
    pub mailgun: Option<SecretSource>,
    /// The ARNs of the SNS topics that SES publishes to; one at least.
    pub ses: Option<Vec<String>>,
    /// Where Resend's signing secret is.
    pub resend: Option<SecretSource>,
}

/// A user and a password that a webhook is set up with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// Where the password is.
    pub password: SecretSource,
}

/// Reads the section; `beside` makes a relative path one beside the configuration. With `needed`, the keys must be there.
pub(super) fn read(section: Section<'_>, beside: impl Fn(&str) -> PathBuf, needed: bool) -> Webhooks {
    let keyed = |esp: &'static str, keys, example: &str, check: fn(&SecretSource) -> Option<NoKey>| {
        let table = section.get(esp)?.section(esp)?;
        let source = secret::read_keys(&table, keys, example, &beside, needed);
        if let Some(fault) = source.as_ref().filter(|_| needed).and_then(check) {
            table.fault(format!("the key of `{esp}` {fault}"), "copy it whole from where the ESP shows it");
        }
        table.finish();
        source
    };
    let secret = ["secret_env", "secret_file"];
    let webhooks = Webhooks {
        sendgrid: keyed(
            "sendgrid",
            ["public_key_env", "public_key_file"],
            "the verification key, such as: public_key_env = \"SENDGRID_WEBHOOK_KEY\"",
            |source| P256Key::of(&source.secret().ok()?).err(),
        ),
        postmark: section.get("postmark").and_then(|value| read_basic(value.section("postmark")?, &beside, needed)),
        mailgun: keyed("mailgun", secret, "the signing key, such as: secret_env = \"MAILGUN_WEBHOOK_KEY\"", |_| None),
        ses: section.get("ses").and_then(|value| read_topics(value.section("ses")?)),
        resend: keyed(
            "resend",
            secret,
            "the signing secret, such as: secret_env = \"RESEND_WEBHOOK_SECRET\"",
            |source| MacKey::of_svix(&source.secret().ok()?).err(),
        ),
    };
    section.finish();
    webhooks
}

fn read_basic(section: Section<'_>, beside: impl Fn(&str) -> PathBuf, needed: bool) -> Option<BasicAuth> {
    let username =
        section.required("username", "that of the webhook's basic authentication, such as: username = \"beckon\"");
    let username = username.and_then(|value| {
        let name = value.clone().name()?;
        if name.contains(':') {
            value.fault("`username` has a colon", "basic authentication ends a user's name with the first one");
        }
        Some(name.to_owned())
    });
    let example = "the password, such as: secret_env = \"POSTMARK_WEBHOOK_PASSWORD\"";
    let password = secret::read(&section, example, beside, needed);
    section.finish();
    Some(BasicAuth { username: username?, password: password? })
}

fn read_topics(section: Section<'_>) -> Option<Vec<String>> {
    let topics = section.required("topics", "such as: topics = [\"arn:aws:sns:eu-west-1:123456789012:mail\"]");
    let topics = topics.and_then(|value| {
        let list = value.clone().list(TOPICS_MAX)?;
        if list.is_empty() {
            value.fault("`topics` is empty", "whoever may publish to a topic may tell of mails: name those of SES");
        }
        Some(list.into_iter().filter_map(read_topic).collect())
    });
    section.finish();
    topics
}

/// An ARN of SNS.
fn read_topic(value: Value<'_>) -> Option<String> {
    let text = value.clone().text()?;
    let parts: Vec<&str> = text.split(':').collect();
    let is_arn = matches!(parts[..], ["arn", "aws" | "aws-cn" | "aws-us-gov", "sns", region, account, name]
        if ![region, account, name].contains(&""));
    if !is_arn {
        value.fault(format!("`{text}` is no ARN of a topic"), "such as: arn:aws:sns:eu-west-1:123456789012:mail");
        return None;
    }
    Some(text.to_owned())
}
