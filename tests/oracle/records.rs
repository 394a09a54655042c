//! Decoding (SPEC §1). In: one line of a stream. Out: a typed record with its event time and version, or why it is
//! bad. Nothing else can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value;
use serde_json::value::RawValue;

/// The streams, in the order in which SPEC §1 lists them: positions compare by it.
pub const STREAMS: [&str; 7] = ["clickstream", "carts", "inventory", "catalog", "orders", "profiles", "engagement"];

/// A longer line is bad.
const BYTES_MAX: usize = 1024 * 1024;

/// Who owns a record, once identities are resolved: a user, or an anonymous visitor, never equal to each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Customer {
    /// Known by a user id.
    User(String),
    /// Known by an anonymous id alone.
    Anonymous(String),
}

impl Customer {
    /// The id without its kind, as decisions give it.
    pub fn id(&self) -> &str {
        match self {
            Customer::User(id) | Customer::Anonymous(id) => id,
        }
    }
}

/// The ids that a record carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Who {
    /// `userId` or `user_id`.
    pub user: Option<String>,
    /// `anonymousId` or `anonymous_id`.
    pub anonymous: Option<String>,
}

/// A line of a cart or an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub sku: String,
    /// At least 1: a line of 0 is no line.
    pub quantity: i64,
    pub price: Option<Decimal>,
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Placed,
    Cancelled,
    Refunded,
}

/// What a clickstream message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Viewed(String),
    Clicked(String),
    Wished(String),
    Searched(String),
    CheckoutStarted(Option<String>),
    Added {
        cart_id: Option<String>,
        line: Line,
    },
    Removed {
        cart_id: Option<String>,
        sku: String,
        quantity: i64,
    },
    Order(OrderEvent),
    Identify,
    Alias {
        previous: String,
    },
    /// Anything else: an activity, and no more.
    Other,
}

impl Event {
    /// The cart that it changes a line of, if it names one.
    pub fn cart_id(&self) -> Option<&String> {
        match self {
            Event::Added { cart_id, .. } | Event::Removed { cart_id, .. } => cart_id.as_ref(),
            _ => None,
        }
    }

    /// The SKU of the cart's line that it changes.
    pub fn folded_sku(&self) -> Option<&str> {
        match self {
            Event::Added { line, .. } => Some(&line.sku),
            Event::Removed { sku, .. } => Some(sku),
            _ => None,
        }
    }
}

/// An order that a clickstream message tells of; `None` where the message does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderEvent {
    pub order_id: String,
    pub status: Status,
    pub cart_id: Option<String>,
    pub lines: Option<Vec<Line>>,
    pub total: Option<Decimal>,
}

/// A clickstream message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub who: Who,
    pub message_id: Option<String>,
    pub event: Event,
}

/// A `carts` record: the cart's whole new state.
#[derive(Clone, Debug, PartialEq)]
pub struct Cart {
    pub cart_id: String,
    pub who: Who,
    pub lines: Vec<Line>,
}

/// An order, whether from `orders` or from a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub order_id: String,
    pub who: Who,
    pub cart_id: Option<String>,
    pub status: Status,
    pub placed_at_ms: i64,
    pub lines: Vec<Line>,
    pub total: Option<Decimal>,
}

/// What `catalog` says of a SKU.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    pub sku: String,
    pub name: Option<String>,
    pub price: Option<Decimal>,
    pub image_url: Option<String>,
    pub url: Option<String>,
}

/// What `profiles` says of a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pub user_id: String,
    pub email: Option<String>,
    /// `consent.email`; not stated is not given.
    pub consent: bool,
    pub deleted: bool,
    pub locale: Option<String>,
    pub timezone: Option<String>,
    /// An object's members; none when deleted.
    pub attributes: serde_json::Map<String, Value>,
}

