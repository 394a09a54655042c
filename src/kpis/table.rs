//! The table of KPIs: one row for each campaign × arm, and one for each of their days. In: what is added at closed ticks. Out: the rows as
//! of the newest. Cannot fail.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use beckon_dataflows::kpis::{Cell, Tally};
use beckon_dataflows::model::Tick;
use differential_dataflow::difference::{IsZero, Semigroup};
use serde::{Deserialize, Serialize};

/// The table that the dataflow's owner writes and whoever asks reads.
pub type SharedTable = Arc<RwLock<Table>>;

/// The rows as of a closed tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    as_of: Tick,
    rows: BTreeMap<Cell, Tally>,
}

impl Table {
    /// Adds to a row. One that comes to nothing is none.
    pub fn add(&mut self, cell: Cell, added: &Tally) {
        let row = self.rows.entry(cell).or_default();
        row.plus_equals(added);
        if row.is_zero() {
            self.rows.remove(&cell);
        }
    }

    /// All ticks up to this one are in it.
    pub fn close(&mut self, tick: Tick) {
        self.as_of = self.as_of.max(tick);
    }

    /// The newest closed tick.
    pub fn as_of(&self) -> Tick {
        self.as_of
    }

    /// The rows.
    pub fn rows(&self) -> &BTreeMap<Cell, Tally> {
        &self.rows
    }
}
