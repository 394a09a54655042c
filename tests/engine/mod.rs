//! The engine on a world: the same files, configuration and end as the oracle's, through the library that `beckon replay` is
//! made of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use beckon::cluster::{Cluster, Peers, Share};
use beckon::config::{Config, Purpose, TriggerKinds};
use beckon::decide::Decided;
use beckon::decision::{Decision, DeliveryRecord, DeliveryState, Errand, Outcome};
use beckon::kpis::{self, Names, Reader};
use beckon::ledger::Ledger;
use beckon::meter::Meter;
use beckon::pipeline::record::Elsewhere;
use beckon::pipeline::replay::{self, Keep, Replay};
use beckon::pipeline::snapshots::{Restored, Schedule};
use beckon::pipeline::{Act, View, measure, wiring};
use beckon::reclock::Notes;
use beckon::snapshot::{Build, Identity, Store, Workers};
use beckon::source::{self, Block, Framing, Partition, Read, SourceError};
use beckon_dataflows::counts::Counts;
use beckon_dataflows::kpis::{Cell, Measure, Tally};
use beckon_dataflows::model::{Id, Stream, Tick};
use beckon_dataflows::plan::Plan;
use beckon_dataflows::snapshot::Pace as KeysAtATime;

use rust_decimal::Decimal;

use super::hosts;
use super::oracle::kpis::Table;
use super::oracle::state::OpenCart;
use super::oracle::{self, Member, Until, World, write_world};

/// What the engine made of a world.
pub struct Found {
    pub decisions: Vec<String>,
    pub trigger_set: BTreeMap<i64, BTreeSet<Member>>,
    pub counts: Arc<Counts>,
    pub meter: Arc<Meter>,
    /// Whether names were dropped meanwhile.
    pub dropped_names: bool,
    /// The open carts at the end.
    pub open_carts: BTreeSet<OpenCart>,
}

/// How a world is replayed.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub workers: usize,
    /// So many records are read at a time, and then the closed ticks are told; all when not set.
    pub piece: Option<usize>,
}

/// Replays the world with `workers` workers.
pub fn replay(world: &World, until: Until, workers: usize) -> Found {
    replay_at(world, until, Pace { workers, piece: None })
}

/// Replays the world at a pace.
pub fn replay_at(world: &World, until: Until, pace: Pace) -> Found {
    let directory = tempfile::tempdir().unwrap();
    write_world(world, directory.path()).unwrap();
    replay_directory(directory.path(), until, pace)
}

/// The same with triggers of a user's own.
pub fn replay_with(kinds: &TriggerKinds, world: &World, until: Until, workers: usize) -> Found {
    let directory = tempfile::tempdir().unwrap();
    write_world(world, directory.path()).unwrap();
    let partitions = source::files::open(directory.path()).unwrap();
    replay_from(kinds, directory.path(), partitions, until, Pace { workers, piece: None })
}

/// Replays `partitions`, which hold the world's records in some way, by the world's configuration.
pub fn replay_partitions(world: &World, partitions: Vec<Box<dyn Partition>>, until: Until, workers: usize) -> Found {
    let directory = tempfile::tempdir().unwrap();
    write_world(world, directory.path()).unwrap();
    replay_from(&TriggerKinds::default(), directory.path(), partitions, until, Pace { workers, piece: None })
}

/// Replays the streams in `directory` by the `beckon.toml` there.
pub fn replay_directory(directory: &Path, until: Until, pace: Pace) -> Found {
    let whole = source::files::open(directory).unwrap();
    let partitions = match pace.piece {
        None => whole,
        Some(records) => whole.into_iter().map(|whole| Pieces::of(whole, records, Duration::ZERO)).collect(),
    };
    replay_from(&TriggerKinds::default(), directory, partitions, until, pace)
}

fn replay_from(
    kinds: &TriggerKinds,
    directory: &Path,
    partitions: Vec<Box<dyn Partition>>,
    until: Until,
    pace: Pace,
) -> Found {
    let config = Config::load_with(&directory.join("beckon.toml"), Purpose::Replay, kinds);
    let config = config.unwrap_or_else(|faults| panic!("{faults}"));
    let (replay, listener) = (replay_of(&config, until, pace), Listener::of(&config));
    let (meter, heard) = (replay.meter.clone(), listener.heard.clone());
    let counts = replay.run(partitions, listener, Box::new(|_| Ok(())), |_| {}).unwrap();
    found(&heard, meter, counts)
}