/// An `engagement` record.
#[derive(Clone, Debug, PartialEq)]
pub struct Engagement {
    pub event_id: String,
    pub user: Option<String>,
    /// Bounced, complained or unsubscribed: no mail from then on.
    pub refuses: bool,
    /// Chosen: the campaigns whose mails are not wanted.
    pub declined: Option<BTreeSet<String>>,
    /// The `type`.
    pub kind: String,
    /// The decision that the mail came from, by its id as decisions write it.
    pub decision: Option<String>,
    pub machine: bool,
}

/// A record of any stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    Message(Message),
    Cart(Cart),
    Inventory { sku: String, location: Option<String>, on_hand: i64 },
    Product(Product),
    Order(Order),
    Profile(Profile),
    Engagement(Engagement),
}

/// A good record.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub time_ms: i64,
    pub version: i64,
    pub record: Record,
}

/// Why a record is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bad {
    TooLong,
    NotJson,
    WrongType,
    Missing,
    AbsurdTime,
}

/// Decodes one line of `stream`.
pub fn decode(stream: &str, line: &str) -> Result<Decoded, Bad> {
    if line.len() > BYTES_MAX {
        return Err(Bad::TooLong);
    }
    serde_json::from_str::<Value>(line).map_err(|_| Bad::NotJson)?;
    let fields = Fields::of(line)?;
    match stream {
        "clickstream" => message(&fields),
        "carts" => cart(&fields),
        "inventory" => inventory(&fields),
        "catalog" => product(&fields),
        "orders" => order(&fields),
        "profiles" => profile(&fields),
        "engagement" => engagement(&fields),
        _ => panic!("no stream is named {stream}"),
    }
}

fn versioned(fields: &Fields, record: Record) -> Result<Decoded, Bad> {
    Ok(Decoded {
        time_ms: fields.time("updated_at")?.ok_or(Bad::Missing)?,
        version: fields.whole("version")?.unwrap_or(0),
        record,
    })
}

fn cart(fields: &Fields) -> Result<Decoded, Bad> {
    let cart = Cart {
        cart_id: fields.key("cart_id")?,
        who: who(fields, "user_id", "anonymous_id")?,
        lines: lines(fields, "lines")?.unwrap_or_default(),
    };
    versioned(fields, Record::Cart(cart))
}

fn inventory(fields: &Fields) -> Result<Decoded, Bad> {
    let record = Record::Inventory {
        sku: fields.key("sku")?,
        location: fields.text("location")?,
        on_hand: fields.whole("on_hand")?.ok_or(Bad::Missing)?,
    };
    versioned(fields, record)
}

fn product(fields: &Fields) -> Result<Decoded, Bad> {
    let product = Product {
        sku: fields.key("sku")?,
        name: fields.text("name")?,
        price: fields.money("price")?,
        image_url: fields.text("image_url")?,
        url: fields.text("url")?,
    };
    versioned(fields, Record::Product(product))
}

fn order(fields: &Fields) -> Result<Decoded, Bad> {
    let placed_at_ms = fields.time("placed_at")?.ok_or(Bad::Missing)?;
    let order = Order {
        order_id: fields.key("order_id")?,
        who: who(fields, "user_id", "anonymous_id")?,
        cart_id: fields.text("cart_id")?,
        status: match fields.key("status")?.as_str() {
            "placed" => Status::Placed,
            "cancelled" => Status::Cancelled,
            "refunded" => Status::Refunded,
            _ => return Err(Bad::WrongType),
        },
        placed_at_ms,
        lines: lines(fields, "lines")?.unwrap_or_default(),
        total: fields.money("total")?,
    };
    Ok(Decoded {
        time_ms: fields.time("updated_at")?.unwrap_or(placed_at_ms),
        version: fields.whole("version")?.unwrap_or(0),
        record: Record::Order(order),
    })
}

fn profile(fields: &Fields) -> Result<Decoded, Bad> {
    let consent = match fields.object("consent")? {
        Some(consent) => consent.flag("email")?.unwrap_or(false),
        None => false,
    };
    let profile = Profile {
        user_id: fields.key("user_id")?,
        email: fields.text("email")?,
        consent,
        deleted: fields.flag("deleted")?.unwrap_or(false),
        locale: fields.text("locale")?,
        timezone: fields.text("timezone")?,
        attributes: fields.read("attributes")?.unwrap_or_default(),
    };
    versioned(fields, Record::Profile(profile))
}

