//! An ESP's key. In: the text, and where it is from. Out: what a header needs. Fails when it cannot stand in one.

use std::fmt;

/// A key, password or token. Never shown: not by `Debug`, and there is no `Display`.
#[derive(Clone)]
pub struct ApiKey {
    key: String,
    origin: String,
}

/// A key that cannot stand in a header.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the ESP's API key is empty, or has characters that cannot stand in a header; check {0}")]
pub struct ApiKeyFault(String);

impl ApiKey {
    /// Takes the key from wherever the caller has it; white space around it is dropped. `origin` says to people where that is, such as
    /// ``the variable `SENDGRID_API_KEY` ``.
    pub fn new(key: &str, origin: &str) -> Result<ApiKey, ApiKeyFault> {
        let key = key.trim();
        let sound = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        let origin = origin.to_owned();
        if sound { Ok(ApiKey { key: key.to_owned(), origin }) } else { Err(ApiKeyFault(origin)) }
    }

    /// The key itself, for the request.
    pub(super) fn expose(&self) -> &str {
        &self.key
    }

    /// Where it is from, for people.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ApiKey(*** of {})", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown_and_a_broken_one_is_refused() {
        let key = ApiKey::new(" SG.secret\n", "the variable `K`").unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(*** of the variable `K`)");
        assert_eq!(key.expose(), "SG.secret");
        for broken in ["", "a\r\nX-Evil: 1"] {
            let fault = ApiKey::new(broken, "the variable `K`").unwrap_err().to_string();
            assert!(fault.ends_with("check the variable `K`"), "{fault}");
        }
    }
}
