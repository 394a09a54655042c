//! `orders`: an order as it is now. Its event time is `updated_at`, else `placed_at`, of which one must be there and stands in
//! for the other. An order without a `status` is placed; one without an owner is nobody's, and bad.

use beckon_dataflows::model::{Id, Namespace, OrderRecord, OrderStatus, Position, Record, Written};

use super::json::Value;
use super::lines::LinesOf;
use super::row::{Object, row};
use super::value::required;
use super::{Bad, Decoded, Decoder};

row! {
    /// An `orders` record.
    Order<'a> {
        order_id: Value<'a> = "order_id",
        user_id: Value<'a> = "user_id",
        anonymous_id: Value<'a> = "anonymous_id",
        cart_id: Value<'a> = "cart_id",
        status: Value<'a> = "status",
        placed_at: Value<'a> = "placed_at",
        version: Value<'a> = "version",
        updated_at: Value<'a> = "updated_at",
        total: Value<'a> = "total",
        lines: Value<'a> = "lines",
    }
}

impl Decoder {
    pub(super) fn order(&mut self, position: Position, text: &str) -> Result<Decoded, Bad> {
        let mut row = Object::<Order<'_>>::default();
        let row = row.read_whole(text)?;
        let (placed, updated) = (row.placed_at.time_ms("placed_at")?, row.updated_at.time_ms("updated_at")?);
        let ahead_ms = placed.zip(updated).map_or(0, |(placed, updated)| placed.saturating_sub(updated));
        self.names.keep_if_far_ahead(ahead_ms);
        let order = self.names.key(Namespace::Order, &row.order_id, "order_id")?;
        let event_ms = required(updated.or(placed), "updated_at or placed_at")?;
        let version = row.version.whole("version")?.unwrap_or(0);
        let owner = self.names.owner(
            (&row.user_id, "user_id"),
            (&row.anonymous_id, "anonymous_id"),
            "user_id or anonymous_id",
        )?;
        let record = OrderRecord {
            order,
            owner,
            cart: self.names.id(Namespace::Cart, &row.cart_id, "cart_id")?.unwrap_or(Id::NONE),
            status: status(&row.status)?,
            written: Written { version, updated_ms: event_ms, position },
            placed_ms: placed.unwrap_or(event_ms),
            from_click: false,
            total: row.total.money("total")?,
            lines: self.lines(&row.lines, LinesOf::Record)?,
        };
        Ok(Decoded { record: Record::Order(record), event_ms })
    }
}

/// What became of the order.
fn status(value: &Value<'_>) -> Result<OrderStatus, Bad> {
    match value.name("status")?.as_deref() {
        None | Some("placed") => Ok(OrderStatus::Placed),
        Some("cancelled") => Ok(OrderStatus::Cancelled),
        Some("refunded") => Ok(OrderStatus::Refunded),
        Some(_) => Err(Bad::WrongType { field: "status", expected: "placed, cancelled or refunded" }),
    }
}
