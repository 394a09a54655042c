//! What a template can name. In: the decision, the customer and the products as they are now. Out: a [`Context`]. What is
//! not known is present and empty, so that strict mode finds typing errors and not gaps. Cannot fail.

use std::sync::Arc;

use beckon_dataflows::model::{Contact, Money, Product};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;

use crate::decision::{Decision, DecisionId, PayloadLine, Percent};

/// Everything that a template can name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Context {
    /// `customer.…`
    pub customer: Customer,
    /// `{{#each lines}}`: the payload's lines, with the products of now.
    pub lines: Vec<Line>,
    /// `{{#each similar}}`: products like the most expensive line's that are still in stock, the most similar first.
    pub similar: Vec<Line>,
    /// Sum of the lines' totals, where every line has one.
    pub total: Option<String>,
    /// What the lines come to with the discount, where there is one and every line has a price.
    pub discounted: Option<String>,
    /// `{{#if discount}}`: what was promised, and its code.
    pub discount: Option<Discount>,
    /// ISO 4217 code of the prices.
    pub currency: Option<Arc<str>>,
    /// The campaign's name.
    pub campaign: Arc<str>,
    /// The variant's name.
    pub variant: Option<Arc<str>>,
    /// The decision's id.
    pub decision_id: DecisionId,
    /// Where the customer can unsubscribe; none where that is not known, as in a preview.
    pub unsubscribe_url: Option<String>,
    /// `enrich.NAME.…`: what was fetched for this mail; an empty object when nothing was.
    pub enrich: Value,
}

/// `customer` in a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Customer {
    /// The shop's id.
    pub id: Arc<str>,
    /// First name.
    pub first_name: Option<String>,
    /// Address.
    pub email: Option<String>,
    /// BCP 47 tag; decides how money is written.
    pub locale: Option<String>,
    /// The profile's `attributes`; an empty object when there are none.
    pub attributes: Value,
}

/// `discount` in a template.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Discount {
    /// What it takes off: a number.
    pub percent: Percent,
    /// What the customer enters in the shop.
    pub code: String,
}

/// A line in a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Line {
    /// The product.
    pub sku: Arc<str>,
    /// Units, in a cart or order.
    pub quantity: Option<u32>,
    /// Price of a unit: `{{money price @root.currency}}`.
    pub price: Option<String>,
    /// Price times quantity.
    pub total: Option<String>,
    /// Price of a unit with the discount, in as many digits as the price, a half rounded to the even one.
    pub discounted: Option<String>,
    /// The catalog's name; the SKU where there is none.
    pub name: String,
    /// Address of its picture; http or https, or nothing.
    pub image: Option<String>,
    /// Address of its page; http or https, or nothing.
    pub url: Option<String>,
    /// Units in stock.
    pub on_hand: Option<i64>,
}

impl Context {
    /// The decision's lines with the catalog and stock of now. `product` and `on_hand` look a SKU up; where `product` knows
    /// nothing, what the decision recorded stands.
    pub fn new<'p>(
        decision: &Decision,
        currency: Option<Arc<str>>,
        contact: &Contact,
        product: impl Fn(&str) -> Option<&'p Product>,
        on_hand: impl Fn(&str) -> Option<i64>,
    ) -> Context {
        let now = |line: &PayloadLine| Line::new(line, product(&line.sku), on_hand(&line.sku).or(line.on_hand));
        let lines: Vec<Line> = decision.payload.lines.iter().map(now).collect();
        let similar = decision.payload.similar.iter().flatten().map(now);
        Context {
            customer: Customer::new(&decision.customer_id, contact),
            total: sum(lines.iter().map(|line| amount(&line.total))),
            lines,
            similar: similar.filter(|line| line.on_hand.is_some_and(|units| units >= 1)).collect(),
            discounted: None,
            discount: None,
            currency,
            campaign: decision.campaign.clone(),
            variant: decision.variant.clone(),
            decision_id: decision.decision_id,
            unsubscribe_url: None,
            enrich: Value::Object(Default::default()),
        }
    }

    /// The same with a discount, taken off each unit's price.
    pub fn with_discount(mut self, discount: Discount) -> Context {
        let left = |line: &Line| amount(&line.price).map(|price| discount.percent.off(price));
        for line in &mut self.lines {
            line.discounted = left(line).map(|price| price.to_string());
        }
        self.discounted = sum(self.lines.iter().map(|line| times(left(line)?, line.quantity)));
        self.discount = Some(discount);
        self
    }
}

fn amount(text: &Option<String>) -> Option<Decimal> {
    text.as_deref()?.parse().ok()
}

/// The price of so many; of a line that is no cart's, of one.
fn times(price: Decimal, quantity: Option<u32>) -> Option<Decimal> {
    price.checked_mul(Decimal::from(quantity.unwrap_or(1)))
}

