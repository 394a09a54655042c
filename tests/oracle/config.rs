//! The configuration, as far as decisions depend on it (SPEC §10). In: TOML. Out: the settings, every duration rounded
//! up to a tick. Panics on what is not valid: the oracle is given valid ones only.

use jiff::civil::Time;
use rust_decimal::Decimal;
use toml::{Table, Value};

use super::quiet::Quiet;
use super::similar::Terms;
use super::time::round_up;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What decisions depend on.
pub struct Config {
    pub tick_ms: i64,
    pub lateness_ms: i64,
    /// How long a decision is followed.
    pub attribution_ms: i64,
    /// How long what does not change is kept at least.
    pub forget_after_ms: i64,
    /// Whether all that is an erased customer's is forgotten at once.
    pub forget_erased: bool,
    /// (sends, per ms).
    pub caps: Vec<(usize, i64)>,
    pub quiet: Option<Quiet>,
    pub campaigns: Vec<Campaign>,
}

/// Which lines a cart's episode needs and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StockRule {
    Any,
    All,
    Ignore,
}

/// One campaign.
#[derive(Clone, Debug)]
pub struct Campaign {
    pub name: String,
    pub trigger: String,
    /// W.
    pub after_ms: i64,
    /// X, one tick at least.
    pub expires_ms: Option<i64>,
    pub stock: StockRule,
    pub min_total: Option<Decimal>,
    pub lookback_ms: Option<i64>,
    pub min_views: i64,
    pub percent: Decimal,
    pub threshold: i64,
    pub priority: i64,
    pub cooldown_ms: Option<i64>,
    pub audience: Option<String>,
    pub stock_budget: Option<Decimal>,
    pub similar: Option<Terms>,
    pub holdout: f64,
    pub experiment: String,
    /// (name, weight).
    pub variants: Vec<(String, f64)>,
    /// (condition, percent).
    pub discounts: Vec<(String, Decimal)>,
}

/// Reads `text`.
pub fn parse(text: &str) -> Config {
    let table: Table = text.parse().unwrap_or_else(|fault| panic!("{fault}\nin\n{text}"));
    let tick_ms = table.get("tick").map_or(1000, duration_ms);
    let caps = table
        .get("limits")
        .and_then(|limits| limits.get("frequency_cap"))
        .map_or(Vec::new(), |caps| array(caps, |cap| parse_cap(cap, tick_ms)));
    let similar = table.get("similar").and_then(Value::as_table).cloned().unwrap_or_default();
    Config {
        tick_ms,
        lateness_ms: table.get("allowed_lateness").map_or(5000, duration_ms),
        forget_erased: table.get("erasure").and_then(Value::as_str) == Some("forget"),
        forget_after_ms: round_up(table.get("forget_after").map_or(90 * 86_400_000, duration_ms), tick_ms),
        attribution_ms: round_up(table.get("attribution").map_or(5 * DAY_MS, duration_ms), tick_ms),
        caps,
        quiet: table.get("limits").and_then(|limits| limits.get("quiet_hours")).map(parse_quiet),
        campaigns: table
            .get("campaign")
            .map_or(Vec::new(), |campaigns| array(campaigns, |campaign| parse_campaign(campaign, &similar, tick_ms))),
    }
}

fn parse_cap(cap: &Value, tick_ms: i64) -> (usize, i64) {
    let sends = cap["sends"].as_integer().expect("sends is a number");
    let sends = usize::try_from(sends).expect("sends is not negative");
    (sends, round_up(duration_ms(&cap["per"]), tick_ms))
}

fn parse_quiet(quiet: &Value) -> Quiet {
    let time = |key: &str| text(&quiet[key]).parse::<Time>().expect("a time of day");
    let zone = quiet.get("default_timezone").map(text);
    Quiet { from: time("from"), to: time("to"), default_timezone: zone.unwrap_or_else(|| "UTC".to_owned()) }
}

/// How many similar SKUs a campaign asks for, on the terms of all.
fn parse_similar(count: &Value, similar: &Table, tick_ms: i64) -> Terms {
    let whole = |value: &Value| usize::try_from(integer(value)).expect("not negative");
    Terms {
        count: whole(count),
        window_ms: round_up(similar.get("window").map_or(7 * DAY_MS, duration_ms), tick_ms),
        recent: similar.get("recent").map_or(20, whole),
    }
}

fn parse_campaign(campaign: &Value, similar: &Table, tick_ms: i64) -> Campaign {
    let ticks = |key: &str| {
        let value = campaign.get(key)?;
        Some(round_up(duration_ms(value), tick_ms))
    };
    let whole = |key: &str, default: i64| campaign.get(key).map_or(default, integer);
    let name = text(&campaign["name"]);
    Campaign {
        trigger: text(&campaign["trigger"]),
        after_ms: ticks("after").unwrap_or(0),
        expires_ms: ticks("expires").map(|expires| expires.max(tick_ms)),
        stock: match campaign.get("stock").map(text).as_deref() {
            None | Some("any") => StockRule::Any,
            Some("all") => StockRule::All,
            Some("ignore") => StockRule::Ignore,
            Some(other) => panic!("no stock rule is named {other}"),
        },
        min_total: campaign.get("min_total").map(money),
        lookback_ms: ticks("lookback"),
        min_views: whole("min_views", 1),
        percent: campaign.get("percent").map_or(Decimal::ZERO, money),
        threshold: whole("threshold", 0),
        priority: whole("priority", 0),
        cooldown_ms: ticks("cooldown"),
        audience: campaign.get("audience").map(text),
        stock_budget: campaign.get("stock_budget").map(money),
        similar: campaign.get("similar").map(|count| parse_similar(count, similar, tick_ms)),
        holdout: campaign.get("holdout").map_or(0.0, float),
        experiment: campaign.get("experiment").map_or_else(|| name.clone(), text),
        variants: campaign.get("variants").map_or(Vec::new(), |variants| {
            array(variants, |variant| (text(&variant["name"]), float(&variant["weight"])))
        }),
        discounts: campaign.get("discount").map_or(Vec::new(), |discounts| {
            array(discounts, |discount| (text(&discount["when"]), money(&discount["percent"])))
        }),
        name,
    }
}

fn array<T>(value: &Value, each: impl Fn(&Value) -> T) -> Vec<T> {
    let values = value.as_array().expect("an array");
    values.iter().map(each).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn integer(value: &Value) -> i64 {
    value.as_integer().expect("a whole number")
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Integer(whole) => *whole as f64,
        other => other.as_float().expect("a number"),
    }
}

fn money(value: &Value) -> Decimal {
    let digits = match value {
        Value::String(text) => text.clone(),
        Value::Float(number) => number.to_string(),
        other => integer(other).to_string(),
    };
    Decimal::from_str_exact(&digits).expect("a decimal")
}

/// A whole number and a unit, in ms.
fn duration_ms(value: &Value) -> i64 {
    let text = value.as_str().expect("a duration");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        other => panic!("no unit of time is named {other:?}"),
    };
    digits.parse::<i64>().expect("a whole number") * unit_ms
}
