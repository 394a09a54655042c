//! Decoded records, as the source hands them to the graph: names interned, money exact, times in epoch milliseconds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Contact, Id, Line, Money, Position, Product};

/// Of several records for one key the greatest `Written` is the state (SPEC §1, last write wins): compared by version,
/// then `updated_at`, then source position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Written {
    /// The record's `version`; 0 when missing.
    pub version: i64,
    /// The record's `updated_at`, epoch ms.
    pub updated_ms: u64,
    /// Where the record stands.
    pub position: Position,
}

/// A `messageId` or `event_id` as 128 bits of hash; all zero when the record has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId {
    /// By this half messages are spread over the workers.
    pub low: u64,
    /// By this half two messages of one `low` are told apart.
    pub high: u64,
}

impl MessageId {
    /// The message has no id and is never a duplicate.
    pub const NONE: MessageId = MessageId { low: 0, high: 0 };
}

/// One Segment message, as far as any rule needs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Click {
    /// Who sent it: the user if it names one, else the anonymous visitor.
    pub owner: Id,
    /// Its `messageId`.
    pub message: MessageId,
    /// Its `timestamp`, epoch ms: it orders what one owner did within a tick.
    pub at_ms: u64,
    /// Where it stands.
    pub position: Position,
    /// What was done.
    pub action: Action,
}

/// What a Segment message says was done, by the event names of SPEC §1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Anything that is only a sign of life.
    Seen,
    /// Product Viewed.
    Viewed(Id),
    /// Product Clicked, Product Added to Wishlist.
    Wanted(Id),
    /// Product Added (positive quantity) or Product Removed (negative).
    Folded(Box<Fold>),
    /// Checkout Started, by order id or else cart id; a message with neither is only [`Action::Seen`].
    CheckoutStarted(Id),
    /// Products Searched, by query.
    Searched(Id),
    /// Order Completed, Updated, Cancelled or Refunded.
    Ordered(Box<OrderRecord>),
    /// `identify` with both ids: the anonymous visitor is `owner` from here on.
    Identified(Id),
    /// `alias`: all that is the previous id's, as a visitor or as a user, becomes `owner`'s.
    Aliased(Box<[Id; 2]>),
}

impl Action {
    /// Whether it says more than what its sender did: of a cart's line, an order, or whose a visitor's records are.
    pub fn says_more(&self) -> bool {
        matches!(self, Self::Folded(_) | Self::Ordered(_) | Self::Identified(_) | Self::Aliased(_))
    }
}

/// A change of one line of a cart that is told by Product Added and Product Removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fold {
    /// The cart, or its owner's id for the implicit cart.
    pub cart: Id,
    /// Whose cart it is.
    pub owner: Id,
    /// Version 0, the message's time, its position.
    pub written: Written,
    /// The product.
    pub sku: Id,
    /// Units added, or when negative, removed.
    pub quantity: i64,
    /// Price of a unit.
    pub price: Option<Money>,
    /// ISO 4217 code, or [`Id::NONE`].
    pub currency: Id,
}

impl Fold {
    /// Whether it names no cart, and so changes its owner's own.
    pub fn is_implicit(&self) -> bool {
        self.cart == self.owner
    }
}

/// A `carts` record: the cart's whole new state. No lines: emptied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CartRecord {
    /// Key.
    pub cart: Id,
    /// Whose cart it is.
    pub owner: Id,
    /// Order among the writes of this cart.
    pub written: Written,
    /// ISO 4217 code, or [`Id::NONE`].
    pub currency: Id,
    /// Lines in the order written.
    pub lines: Box<[Line]>,
}

/// An `inventory` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StockRecord {
    /// Key, with `location`.
    pub sku: Id,
    /// Where the units lie; [`Id::NONE`] when the record names no place.
    pub location: Id,
    /// Order among the writes of this SKU and location.
    pub written: Written,
    /// Units.
    pub on_hand: i64,
}

