//! The links in mails (SPEC §8). In: the `[tracking]` section. Out: [`Tracking`]. Fails into the report.

use std::path::PathBuf;

use reqwest::Url;

use super::secret::{self, SecretSource};
use super::section::{Section, Value};

/// The longest address of the tracker, in bytes: it stands in every link.
const BASE_URL_BYTES_MAX: usize = 200;

/// How links in mails lead back to us.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracking {
    /// Where opens, clicks and unsubscribes are answered: http or https, without a slash at its end.
    pub base_url: String,
    /// What tokens are sealed with.
    pub secret: SecretSource,
    /// Whether the open pixel is added; so unless set.
    pub opens: bool,
    /// Whether links lead over the tracker; so unless set.
    pub clicks: bool,
    /// What is added to links; none with `utm = false`.
    pub utm: Option<Utm>,
    /// An address for those whose mail program unsubscribes by mail.
    pub unsubscribe_mailto: Option<String>,
}

/// `utm_source` and `utm_medium` of links; `utm_campaign` is the campaign's name, `utm_content` the variant's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utm {
    /// "beckon" unless set.
    pub source: String,
    /// "email" unless set.
    pub medium: String,
}

/// Reads the section; `beside` makes a relative path one beside the configuration. With `needed`, the secret must be there.
pub(super) fn read(section: Section<'_>, beside: impl Fn(&str) -> PathBuf, needed: bool) -> Option<Tracking> {
    let base_url = section.required("base_url", "such as: base_url = \"https://mail.shop.example\"");
    let base_url = base_url.and_then(read_base_url);
    let secret = secret::read(&section, "such as: secret_env = \"BECKON_TRACKING_SECRET\"", beside, needed);
    let opens = section.get("opens").and_then(Value::boolean).unwrap_or(true);
    let clicks = section.get("clicks").and_then(Value::boolean).unwrap_or(true);
    let is_tagged = section.get("utm").and_then(Value::boolean).unwrap_or(true);
    let text = |key, default: &str| section.get(key).and_then(Value::name).unwrap_or(default).to_owned();
    let utm = Utm { source: text("utm_source", "beckon"), medium: text("utm_medium", "email") };
    let unsubscribe_mailto = section.get("unsubscribe_mailto").and_then(read_mailto);
    section.finish();
    let utm = is_tagged.then_some(utm);
    Some(Tracking { base_url: base_url?, secret: secret?, opens, clicks, utm, unsubscribe_mailto })
}

fn read_base_url(value: Value<'_>) -> Option<String> {
    let text = value.clone().text()?.trim_end_matches('/');
    let is_bare = |url: &Url| url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host() && is_bare(url);
    if text.len() > BASE_URL_BYTES_MAX || !Url::parse(text).is_ok_and(|url| is_web(&url)) {
        value.fault(
            format!("`{text}` cannot be where links lead"),
            format!("an http or https URL without `?` and `#`, of at most {BASE_URL_BYTES_MAX} bytes"),
        );
        return None;
    }
    Some(text.to_owned())
}

/// An address that can stand in `<mailto:…>`.
fn read_mailto(value: Value<'_>) -> Option<String> {
    let text = value.clone().text()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "@.-_+".contains(c);
    if !text.chars().all(fits) || text.split('@').filter(|part| !part.is_empty()).count() != 2 {
        value.fault(format!("`{text}` is no address"), "such as: unsubscribe_mailto = \"unsubscribe@shop.example\"");
        return None;
    }
    Some(text.to_owned())
}
