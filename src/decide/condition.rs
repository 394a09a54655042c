//! Conditions in CEL over `customer`, `cart` and `trigger` (SPEC §5, `audience`; their names: ARCHITECTURE, "Conditions").
//! In: a compiled expression, and the episode that it is asked about. Out: whether it holds. Fails when the expression meets
//! a name or a type that is not there, or comes to no bool; what that means is for the gate to say.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use beckon_dataflows::model::{Contact, History, Tick};
use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, Program, Value};
use rust_decimal::Decimal;

use crate::decision::{Payload, PayloadLine};

/// A condition, compiled once and asked of many.
#[derive(Clone)]
pub struct Condition {
    text: Arc<str>,
    program: Arc<Program>,
    environment: Arc<Env>,
    asks_customer: bool,
    asks_cart: bool,
    asks_trigger: bool,
}

/// What a condition is asked about.
pub struct About<'a> {
    /// The customer's id.
    pub customer_id: &'a str,
    /// Their profile, if there is one.
    pub contact: Option<&'a Contact>,
    /// What they have bought.
    pub history: History,
    /// What the decision speaks of.
    pub payload: &'a Payload,
    /// The trigger's name (SPEC §4).
    pub trigger: &'a str,
    /// The episode's subject.
    pub subject: &'a str,
    /// The episode's anchor.
    pub anchor: Tick,
    /// The tick that it is asked at.
    pub as_of: Tick,
}

/// A condition that comes to neither true nor false.
#[derive(Debug, thiserror::Error)]
pub enum Undecidable {
    /// A name or a type is not there.
    #[error("{0}")]
    Failed(#[from] ExecutionError),
    /// It is no question.
    #[error("it comes to {0}, not to true or false")]
    NoBool(String),
}

impl Condition {
    /// A condition of an expression, as written and compiled.
    pub fn new(text: &str, program: Arc<Program>) -> Condition {
        let names = program.references();
        let [asks_customer, asks_cart, asks_trigger] =
            ["customer", "cart", "trigger"].map(|name| names.has_variable(name));
        Condition {
            text: text.into(),
            program,
            environment: Arc::new(Env::stdlib()),
            asks_customer,
            asks_cart,
            asks_trigger,
        }
    }

    /// The expression as it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it holds.
    pub fn holds(&self, about: &About<'_>) -> Result<bool, Undecidable> {
        let mut context = Context::with_env(self.environment.clone());
        if self.asks_customer {
            context.add_variable_from_value("customer", customer(about));
        }
        if self.asks_cart {
            context.add_variable_from_value("cart", cart(about.payload));
        }
        if self.asks_trigger {
            context.add_variable_from_value("trigger", trigger(about));
        }
        match self.program.execute(&context)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(Undecidable::NoBool(other.type_of().to_string())),
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.program.fmt(out)
    }
}

/// An object in the making. What is not known is left out, so that `has()` tells.
#[derive(Default)]
struct Object(HashMap<Key, Value>);

impl Object {
    fn with(mut self, name: &str, value: impl Into<Value>) -> Object {
        self.0.insert(name.to_owned().into(), value.into());
        self
    }

