//! Exact money. Never a binary float (SPEC §1).

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of money, exact, in the currency's major unit, with the scale it was written with (`19.90` stays `19.90`).
/// Serialised as its 16 bytes, because the workers' wire format cannot ask for text.
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

impl fmt::Display for Money {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <[u8; 16]>::deserialize(deserializer).map(|bytes| Money(Decimal::deserialize(bytes)))
    }
}
