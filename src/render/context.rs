//! What a template can name. In: the decision, the customer and the products as they are now. Out: a [`Context`]. What is
//! not known is present and empty, so that strict mode finds typing errors and not gaps. Cannot fail.

use std::sync::Arc;

use beckon_dataflows::model::{Contact, History, Money, Product, Tick};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;

use super::{Enrichments, clean};
use crate::decision::{Decision, DecisionId, PayloadLine, Percent};

/// The longest name of a product or customer that a mail shows, in characters; what is longer is cut.
const NAME_CHARS_MAX: usize = 200;

/// The longest code of a currency that a mail shows, in characters.
const CURRENCY_CHARS_MAX: usize = 12;

/// Everything that a template can name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Context {
    /// `customer.…`
    pub customer: Customer,
    /// `trigger.…`: what the mail is about.
    pub trigger: Trigger,
    /// What the customer searched for, where the trigger is `search_abandonment`.
    pub query: Option<String>,
    /// The payload's most expensive line by unit price; none where there are no lines. `{{#if hero}}{{hero.name}}{{/if}}`.
    pub hero: Option<Line>,
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
    /// The tick at which it was decided, epoch ms: `{{date as_of}}`.
    pub as_of: Tick,
    /// The newest closed tick when the mail is rendered, epoch ms: `{{date now}}`; what `time_left` counts from.
    pub now: Tick,
    /// When the episode expires (the campaign's `expires`), epoch ms; none without: `{{time_left expires_at}}`.
    pub expires_at: Option<Tick>,
    /// Where the customer can unsubscribe; none where that is not known, as in a preview.
    pub unsubscribe_url: Option<String>,
    /// Where what is shown when the mail is opened comes from, for `{{live "stock" hero}}`; none where that is not known, as in a preview.
    pub live_url: Option<String>,
    /// `enrich.NAME.…`: what was fetched for this mail, or stands in for it.
    pub enrich: Enrichments,
}

/// `trigger` in a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trigger {
    /// SPEC §4's name, or that of a trigger of your own.
    pub name: Arc<str>,
    /// The cart, order, SKU, search or customer that it is about.
    pub subject: String,
    /// What the episode counts from, epoch ms: the last activity, the order, the restock, …
    pub anchor: Tick,
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
    /// BCP 47 tag; decides how money, numbers and dates are written.
    pub locale: Option<String>,
    /// IANA time zone, that dates and times are written in.
    pub timezone: Option<String>,
    /// The profile's `attributes`; an empty object when there are none.
    pub attributes: Value,
    /// Orders neither cancelled nor refunded; 0 where no campaign asks for the history (SPEC §3).
    pub orders: u64,
    /// The sum of those, over all currencies.
    pub total: String,
    /// The tick of the latest of those, epoch ms.
    pub last_order_at: Option<Tick>,
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
        let trigger = Trigger::new(decision);
        Context {
            customer: Customer::new(&decision.customer_id, contact),
            query: (&*trigger.name == "search_abandonment").then(|| trigger.subject.clone()),
            trigger,
            hero: hero(&lines).cloned(),
            total: sum(lines.iter().map(|line| amount(&line.total))),
            lines,
            similar: similar.filter(|line| line.on_hand.is_some_and(|units| units >= 1)).collect(),
            discounted: None,
            discount: None,
            currency: currency.map(|code| clean::line(&code, CURRENCY_CHARS_MAX).into()),
            campaign: decision.campaign.clone(),
            variant: decision.variant.clone(),
            decision_id: decision.decision_id,
            as_of: decision.as_of,
            now: decision.as_of,
            expires_at: None,
            unsubscribe_url: None,
            live_url: None,
            enrich: Enrichments::new(),
        }
    }

    /// The same, rendered at the closed tick `now`, of an episode that expires at `expires_at`; both in epoch ms.
    pub fn at(mut self, now: Tick, expires_at: Option<Tick>) -> Context {
        (self.now, self.expires_at) = (now, expires_at);
        self
    }

    /// The same with these enrichments in place of any that it has.
    pub fn enriched(mut self, enrichments: Enrichments) -> Context {
        self.enrich.extend(enrichments);
        self
    }

    /// The same, for another customer.
    pub fn of_customer(mut self, id: &str, contact: &Contact) -> Context {
        self.customer = Customer::new(&id.into(), contact);
        self
    }

    /// The same with what the customer has bought.
    pub fn with_history(mut self, history: History) -> Context {
        self.customer.orders = history.orders;
        self.customer.total = history.total.to_string();
        self.customer.last_order_at = history.last_order;
        self
    }

    /// The same with a discount, taken off each unit's price.
    pub fn with_discount(mut self, discount: Discount) -> Context {
        let left = |line: &Line| amount(&line.price).map(|price| discount.percent.off(price));
        for line in self.lines.iter_mut().chain(&mut self.hero) {
            line.discounted = left(line).map(|price| price.to_string());
        }
        self.discounted = sum(self.lines.iter().map(|line| times(left(line)?, line.quantity)));
        self.discount = Some(discount);
        self
    }
}

