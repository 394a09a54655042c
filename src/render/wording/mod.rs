//! The helpers that templates have beside handlebars' own; [`HELPERS`] lists them. In: a template's call, and the context. Out: a
//! value, which the registry escapes like any other; `image` and `live` give markup, and escape for themselves. A helper fails when a
//! parameter is not given, names what is not there, or is not what the helper is for; what may be unknown (null) gives nothing.

mod dates;
mod language;
mod money;
mod picture;
mod urgency;

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError, RenderErrorReason,
    ScopedJson,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rust_decimal::Decimal;
use serde_json::Value;

use super::clean;
use dates::Part;
use language::{Language, Numbers};

/// Whether a parameter may name what is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is a fault: in a context all that can be known is there, if only as null.
    IsFault,
    /// It counts as null: in rehearsals from which all nulls are taken.
    IsNull,
}

/// Says a value.
type Say = fn(&Call<'_, '_>) -> Result<Value, RenderErrorReason>;

/// Each helper and what it says.
const HELPERS: [(&str, Say); 11] = [
    // {{money AMOUNT CURRENCY}}: «19,90 €»
    ("money", |call| {
        let (amount, currency) = (call.decimal(0)?, call.nullable(1)?.as_str());
        Ok(text(amount, |amount| money::written(amount, currency, call.locale())))
    }),
    // {{number 1234.5}}: «1.234,5»
    ("number", |call| Ok(text(call.decimal(0)?, |number| signed(number, call.locale())))),
    // {{percent 12.5}}: «12,5 %»
    ("percent", |call| Ok(text(call.decimal(0)?, |number| percent(number, call.locale())))),
    ("date", |call| call.time(Part::Date)),
    ("time", |call| call.time(Part::Time)),
    ("weekday", |call| call.time(Part::Weekday)),
    // {{stock_left on_hand below=5}}: «Only 2 left», or nothing
    ("stock_left", |call| {
        let below = call.helper.hash_get("below").and_then(|below| below.value().as_i64()).unwrap_or(urgency::BELOW);
        let units = call.nullable(0)?.as_i64();
        Ok(text(units, |units| urgency::stock_left(units, below, Language::of(call.locale()))))
    }),
    // {{time_left expires_at}}: «Ends in 3 hours», or nothing
    ("time_left", |call| {
        let until = call.read_time()?.and_then(|time| u64::try_from(time.at.as_millisecond()).ok());
        Ok(text(until, |until| urgency::time_left(call.now_ms(), until, Language::of(call.locale()))))
    }),
    // {{default VALUE ELSE}}: ELSE where VALUE is unknown or empty
    ("default", |call| {
        let (value, otherwise) = (call.nullable(0)?, call.given(1)?.value());
        let is_empty = value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
        Ok(if is_empty { otherwise.clone() } else { value.clone() })
    }),
    // {{link VALUE ELSE}}: an address of the web, else ELSE, else nothing
    ("link", |call| {
        let address = call.nullable(0)?.as_str().and_then(clean::web_address);
        let otherwise = call.helper.param(1).map(|otherwise| otherwise.value().clone());
        Ok(address.map(Value::String).or(otherwise).unwrap_or_default())
    }),
    // {{urlencode query}}: for a part of an address
    ("urlencode", |call| Ok(text(call.nullable(0)?.as_str(), urlencode))),
];

/// How much is left: nothing, so few, or enough.
pub(super) fn stock(on_hand: i64, tag: &str) -> String {
    let language = Language::of(tag);
    let [none, enough] = language.stock;
    match urgency::stock_left(on_hand, urgency::BELOW, language) {
        few if !few.is_empty() => few,
        _ => if on_hand >= 1 { enough } else { none }.to_owned(),
    }
}

/// How soon it ends; that it has, from its last minute on.
pub(super) fn ends(now: u64, until: u64, tag: &str) -> String {
    let language = Language::of(tag);
    match urgency::time_left(now, until, language) {
        left if left.is_empty() => language.over.to_owned(),
        left => left,
    }
}

pub(super) fn money(amount: Decimal, currency: Option<&str>, tag: &str) -> String {
    money::written(amount, currency, tag)
}

/// Adds the helpers to a registry; those that make markup only where `html` is asked for.
pub(super) fn register(registry: &mut Handlebars<'_>, html: bool, missing: Missing) {
    for (name, say) in HELPERS {
        registry.register_helper(name, Box::new(Speaker { name, say, missing }));
    }
    if html {
        registry.register_helper("image", Box::new(Image(missing)));
        registry.register_helper("live", Box::new(picture::Live(missing)));
    }
}

/// A helper that says a value.
struct Speaker {
    name: &'static str,
    say: Say,
    missing: Missing,
}

impl HelperDef for Speaker {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let call = Call { name: self.name, helper, root: context.data(), missing: self.missing };
        Ok(ScopedJson::Derived((self.say)(&call)?))
    }
}

/// `{{image ADDRESS ALT width=88 height=88 class="picture"}}`: a picture, which must be of the web; nothing for none. `height` and
/// `class` may be left out; `style` is what the style sheet put there.
struct Image(Missing);