fn engagement(fields: &Fields) -> Result<Decoded, Bad> {
    let kind = fields.key("type")?;
    let decision = fields.text("decision_id")?;
    let is_id = |text: &String| text.len() == 32 && text.chars().all(|char| char.is_ascii_hexdigit());
    if decision.as_ref().is_some_and(|text| !is_id(text)) {
        return Err(Bad::WrongType);
    }
    let engagement = Engagement {
        event_id: fields.key("event_id")?,
        user: fields.text("user_id")?,
        refuses: match kind.as_str() {
            "bounced" | "complained" | "unsubscribed" => true,
            "delivered" | "opened" | "clicked" | "chosen" => false,
            _ => return Err(Bad::WrongType),
        },
        declined: if kind == "chosen" { Some(names(fields, "declined")?) } else { None },
        kind,
        decision: decision.map(|text| text.to_lowercase()),
        machine: fields.flag("machine")?.unwrap_or(false),
    };
    Ok(Decoded {
        time_ms: fields.time("occurred_at")?.ok_or(Bad::Missing)?,
        version: 0,
        record: Record::Engagement(engagement),
    })
}

fn message(fields: &Fields) -> Result<Decoded, Bad> {
    let event = match fields.key("type")?.as_str() {
        "track" => track(fields)?,
        "page" | "screen" => Event::Other,
        "identify" => Event::Identify,
        "alias" => Event::Alias { previous: fields.key("previousId")? },
        _ => return Err(Bad::WrongType),
    };
    let message = Message { who: who(fields, "userId", "anonymousId")?, message_id: fields.text("messageId")?, event };
    Ok(Decoded {
        time_ms: fields.time("timestamp")?.ok_or(Bad::Missing)?,
        version: 0,
        record: Record::Message(message),
    })
}

fn track(fields: &Fields) -> Result<Event, Bad> {
    let properties = fields.object("properties")?.unwrap_or_default();
    let of = &properties;
    Ok(match fields.key("event")?.as_str() {
        "Product Viewed" | "Viewed Product" => Event::Viewed(sku(of)?),
        "Product Clicked" | "Clicked Product" => Event::Clicked(sku(of)?),
        "Product Added to Wishlist" | "Added Product to Wishlist" => Event::Wished(sku(of)?),
        "Products Searched" | "Searched Products" => match of.text("query")? {
            Some(query) => Event::Searched(query),
            None => Event::Other,
        },
        "Checkout Started" | "Started Checkout" => {
            let order = of.text("order_id")?;
            let cart = of.text("cart_id")?;
            Event::CheckoutStarted(order.or(cart))
        }
        "Product Added" | "Added Product" => Event::Added {
            cart_id: of.text("cart_id")?,
            line: Line { sku: sku(of)?, quantity: quantity(of)?, price: of.money("price")? },
        },
        "Product Removed" | "Removed Product" => {
            Event::Removed { cart_id: of.text("cart_id")?, sku: sku(of)?, quantity: quantity(of)? }
        }
        "Order Completed" | "Completed Order" | "Order Updated" | "Updated Order" => order_event(of, Status::Placed)?,
        "Order Cancelled" | "Cancelled Order" => order_event(of, Status::Cancelled)?,
        "Order Refunded" | "Refunded Order" => order_event(of, Status::Refunded)?,
        _ => Event::Other,
    })
}

fn order_event(properties: &Fields, status: Status) -> Result<Event, Bad> {
    Ok(Event::Order(OrderEvent {
        order_id: properties.key("order_id")?,
        status,
        cart_id: properties.text("cart_id")?,
        lines: lines(properties, "products")?,
        total: properties.money("total")?,
    }))
}

/// The ids a record carries; without either it has no owner and is bad.
fn who(fields: &Fields, user: &str, anonymous: &str) -> Result<Who, Bad> {
    let who = Who { user: fields.text(user)?, anonymous: fields.text(anonymous)? };
    match (&who.user, &who.anonymous) {
        (None, None) => Err(Bad::Missing),
        _ => Ok(who),
    }
}

