//! SPEC §1 as it is written by a shop: one struct a stream, each of which turns itself into an [`Event`] with the
//! right stream and key. Nothing here can fail: the values are the generator's own.
//!
//! Both spellings that SPEC allows are used, so that readers meet both: times are RFC 3339 but for `inventory`
//! (epoch milliseconds), money is a decimal string but for the clickstream (a JSON number, as Segment has it).

use std::io::Write as _;

use serde::{Serialize, Serializer};

use crate::stream::{CARTS, CATALOG, CLICKSTREAM, ENGAGEMENT, Event, INVENTORY, ORDERS, PROFILES};

/// The shop's only currency.
pub const CURRENCY: &str = "EUR";

/// An amount in cents, written as a decimal string with two places: `"19.90"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(
    /// Cents; never negative in a shop's records.
    pub i64,
);

impl Money {
    /// The same amount as a JSON number. The shortest text that reads back as the double is the exact decimal for
    /// any amount below 10^13.
    pub fn number(self) -> f64 {
        self.0 as f64 / 100.0
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0u8; 24];
        let mut rest = &mut text[..];
        write!(rest, "{}.{:02}", self.0 / 100, self.0 % 100).map_err(serde::ser::Error::custom)?;
        let unused = rest.len();
        serialize_ascii(&text[..24 - unused], serializer)
    }
}

/// A time in epoch milliseconds between the years 0 and 9999, written as RFC 3339: `"2026-01-01T10:00:00.000Z"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub i64,
);

impl Time {
    /// The 24 ASCII characters of the time. Written by hand because every record has one: a general formatter takes
    /// as long as all the rest of a record.
    fn rfc3339(self) -> [u8; 24] {
        let days = self.0.div_euclid(86_400_000);
        let ms_of_day = self.0.rem_euclid(86_400_000);
        let (year, month, day) = civil_from_days(days);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        put_digits(&mut text[0..4], year);
        put_digits(&mut text[5..7], month);
        put_digits(&mut text[8..10], day);
        put_digits(&mut text[11..13], ms_of_day / 3_600_000);
        put_digits(&mut text[14..16], ms_of_day / 60_000 % 60);
        put_digits(&mut text[17..19], ms_of_day / 1_000 % 60);
        put_digits(&mut text[20..23], ms_of_day % 1_000);
        text
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_ascii(&self.rfc3339(), serializer)
    }
}

fn serialize_ascii<S: Serializer>(text: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let text = std::str::from_utf8(text).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(text)
}

fn put_digits(into: &mut [u8], mut value: i64) {
    for digit in into.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// The proleptic Gregorian date of a day counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The bytes of a record. `bytes` is a guess at its length that saves growing the buffer.
fn json(record: &impl Serialize, bytes: usize) -> Vec<u8> {
    let mut json = Vec::with_capacity(bytes);
    serde_json::to_writer(&mut json, record).expect("a record of plain fields always has a JSON form");
    json
}

/// A Segment message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message<'a> {
    /// track, page, screen, identify or alias.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The event's name, of a track message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'static str>,
    /// Unique to the message.
    pub message_id: &'a str,
    /// The user, where known. One of this and `anonymous_id` must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<&'a str>,
    /// The device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous_id: Option<&'a str>,
    /// Who `user_id` was before, of an alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_id: Option<&'a str>,
    /// When it happened.
    pub timestamp: Time,
    /// What it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<Properties<'a>>,
    /// Who it was, of an identify.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traits: Option<Traits<'a>>,
}

impl Message<'_> {
    /// The message on the clickstream, keyed by user id, else anonymous id.
    pub fn event(&self) -> Event {
        let key = self.user_id.or(self.anonymous_id).unwrap_or_default();
        Event::new(CLICKSTREAM, key, self.timestamp.0, json(self, 512))
    }
}

