//! The clock of a partition (SPEC §2). In: its event times, in its order. Out: the tick at which each record takes effect, and
//! the least tick that is still open. Pure: no clock of its own; cannot fail.

use beckon_dataflows::model::Tick;
use beckon_dataflows::time::tick_at;

/// The clock of one partition: its watermark is its greatest event time less the allowed lateness.
#[derive(Clone, Debug)]
pub struct PartitionClock {
    tick_ms: u64,
    allowed_lateness_ms: u64,
    greatest_ms: Option<u64>,
    latest: Tick,
    late: u64,
    skewed: u64,
}

impl PartitionClock {
    /// The clock of a partition of which nothing has been read.
    pub fn new(tick_ms: u64, allowed_lateness_ms: u64) -> PartitionClock {
        PartitionClock { tick_ms, allowed_lateness_ms, greatest_ms: None, latest: 0, late: 0, skewed: 0 }
    }

    /// The tick at which a record of event time `event_ms` takes effect: the least at or after it, unless the watermark has
    /// passed that, then the least that it has not. A time ahead of `now_ms`, where there is a wall clock, is clamped to it.
    pub fn bind(&mut self, event_ms: u64, now_ms: Option<u64>) -> Tick {
        let clamped = now_ms.map_or(event_ms, |now_ms| event_ms.min(now_ms));
        self.skewed += u64::from(clamped < event_ms);
        let (tick, open) = (tick_at(clamped, self.tick_ms), self.open());
        self.late += u64::from(tick < open);
        self.greatest_ms = self.greatest_ms.max(Some(clamped));
        let tick = tick.max(open);
        self.latest = self.latest.max(tick);
        tick
    }

    /// The least tick that the watermark has not passed.
    pub fn open(&self) -> Tick {
        tick_at(self.greatest_ms.unwrap_or(0).saturating_sub(self.allowed_lateness_ms), self.tick_ms)
    }

    /// The greatest time so far, epoch ms: an event's, or the wall clock's while the partition was idle.
    pub fn greatest_ms(&self) -> Option<u64> {
        self.greatest_ms
    }

    /// The latest tick at which a record takes effect.
    pub fn latest(&self) -> Tick {
        self.latest
    }

    /// The watermark of a partition that gives nothing follows the wall clock: no record before `now_ms` less the allowed
    /// lateness is waited for any more.
    pub fn idle_until(&mut self, now_ms: u64) {
        self.greatest_ms = self.greatest_ms.max(Some(now_ms));
    }

    /// Goes on from another greatest time, epoch ms: that of a partition which idled before the next record.
    pub(super) fn set_greatest_ms(&mut self, greatest_ms: Option<u64>) {
        self.greatest_ms = greatest_ms;
    }

    /// Goes on from where another clock was.
    pub(super) fn resume(&mut self, greatest_ms: Option<u64>, latest: Tick) {
        (self.greatest_ms, self.latest) = (greatest_ms, latest);
    }

    /// All ticks before `open` are closed: the least watermark that says so.
    pub(super) fn pass(&mut self, open: Tick) {
        let least_ms = (open + 1).saturating_sub(self.tick_ms).saturating_add(self.allowed_lateness_ms);
        self.greatest_ms = self.greatest_ms.max(Some(least_ms));
    }

    /// Shows the time of `other`.
    pub(super) fn follow(&mut self, other: &PartitionClock) {
        self.greatest_ms = other.greatest_ms;
    }

    /// The tick after `tick`.
    pub fn tick_after(&self, tick: Tick) -> Tick {
        tick_at(tick + 1, self.tick_ms)
    }

    /// Records whose tick was closed.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Records whose time was ahead of the wall clock.
    pub fn skewed(&self) -> u64 {
        self.skewed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_takes_effect_at_its_tick_until_the_watermark_has_passed_it() {
        let mut clock = PartitionClock::new(1000, 5000);
        assert_eq!(clock.bind(20_001, None), 21_000);
        // The watermark is 15.001 s: tick 15 is closed, 16 is open.
        assert_eq!(clock.open(), 16_000);
        assert_eq!((clock.bind(15_500, None), clock.late()), (16_000, 0));
        assert_eq!((clock.bind(15_000, None), clock.late()), (16_000, 1));
        assert_eq!((clock.bind(3, None), clock.late()), (16_000, 2));
    }

    #[test]
    fn a_watermark_at_a_tick_has_not_passed_it() {
        let mut clock = PartitionClock::new(1000, 5000);
        clock.bind(20_000, None);
        assert_eq!((clock.bind(15_000, None), clock.late()), (15_000, 0));
    }

    #[test]
    fn a_live_clock_clamps_what_is_ahead_and_follows_the_wall_clock_while_idle() {
        let mut clock = PartitionClock::new(1000, 5000);
        assert_eq!((clock.bind(99_000, Some(20_400)), clock.skewed()), (21_000, 1));
        clock.idle_until(50_000);
        assert_eq!(clock.open(), 45_000);
        assert_eq!((clock.bind(20_000, Some(52_000)), clock.late()), (45_000, 1));
        assert_eq!(clock.latest(), 45_000);
    }
}
