//! A line of a cart or an order, in as few bytes as it takes: of lines there are most. Serialised, it is its SKU, its quantity, a byte of
//! marks, then only what those say is there: the digits of a price, a tick.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Id, Money, Tick};

/// One line of a cart or an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line {
    /// The product.
    pub sku: Id,
    /// Units; at least 1. 0 stands for a line of no cart, in payloads of triggers about a product.
    pub quantity: u32,
    /// Price of a unit.
    pub price: Option<Money>,
}

/// A line with a tick of its own, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimedLine {
    pub(crate) line: Line,
    pub(crate) tick: Option<Tick>,
}

/// Of the marks, one more than the scale of the price; 0 for no price.
const SCALE: u8 = 0b0001_1111;
/// The price is below zero.
const NEGATIVE: u8 = 0b0010_0000;
/// There is a tick.
const TIMED: u8 = 0b0100_0000;

/// The most that a line is made of.
const PARTS: usize = 5;

impl Serialize for TimedLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let TimedLine { line: Line { sku, quantity, price }, tick } = self;
        let price = price.map(Money::parts);
        let marks = price.map_or(0, |(is_negative, scale, _)| (1 + scale) | if is_negative { NEGATIVE } else { 0 });
        let timed = if tick.is_some() { TIMED } else { 0 };
        let parts = PARTS - usize::from(price.is_none()) - usize::from(tick.is_none());
        let mut tuple = serializer.serialize_tuple(parts)?;
        tuple.serialize_element(sku)?;
        tuple.serialize_element(quantity)?;
        tuple.serialize_element(&(marks | timed))?;
        price.iter().try_for_each(|(_, _, digits)| tuple.serialize_element(digits))?;
        tick.iter().try_for_each(|tick| tuple.serialize_element(tick))?;
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for TimedLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(PARTS, Parts)
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        TimedLine { line: *self, tick: None }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        TimedLine::deserialize(deserializer).map(|timed| timed.line)
    }
}

struct Parts;

impl<'de> Visitor<'de> for Parts {
    type Value = TimedLine;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a line")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<TimedLine, A::Error> {
        let sku = part(&mut parts)?;
        let quantity = part(&mut parts)?;
        let marks: u8 = part(&mut parts)?;
        let price = match (marks & SCALE).checked_sub(1) {
            None => None,
            Some(scale) => {
                let price = Money::of_parts((marks & NEGATIVE != 0, scale, part(&mut parts)?));
                Some(price.map_err(A::Error::custom)?)
            }
        };
        let tick = if marks & TIMED == 0 { None } else { Some(part(&mut parts)?) };
        Ok(TimedLine { line: Line { sku, quantity, price }, tick })
    }
}

fn part<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(parts: &mut A) -> Result<T, A::Error> {
    parts.next_element()?.ok_or_else(|| A::Error::custom("a line ends early"))
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;

    proptest::proptest! {
        #[test]
        fn lines_come_back_one_after_the_other(
            lines in proptest::collection::vec(
                (0u64..u64::MAX, 0u32..300, proptest::option::of((0u128..1 << 96, 0u32..=28, proptest::bool::ANY)),
                    proptest::option::of(0u64..u64::MAX)),
                0..5,
            ),
        ) {
            let timed = lines.into_iter().map(|(sku, quantity, price, tick)| {
                let price = price.map(|(digits, scale, is_negative)| {
                    let mut amount = Decimal::from_i128_with_scale(digits as i128, scale);
                    amount.set_sign_negative(is_negative);
                    Money(amount)
                });
                TimedLine { line: Line { sku: Id(sku), quantity, price }, tick }
            });
            let timed: Vec<TimedLine> = timed.collect();
            let restored: Vec<TimedLine> = postcard::from_bytes(&postcard::to_stdvec(&timed).unwrap()).unwrap();
            proptest::prop_assert_eq!(&restored, &timed);
            let bits = |all: &[TimedLine]| -> Vec<_> { all.iter().map(|it| it.line.price.map(|it| it.0.serialize())).collect() };
            proptest::prop_assert_eq!(bits(&restored), bits(&timed), "to the bit");
        }
    }

    #[test]
    fn a_line_of_a_few_euros_takes_twelve_bytes() {
        let line = Line { sku: Id(u64::MAX), quantity: 2, price: "19.90".parse().ok() };
        assert_eq!(postcard::to_stdvec(&line).unwrap().len(), 12);
    }
}