/// Replays the world in a cluster of `processes`, which are threads here, each of `pace.workers` workers.
pub fn replay_among(world: &World, until: Until, processes: usize, pace: Pace) -> Found {
    let directory = tempfile::tempdir().unwrap();
    write_world(world, directory.path()).unwrap();
    let config = Config::load(&directory.path().join("beckon.toml"), Purpose::Replay).unwrap();
    let hosts = hosts::free(processes).unwrap();
    let run = |process: usize| {
        let cluster = Cluster::at(process, hosts.clone());
        let whole = cluster.share().of(source::files::open(directory.path()).unwrap());
        let partitions = match pace.piece {
            None => whole,
            Some(records) => {
                whole.into_iter().map(|whole| Pieces::of(whole, records, Duration::from_millis(3))).collect()
            }
        };
        let peers = cluster.connect(wiring::terms(&config, pace.workers), &[], Duration::from_secs(60)).unwrap();
        let (replay, bury) = (replay_of(&config, until, pace), Box::new(|_| Ok(())));
        if process > 0 {
            replay.run_among(peers, partitions, Elsewhere, bury, |_| {}).unwrap();
            return None;
        }
        let listener = Listener::of(&config);
        let (meter, heard) = (replay.meter.clone(), listener.heard.clone());
        let counts = replay.run_among(peers, partitions, listener, bury, |_| {}).unwrap();
        Some(found(&heard, meter, counts))
    };
    std::thread::scope(|scope| {
        let run = &run;
        let started: Vec<_> = (0..processes).map(|process| scope.spawn(move || run(process))).collect();
        started.into_iter().filter_map(|it| it.join().unwrap()).next().unwrap()
    })
}

/// What the engine made of a world, and what came of its decisions.
pub struct Measured {
    pub decisions: Vec<String>,
    /// The whole table at every tick at which it changed.
    pub tables: BTreeMap<i64, Table>,
}

/// What was added to the table, in the order heard.
type Added = Arc<Mutex<Vec<(Tick, Cell, Tally)>>>;

/// Replays the world and follows its decisions, of which the mails of these were accepted, epoch ms.
pub fn measure(world: &World, until: Until, pace: Pace, accepted: &[(i64, String)]) -> Measured {
    let directory = tempfile::tempdir().unwrap();
    write_world(world, directory.path()).unwrap();
    let partitions = source::files::open(directory.path()).unwrap();
    measure_partitions(world, partitions, until, pace, accepted)
}

/// The same of partitions, which hold the world's records in some way.
pub fn measure_partitions(
    world: &World,
    partitions: Vec<Box<dyn Partition>>,
    until: Until,
    pace: Pace,
    accepted: &[(i64, String)],
) -> Measured {
    let config = Config::parse(Path::new("beckon.toml"), &world.config_toml, Purpose::Replay).unwrap();
    let partitions = match pace.piece {
        None => partitions,
        Some(records) => partitions.into_iter().map(|whole| Pieces::of(whole, records, Duration::ZERO)).collect(),
    };
    let mut replay = replay_of(&config, until, pace);
    replay.plan = wiring::measured(replay.plan, &config);
    let (listener, added) = (Listener::of(&config), Added::default());
    let heard = listener.heard.clone();
    let measuring = setup_of(&config, accepted, &added).measure(&replay.plan, listener).unwrap();
    replay.run(partitions, measuring, Box::new(|_| Ok(())), |_| {}).unwrap();
    let decisions = std::mem::take(&mut heard.lock().unwrap().decisions);
    Measured { decisions, tables: tables(&config, &added.lock().unwrap()) }
}