/// `properties` of a Segment message, by kind of event.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Properties<'a> {
    /// A page or screen.
    Page {
        /// The path.
        path: &'a str,
        /// The title.
        title: &'a str,
    },
    /// Product Viewed, Clicked, Added, Removed and the wishlist's events.
    Product(ProductProperties<'a>),
    /// Product List Viewed.
    List {
        /// Which list.
        list_id: &'a str,
        /// The category it shows.
        category: &'a str,
        /// What it shows.
        products: &'a [ListItem<'a>],
    },
    /// Products Searched.
    Query {
        /// As typed.
        query: &'a str,
    },
    /// Cart Viewed and Checkout Started.
    Lines {
        /// The order to be, of a checkout.
        #[serde(skip_serializing_if = "Option::is_none")]
        order_id: Option<&'a str>,
        /// The cart, where it has an id.
        #[serde(skip_serializing_if = "Option::is_none")]
        cart_id: Option<&'a str>,
        /// Its worth.
        value: f64,
        /// ISO 4217.
        currency: &'static str,
        /// Its lines.
        products: &'a [LineProperties<'a>],
    },
}

/// A product as Segment's events name it.
#[derive(Debug, Serialize)]
pub struct ProductProperties<'a> {
    /// The SKU once more: v1 of Segment's spec knew only this name.
    pub product_id: &'a str,
    /// The SKU.
    pub sku: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its category.
    pub category: &'a str,
    /// Its brand.
    pub brand: &'a str,
    /// Its price, see [`Money::number`].
    pub price: f64,
    /// ISO 4217.
    pub currency: &'static str,
    /// How many, of Product Added and Removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity: Option<u32>,
    /// Its page.
    pub url: &'a str,
    /// Its picture.
    pub image_url: &'a str,
}

/// A product in a list.
#[derive(Debug, Serialize)]
pub struct ListItem<'a> {
    /// The SKU.
    pub sku: &'a str,
    /// Its place in the list, from 1.
    pub position: u32,
}

/// A line in Cart Viewed or Checkout Started.
#[derive(Debug, Serialize)]
pub struct LineProperties<'a> {
    /// The SKU.
    pub sku: &'a str,
    /// How many.
    pub quantity: u32,
    /// What one costs.
    pub price: f64,
}

/// `traits` of an identify.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traits<'a> {
    /// The address.
    pub email: &'a str,
    /// The first name.
    pub first_name: &'a str,
}

/// A line of a cart or an order.
#[derive(Debug, Clone, Serialize)]
pub struct LineRecord<'a> {
    /// The SKU.
    pub sku: &'a str,
    /// How many, at least 1.
    pub quantity: u32,
    /// What one costs.
    pub price: Money,
}

/// The whole new state of a cart.
#[derive(Debug, Serialize)]
pub struct CartRecord<'a> {
    /// The cart.
    pub cart_id: &'a str,
    /// Whose, where known. One of this and `anonymous_id` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<&'a str>,
    /// Whose device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous_id: Option<&'a str>,
    /// Grows with every change.
    pub version: u64,
    /// When it changed.
    pub updated_at: Time,
    /// ISO 4217.
    pub currency: &'static str,
    /// All its lines; none for an emptied cart.
    pub lines: &'a [LineRecord<'a>],
}

impl CartRecord<'_> {
    /// The record on `carts`, keyed by cart id.
    pub fn event(&self) -> Event {
        Event::new(CARTS, self.cart_id, self.updated_at.0, json(self, 192 + 64 * self.lines.len()))
    }
}

/// The stock of a SKU at a location.
#[derive(Debug, Serialize)]
pub struct InventoryRecord<'a> {
    /// The SKU.
    pub sku: &'a str,
    /// The warehouse, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<&'a str>,
    /// How many are left.
    pub on_hand: i64,
    /// Grows with every change.
    pub version: u64,
    /// When it changed, in epoch milliseconds.
    pub updated_at: i64,
}

impl InventoryRecord<'_> {
    /// The record on `inventory`, keyed by SKU and, where there is one, location.
    pub fn event(&self) -> Event {
        let key = match self.location {
            None => self.sku.to_owned(),
            Some(location) => [self.sku, location].join(":"),
        };
        Event::new(INVENTORY, key, self.updated_at, json(self, 128))
    }
}

/// A product.
#[derive(Debug, Serialize)]
pub struct CatalogRecord<'a> {
    /// The SKU.
    pub sku: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its category.
    pub category: &'a str,
    /// Its brand.
    pub brand: &'a str,
    /// Its price.
    pub price: Money,
    /// ISO 4217.
    pub currency: &'static str,
    /// Its picture.
    pub image_url: &'a str,
    /// Its page.
    pub url: &'a str,
    /// Grows with every change.
    pub version: u64,
    /// When it changed.
    pub updated_at: Time,
}

