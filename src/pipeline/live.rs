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
