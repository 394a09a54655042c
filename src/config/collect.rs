//! What Beckon takes in over HTTP (SPEC §8). In: the `[collect]` section. Out: [`Collect`]. Fails into the report.

use std::collections::HashSet;
use std::path::PathBuf;

use reqwest::Url;

use super::secret::{self, SecretSource};
use super::section::{Section, Value};
use crate::secret::Secret;

/// The most keys, and the most origins: each is looked at for each request.
const LIST_MAX: usize = 100;

/// What is taken in, from whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collect {
    /// Who may send, in the order of the file; one at least.
    pub keys: Vec<WriteKey>,
    /// Whose pages may send, as `https://host`; any unless set.
    pub origins: Option<Vec<String>>,
    /// How many bytes of bodies may wait for the broker; 64 MiB unless set.
    pub queue_bytes: usize,
}

/// Who may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteKey {
    /// What the key is called in metrics and dead letters.
    pub name: String,
    /// Where the key is.
    pub secret: SecretSource,
    /// Whether traits become profiles; not unless set: a key that is in a page is public.
    pub profiles: bool,
}

/// Reads the section; `beside` makes a relative path one beside the configuration. With `needed`, the keys must be there.
pub(super) fn read(section: Section<'_>, beside: impl Fn(&str) -> PathBuf, needed: bool) -> Collect {
    let keys = section.required("key", "such as: [[collect.key]] with name and secret_env").map(|list| {
        if list.clone().list(LIST_MAX).is_some_and(|list| list.is_empty()) {
            list.fault("`key` is empty", "without a key nobody may send");
        }
        read_keys(list, &beside, needed)
    });
    let origins = section.get("origins").and_then(|value| value.list(LIST_MAX));
    let origins = origins.map(|list| list.into_iter().filter_map(read_origin).collect());
    let queue_mib = section.get("queue_mib").and_then(|value| value.count(1..=1024)).unwrap_or(64);
    section.finish();
    Collect { keys: keys.unwrap_or_default(), origins, queue_bytes: (queue_mib as usize) << 20 }
}

fn read_keys(list: Value<'_>, beside: &impl Fn(&str) -> PathBuf, needed: bool) -> Vec<WriteKey> {
    let (mut names, mut seen) = (HashSet::new(), HashSet::new());
    let sections = list.list(LIST_MAX).unwrap_or_default().into_iter();
    sections
        .filter_map(|value| {
            let section = value.section("collect.key")?;
            let name = section.required("name", "such as: name = \"site\"").and_then(|value| {
                let name = value.clone().name()?;
                if !names.insert(name) {
                    value.fault(format!("the name `{name}` is taken"), "metrics and dead letters tell keys by name");
                }
                Some(name.to_owned())
            });
            let secret = secret::read(&section, "such as: secret_env = \"BECKON_WRITE_KEY\"", beside, needed);
            if let Some(key) = secret.as_ref().filter(|_| needed).and_then(|source| source.secret().ok()) {
                refuse_unusable(&section, &key, &mut seen);
            }
            let profiles = section.get("profiles").and_then(Value::boolean).unwrap_or(false);
            section.finish();
            Some(WriteKey { name: name?, secret: secret?, profiles })
        })
        .collect()
}

/// A key is the user name of Basic auth, which has no colon, and stands in pages; and it says which of the keys it is.
fn refuse_unusable(section: &Section<'_>, key: &Secret, seen: &mut HashSet<[u8; 32]>) {
    let hint = "letters, digits and signs other than `:`, such as: openssl rand -hex 16";
    if !key.is_word() {
        section.fault("the key has characters that no request can carry", hint);
    }
    if !seen.insert(key.derived("beckon: which key")) {
        section.fault("the key is that of another name too", "one of them may do what the other may not");
    }
}

/// Scheme, host and perhaps a port, as a browser names a page's origin.
fn read_origin(value: Value<'_>) -> Option<String> {
    let text = value.clone().text()?;
    let is_origin = |url: &Url| matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text;
    if !Url::parse(text).is_ok_and(|url| is_origin(&url)) {
        value.fault(format!("`{text}` is no origin"), "scheme and host alone, such as: \"https://shop.example\"");
        return None;
    }
    Some(text.to_owned())
}