fn sku(fields: &Fields) -> Result<String, Bad> {
    let sku = fields.text("sku")?;
    let product_id = fields.text("product_id")?;
    sku.or(product_id).ok_or(Bad::Missing)
}

fn quantity(fields: &Fields) -> Result<i64, Bad> {
    match fields.whole("quantity")?.unwrap_or(1) {
        negative if negative < 0 => Err(Bad::WrongType),
        quantity => Ok(quantity),
    }
}

/// An array of texts, none of them empty.
fn names(fields: &Fields, name: &str) -> Result<BTreeSet<String>, Bad> {
    let raw = fields.raw(name).ok_or(Bad::Missing)?;
    let names: BTreeSet<String> = serde_json::from_str(raw).map_err(|_| Bad::WrongType)?;
    if names.contains("") { Err(Bad::WrongType) } else { Ok(names) }
}

/// Lines of a cart, an order or a message; those of quantity 0 are none.
fn lines(fields: &Fields, name: &str) -> Result<Option<Vec<Line>>, Bad> {
    let Some(raw) = fields.raw(name) else {
        return Ok(None);
    };
    let raws: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| Bad::WrongType)?;
    let mut lines = Vec::new();
    for raw in raws {
        let of = Fields::of(raw.get())?;
        let line = Line { sku: sku(&of)?, quantity: quantity(&of)?, price: of.money("price")? };
        if line.quantity > 0 {
            lines.push(line);
        }
    }
    Ok(Some(lines))
}

/// The members of a JSON object as their own text, so that money is read from the digits that were sent.
#[derive(Default)]
struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    fn of(object: &'a str) -> Result<Self, Bad> {
        let fields = serde_json::from_str(object).map_err(|_| Bad::WrongType)?;
        Ok(Fields(fields))
    }

    /// A member's text; `null` is the same as none.
    fn raw(&self, name: &str) -> Option<&'a str> {
        let raw = self.0.get(name)?.get();
        (raw != "null").then_some(raw)
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Bad> {
        match self.raw(name) {
            None => Ok(None),
            Some(raw) => serde_json::from_str(raw).map(Some).map_err(|_| Bad::WrongType),
        }
    }

    /// A string; the empty one is the same as none.
    fn text(&self, name: &str) -> Result<Option<String>, Bad> {
        let text: Option<String> = self.read(name)?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    fn key(&self, name: &str) -> Result<String, Bad> {
        self.text(name)?.ok_or(Bad::Missing)
    }

    fn whole(&self, name: &str) -> Result<Option<i64>, Bad> {
        self.read(name)
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Bad> {
        self.read(name)
    }

    fn object(&self, name: &str) -> Result<Option<Fields<'a>>, Bad> {
        self.raw(name).map(Fields::of).transpose()
    }

    fn money(&self, name: &str) -> Result<Option<Decimal>, Bad> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let digits = match raw.starts_with('"') {
            true => serde_json::from_str(raw).map_err(|_| Bad::WrongType)?,
            false => raw.to_owned(),
        };
        let money = Decimal::from_str_exact(&digits).or_else(|_| Decimal::from_scientific(&digits));
        money.map(Some).map_err(|_| Bad::WrongType)
    }

    /// A time in epoch ms, from RFC 3339 text or an integer.
    fn time(&self, name: &str) -> Result<Option<i64>, Bad> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let time_ms = match raw.starts_with('"') {
            true => {
                let text: String = serde_json::from_str(raw).map_err(|_| Bad::WrongType)?;
                Timestamp::from_str(&text).map_err(|_| Bad::WrongType)?.as_millisecond()
            }
            false => serde_json::from_str(raw).map_err(|_| Bad::WrongType)?,
        };
        // 2000-01-01 to 2100-01-01.
        match (946_684_800_000..=4_102_444_800_000).contains(&time_ms) {
            true => Ok(Some(time_ms)),
            false => Err(Bad::AbsurdTime),
        }
    }
}
