//! The course of a load test: what comes next. In: what is so at a look. Out: the phase that it is in. Cannot fail, and has no clock.
//!
//! ```text
//! warm-up → (the first mails) → measured → the last ticks close → the last mails come, all is read → over
//! └─────────────────── the shop sells ───────────────────────┘
//! ```
//!
//! A service that has found its ESP away, as one has between two load tests, tries again after up to a minute: what it owes meanwhile is
//! not to be measured, so the first mails are waited for.
//!
//! The shop goes on selling until the last measured tick is closed, because without records ticks are closed by `idle_after`, which
//! would be measured as if it were the service's.

use serde::Serialize;

/// How long the first mails are waited for.
const AWAITING_MS_MAX: u64 = 90_000;

/// How much longer than is always waited for the last ticks may take before the shop stops selling.
const CLOSING_MS_MAX: u64 = 10_000;

/// How long the last mails and records are waited for.
const SETTLING_MS_MAX: u64 = 30_000;

/// A part of the time, from the first to before the second, epoch ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Window {
    /// From when.
    pub from_ms: u64,
    /// Until before when.
    pub until_ms: u64,
}

impl Window {
    /// Whether this time is of it.
    pub fn holds(self, at_ms: u64) -> bool {
        (self.from_ms..self.until_ms).contains(&at_ms)
    }

    /// One that is as long, from then.
    fn begun_at(self, from_ms: u64) -> Window {
        Window { from_ms, until_ms: from_ms + (self.until_ms - self.from_ms) }
    }

    /// How long it is, s.
    pub fn seconds(self) -> f64 {
        self.until_ms.saturating_sub(self.from_ms) as f64 / 1_000.0
    }
}

/// Where a load test is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The shop sells, nothing is measured.
    Warming,
    /// The first mails are waited for since this time, epoch ms.
    Awaiting(u64),
    /// It is measured.
    Measuring,
    /// The ticks of the measured time are waited for.
    Closing,
    /// Its mails, and whatever is still to be read, are waited for since this time, epoch ms.
    Settling(u64),
    /// There is no more to see.
    Over,
}

impl Phase {
    /// Whether the shop sells.
    pub fn sells(self) -> bool {
        self < Phase::Settling(0)
    }
}

/// What is so.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// Now, epoch ms.
    pub now_ms: u64,
    /// It is to end.
    pub stopped: bool,
    /// Mails come, if any are to come.
    pub mailed: bool,
    /// All ticks of the measured time are closed.
    pub closed: bool,
    /// No more mails come of it.
    pub quiet: bool,
    /// What was acknowledged was read.
    pub read: bool,
}

/// The plan, and where it is.
#[derive(Debug)]
pub struct Course {
    /// What is measured; it begins later where the first mails do, and ends sooner where somebody ends it.
    pub measured: Window,
    /// How long a tick is always waited for, ms.
    wait_ms: u64,
    /// Where it is.
    pub phase: Phase,
    /// It was ended before its time.
    pub cut_short: bool,
}

impl Course {
    /// One that measures then. Ticks are always waited for so long.
    pub fn new(measured: Window, wait_ms: u64) -> Course {
        Course { measured, wait_ms, phase: Phase::Warming, cut_short: false }
    }

    /// What is measured, as far as it is known: nothing, while the first mails are waited for.
    pub fn window(&self) -> Window {
        match self.phase {
            Phase::Awaiting(_) => Window { from_ms: u64::MAX, until_ms: u64::MAX },
            _ => self.measured,
        }
    }

    /// Goes on to whatever is next.
    pub fn go_on(&mut self, now: Situation) {
        let before = self.phase;
        self.phase = self.next(now);
        if self.phase != before {
            // What has nothing to wait for is over at once.
            self.go_on(now);
        }
    }

