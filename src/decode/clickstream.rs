//! `clickstream`: Segment messages. One of an event that no rule reads, or that lacks what its rule needs (a product, a query,
//! an order id), is a sign of life of its owner and no more; so is a `group`, the one call of Segment's that SPEC §1 leaves out.

use beckon_dataflows::model::{
    Action, Click, Fold, Id, Namespace, OrderRecord, OrderStatus, Position, Record, Written,
};

use super::event::{Event, named};
use super::json::Value;
use super::lines::{LinesOf, quantity};
use super::names::message_id;
use super::row::{Object, row};
use super::value::required;
use super::{Bad, Decoded, Decoder};

row! {
    /// A Segment message.
    Message<'a> {
        kind: Value<'a> = "type",
        event: Value<'a> = "event",
        message_id: Value<'a> = "messageId",
        user_id: Value<'a> = "userId",
        anonymous_id: Value<'a> = "anonymousId",
        timestamp: Value<'a> = "timestamp",
        properties: Object<Properties<'a>> = "properties",
        previous_id: Value<'a> = "previousId",
    }
}

row! {
    /// What the e-commerce events say in `properties`, as far as a rule reads it.
    Properties<'a> {
        sku: Value<'a> = "sku",
        product_id: Value<'a> = "product_id",
        quantity: Value<'a> = "quantity",
        price: Value<'a> = "price",
        currency: Value<'a> = "currency",
        cart_id: Value<'a> = "cart_id",
        order_id: Value<'a> = "order_id",
        total: Value<'a> = "total",
        revenue: Value<'a> = "revenue",
        products: Value<'a> = "products",
        query: Value<'a> = "query",
    }
}

/// Who did it, when, and where the message stands.
#[derive(Clone, Copy)]
struct Origin {
    owner: Id,
    written: Written,
}

impl Decoder {
    pub(super) fn click(&mut self, position: Position, text: &str) -> Result<Decoded, Bad> {
        let mut row = Object::<Message<'_>>::default();
        let row = row.read_whole(text)?;
        let kind = required(row.kind.name("type")?, "type")?;
        let event_ms = required(row.timestamp.time_ms("timestamp")?, "timestamp")?;
        // Aliases hold for good, and who is only named by one.
        self.names.keep_for_good(kind == "alias");
        let owner =
            self.names.owner((&row.user_id, "userId"), (&row.anonymous_id, "anonymousId"), "userId or anonymousId")?;
        let message = message_id(&row.message_id, "messageId")?;
        let origin = Origin { owner, written: Written { version: 0, updated_ms: event_ms, position } };
        let action = match &*kind {
            "track" => self.tracked(row, origin)?,
            "identify" => self.identified(row)?,
            "alias" => self.aliased(row)?,
            "page" | "screen" | "group" => Action::Seen,
            _ => return Err(Bad::WrongType { field: "type", expected: "one of Segment's calls, such as `track`" }),
        };
        Ok(Decoded { record: Record::Click(Click { owner, message, at_ms: event_ms, position, action }), event_ms })
    }

    /// What a track message says was done.
    fn tracked(&mut self, row: &Message<'_>, origin: Origin) -> Result<Action, Bad> {
        let event = row.event.text("event")?.and_then(|name| named(&name));
        let (Some(event), Some(properties)) = (event, row.properties.get("properties", "an object")?) else {
            return Ok(Action::Seen);
        };
        match event {
            Event::Viewed => Ok(self.sku(properties)?.map_or(Action::Seen, Action::Viewed)),
            Event::Wanted => Ok(self.sku(properties)?.map_or(Action::Seen, Action::Wanted)),
            Event::Added => self.folded(properties, origin, 1),
            Event::Removed => self.folded(properties, origin, -1),
            Event::CheckoutStarted => self.checkout_started(properties),
            Event::Searched => {
                let query = self.names.id(Namespace::Text, &properties.query, "properties.query")?;
                Ok(query.map_or(Action::Seen, Action::Searched))
            }
            Event::Ordered(status) => self.ordered(properties, origin, status),
            Event::Seen => Ok(Action::Seen),
        }
    }

