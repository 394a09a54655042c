//! Secrets that codes and links are made with. In: bytes from the environment or a file. Out: keys, one for each use. Fails when
//! there are too few bytes. Nothing here is ever shown: there is no `Debug`.

use ring::{digest, hmac};
use subtle::ConstantTimeEq;

/// Bytes that nobody else knows.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// A secret of too few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has {0} bytes, and a secret needs {min} at least", min = Secret::BYTES_MIN)]
pub struct TooShort(usize);

impl Secret {
    /// The least length of a secret.
    pub const BYTES_MIN: usize = 16;

    /// A secret of these bytes.
    pub fn new(bytes: &[u8]) -> Result<Secret, TooShort> {
        if bytes.len() < Self::BYTES_MIN {
            return Err(TooShort(bytes.len()));
        }
        Ok(Secret(bytes.to_vec()))
    }

    /// Whether `bytes` are the secret, in a time that tells nothing of it but how long `bytes` are.
    pub fn is(&self, bytes: &[u8]) -> bool {
        // By their hashes, since what is compared in constant time has to be of one length.
        let hash = |bytes: &[u8]| digest::digest(&digest::SHA256, bytes);
        hash(&self.0).as_ref().ct_eq(hash(bytes).as_ref()).into()
    }

    /// Whether it is of visible ASCII alone, and without a colon: then it can be the user name of Basic auth.
    pub fn is_word(&self) -> bool {
        self.0.iter().all(|byte| byte.is_ascii_graphic() && *byte != b':')
    }

    /// The bytes, for what reads a key from them.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The secret itself as the key of an HMAC-SHA256, for a use that names itself in what it signs.
    pub fn hmac_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }

    /// 32 bytes for `usage` alone: HMAC-SHA256 of its name. Who has them knows neither the secret nor those of another usage.
    pub fn derived(&self, usage: &str) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(hmac::sign(&self.hmac_key(), usage.as_bytes()).as_ref());
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_sixteen_bytes_at_least() {
        let fault = Secret::new(&[7; 15]).err().map(|fault| fault.to_string());
        assert_eq!(fault.as_deref(), Some("has 15 bytes, and a secret needs 16 at least"));
        assert!(Secret::new(&[7; 16]).is_ok());
    }

    #[test]
    fn a_secret_is_itself_and_nothing_like_it() {
        let secret = Secret::new(b"a secret of twenty").unwrap();
        assert!(secret.is(b"a secret of twenty"));
        // With a zero at its end it would be the same key of an HMAC.
        for other in [&b""[..], b"a secret of twent", b"a secret of twenty\0", b"a secret of twentY"] {
            assert!(!secret.is(other));
        }
    }

    #[test]
    fn each_use_has_a_key_of_its_own() {
        let (one, other) = (Secret::new(&[7; 16]).unwrap(), Secret::new(&[8; 16]).unwrap());
        assert_eq!(one.derived("a"), one.derived("a"));
        assert_ne!(one.derived("a"), one.derived("b"));
        assert_ne!(one.derived("a"), other.derived("a"));
    }
}