    fn next(&mut self, now: Situation) -> Phase {
        match self.phase {
            Phase::Warming | Phase::Awaiting(_) if now.stopped => Phase::Over,
            Phase::Warming if now.now_ms < self.measured.from_ms => Phase::Warming,
            Phase::Warming if now.mailed => Phase::Measuring,
            Phase::Warming => Phase::Awaiting(now.now_ms),
            Phase::Awaiting(since_ms) if now.mailed || now.now_ms >= since_ms + AWAITING_MS_MAX => {
                self.measured = self.measured.begun_at(now.now_ms);
                Phase::Measuring
            }
            Phase::Measuring if now.now_ms >= self.measured.until_ms => Phase::Closing,
            Phase::Measuring if now.stopped => {
                self.measured.until_ms = now.now_ms;
                self.cut_short = true;
                Phase::Closing
            }
            Phase::Closing if now.closed => Phase::Settling(now.now_ms),
            Phase::Closing if now.now_ms >= self.measured.until_ms + self.wait_ms + CLOSING_MS_MAX => {
                Phase::Settling(now.now_ms)
            }
            Phase::Settling(_) if now.closed && now.quiet && now.read => Phase::Over,
            Phase::Settling(since_ms) if now.now_ms >= since_ms + SETTLING_MS_MAX => Phase::Over,
            same => same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: Window = Window { from_ms: 10_000, until_ms: 70_000 };
    const NOTHING: Situation =
        Situation { now_ms: 0, stopped: false, mailed: true, closed: false, quiet: false, read: false };

    #[track_caller]
    fn check(course: &mut Course, now: Situation, expected: Phase) {
        course.go_on(now);
        assert_eq!(course.phase, expected, "{now:?}");
    }

    #[test]
    fn all_that_was_measured_is_waited_for() {
        let course = &mut Course::new(MEASURED, 2_000);
        check(course, Situation { now_ms: 9_999, closed: true, ..NOTHING }, Phase::Warming);
        check(course, Situation { now_ms: 10_000, ..NOTHING }, Phase::Measuring);
        check(course, Situation { now_ms: 70_100, ..NOTHING }, Phase::Closing);
        assert!(course.phase.sells());
        check(course, Situation { now_ms: 72_100, closed: true, ..NOTHING }, Phase::Settling(72_100));
        assert!(!course.phase.sells());
        check(course, Situation { now_ms: 73_000, closed: true, quiet: true, ..NOTHING }, Phase::Settling(72_100));
        check(course, Situation { now_ms: 73_250, closed: true, quiet: true, read: true, ..NOTHING }, Phase::Over);
        assert!(!course.cut_short);
    }

    #[test]
    fn the_first_mails_are_waited_for() {
        let course = &mut Course::new(MEASURED, 2_000);
        check(course, Situation { now_ms: 9_000, mailed: false, ..NOTHING }, Phase::Warming);
        check(course, Situation { now_ms: 10_000, mailed: false, ..NOTHING }, Phase::Awaiting(10_000));
        assert!(course.phase.sells() && !course.window().holds(30_000));
        check(course, Situation { now_ms: 40_000, ..NOTHING }, Phase::Measuring);
        assert_eq!(course.window(), Window { from_ms: 40_000, until_ms: 100_000 });
        let course = &mut Course::new(MEASURED, 2_000);
        check(course, Situation { now_ms: 10_000, mailed: false, ..NOTHING }, Phase::Awaiting(10_000));
        check(course, Situation { now_ms: 100_000, mailed: false, ..NOTHING }, Phase::Measuring);
    }

    #[test]
    fn nothing_is_waited_for_for_ever() {
        let course = &mut Course::new(MEASURED, 2_000);
        check(course, Situation { now_ms: 81_999, ..NOTHING }, Phase::Closing);
        check(course, Situation { now_ms: 82_000, ..NOTHING }, Phase::Settling(82_000));
        check(course, Situation { now_ms: 112_000, ..NOTHING }, Phase::Over);
    }

    #[test]
    fn one_that_is_ended_measures_what_it_has() {
        let course = &mut Course::new(MEASURED, 2_000);
        check(course, Situation { now_ms: 5_000, stopped: true, ..NOTHING }, Phase::Over);
        let course = &mut Course::new(MEASURED, 2_000);
        check(course, Situation { now_ms: 30_000, ..NOTHING }, Phase::Measuring);
        check(course, Situation { now_ms: 40_000, stopped: true, ..NOTHING }, Phase::Closing);
        assert_eq!((course.measured.seconds(), course.cut_short), (30.0, true));
        assert!(!course.measured.holds(40_000) && course.measured.holds(39_999));
    }
}
