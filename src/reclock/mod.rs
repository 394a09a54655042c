//! Event time to ticks (SPEC §2). In: event times of a partition, in its order. Out: the tick at which each record takes
//! effect, and the least tick that is still open. Pure: no clock of its own; cannot fail.

use beckon_dataflows::model::{Stream, Tick};
use beckon_dataflows::time::tick_at;

/// The clocks of a log's partitions, by which it is read from its beginning, as often as it is read the same.
#[derive(Clone, Debug)]
pub struct Clocks {
    /// Length of a tick, ms.
    pub tick_ms: u64,
    /// How far behind its partition's greatest event time a record may come, ms (SPEC §2).
    pub allowed_lateness_ms: u64,
}

impl Clocks {
    /// The clock of a partition of which nothing has been read.
    pub fn of(&self, _stream: Stream, _partition: u32) -> PartitionClock {
        PartitionClock::new(self.tick_ms, self.allowed_lateness_ms)
    }
}

/// The clock of one partition: its watermark is its greatest event time less the allowed lateness.
#[derive(Clone, Debug)]
pub struct PartitionClock {
    tick_ms: u64,
    allowed_lateness_ms: u64,
    greatest_ms: Option<u64>,
    late: u64,
    skewed: u64,
}

impl PartitionClock {
    /// The clock of a partition of which nothing has been read.
    pub fn new(tick_ms: u64, allowed_lateness_ms: u64) -> PartitionClock {
        PartitionClock { tick_ms, allowed_lateness_ms, greatest_ms: None, late: 0, skewed: 0 }
    }

    /// The tick at which a record of event time `event_ms` takes effect: the least at or after it, unless that is closed, then
    /// the first open one. Ticks are closed that the partition's watermark has passed, and those before `open`. A time
    /// ahead of `now_ms`, where there is a wall clock, is clamped to it.
    pub fn bind(&mut self, event_ms: u64, open: Tick, now_ms: Option<u64>) -> Tick {
        let clamped = now_ms.map_or(event_ms, |now_ms| event_ms.min(now_ms));
        self.skewed += u64::from(clamped < event_ms);
        let tick = tick_at(clamped, self.tick_ms);
        let floor = self.open().max(open);
        self.late += u64::from(tick < floor);
        self.greatest_ms = self.greatest_ms.max(Some(clamped));
        tick.max(floor)
    }

    /// The least tick that the watermark has not passed.
    pub fn open(&self) -> Tick {
        tick_at(self.greatest_ms.unwrap_or(0).saturating_sub(self.allowed_lateness_ms), self.tick_ms)
    }

    /// The greatest event time so far, epoch ms.
    pub fn greatest_ms(&self) -> Option<u64> {
        self.greatest_ms
    }

    /// The watermark of a partition that gives nothing follows the wall clock: no record before `now_ms` less the allowed
    /// lateness is waited for any more.
    pub fn idle_until(&mut self, now_ms: u64) {
        self.greatest_ms = self.greatest_ms.max(Some(now_ms));
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
        assert_eq!(clock.bind(20_001, 0, None), 21_000);
        // The watermark is 15.001 s: tick 15 is closed, 16 is open.
        assert_eq!(clock.open(), 16_000);
        assert_eq!((clock.bind(15_500, 0, None), clock.late()), (16_000, 0));
        assert_eq!((clock.bind(15_000, 0, None), clock.late()), (16_000, 1));
        assert_eq!((clock.bind(3, 0, None), clock.late()), (16_000, 2));
    }

    #[test]
    fn a_watermark_at_a_tick_has_not_passed_it() {
        let mut clock = PartitionClock::new(1000, 5000);
        clock.bind(20_000, 0, None);
        assert_eq!((clock.bind(15_000, 0, None), clock.late()), (15_000, 0));
    }

    #[test]
    fn a_live_clock_clamps_what_is_ahead_and_heeds_what_others_closed() {
        let mut clock = PartitionClock::new(1000, 5000);
        assert_eq!((clock.bind(99_000, 0, Some(20_400)), clock.skewed()), (21_000, 1));
        assert_eq!((clock.bind(20_000, 30_000, Some(32_000)), clock.late()), (30_000, 1));
        clock.idle_until(50_000);
        assert_eq!(clock.open(), 45_000);
    }
}
