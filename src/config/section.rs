//! A TOML document read with every fault kept. In: a parsed document with spans. Out: typed values, and a [`Report`] of
//! all that is wrong. A reader answers `None` both for what is not set and for what is faulty: the fault is in the report,
//! and a configuration is only ever made from a report without faults, so what stands in for a faulty value is never seen.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::str::FromStr;

use beckon_dataflows::model::Money;
use rust_decimal::Decimal;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration;
use super::fault::{Fault, Faults};
use super::nearest::nearest;

/// The faults found so far in one document.
pub(super) struct Report<'d> {
    file: &'d Path,
    text: &'d str,
    faults: RefCell<Vec<Fault>>,
}

impl<'d> Report<'d> {
    /// An empty report on `file`, which holds `text`.
    pub(super) fn new(file: &'d Path, text: &'d str) -> Report<'d> {
        Report { file, text, faults: RefCell::default() }
    }

    /// Keeps a fault at `span` of the document.
    pub(super) fn fault(&self, span: Range<usize>, what: impl Into<String>, hint: Option<String>) {
        self.keep(Fault::at(self.file, self.text, span, what.into(), hint));
    }

    /// Keeps a fault of the document as a whole.
    pub(super) fn fault_of_file(&self, what: impl Into<String>, hint: impl Into<String>) {
        self.keep(Fault::of_file(self.file, what.into(), Some(hint.into())));
    }

    /// Keeps a fault.
    pub(super) fn keep(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    /// All faults, in file order; empty when there are none.
    pub(super) fn into_faults(self) -> Faults {
        Faults::sorted(self.faults.into_inner())
    }

    /// The line, from 1, of a byte offset.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.text[..offset.min(self.text.len())].matches('\n').count() + 1
    }
}

/// A table, and which of its keys have been asked for; whatever is left when it is finished is unknown.
pub(super) struct Section<'d> {
    report: &'d Report<'d>,
    table: &'d DeTable<'d>,
    /// The table's header or braces: where a missing key is reported.
    span: Range<usize>,
    /// The section's name, such as `campaign`; empty for the document itself.
    path: &'static str,
    asked: RefCell<Vec<&'static str>>,
}

impl<'d> Section<'d> {
    /// The document itself.
    pub(super) fn document(report: &'d Report<'d>, table: &'d DeTable<'d>) -> Section<'d> {
        Section { report, table, span: 0..0, path: "", asked: RefCell::default() }
    }

    /// The report that this section's faults go to.
    pub(super) fn report(&self) -> &'d Report<'d> {
        self.report
    }

    /// The value of `key`, if set.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'d>> {
        self.allow(&[key]);
        let value = self.table.get(key)?;
        Some(Value { report: self.report, key, span: value.span(), value: value.get_ref() })
    }

    /// The value of `key`, which must be set.
    pub(super) fn required(&self, key: &'static str, hint: &str) -> Option<Value<'d>> {
        let found = self.get(key);
        if found.is_none() {
            self.fault(format!("`{key}` is missing"), hint);
        }
        found
    }

    /// Whether `key` is set.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Takes `keys` for known, without reading them.
    pub(super) fn allow(&self, keys: &[&'static str]) {
        self.asked.borrow_mut().extend(keys);
    }

    /// The keys that have been asked for, in that order.
    pub(super) fn known(&self) -> Vec<&'static str> {
        self.asked.borrow().clone()
    }

    /// The section's entries, whatever their keys, in file order: for tables whose keys are names that a user chose.
    pub(super) fn entries(&self) -> Vec<(&'d str, Range<usize>, Value<'d>)> {
        let mut entries: Vec<_> = self
            .table
            .iter()
            .map(|(key, value)| {
                let name: &'d str = key.get_ref();
                let value = Value { report: self.report, key: name, span: value.span(), value: value.get_ref() };
                (name, key.span(), value)
            })
            .collect();
        entries.sort_by_key(|(_, span, _)| span.start);
        entries
    }

    /// Keeps a fault at the section's header.
    pub(super) fn fault(&self, what: impl Into<String>, hint: impl Into<String>) {
        self.report.fault(self.span.clone(), what, Some(hint.into()));
    }

    /// Reports every key that was not asked for.
    pub(super) fn finish(self) {
        self.finish_with(|_| None);
    }

    /// Reports every key that was not asked for, in the words (fault, hint) of `explain`, where it has any.
    pub(super) fn finish_with(self, explain: impl Fn(&str) -> Option<(String, String)>) {
        let asked = self.asked.borrow();
        for key in self.table.keys().filter(|key| !asked.iter().any(|asked| *asked == key.get_ref().as_ref())) {
            let name: &str = key.get_ref();
            let (what, hint) = match explain(name) {
                Some((what, hint)) => (what, Some(hint)),
                None => (format!("unknown key `{name}`{}", self.within()), Some(hint_for(name, &asked))),
            };
            let fault = Fault::at(self.report.file, self.report.text, key.span(), what, hint);
            self.report.keep(if may_be_secret(name) { fault.without_excerpt() } else { fault });
        }
    }

    fn within(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.path) }
    }
}

