//! Orders by id. In: `orders` records and the clickstream's order events. Out: each order as its owner has it, one row an
//! order, replaced as it changes. Last write wins; a stale record is counted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::model::{Diff, Id, Money, OrderRecord, OrderStatus, Tick};
use crate::per_key::{Next, PerKey};
use crate::time::tick_at;

/// An order as it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Order {
    /// Which.
    pub id: Id,
    /// The tick of its `placed_at`: the order's time.
    pub placed: Tick,
    /// The cart it closes; [`Id::NONE`] closes every one.
    pub cart: Id,
    /// What became of it.
    pub status: OrderStatus,
    /// Sum of the order, where it says one.
    pub total: Option<Money>,
    /// The products it names.
    pub skus: Arc<[Id]>,
}

impl Order {
    /// Whether it counts as an order at all: a cancelled one does not.
    pub fn stands(&self) -> bool {
        self.status != OrderStatus::Cancelled
    }
}

/// The rule of an order.
pub struct Orders {
    /// Length of a tick, ms.
    pub tick_ms: u64,
    /// Where stale records are counted.
    pub counts: Arc<Counts>,
}

/// The last write of an order.
#[derive(Default)]
pub struct LastOrder(Option<(OrderRecord, Order)>);

impl PerKey for Orders {
    type In = OrderRecord;
    type State = LastOrder;
    type Out = (Id, Order);

    fn visit(
        &mut self,
        _now: Tick,
        _key: Id,
        LastOrder(last): &mut LastOrder,
        changes: &mut dyn Iterator<Item = (OrderRecord, Diff)>,
        emit: &mut dyn FnMut((Id, Order), Diff),
    ) -> Next {
        let mut changes: Vec<OrderRecord> = changes.map(|(change, _)| change).collect();
        changes.sort_unstable_by_key(|record| record.written);
        let mut newest = None;
        for record in changes {
            let known = newest.as_ref().or(last.as_ref().map(|(record, _)| record));
            if known.is_some_and(|known: &OrderRecord| record.written <= known.written) {
                self.counts.stale(record.written.position.stream());
                continue;
            }
            newest = Some(completed(record, known));
        }
        if let Some(record) = newest {
            let order = self.order(&record);
            if let Some((before, order)) = last.take() {
                emit((before.owner, order), -1);
            }
            emit((record.owner, order.clone()), 1);
            *last = Some((record, order));
        }
        Next::Keep
    }
}

impl Orders {
    fn order(&self, record: &OrderRecord) -> Order {
        Order {
            id: record.order,
            placed: tick_at(record.placed_ms, self.tick_ms),
            cart: record.cart,
            status: record.status,
            total: record.total,
            skus: record.lines.iter().map(|line| line.sku).collect(),
        }
    }
}

/// An order event of the clickstream keeps `placed_at`; a cancel or refund names only what changed, and the rest stays as
/// known (ARCHITECTURE, "Records").
fn completed(mut record: OrderRecord, known: Option<&OrderRecord>) -> OrderRecord {
    if let (true, Some(known)) = (record.from_click, known) {
        record.placed_ms = known.placed_ms;
        if record.status == OrderStatus::Placed {
            return record;
        }
        if record.lines.is_empty() {
            record.lines = known.lines.clone();
        }
        if record.cart.is_none() {
            record.cart = known.cart;
        }
        record.total = record.total.or(known.total);
    }
    record
}
