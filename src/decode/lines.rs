//! The lines of a cart or an order, and how many of a product a message speaks of. In: an array of
//! `{sku, quantity, price}`. Out: [`Line`]s in the order written. Fails on a line without a product, except in the
//! clickstream, whose lines come from many plugins and are passed over when they name none.

use beckon_dataflows::model::{Line, Namespace};

use super::json::{Value, each_item};
use super::row::{Object, row};
use super::{Bad, Decoder};

row! {
    /// One line.
    Item<'a> {
        sku: Value<'a> = "sku",
        product_id: Value<'a> = "product_id",
        quantity: Value<'a> = "quantity",
        price: Value<'a> = "price",
    }
}

/// Whose lines they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LinesOf {
    /// A `carts` or `orders` record: `lines`, each with a `sku`.
    Record,
    /// A Segment message: `products`, each with a `sku` or else a `product_id`.
    Message,
}

impl Decoder {
    /// The lines in `value`; none when it is missing.
    pub(super) fn lines(&mut self, value: &Value<'_>, of: LinesOf) -> Result<Box<[Line]>, Bad> {
        let text = match value {
            Value::Missing => return Ok(Box::default()),
            Value::Array(text) => text,
            _ => return Err(Bad::WrongType { field: of.field(), expected: "an array" }),
        };
        self.lines.clear();
        let (field, expected) = (of.field(), "an array of objects");
        each_item(text, |item: Object<Item<'_>>| {
            let item = item.get(field, expected)?.ok_or(Bad::WrongType { field, expected })?;
            if let Some(line) = self.line(item, of)? {
                self.lines.push(line);
            }
            Ok(())
        })?;
        Ok(self.lines.as_slice().into())
    }

    /// One line; `None` for one of quantity 0, and for a message's without a product.
    fn line(&mut self, item: &Item<'_>, of: LinesOf) -> Result<Option<Line>, Bad> {
        let [sku_field, product_field, quantity_field, price_field] = of.member_fields();
        let sku = match (self.names.id(Namespace::Sku, &item.sku, sku_field)?, of) {
            (Some(sku), _) => Some(sku),
            (None, LinesOf::Record) => return Err(Bad::Missing { field: sku_field }),
            (None, LinesOf::Message) => self.names.id(Namespace::Sku, &item.product_id, product_field)?,
        };
        let quantity = quantity(&item.quantity, quantity_field)?;
        let price = item.price.money(price_field)?;
        Ok(sku.filter(|_| quantity > 0).map(|sku| Line { sku, quantity, price }))
    }
}

impl LinesOf {
    /// The array's path in the record.
    fn field(self) -> &'static str {
        match self {
            LinesOf::Record => "lines",
            LinesOf::Message => "properties.products",
        }
    }

    /// The paths of a line's `sku`, `product_id`, `quantity` and `price`.
    fn member_fields(self) -> [&'static str; 4] {
        match self {
            LinesOf::Record => ["lines[].sku", "lines[].product_id", "lines[].quantity", "lines[].price"],
            LinesOf::Message => [
                "properties.products[].sku",
                "properties.products[].product_id",
                "properties.products[].quantity",
                "properties.products[].price",
            ],
        }
    }
}

/// Units of a product: 1 when missing. Fails on less than 0.
pub(super) fn quantity(value: &Value<'_>, field: &'static str) -> Result<u32, Bad> {
    let units = value.whole(field)?.unwrap_or(1);
    u32::try_from(units).map_err(|_| Bad::WrongType { field, expected: "a whole number from 0 to 4294967295" })
}
