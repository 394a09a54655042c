//! Exact money. Never a binary float (SPEC §1).

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of money, exact, in the currency's major unit, with the scale it was written with (`19.90` stays `19.90`).
/// Serialised as sign, scale and digits, because the workers' wire format cannot ask for text; small in one of variable length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(pub Decimal);

impl FromStr for Money {
    type Err = rust_decimal::Error;

    /// Reads a decimal, plain (`19.90`) or with an exponent (`1.99e1`), as JSON numbers have them. Fails when it has more
    /// than 28 digits after the point, or does not fit 96 bits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Decimal::from_str_exact(text).or_else(|error| Decimal::from_scientific(text).map_err(|_| error)).map(Money)
    }
}

/// Money taken apart: whether it is below zero, its scale, its digits.
pub(super) type Parts = (bool, u8, u128);

impl Money {
    /// Takes it apart.
    pub(super) fn parts(self) -> Parts {
        let Money(amount) = self;
        (amount.is_sign_negative(), amount.scale() as u8, amount.mantissa().unsigned_abs())
    }

    /// Puts it together. Fails when there is no such amount.
    pub(super) fn of_parts((is_negative, scale, digits): Parts) -> Result<Money, rust_decimal::Error> {
        let digits = i128::try_from(digits).unwrap_or(i128::MAX);
        let mut amount = Decimal::try_from_i128_with_scale(digits, scale.into())?;
        amount.set_sign_negative(is_negative);
        Ok(Money(amount))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.parts().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Money::of_parts(Parts::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn it_comes_back_as_it_was_written(digits in 0u128..1 << 96, scale in 0u32..=28, is_negative: bool) {
            let mut amount = Decimal::from_i128_with_scale(digits as i128, scale);
            amount.set_sign_negative(is_negative);
            let restored: Money = postcard::from_bytes(&postcard::to_stdvec(&Money(amount)).unwrap()).unwrap();
            proptest::prop_assert_eq!(restored.0.serialize(), amount.serialize(), "bit by bit");
        }
    }
}