/// Whether an unknown key may be followed by a secret, which must not be printed.
fn may_be_secret(key: &str) -> bool {
    ["key", "secret", "password", "token"].iter().any(|word| key.to_ascii_lowercase().contains(word))
}

/// What could have been meant by an unknown name: the nearest of those known, else all of them.
pub(super) fn hint_for(name: &str, known: &[&'static str]) -> String {
    if let Some(meant) = nearest(name, known.iter().copied()) {
        return format!("did you mean `{meant}`?");
    }
    let mut known: Vec<&str> = known.to_vec();
    known.sort_unstable();
    format!("one of: {}", known.join(", "))
}

/// One value and its place. What reads it answers `None` when the value is faulty, and has then told so with its place.
#[derive(Clone)]
pub struct Value<'d> {
    report: &'d Report<'d>,
    /// The key it was found at; a list's elements have the list's.
    key: &'d str,
    span: Range<usize>,
    value: &'d DeValue<'d>,
}

impl<'d> Value<'d> {
    /// Where the value stands, in bytes.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The report that this value's faults go to.
    pub(super) fn report(&self) -> &'d Report<'d> {
        self.report
    }

    /// Keeps a fault at this value.
    pub fn fault(&self, what: impl Into<String>, hint: impl Into<String>) {
        self.report.fault(self.span(), what, Some(hint.into()));
    }

    /// Keeps a fault at this value without showing it: for one that may be a secret.
    pub(super) fn fault_unseen(&self, what: impl Into<String>, hint: impl Into<String>) {
        let fault = Fault::at(self.report.file, self.report.text, self.span(), what.into(), Some(hint.into()));
        self.report.keep(fault.without_excerpt());
    }

    fn mistyped<T>(&self, expected: &str, hint: &str) -> Option<T> {
        let what = format!("`{}` must be {expected}, but is {}", self.key, kind_of(self.value));
        self.fault(what, hint);
        None
    }

