//! One partition from event time to ticks, live and again. In: its records by offset, what the wall clock showed, and what
//! an earlier run noted. Out: their ticks, and a [`Binding`] where a replay of the records alone would give other ones.
//!
//! Beside the clock in force goes another, which knows only what a replay will know: the records and the bindings noted.
//! As long as both agree there is nothing to note; so the timeline stays short however long the log becomes.

use std::collections::{HashMap, VecDeque};

use beckon_dataflows::inputs::Batch;
use beckon_dataflows::model::{Position, Stream, Tick};
use serde::{Deserialize, Serialize};

use super::PartitionClock;

/// How a run of records of one partition was bound to ticks, where their own times do not tell: from which greatest time, and
/// up to which. Each took effect at the least open tick not before its event time (SPEC §2), reckoned so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Offset of the first record.
    pub first: u64,
    /// Offset of the last.
    pub last: u64,
    /// The partition's greatest time before the first, epoch ms; the wall clock's where it idled.
    pub greatest_ms: Option<u64>,
    /// What the wall clock showed: no event was later, epoch ms.
    pub now_ms: u64,
}

/// The bindings of each partition, by ascending offsets.
pub type Bindings = HashMap<(Stream, u32), Vec<Binding>>;

/// One partition on its way from event time to ticks.
#[derive(Clone, Debug)]
pub struct Reclock {
    clock: PartitionClock,
    /// The clock that a replay will have.
    again: PartitionClock,
    /// What was noted of the records to come.
    ahead: VecDeque<Binding>,
    current: Option<Binding>,
}

impl Reclock {
    /// A partition of which nothing has been read, and what an earlier run noted of it.
    pub fn new(clock: PartitionClock, noted: Vec<Binding>) -> Reclock {
        Reclock { again: clock.clone(), clock, ahead: noted.into(), current: None }
    }

    /// The clock in force.
    pub fn clock(&self) -> &PartitionClock {
        &self.clock
    }

    /// The partition gives nothing: its watermark follows the wall clock (SPEC §2).
    pub fn idle_until(&mut self, now_ms: u64) {
        self.clock.idle_until(now_ms);
    }

    /// Gives each of the partition's next records the tick at which it takes effect: the one noted for it, else by the clock
    /// in force and, live, the wall clock. Returns what must be noted, durably, before anything is decided from them.
    pub fn bind(&mut self, batch: &mut Batch, now_ms: Option<u64>) -> Option<Binding> {
        let mut new: Option<Binding> = None;
        let mut differs = false;
        batch.retime(|position, event_ms| {
            if let Some(noted) = self.noted(position) {
                let tick = self.clock.bind(event_ms, Some(noted.now_ms));
                self.again.follow(&self.clock);
                return tick;
            }
            let greatest_ms = self.clock.greatest_ms();
            let tick = self.clock.bind(event_ms, now_ms);
            if let Some(now_ms) = now_ms {
                let offset = position.offset();
                new.get_or_insert(Binding { first: offset, last: offset, greatest_ms, now_ms }).last = offset;
                differs |= self.again.bind(event_ms, None) != tick;
            }
            tick
        });
        // A replay whose watermark were ahead could not take up a binding that begins behind it.
        let differs = differs || self.again.greatest_ms() > self.clock.greatest_ms();
        let note = new.filter(|_| differs);
        if note.is_some() {
            self.again.follow(&self.clock);
        }
        note
    }

    /// What was noted of the record at `position`. Where a binding begins, the clock goes on from what it says.
    fn noted(&mut self, position: Position) -> Option<Binding> {
        let offset = position.offset();
        while self.ahead.front().is_some_and(|next| next.first <= offset) {
            self.current = self.ahead.pop_front();
            if let Some(binding) = self.current.filter(|binding| offset <= binding.last) {
                self.clock.set_greatest_ms(binding.greatest_ms);
            }
        }
        self.current.filter(|binding| offset <= binding.last)
    }

    /// The least tick at which a record to come can take effect.
    pub fn open(&self) -> Tick {
        self.clock.open()
    }
}

#[cfg(test)]
mod tests {
    use beckon_dataflows::model::{EngagementKind, EngagementRecord, Id, MessageId, Record};

    use super::*;

    /// Records of these offsets and event times.
    fn batch(records: &[(u64, u64)]) -> Batch {
        let mut batch = Batch::default();
        for (offset, event_ms) in records {
            let position = Position::new(Stream::Engagement, 0, *offset);
            let (event, user) = (MessageId::NONE, Id::NONE);
            let kind = EngagementKind::Opened;
            let record = EngagementRecord { event, kind, user, position, decision: 0, machine: false };
            batch.push(Record::Engagement(record), *event_ms);
        }
        batch
    }

