//! Codes of discounts (SPEC §6; ARCHITECTURE, "Coupons"). In: a decision's id, its discount, and a secret. Out: a code that only
//! who has the secret can make, for the mail; and from a code, what it was made of, for the shop. Fails when a code was not
//! made with this secret.
//!
//! A code is 128 bits, `percent ‖ id ‖ tag`, as 26 digits of Crockford's base 32: the percentage in hundredths (2 bytes), the
//! first 8 bytes of the decision's id, and the first 6 bytes of HMAC-SHA256 over a name of this use and those two. So it needs
//! no list of codes to be checked, and says which decision it came from. That it is used once is for the shop to see to.

use std::fmt;

use ring::hmac;
use subtle::ConstantTimeEq;

use crate::decision::{DecisionId, Percent};
use crate::secret::Secret;

/// Keeps tags of this use apart from those of any other that the secret may have.
const USE: &[u8] = b"beckon coupon v1\0";

/// Crockford's digits: no I, L, O and U.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Digits of a code: the first stands for 3 bits, the others for 5.
const LENGTH: usize = 26;

/// Digits of a code between two dashes.
const GROUP: usize = 4;

const TAG_BITS: u32 = 48;

/// What codes are made and verified with. It is never shown: there is no `Debug`.
pub struct Codes(hmac::Key);

/// What a code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coupon {
    /// What it takes off.
    pub percent: Percent,
    /// The first 8 bytes of the id of the decision that promised it, which are its first 16 hex digits.
    pub decision: u64,
}

/// Why a text is no code of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCode {
    /// Not a digit of a code.
    #[error("{0:?} is in no code; codes are of digits and of letters other than U")]
    Digit(char),
    /// Too long or too short.
    #[error("it has {0} digits and letters, and a code has {LENGTH}")]
    Length(usize),
    /// Well formed, and yet not made with this secret.
    #[error("it was not made with this secret: it is mistyped, forged, or of another shop")]
    Forged,
}

impl Codes {
    /// Those of a shop with this secret.
    pub fn of(secret: &Secret) -> Codes {
        Codes(secret.hmac_key())
    }

    /// The code of a decision's discount: always the same one.
    pub fn code(&self, percent: Percent, decision: DecisionId) -> String {
        let coupon = Coupon { percent, decision: (decision.0 >> 64) as u64 };
        written((coupon.bits() << TAG_BITS) | u128::from(self.tag(coupon)))
    }

    /// What a code says that was made with this secret, in capitals or not, whatever dashes and blanks are in it.
    pub fn verify(&self, code: &str) -> Result<Coupon, NoCode> {
        let bits = read(code)?;
        let (said, tag) = (bits >> TAG_BITS, (bits as u64) & ((1 << TAG_BITS) - 1));
        let percent = Percent::of_hundredths((said >> 64) as u16).ok_or(NoCode::Forged)?;
        let coupon = Coupon { percent, decision: said as u64 };
        let is_ours: bool = self.tag(coupon).ct_eq(&tag).into();
        if is_ours { Ok(coupon) } else { Err(NoCode::Forged) }
    }

    /// The first bytes of the coupon's HMAC.
    fn tag(&self, coupon: Coupon) -> u64 {
        let said = [USE, &coupon.percent.hundredths().to_be_bytes(), &coupon.decision.to_be_bytes()].concat();
        let tag = hmac::sign(&self.0, &said);
        let first = tag.as_ref().iter().take(TAG_BITS as usize / 8);
        first.fold(0, |bits, byte| (bits << 8) | u64::from(*byte))
    }
}

impl Coupon {
    fn bits(self) -> u128 {
        (u128::from(self.percent.hundredths()) << 64) | u128::from(self.decision)
    }

    /// The first hex digits of the decision's id.
    pub fn decision_prefix(self) -> impl fmt::Display {
        fmt::from_fn(move |out| write!(out, "{:016x}", self.decision))
    }
}

/// The digits of `bits`, the greatest first, in groups.
fn written(bits: u128) -> String {
    let mut code = String::with_capacity(LENGTH + LENGTH / GROUP);
    for place in 0..LENGTH {
        if place > 0 && place.is_multiple_of(GROUP) {
            code.push('-');
        }
        let digit = (bits >> (5 * (LENGTH - 1 - place))) & 31;
        code.push(char::from(DIGITS[digit as usize]));
    }
    code
}

