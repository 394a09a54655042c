//! KPIs (SPEC §9) outside the graph: the dataflow that maintains them, run on its owner's thread ([`Follower`]), the table that it
//! adds up to, and what that says to people and programs ([`Report`]). In: facts at closed ticks. Out: reports, each as of one closed tick.

mod follower;
mod report;
mod table;

pub use follower::{Follower, Part};
pub use report::{CampaignReport, Figures, Names, Report};
pub use table::{SharedTable, Table};

use std::sync::{Arc, PoisonError};

use crate::config::Config;

/// The KPIs of a computation that goes on, as whoever asks reads them.
#[derive(Clone)]
pub struct Reader {
    /// The campaigns' arms.
    pub names: Arc<Names>,
    /// The table.
    pub table: SharedTable,
    attribution_ms: u64,
}

impl Reader {
    /// Of the configured campaigns, with an empty table.
    pub fn of(config: &Config) -> Reader {
        let names = Arc::new(Names::of(config));
        Reader { names, table: SharedTable::default(), attribution_ms: config.attribution_ms }
    }

    /// What the table says now.
    pub fn report(&self) -> Report {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        Report::of(&table, &self.names, self.attribution_ms)
    }
}
