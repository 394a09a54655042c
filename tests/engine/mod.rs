//! The engine on a world: the same files, configuration and end as the oracle's, through the library that `beckon replay` is
//! made of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use beckon::config::{Config, Purpose, TriggerKinds};
use beckon::decide::Decided;
use beckon::meter::Meter;
use beckon::pipeline::replay::{self, Replay};
use beckon::pipeline::{Act, View, wiring};
use beckon::reclock::Notes;
use beckon::source::{self, Partition};
use beckon_dataflows::counts::Counts;
use beckon_dataflows::model::Tick;

use super::oracle::{Member, Until, World, write_world};

/// What the engine made of a world.
pub struct Found {
    pub decisions: Vec<String>,
    pub trigger_set: BTreeMap<i64, BTreeSet<Member>>,
    pub counts: Arc<Counts>,
    pub meter: Arc<Meter>,
}

/// Replays the world with `workers` workers.
pub fn replay(world: &World, until: Until, workers: usize) -> Found {
    let directory = tempfile::tempdir().unwrap();
    write_world(world, directory.path()).unwrap();
    replay_directory(directory.path(), until, workers)
}

/// The same with triggers of a user's own.
pub fn replay_with(kinds: &TriggerKinds, world: &World, until: Until, workers: usize) -> Found {
    let directory = tempfile::tempdir().unwrap();
    write_world(world, directory.path()).unwrap();
    replay_kinds(kinds, directory.path(), until, workers)
}

/// Replays `partitions`, which hold the world's records in some way, by the world's configuration.
pub fn replay_partitions(world: &World, partitions: Vec<Box<dyn Partition>>, until: Until, workers: usize) -> Found {
    let directory = tempfile::tempdir().unwrap();
    write_world(world, directory.path()).unwrap();
    replay_from(&TriggerKinds::default(), directory.path(), partitions, until, workers)
}

/// Replays the streams in `directory` by the `beckon.toml` there.
pub fn replay_directory(directory: &Path, until: Until, workers: usize) -> Found {
    replay_kinds(&TriggerKinds::default(), directory, until, workers)
}

fn replay_kinds(kinds: &TriggerKinds, directory: &Path, until: Until, workers: usize) -> Found {
    replay_from(kinds, directory, source::files::open(directory).unwrap(), until, workers)
}

fn replay_from(
    kinds: &TriggerKinds,
    directory: &Path,
    partitions: Vec<Box<dyn Partition>>,
    until: Until,
    workers: usize,
) -> Found {
    let config = Config::load_with(&directory.join("beckon.toml"), Purpose::Replay, kinds);
    let config = config.unwrap_or_else(|faults| panic!("{faults}"));
    let meter = Arc::new(Meter::default());
    let heard = Arc::new(Mutex::new(Heard::default()));
    let replay = Replay {
        workers,
        decoders: 1,
        plan: wiring::plan(&config),
        decider: wiring::decider(&config),
        allowed_lateness_ms: config.allowed_lateness_ms,
        until: match until {
            Until::LastEvent => replay::Until::LastEvent,
            Until::Drain => replay::Until::Drain,
            Until::Time(time_ms) => replay::Until::Time(time_ms.unsigned_abs()),
        },
        noted: Notes::new(),
        meter: meter.clone(),
    };
    let campaigns = config.campaigns.iter().map(|campaign| campaign.name.clone()).collect();
    let listener = Listener { campaigns, heard: heard.clone() };
    let counts = replay.run(partitions, listener, Box::new(|_| Ok(())), |_| {}).unwrap();
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    Found { decisions: heard.decisions, trigger_set: heard.trigger_set, counts, meter }
}

#[derive(Default)]
struct Heard {
    decisions: Vec<String>,
    trigger_set: BTreeMap<i64, BTreeSet<Member>>,
}

struct Listener {
    campaigns: Vec<String>,
    heard: Arc<Mutex<Heard>>,
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
        Ok(())
    }
}
