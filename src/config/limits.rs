//! Limits over all campaigns (SPEC §5, §10). In: the `[limits]` section. Out: [`Limits`]. Fails into the report.

use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::section::{Section, Value};

/// The most frequency caps.
const CAPS_MAX: usize = 20;

/// What no customer may get more of, whatever the campaign; nothing is limited unless set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// All of them hold (SPEC §5).
    pub frequency_caps: Vec<FrequencyCap>,
    /// When nobody is written to (SPEC §5).
    pub quiet_hours: Option<QuietHours>,
}

/// At most so many sends to one customer in a rolling window (SPEC §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrequencyCap {
    /// The most sends; at least 1.
    pub sends: u32,
    /// The window, in milliseconds.
    pub per_ms: u64,
}

/// Hours of the customer's own day in which episodes wait (SPEC §5). `from` later than `to` means over midnight.
#[derive(Clone, Debug, PartialEq)]
pub struct QuietHours {
    /// The first quiet minute, local time.
    pub from: Time,
    /// The first minute that is not quiet any more, local time; not the same as `from`.
    pub to: Time,
    /// The time zone of customers whose profile names none; UTC unless set.
    pub default_timezone: TimeZone,
}

impl QuietHours {
    /// How much of a day is not quiet, in milliseconds; a minute at least.
    pub(super) fn loud_ms(&self) -> u64 {
        let minute = |time: Time| u64::from(time.hour().unsigned_abs()) * 60 + u64::from(time.minute().unsigned_abs());
        (minute(self.from) + 24 * 60 - minute(self.to)) % (24 * 60) * 60_000
    }
}

/// Reads the section.
pub(super) fn read(section: Section<'_>) -> Limits {
    let caps = section.get("frequency_cap").and_then(|value| value.list(CAPS_MAX)).unwrap_or_default();
    let limits = Limits {
        frequency_caps: caps.into_iter().filter_map(read_cap).collect(),
        quiet_hours: section.get("quiet_hours").and_then(read_quiet_hours),
    };
    section.finish();
    limits
}

fn read_cap(value: Value<'_>) -> Option<FrequencyCap> {
    let section = value.section("limits.frequency_cap")?;
    let sends = section.required("sends", "the most sends in the window, such as: sends = 3");
    let sends = sends.and_then(|value| value.count(1..=1_000_000));
    let per_ms = section.required("per", "the window, such as: per = \"7d\"").and_then(Value::positive_ms);
    section.finish();
    Some(FrequencyCap { sends: sends?, per_ms: per_ms? })
}

fn read_quiet_hours(value: Value<'_>) -> Option<QuietHours> {
    let section = value.clone().section("limits.quiet_hours")?;
    let from = section.required("from", "such as: from = \"21:00\"").and_then(read_time);
    let to = section.required("to", "such as: to = \"08:00\"").and_then(read_time);
    let zone = section.get("default_timezone").map(read_timezone);
    section.finish();
    let (from, to) = (from?, to?);
    if from == to {
        value.fault("quiet hours that end when they begin", "leave them out if no hour is quiet");
        return None;
    }
    Some(QuietHours { from, to, default_timezone: zone.unwrap_or(Some(TimeZone::UTC))? })
}

fn read_time(value: Value<'_>) -> Option<Time> {
    let text = value.clone().text()?;
    let time = text.split_once(':').and_then(|(hour, minute)| {
        let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let both = digits(hour) && digits(minute);
        both.then(|| Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()).flatten()
    });
    if time.is_none() {
        value.fault(format!("`{text}` is not a time of day"), "hours and minutes from \"00:00\" to \"23:59\"");
    }
    time
}

fn read_timezone(value: Value<'_>) -> Option<TimeZone> {
    let text = value.clone().text()?;
    let zone = TimeZone::get(text).ok();
    if zone.is_none() {
        value.fault(format!("unknown time zone `{text}`"), "an IANA name, such as \"Europe/Berlin\"");
    }
    zone
}