/// The bits of a code as people copy it.
fn read(code: &str) -> Result<u128, NoCode> {
    let digits = code.chars().filter(|char| !char.is_whitespace() && !is_dash(*char));
    let values = digits.map(|char| value_of(char).ok_or(NoCode::Digit(char))).collect::<Result<Vec<u128>, NoCode>>()?;
    match values[..] {
        // The first digit has 3 bits to give: one with more must not become one of ours by losing them.
        [first, ..] if values.len() == LENGTH && first > 7 => Err(NoCode::Forged),
        _ if values.len() == LENGTH => Ok(values.iter().fold(0, |bits, value| (bits << 5) | value)),
        _ => Err(NoCode::Length(values.len())),
    }
}

/// The dashes that keyboards and mail programs make of one.
fn is_dash(char: char) -> bool {
    matches!(char, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// What a digit stands for; O is read as 0, I and L as 1.
fn value_of(char: char) -> Option<u128> {
    let digit = match char.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let value = DIGITS.iter().position(|known| char::from(*known) == digit)?;
    u128::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codes(secret: &[u8]) -> Codes {
        Codes::of(&Secret::new(secret).unwrap())
    }

    #[test]
    fn a_code_to_the_letter() {
        // By another implementation: see the format above.
        let code = codes(b"0123456789abcdef")
            .code(Percent::of_hundredths(1500).unwrap(), DecisionId(0x0123_4567_89ab_cdef << 64));
        assert_eq!(code, "05VG-0J6H-B7H6-NWVV-WBMM-GS60-Q9");
    }

    #[test]
    fn a_code_may_be_written_as_people_do() {
        let codes = codes(b"a secret of the shop");
        let (percent, id) = (Percent::of_hundredths(1000).unwrap(), DecisionId(0x1111_0000_ffff_0101 << 64));
        let code = codes.code(percent, id);
        let coupon = Coupon { percent, decision: 0x1111_0000_ffff_0101 };
        let spoken = code.replace('0', "o").replace('1', "l").replace('-', " ").to_lowercase();
        for written in [
            code.clone(),
            code.to_lowercase(),
            code.replace('-', ""),
            code.replace('-', "–"),
            code.replace('1', "I"),
            spoken,
            format!(" {code}\n"),
        ] {
            assert_eq!(codes.verify(&written), Ok(coupon), "{written}");
        }
        assert_eq!(codes.verify(&code[1..]), Err(NoCode::Length(25)));
        assert_eq!(codes.verify(&format!("{code}0")), Err(NoCode::Length(27)));
        assert_eq!(codes.verify("U"), Err(NoCode::Digit('U')));
        assert_eq!(codes.verify(""), Err(NoCode::Length(0)));
        assert_eq!(codes.verify(&"Z".repeat(LENGTH)), Err(NoCode::Forged));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn every_code_verifies_and_none_that_differs_in_a_digit_or_is_of_another_secret(
            hundredths in 1..=10_000_u16,
            id: u128,
            key in proptest::collection::vec(any::<u8>(), 16..64),
            other in proptest::collection::vec(any::<u8>(), 16..64),
        ) {
            let (codes, stranger) = (codes(&key), codes(&other));
            let percent = Percent::of_hundredths(hundredths).unwrap();
            let code = codes.code(percent, DecisionId(id));
            prop_assert_eq!(codes.verify(&code), Ok(Coupon { percent, decision: (id >> 64) as u64 }));
            if key != other {
                prop_assert_eq!(stranger.verify(&code), Err(NoCode::Forged));
            }
            for (place, was) in code.char_indices().filter(|(_, char)| *char != '-') {
                for digit in DIGITS.iter().map(|digit| char::from(*digit)).filter(|digit| *digit != was) {
                    let mut changed = code.clone();
                    changed.replace_range(place..=place, digit.encode_utf8(&mut [0; 4]));
                    prop_assert_eq!(codes.verify(&changed), Err(NoCode::Forged), "{}", changed);
                }
            }
        }

        #[test]
        fn no_text_is_too_odd_to_be_refused(text in "\\PC{0,40}|[0-9a-zA-Z -]{20,40}") {
            prop_assert!(codes(b"a secret of the shop").verify(&text).is_err());
        }
    }
}