/// The most expensive line by unit price, of several the first; a line without a price is the cheapest.
fn hero(lines: &[Line]) -> Option<&Line> {
    let mut lines = lines.iter();
    let first = lines.next()?;
    Some(lines.fold(first, |hero, line| if amount(&line.price) > amount(&hero.price) { line } else { hero }))
}

pub(super) fn amount(text: &Option<String>) -> Option<Decimal> {
    text.as_deref()?.parse().ok()
}

/// The price of so many; of a line that is no cart's, of one.
pub(super) fn times(price: Decimal, quantity: Option<u32>) -> Option<Decimal> {
    price.checked_mul(Decimal::from(quantity.unwrap_or(1)))
}

/// The sum, where every line has an amount, and there is one.
pub(super) fn sum(amounts: impl Iterator<Item = Option<Decimal>>) -> Option<String> {
    let amounts = amounts.collect::<Option<Vec<_>>>().filter(|amounts| !amounts.is_empty())?;
    let sum = amounts.into_iter().try_fold(Decimal::ZERO, Decimal::checked_add);
    sum.map(|sum| sum.to_string())
}

impl Customer {
    fn new(id: &Arc<str>, contact: &Contact) -> Customer {
        let words = contact.words();
        let attributes = words.attributes.and_then(|text| serde_json::from_str(text).ok());
        Customer {
            id: id.clone(),
            first_name: words.first_name.map(named).filter(|name| !name.is_empty()),
            email: words.email.map(str::to_owned),
            locale: words.locale.map(str::to_owned),
            timezone: words.timezone.map(str::to_owned),
            attributes: attributes.filter(Value::is_object).unwrap_or_else(|| Value::Object(Default::default())),
            orders: 0,
            total: "0".into(),
            last_order_at: None,
        }
    }
}

impl Trigger {
    fn new(decision: &Decision) -> Trigger {
        Trigger { name: decision.trigger.clone(), subject: named(&decision.subject), anchor: decision.anchor }
    }
}

/// A name as a mail shows it.
fn named(text: &str) -> String {
    clean::line(text, NAME_CHARS_MAX)
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
            name: Some(named(now.name.as_deref().or(line.name.as_deref()).unwrap_or_default()))
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| named(&line.sku)),
            image: now.image_url.as_deref().or(line.image.as_deref()).and_then(clean::web_address),
            url: now.url.as_deref().or(line.url.as_deref()).and_then(clean::web_address),
            on_hand,
        }
    }
}

#[cfg(test)]
mod tests {
    use beckon_dataflows::model::{Standing, Words};

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
            as_of: 7,
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
        let words = Words { attributes: Some("[1]"), first_name: Some(" "), ..Words::default() };
        let contact = Contact::new(Standing::default(), &words);
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
        assert_eq!(context.hero.as_ref().map(|line| &*line.sku), Some("a"));
        assert_eq!((context.as_of, context.now, context.expires_at), (7, 7, None));
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
