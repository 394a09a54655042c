//! `inventory`: the units of a SKU at one location, which may be negative.

use beckon_dataflows::model::{Id, Namespace, Position, Record, StockRecord};

use super::json::Value;
use super::row::{Object, row};
use super::value::required;
use super::{Bad, Decoded, Decoder, written};

row! {
    /// An `inventory` record.
    Stock<'a> {
        sku: Value<'a> = "sku",
        location: Value<'a> = "location",
        on_hand: Value<'a> = "on_hand",
        version: Value<'a> = "version",
        updated_at: Value<'a> = "updated_at",
    }
}

impl Decoder {
    pub(super) fn stock(&mut self, position: Position, text: &str) -> Result<Decoded, Bad> {
        let mut row = Object::<Stock<'_>>::default();
        let row = row.read_whole(text)?;
        let sku = self.names.key(Namespace::Sku, &row.sku, "sku")?;
        let written = written(&row.version, &row.updated_at, position)?;
        let location = self.names.id(Namespace::Location, &row.location, "location")?.unwrap_or(Id::NONE);
        let on_hand = required(row.on_hand.whole("on_hand")?, "on_hand")?;
        let record = Record::Stock(StockRecord { sku, location, written, on_hand });
        Ok(Decoded { record, event_ms: written.updated_ms })
    }
}