    /// The product that an event names: `sku`, else `product_id`.
    #[inline]
    fn sku(&mut self, properties: &Properties<'_>) -> Result<Option<Id>, Bad> {
        match self.names.id(Namespace::Sku, &properties.sku, "properties.sku")? {
            Some(sku) => Ok(Some(sku)),
            None => self.names.id(Namespace::Sku, &properties.product_id, "properties.product_id"),
        }
    }

    /// Product Added (`sign` 1) or Product Removed (−1). None of a product changes nothing.
    fn folded(&mut self, properties: &Properties<'_>, origin: Origin, sign: i64) -> Result<Action, Bad> {
        let sku = self.sku(properties)?;
        let quantity = sign * i64::from(quantity(&properties.quantity, "properties.quantity")?);
        let cart = self.names.id(Namespace::Cart, &properties.cart_id, "properties.cart_id")?;
        let price = properties.price.money("properties.price")?;
        let currency = self.names.id(Namespace::Text, &properties.currency, "properties.currency")?;
        let Some(sku) = sku.filter(|_| quantity != 0) else {
            return Ok(Action::Seen);
        };
        Ok(Action::Folded(Box::new(Fold {
            cart: cart.unwrap_or(origin.owner),
            owner: origin.owner,
            written: origin.written,
            sku,
            quantity,
            price,
            currency: currency.unwrap_or(Id::NONE),
        })))
    }

    fn checkout_started(&mut self, properties: &Properties<'_>) -> Result<Action, Bad> {
        let order = self.names.id(Namespace::Order, &properties.order_id, "properties.order_id")?;
        let subject = match order {
            Some(order) => Some(order),
            None => self.names.id(Namespace::Cart, &properties.cart_id, "properties.cart_id")?,
        };
        Ok(subject.map_or(Action::Seen, Action::CheckoutStarted))
    }

    /// An order event (ARCHITECTURE, "Records"): an `orders` record that may name only what changed.
    fn ordered(&mut self, properties: &Properties<'_>, origin: Origin, status: OrderStatus) -> Result<Action, Bad> {
        let Some(order) = self.names.id(Namespace::Order, &properties.order_id, "properties.order_id")? else {
            return Ok(Action::Seen);
        };
        let cart = self.names.id(Namespace::Cart, &properties.cart_id, "properties.cart_id")?;
        let total = match properties.total.money("properties.total")? {
            Some(total) => Some(total),
            None => properties.revenue.money("properties.revenue")?,
        };
        Ok(Action::Ordered(Box::new(OrderRecord {
            order,
            owner: origin.owner,
            cart: cart.unwrap_or(Id::NONE),
            status,
            written: origin.written,
            placed_ms: origin.written.updated_ms,
            from_click: true,
            total,
            lines: self.lines(&properties.products, LinesOf::Message)?,
        })))
    }

    /// `identify`: links the anonymous visitor to the user if the message names both.
    fn identified(&mut self, row: &Message<'_>) -> Result<Action, Bad> {
        let (user, visitor) = (row.user_id.name("userId")?, row.anonymous_id.name("anonymousId")?);
        match (user, visitor) {
            (Some(_), Some(visitor)) => Ok(Action::Identified(self.names.intern(Namespace::Anonymous, &visitor)?)),
            _ => Ok(Action::Seen),
        }
    }

    /// `alias`: the previous id, which may be a visitor's or a user's, becomes the user's.
    fn aliased(&mut self, row: &Message<'_>) -> Result<Action, Bad> {
        let previous = required(row.previous_id.name("previousId")?, "previousId")?;
        if row.user_id.name("userId")?.is_none() {
            return Ok(Action::Seen);
        }
        Ok(Action::Aliased(Box::new([
            self.names.intern(Namespace::Anonymous, &previous)?,
            self.names.intern(Namespace::User, &previous)?,
        ])))
    }
}
