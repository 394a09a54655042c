//! Quiet hours (SPEC §5), minute by minute. In: a tick and a zone. Out: whether the zone's clock shows a quiet time, and the
//! first tick at which it does not. Cannot fail.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

const MINUTE_MS: i64 = 60_000;

/// Hours of a customer's own day.
pub struct Quiet {
    pub from: Time,
    pub to: Time,
    pub default_timezone: String,
}

impl Quiet {
    /// Whether the clock in `timezone` shows a time from `from` on and before `to`.
    pub fn is_quiet(&self, tick: i64, timezone: Option<&str>) -> bool {
        let shown = self.clock(tick, timezone).1;
        match self.from < self.to {
            true => (self.from..self.to).contains(&shown),
            false => !(self.to..self.from).contains(&shown),
        }
    }

    /// The first tick after the quiet tick `tick` that is not quiet. What is quiet changes only at whole minutes.
    pub fn release(&self, tick: i64, timezone: Option<&str>, tick_ms: i64) -> i64 {
        let mut minute = (tick / MINUTE_MS + 1) * MINUTE_MS;
        loop {
            let next = super::time::round_up(minute, tick_ms);
            if !self.is_quiet(next, timezone) {
                return next;
            }
            minute += MINUTE_MS;
        }
    }

    /// Whether quiet hours that are over at `tick` have ended by the clock's skipping their end.
    pub fn skips_end(&self, tick: i64, timezone: Option<&str>, tick_ms: i64) -> bool {
        let shown = self.clock(tick, timezone).1;
        let late_ms = shown.duration_since(self.to).as_millis();
        late_ms >= i128::from(tick_ms)
    }

    /// Whether what the clock shows at `tick` it shows twice on that day.
    pub fn is_shown_twice(&self, tick: i64, timezone: Option<&str>) -> bool {
        let shown = self.clock(tick, timezone);
        [-60, -30, 30, 60].into_iter().any(|minutes| self.clock(tick + minutes * MINUTE_MS, timezone) == shown)
    }

    /// What the clock in `timezone` shows; in the default one where the profile names none that there is.
    pub fn clock(&self, tick: i64, timezone: Option<&str>) -> (Date, Time) {
        let zone = timezone.and_then(|name| TimeZone::get(name).ok());
        let default = || TimeZone::get(&self.default_timezone).expect("the default zone exists");
        let time = Timestamp::from_millisecond(tick).expect("ticks lie between 2000 and 2100");
        let shown = zone.unwrap_or_else(default).to_datetime(time);
        (shown.date(), shown.time())
    }
}
