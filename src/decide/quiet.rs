//! Quiet hours (SPEC §5; ARCHITECTURE, "Decisions"). In: a tick and a customer's time zone. Out: whether to wait, and until
//! when. Cannot fail: a zone that is no IANA name is the default one.
//!
//! It is quiet while the customer's own clock shows a time in `[from, to)`. That settles the days on which clocks are put
//! forward or back: a `from` or `to` that the clock skips comes true at the moment of the skip, and an hour that it shows
//! twice counts both times.

use beckon_dataflows::model::Tick;
use beckon_dataflows::time::tick_at;
use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

/// How often the end of quiet hours may fall between two ticks before the episode is asked anyway. A configuration whose
/// quiet hours leave a tick's length of the day never comes near it.
const ENDS_MAX: usize = 1_000;

/// Hours of the customer's own day in which episodes wait. `from` later than `to` means over midnight.
#[derive(Clone, Debug)]
pub struct QuietHours {
    /// The first quiet moment.
    pub from: Time,
    /// The first that is not quiet any more.
    pub to: Time,
    /// The zone of those whose profile names none.
    pub default_timezone: TimeZone,
    /// Length of a tick, ms.
    pub tick_ms: u64,
}

impl QuietHours {
    /// The first tick after `tick` that is not quiet in `timezone`; none when `tick` itself is not.
    pub fn until(&self, tick: Tick, timezone: Option<&str>) -> Option<Tick> {
        let own = own_zone(timezone);
        let zone = own.as_ref().unwrap_or(&self.default_timezone);
        let mut release = tick;
        for _ in 0..ENDS_MAX {
            let end = tick_at(self.end(release, zone)?, self.tick_ms);
            if end == release {
                break;
            }
            release = end;
        }
        (release > tick).then_some(release)
    }

    /// The name of the zone that counts for a profile that says `timezone`, and whether it is the profile's own.
    pub fn zone_name(&self, timezone: Option<&str>) -> (String, bool) {
        let own = own_zone(timezone);
        let zone = own.as_ref().unwrap_or(&self.default_timezone);
        (zone.iana_name().unwrap_or("UTC").to_owned(), own.is_some())
    }

    /// The first moment at or after `at_ms` that is not quiet, epoch ms. None past the end of the calendar.
    fn end(&self, at_ms: u64, zone: &TimeZone) -> Option<u64> {
        let mut at = Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()?;
        loop {
            let clock = zone.to_datetime(at);
            if !self.is_quiet(clock.time()) {
                return u64::try_from(at.as_millisecond()).ok();
            }
            let day = if clock.time() < self.to { clock.date() } else { clock.date().tomorrow().ok()? };
            let end = at.checked_add(day.to_datetime(self.to).duration_since(clock)).ok()?;
            // Clocks that are changed before then show something else from there on.
            let change = zone.following(at).next().map(|change| change.timestamp());
            at = change.filter(|change| *change < end).unwrap_or(end);
        }
    }

    fn is_quiet(&self, clock: Time) -> bool {
        if self.from < self.to { self.from <= clock && clock < self.to } else { self.from <= clock || clock < self.to }
    }
}

/// The zone that a profile names, if it is one.
fn own_zone(timezone: Option<&str>) -> Option<TimeZone> {
    timezone.and_then(|name| TimeZone::get(name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Until when it is quiet in `zone` at `at`, by the hours `from` to `to`.
    fn until(zone: &str, from: &str, to: &str, at: &str) -> Option<String> {
        let hours = QuietHours {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            default_timezone: TimeZone::UTC,
            tick_ms: 1_000,
        };
        let at: Timestamp = at.parse().unwrap();
        let until = hours.until(at.as_millisecond() as u64, Some(zone))?;
        Some(Timestamp::from_millisecond(until as i64).unwrap().to_string())
    }

    #[track_caller]
    fn check(zone: &str, hours: (&str, &str), cases: &[(&str, &str)]) {
        for (at, end) in cases {
            let found = until(zone, hours.0, hours.1, at);
            assert_eq!(found.as_deref().unwrap_or("-"), *end, "{zone}, {hours:?}, at {at}");
        }
    }

    #[test]
    fn by_day_and_over_midnight() {
        check(
            "Europe/Berlin",
            ("21:00", "08:00"),
            &[
                ("2026-01-01T19:59:59Z", "-"),
                ("2026-01-01T20:00:00Z", "2026-01-02T07:00:00Z"),
                ("2026-01-01T23:30:00Z", "2026-01-02T07:00:00Z"),
                ("2026-01-02T06:59:59Z", "2026-01-02T07:00:00Z"),
                ("2026-01-02T07:00:00Z", "-"),
            ],
        );
        check(
            "Asia/Kolkata",
            ("12:00", "14:30"),
            &[("2026-01-01T06:30:00Z", "2026-01-01T09:00:00Z"), ("2026-01-01T09:00:00Z", "-")],
        );
        check("No/Zone", ("12:00", "13:00"), &[("2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z")]);
    }

    #[test]
    fn a_time_that_the_clock_skips_is_the_moment_of_the_skip() {
        // Berlin, 2026-03-29: 02:00 becomes 03:00 at 01:00Z.
        check(
            "Europe/Berlin",
            ("02:30", "04:00"),
            &[("2026-03-29T00:59:59Z", "-"), ("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z")],
        );
        check(
            "Europe/Berlin",
            ("22:00", "02:30"),
            &[("2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"), ("2026-03-29T01:00:00Z", "-")],
        );
        check("Europe/Berlin", ("21:00", "08:00"), &[("2026-03-28T20:00:00Z", "2026-03-29T06:00:00Z")]);
        // Wholly skipped, they do not come to pass.
        check("Europe/Berlin", ("02:10", "02:50"), &[("2026-03-29T00:59:59Z", "-"), ("2026-03-29T01:00:00Z", "-")]);
    }

    #[test]
    fn an_hour_that_the_clock_shows_twice_counts_twice() {
        // Berlin, 2026-10-25: 03:00 becomes 02:00 at 01:00Z.
        check(
            "Europe/Berlin",
            ("22:00", "02:30"),
            &[
                ("2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z"),
                ("2026-10-25T00:30:00Z", "-"),
                ("2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"),
            ],
        );
        check("Europe/Berlin", ("02:30", "02:59"), &[("2026-10-25T00:30:00Z", "2026-10-25T00:59:00Z")]);
        // To the clock's turning back, and on.
        check("Europe/Berlin", ("02:00", "03:00"), &[("2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z")]);
        // By half an hour only: 02:00 becomes 01:30 at 15:00Z.
        check(
            "Australia/Lord_Howe",
            ("01:45", "02:00"),
            &[
                ("2026-04-04T14:45:00Z", "2026-04-04T15:00:00Z"),
                ("2026-04-04T15:00:00Z", "-"),
                ("2026-04-04T15:15:00Z", "2026-04-04T15:30:00Z"),
            ],
        );
    }
}