    fn ticks(mut batch: Batch) -> Vec<Tick> {
        let mut ticks = Vec::new();
        batch.retime(|_, tick| {
            ticks.push(tick);
            tick
        });
        ticks
    }

    /// A partition at work, and what it has noted and bound so far.
    struct Story {
        reclock: Reclock,
        noted: Vec<Binding>,
        records: Vec<(u64, u64)>,
        bound: Vec<Tick>,
    }

    impl Story {
        fn new() -> Story {
            let reclock = Reclock::new(PartitionClock::new(1000, 5000), Vec::new());
            Story { reclock, noted: Vec::new(), records: Vec::new(), bound: Vec::new() }
        }

        fn comes(&mut self, now_ms: u64, event_times_ms: &[u64]) {
            let first = self.records.len() as u64;
            let records: Vec<(u64, u64)> = (first..).zip(event_times_ms.iter().copied()).collect();
            let mut batch = batch(&records);
            self.noted.extend(self.reclock.bind(&mut batch, Some(now_ms)));
            self.records.extend(records);
            self.bound.extend(ticks(batch));
        }

        /// What a replay binds, `together` records at a time.
        fn again(&self, together: usize) -> Vec<Tick> {
            let mut reclock = Reclock::new(PartitionClock::new(1000, 5000), self.noted.clone());
            let mut bound = Vec::new();
            let mut open = 0;
            for records in self.records.chunks(together) {
                let mut batch = batch(records);
                assert_eq!(reclock.bind(&mut batch, None), None);
                let ticks = ticks(batch);
                assert!(ticks.iter().all(|tick| *tick >= open), "a tick that was closed: {ticks:?}, {open}");
                open = reclock.open().max(open);
                bound.extend(ticks);
            }
            bound
        }
    }

    #[test]
    fn what_the_records_tell_themselves_is_not_noted() {
        let mut story = Story::new();
        story.comes(30_000, &[20_000, 19_000, 14_000, 26_000]);
        story.reclock.idle_until(40_000);
        story.comes(45_000, &[44_000, 43_500]);
        assert_eq!(story.noted, []);
        assert_eq!(story.again(2), story.bound);
    }

    #[test]
    fn a_record_late_by_the_wall_clock_is_noted_and_bound_again_alike() {
        let mut story = Story::new();
        story.comes(21_000, &[20_000]);
        story.reclock.idle_until(60_000);
        story.comes(61_000, &[21_000, 60_500]);
        story.comes(62_000, &[55_000]);
        assert_eq!(story.bound, [20_000, 55_000, 61_000, 56_000]);
        assert_eq!(story.noted, [Binding { first: 1, last: 2, greatest_ms: Some(60_000), now_ms: 61_000 }]);
        assert_eq!(story.again(1), story.bound);
        assert_eq!(story.again(4), story.bound);
    }

    #[test]
    fn a_time_ahead_of_the_wall_clock_is_noted() {
        let mut story = Story::new();
        story.comes(20_000, &[19_000, 99_000, 20_000]);
        story.comes(21_000, &[20_500]);
        assert_eq!(story.bound, [19_000, 20_000, 20_000, 21_000]);
        assert_eq!(story.noted.len(), 1);
        assert_eq!(story.again(1), story.bound);
        assert_eq!(story.again(3), story.bound);
    }

    /// Whatever the wall clock does, and however the blocks are cut.
    #[test]
    fn any_live_run_is_bound_again_alike() {
        proptest::proptest!(|(
            blocks in proptest::collection::vec(
                (0u64..9_000, proptest::bool::ANY, proptest::collection::vec(0u64..30_000, 1..6)), 1..30),
            together in 1usize..7,
        )| {
            let mut story = Story::new();
            let mut now_ms = 20_000;
            for (passes_ms, idle, ages) in blocks {
                now_ms += passes_ms;
                if idle {
                    story.reclock.idle_until(now_ms);
                }
                // Ages below 10 s are times ahead of the wall clock.
                let times: Vec<u64> = ages.iter().map(|age| now_ms + 10_000 - age).collect();
                story.comes(now_ms, &times);
            }
            proptest::prop_assert_eq!(story.again(together), story.bound.clone());
            // And a run that was ended and started again, which notes nothing of what it knows.
            let mut again = Reclock::new(PartitionClock::new(1000, 5000), story.noted.clone());
            for records in story.records.chunks(together) {
                proptest::prop_assert_eq!(again.bind(&mut batch(records), Some(u64::MAX)), None);
            }
        });
    }
}