/// A `catalog` record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CatalogRecord {
    /// Key.
    pub sku: Id,
    /// Order among the writes of this SKU.
    pub written: Written,
    /// What it says.
    pub product: Arc<Product>,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OrderStatus {
    /// Placed, and valid.
    Placed,
    /// Cancelled: as if never placed.
    Cancelled,
    /// Refunded: closes its cart, but is no history.
    Refunded,
}

/// An `orders` record, or an order event of the clickstream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderRecord {
    /// Key.
    pub order: Id,
    /// Who ordered.
    pub owner: Id,
    /// The cart it closes; [`Id::NONE`] closes every cart of the owner that has not changed since.
    pub cart: Id,
    /// What became of it.
    pub status: OrderStatus,
    /// Order among the writes of this order.
    pub written: Written,
    /// `placed_at`, epoch ms.
    pub placed_ms: u64,
    /// Told by an order event of the clickstream, which may name only what changed.
    pub from_click: bool,
    /// Sum of the order.
    pub total: Option<Money>,
    /// What was ordered.
    pub lines: Box<[Line]>,
}

/// A `profiles` record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProfileRecord {
    /// Key.
    pub user: Id,
    /// Order among the writes of this profile.
    pub written: Written,
    /// What it says; of a `deleted` profile nothing but that.
    pub contact: Contact,
}

/// What a recipient did, as far as a rule needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EngagementKind {
    /// The mailbox took it.
    Delivered,
    /// Opened.
    Opened,
    /// Clicked.
    Clicked,
    /// Refused for good by the mailbox.
    Bounced,
    /// Marked as spam.
    Complained,
    /// Unsubscribed.
    Unsubscribed,
    /// Chose which campaigns' mails they want ([`Choice`]).
    Chosen,
}

impl EngagementKind {
    /// Whether it withholds consent from then on (SPEC §5, `no_consent`).
    pub fn withholds_consent(self) -> bool {
        matches!(self, Self::Bounced | Self::Complained | Self::Unsubscribed)
    }
}

/// Which campaigns' mails a recipient does not want: their whole choice, in place of any earlier one. SPEC has none; the rule is
/// ARCHITECTURE's, "Choices".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Choice {
    /// Order among a customer's choices: the last write is the one that holds.
    pub written: Written,
    /// The names of those campaigns, sorted, each once.
    pub declined: Box<[Box<str>]>,
}

/// An `engagement` record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EngagementRecord {
    /// Its `event_id`.
    pub event: MessageId,
    /// The recipient; [`Id::NONE`] when the record names only the decision.
    pub user: Id,
    /// Where it stands.
    pub position: Position,
    /// What happened.
    pub kind: EngagementKind,
    /// The decision that the mail came from; 0 when not named.
    pub decision: u128,
    /// Done by a scanner or a mail-privacy prefetch, not by a person.
    pub machine: bool,
    /// What was chosen; only of [`EngagementKind::Chosen`].
    pub choice: Option<Arc<Choice>>,
}

/// A record of any stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// `clickstream`.
    Click(Click),
    /// `carts`.
    Cart(CartRecord),
    /// `inventory`.
    Stock(StockRecord),
    /// `catalog`.
    Catalog(CatalogRecord),
    /// `orders`.
    Order(OrderRecord),
    /// `profiles`.
    Profile(ProfileRecord),
    /// `engagement`.
    Engagement(EngagementRecord),
}

impl Record {
    /// Where it stands.
    pub fn position(&self) -> Position {
        match self {
            Record::Click(click) => click.position,
            Record::Cart(cart) => cart.written.position,
            Record::Stock(stock) => stock.written.position,
            Record::Catalog(product) => product.written.position,
            Record::Order(order) => order.written.position,
            Record::Profile(profile) => profile.written.position,
            Record::Engagement(engagement) => engagement.position,
        }
    }
}
