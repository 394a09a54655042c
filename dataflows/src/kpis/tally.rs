//! What a row of the table has: counts and revenue, as a group that differential adds up. Exact: whatever is added and taken away again
//! leaves nothing behind, in any order. Cannot fail; a sum that no integer holds wraps around rather than stop anything.

use differential_dataflow::difference::{Abelian, IsZero, Monoid, Multiply, Semigroup};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};

use crate::model::{Diff, Money};

/// How many of an [`Amount`] make one of the currency's major unit: no currency has smaller coins.
pub const AMOUNTS_A_UNIT: i64 = 10_000;

/// Money as it is summed, in ten-thousandths of the currency's major unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Amount(pub i64);

impl Amount {
    /// No order is of more, in major units: what says so is counted as this, so that a sum of squares holds a million of them.
    const MAX: i64 = 1_000_000_000_000;

    /// The amount, to the nearest ten-thousandth.
    pub fn of(money: Money) -> Amount {
        let most = Decimal::from(Self::MAX);
        let scaled = money.0.clamp(-most, most) * Decimal::from(AMOUNTS_A_UNIT);
        Amount(scaled.round().to_i64().unwrap_or_default())
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Measure {
    /// Decisions, sends or held out.
    Decisions,
    /// Customers decided about.
    Decided,
    /// Deliveries that an ESP took.
    Sent,
    /// Those that a mailbox took.
    Delivered,
    /// Those that one refused for good.
    Bounced,
    /// Those marked as spam.
    Complained,
    /// Those after which somebody unsubscribed.
    Unsubscribed,
    /// Those opened by a person.
    Opened,
    /// Those in which a person followed a link.
    Clicked,
    /// Those opened by a machine.
    OpenedByMachine,
    /// Those in which a machine followed a link.
    ClickedByMachine,
    /// Customers of whom an order counts for a decision.
    Converted,
    /// Orders that do.
    Orders,
}

impl Measure {
    /// All of them, in their order.
    pub const ALL: [Measure; 13] = [
        Measure::Decisions,
        Measure::Decided,
        Measure::Sent,
        Measure::Delivered,
        Measure::Bounced,
        Measure::Complained,
        Measure::Unsubscribed,
        Measure::Opened,
        Measure::Clicked,
        Measure::OpenedByMachine,
        Measure::ClickedByMachine,
        Measure::Converted,
        Measure::Orders,
    ];

    /// Its name in what is written out.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Decisions => "decisions",
            Measure::Decided => "decided",
            Measure::Sent => "sent",
            Measure::Delivered => "delivered",
            Measure::Bounced => "bounced",
            Measure::Complained => "complained",
            Measure::Unsubscribed => "unsubscribed",
            Measure::Opened => "opened",
            Measure::Clicked => "clicked",
            Measure::OpenedByMachine => "opened_by_machine",
            Measure::ClickedByMachine => "clicked_by_machine",
            Measure::Converted => "converted",
            Measure::Orders => "orders",
        }
    }
}

/// A row of the table, or what is added to one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tally {
    counts: [i64; Measure::ALL.len()],
    /// Sum of the orders that count, less refunds, in [`Amount`]s.
    pub revenue: i128,
    /// Sum over the customers of the square of each one's revenue.
    pub revenue_squares: i128,
}

impl Tally {
    /// One of `measure`.
    pub fn one(measure: Measure) -> Tally {
        Tally::default().with(measure, 1)
    }

    /// The same with `count` more of `measure`.
    pub fn with(mut self, measure: Measure, count: i64) -> Tally {
        let counted = &mut self.counts[measure as usize];
        *counted = counted.wrapping_add(count);
        self
    }

    /// The same with the revenue of a customer.
    pub fn with_revenue(mut self, Amount(revenue): Amount) -> Tally {
        let revenue = i128::from(revenue);
        self.revenue = self.revenue.wrapping_add(revenue);
        self.revenue_squares = self.revenue_squares.wrapping_add(revenue.wrapping_mul(revenue));
        self
    }

    /// How many of `measure`.
    pub fn count(&self, measure: Measure) -> i64 {
        self.counts[measure as usize]
    }
}

impl IsZero for Tally {
    fn is_zero(&self) -> bool {
        *self == Tally::default()
    }
}

impl Semigroup for Tally {
    fn plus_equals(&mut self, other: &Tally) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count = count.wrapping_add(*more));
        self.revenue = self.revenue.wrapping_add(other.revenue);
        self.revenue_squares = self.revenue_squares.wrapping_add(other.revenue_squares);
    }
}

impl Monoid for Tally {
    fn zero() -> Tally {
        Tally::default()
    }
}

impl Abelian for Tally {
    fn negate(&mut self) {
        *self = std::mem::take(self).multiply(&-1);
    }
}

impl Multiply<Diff> for Tally {
    type Output = Tally;

    fn multiply(mut self, times: &Diff) -> Tally {
        self.counts.iter_mut().for_each(|count| *count = count.wrapping_mul(*times as i64));
        self.revenue = self.revenue.wrapping_mul(*times as i128);
        self.revenue_squares = self.revenue_squares.wrapping_mul(*times as i128);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_and_taken_away_leaves_nothing() {
        let tally = Tally::one(Measure::Converted).with(Measure::Orders, 3).with_revenue(Amount(i64::MAX));
        let mut sum = tally.clone();
        sum.plus_equals(&tally.clone().multiply(&2));
        assert_eq!((sum.count(Measure::Converted), sum.count(Measure::Orders)), (3, 9));
        let mut back = tally.multiply(&3);
        back.negate();
        sum.plus_equals(&back);
        assert!(sum.is_zero());
    }

    #[test]
    fn an_amount_is_money_to_the_ten_thousandth_and_no_more_than_there_is() {
        let amount = |text: &str| Amount::of(text.parse().unwrap()).0;
        assert_eq!([amount("19.90"), amount("-7.12345"), amount("0")], [199_000, -71_234, 0]);
        assert_eq!(amount("79228162514264337593543950335"), Amount::MAX * AMOUNTS_A_UNIT);
        assert_eq!(Measure::ALL.map(|measure| measure as usize), std::array::from_fn(|place| place));
    }
}
