//! The engine on a world: the same files, configuration and end as the oracle's, through the library that `beckon replay` is
//! made of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use beckon::cluster::Cluster;
use beckon::config::{Config, Purpose, TriggerKinds};
use beckon::decide::Decided;
use beckon::meter::Meter;
use beckon::pipeline::record::Elsewhere;
use beckon::pipeline::replay::{self, Replay};
use beckon::pipeline::{Act, View, wiring};
use beckon::reclock::Notes;
use beckon::source::{self, Block, Framing, Partition, Read, SourceError};
use beckon_dataflows::counts::Counts;
use beckon_dataflows::model::{Stream, Tick};

use super::oracle::{Member, Until, World, write_world};

/// What the engine made of a world.
pub struct Found {
    pub decisions: Vec<String>,
    pub trigger_set: BTreeMap<i64, BTreeSet<Member>>,
    pub counts: Arc<Counts>,
    pub meter: Arc<Meter>,
    /// Whether names were dropped meanwhile.
    pub dropped_names: bool,
}

/// How a world is replayed.
#[derive(Clone, Copy)]
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
    let held: Vec<TcpListener> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<String> = held.iter().map(|it| it.local_addr().unwrap().to_string()).collect();
    drop(held);
    let run = |process: usize| {
        let cluster = Cluster::at(process, hosts.clone());
        let whole = cluster.share().of(source::files::open(directory.path()).unwrap());
        let partitions = match pace.piece {
            None => whole,
            Some(records) => {
                whole.into_iter().map(|whole| Pieces::of(whole, records, Duration::from_millis(3))).collect()
            }
        };
        let peers = cluster.connect(wiring::terms(&config, pace.workers), Duration::from_secs(60)).unwrap();
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

fn replay_of(config: &Config, until: Until, pace: Pace) -> Replay {
    Replay {
        workers: pace.workers,
        decoders: 1,
        plan: wiring::plan(config),
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
    let Heard { decisions, trigger_set, dropped_names, .. } = heard;
    Found { decisions, trigger_set, counts, meter, dropped_names }
}

/// A partition that is read in pieces.
struct Pieces {
    whole: Box<dyn Partition>,
    records: usize,
    /// Before each, so that what was read before can have its effect.
    pause: Duration,
    waiting: VecDeque<Block>,
}

impl Pieces {
    fn of(whole: Box<dyn Partition>, records: usize, pause: Duration) -> Box<dyn Partition> {
        Box::new(Pieces { whole, records, pause, waiting: VecDeque::new() })
    }

    fn cut(&mut self, block: &Block) {
        let records: Vec<(u64, &[u8])> = block.records().collect();
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
}

struct Listener {
    campaigns: Vec<String>,
    heard: Arc<Mutex<Heard>>,
}

impl Listener {
    fn of(config: &Config) -> Listener {
        let campaigns = config.campaigns.iter().map(|campaign| campaign.name.clone()).collect();
        Listener { campaigns, heard: Arc::default() }
    }
}

impl Act for Listener {
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
        if before.map_or(!set.is_empty(), |before| *before != set) {
            heard.trigger_set.insert(tick as i64, set);
        }
        let names = view.dictionary.len();
        heard.dropped_names |= names < heard.names;
        heard.names = names;
        Ok(())
    }
}
