//! Orders by id. In: `orders` records and the clickstream's order events. Out: each order as its owner has it, one row an
//! order, replaced as it changes. Last write wins; a stale record is counted. What does not change is forgotten at the horizon, and a
//! later write of it is another order.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::horizon::Horizon;
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
    /// That was still to come when it was last written.
    pub ahead: bool,
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
    /// When orders are forgotten.
    pub horizon: Horizon,
}

/// The last write of an order. Its lines lie in the order, not in the record.
#[derive(Default, Serialize, Deserialize)]
pub struct LastOrder {
    last: Option<(OrderRecord, Arc<Order>)>,
    /// The tick of that write, or the one at which the order is placed, if that is later.
    changed: Tick,
}

/// What is told of an order, by the id that the record names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Raw {
    /// It stands so: one row an order, replaced as it changes.
    Order(Arc<Order>),
    /// That row is forgotten. Comes in the place of its retraction.
    Gone(Arc<Order>),
}

impl PerKey for Orders {
    type In = OrderRecord;
    type State = LastOrder;
    type Out = (Id, Raw);

    fn visit(
        &mut self,
        now: Tick,
        _key: Id,
        known: &mut LastOrder,
        changes: &mut dyn Iterator<Item = (OrderRecord, Diff)>,
        emit: &mut dyn FnMut((Id, Raw), Diff),
    ) -> Next {
        if known.last.is_some() && now >= self.horizon.order(known.changed) {
            known.last.take().into_iter().for_each(|(record, order)| emit((record.owner, Raw::Gone(order)), 1));
        }
        let mut changes: Vec<OrderRecord> = changes.map(|(change, _)| change).collect();
        changes.sort_unstable_by_key(|record| record.written);
        let before = known.row();
        let mut changed = false;
        for record in changes {
            if known.last.as_ref().is_some_and(|(last, _)| record.written <= last.written) {
                self.counts.stale(record.written.position.stream());
                continue;
            }
            known.last = Some(self.order(now, completed(record, known.last.as_ref())));
            changed = true;
        }
        if changed {
            before.into_iter().for_each(|(owner, order)| emit((owner, Raw::Order(order)), -1));
            known.row().into_iter().for_each(|(owner, order)| emit((owner, Raw::Order(order)), 1));
            known.changed = known.last.as_ref().map_or(now, |(_, order)| order.placed.max(now));
        }
        match known.last {
            Some(_) => Next::wake_at(self.horizon.order(known.changed)),
            None => Next::Forget,
        }
    }
}

impl LastOrder {
    fn row(&self) -> Option<(Id, Arc<Order>)> {
        self.last.as_ref().map(|(record, order)| (record.owner, order.clone()))
    }
}

impl Orders {
    fn order(&self, now: Tick, mut record: OrderRecord) -> (OrderRecord, Arc<Order>) {
        let placed = tick_at(record.placed_ms, self.tick_ms);
        let order = Order {
            id: record.order,
            placed,
            ahead: placed > now,
            cart: record.cart,
            status: record.status,
            total: record.total,
            lines: std::mem::take(&mut record.lines).into(),
        };
        (record, Arc::new(order))
    }
}

/// An order event of the clickstream keeps `placed_at`; a cancel or refund names only what changed, and the rest stays as
/// known (ARCHITECTURE, "Records").
fn completed(mut record: OrderRecord, known: Option<&(OrderRecord, Arc<Order>)>) -> OrderRecord {
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