/// The sum, where every line has an amount, and there is one.
fn sum(amounts: impl Iterator<Item = Option<Decimal>>) -> Option<String> {
    let amounts = amounts.collect::<Option<Vec<_>>>().filter(|amounts| !amounts.is_empty())?;
    let sum = amounts.into_iter().try_fold(Decimal::ZERO, Decimal::checked_add);
    sum.map(|sum| sum.to_string())
}

impl Customer {
    fn new(id: &Arc<str>, contact: &Contact) -> Customer {
        let attributes = contact.attributes.as_deref().and_then(|text| serde_json::from_str(text).ok());
        Customer {
            id: id.clone(),
            first_name: contact.first_name.clone().filter(|name| !name.trim().is_empty()),
            email: contact.email.clone(),
            locale: contact.locale.clone(),
            attributes: attributes.filter(Value::is_object).unwrap_or_else(|| Value::Object(Default::default())),
        }
    }
}

impl Line {
    /// A cart's line keeps the cart's price; any other takes the catalog's of now.
    fn new(line: &PayloadLine, product: Option<&Product>, on_hand: Option<i64>) -> Line {
        let now = product.cloned().unwrap_or_default();
        let price = if line.quantity.is_some() { line.price.or(now.price) } else { now.price.or(line.price) };
        let total = |Money(price): Money| times(price, line.quantity);
        Line {
            sku: line.sku.clone(),
            quantity: line.quantity,
            price: price.map(|price| price.to_string()),
            total: price.and_then(total).map(|total| total.to_string()),
            discounted: None,
            name: now.name.or_else(|| line.name.clone()).unwrap_or_else(|| line.sku.to_string()),
            image: now.image_url.or_else(|| line.image.clone()).filter(is_web_address),
            url: now.url.or_else(|| line.url.clone()).filter(is_web_address),
            on_hand,
        }
    }
}

/// Only http and https may stand in a link: a catalog is no place to bring a script from.
#[allow(clippy::ptr_arg, reason = "the shape that `Option<String>::filter` asks for")]
fn is_web_address(url: &String) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Outcome, Payload};

    #[test]
    fn the_lines_have_the_products_of_now_and_the_cart_s_own_price() {
        let line = |sku: &str, quantity| PayloadLine {
            sku: sku.into(),
            quantity,
            price: "19.90".parse().ok(),
            name: Some("then".into()),
            image: Some("javascript:alert(1)".into()),
            url: Some("https://shop.example/p".into()),
            on_hand: Some(9),
        };
        let decision = Decision {
            decision_id: DecisionId(1),
            campaign: "c".into(),
            customer_id: "u".into(),
            trigger: "t".into(),
            subject: "s".into(),
            anchor: 0,
            as_of: 0,
            outcome: Outcome::Send,
            reason: None,
            variant: None,
            payload: Payload {
                lines: vec![line("a", Some(3)), line("b", None), line("c", Some(1))],
                similar: Some(vec![line("c", None), line("d", None)]),
                ..Payload::default()
            },
        };
        let product = Product { name: Some("now".into()), price: "15".parse().ok(), ..Product::default() };
        let contact = Contact { attributes: Some("[1]".into()), first_name: Some(" ".into()), ..Contact::default() };
        let find = |sku: &str| (sku != "c").then_some(&product);
        let on_hand = |sku: &str| match sku {
            "a" => Some(2),
            "d" => Some(0),
            _ => None,
        };
        let context = Context::new(&decision, Some("EUR".into()), &contact, find, on_hand);
        let seen: Vec<_> =
            context.lines.iter().map(|line| (line.name.as_str(), line.total.as_deref(), line.on_hand)).collect();
        assert_eq!(
            seen,
            [("now", Some("59.70"), Some(2)), ("now", Some("15"), Some(9)), ("then", Some("19.90"), Some(9))]
        );
        let similar: Vec<_> = context.similar.iter().map(|line| (&*line.sku, line.price.as_deref())).collect();
        assert_eq!(similar, [("c", Some("19.90"))]);
        assert_eq!(context.total.as_deref(), Some("94.60"));
        assert_eq!((context.discounted.as_ref(), &context.discount), (None, &None));
        assert_eq!(context.lines[0].image, None);
        assert_eq!(context.lines[0].url.as_deref(), Some("https://shop.example/p"));
        assert_eq!((&context.customer.first_name, &context.customer.attributes), (&None, &serde_json::json!({})));

        let percent = Percent::of_hundredths(1500).unwrap();
        let context = context.with_discount(Discount { percent, code: "CODE".into() });
        let discounted: Vec<_> = context.lines.iter().map(|line| line.discounted.as_deref()).collect();
        // Of 19.90 there is 16.915 left, of 15 there is 12.75.
        assert_eq!(discounted, [Some("16.92"), Some("13"), Some("16.92")]);
        assert_eq!(context.discounted.as_deref(), Some("80.68"));
    }
}
