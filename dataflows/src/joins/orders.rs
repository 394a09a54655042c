//! Orders by id. In: `orders` records and the clickstream's order events. Out: each order as its owner has it, one row an
//! order, replaced as it changes. Last write wins; a stale record is counted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::model::{Diff, Id, Line, Money, OrderRecord, OrderStatus, Tick};
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
    /// What was ordered.
    pub lines: Arc<[Line]>,
}

impl Order {
    /// Whether it counts as an order at all: a cancelled one does not.
    pub fn stands(&self) -> bool {
        self.status != OrderStatus::Cancelled
    }

    /// Whether it is of `sku`, among others.
    pub fn names(&self, sku: Id) -> bool {
        self.lines.iter().any(|line| line.sku == sku)
    }
}

/// The rule of an order.
pub struct Orders {
    /// Length of a tick, ms.
    pub tick_ms: u64,
    /// Where stale records are counted.
    pub counts: Arc<Counts>,
}

/// The last write of an order. Its lines lie in the order, not in the record.
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
        let before = last.as_ref().map(|(record, order)| (record.owner, order.clone()));
        let mut changed = false;
        for record in changes {
            if last.as_ref().is_some_and(|(known, _)| record.written <= known.written) {
                self.counts.stale(record.written.position.stream());
                continue;
            }
            *last = Some(self.order(completed(record, last.as_ref())));
            changed = true;
        }
        if changed {
            before.into_iter().for_each(|row| emit(row, -1));
            last.iter().for_each(|(record, order)| emit((record.owner, order.clone()), 1));
        }
        Next::Keep
    }
}

impl Orders {
    fn order(&self, mut record: OrderRecord) -> (OrderRecord, Order) {
        let order = Order {
            id: record.order,
            placed: tick_at(record.placed_ms, self.tick_ms),
            cart: record.cart,
            status: record.status,
            total: record.total,
            lines: std::mem::take(&mut record.lines).into(),
        };
        (record, order)
    }
}

/// An order event of the clickstream keeps `placed_at`; a cancel or refund names only what changed, and the rest stays as
/// known (ARCHITECTURE, "Records").
fn completed(mut record: OrderRecord, known: Option<&(OrderRecord, Order)>) -> OrderRecord {
    if let (true, Some((known, order))) = (record.from_click, known) {
        record.placed_ms = known.placed_ms;
        if record.status == OrderStatus::Placed {
            return record;
        }
        if record.lines.is_empty() {
            record.lines = order.lines.iter().copied().collect();
        }
        if record.cart.is_none() {
            record.cart = known.cart;
        }
        record.total = record.total.or(known.total);
    }
    record
}
