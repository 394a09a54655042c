//! Orders by id. In: `orders` records and the clickstream's order events. Out: each order as its owner has it, one row an
//! order, replaced as it changes. Last write wins; a stale record is counted. What does not change is forgotten at the horizon, and a
//! later write of it is another order.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::horizon::Horizon;
use crate::model::{Diff, Id, Line, Money, OrderRecord, OrderStatus, Tick, Written};
use crate::packed::{Packed, Rows};
use crate::per_key::{Next, PerKey};
use crate::time::tick_at;

/// An order as it stands: what is said of it as a whole, and behind it its total and lines. Cloned, it is shared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Order(Packed<Head>);

/// What is said of an order as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Head {
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
}

impl Order {
    /// An order of these lines.
    pub fn new(head: Head, total: Option<Money>, lines: &[Line]) -> Order {
        let mut rows = Rows::default();
        rows.push(&total);
        lines.iter().for_each(|line| rows.push(line));
        Order(Packed::new(head, &rows))
    }

    /// Sum of the order, where it says one.
    pub fn total(&self) -> Option<Money> {
        self.0.rows().next().flatten()
    }

    /// What was ordered.
    pub fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        let mut rows = self.0.rows();
        rows.next::<Option<Money>>();
        rows.all()
    }

    /// Whether it counts as an order at all: a cancelled one does not.
    pub fn stands(&self) -> bool {
        self.status != OrderStatus::Cancelled
    }

    /// Whether it is of `sku`, among others.
    pub fn names(&self, sku: Id) -> bool {
        self.lines().any(|line| line.sku == sku)
    }
}

impl Deref for Order {
    type Target = Head;

    fn deref(&self) -> &Head {
        self.0.head()
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

/// The last write of an order.
#[derive(Default, Serialize, Deserialize)]
pub struct LastOrder {
    last: Option<Last>,
    /// The tick of that write, or the one at which the order is placed, if that is later.
    changed: Tick,
}

/// An order, and of its last write what it does not say.
#[derive(Serialize, Deserialize)]
struct Last {
    written: Written,
    owner: Id,
    placed_ms: u64,
    order: Order,
}

/// What is told of an order, by the id that the record names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Raw {
    /// It stands so: one row an order, replaced as it changes.
    Order(Order),
    /// That row is forgotten. Comes in the place of its retraction.
    Gone(Order),
}

impl PerKey for Orders {
    type In = OrderRecord;
    type State = LastOrder;
    type Out = (Id, Raw);
    type Wake = Tick;

    const WAKES_AT_FEW_TICKS: bool = true;

    fn visit(
        &mut self,
        now: Tick,
        _key: Id,
        known: &mut LastOrder,
        changes: &mut dyn Iterator<Item = (OrderRecord, Diff)>,
        emit: &mut dyn FnMut((Id, Raw), Diff),
    ) -> Next {
        if known.last.is_some() && now >= self.horizon.order(known.changed) {
            known.last.take().into_iter().for_each(|last| emit((last.owner, Raw::Gone(last.order)), 1));
        }
        let mut changes: Vec<OrderRecord> = changes.map(|(change, _)| change).collect();
        changes.sort_unstable_by_key(|record| record.written);
        let before = known.row();
        let mut changed = false;
        for record in changes {
            if known.last.as_ref().is_some_and(|last| record.written <= last.written) {
                self.counts.stale(record.written.position.stream());
                continue;
            }
            known.last = Some(self.last(now, completed(record, known.last.as_ref())));
            changed = true;
        }
        if changed {
            before.into_iter().for_each(|(owner, order)| emit((owner, Raw::Order(order)), -1));
            known.row().into_iter().for_each(|(owner, order)| emit((owner, Raw::Order(order)), 1));
            known.changed = known.last.as_ref().map_or(now, |last| last.order.placed.max(now));
        }
        match known.last {
            Some(_) => Next::wake_at(self.horizon.order(known.changed)),
            None => Next::Forget,
        }
    }
}

impl LastOrder {
    fn row(&self) -> Option<(Id, Order)> {
        self.last.as_ref().map(|last| (last.owner, last.order.clone()))
    }
}

impl Orders {
    fn last(&self, now: Tick, record: OrderRecord) -> Last {
        let OrderRecord { order: id, owner, cart, status, written, placed_ms, total, lines, .. } = record;
        let placed = tick_at(placed_ms, self.tick_ms);
        let order = Order::new(Head { id, placed, ahead: placed > now, cart, status }, total, &lines);
        Last { written, owner, placed_ms, order }
    }
}

/// An order event of the clickstream keeps `placed_at`; a cancel or refund names only what changed, and the rest stays as
/// known (ARCHITECTURE, "Records").
fn completed(mut record: OrderRecord, known: Option<&Last>) -> OrderRecord {
    if let (true, Some(Last { placed_ms, order, .. })) = (record.from_click, known) {
        record.placed_ms = *placed_ms;
        if record.status == OrderStatus::Placed {
            return record;
        }
        if record.lines.is_empty() {
            record.lines = order.lines().collect();
        }
        if record.cart.is_none() {
            record.cart = order.cart;
        }
        record.total = record.total.or(order.total());
    }
    record
}
