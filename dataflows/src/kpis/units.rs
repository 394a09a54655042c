//! Customers, as the table counts them: each once in a row, however often decided about. In: decisions and credits. Out: what each
//! customer adds to each row. Cannot fail.
//!
//! A customer is in the row of a day as long as its decisions are followed, and while an order that counts may change. In the row of all days
//! they are until nothing was decided about them for the horizon: an experiment compares customers, not days of customers. Who is let
//! go stays counted, and is another one if they come again.

use serde::{Deserialize, Serialize};

use super::credits::Credit;
use super::{Amount, Cell, Followed, Measure, Tally, Terms};
use crate::model::{Diff, Id, Tick};
use crate::per_key::{Next, PerKey};

/// The rule of a customer.
pub(super) struct Units {
    pub(super) terms: Terms,
}

/// What concerns a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum OfUnit {
    /// Decided about.
    Decided(Followed),
    /// An order counts.
    Credit(Credit),
}

/// A customer in one row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Unit {
    decisions: i64,
    /// The orders that count, or would if they were not cancelled: a few.
    credits: Vec<Credit>,
    /// The first tick at which no decision keeps it.
    settled: Tick,
}

impl Unit {
    fn tally(&self) -> Tally {
        if self.decisions == 0 {
            return Tally::default();
        }
        let values = self.credits.iter().filter_map(|credit| credit.value);
        let (orders, revenue) =
            values.fold((0, 0i64), |(orders, sum), value| (orders + 1, sum.saturating_add(value.0)));
        let tally = Tally::one(Measure::Decided).with(Measure::Decisions, self.decisions);
        let tally = tally.with(Measure::Converted, orders.min(1)).with(Measure::Orders, orders);
        tally.with_revenue(Amount(revenue))
    }

    /// The first tick at which nothing changes any more.
    fn settled(&self) -> Tick {
        self.credits.iter().map(|credit| credit.settled).fold(self.settled, Tick::max)
    }
}

impl PerKey for Units {
    type In = OfUnit;
    /// By row: a handful.
    type State = Vec<(Cell, Unit)>;
    type Out = (Cell, Tally);
    type Wake = Tick;

    fn visit(
        &mut self,
        now: Tick,
        _key: Id,
        units: &mut Vec<(Cell, Unit)>,
        changes: &mut dyn Iterator<Item = (OfUnit, Diff)>,
        emit: &mut dyn FnMut((Cell, Tally), Diff),
    ) -> Next {
        units.retain(|(_, unit)| now < unit.settled());
        let mut changed = units.clone();
        for (change, diff) in changes {
            let cell = match &change {
                OfUnit::Decided(decision) | OfUnit::Credit(Credit { decision, .. }) => decision.cell,
            };
            for cell in [cell, cell.whole()] {
                self.take(unit_of(&mut changed, cell), cell, change, diff);
            }
        }
        for (cell, unit) in &changed {
            let before = units.iter().find(|(other, _)| other == cell).map(|(_, unit)| unit.tally());
            let (before, after) = (before.unwrap_or_default(), unit.tally());
            if before != after {
                emit((*cell, before), -1);
                emit((*cell, after), 1);
            }
        }
        changed.retain(|(_, unit)| now < unit.settled());
        *units = changed;
        units.iter().map(|(_, unit)| unit.settled()).min().map_or(Next::Forget, Next::wake_at)
    }
}

fn unit_of(units: &mut Vec<(Cell, Unit)>, cell: Cell) -> &mut Unit {
    let place = units.iter().position(|(other, _)| *other == cell).unwrap_or_else(|| {
        units.push((cell, Unit::default()));
        units.len() - 1
    });
    &mut units[place].1
}

impl Units {
    fn take(&self, unit: &mut Unit, cell: Cell, change: OfUnit, diff: Diff) {
        match change {
            OfUnit::Decided(decision) => {
                unit.decisions += 1;
                unit.settled = unit.settled.max(self.settled(&decision, cell));
            }
            OfUnit::Credit(credit) if diff > 0 => unit.credits.push(credit),
            OfUnit::Credit(credit) => {
                if let Some(place) = unit.credits.iter().position(|other| *other == credit) {
                    unit.credits.swap_remove(place);
                }
            }
        }
    }

    fn settled(&self, decision: &Followed, cell: Cell) -> Tick {
        match cell.day {
            Some(_) => self.terms.end(decision.at),
            None => self.terms.horizon.customer(self.terms.last(decision.at)),
        }
    }
}