impl HelperDef for Image {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let call = Call { name: "image", helper, root: context.data(), missing: self.0 };
        let alt = call.nullable(1)?.as_str().unwrap_or_default();
        let width = helper.hash_get("width").and_then(|width| width.value().as_u64());
        let width = width.ok_or_else(|| RenderErrorReason::Other("`image` lacks its width=PIXELS".into()))?;
        let Some(address) = call.nullable(0)?.as_str().and_then(clean::web_address) else { return Ok(()) };
        out.write(&format!("<img src=\"{}\" alt=\"{}\" width=\"{width}\"", clean::html(&address), clean::html(alt)))?;
        write_attributes(&["height", "class", "style"], helper, out)?;
        out.write(">")?;
        Ok(())
    }
}

/// Those attributes of a tag that the call gives.
fn write_attributes(names: &[&str], helper: &Helper<'_>, out: &mut dyn Output) -> HelperResult {
    for name in names {
        let value = helper.hash_get(name).map(|value| value.value());
        let value = value.and_then(|value| value.as_str().map(str::to_owned).or(value.as_u64().map(|n| n.to_string())));
        if let Some(value) = value {
            out.write(&format!(" {name}=\"{}\"", clean::html(&value)))?;
        }
    }
    Ok(())
}

/// A helper's call.
struct Call<'c, 'rc> {
    name: &'static str,
    helper: &'c Helper<'rc>,
    root: &'c Value,
    missing: Missing,
}

impl<'rc> Call<'_, 'rc> {
    /// A parameter that must be given.
    fn given(&self, at: usize) -> Result<&handlebars::PathAndJson<'rc>, RenderErrorReason> {
        self.helper.param(at).ok_or(RenderErrorReason::ParamNotFoundForIndex(self.name, at))
    }

    /// A parameter that must be given and there, and may be null.
    fn nullable(&self, at: usize) -> Result<&Value, RenderErrorReason> {
        let param = self.given(at)?;
        if param.is_value_missing() && self.missing == Missing::IsFault {
            let path = param.relative_path();
            if !path.is_some_and(|path| self.may_be_missing(path)) {
                return Err(RenderErrorReason::MissingVariable(path.cloned()));
            }
        }
        Ok(param.value())
    }

    /// What a profile's attributes are nobody knows beforehand; and what is null has no members.
    fn may_be_missing(&self, path: &str) -> bool {
        let of_null =
            |path: &str| self.root.pointer(&format!("/{}", path.replace('.', "/"))).is_some_and(Value::is_null);
        path.split('.').any(|name| name == "attributes")
            || path.rsplit_once('.').is_some_and(|(parent, _)| of_null(parent))
    }

    fn decimal(&self, at: usize) -> Result<Option<Decimal>, RenderErrorReason> {
        let fault = || RenderErrorReason::InvalidParamType("a number");
        match self.nullable(at)? {
            Value::Null => Ok(None),
            Value::String(text) => text.parse().map(Some).map_err(|_| fault()),
            Value::Number(number) => number.to_string().parse().map(Some).map_err(|_| fault()),
            _ => Err(fault()),
        }
    }

    /// The language tag to write in: `lang="…"`, else the customer's, else English.
    fn locale(&self) -> &str {
        let said = self.helper.hash_get("lang").and_then(|tag| tag.value().as_str());
        said.or_else(|| self.root.pointer("/customer/locale")?.as_str()).unwrap_or("en")
    }

    fn now_ms(&self) -> u64 {
        self.root.get("now").and_then(Value::as_u64).unwrap_or_default()
    }

    /// The time that the first parameter says, in the customer's zone, else in `zone="…"`, else in UTC.
    fn read_time(&self) -> Result<Option<dates::Moment>, RenderErrorReason> {
        let value = self.nullable(0)?;
        if value.is_null() {
            return Ok(None);
        }
        let own = self.root.pointer("/customer/timezone").and_then(Value::as_str);
        let said = self.helper.hash_get("zone").and_then(|zone| zone.value().as_str());
        let time = dates::read(value, &dates::zone(own.into_iter().chain(said)));
        time.map(Some).ok_or(RenderErrorReason::InvalidParamType("a time, as epoch ms, RFC 3339 or a date,"))
    }

    fn time(&self, part: Part) -> Result<Value, RenderErrorReason> {
        Ok(text(self.read_time()?, |time| dates::written(time.clock, part, self.locale())))
    }
}

/// What is said of a value; nothing where there is none.
fn text<V>(value: Option<V>, say: impl FnOnce(V) -> String) -> Value {
    Value::String(value.map(say).unwrap_or_default())
}

fn signed(number: Decimal, tag: &str) -> String {
    let minus = if number.is_sign_negative() && !number.is_zero() { "-" } else { "" };
    format!("{minus}{}", Numbers::of(tag).written(&number.abs().to_string()))
}

fn percent(number: Decimal, tag: &str) -> String {
    format!("{}{}%", signed(number.normalize(), tag), Numbers::of(tag).percent)
}

/// What stands in an address as it is (RFC 3986, unreserved).
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn urlencode(text: &str) -> String {
    utf8_percent_encode(text, &UNRESERVED).to_string()
}
