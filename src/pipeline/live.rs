//! Live: decisions as records come in (SPEC §2, §7). Ticks close as the watermarks pass them, and where nothing comes, as the
//! wall clock does, so that deadlines fire with no traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use beckon_dataflows::model::Tick;

use super::Engine;
use super::lanes::{Intake, Lane, Resume, Taken};
use super::snapshots::Snapshots;
use crate::reclock::{Notes, PartitionClock, Timeline};
use crate::source::Partition;

/// How long the feeder sleeps when nothing comes and nobody wakes it: the grain of idleness.
const NAP: Duration = Duration::from_millis(20);

/// How many blocks of one partition are taken before the others have their turn.
const BLOCKS_A_TURN: usize = 8;

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

/// Feeds the engine from partitions that never end.
pub struct Live<'e> {
    /// Where the records go.
    pub engine: &'e mut Engine,
    /// How records are timed.
    pub timing: Timing,
    /// What time it is.
    pub clock: WallClock,
    /// Who writes snapshots, if anybody.
    pub snapshots: Option<Snapshots>,
    /// Where it is noted what the wall clock said of records.
    pub timeline: &'e Timeline,
    /// Set to end it.
    pub stop: Arc<AtomicBool>,
}

/// A lane with when it last gave something.
struct Watched {
    lane: Lane,
    seen_ms: u64,
}

impl Live<'_> {
    /// Feeds until told to stop, and returns the least tick still open. Of records that an earlier run has read the timeline
    /// has `noted` how they are bound, and `resume` says which of them are known already. Fails when a source does, the intake, or the timeline.
    pub fn run(
        mut self,
        partitions: Vec<Box<dyn Partition>>,
        noted: Notes,
        resume: &Resume,
        mut intake: Intake<'_>,
    ) -> anyhow::Result<Tick> {
        let clock = PartitionClock::new(self.timing.tick_ms, self.timing.allowed_lateness_ms);
        let start_ms = (self.clock)();
        let lanes = Lane::open(partitions, &clock, noted, resume).into_iter();
        let mut lanes: Vec<Watched> = lanes.map(|lane| Watched { lane, seen_ms: start_ms }).collect();
        let mut open: Tick = resume.tick().map_or(0, |tick| clock.tick_after(tick));
        // Once nobody decides any more there is nothing to read for; the engine says why when it is finished.
        while !self.stop.load(Ordering::Relaxed) && self.engine.is_deciding() {
            let mut read = false;
            for watched in &mut lanes {
                read |= self.take_turn(watched, &mut intake)?;
            }
            let now_open = lanes.iter().map(|watched| watched.lane.reclock.open()).min().unwrap_or(NOTHING_TO_READ);
            if now_open > open {
                self.begin_snapshot(&mut lanes, open, now_open);
                open = now_open;
                self.note_closed(&mut lanes, open)?;
                self.engine.workers.advance(open);
            }
            if !read {
                std::thread::park_timeout(NAP);
            }
        }
        // One that is nearly written saves the next start more than it costs this stop.
        self.snapshots.iter().for_each(|snapshots| snapshots.wait(SNAPSHOT_WAIT));
        Ok(open)
    }

    /// Begins a snapshot where one is due when the ticks from `closed` to before `open` are closed.
    fn begin_snapshot(&mut self, lanes: &mut [Watched], closed: Tick, open: Tick) {
        let lanes = lanes.iter_mut().map(|watched| &mut watched.lane);
        if let Some(snapshots) = &mut self.snapshots
            && let Some(tick) = snapshots.begin(closed, open, lanes)
        {
            self.engine.workers.snapshot(tick);
        }
    }

    /// Notes of which partitions no record says that the ticks before `open` are closed. A process that dies now has decided
    /// them, and the next one must not bind to them what this one has not read.
    fn note_closed(&self, lanes: &mut [Watched], open: Tick) -> anyhow::Result<()> {
        let idle = lanes.iter_mut().filter_map(|Watched { lane, .. }| {
            let next = lane.reclock.close(open)?;
            Some((lane.partition(), next))
        });
        self.timeline.closed(open, &idle.collect::<Vec<_>>())?;
        Ok(self.timeline.sync_for_others()?)
    }

    /// Takes what a partition has to give, up to a few blocks. Whether that was anything.
    fn take_turn(&mut self, watched: &mut Watched, intake: &mut Intake<'_>) -> anyhow::Result<bool> {
        let mut read = false;
        for _ in 0..BLOCKS_A_TURN {
            let now_ms = (self.clock)();
            let Some(taken) = watched.lane.take(intake, Duration::ZERO, Some(now_ms))? else { break };
            let Taken { batch, note, .. } = taken;
            (read, watched.seen_ms) = (true, now_ms);
            // Before the records can lead to any decision, which waits for the timeline's sync.
            note.map_or(Ok(()), |note| self.timeline.bound(watched.lane.partition(), note))?;
            if !batch.is_empty() {
                self.engine.workers.feed(batch);
            }
        }
        let now_ms = (self.clock)();
        if !read && watched.lane.caught_up() && now_ms >= watched.seen_ms + self.timing.idle_after_ms {
            watched.lane.reclock.idle_until(now_ms);
        }
        Ok(read)
    }
}
