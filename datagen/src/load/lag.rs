//! How far a service is behind. In: at even intervals, up to when its ticks are closed. Out: for how long the next one has been
//! overdue, as a histogram. Cannot fail.
//!
//! A tick T can be closed once all partitions have records from after T + allowed lateness: that long is always waited for, and is no
//! lag. So at the time t, when T is the first that is not closed, the lag is t - (T + allowed lateness), and never below 0.
//!
//! Nothing is left out by looking: where a service did not answer, each look that was due counts as if no tick had been closed
//! since the last that was answered. So a service that stands still for ten seconds has forty bad looks, not one.

use super::latency::Latencies;
use super::watch::Terms;
use super::{LOOK_EVERY, Window};

/// See the module.
#[derive(Debug)]
pub struct Lag {
    terms: Terms,
    /// When a look was answered last, and what was closed then.
    last: Option<(u64, u64)>,
    /// Of the looks within the measured time.
    pub times: Latencies,
}

impl Lag {
    /// Of a service that works by these terms.
    pub fn new(terms: Terms) -> Lag {
        Lag { terms, last: None, times: Latencies::default() }
    }

    /// At `at_ms`, ticks were closed up to `closed_ms`. Returns the lag.
    pub fn see(&mut self, at_ms: u64, closed_ms: u64, measured: Window) -> u64 {
        if let Some((last_ms, then_ms)) = self.last {
            let every = LOOK_EVERY.as_millis() as usize;
            // One that came a little later than it was due was not missed.
            let missed = (last_ms..(at_ms.saturating_sub(every as u64 / 2))).step_by(every).skip(1);
            missed.filter(|due_ms| measured.holds(*due_ms)).for_each(|due_ms| {
                self.times.record(self.of(due_ms, then_ms));
            });
        }
        self.last = Some((at_ms, closed_ms));
        let lag_ms = self.of(at_ms, closed_ms);
        if measured.holds(at_ms) {
            self.times.record(lag_ms);
        }
        lag_ms
    }

    fn of(&self, at_ms: u64, closed_ms: u64) -> u64 {
        at_ms.saturating_sub(self.terms.next_tick(closed_ms) + self.terms.allowed_lateness_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { tick_ms: 1_000, allowed_lateness_ms: 500 };
    const ALL: Window = Window { from_ms: 0, until_ms: u64::MAX };

    #[test]
    fn what_is_always_waited_for_is_no_lag() {
        let mut lag = Lag::new(TERMS);
        assert_eq!(lag.see(11_000, 10_000, ALL), 0);
        assert_eq!(lag.see(11_250, 10_000, ALL), 0);
        assert_eq!(lag.see(11_500, 10_000, ALL), 0);
        assert_eq!(lag.see(11_750, 10_000, ALL), 250);
        assert_eq!(lag.see(12_000, 11_000, ALL), 0);
        assert_eq!(lag.times.percentiles().unwrap().max, 250);
    }

    #[test]
    fn looks_that_were_not_answered_count_as_if_nothing_had_been_closed() {
        let mut lag = Lag::new(TERMS);
        lag.see(11_500, 10_000, ALL);
        assert_eq!(lag.see(13_500, 12_000, ALL), 0);
        let told = lag.times.percentiles().unwrap();
        assert_eq!((told.count, told.max), (9, 1_750), "those at 11,750 to 13,250 are none of an idle service's");
    }

    #[test]
    fn only_the_measured_time_counts() {
        let mut lag = Lag::new(TERMS);
        let measured = Window { from_ms: 12_000, until_ms: 13_000 };
        lag.see(11_500, 5_000, measured);
        assert_eq!(lag.see(13_500, 5_000, measured), 7_000);
        assert_eq!(lag.times.percentiles().unwrap().count, 4);
    }
}
