//! Live: decisions as records come in (SPEC §2, §7). Ticks close as the watermarks pass them, and where nothing comes, as the
//! wall clock does, so that deadlines fire with no traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use beckon_dataflows::inputs::Batch;
use beckon_dataflows::model::Tick;

use super::Engine;
use super::lanes::{Intake, Lane, Resume, Taken};
use super::snapshots::Snapshots;
use crate::reclock::{Notes, PartitionClock, Timeline};
use crate::source::Partition;

/// How long the feeder sleeps when nothing comes and nobody wakes it: the grain of idleness.
const NAP: Duration = Duration::from_millis(20);

/// Where a turn gives fewer records than this, the next one waits for more: what a turn costs does not depend on how many it gives, so that
/// a trickle would cost several times what a stream does.
const FEW: u64 = 2_000;

/// It waits a part of a tick, which is soon enough,
const WAITS_A_TICK: u64 = 50;

/// and so long at most.
const WAIT_MOST: Duration = Duration::from_millis(5);

/// How many blocks of one partition are taken before the others have their turn.
const BLOCKS_A_TURN: usize = 8;

/// How long after the broker was reached a partition can be taken to idle that idled before the start already, ms: a broker that has just
/// come up may find the end of a partition only when its replicas have asked for it, which they do twice a second.
const IDLED_BEFORE_MS: u64 = 1_000;

/// How long a stop waits for a snapshot that is being written.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(5);

/// Where nothing is to be read, no tick is held open: the partitions of other processes say what is closed.
const NOTHING_TO_READ: Tick = Tick::MAX - 1;

/// The wall clock, epoch ms; a simulated one in the demo and in tests.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How live records are timed (SPEC §2), ms.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Length of a tick.
    pub tick_ms: u64,
    /// How far behind its partition's greatest event time a record may come.
    pub allowed_lateness_ms: u64,
    /// After this long with nothing a partition follows the wall clock.
    pub idle_after_ms: u64,
}

/// Whoever takes records, and hears which ticks are closed.
pub trait Graph {
    /// Takes records, each with the tick at which it takes effect.
    fn feed(&mut self, batch: Batch) -> anyhow::Result<()>;

    /// All ticks before `tick` are closed.
    fn advance(&mut self, tick: Tick) -> anyhow::Result<()>;

    /// Begins to write down what is known once the ticks up to this one are closed, where anybody writes that.
    fn snapshot(&mut self, _tick: Tick) {}

    /// Whether anybody still decides what is fed.
    fn is_deciding(&self) -> bool {
        true
    }
}

impl Graph for Engine {
    fn feed(&mut self, batch: Batch) -> anyhow::Result<()> {
        self.workers.feed(batch);
        Ok(())
    }

    fn advance(&mut self, tick: Tick) -> anyhow::Result<()> {
        self.workers.advance(tick);
        Ok(())
    }

    fn snapshot(&mut self, tick: Tick) {
        self.workers.snapshot(tick);
    }

    fn is_deciding(&self) -> bool {
        Engine::is_deciding(self)
    }
}

/// Feeds a graph from partitions that never end, a turn at a time.
pub struct Feeder {
    timing: Timing,
    clock: WallClock,
    /// Who writes snapshots, if anybody.
    snapshots: Option<Snapshots>,
    /// Where it is noted what the wall clock said of records.
    timeline: Arc<Timeline>,
    lanes: Vec<Watched>,
    /// Since when the broker is there, and since when it is read from.
    reached_ms: u64,
    start_ms: u64,
    open: Tick,
}

/// A lane with when it last gave something, if it has since the start.
struct Watched {
    lane: Lane,
    seen_ms: Option<u64>,
}

impl Feeder {
    /// Nothing fed yet. Of records that an earlier run has read the timeline has `noted` how they are bound, and `resume` says
    /// which of them are known already.
    pub fn new(
        partitions: Vec<Box<dyn Partition>>,
        noted: Notes,
        resume: &Resume,
        timing: Timing,
        clock: WallClock,
        timeline: Arc<Timeline>,
    ) -> Feeder {
        let start_ms = clock();
        let partition_clock = PartitionClock::new(timing.tick_ms, timing.allowed_lateness_ms);
        let lanes = Lane::open(partitions, &partition_clock, noted, resume).into_iter();
        let lanes = lanes.map(|lane| Watched { lane, seen_ms: None }).collect();
        let open = resume.tick().map_or(0, |tick| partition_clock.tick_after(tick));
        Feeder { timing, clock, snapshots: None, timeline, lanes, reached_ms: start_ms, start_ms, open }
    }

