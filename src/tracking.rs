//! Tokens of the links in mails (SPEC §8): what an open, a click or an unsubscribe is about. In: a [`Token`] and a secret. Out: a text
//! that stands in a URL, and from such a text the token. Fails when a text was not made with this secret.
//!
//! A token is sealed: who has only the link can neither read it (it names the customer and where a click leads) nor change it, so that
//! `/c/TOKEN` redirects to nowhere but where a mail of ours led. It needs no list of tokens, and whoever answers
//! no access to the ledger. The same token is always written the same: a mail that is sent again is the same mail.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

use crate::decision::DecisionId;
use crate::secret::Secret;

/// Keeps tokens of this form apart from any other.
const FORM: &[u8] = b"beckon link v1";

/// The longest text that is looked at, in bytes: longer than any token that is made.
pub const TEXT_BYTES_MAX: usize = 8 << 10;

/// The longest URL that a click can lead to, and the longest name of a customer, in bytes.
const PART_BYTES_MAX: usize = 2 << 10;

/// What a link is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The decision whose mail the link is in.
    pub decision: DecisionId,
    /// Whom the mail went to, by the shop's id.
    pub customer: String,
    /// What following it means.
    pub does: Does,
}

/// What following a link means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Does {
    /// The mail was opened.
    Open,
    /// A link was clicked, and leads here.
    Click(String),
    /// Something that is shown when the mail is opened.
    Live,
    /// No more mails are wanted.
    Unsubscribe,
}

/// A text that is no token of ours: mistyped, cut off, forged, or made with another secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no link of ours: it is cut off, forged, or made with another secret")]
pub struct NoToken;

/// A token that says too much for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a link's customer and target have at most {PART_BYTES_MAX} bytes each")]
pub struct TooLong;

/// What tokens are sealed and opened with. It is never shown.
pub struct Seal {
    key: LessSafeKey,
    /// What nonces are made with.
    nonces: hmac::Key,
}

impl fmt::Debug for Seal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Seal(***)")
    }
}

impl Seal {
    /// The seal of a secret.
    pub fn of(secret: &Secret) -> Seal {
        let key = UnboundKey::new(&AES_256_GCM, &secret.derived("beckon link key v1"));
        let key = LessSafeKey::new(key.expect("a derived key has the 32 bytes that AES-256 takes"));
        Seal { key, nonces: hmac::Key::new(hmac::HMAC_SHA256, &secret.derived("beckon link nonce v1")) }
    }

    /// The token as it stands in a URL: base64url of nonce ‖ ciphertext ‖ tag. The nonce is a MAC of what is sealed, so that only what
    /// is equal has the same one.
    pub fn seal(&self, token: &Token) -> Result<String, TooLong> {
        let mut plain = token.to_bytes()?;
        let mac = hmac::sign(&self.nonces, &plain);
        let mut sealed = mac.as_ref()[..NONCE_LEN].to_vec();
        let nonce = Nonce::try_assume_unique_for_key(&sealed).map_err(|_| TooLong)?;
        self.key.seal_in_place_append_tag(nonce, Aad::from(FORM), &mut plain).map_err(|_| TooLong)?;
        sealed.append(&mut plain);
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// What a text from a URL says that was sealed with this secret.
    pub fn open(&self, text: &str) -> Result<Token, NoToken> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(NoToken);
        }
        let mut sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| NoToken)?;
        let (nonce, sealed) = sealed.split_at_mut_checked(NONCE_LEN).ok_or(NoToken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NoToken)?;
        let plain = self.key.open_in_place(nonce, Aad::from(FORM), sealed).map_err(|_| NoToken)?;
        Token::of_bytes(plain).ok_or(NoToken)
    }
}

impl Token {
    /// Where a click leads; none for the others.
    pub fn target(&self) -> Option<&str> {
        match &self.does {
            Does::Click(target) => Some(target),
            Does::Open | Does::Live | Does::Unsubscribe => None,
        }
    }

