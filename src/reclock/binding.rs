//! One partition from event time to ticks, live and again. In: its records by offset, what the wall clock showed, and what
//! an earlier run noted. Out: their ticks, and a [`Note`] where a replay of the records alone would give other ones.
//!
//! Beside the clock in force goes another, which knows only what a replay will know: the records and the notes. As long as
//! both agree there is nothing to note; so the timeline stays short however long the log becomes.

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

/// Something about a partition that its records do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// How records were bound.
    Bound(Binding),
    /// Ticks were closed while the partition was idle, and may have been decided: whatever comes is not before the first open
    /// one, also if it comes only after a crash.
    Closed {
        /// Offset of the next record.
        next: u64,
        /// The least tick that was open.
        open: Tick,
    },
}

impl Note {
    /// The offset from which on it holds.
    pub fn first(&self) -> u64 {
        match self {
            Note::Bound(binding) => binding.first,
            Note::Closed { next, .. } => *next,
        }
    }
}

/// The notes of each partition, by ascending offsets.
pub type Notes = HashMap<(Stream, u32), Vec<Note>>;

/// A place between two records of a partition from which a later run can go on as if it had read those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Offset after the last record that was bound.
    pub next: u64,
    /// The clock that a replay has here, epoch ms.
    pub greatest_ms: Option<u64>,
    /// The latest tick at which a record before it takes effect.
    pub latest: Tick,
    /// The binding noted of the records here, if any.
    pub current: Option<Binding>,
}

/// One partition on its way from event time to ticks.
#[derive(Clone, Debug)]
pub struct Reclock {
    clock: PartitionClock,
    /// The clock that a replay will have.
    again: PartitionClock,
    /// What was noted of the records to come.
    ahead: VecDeque<Note>,
    current: Option<Binding>,
    /// The offset after the last record.
    next: u64,
}

impl Reclock {
    /// A partition of which nothing has been read, which begins at the offset `first`, and what an earlier run noted of it.
    pub fn new(clock: PartitionClock, first: u64, noted: Vec<Note>) -> Reclock {
        Reclock { again: clock.clone(), clock, ahead: noted.into(), current: None, next: first }
    }

    /// A partition that goes on after what was read before `checkpoint`.
    pub fn resume(mut clock: PartitionClock, checkpoint: Checkpoint, mut noted: Vec<Note>) -> Reclock {
        clock.resume(checkpoint.greatest_ms, checkpoint.latest);
        noted.retain(|note| note.first() >= checkpoint.next);
        let Checkpoint { next, current, .. } = checkpoint;
        Reclock { again: clock.clone(), clock, ahead: noted.into(), current, next }
    }

    /// From where a later run can go on, which knows the timeline besides.
    pub fn checkpoint(&self) -> Checkpoint {
        let (greatest_ms, latest) = (self.again.greatest_ms(), self.clock.latest());
        Checkpoint { next: self.next, greatest_ms, latest, current: self.current }
    }

    /// All ticks before `open` are closed, whatever comes: for a partition that was not there when they were.
    pub fn pass(&mut self, open: Tick) {
        self.clock.pass(open);
    }

    /// The clock in force.
    pub fn clock(&self) -> &PartitionClock {
        &self.clock
    }

    /// Whether an earlier run has read records that this one has not. As long as it has not, the partition is not idle, whatever
    /// its end seems to be: a broker that was killed may find it only after a while.
    pub fn is_behind(&self) -> bool {
        self.ahead.back().is_some_and(|note| match note {
            Note::Bound(binding) => self.next <= binding.last,
            Note::Closed { next, .. } => self.next < *next,
        })
    }

