//! Money, as the customer's language writes it. In: an exact amount, a currency, a language tag. Out: text. Never rounds.

use rust_decimal::Decimal;

use super::language::Numbers;

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

/// `19.90`, `EUR`, `de` → `19,90 €`. More digits than the currency has are written out.
pub(super) fn written(amount: Decimal, currency: Option<&str>, tag: &str) -> String {
    let numbers = Numbers::of(tag);
    let mut exact = amount.abs().normalize();
    exact.rescale(minor_digits(currency.unwrap_or_default()).max(exact.scale()));
    let number = numbers.written(&exact.to_string());
    let minus = if amount.is_sign_negative() && !amount.is_zero() { "-" } else { "" };
    match currency.map(sign) {
        None => format!("{minus}{number}"),
        Some(sign) if !numbers.currency_first => format!("{minus}{number}\u{a0}{sign}"),
        Some(sign) => {
            let space = if sign.chars().all(char::is_alphabetic) || numbers.point == "," { "\u{a0}" } else { "" };
            format!("{minus}{sign}{space}{number}")
        }
    }
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
            assert_eq!(written(amount.parse().unwrap(), currency, locale), expected, "{amount} {currency:?} {locale}");
        }
    }
}
