//! `carts`: a cart's whole new state. One without an owner is nobody's, and bad; one without lines is emptied.

use beckon_dataflows::model::{CartRecord, Id, Namespace, Position, Record};

use super::json::Value;
use super::lines::LinesOf;
use super::row::{Object, row};
use super::{Bad, Decoded, Decoder, written};

row! {
    /// A `carts` record.
    Cart<'a> {
        cart_id: Value<'a> = "cart_id",
        user_id: Value<'a> = "user_id",
        anonymous_id: Value<'a> = "anonymous_id",
        version: Value<'a> = "version",
        updated_at: Value<'a> = "updated_at",
        currency: Value<'a> = "currency",
        lines: Value<'a> = "lines",
    }
}

impl Decoder {
    pub(super) fn cart(&mut self, position: Position, text: &str) -> Result<Decoded, Bad> {
        let mut row = Object::<Cart<'_>>::default();
        let row = row.read_whole(text)?;
        let cart = self.names.key(Namespace::Cart, &row.cart_id, "cart_id")?;
        let written = written(&row.version, &row.updated_at, position)?;
        let owner = self.names.owner(
            (&row.user_id, "user_id"),
            (&row.anonymous_id, "anonymous_id"),
            "user_id or anonymous_id",
        )?;
        let currency = self.names.id(Namespace::Text, &row.currency, "currency")?.unwrap_or(Id::NONE);
        let lines = self.lines(&row.lines, LinesOf::Record)?;
        let record = Record::Cart(CartRecord { cart, owner, written, currency, lines });
        Ok(Decoded { record, event_ms: written.updated_ms })
    }
}
