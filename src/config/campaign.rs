//! Campaigns (SPEC §4 to §6, §10). In: the `[[campaign]]` sections. Out: [`Campaign`]s in the order of the file. Fails into
//! the report.

use std::collections::HashMap;

use rust_decimal::Decimal;

use super::DEFAULT_ESP;
use super::expression::{self, Expression};
use super::kinds::TriggerKinds;
use super::section::{Section, Value};
use super::template::Templates;
use super::trigger::{self, Trigger};
use crate::decision::Percent;

/// The most campaigns that a configuration may have: the engine numbers them in 16 bits.
const CAMPAIGNS_MAX: usize = u16::MAX as usize;

/// The most variants, or discounts, that a campaign may have.
const VARIANTS_MAX: usize = 100;

/// Priorities are within ± this.
const PRIORITY_MAX: i64 = 1_000_000;

/// The most similar SKUs that a campaign may ask for.
const SIMILAR_MAX: u32 = 100;

/// One `[[campaign]]`: which episodes it opens, who is refused, and what is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Campaign {
    /// Unique. Part of every decision's id, so renaming a campaign makes it another one (SPEC §5).
    pub name: String,
    /// What recipients call its mails, where they choose which they want (ARCHITECTURE, "Choices"); made of the name unless set.
    pub title: String,
    /// The condition, with its parameters (SPEC §4).
    pub trigger: Trigger,
    /// X: how long an episode may hold, in milliseconds from its opening; as long as its condition unless set (SPEC §4).
    pub expires_ms: Option<u64>,
    /// The greater outranks the lesser, and is sent first; 0 unless set (SPEC §5, §6).
    pub priority: i64,
    /// Time in milliseconds after a send of this campaign within which its customer gets no other; none unless set
    /// (SPEC §5).
    pub cooldown_ms: Option<u64>,
    /// Who may get it; everybody unless set (SPEC §5).
    pub audience: Option<Expression>,
    /// Sends per piece in stock that may name a SKU as hero in one restock, over 0; without limit unless set (SPEC §5).
    pub stock_budget: Option<Decimal>,
    /// Time in milliseconds after the decision at which a delivery expires; never unless set (SPEC §6).
    pub send_within_ms: Option<u64>,
    /// Stem of the three files of the mail, in [`Config::templates`](super::Config::templates); without one the campaign
    /// can be replayed, but not run (SPEC §10).
    pub template: Option<String>,
    /// The name of the ESP that sends its mails, one of [`Config::esps`](super::Config::esps) if there are any;
    /// [`DEFAULT_ESP`](super::DEFAULT_ESP) unless set.
    pub esp: String,
    /// Share of the customers who are held out, from 0 to less than 1; 0 unless set (SPEC §5).
    pub holdout: f64,
    /// The name that holdout and variants are drawn with; the campaign's own unless set (SPEC §5).
    pub experiment: String,
    /// How many SKUs similar to the subject's the payload gives, from 1; none unless set (SPEC §4).
    pub similar: Option<u32>,
    /// Discounts, of which the first that holds is given; none unless set (SPEC §6, §10).
    pub discounts: Vec<Discount>,
    /// Variants, in the order written, which is the order they are drawn in; none unless set (SPEC §5).
    pub variants: Vec<Variant>,
}

/// One of a campaign's discounts (SPEC §10).
#[derive(Clone, Debug, PartialEq)]
pub struct Discount {
    /// Whom it is for.
    pub when: Expression,
    /// What it takes off the prices.
    pub percent: Percent,
}

/// One of a campaign's variants (SPEC §5).
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Unique within its campaign.
    pub name: String,
    /// Its share, relative to the other variants' weights; over 0.
    pub weight: f64,
    /// Stem of its mail's files: its own, else the campaign's.
    pub template: Option<String>,
}

impl Campaign {
    /// The templates that a mail of this campaign may be made of, and nothing where one is missing: the variants', or
    /// without variants the campaign's.
    pub fn templates(&self) -> Vec<Option<&str>> {
        if self.variants.is_empty() {
            vec![self.template.as_deref()]
        } else {
            self.variants.iter().map(|variant| variant.template.as_deref()).collect()
        }
    }
}

/// What campaigns may name.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Triggers of the user's own.
    pub kinds: &'a TriggerKinds,
    /// Templates.
    pub templates: &'a Templates,
    /// The names of the ESPs.
    pub esps: &'a [&'a str],
    /// Mails are going to be sent: each campaign needs a template for whatever it may send.
    pub mailing: bool,
}

/// Reads every campaign.
pub(super) fn read_all(list: Value<'_>, asked: Asked<'_>) -> Vec<Campaign> {
    let mut lines = HashMap::new();
    let sections = list.list(CAMPAIGNS_MAX).unwrap_or_default().into_iter();
    sections
        .filter_map(|value| {
            let section = value.section("campaign")?;
            let name = unique_name(&section, "such as: name = \"cart-abandonment\"", &mut lines);
            read(section, name.unwrap_or_default(), asked)
        })
        .collect()
}

/// The section's name, refused when an earlier section has it; `lines` keeps where.
fn unique_name(section: &Section<'_>, hint: &str, lines: &mut HashMap<String, usize>) -> Option<String> {
    let value = section.required("name", hint)?;
    let name = value.clone().name()?;
    if let Some(line) = lines.get(name) {
        value.fault(format!("the name `{name}` is taken"), format!("it is first used on line {line}"));
        return None;
    }
    lines.insert(name.to_owned(), section.report().line(value.span().start));
    Some(name.to_owned())
}

