//! Write keys: who may send. In: a request's `Authorization`, or the `writeKey` in its body, as Segment's libraries write them. Out: the
//! key's name and what it may do. Fails with [`NoKey`], whatever was wrong.
//!
//! All keys are compared each time, and in constant time: when an answer comes tells nothing.

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::secret::Secret;

/// A key that is known.
pub struct WriteKey {
    name: String,
    may_tell_profiles: bool,
    key: Secret,
}

impl WriteKey {
    /// A key, named in metrics and dead letters. One that is in a page is public, and must not tell profiles.
    pub fn new(name: &str, may_tell_profiles: bool, key: Secret) -> WriteKey {
        WriteKey { name: name.to_owned(), may_tell_profiles, key }
    }

    /// What it is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the traits of an `identify` become the user's profile.
    pub(super) fn may_tell_profiles(&self) -> bool {
        self.may_tell_profiles
    }
}

/// The request names no key that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoKey;

/// All keys.
pub struct WriteKeys(Vec<WriteKey>);

impl WriteKeys {
    /// These keys.
    pub fn new(keys: Vec<WriteKey>) -> WriteKeys {
        WriteKeys(keys)
    }

    /// The key of `Authorization: Basic`, its user name; none without that header.
    pub(super) fn of_headers(&self, headers: &HeaderMap) -> Result<Option<&WriteKey>, NoKey> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(None) };
        // Two could be read as either.
        if values.next().is_some() {
            return Err(NoKey);
        }
        let (scheme, credentials) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(NoKey)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(NoKey);
        }
        let credentials = BASE64_STANDARD.decode(credentials.trim()).map_err(|_| NoKey)?;
        let name = credentials.split(|byte| *byte == b':').next().unwrap_or_default();
        self.of(name).map(Some)
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &WriteKey> {
        self.0.iter()
    }

    /// The key of these bytes.
    pub(super) fn of(&self, bytes: &[u8]) -> Result<&WriteKey, NoKey> {
        let matching = self.0.iter().fold(None, |found, known| if known.key.is(bytes) { Some(known) } else { found });
        matching.ok_or(NoKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> WriteKeys {
        let key = |name, may, text: &str| WriteKey::new(name, may, Secret::new(text.as_bytes()).unwrap());
        WriteKeys::new(vec![key("site", false, "a key of the site"), key("backend", true, "a key of the backend")])
    }

    fn name_of(authorization: &[&str]) -> Result<Option<String>, NoKey> {
        let values = authorization.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap()));
        let headers = values.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        });
        keys().of_headers(&headers).map(|key| key.map(|key| key.name().to_owned()))
    }

    fn basic(credentials: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(credentials))
    }

    #[test]
    fn a_key_is_the_user_name_of_basic_auth() {
        assert_eq!(name_of(&[&basic("a key of the site:")]), Ok(Some("site".into())));
        assert_eq!(name_of(&[&basic("a key of the backend:ignored")]), Ok(Some("backend".into())));
        assert_eq!(name_of(&[&basic("a key of the site").replace("Basic", "bAsIc")]), Ok(Some("site".into())));
        assert_eq!(name_of(&[]), Ok(None));
    }

    #[test]
    fn anything_else_is_no_key() {
        let sound = basic("a key of the site:");
        for wrong in [
            "",
            "Basic",
            "Basic ",
            "Basic !!!",
            "Bearer a key of the site",
            &basic(":"),
            &basic(":a key of the site"),
            &basic("a key of the sit:"),
            &basic("a key of the site "),
            &basic("a key of the site\0:"),
        ] {
            assert_eq!(name_of(&[wrong]), Err(NoKey), "{wrong}");
        }
        assert_eq!(name_of(&[&sound, &sound]), Err(NoKey));
        assert_eq!(keys().of(b"").err(), Some(NoKey));
    }
}
