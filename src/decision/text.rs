//! The forms of SPEC §5's JSON: an id as hex digits, a time as RFC 3339 with milliseconds, money as text with its scale.

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

use super::DecisionId;

impl Serialize for DecisionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DecisionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("a decision id", |text: &str| text.parse().ok()))
    }
}

/// A point in time, epoch ms, that is shown and serialised as `2026-01-01T10:00:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl From<u64> for Moment {
    fn from(time_ms: u64) -> Moment {
        Moment(time_ms)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
            Some(time) => write!(out, "{time:.3}"),
            None => write!(out, "{} ms after 1970", self.0),
        }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Epoch milliseconds ↔ `2026-01-01T10:00:00.000Z`.
pub(super) mod time {
    use jiff::Timestamp;
    use serde::ser::Error as _;

    use super::*;

    pub fn serialize<S: Serializer>(time_ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        let time = i64::try_from(*time_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        match time {
            Some(time) => serializer.collect_str(&format_args!("{time:.3}")),
            None => Err(S::Error::custom(format!("{time_ms} ms is after the year 9999"))),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let parse = |text: &str| {
            let time: Timestamp = text.parse().ok()?;
            u64::try_from(time.as_millisecond()).ok()
        };
        deserializer.deserialize_str(Text("an RFC 3339 time from 1970 on", parse))
    }
}

/// Money ↔ `"19.90"`. The model's own form is bytes, for the workers' wire.
pub(super) mod money {
    use beckon_dataflows::model::Money;

    use super::*;

    pub fn serialize<S: Serializer>(money: &Option<Money>, serializer: S) -> Result<S::Ok, S::Error> {
        match money {
            Some(money) => serializer.collect_str(money),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Money>, D::Error> {
        deserializer.deserialize_str(Text("an amount of money", |text: &str| text.parse().ok())).map(Some)
    }
}

/// Reads a text that must mean something: what is expected, and how it is understood.
struct Text<F>(&'static str, F);

impl<T, F: FnOnce(&str) -> Option<T>> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        let expected = self.0;
        self.1(text).ok_or_else(|| E::custom(format!("{text:?} is not {expected}")))
    }
}
