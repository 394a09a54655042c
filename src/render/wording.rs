//! The helpers that templates have beside handlebars' own. Both return values, which the registry escapes like any other.

use handlebars::{Context, Handlebars, Helper, HelperDef, RenderContext, RenderError, RenderErrorReason, ScopedJson};
use rust_decimal::Decimal;
use serde_json::Value;

/// Adds the helpers to a registry.
pub(super) fn register(registry: &mut Handlebars<'_>) {
    registry.register_helper("money", Box::new(MoneyHelper));
    registry.register_helper("default", Box::new(DefaultHelper));
}

/// `{{money AMOUNT CURRENCY}}`: the amount as the customer's locale writes it; nothing for no amount.
struct MoneyHelper;

impl HelperDef for MoneyHelper {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        call: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let param = |at| call.param(at).filter(|param| !param.is_value_missing()).map(|param| param.value());
        let missing = |at| RenderErrorReason::ParamNotFoundForIndex("money", at);
        let amount = param(0).ok_or_else(|| missing(0))?;
        let currency = param(1).ok_or_else(|| missing(1))?.as_str();
        let locale = context.data().pointer("/customer/locale").and_then(Value::as_str).unwrap_or("en");
        let text = match amount {
            Value::Null => String::new(),
            Value::String(text) => money(parse(text)?, currency, locale),
            Value::Number(number) => money(parse(&number.to_string())?, currency, locale),
            _ => return Err(RenderErrorReason::InvalidParamType("amount of money").into()),
        };
        Ok(ScopedJson::Derived(Value::String(text)))
    }
}

fn parse(text: &str) -> Result<Decimal, RenderErrorReason> {
    text.parse().map_err(|_| RenderErrorReason::InvalidParamType("amount of money"))
}

/// `{{default VALUE ELSE}}`: the value, or `ELSE` where it is missing or empty.
struct DefaultHelper;

impl HelperDef for DefaultHelper {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        call: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let otherwise = call.param(1).ok_or(RenderErrorReason::ParamNotFoundForIndex("default", 1))?;
        let value = call.param(0).filter(|param| !param.is_value_missing()).map(|param| param.value());
        let value = value.filter(|value| !value.is_null() && value.as_str() != Some(""));
        Ok(ScopedJson::Derived(value.unwrap_or(otherwise.value()).clone()))
    }
}

/// How a language writes numbers: thousands, decimals, and whether the currency comes first.
struct Style {
    group: &'static str,
    point: &'static str,
    currency_first: bool,
}

/// By language; what is not listed is written as in English.
fn style(locale: &str) -> Style {
    let language = locale.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
    let (group, point, currency_first) = match language.as_str() {
        "de" | "es" | "it" | "pt" | "da" | "el" | "id" | "hr" | "sl" | "ro" | "tr" => (".", ",", false),
        "nl" => (".", ",", true),
        "fr" | "pl" | "cs" | "sk" | "sv" | "nb" | "no" | "fi" | "hu" | "bg" | "uk" | "ru" => ("\u{a0}", ",", false),
        _ => (",", ".", true),
    };
    Style { group, point, currency_first }
}

/// The sign of a currency that has one of its own; of any other its code is written.
fn sign(code: &str) -> &str {
    match code {
        "EUR" => "€",
        "USD" => "$",
        "GBP" => "£",
        "JPY" => "¥",
        "PLN" => "zł",
        "CZK" => "Kč",
        "INR" => "₹",
        "KRW" => "₩",
        _ => code,
    }
}

/// Digits after the point that a currency is written with at least.
fn minor_digits(code: &str) -> u32 {
    if matches!(code, "JPY" | "KRW" | "CLP" | "ISK" | "VND" | "HUF") { 0 } else { 2 }
}

/// `19.90`, `EUR`, `de` → `19,90 €`. Never rounds: more digits than the currency has are written out.
fn money(amount: Decimal, currency: Option<&str>, locale: &str) -> String {
    let style = style(locale);
    let mut exact = amount.abs().normalize();
    let digits = minor_digits(currency.unwrap_or_default()).max(exact.scale());
    exact.rescale(digits);
    let text = exact.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut number = grouped(whole, style.group);
    if !fraction.is_empty() {
        number = format!("{number}{}{fraction}", style.point);
    }
    let minus = if amount.is_sign_negative() && !amount.is_zero() { "-" } else { "" };
    match currency.map(sign) {
        None => format!("{minus}{number}"),
        Some(sign) if !style.currency_first => format!("{minus}{number}\u{a0}{sign}"),
        Some(sign) => {
            let space = if sign.chars().all(char::is_alphabetic) || style.point == "," { "\u{a0}" } else { "" };
            format!("{minus}{sign}{space}{number}")
        }
    }
}

fn grouped(whole: &str, separator: &str) -> String {
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push_str(separator);
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_written_as_the_locale_does() {
        let cases = [
            ("19.90", Some("EUR"), "de-DE", "19,90\u{a0}€"),
            ("19.90", Some("EUR"), "en", "€19.90"),
            ("1234567.5", Some("USD"), "en-US", "$1,234,567.50"),
            ("1234.5", Some("EUR"), "de_AT", "1.234,50\u{a0}€"),
            ("1234.5", Some("EUR"), "fr", "1\u{a0}234,50\u{a0}€"),
            ("1980.00", Some("JPY"), "ja", "¥1,980"),
            ("0.125", Some("USD"), "en", "$0.125"),
            ("-5", Some("EUR"), "nl", "-€\u{a0}5,00"),
            ("10", Some("CHF"), "en", "CHF\u{a0}10.00"),
            ("999", None, "", "999.00"),
        ];
        for (amount, currency, locale, expected) in cases {
            assert_eq!(money(amount.parse().unwrap(), currency, locale), expected, "{amount} {currency:?} {locale}");
        }
    }
}