    /// The same, whose partitions were opened a while ago already, epoch ms.
    pub fn reached_at(self, reached_ms: u64) -> Feeder {
        Feeder { reached_ms, ..self }
    }

    /// The same, which has snapshots taken.
    pub fn with_snapshots(self, snapshots: Option<Snapshots>) -> Feeder {
        Feeder { snapshots, ..self }
    }

    /// Feeds until told to stop, and returns the least tick still open. Fails when a source does, the intake, or the timeline.
    pub fn run(mut self, graph: &mut impl Graph, mut intake: Intake<'_>, stop: &AtomicBool) -> anyhow::Result<Tick> {
        // Once nobody decides any more there is nothing to read for; the engine says why when it is finished.
        let wait = Duration::from_micros(self.timing.tick_ms.saturating_mul(1000 / WAITS_A_TICK)).min(WAIT_MOST);
        while !stop.load(Ordering::Relaxed) && graph.is_deciding() {
            match self.turn(graph, &mut intake)? {
                0 => std::thread::park_timeout(NAP),
                1..FEW => std::thread::sleep(wait),
                FEW.. => {}
            }
        }
        // One that is nearly written saves the next start more than it costs this stop.
        self.snapshots.iter().for_each(|snapshots| snapshots.wait(SNAPSHOT_WAIT));
        Ok(self.open)
    }

    /// The least tick still open.
    pub fn open(&self) -> Tick {
        self.open
    }

    /// Takes what each partition has to give, up to a few blocks, and closes the ticks that are over. How many records there were, bad ones
    /// among them.
    pub fn turn(&mut self, graph: &mut impl Graph, intake: &mut Intake<'_>) -> anyhow::Result<u64> {
        let mut read = 0;
        for lane in 0..self.lanes.len() {
            read += self.take_turn(lane, graph, intake)?;
        }
        let open = self.lanes.iter().map(|watched| watched.lane.reclock.open()).min().unwrap_or(NOTHING_TO_READ);
        self.begin_snapshot(open, graph);
        if open > self.open {
            self.open = open;
            self.note_closed(open)?;
            graph.advance(open)?;
        }
        Ok(read)
    }

    /// Begins a snapshot where one is due when the ticks before `open` are closed, or another process asks for it.
    fn begin_snapshot(&mut self, open: Tick, graph: &mut impl Graph) {
        let lanes = self.lanes.iter_mut().map(|watched| &mut watched.lane);
        if let Some(snapshots) = &mut self.snapshots
            && let Some(tick) = snapshots.begin(self.open, open, lanes)
        {
            graph.snapshot(tick);
        }
    }

    /// Notes of which partitions no record says that the ticks before `open` are closed. A process that dies now has decided
    /// them, and the next one must not bind to them what this one has not read.
    fn note_closed(&mut self, open: Tick) -> anyhow::Result<()> {
        let idle = self.lanes.iter_mut().filter_map(|Watched { lane, .. }| {
            let next = lane.reclock.close(open)?;
            Some((lane.partition(), next))
        });
        self.timeline.closed(open, &idle.collect::<Vec<_>>())?;
        Ok(self.timeline.sync_for_others()?)
    }

