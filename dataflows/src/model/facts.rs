//! What the graph says: who entered and left the trigger set, and the state that decisions and mails are made from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Contact, EngagementKind, Id, Line, Money, OrderStatus, Tick};

/// One true interval of a campaign's condition (SPEC, "Terms"), by the campaign's place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Episode {
    /// The campaign's index in the plan.
    pub campaign: u16,
    /// Whom it is about.
    pub customer: Id,
    /// What it is about: a cart, a SKU, an order, by trigger (SPEC §4).
    pub subject: Id,
    /// The tick that tells this episode from the others of its subject (SPEC §4).
    pub anchor: Tick,
}

/// An episode with what its payload is made from: the lines as they were when it opened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Opening {
    /// Which.
    pub episode: Episode,
    /// ISO 4217 code of the lines' prices, or [`Id::NONE`].
    pub currency: Id,
    /// The lines it may speak of; which of them it does depends on the stock (SPEC §4).
    pub lines: Arc<[Line]>,
}

/// A product, as the catalog has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Product {
    /// Name.
    pub name: Option<String>,
    /// Category.
    pub category: Option<String>,
    /// Brand.
    pub brand: Option<String>,
    /// Price of a unit.
    pub price: Option<Money>,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// Address of its picture.
    pub image_url: Option<String>,
    /// Address of its page.
    pub url: Option<String>,
}

/// What a customer has bought: orders neither cancelled nor refunded (SPEC §3, "History").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct History {
    /// How many.
    pub orders: u64,
    /// Sum of their totals; one without a total adds nothing.
    pub total: Money,
    /// The tick at which the latest was placed.
    pub last_order: Option<Tick>,
}

/// An order, as the KPIs need it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderFact {
    /// Whose it is.
    pub customer: Id,
    /// The tick at which it was placed.
    pub placed: Tick,
    /// What became of it.
    pub status: OrderStatus,
    /// Sum of the order, where it says one.
    pub total: Option<Money>,
}

/// What somebody did with the mail of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Engagement {
    /// The decision's id.
    pub decision: u128,
    /// What.
    pub kind: EngagementKind,
    /// By a scanner or a mail-privacy prefetch, not by a person.
    pub machine: bool,
}

/// The SKUs that a customer was interested in lately, as many as count (SPEC §3, "Similar").
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interests {
    /// Those that count, by id.
    pub skus: Arc<[Id]>,
    /// Those of one tick, by id, of which not all count: the lesser ones by their texts.
    pub tied: Arc<[Id]>,
    /// How many of the tied ones count.
    pub places: usize,
}

/// A cart with something in it that is still to be bought (SPEC §3, "Closed cart").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpenCart {
    /// Which; the owner's own id where it is their implicit cart.
    pub id: Id,
    /// Its last effective change.
    pub changed: Tick,
    /// ISO 4217 code, or [`Id::NONE`].
    pub currency: Id,
    /// What is still to be bought.
    pub lines: Arc<[Line]>,
}

impl History {
    /// That of one order, placed at this tick.
    pub fn of(placed: Tick, total: Money) -> History {
        History { orders: 1, total, last_order: Some(placed) }
    }

    /// That of both together. A sum that no decimal holds is more than any condition asks for.
    pub fn and(&self, other: &History) -> History {
        History {
            orders: self.orders + other.orders,
            total: Money(self.total.0.saturating_add(other.total.0)),
            last_order: self.last_order.max(other.last_order),
        }
    }
}

/// A change of what the graph maintains, at one tick. Read in the order of their ticks they give the state that a decision
/// at a tick is made from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Change {
    /// A user is from now on an alias of another: what was sent to them counts as sent to that one.
    Aliased(Id, Id),
    /// The stock of a SKU is now this.
    Stock(Id, i64),
    /// A SKU is now this product.
    Product(Id, Arc<Product>),
    /// A customer is now this.
    Contact(Id, Contact),
    /// A customer's history is now this. Only told where the plan asks for it.
    History(Id, History),
    /// What a customer was interested in lately is now this. Only told where the plan asks for similar SKUs.
    Interests(Id, Interests),
    /// A customer has now ordered a SKU, or not: customer, SKU, whether. Only told where the plan asks for similar SKUs.
    Bought(Id, Id, bool),
    /// A customer's open carts are now these, the latest changed last. Only told where the plan asks for it.
    Carts(Id, Arc<[OpenCart]>),
    /// An order is now this. Only told where the plan asks for KPIs; that it is forgotten is not told.
    Order(Id, OrderFact),
    /// Somebody did something with a mail. Only told where the plan asks for KPIs.
    Engaged(Box<Engagement>),
    /// The episode left the trigger set.
    Left(Episode),
    /// The episode entered the trigger set.
    Entered(Opening),
}