impl CatalogRecord<'_> {
    /// The record on `catalog`, keyed by SKU.
    pub fn event(&self) -> Event {
        Event::new(CATALOG, self.sku, self.updated_at.0, json(self, 384))
    }
}

/// An order, or what became of it.
#[derive(Debug, Serialize)]
pub struct OrderRecord<'a> {
    /// The order.
    pub order_id: &'a str,
    /// Whose, where known. One of this and `anonymous_id` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<&'a str>,
    /// Whose device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous_id: Option<&'a str>,
    /// The cart it was made from, where that has an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cart_id: Option<&'a str>,
    /// placed, cancelled or refunded.
    pub status: &'static str,
    /// When it was placed.
    pub placed_at: Time,
    /// Grows with every change.
    pub version: u64,
    /// When it changed.
    pub updated_at: Time,
    /// The sum of its lines.
    pub total: Money,
    /// ISO 4217.
    pub currency: &'static str,
    /// What was bought.
    pub lines: &'a [LineRecord<'a>],
}

impl OrderRecord<'_> {
    /// The record on `orders`, keyed by order id.
    pub fn event(&self) -> Event {
        Event::new(ORDERS, self.order_id, self.updated_at.0, json(self, 320 + 64 * self.lines.len()))
    }
}

/// A customer.
#[derive(Debug, Serialize)]
pub struct ProfileRecord<'a> {
    /// The user.
    pub user_id: &'a str,
    /// The address; some have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<&'a str>,
    /// The first name.
    pub first_name: &'a str,
    /// BCP 47.
    pub locale: &'a str,
    /// IANA.
    pub timezone: &'a str,
    /// Whether mail may be sent.
    pub consent: Consent,
    /// What campaigns' audiences ask for.
    pub attributes: Attributes<'a>,
    /// Whether the customer asked to be forgotten.
    pub deleted: bool,
    /// Grows with every change.
    pub version: u64,
    /// When it changed.
    pub updated_at: Time,
}

/// `consent` of a profile.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Consent {
    /// To e-mail.
    pub email: bool,
}

/// `attributes` of a profile.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Attributes<'a> {
    /// gold, silver or bronze.
    pub tier: &'a str,
    /// Where the customer lives.
    pub city: &'a str,
}

impl ProfileRecord<'_> {
    /// The record on `profiles`, keyed by user id.
    pub fn event(&self) -> Event {
        Event::new(PROFILES, self.user_id, self.updated_at.0, json(self, 320))
    }
}

/// What became of an e-mail.
#[derive(Debug, Serialize)]
pub struct EngagementRecord<'a> {
    /// Unique to the event.
    pub event_id: &'a str,
    /// unsubscribed, bounced and so on.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whose.
    pub user_id: &'a str,
    /// When.
    pub occurred_at: Time,
    /// Whether a scanner did it.
    pub machine: bool,
}

impl EngagementRecord<'_> {
    /// The record on `engagement`, keyed by event id.
    pub fn event(&self) -> Event {
        Event::new(ENGAGEMENT, self.event_id, self.occurred_at.0, json(self, 192))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_a_calendar() {
        for ms in [0, 1, 951_782_400_000, 1_767_225_600_000, 1_772_323_199_999, 4_102_444_799_999] {
            let text = String::from_utf8(Time(ms).rfc3339().to_vec()).unwrap();
            let read: jiff::Timestamp = text.parse().unwrap();
            assert_eq!(read.as_millisecond(), ms, "{text}");
        }
    }

    #[test]
    fn money_has_two_places() {
        let written = |cents| serde_json::to_string(&Money(cents)).unwrap();
        assert_eq!(written(1990), "\"19.90\"");
        assert_eq!(written(5), "\"0.05\"");
        assert_eq!(serde_json::to_string(&Money(1990).number()).unwrap(), "19.9");
        assert_eq!(serde_json::to_string(&Money(1_005).number()).unwrap(), "10.05");
    }
}
