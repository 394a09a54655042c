//! Keys that ESPs sign their webhooks with (SPEC §8). In: the text that an ESP shows. Out: what verifies. Fails when the text is no such
//! key; then nothing of it is shown.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use crate::secret::Secret;

/// What a key of ECDSA P-256 begins with as a SubjectPublicKeyInfo (RFC 5480): the algorithm, the curve, and that a point follows that
/// is not compressed.
const P256_INFO: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// The bytes of that point, with the one that says that it is not compressed.
const P256_POINT_BYTES: usize = 65;

/// A text that is no such key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no {0}")]
pub struct NoKey(&'static str);

/// A public key of ECDSA over P-256 with SHA-256.
pub struct P256Key(UnparsedPublicKey<Vec<u8>>);

impl P256Key {
    /// The key as a PEM file, or the base64 within one, as SendGrid shows it.
    pub fn of(text: &Secret) -> Result<P256Key, NoKey> {
        let no_key = NoKey("public key of ECDSA P-256, in base64 or PEM");
        let text = std::str::from_utf8(text.bytes()).map_err(|_| no_key)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
        let info = BASE64_STANDARD.decode(lines.collect::<String>()).map_err(|_| no_key)?;
        let is_whole = info.starts_with(&P256_INFO) && info.len() == P256_INFO.len() + P256_POINT_BYTES - 1;
        let point = info.get(P256_INFO.len() - 1..).filter(|_| is_whole).ok_or(no_key)?;
        Ok(P256Key(UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point.to_vec())))
    }

    /// Whether `signature`, as ASN.1, is this key's of `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify(message, signature).is_ok()
    }
}

/// A key of HMAC-SHA256.
pub struct MacKey(hmac::Key);

impl MacKey {
    /// The text itself is the key.
    pub fn of(text: &Secret) -> MacKey {
        MacKey(text.hmac_key())
    }

    /// The key in base64, after `whsec_`, as Svix shows it.
    pub fn of_svix(text: &Secret) -> Result<MacKey, NoKey> {
        let no_key = NoKey("signing secret: it begins with whsec_");
        let key = text.bytes().strip_prefix(b"whsec_").ok_or(no_key)?;
        let key = BASE64_STANDARD.decode(key).ok().filter(|key| key.len() >= Secret::BYTES_MIN).ok_or(no_key)?;
        Ok(MacKey(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// Whether `tag` is the whole MAC of `message`, compared in constant time.
    pub fn verifies(&self, message: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.0, message, tag).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of SendGrid's own tests of its libraries.
    const SENDGRID: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_public_key_is_read_from_base64_and_pem_and_nothing_else_is_one() {
        assert!(P256Key::of(&secret(SENDGRID)).is_ok());
        let (one, other) = SENDGRID.split_at(64);
        let pem = format!("-----BEGIN PUBLIC KEY-----\r\n{one}\r\n{other}\r\n-----END PUBLIC KEY-----");
        assert!(P256Key::of(&secret(&pem)).is_ok());
        let (short, long) = (&SENDGRID[..SENDGRID.len() - 4], format!("{SENDGRID}AAAA"));
        for wrong in
            [short, &long, &SENDGRID.replacen("Ezj0DAQ", "Ezj0DAA", 1).replace("QgAE", "QgAF"), "sixteen characters"]
        {
            assert!(P256Key::of(&secret(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_of_svix_says_that_it_is_one() {
        assert!(MacKey::of_svix(&secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).is_ok());
        for wrong in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_short/AAA==", "whsec_!!!!!!!!!!!!!!!!!!!!!!!!"] {
            assert!(MacKey::of_svix(&secret(wrong)).is_err(), "{wrong}");
        }
    }
}