    /// Whether the partition idled when an earlier run closed its last ticks, and this one knows of nothing that came since.
    pub fn idled_before(&self) -> bool {
        matches!(self.ahead.back(), Some(Note::Closed { next, .. }) if *next == self.next)
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
            self.next = position.offset() + 1;
            if let Some(noted) = self.noted(position) {
                let tick = self.clock.bind(event_ms, Some(noted.now_ms));
                self.again.follow(&self.clock);
                return tick;
            }
            // As long as notes are to come, an earlier run has read this record too, and bound it as a replay does: it noted nothing.
            let now_ms = now_ms.filter(|_| self.ahead.is_empty());
            let greatest_ms = self.clock.greatest_ms();
            let tick = self.clock.bind(event_ms, now_ms);
            if let Some(now_ms) = now_ms {
                let offset = position.offset();
                new.get_or_insert(Binding { first: offset, last: offset, greatest_ms, now_ms }).last = offset;
                differs |= self.again.bind(event_ms, None) != tick;
            } else {
                self.again.follow(&self.clock);
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

    /// All ticks before `open` are about to be closed. Where the partition's records do not say so, a replay must be told, before
    /// anything is decided: the offset of the next record is returned, which is not to be bound before `open`.
    pub fn close(&mut self, open: Tick) -> Option<u64> {
        let knows = self.again.open() >= open;
        self.again.pass(open);
        (!knows).then_some(self.next)
    }

    /// What was noted of the record at `position`. Where a note begins, the clock goes on from what it says.
    fn noted(&mut self, position: Position) -> Option<Binding> {
        let offset = position.offset();
        while let Some(note) = self.ahead.pop_front_if(|next| next.first() <= offset) {
            match note {
                Note::Bound(binding) if offset <= binding.last => {
                    self.clock.set_greatest_ms(binding.greatest_ms);
                    self.current = Some(binding);
                }
                Note::Bound(_) => {}
                Note::Closed { open, .. } => {
                    self.clock.pass(open);
                    self.again.pass(open);
                }
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
            let record = EngagementRecord { event, kind, user, position, decision: 0, machine: false, choice: None };
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
        noted: Vec<Note>,
        records: Vec<(u64, u64)>,
        bound: Vec<Tick>,
    }

    impl Story {
        fn new() -> Story {
            let reclock = Reclock::new(PartitionClock::new(1000, 5000), 0, Vec::new());
            Story { reclock, noted: Vec::new(), records: Vec::new(), bound: Vec::new() }
        }

        fn comes(&mut self, now_ms: u64, event_times_ms: &[u64]) {
            let first = self.records.len() as u64;
            let records: Vec<(u64, u64)> = (first..).zip(event_times_ms.iter().copied()).collect();
            let mut batch = batch(&records);
            self.noted.extend(self.reclock.bind(&mut batch, Some(now_ms)).map(Note::Bound));
            self.records.extend(records);
            self.bound.extend(ticks(batch));
        }

        /// A run that died was started again: it reads all from the beginning, `together` records at a time, and these with it.
        fn comes_after_a_restart(&mut self, now_ms: u64, event_times_ms: &[u64], together: usize) {
            self.reclock = Reclock::new(PartitionClock::new(1000, 5000), 0, self.noted.clone());
            let first = self.records.len() as u64;
            self.records.extend((first..).zip(event_times_ms.iter().copied()));
            let mut bound = Vec::new();
            for records in self.records.chunks(together) {
                let mut batch = batch(records);
                self.noted.extend(self.reclock.bind(&mut batch, Some(now_ms)).map(Note::Bound));
                bound.extend(ticks(batch));
            }
            assert_eq!(bound[..self.bound.len()], self.bound, "what was bound before is bound otherwise");
            self.bound = bound;
        }

        /// Each note is of records after those of the one before.
        fn are_notes_in_order(&self) -> bool {
            let end = |note: &Note| match note {
                Note::Bound(binding) => binding.last + 1,
                Note::Closed { next, .. } => *next,
            };
            self.noted.windows(2).all(|two| two[1].first() >= end(&two[0]))
        }

        /// All that the partition's clock says is closed, and may be decided.
        fn closes(&mut self) {
            let open = self.reclock.open();
            self.noted.extend(self.reclock.close(open).map(|next| Note::Closed { next, open }));
        }

        /// What a replay binds, `together` records at a time.
        fn again(&self, together: usize) -> Vec<Tick> {
            let mut reclock = Reclock::new(PartitionClock::new(1000, 5000), 0, self.noted.clone());
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
        let binding = Binding { first: 1, last: 2, greatest_ms: Some(60_000), now_ms: 61_000 };
        assert_eq!(story.noted, [Note::Bound(binding)]);
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

    /// A process that closed ticks while the partition idled, and died before it read what came then.
    #[test]
    fn what_was_closed_stays_closed_after_a_crash() {
        let mut story = Story::new();
        story.comes(21_000, &[20_000]);
        story.closes();
        assert_eq!(story.noted, []);
        story.reclock.idle_until(60_000);
        story.closes();
        assert_eq!(story.noted, [Note::Closed { next: 1, open: 55_000 }]);
        let mut after = Reclock::new(PartitionClock::new(1000, 5000), 0, story.noted);
        let mut batch = batch(&[(0, 20_000), (1, 21_000), (2, 56_500)]);
        assert!(after.is_behind());
        assert_eq!(after.bind(&mut batch, Some(90_000)), None);
        assert!(!after.is_behind());
        assert_eq!(ticks(batch), [20_000, 55_000, 57_000]);
    }

    /// It need not be waited for again whether it idles, unless something has come.
    #[test]
    fn what_idled_before_a_restart_is_known_until_a_record_comes_after() {
        let mut story = Story::new();
        story.comes(21_000, &[20_000]);
        assert!(!story.reclock.idled_before(), "it was not started again");
        story.reclock.idle_until(60_000);
        story.closes();
        let mut after = Reclock::new(PartitionClock::new(1000, 5000), 0, story.noted);
        assert!(!after.idled_before(), "what came before is not read yet");
        after.bind(&mut batch(&[(0, 20_000)]), Some(90_000));
        assert!(after.idled_before());
        after.idle_until(90_000);
        assert!(after.idled_before());
        after.bind(&mut batch(&[(1, 89_000)]), Some(91_000));
        assert!(!after.idled_before());
    }

    /// What an earlier run has read, and what has come since, in one block: what is noted of that begins after what was noted before.
    #[test]
    fn a_note_does_not_reach_back_before_an_earlier_one() {
        let mut story = Story::new();
        story.comes(21_000, &[20_000]);
        story.reclock.idle_until(60_000);
        story.closes();
        let mut notes = story.noted;
        assert_eq!(notes, [Note::Closed { next: 1, open: 55_000 }]);
        let mut after = Reclock::new(PartitionClock::new(1000, 5000), 0, notes.clone());
        let records = [(0, 20_000), (1, 21_000), (2, 99_000)];
        let mut read = batch(&records);
        let binding = Binding { first: 1, last: 2, greatest_ms: Some(59_001), now_ms: 61_000 };
        assert_eq!(after.bind(&mut read, Some(61_000)), Some(binding));
        notes.push(Note::Bound(binding));
        let mut again = Reclock::new(PartitionClock::new(1000, 5000), 0, notes);
        let mut replayed = batch(&records);
        again.bind(&mut replayed, None);
        let read = ticks(read);
        assert_eq!(read, [20_000, 55_000, 61_000]);
        assert_eq!(ticks(replayed), read);
    }

    /// Whatever the wall clock does, and however the blocks are cut.
    #[test]
    fn any_live_run_is_bound_again_alike() {
        proptest::proptest!(|(
            blocks in proptest::collection::vec(
                (0u64..9_000, 0u8..16, proptest::collection::vec(0u64..30_000, 1..6)), 1..30),
            together in 1usize..7,
        )| {
            let mut story = Story::new();
            let mut now_ms = 20_000;
            for (passes_ms, idles, ages) in blocks {
                now_ms += passes_ms;
                if idles & 1 == 1 {
                    story.reclock.idle_until(now_ms);
                }
                if idles & 2 == 2 {
                    story.closes();
                }
                // Ages below 10 s are times ahead of the wall clock.
                let times: Vec<u64> = ages.iter().map(|age| now_ms + 10_000 - age).collect();
                if idles & 12 == 12 {
                    story.comes_after_a_restart(now_ms, &times, together);
                } else {
                    story.comes(now_ms, &times);
                }
            }
            proptest::prop_assert!(story.are_notes_in_order(), "{:?}", story.noted);
            proptest::prop_assert_eq!(story.again(together), story.bound.clone());
            // And a run that was ended and started again, which notes nothing of what it knows.
            let mut again = Reclock::new(PartitionClock::new(1000, 5000), 0, story.noted.clone());
            for records in story.records.chunks(together) {
                proptest::prop_assert_eq!(again.bind(&mut batch(records), Some(u64::MAX)), None);
            }
        });
    }
}
