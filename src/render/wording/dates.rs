//! Dates and times, as the customer's language writes them, in the customer's zone. In: epoch milliseconds, RFC 3339 or a plain
//! date, a language tag, a zone. Out: text. Fails on what is neither.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde_json::Value;

use super::language::{Language, is_american};

/// What is asked for: `date`, `time`, `weekday`.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Date,
    Time,
    Weekday,
}

/// A moment, and what the clocks of a zone show then.
pub(super) struct Moment {
    pub at: Timestamp,
    pub clock: DateTime,
}

/// A time in a template: epoch ms, or `2026-03-01T14:30:00Z`, or `2026-03-01`, which is that day everywhere. None for what is
/// neither.
pub(super) fn read(value: &Value, zone: &TimeZone) -> Option<Moment> {
    let moment = |at: Timestamp| Moment { at, clock: zone.to_datetime(at) };
    match value {
        Value::Number(number) => Timestamp::from_millisecond(number.as_i64()?).ok().map(moment),
        Value::String(text) => match text.parse::<Timestamp>() {
            Ok(time) => Some(moment(time)),
            Err(_) => {
                let clock = text.parse::<Date>().ok()?.at(0, 0, 0, 0);
                Some(Moment { at: zone.to_timestamp(clock).ok()?, clock })
            }
        },
        _ => None,
    }
}

/// The zone of that name, the first that there is; UTC where there is none.
pub(super) fn zone<'n>(names: impl IntoIterator<Item = &'n str>) -> TimeZone {
    names.into_iter().find_map(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC)
}

/// The part of `time` that is asked for, as the language of `tag` writes it.
pub(super) fn written(time: DateTime, part: Part, tag: &str) -> String {
    let language = Language::of(tag);
    match part {
        Part::Weekday => language.weekdays[usize::from(time.weekday().to_monday_zero_offset().unsigned_abs())].into(),
        Part::Time if is_american(tag) => {
            let half = if time.hour() < 12 { "AM" } else { "PM" };
            format!("{}:{:02}\u{a0}{half}", (time.hour() + 11) % 12 + 1, time.minute())
        }
        Part::Time => format!("{:02}:{:02}", time.hour(), time.minute()),
        Part::Date => {
            let day = time.day().to_string();
            let counted = if day == "1" { "1er" } else { &day };
            let month = language.months[usize::from((time.month() - 1).unsigned_abs())];
            let date = language.date.replace("{D}", counted).replace("{d}", &day);
            date.replace("{y}", &time.year().to_string()).replace("{m}", month)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_written_as_the_language_does_in_the_zone() {
        let cases = [
            ("en-US", "America/New_York", "Saturday, February 28, 2026, 7:05\u{a0}PM"),
            ("en", "UTC", "Sunday, March 1, 2026, 12:05\u{a0}AM"),
            ("en-GB", "Europe/London", "Sunday, 1 March 2026, 00:05"),
            ("de-AT", "Europe/Vienna", "Sonntag, 1. März 2026, 01:05"),
            ("fr", "Europe/Paris", "dimanche, 1er mars 2026, 01:05"),
            ("es_MX", "America/Mexico_City", "sábado, 28 de febrero de 2026, 18:05"),
            ("it", "Europe/Rome", "domenica, 1 marzo 2026, 01:05"),
            ("nl", "No/Zone", "zondag, 1 maart 2026, 00:05"),
            ("ja", "Asia/Tokyo", "Sunday, 1 March 2026, 09:05"),
        ];
        for (tag, name, expected) in cases {
            let zone = zone([name]);
            for value in [serde_json::json!(1_772_323_500_000_i64), serde_json::json!("2026-03-01T00:05:00Z")] {
                let time = read(&value, &zone).unwrap();
                let written = [Part::Weekday, Part::Date, Part::Time].map(|part| written(time.clock, part, tag));
                assert_eq!(written.join(", "), expected, "{tag}");
            }
        }
    }

    #[test]
    fn a_plain_date_is_that_day_everywhere_and_what_is_no_time_is_none() {
        for name in ["America/New_York", "Asia/Tokyo"] {
            let day = read(&"2026-12-24".into(), &zone([name])).unwrap();
            assert_eq!(written(day.clock, Part::Date, "en-GB"), "24 December 2026");
        }
        for value in
            [serde_json::json!("soon"), serde_json::json!(1.5), serde_json::json!(i64::MAX), serde_json::json!([])]
        {
            assert!(read(&value, &TimeZone::UTC).is_none(), "{value}");
        }
    }
}
