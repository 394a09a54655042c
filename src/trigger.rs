//! Triggers of your own. A program that depends on Beckon brings them, and has all of Beckon's commands with them:
//!
//! ```no_run
//! # use beckon::trigger::{Keys, MakeRule, TriggerKind};
//! # struct MyTrigger;
//! # impl TriggerKind for MyTrigger {
//! #     fn name(&self) -> &'static str { "my_trigger" }
//! #     fn read(&self, _: &Keys<'_>) -> Box<MakeRule> { unimplemented!("an example that is not run") }
//! # }
//! fn main() -> std::process::ExitCode {
//!     beckon::cli::main_with(vec![Box::new(MyTrigger)])
//! }
//! ```
//!
//! `MyTrigger` is a [`TriggerKind`]: it says what `trigger = "my_trigger"` reads of a campaign, and makes the campaign's [`Rule`],
//! which says what holds. That is a condition over one of three things:
//!
//! - over a customer, from all that they did: a [`CustomerTrigger`] as [`Rule::Customer`];
//! - over a customer's orders alone: a [`CustomerTrigger`] as [`Rule::Orders`];
//! - over a product's price and stock, for all who want it: a [`SkuTrigger`] as [`Rule::Sku`].
//!
//! `examples/nearly_free_shipping.rs` is a whole one, with every step explained. All that a rule may depend on is what it is given;
//! with a clock, a file or a random number in it a replay would not repeat its decisions.

pub use beckon_dataflows::custom::{Campaign, MakeRule, Rule};
pub use beckon_dataflows::joins::carts::{Cart, CartLine};
pub use beckon_dataflows::joins::customers::{Customer, CustomerTrigger, Reads, Trail, View};
pub use beckon_dataflows::joins::orders::Order;
pub use beckon_dataflows::joins::skus::{SkuTrigger, Terms};
pub use beckon_dataflows::model::{Id, Line, Money, OrderStatus, Tick};
pub use beckon_dataflows::plan::Wait;
pub use beckon_dataflows::triggers::found::{Found, product_line};
pub use rust_decimal::Decimal;

pub use crate::config::{Keys, TriggerKind, Value};