    /// Kind, decision, the customer's length and name, and the rest is the target.
    fn to_bytes(&self) -> Result<Vec<u8>, TooLong> {
        let (kind, target) = match &self.does {
            Does::Open => (b'o', ""),
            Does::Click(target) => (b'c', target.as_str()),
            Does::Live => (b'l', ""),
            Does::Unsubscribe => (b'u', ""),
        };
        if self.customer.len() > PART_BYTES_MAX || target.len() > PART_BYTES_MAX {
            return Err(TooLong);
        }
        let length = (self.customer.len() as u16).to_be_bytes();
        let (id, customer) = (self.decision.0.to_be_bytes(), self.customer.as_bytes());
        Ok([&[kind][..], &id, &length, customer, target.as_bytes()].concat())
    }

    fn of_bytes(bytes: &[u8]) -> Option<Token> {
        let (kind, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (customer, target) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let does = match kind {
            b'o' => Does::Open,
            b'c' => Does::Click(text(target)?),
            b'l' => Does::Live,
            b'u' => Does::Unsubscribe,
            _ => return None,
        };
        Some(Token { decision: DecisionId(u128::from_be_bytes(*id)), customer: text(customer)?, does })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seal(secret: &[u8]) -> Seal {
        Seal::of(&Secret::new(secret).unwrap())
    }

    fn token(does: Does) -> Token {
        Token { decision: DecisionId(7), customer: "jürgen@example.com".into(), does }
    }

    #[test]
    fn a_token_says_nothing_to_who_has_not_the_secret() {
        let seal = seal(b"a secret of the shop");
        let text = seal.seal(&token(Does::Click("https://shop.example/p/9".into()))).unwrap();
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        assert!(!bytes.windows(4).any(|window| window == b"shop" || window == b"rgen"));
        assert_eq!(format!("{seal:?}"), "Seal(***)");
    }

    #[test]
    fn what_is_too_long_for_a_link_is_refused() {
        let seal = seal(b"a secret of the shop");
        let longest = |length| seal.seal(&token(Does::Click("x".repeat(length))));
        assert!(longest(PART_BYTES_MAX).is_ok_and(|text| text.len() <= TEXT_BYTES_MAX));
        assert_eq!(longest(PART_BYTES_MAX + 1), Err(TooLong));
        assert_eq!(seal.open(&"A".repeat(TEXT_BYTES_MAX + 1)), Err(NoToken));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn every_token_opens_and_none_that_was_touched_or_is_of_another_secret(
            id: u128,
            customer in "\\PC{0,40}",
            target in proptest::option::of("\\PC{0,80}"),
            unsubscribes: bool,
            key in proptest::collection::vec(any::<u8>(), 16..40),
            other in proptest::collection::vec(any::<u8>(), 16..40),
            at: proptest::sample::Index,
            flip in 1_u8..=255,
        ) {
            let does = match (target, unsubscribes) {
                (Some(target), true) if target.is_empty() => Does::Live,
                (Some(target), _) => Does::Click(target),
                (None, true) => Does::Unsubscribe,
                (None, false) => Does::Open,
            };
            let token = Token { decision: DecisionId(id), customer, does };
            let ours = seal(&key);
            let text = ours.seal(&token).unwrap();
            prop_assert_eq!(ours.seal(&token), Ok(text.clone()));
            prop_assert_eq!(ours.open(&text), Ok(token));
            if key != other {
                prop_assert_eq!(seal(&other).open(&text), Err(NoToken));
            }
            let mut bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
            let place = at.index(bytes.len());
            bytes[place] ^= flip;
            prop_assert_eq!(ours.open(&URL_SAFE_NO_PAD.encode(&bytes)), Err(NoToken));
            bytes.truncate(place);
            prop_assert_eq!(ours.open(&URL_SAFE_NO_PAD.encode(&bytes)), Err(NoToken));
        }

        #[test]
        fn no_text_is_too_odd_to_be_refused(text in "\\PC{0,60}|[0-9a-zA-Z_-]{20,120}") {
            prop_assert_eq!(seal(b"a secret of the shop").open(&text), Err(NoToken));
        }
    }
}