fn read(section: Section<'_>, name: String, asked: Asked<'_>) -> Option<Campaign> {
    let Asked { kinds, templates, esps, mailing } = asked;
    let before = section.known();
    let trigger = trigger::read(&section, kinds);
    let takes: Vec<&str> =
        section.known().into_iter().filter(|key| *key != "trigger" && !before.contains(key)).collect();
    let number = |value: Value<'_>| value.integer(-PRIORITY_MAX..=PRIORITY_MAX);
    let title = section.get("title").and_then(Value::name).map_or_else(|| title_of(&name), str::to_owned);
    let expires_ms = section.get("expires").and_then(Value::duration_ms);
    let priority = section.get("priority").and_then(number).unwrap_or(0);
    let cooldown_ms = section.get("cooldown").and_then(Value::positive_ms);
    let audience = section.get("audience").and_then(expression::read);
    let stock_budget = section.get("stock_budget").and_then(read_budget);
    let send_within_ms = section.get("send_within").and_then(Value::positive_ms);
    let template = section.get("template").map(|value| templates.read(value));
    let template_is_missing = template.is_none();
    let esp = read_esp(&section, esps);
    let template = template.flatten();
    let holdout = section.get("holdout").and_then(read_holdout).unwrap_or(0.0);
    let experiment = section.get("experiment").and_then(Value::name).unwrap_or(&name).to_owned();
    let similar = section.get("similar").and_then(|value| value.count(1..=SIMILAR_MAX));
    let discounts = section.get("discount").map(read_discounts).unwrap_or_default();
    let variants = section.get("variants").map(|value| read_variants(value, template.as_deref(), templates));
    let variants = variants.unwrap_or_default();
    let variants_lack_one = variants.is_empty() || variants.iter().any(|variant| variant.template.is_none());
    if mailing && template_is_missing && variants_lack_one {
        section.fault("a campaign that is run needs a template", "such as: template = \"cart_abandonment\"");
    }
    section.finish_with(|key| trigger::explain(key, trigger.as_ref()?, &takes));
    Some(Campaign {
        trigger: trigger?,
        name,
        title,
        expires_ms,
        priority,
        cooldown_ms,
        audience,
        stock_budget,
        send_within_ms,
        template,
        esp: esp?,
        holdout,
        experiment,
        similar,
        discounts,
        variants,
    })
}

/// A name as a person would write it: `cart-abandonment` is "Cart abandonment".
fn title_of(name: &str) -> String {
    let spaced = name.replace(['-', '_'], " ");
    let mut letters = spaced.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The name of an ESP that there is. Where there are several, none goes without saying, unless one is called so.
fn read_esp(section: &Section<'_>, esps: &[&str]) -> Option<String> {
    let known = || format!("one of: {}", esps.join(", "));
    let Some(value) = section.get("esp") else {
        if !esps.is_empty() && !esps.contains(&DEFAULT_ESP) {
            let hint = format!("{}; or call one of them [esp.{DEFAULT_ESP}]", known());
            section.fault("there are several ESPs, and `esp` does not say which", hint);
        }
        return Some(DEFAULT_ESP.to_owned());
    };
    let name = value.clone().name()?;
    if !esps.contains(&name) {
        let hint = if esps.is_empty() { "write a table [esp.NAME]".to_owned() } else { known() };
        value.fault(format!("there is no ESP `{name}`"), hint);
        return None;
    }
    Some(name.to_owned())
}

fn read_budget(value: Value<'_>) -> Option<Decimal> {
    let budget = value.clone().decimal()?;
    if budget <= Decimal::ZERO {
        value.fault("`stock_budget` must be over 0", "sends per piece in stock: 2 sends two mails for each piece");
        return None;
    }
    Some(budget)
}

fn read_holdout(value: Value<'_>) -> Option<f64> {
    let holdout = value.clone().number()?;
    if !(0.0..1.0).contains(&holdout) {
        value.fault("`holdout` must be at least 0 and less than 1", "it is a share: 10 percent is written 0.10");
        return None;
    }
    Some(holdout)
}

fn read_discounts(value: Value<'_>) -> Vec<Discount> {
    let sections = value.list(VARIANTS_MAX).unwrap_or_default().into_iter();
    let read = |value: Value<'_>| {
        let section = value.section("campaign.discount")?;
        let when = section.required("when", "whom it is for, such as: when = \"customer.orders == 0\"");
        let when = when.and_then(expression::read);
        let percent = section.required("percent", "such as: percent = 10").and_then(read_discount_percent);
        section.finish();
        Some(Discount { when: when?, percent: percent? })
    };
    sections.filter_map(read).collect()
}

fn read_discount_percent(value: Value<'_>) -> Option<Percent> {
    let percent = Percent::of(trigger::read_percent(value.clone())?);
    if percent.is_none() {
        value.fault("the `percent` of a discount has at most two digits after the point", "such as: percent = 12.5");
    }
    percent
}

fn read_variants(value: Value<'_>, template: Option<&str>, templates: &Templates) -> Vec<Variant> {
    let mut lines = HashMap::new();
    let sections = value.list(VARIANTS_MAX).unwrap_or_default().into_iter();
    sections
        .filter_map(|value| {
            let section = value.section("campaign.variants")?;
            let name = unique_name(&section, "such as: name = \"plain\"", &mut lines);
            let weight = section.required("weight", "its share of the customers, such as: weight = 1");
            let own = section.get("template").and_then(|value| templates.read(value));
            let weight = weight.and_then(read_weight);
            section.finish();
            let template = own.or_else(|| template.map(str::to_owned));
            Some(Variant { name: name?, weight: weight?, template })
        })
        .collect()
}

fn read_weight(value: Value<'_>) -> Option<f64> {
    let weight = value.clone().number()?;
    if weight <= 0.0 {
        value.fault("`weight` must be over 0", "to give a variant to nobody, leave it out");
        return None;
    }
    Some(weight)
}