    fn with_known(self, name: &str, value: Option<impl Into<Value>>) -> Object {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

impl From<Object> for Value {
    fn from(Object(members): Object) -> Value {
        Value::Map(Map { map: Arc::new(members) })
    }
}

fn customer(about: &About<'_>) -> Value {
    let words = about.contact.map(Contact::words).unwrap_or_default();
    // The decoder let only objects pass.
    let attributes = words.attributes.and_then(|text| serde_json::from_str(text).ok()).map(value);
    Object::default()
        .with("user_id", about.customer_id)
        .with_known("email", words.email)
        .with_known("first_name", words.first_name)
        .with_known("locale", words.locale)
        .with_known("timezone", words.timezone)
        .with("attributes", attributes.unwrap_or_else(|| Object::default().into()))
        .with("orders", i64::try_from(about.history.orders).unwrap_or(i64::MAX))
        .with("total", double(about.history.total.0))
        .with_known("last_order_at", about.history.last_order.map(epoch_ms))
        .into()
}

/// The payload's lines that are a cart's, which are those with a quantity.
fn cart(payload: &Payload) -> Value {
    let lines = || payload.lines.iter().filter_map(|line| Some((line, line.quantity?)));
    let amount = |(line, quantity): (&PayloadLine, u32)| line.price?.0.checked_mul(Decimal::from(quantity));
    let total = lines().filter_map(amount).try_fold(Decimal::ZERO, Decimal::checked_add);
    let line = |(line, quantity): (&PayloadLine, u32)| -> Value {
        Object::default()
            .with("sku", &*line.sku)
            .with("quantity", i64::from(quantity))
            .with_known("price", line.price.map(|price| double(price.0)))
            .with_known("name", line.name.as_deref())
            .with_known("on_hand", line.on_hand)
            .into()
    };
    let listed: Vec<Value> = lines().map(line).collect();
    // What no decimal holds is more than any condition asks for.
    Object::default().with("lines", listed).with("total", double(total.unwrap_or(Decimal::MAX))).into()
}

fn trigger(about: &About<'_>) -> Value {
    Object::default()
        .with("name", about.trigger)
        .with("subject", about.subject)
        .with("anchor", epoch_ms(about.anchor))
        .with("as_of", epoch_ms(about.as_of))
        .into()
}

fn epoch_ms(tick: Tick) -> i64 {
    i64::try_from(tick).unwrap_or(i64::MAX)
}

/// The double nearest to an amount, which is what the same digits are in an expression.
fn double(amount: Decimal) -> f64 {
    amount.to_string().parse().unwrap_or(f64::NAN)
}

/// JSON as CEL has it: a number without a fraction is an int, so that it can be compared and reckoned with like a literal.
fn value(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => flag.into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(items) => items.into_iter().map(value).collect::<Vec<_>>().into(),
        serde_json::Value::Object(members) => members
            .into_iter()
            .fold(Object::default(), |object, (name, member)| object.with(&name, value(member)))
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use beckon_dataflows::model::{Standing, Words};

    use super::*;

    fn line(sku: &str, quantity: Option<u32>, price: &str) -> PayloadLine {
        let price = price.parse().ok();
        PayloadLine { sku: sku.into(), quantity, price, name: None, image: None, url: None, on_hand: Some(3) }
    }

    fn ask(text: &str) -> Result<bool, Undecidable> {
        let words = Words {
            locale: Some("de-DE"),
            attributes: Some(r#"{"tier":"gold","age":30,"ratio":0.5,"tags":["a","b"],"deep":{"n":null}}"#),
            ..Words::default()
        };
        let contact = Contact::new(Standing { known: true, ..Standing::default() }, &words);
        let lines = vec![line("s1", Some(2), "19.90"), line("s2", Some(1), ""), line("s3", None, "5")];
        let payload = Payload { lines, ..Payload::default() };
        let about = About {
            customer_id: "u1",
            contact: Some(&contact),
            history: History { orders: 2, total: "30.10".parse().unwrap(), last_order: Some(5_000) },
            payload: &payload,
            trigger: "cart_abandonment",
            subject: "c1",
            anchor: 1_000,
            as_of: 31_000,
        };
        Condition::new(text, Arc::new(Program::compile(text).unwrap())).holds(&about)
    }

    #[test]
    fn every_name_is_there() {
        for text in [
            "customer.user_id == 'u1' && customer.locale.startsWith('de')",
            "!has(customer.email) && !has(customer.timezone) && !has(customer.attributes.nothing)",
            "customer.attributes.tier == 'gold' && customer.attributes.age + 1 > 30 && customer.attributes.ratio < 1",
            "customer.attributes.tags.exists(tag, tag == 'b') && customer.attributes.deep.n == null",
            "customer.orders == 2 && customer.total == 30.1 && customer.total > 30 && customer.last_order_at == 5000",
            "cart.total == 39.8 && cart.total >= 39 && cart.lines.size() == 2 && cart.lines[0].price == 19.9",
            "cart.lines.all(line, line.on_hand == 3) && !has(cart.lines[1].price) && cart.lines[0].quantity == 2",
            "trigger.name == 'cart_abandonment' && trigger.subject == 'c1'",
            "trigger.as_of - trigger.anchor == 30 * 1000",
        ] {
            assert!(ask(text).unwrap_or_else(|fault| panic!("{text}: {fault}")), "{text}");
        }
    }

    #[test]
    fn what_is_neither_true_nor_false_says_why() {
        for (text, why) in [
            ("customer.attributes.none == 1", "No such key: none"),
            ("customer.attributes.tier > 5", "no matching overload"),
            ("customer.orders", "it comes to int, not to true or false"),
            ("1 / (customer.orders - 2) == 1", "zero"),
        ] {
            let fault = ask(text).expect_err(text).to_string();
            assert!(fault.contains(why), "{text}: {fault}");
        }
    }

    #[test]
    fn the_longest_chain_of_operators_has_room_on_the_stack() {
        let text = ["1"; 996].join("+");
        assert!(text.len() < 2_000);
        let ask = move || ask(&format!("{text} > 0")).unwrap();
        // The size of the deciding thread's stack, which is Rust's default.
        assert!(std::thread::Builder::new().stack_size(2 << 20).spawn(ask).unwrap().join().unwrap());
    }
}
