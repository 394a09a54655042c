//! `catalog`: a product as it is now. What the record does not name, the product no longer has.

use std::sync::Arc;

use beckon_dataflows::model::{CatalogRecord, Namespace, Position, Product, Record};

use super::json::Value;
use super::row::{Object, row};
use super::{Bad, Decoded, Decoder, written};

row! {
    /// A `catalog` record.
    Entry<'a> {
        sku: Value<'a> = "sku",
        name: Value<'a> = "name",
        category: Value<'a> = "category",
        brand: Value<'a> = "brand",
        price: Value<'a> = "price",
        currency: Value<'a> = "currency",
        image_url: Value<'a> = "image_url",
        url: Value<'a> = "url",
        version: Value<'a> = "version",
        updated_at: Value<'a> = "updated_at",
    }
}

impl Decoder {
    pub(super) fn product(&mut self, position: Position, text: &str) -> Result<Decoded, Bad> {
        let mut row = Object::<Entry<'_>>::default();
        let row = row.read_whole(text)?;
        let sku = self.names.key(Namespace::Sku, &row.sku, "sku")?;
        let written = written(&row.version, &row.updated_at, position)?;
        let product = Arc::new(Product {
            name: row.name.owned("name")?,
            category: row.category.owned("category")?,
            brand: row.brand.owned("brand")?,
            price: row.price.money("price")?,
            currency: row.currency.owned("currency")?,
            image_url: row.image_url.owned("image_url")?,
            url: row.url.owned("url")?,
        });
        let record = Record::Catalog(CatalogRecord { sku, written, product });
        Ok(Decoded { record, event_ms: written.updated_ms })
    }
}
