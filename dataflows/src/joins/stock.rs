//! Stock by SKU: the sum over its locations (SPEC §3). In: `inventory` records, last write of a SKU and location wins. Out: the
//! stock whenever it changes, and apart from that, far more seldom, whether and since when there is any.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::model::{Diff, Id, StockRecord, Stream, Tick, Written};
use crate::per_key::{Never, Next, PerKey};

/// What is concluded about a SKU's stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StockFact {
    /// Units on hand, all locations.
    OnHand(Id, i64),
    /// In stock since it rose from nothing at this tick.
    InStockSince(Id, Tick),
}

/// The rule of a SKU's stock.
pub struct Stock {
    /// Where stale records are counted.
    pub counts: Arc<Counts>,
}

/// The last writes of a SKU.
#[derive(Default, Serialize, Deserialize)]
pub struct Shelf {
    locations: Vec<(Id, Written, i64)>,
    on_hand: i64,
    in_stock_since: Option<Tick>,
}

impl PerKey for Stock {
    type In = StockRecord;
    type State = Shelf;
    type Out = StockFact;
    type Wake = Never;

    fn visit(
        &mut self,
        now: Tick,
        key: Id,
        shelf: &mut Shelf,
        changes: &mut dyn Iterator<Item = (StockRecord, Diff)>,
        emit: &mut dyn FnMut(StockFact, Diff),
    ) -> Next {
        let mut changes: Vec<StockRecord> = changes.map(|(change, _)| change).collect();
        changes.sort_unstable_by_key(|record| record.written);
        let unknown = shelf.locations.is_empty();
        for record in changes {
            if !shelf.write(record) {
                self.counts.stale(Stream::Inventory);
            }
        }
        let on_hand = shelf.locations.iter().map(|(_, _, units)| units).sum();
        if on_hand != shelf.on_hand || unknown {
            if !unknown {
                emit(StockFact::OnHand(key, shelf.on_hand), -1);
            }
            emit(StockFact::OnHand(key, on_hand), 1);
            shelf.on_hand = on_hand;
        }
        match (shelf.in_stock_since, on_hand >= 1) {
            (None, true) => {
                emit(StockFact::InStockSince(key, now), 1);
                shelf.in_stock_since = Some(now);
            }
            (Some(since), false) => {
                emit(StockFact::InStockSince(key, since), -1);
                shelf.in_stock_since = None;
            }
            _ => {}
        }
        Next::Keep
    }

    fn restate(&self, key: Id, shelf: &Shelf, emit: &mut dyn FnMut(StockFact)) {
        emit(StockFact::OnHand(key, shelf.on_hand));
        shelf.in_stock_since.into_iter().for_each(|since| emit(StockFact::InStockSince(key, since)));
    }
}

impl Shelf {
    /// Whether the record took effect.
    fn write(&mut self, record: StockRecord) -> bool {
        match self.locations.iter_mut().find(|(location, _, _)| *location == record.location) {
            Some((_, written, _)) if record.written <= *written => return false,
            Some(entry) => *entry = (record.location, record.written, record.on_hand),
            None => self.locations.push((record.location, record.written, record.on_hand)),
        }
        true
    }
}