/// The same, where what was accepted and decided is in a ledger, and `change` is made to the configuration after that: the ledger goes
/// before what the log would give now.
pub fn measure_by_ledger(
    world: &World,
    accepted: &[(i64, String)],
    change: impl Fn(&str) -> String,
) -> BTreeMap<i64, Table> {
    let directory = tempfile::tempdir().unwrap();
    write_world(world, directory.path()).unwrap();
    let config = Config::parse(Path::new("beckon.toml"), &world.config_toml, Purpose::Replay).unwrap();
    let ledger = Arc::new(Ledger::open(directory.path()).unwrap());
    let decided: Vec<Decision> =
        replay(world, Until::Drain, 1).decisions.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let errand = Errand { customer: Id(1), subject: Id(2), currency: None, priority: 0, esp: None };
    let entry = |decision: Decision| {
        let errand = (decision.outcome == Outcome::Send).then(|| errand.clone());
        (decision, errand)
    };
    ledger.record(&decided.into_iter().map(entry).collect::<Vec<_>>()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (at, id) in accepted {
        let state = |state| DeliveryRecord { state, ..DeliveryRecord::pending(at.unsigned_abs()) };
        let id = id.parse().unwrap();
        if ledger.delivery(id).unwrap().is_some() {
            runtime.block_on(ledger.advance(id, state(DeliveryState::InFlight))).unwrap();
            runtime.block_on(ledger.advance(id, state(DeliveryState::Accepted))).unwrap();
        }
    }
    let changed = Config::parse(Path::new("beckon.toml"), &change(&world.config_toml), Purpose::Replay).unwrap();
    let mut replay = replay_of(&changed, Until::Drain, Pace { workers: 1, piece: None });
    replay.plan = wiring::measured(replay.plan, &changed);
    let added = Added::default();
    let heard = added.clone();
    let listen = move |tick, cell, tally: &Tally| heard.lock().unwrap().push((tick, cell, tally.clone()));
    let setup = measure::Setup::of_ledger(&Reader::of(&config), &ledger, Tick::MAX).unwrap();
    let setup = measure::Setup { listen: Some(Box::new(listen)), ..setup };
    let measuring = setup.measure(&replay.plan, Elsewhere).unwrap();
    let partitions = source::files::open(directory.path()).unwrap();
    replay.run(partitions, measuring, Box::new(|_| Ok(())), |_| {}).unwrap();
    tables(&config, &added.lock().unwrap())
}

/// What came of a replay that was broken off, and gone on with from a snapshot.
pub struct MeasuredAgain {
    /// The tick of the snapshot; none when there was none yet.
    pub from: Option<Tick>,
    /// What was added up to that tick by the first, and after it by the second, added up.
    pub tables: BTreeMap<i64, Table>,
    /// The table as the second had it in the end, but for the tick that it is of.
    pub last: Table,
}

/// Replays the world and follows its decisions, but is broken off and gone on with.
pub fn measure_broken(world: &World, until: Until, broken: Broken, accepted: &[(i64, String)]) -> MeasuredAgain {
    let twice = Twice::of(world, until, broken);
    let Twice { directory, config, schedule, .. } = &twice;
    let [first, second] = broken.paces;
    let store = |workers| twice.store("snapshots", Workers::all(workers));
    let run = |(workers, records), cut: Cut, restored: Option<Restored>| {
        let resume = Restored::resume(restored.as_ref(), Some(schedule.every_ms));
        let whole = source::files::open(directory.path()).unwrap().into_iter();
        let from = |stream| resume.offset(stream, 0).unwrap_or(0);
        let partitions = whole.map(|whole| Pieces::from_on(from(whole.stream()), whole, records, cut.clone()));
        let mut replay = replay_of(config, until, Pace { workers, piece: Some(records) });
        replay.plan = wiring::measured(replay.plan, config);
        let added = Added::default();
        let earlier = restored.as_ref().map(Restored::kpis);
        let setup = measure::Setup { earlier, ..setup_of(config, accepted, &added) };
        let table = setup.table.clone();
        let measuring = setup.measure(&replay.plan, Elsewhere).unwrap();
        let (keep, bury) =
            (Keep { store: store(workers), schedule: *schedule, restored, peers: None }, Box::new(|_| Ok(())));
        replay.run_keeping(keep, &cut.stop, partitions.collect(), measuring, bury, |_| {}).unwrap();
        let added = std::mem::take(&mut *added.lock().unwrap());
        let table = table.read().unwrap().clone();
        (added, table)
    };
    let (mut added, _) = run(first, Cut::after(broken.after), None);
    let restored = Restored::newest(&store(second.0));
    let from = restored.as_ref().map(|restored| restored.tick);
    let (after, table) = run(second, Cut::after(usize::MAX), restored);
    added.retain(|(tick, ..)| from.is_some_and(|from| *tick <= from));
    added.extend(after);
    let last = table.rows().iter().map(|row| as_the_oracle(config, row)).collect();
    MeasuredAgain { from, tables: tables(config, &added), last }
}

fn setup_of(config: &Config, accepted: &[(i64, String)], added: &Added) -> measure::Setup {
    let accepted = accepted.iter().map(|(at, id)| (id.parse().unwrap(), at.unsigned_abs()));
    let added = added.clone();
    let listen = move |tick, cell, tally: &Tally| added.lock().unwrap().push((tick, cell, tally.clone()));
    let (accepted, listen) = (accepted.collect(), Some(Box::new(listen) as measure::Listen));
    measure::Setup { accepted, listen, ..measure::Setup::new(Arc::new(Names::of(config))) }
}

/// What was added, added up, as the oracle writes it.
fn tables(config: &Config, added: &[(Tick, Cell, Tally)]) -> BTreeMap<i64, Table> {
    let mut tables = BTreeMap::new();
    let mut table = kpis::Table::default();
    for of_tick in added.chunk_by(|one, next| one.0 == next.0) {
        of_tick.iter().for_each(|(_, cell, tally)| table.add(*cell, tally));
        tables.insert(of_tick[0].0 as i64, table.rows().iter().map(|row| as_the_oracle(config, row)).collect());
    }
    tables
}

fn as_the_oracle(config: &Config, (cell, tally): (&Cell, &Tally)) -> (oracle::kpis::Cell, oracle::kpis::Tally) {
    let campaign = &config.campaigns[usize::from(cell.campaign)];
    let variant = |place: u16| campaign.variants.get(usize::from(place)).map(|variant| variant.name.clone());
    let arm = cell.arm.checked_sub(1).map_or(("holdout", None), |place| ("send", variant(place)));
    let mut is = oracle::kpis::Tally {
        revenue: Decimal::from_i128_with_scale(tally.revenue, 4),
        revenue_squares: Decimal::from_i128_with_scale(tally.revenue_squares, 8),
        ..Default::default()
    };
    Measure::ALL.into_iter().for_each(|measure| is.add(measure.name(), tally.count(measure)));
    ((campaign.name.clone(), arm, cell.day.map(i64::from)), is)
}

/// [`measure`] in a cluster of `processes`, which are threads here, each of `pace.workers` workers.
pub fn measure_among(world: &World, processes: usize, pace: Pace, accepted: &[(i64, String)]) -> BTreeMap<i64, Table> {
    let directory = tempfile::tempdir().unwrap();
    write_world(world, directory.path()).unwrap();
    let config = Config::load(&directory.path().join("beckon.toml"), Purpose::Replay).unwrap();
    let hosts = hosts::free(processes).unwrap();
    let run = |process: usize| {
        let cluster = Cluster::at(process, hosts.clone());
        let partitions = cluster.share().of(source::files::open(directory.path()).unwrap());
        let peers = cluster.connect(wiring::terms(&config, pace.workers), &[], Duration::from_secs(60)).unwrap();
        let (mut replay, bury) = (replay_of(&config, Until::Drain, pace), Box::new(|_| Ok(())));
        replay.plan = wiring::measured(replay.plan, &config);
        if process > 0 {
            replay.run_among(peers, partitions, Elsewhere, bury, |_| {}).unwrap();
            return None;
        }
        let added = Added::default();
        let measuring = setup_of(&config, accepted, &added).measure(&replay.plan, Elsewhere).unwrap();
        replay.run_among(peers, partitions, measuring, bury, |_| {}).unwrap();
        Some(tables(&config, &added.lock().unwrap()))
    };
    std::thread::scope(|scope| {
        let run = &run;
        let started: Vec<_> = (0..processes).map(|process| scope.spawn(move || run(process))).collect();
        started.into_iter().filter_map(|it| it.join().unwrap()).next().unwrap()
    })
}

fn replay_of(config: &Config, until: Until, pace: Pace) -> Replay {
    Replay {
        workers: pace.workers,
        decoders: 1,
        plan: Plan { carts: true, ..wiring::plan(config) },
        decider: wiring::decider(config),
        allowed_lateness_ms: config.allowed_lateness_ms,
        until: match until {
            Until::LastEvent => replay::Until::LastEvent,
            Until::Drain => replay::Until::Drain,
            Until::Time(time_ms) => replay::Until::Time(time_ms.unsigned_abs()),
        },
        noted: Notes::new(),
        advance_after: pace.piece.unwrap_or(replay::RECORDS_AN_ADVANCE),
        meter: Arc::default(),
    }
}

fn found(heard: &Mutex<Heard>, meter: Arc<Meter>, counts: Arc<Counts>) -> Found {
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    let Heard { decisions, trigger_set, dropped_names, open_carts, .. } = heard;
    Found { decisions, trigger_set, counts, meter, dropped_names, open_carts }
}

/// A replay that is broken off, and gone on with from the newest snapshot.
#[derive(Clone, Copy)]
pub struct Broken {
    /// How it is read before and after: with so many workers, so many records at a time.
    pub paces: [(usize, usize); 2],
    /// After so many pieces.
    pub after: usize,
    /// Of which ticks snapshots are taken: the multiples of this, ms.
    pub every_ms: u64,
    /// How many keys are written at a time.
    pub keys: usize,
}

/// What came of such a replay.
pub struct Resumed {
    /// The tick of the snapshot; none when there was none yet, so that the second replay began at the beginning.
    pub from: Option<Tick>,
    /// How many records the second one read.
    pub records_read: u64,
    /// What was decided up to that tick by the first, and after it by the second.
    pub decisions: Vec<String>,
    /// The trigger set likewise.
    pub trigger_set: BTreeMap<i64, BTreeSet<Member>>,
    /// The open carts at the end of the second.
    pub open_carts: BTreeSet<OpenCart>,
}

/// Replays the world, but is broken off and gone on with.
pub fn replay_broken(world: &World, until: Until, broken: Broken) -> Resumed {
    let twice = Twice::of(world, until, broken);
    let [(first, records), (second, later_records)] = broken.paces;
    let store = |workers| twice.store("snapshots", Workers::all(workers));
    let (before, _) = twice.run(None, store(first), records, Cut::after(broken.after), None);
    let restored = Restored::newest(&store(second));
    let from = restored.as_ref().map(|restored| restored.tick);
    let (after, records_read) = twice.run(None, store(second), later_records, Cut::after(usize::MAX), restored);
    resumed(from, records_read, before, after)
}

/// The same in a cluster of `processes`, which are threads here and are all broken off. Its workers are as many before and after.
pub fn replay_broken_among(world: &World, until: Until, broken: Broken, processes: usize) -> Resumed {
    let twice = Twice::of(world, until, broken);
    let [(own, records), (_, later_records)] = broken.paces;
    let go = |records: usize, cut: &Cut| {
        let hosts = hosts::free(processes).unwrap();
        let run = |process: usize| {
            let cluster = Cluster::at(process, hosts.clone());
            let workers = Workers { total: processes * own, first: process * own, own };
            let store = twice.store(&format!("snapshots-{process}"), workers);
            let usable = Restored::all(&store);
            let offers: Vec<Tick> = usable.iter().map(|restored| restored.tick).collect();
            let terms = wiring::terms(&twice.config, own);
            let peers = cluster.connect(terms, &offers, Duration::from_secs(60)).unwrap();
            let restored = usable.into_iter().find(|restored| Some(restored.tick) == peers.common());
            let from = restored.as_ref().map(|restored| restored.tick);
            from.into_iter().for_each(|tick| store.use_from(tick));
            (from, twice.run(Some(peers), store, records, cut.clone(), restored))
        };
        std::thread::scope(|scope| {
            let run = &run;
            let started: Vec<_> = (0..processes).map(|process| scope.spawn(move || run(process))).collect();
            let ended: Vec<_> = started.into_iter().map(|it| it.join().unwrap()).collect();
            let records_read = ended.iter().map(|(_, (_, read))| read).sum();
            let (from, (heard, _)) = ended.into_iter().next().unwrap();
            (from, heard, records_read)
        })
    };
    let (_, before, _) = go(records, &Cut::after(broken.after));
    let (from, after, records_read) = go(later_records, &Cut::after(usize::MAX));
    resumed(from, records_read, before, after)
}

/// A world that is replayed twice.
struct Twice {
    directory: tempfile::TempDir,
    config: Config,
    until: Until,
    schedule: Schedule,
}

impl Twice {
    fn of(world: &World, until: Until, broken: Broken) -> Twice {
        let directory = tempfile::tempdir().unwrap();
        write_world(world, directory.path()).unwrap();
        let config = Config::load(&directory.path().join("beckon.toml"), Purpose::Replay).unwrap();
        let schedule = Schedule {
            every_ms: broken.every_ms.next_multiple_of(config.tick_ms),
            apart: Duration::ZERO,
            pace: KeysAtATime(broken.keys),
        };
        Twice { directory, config, until, schedule }
    }

    fn store(&self, folder: &str, workers: Workers) -> Store {
        let (build, configuration) = (Build::running().unwrap(), self.config.state_fingerprint);
        Store::open(&self.directory.path().join(folder), Identity { build, configuration, workers }).unwrap()
    }

    /// What is heard, and how many records are read.
    fn run(
        &self,
        peers: Option<Peers>,
        store: Store,
        records: usize,
        cut: Cut,
        restored: Option<Restored>,
    ) -> (Heard, u64) {
        let resume = Restored::resume(restored.as_ref(), Some(self.schedule.every_ms));
        let share = peers.as_ref().map_or(Share::ALL, |peers| peers.cluster().share());
        let whole = share.of(source::files::open(self.directory.path()).unwrap()).into_iter();
        let from = |stream| resume.offset(stream, 0).unwrap_or(0);
        let partitions = whole.map(|whole| Pieces::from_on(from(whole.stream()), whole, records, cut.clone()));
        let workers = store.identity().workers.own;
        let replay = replay_of(&self.config, self.until, Pace { workers, piece: Some(records) });
        let listener = Listener { resumed: restored.is_some(), ..Listener::of(&self.config) };
        let (meter, heard) = (replay.meter.clone(), listener.heard.clone());
        let act: Box<dyn Act> = if share.process == 0 { Box::new(listener) } else { Box::new(Elsewhere) };
        let (keep, bury) = (Keep { store, schedule: self.schedule, restored, peers }, Box::new(|_| Ok(())));
        replay.run_keeping(keep, &cut.stop, partitions.collect(), act, bury, |_| {}).unwrap();
        let heard = std::mem::take(&mut *heard.lock().unwrap());
        (heard, meter.records())
    }
}

/// What was decided up to the tick of the snapshot by the first, and after it by the second.
fn resumed(from: Option<Tick>, records_read: u64, before: Heard, after: Heard) -> Resumed {
    let known = from.map_or(i64::MIN, |tick| tick as i64);
    let mut trigger_set: BTreeMap<i64, BTreeSet<Member>> =
        before.trigger_set.into_iter().filter(|(tick, _)| *tick <= known).collect();
    for (tick, set) in after.trigger_set {
        let last = trigger_set.values().next_back();
        if last.map_or(!set.is_empty(), |last| *last != set) {
            trigger_set.insert(tick, set);
        }
    }
    let is_known = |line: &String| {
        let decision: serde_json::Value = serde_json::from_str(line).unwrap();
        let as_of: jiff::Timestamp = decision["as_of"].as_str().unwrap().parse().unwrap();
        as_of.as_millisecond() <= known
    };
    let decisions = before.decisions.into_iter().filter(is_known).chain(after.decisions).collect();
    Resumed { from, records_read, decisions, trigger_set, open_carts: after.open_carts }
}

/// Breaks a replay off after so many pieces.
#[derive(Clone)]
struct Cut {
    pieces: Arc<AtomicUsize>,
    after: usize,
    stop: Arc<AtomicBool>,
}

impl Cut {
    fn after(after: usize) -> Cut {
        Cut { pieces: Arc::default(), after, stop: Arc::default() }
    }

    fn count(&self) {
        if self.pieces.fetch_add(1, Ordering::Relaxed) + 1 >= self.after {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// A partition that is read in pieces.
struct Pieces {
    whole: Box<dyn Partition>,
    records: usize,
    /// Before each, so that what was read before can have its effect.
    pause: Duration,
    waiting: VecDeque<Block>,
    /// The first offset that is handed out.
    from: u64,
    cut: Option<Cut>,
}

impl Pieces {
    fn of(whole: Box<dyn Partition>, records: usize, pause: Duration) -> Box<dyn Partition> {
        Box::new(Pieces { whole, records, pause, waiting: VecDeque::new(), from: 0, cut: None })
    }

    fn from_on(from: u64, whole: Box<dyn Partition>, records: usize, cut: Cut) -> Box<dyn Partition> {
        let (pause, waiting) = (Duration::ZERO, VecDeque::new());
        Box::new(Pieces { whole, records, pause, waiting, from, cut: Some(cut) })
    }

    fn cut(&mut self, block: &Block) {
        let records: Vec<(u64, &[u8])> = block.records().filter(|(offset, _)| *offset >= self.from).collect();
        for piece in records.chunks(self.records) {
            let bytes = piece.iter().flat_map(|(_, record)| record.iter().copied()).collect();
            let ends = piece.iter().scan(0, |end, (offset, record)| {
                *end += record.len();
                Some((*offset, *end))
            });
            let framing = Framing::Messages(ends.collect());
            let Block { stream, partition, share_read, .. } = *block;
            self.waiting.push_back(Block { stream, partition, bytes, framing, share_read });
        }
    }
}

impl Partition for Pieces {
    fn stream(&self) -> Stream {
        self.whole.stream()
    }

    fn number(&self) -> u32 {
        self.whole.number()
    }

    fn first(&self) -> u64 {
        self.whole.first()
    }

    fn read(&mut self, wait: Duration) -> Result<Read, SourceError> {
        loop {
            if let Some(piece) = self.waiting.pop_front() {
                self.cut.iter().for_each(Cut::count);
                std::thread::sleep(self.pause);
                return Ok(Read::Block(piece));
            }
            match self.whole.read(wait)? {
                Read::Block(block) => self.cut(&block),
                other => return Ok(other),
            }
        }
    }
}

#[derive(Default)]
struct Heard {
    decisions: Vec<String>,
    trigger_set: BTreeMap<i64, BTreeSet<Member>>,
    names: usize,
    dropped_names: bool,
    open_carts: BTreeSet<OpenCart>,
}

struct Listener {
    campaigns: Vec<String>,
    resumed: bool,
    heard: Arc<Mutex<Heard>>,
}

impl Listener {
    fn of(config: &Config) -> Listener {
        let campaigns = config.campaigns.iter().map(|campaign| campaign.name.clone()).collect();
        Listener { campaigns, resumed: false, heard: Arc::default() }
    }
}

/// The open carts of a view, as the oracle says them.
fn open_carts(view: &View<'_>) -> BTreeSet<OpenCart> {
    let text = |id| view.dictionary.text(id).unwrap();
    let told = |(owner, cart): (Id, &beckon_dataflows::model::OpenCart)| {
        let mut lines: Vec<_> = cart.lines.iter().map(|line| (text(line.sku), i64::from(line.quantity))).collect();
        lines.sort();
        (text(owner), text(cart.id), lines)
    };
    view.state.all_carts().map(told).collect()
}

impl Act for Listener {
    fn closed(&mut self, upper: Option<Tick>, view: &View<'_>) -> anyhow::Result<()> {
        if upper.is_none() {
            self.heard.lock().unwrap().open_carts = open_carts(view);
        }
        Ok(())
    }

    fn decided(&mut self, tick: Tick, decided: Vec<Decided>, view: &View<'_>) -> anyhow::Result<()> {
        let mut heard = self.heard.lock().unwrap();
        for (decision, _) in decided {
            heard.decisions.push(serde_json::to_string(&decision)?);
        }
        let text = |id| view.dictionary.text(id).unwrap().to_string();
        let member = |episode: &beckon_dataflows::model::Episode| {
            let campaign = self.campaigns[episode.campaign as usize].clone();
            (campaign, text(episode.customer), text(episode.subject), episode.anchor as i64)
        };
        let set: BTreeSet<Member> = view.state.trigger_set().iter().map(member).collect();
        let before = heard.trigger_set.values().next_back();
        // A set that is gone on with may be empty for the first time.
        let is_first = !set.is_empty() || self.resumed;
        if before.map_or(is_first, |before| *before != set) {
            heard.trigger_set.insert(tick as i64, set);
        }
        let names = view.dictionary.len();
        heard.dropped_names |= names < heard.names;
        heard.names = names;
        Ok(())
    }
}
