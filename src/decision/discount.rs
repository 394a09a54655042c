//! A discount as a decision promises it (SPEC §6, §10): how much, and what is left of a price. Its code is no part of the
//! decision: see [`crate::coupon`]. Cannot fail, but for reading it back from text.

use std::fmt;

use rust_decimal::Decimal;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a decision takes off the prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discount {
    /// How much.
    pub percent: Percent,
}

/// A part of a price: over 0, at most 100 percent, in hundredths of a percent. In JSON a number without zeros at its end:
/// `15`, `12.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

impl Percent {
    /// A whole price, in hundredths of a percent.
    const WHOLE: u16 = 10_000;

    /// So many hundredths of a percent; none for nothing, and for more than all.
    pub fn of_hundredths(hundredths: u16) -> Option<Percent> {
        (1..=Self::WHOLE).contains(&hundredths).then_some(Percent(hundredths))
    }

    /// `12.5` as it is written; none for what is not over 0 and at most 100, or has more than two digits after the point.
    pub fn of(percent: Decimal) -> Option<Percent> {
        let hundredths = percent.checked_mul(Decimal::ONE_HUNDRED)?.normalize();
        let whole = hundredths.scale() == 0;
        whole.then(|| u16::try_from(hundredths.mantissa()).ok()).flatten().and_then(Percent::of_hundredths)
    }

    /// In hundredths of a percent, from 1 to 10,000.
    pub fn hundredths(self) -> u16 {
        self.0
    }

    /// What is left of `price`: exact, then rounded to the price's own scale, a half to the even digit.
    pub fn off(self, price: Decimal) -> Decimal {
        let whole = i128::from(Self::WHOLE);
        // A decimal has 96 bits, so this has room; and what is left is no more than there was.
        let parts = price.mantissa() * (whole - i128::from(self.0));
        let (left, rest) = (parts.div_euclid(whole), parts.rem_euclid(whole));
        let up = match (2 * rest).cmp(&whole) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => left % 2 != 0,
            std::cmp::Ordering::Greater => true,
        };
        Decimal::from_i128_with_scale(left + i128::from(up), price.scale())
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal::new(self.0.into(), 2).normalize().fmt(out)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(100) {
            serializer.serialize_u16(self.0 / 100)
        } else {
            // So few digits are those of the nearest double.
            serializer.serialize_f64(f64::from(self.0) / 100.0)
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        // A double that is out of range becomes the nearest in it, which is no percentage either.
        let percent = Percent::of_hundredths((number * 100.0).round() as u16);
        percent.ok_or_else(|| D::Error::custom(format!("{number} is no percentage over 0 and at most 100")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(text: &str) -> Option<Percent> {
        Percent::of(text.parse().unwrap())
    }

    #[test]
    fn a_percentage_is_a_number_in_json() {
        for (written, json) in [("15", "15"), ("12.50", "12.5"), ("0.01", "0.01"), ("99.99", "99.99"), ("100", "100")] {
            let read = percent(written).unwrap();
            assert_eq!((serde_json::to_string(&read).unwrap().as_str(), read.to_string().as_str()), (json, json));
            assert_eq!(serde_json::from_str::<Percent>(json).unwrap(), read);
        }
        for wrong in ["0", "-1", "100.01", "0.001", "12.345", "79228162514264337593543950335"] {
            assert_eq!(percent(wrong), None, "{wrong}");
        }
        assert!(serde_json::from_str::<Percent>("0").is_err() && serde_json::from_str::<Percent>("1e9").is_err());
    }

    #[test]
    fn every_percentage_is_read_back() {
        for percent in (1..=Percent::WHOLE).filter_map(Percent::of_hundredths) {
            let json = serde_json::to_string(&percent).unwrap();
            assert_eq!((serde_json::from_str(&json).ok(), json), (Some(percent), percent.to_string()));
        }
    }

    #[test]
    fn what_is_left_is_rounded_to_the_price_s_scale_and_a_half_to_the_even_digit() {
        let cases = [
            ("15", "19.90", "16.92"), // 16.915
            ("15", "19.70", "16.74"), // 16.745
            ("12.5", "1.00", "0.88"), // 0.875
            ("12.5", "0.20", "0.18"), // 0.175
            ("10", "19.999", "17.999"),
            ("33.33", "0.01", "0.01"),
            ("50", "1", "0"), // 0.5
            ("50", "3", "2"), // 1.5
            ("100", "19.90", "0.00"),
            ("0.01", "79228162514264337593543950335", "79220239698012911159784595940"),
        ];
        for (off, price, left) in cases {
            let price: Decimal = price.parse().unwrap();
            assert_eq!(percent(off).unwrap().off(price).to_string(), left, "{off} % off {price}");
        }
    }
}