    /// Takes what a partition has to give, up to a few blocks. How many records that was.
    fn take_turn(&mut self, lane: usize, graph: &mut impl Graph, intake: &mut Intake<'_>) -> anyhow::Result<u64> {
        let watched = &mut self.lanes[lane];
        let mut read = 0;
        for _ in 0..BLOCKS_A_TURN {
            let now_ms = (self.clock)();
            let Some(taken) = watched.lane.take(intake, Duration::ZERO, Some(now_ms))? else { break };
            let Taken { batch, note, records, .. } = taken;
            read += records;
            watched.seen_ms = Some(now_ms);
            // Before the records can lead to any decision, which waits for the timeline's sync.
            note.map_or(Ok(()), |note| self.timeline.bound(watched.lane.partition(), note))?;
            if !batch.is_empty() {
                graph.feed(batch)?;
            }
        }
        let now_ms = (self.clock)();
        let idle_after_ms = self.timing.idle_after_ms;
        let idles_from_ms = match watched.seen_ms {
            None if watched.lane.reclock.idled_before() => self.reached_ms + idle_after_ms.min(IDLED_BEFORE_MS),
            seen_ms => seen_ms.unwrap_or(self.start_ms) + idle_after_ms,
        };
        if read == 0 && watched.lane.caught_up() && now_ms >= idles_from_ms {
            watched.lane.reclock.idle_until(now_ms);
        }
        intake.meter.watermark(watched.lane.partition(), watched.lane.reclock.open());
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::AtomicU64;

    use beckon_dataflows::model::Stream;

    use super::super::lanes::Decoders;
    use super::*;
    use crate::decode::Dictionary;
    use crate::reclock::Note;
    use crate::source::{Read, SourceError};

    const START_MS: u64 = 1_000_000;
    const TIMING: Timing = Timing { tick_ms: 1_000, allowed_lateness_ms: 1_000, idle_after_ms: 60_000 };

    /// The offset of the record that would come next.
    const NEXT: u64 = 5;

    /// A partition to which nothing comes.
    struct Silent;

    impl Partition for Silent {
        fn stream(&self) -> Stream {
            Stream::Orders
        }

        fn number(&self) -> u32 {
            0
        }

        fn first(&self) -> u64 {
            NEXT
        }

        fn read(&mut self, _wait: Duration) -> Result<Read, SourceError> {
            Ok(Read::Idle { caught_up: true })
        }
    }

    /// Hears which ticks are closed.
    #[derive(Default)]
    struct Closed(Tick);

    impl Graph for Closed {
        fn feed(&mut self, _batch: Batch) -> anyhow::Result<()> {
            Ok(())
        }

        fn advance(&mut self, tick: Tick) -> anyhow::Result<()> {
            self.0 = tick;
            Ok(())
        }
    }

    /// How long after the start the first tick is closed, if ever, ms: of a partition of which an earlier run has `noted` this, on a broker that
    /// was reached so long before.
    fn closes_after_ms(noted: Vec<Note>, reached_before_ms: u64) -> Option<u64> {
        let now_ms = Arc::new(AtomicU64::new(START_MS));
        let shown = now_ms.clone();
        let dir = tempfile::tempdir().unwrap();
        let (timeline, _) = Timeline::open(dir.path(), &HashMap::new()).unwrap();
        let (partitions, noted): (Vec<Box<dyn Partition>>, _) =
            (vec![Box::new(Silent)], [((Stream::Orders, 0), noted)].into());
        let clock: WallClock = Arc::new(move || shown.load(Ordering::Relaxed));
        let feeder = Feeder::new(partitions, noted, &Resume::default(), TIMING, clock, Arc::new(timeline));
        let mut feeder = feeder.reached_at(START_MS - reached_before_ms);
        let decoders = Decoders::in_line(&Arc::new(Dictionary::new()));
        let mut intake = Intake { decoders, meter: Arc::default(), bury: Box::new(|_| Ok(())) };
        let mut closed = Closed::default();
        (0..100_000).step_by(100).find(|after_ms| {
            now_ms.store(START_MS + after_ms, Ordering::Relaxed);
            feeder.turn(&mut closed, &mut intake).unwrap();
            closed.0 > 0
        })
    }

    #[test]
    fn a_partition_is_waited_for_unless_it_idled_before_and_the_broker_has_been_there() {
        let idled = |next| vec![Note::Closed { next, open: 900_000 }];
        assert_eq!(closes_after_ms(Vec::new(), 5_000), Some(TIMING.idle_after_ms));
        assert_eq!(closes_after_ms(idled(NEXT), 0), Some(IDLED_BEFORE_MS));
        assert_eq!(closes_after_ms(idled(NEXT), 800), Some(200));
        assert_eq!(closes_after_ms(idled(NEXT), 5_000), Some(0));
        assert_eq!(closes_after_ms(idled(NEXT - 1), 5_000), Some(TIMING.idle_after_ms), "something came after that");
        assert_eq!(
            closes_after_ms(idled(NEXT + 1), 5_000),
            None,
            "an earlier run has read more than there seems to be"
        );
    }
}