    /// Text, not empty.
    pub fn text(self) -> Option<&'d str> {
        let DeValue::String(text) = self.value else {
            return self.mistyped("a string", "write it in quotes");
        };
        if text.trim().is_empty() {
            self.fault(format!("`{}` is empty", self.key), "leave the key out if it is not wanted");
            return None;
        }
        Some(text)
    }

    /// Text that is a name: no control characters, no white space at its ends, at most 200 bytes. Names are hashed with
    /// control characters between them (SPEC §5), and printed.
    pub fn name(self) -> Option<&'d str> {
        let text = self.clone().text()?;
        if text.chars().any(char::is_control) || text.trim() != text || text.len() > 200 {
            let hint = "a name has no control characters, no white space at its ends, and at most 200 bytes";
            self.fault(format!("`{}` is not a well-formed name", self.key), hint);
            return None;
        }
        Some(text)
    }

    /// The name of an environment variable. What is none is not shown: most likely it is what belongs into the variable.
    pub(super) fn env_name(self, hint: &str) -> Option<&'d str> {
        let name = self.clone().text()?;
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            self.fault_unseen(format!("`{}` is not the name of an environment variable", self.key), hint);
            return None;
        }
        Some(name)
    }

    /// `true` or `false`.
    pub fn boolean(self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(boolean) => Some(*boolean),
            _ => self.mistyped("true or false", "without quotes"),
        }
    }

    /// A duration in milliseconds, 0 allowed.
    pub fn duration_ms(self) -> Option<u64> {
        let DeValue::String(text) = self.value else {
            return self.mistyped("a duration", duration::HINT);
        };
        duration::parse_ms(text).map_err(|what| self.fault(what, duration::HINT)).ok()
    }

    /// A duration in milliseconds, at least 1.
    pub fn positive_ms(self) -> Option<u64> {
        let ms = self.clone().duration_ms()?;
        if ms == 0 {
            self.fault(format!("`{}` must be longer than nothing", self.key), duration::HINT);
            return None;
        }
        Some(ms)
    }

    /// A whole number within `range`.
    pub fn integer(self, range: RangeInclusive<i64>) -> Option<i64> {
        let DeValue::Integer(integer) = self.value else {
            return self.mistyped("a whole number", "such as 3, without quotes");
        };
        match i64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|integer| range.contains(integer)) {
            Some(integer) => Some(integer),
            None => {
                let what = format!("`{}` is out of range", self.key);
                self.fault(what, format!("from {} to {}", range.start(), range.end()));
                None
            }
        }
    }

    /// A whole number within `range`, for quantities that fit 32 bits.
    pub fn count(self, range: RangeInclusive<u32>) -> Option<u32> {
        let range = i64::from(*range.start())..=i64::from(*range.end());
        self.integer(range).and_then(|integer| u32::try_from(integer).ok())
    }

    /// A number exactly as it is written, without a detour over binary floats.
    pub fn decimal(self) -> Option<Decimal> {
        let text = match self.value {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            DeValue::Float(float) => float.as_str(),
            _ => return self.mistyped("a number", "such as 10 or 0.5, without quotes"),
        };
        self.exact(text).map(|money| money.0)
    }

    /// An amount of money: a number, or a number as text; exact, and at least 0.
    pub fn money(self) -> Option<Money> {
        let money = match self.value {
            DeValue::String(text) => self.exact(text)?,
            DeValue::Integer(_) | DeValue::Float(_) => Money(self.clone().decimal()?),
            _ => return self.mistyped("an amount of money", "such as \"20.00\""),
        };
        if money.0.is_sign_negative() && !money.0.is_zero() {
            self.fault(format!("`{}` must not be negative", self.key), "such as \"20.00\"");
            return None;
        }
        Some(money)
    }

    fn exact(&self, text: &str) -> Option<Money> {
        let found = Money::from_str(text.strip_prefix('+').unwrap_or(text)).ok();
        if found.is_none() {
            let hint = "a plain decimal such as 19.90, with at most 28 digits and no currency";
            self.fault(format!("`{}` is not an exact decimal", self.key), hint);
        }
        found
    }

    /// A finite number; an integer will do.
    pub fn number(self) -> Option<f64> {
        let number = match self.value {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse::<f64>(),
            DeValue::Float(float) => float.as_str().parse::<f64>(),
            _ => return self.mistyped("a number", "such as 10 or 0.5, without quotes"),
        };
        let number = number.ok().filter(|number| number.is_finite());
        if number.is_none() {
            self.fault(format!("`{}` must be a finite number", self.key), "such as 1 or 0.5");
        }
        number
    }

    /// One of `choices`, by name.
    pub fn one_of<T: Copy>(self, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.clone().text()?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*choice);
        }
        let known: Vec<&'static str> = choices.iter().map(|(name, _)| *name).collect();
        self.fault(format!("unknown {} `{text}`", self.key), hint_for(text, &known));
        None
    }

    /// Whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    /// A table, to be read as the section `path`.
    pub(super) fn section(self, path: &'static str) -> Option<Section<'d>> {
        let DeValue::Table(table) = self.value else {
            return self.mistyped("a table", "write it in { }");
        };
        Some(Section { report: self.report, table, span: self.span(), path, asked: RefCell::default() })
    }

    /// A list's elements, with at most `limit` of them.
    pub(super) fn list(self, limit: usize) -> Option<Vec<Value<'d>>> {
        let DeValue::Array(list) = self.value else {
            return self.mistyped("a list", "write it in [ ]");
        };
        if list.len() > limit {
            self.fault(format!("`{}` has {} elements", self.key, list.len()), format!("at most {limit} are allowed"));
            return None;
        }
        let element =
            |value: &'d Spanned<DeValue<'d>>| Value { span: value.span(), value: value.get_ref(), ..self.clone() };
        Some(list.iter().map(element).collect())
    }

    /// The value as JSON; dates become text. Refuses what JSON has not: not-a-number and infinity.
    pub(super) fn json(self) -> Option<serde_json::Value> {
        Some(match self.value {
            DeValue::String(text) => serde_json::Value::from(text.as_ref()),
            DeValue::Integer(_) => serde_json::Value::from(self.integer(i64::MIN..=i64::MAX)?),
            DeValue::Float(_) => serde_json::Value::from(self.number()?),
            DeValue::Boolean(boolean) => serde_json::Value::from(*boolean),
            DeValue::Datetime(time) => serde_json::Value::from(time.to_string()),
            DeValue::Array(_) => self.list(1_000)?.into_iter().map(Value::json).collect::<Option<Vec<_>>>()?.into(),
            DeValue::Table(_) => {
                let entries = self.section("")?.entries();
                let entries = entries.into_iter().map(|(name, _, value)| Some((name.to_owned(), value.json()?)));
                serde_json::Value::Object(entries.collect::<Option<_>>()?)
            }
        })
    }

    /// The value's text exactly as it stands in the file, quotes included.
    pub(super) fn source(&self) -> &'d str {
        self.report.text.get(self.span()).unwrap_or_default()
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
