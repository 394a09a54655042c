//! A member's value as what a rule needs: a text, a whole number, money, a time. `null`, like an absent member, gives
//! `None`. Fails with the member's name when its type is another.

use std::borrow::Cow;

use beckon_dataflows::model::Money;
use rust_decimal::Decimal;

use super::Bad;
use super::bad::quoted;
use super::json::Value;
use super::time::{EVENT_MS_MAX, EVENT_MS_MIN, instant_ms};

/// Digits of which any number fits an `i64`.
const SHORT_DIGITS_MAX: usize = 18;

impl<'a> Value<'a> {
    /// A string.
    #[inline]
    pub(super) fn text(&self, field: &'static str) -> Result<Option<Cow<'a, str>>, Bad> {
        match self {
            Value::Missing => Ok(None),
            Value::Text(text) => text.unescaped().map(Some).ok_or(Bad::WrongType { field, expected: "Unicode text" }),
            _ => Err(Bad::WrongType { field, expected: "a string" }),
        }
    }

    /// A string that is not empty; the empty one counts as missing.
    #[inline]
    pub(super) fn name(&self, field: &'static str) -> Result<Option<Cow<'a, str>>, Bad> {
        Ok(self.text(field)?.filter(|text| !text.is_empty()))
    }

    /// A string to keep.
    pub(super) fn owned(&self, field: &'static str) -> Result<Option<String>, Bad> {
        Ok(self.text(field)?.map(Cow::into_owned))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, field: &'static str) -> Result<Option<bool>, Bad> {
        match self {
            Value::Missing => Ok(None),
            Value::Bool(flag) => Ok(Some(*flag)),
            _ => Err(Bad::WrongType { field, expected: "true or false" }),
        }
    }

    /// A whole number: also one that is written with a fraction of zeros or an exponent.
    #[inline]
    pub(super) fn whole(&self, field: &'static str) -> Result<Option<i64>, Bad> {
        match self {
            Value::Missing => Ok(None),
            Value::Number(raw) => {
                whole(raw).map(Some).ok_or(Bad::WrongType { field, expected: "a whole number of at most 64 bits" })
            }
            _ => Err(Bad::WrongType { field, expected: "a whole number" }),
        }
    }

    /// An exact amount: a number, or a string of one.
    pub(super) fn money(&self, field: &'static str) -> Result<Option<Money>, Bad> {
        let text = match self {
            Value::Missing => return Ok(None),
            Value::Number(raw) => Cow::Borrowed(*raw),
            Value::Text(text) => text.as_key(),
            _ => return Err(Bad::WrongType { field, expected: "a number, or a string of one" }),
        };
        exact(&text).map(Some).ok_or_else(|| Bad::BadMoney { field, value: quoted(&text) })
    }

    /// A time, epoch ms, that is not absurd.
    #[inline]
    pub(super) fn time_ms(&self, field: &'static str) -> Result<Option<u64>, Bad> {
        let ms = match self {
            Value::Missing => return Ok(None),
            Value::Text(text) => text.unescaped().and_then(|text| instant_ms(&text)),
            Value::Number(raw) => whole(raw),
            _ => None,
        };
        match ms {
            Some(ms) if (EVENT_MS_MIN..=EVENT_MS_MAX).contains(&ms) => Ok(Some(ms.unsigned_abs())),
            Some(_) => Err(Bad::AbsurdTime { field, value: self.quoted() }),
            None => Err(Bad::WrongType { field, expected: "an RFC 3339 time or an integer of epoch milliseconds" }),
        }
    }

    /// The value as a reason quotes it.
    fn quoted(&self) -> String {
        match self {
            Value::Text(text) => quoted(&text.as_key()),
            Value::Number(raw) | Value::Array(raw) | Value::Object(raw) => quoted(raw),
            Value::Bool(flag) => flag.to_string(),
            Value::Missing => "null".to_owned(),
        }
    }
}

/// The value of a member without which the record says nothing.
pub(super) fn required<T>(value: Option<T>, field: &'static str) -> Result<T, Bad> {
    value.ok_or(Bad::Missing { field })
}

/// The whole number that a JSON number is.
#[inline]
fn whole(raw: &str) -> Option<i64> {
    raw.parse().ok().or_else(|| {
        let decimal = exact(raw)?.0.normalize();
        i64::try_from(decimal.mantissa()).ok().filter(|_| decimal.scale() == 0)
    })
}

/// The amount that `text` writes, digit for digit: `-`, digits, a fraction, an exponent. `None` for any other text, and for
/// more digits than fit: what would have to be rounded is refused.
fn exact(text: &str) -> Option<Money> {
    let digits_at = usize::from(text.starts_with('-'));
    let (base, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let (units, fraction) = match base[digits_at..].split_once('.') {
        Some((units, fraction)) => (units, Some(fraction)),
        None => (&base[digits_at..], None),
    };
    let exponent_digits = exponent.map(|exponent| exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    let all_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(units) || !fraction.is_none_or(all_digits) || !exponent_digits.is_none_or(all_digits) {
        return None;
    }
    let scale = fraction.map_or(0, str::len);
    if exponent.is_none() && units.len() + scale <= SHORT_DIGITS_MAX {
        let digits = units.bytes().chain(fraction.unwrap_or_default().bytes());
        let mantissa = digits.fold(0i64, |mantissa, digit| mantissa * 10 + i64::from(digit - b'0'));
        return Some(Money(Decimal::new(if digits_at == 1 { -mantissa } else { mantissa }, scale as u32)));
    }
    // Reading an exponent rounds the digits before it, so those are checked alone first.
    Decimal::from_str_exact(base).ok()?;
    text.parse().ok()
}
