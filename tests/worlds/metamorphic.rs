//! What must make no difference, and does not: how the records are cut into blocks, the order in which they arrive within the
//! allowed lateness, records that are superseded as they come, and what strangers do. Each holds a world beside
//! the same world changed, on the engine alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use beckon::source::{Block, Framing, Partition, Read, SourceError};
use beckon_dataflows::model::Stream;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::engine::Pace;
use super::oracle::world::{ERASING_FORGETFUL, EVERYTHING, FORGETFUL, random_world_of};
use super::oracle::{self, Until, World};
use super::{engine, worlds_to_try};

/// Enough that each change is made in most of them.
const WORLDS: u64 = 60;

/// Those that are computed in several processes: each takes a while to connect them.
const PROCESS_WORLDS: u64 = 40;

/// A world, the generator that changes it, and what the engine makes of it as it is.
fn each_world(mut check: impl FnMut(&World, &mut ChaCha8Rng, &[String])) {
    for seed in worlds_to_try(WORLDS) {
        let world = random_world_of(seed, EVERYTHING);
        let decided = engine::replay(&world, Until::Drain, 1).decisions;
        check(&world, &mut ChaCha8Rng::seed_from_u64(seed), &decided);
    }
}

/// A partition that gives the records of a file in another order, each with the position it had, in blocks of any size.
struct Shuffled {
    stream: Stream,
    /// Offsets and records, the last first.
    left: Vec<(u64, String)>,
    rng: ChaCha8Rng,
}

impl Partition for Shuffled {
    fn stream(&self) -> Stream {
        self.stream
    }

    fn number(&self) -> u32 {
        0
    }

    fn first(&self) -> u64 {
        1
    }

    fn read(&mut self, _wait: Duration) -> Result<Read, SourceError> {
        let (mut bytes, mut messages) = (Vec::new(), Vec::new());
        for _ in 0..self.rng.random_range(1..40) {
            let Some((offset, record)) = self.left.pop() else { break };
            bytes.extend_from_slice(record.as_bytes());
            messages.push((offset, bytes.len()));
        }
        if messages.is_empty() {
            return Ok(Read::End);
        }
        let framing = Framing::Messages(messages);
        Ok(Read::Block(Block { stream: self.stream, partition: 0, bytes, framing, share_read: None }))
    }
}

/// The world's partitions, each in the order of lines that `order` makes for it.
fn shuffled(
    world: &World,
    rng: &mut ChaCha8Rng,
    mut order: impl FnMut(&'static str, &mut ChaCha8Rng) -> Vec<usize>,
) -> Vec<Box<dyn Partition>> {
    let partition = |(name, lines): (&&'static str, &Vec<String>)| {
        let lines_of = order(name, rng).into_iter().rev().map(|line| (line as u64 + 1, lines[line].clone()));
        let left = lines_of.filter(|(_, line)| !line.trim().is_empty()).collect();
        let stream = name.parse().expect("a stream's name");
        Box::new(Shuffled { stream, left, rng: ChaCha8Rng::seed_from_u64(rng.random()) }) as Box<dyn Partition>
    };
    world.streams.iter().map(partition).collect()
}

#[test]
fn blocks_make_no_difference() {
    each_world(|world, rng, decided| {
        let partitions = shuffled(world, rng, |stream, _| (0..world.streams[stream].len()).collect());
        let found = engine::replay_partitions(world, partitions, Until::Drain, 2);
        same(world, &found.decisions, decided);
    });
}

/// The partitions and the computation are spread over processes, which learn names from each other as they read.
#[test]
fn processes_make_no_difference() {
    for seed in worlds_to_try(PROCESS_WORLDS) {
        let turn = seed as usize;
        let world = random_world_of(seed, [EVERYTHING, FORGETFUL, ERASING_FORGETFUL][turn % 3]);
        let until = [Until::Drain, Until::LastEvent][turn / 3 % 2];
        let (processes, workers) = [(2, 1), (3, 2), (2, 2), (3, 1)][turn / 2 % 4];
        let pace = Pace { workers, piece: [Some(8), None][turn % 2] };
        let alone = engine::replay(&world, until, 1);
        let found = engine::replay_among(&world, until, processes, pace);
        same(&world, &found.decisions, &alone.decisions);
        assert_eq!(found.trigger_set, alone.trigger_set, "seed {seed}, {processes} processes");
        assert_eq!(found.open_carts, alone.open_carts, "seed {seed}, {processes} processes");
    }
}

/// The lines of a stream in another order, in which each takes effect at the same tick.
fn within_lateness(world: &World, stream: &'static str, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..world.streams[stream].len()).collect();
    let ticks = oracle::bound_ticks(world, stream, &order);
    for _ in 0..3 * order.len() {
        let place = rng.random_range(0..order.len().max(2) - 1);
        let far = (place + rng.random_range(1..4)).min(order.len() - 1);
        order.swap(place, far);
        if oracle::bound_ticks(world, stream, &order) != ticks {
            order.swap(place, far);
        }
    }
    order
}

/// The world's partitions, each in another order that makes no difference.
pub fn jostled(world: &World, rng: &mut ChaCha8Rng) -> Vec<Box<dyn Partition>> {
    shuffled(world, rng, |stream, rng| within_lateness(world, stream, rng))
}

/// Neighbours change places as long as each record still takes effect at its tick: within the allowed lateness.
#[test]
fn the_order_of_arrival_makes_no_difference() {
    let mut moved = 0;
    each_world(|world, rng, decided| {
        let partitions = shuffled(world, rng, |stream, rng| {
            let order = within_lateness(world, stream, rng);
            moved += order.iter().enumerate().filter(|(place, line)| place != *line).count();
            order
        });
        let found = engine::replay_partitions(world, partitions, Until::Drain, 2);
        same(world, &found.decisions, decided);
    });
    assert!(moved > 1000, "only {moved} records moved");
}

/// A line that is added to a stream: after how many of its own, and what it says.
type Added = (usize, String);

/// The same record as of another time, its money written as it was.
fn as_of(line: &str, time_ms: i64) -> String {
    let mut record: BTreeMap<String, Box<RawValue>> = serde_json::from_str(line).expect("a record");
    record.insert("updated_at".into(), RawValue::from_string(time_ms.to_string()).expect("a number"));
    serde_json::to_string(&record).expect("an object")
}

/// Says where two runs differ first, and keeps the changed world.
fn same(changed: &World, found: &[String], decided: &[String]) {
    if found != decided {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("changed-{}", changed.seed));
        std::fs::create_dir_all(&kept).and_then(|()| oracle::write_world(changed, &kept)).expect("the world is kept");
        let place = (0..).find(|place| found.get(*place) != decided.get(*place)).unwrap_or(0);
        let (was, is) = (decided.get(place), found.get(place));
        panic!("seed {}, kept in {}: decision {place} was {was:#?} and is {is:#?}", changed.seed, kept.display());
    }
}

/// The world with lines added to a stream.
fn with(world: &World, stream: &'static str, mut added: Vec<Added>) -> World {
    added.sort_by_key(|(after, _)| *after);
    let mut changed = world.clone();
    let lines = changed.streams.get_mut(stream).expect("the world has the stream");
    for (after, line) in added.into_iter().rev() {
        lines.insert(after, line);
    }
    changed
}

/// The lines of a stream that are records, with the greatest event time up to each: a record of that time which comes
/// then is not late and makes no other so.
fn records_of(world: &World, stream: &str) -> Vec<(usize, Map<String, Value>, i64)> {
    let mut greatest_ms = i64::MIN;
    let lines = world.streams.get(stream).map_or(&[][..], |lines| lines);
    let mut records = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(time_ms) = oracle::event_time_ms(stream, line) else { continue };
        greatest_ms = greatest_ms.max(time_ms);
        if let Ok(Value::Object(record)) = serde_json::from_str(line) {
            records.push((index, record, greatest_ms));
        }
    }
    records
}

/// The members that name a stream's key.
fn key_of(stream: &str) -> &'static [&'static str] {
    match stream {
        "carts" => &["cart_id"],
        "inventory" => &["sku", "location"],
        "catalog" => &["sku"],
        "orders" => &["order_id"],
        _ => &["user_id"],
    }
}

/// The record with the content of `content` and the key of `key`.
fn of_key(stream: &str, content: &Map<String, Value>, key: &Map<String, Value>) -> Map<String, Value> {
    let mut record = content.clone();
    for member in key_of(stream) {
        match key.get(*member) {
            Some(value) => record.insert((*member).into(), value.clone()),
            None => record.remove(*member),
        };
    }
    record
}

fn version(record: &Map<String, Value>) -> i64 {
    record.get("version").and_then(Value::as_i64).unwrap_or(0)
}

#[test]
fn a_record_that_is_stale_changes_nothing() {
    let mut stale = 0;
    each_world(|world, rng, decided| {
        for stream in ["carts", "inventory", "catalog", "orders", "profiles"] {
            let records = records_of(world, stream);
            let newer: Vec<_> = records.iter().filter(|(_, record, _)| version(record) > 0).collect();
            let Some((index, record, greatest_ms)) = newer.choose(rng) else { continue };
            let content = &records.choose(rng).expect("there is one").1;
            let mut older = of_key(stream, content, record);
            older.insert("version".into(), (version(record) - 1).into());
            older.insert("updated_at".into(), (*greatest_ms).into());
            let changed = with(world, stream, vec![(index + 1, Value::from(older).to_string())]);
            same(&changed, &engine::replay(&changed, Until::Drain, 1).decisions, decided);
            stale += 1;
        }
    });
    assert!(stale > 100, "only {stale} records were added");
}

#[test]
fn a_message_that_comes_again_changes_nothing() {
    let mut repeated = 0;
    each_world(|world, rng, decided| {
        for (stream, id) in [("clickstream", "messageId"), ("engagement", "event_id")] {
            let records = records_of(world, stream);
            let id_of = |record: &Map<String, Value>| record.get(id).filter(|it| !it.is_null()).map(Value::to_string);
            let mut times: BTreeMap<String, usize> = BTreeMap::new();
            records.iter().filter_map(|(_, record, _)| id_of(record)).for_each(|id| *times.entry(id).or_default() += 1);
            let once: Vec<_> =
                records.iter().filter(|(_, record, _)| id_of(record).is_some_and(|id| times[&id] == 1)).collect();
            let Some((index, record, greatest_ms)) = once.choose(rng) else { continue };
            let mut again = records.choose(rng).expect("there is one").1.clone();
            again.insert(id.into(), record[id].clone());
            again.insert(
                if stream == "clickstream" { "timestamp" } else { "occurred_at" }.into(),
                (*greatest_ms).into(),
            );
            let changed = with(world, stream, vec![(index + 1, Value::from(again).to_string())]);
            same(&changed, &engine::replay(&changed, Until::Drain, 1).decisions, decided);
            repeated += 1;
        }
    });
    assert!(repeated > 60, "only {repeated} messages were added");
}

/// A key becomes something else, and in the same tick what it was: inserted and retracted.
#[test]
fn a_record_taken_back_in_its_tick_changes_nothing() {
    let mut taken_back = 0;
    each_world(|world, rng, decided| {
        for stream in ["inventory", "catalog", "profiles"] {
            let records = records_of(world, stream);
            let Some((index, record, greatest_ms)) = records.choose(rng) else { continue };
            let time_ms =
                |index: usize| oracle::event_time_ms(stream, &world.streams[stream][index]).expect("a record");
            let key = |record: &Map<String, Value>| -> Vec<Option<Value>> {
                let members = key_of(stream).iter().map(|member| record.get(*member));
                members.map(|it| it.filter(|it| !it.is_null() && *it != "").cloned()).collect()
            };
            // The greatest of its key up to here; and none of those to come is between it and what is added.
            let rank =
                |(index, record, _): &(usize, Map<String, Value>, i64)| (version(record), time_ms(*index), *index);
            let own = (version(record), time_ms(*index), *index);
            let added = (version(record), *greatest_ms);
            let of_its_key: Vec<_> = records.iter().filter(|(_, other, _)| key(other) == key(record)).collect();
            let is_the_state = of_its_key.iter().filter(|other| other.0 <= *index).all(|other| rank(other) <= own);
            let stays = of_its_key.iter().filter(|other| other.0 > *index).all(|other| {
                let rank = rank(other);
                rank < own || (rank.0, rank.1) > added
            });
            if !is_the_state || !stays {
                continue;
            }
            let mut other = of_key(stream, &records.choose(rng).expect("there is one").1, record);
            other.insert("version".into(), version(record).into());
            other.insert("updated_at".into(), (*greatest_ms).into());
            let back = as_of(&world.streams[stream][*index], *greatest_ms);
            let changed = with(world, stream, vec![(index + 1, Value::from(other).to_string()), (index + 1, back)]);
            same(&changed, &engine::replay(&changed, Until::Drain, 1).decisions, decided);
            taken_back += 1;
        }
    });
    assert!(taken_back > 40, "only {taken_back} records were taken back");
}

/// What a stranger's ids begin with.
const STRANGER: &str = "stranger-";

/// Makes every id in a record a stranger's.
fn estrange(value: &mut Value) {
    const IDS: [&str; 11] = [
        "userId",
        "anonymousId",
        "previousId",
        "user_id",
        "anonymous_id",
        "cart_id",
        "order_id",
        "checkout_id",
        "messageId",
        "event_id",
        "decision_id",
    ];
    let Value::Object(record) = value else { return };
    for (member, value) in record.iter_mut() {
        match value {
            Value::String(id) if IDS.contains(&member.as_str()) && !id.is_empty() => *id = format!("{STRANGER}{id}"),
            Value::Number(id) if IDS.contains(&member.as_str()) => *value = format!("{STRANGER}{id}").into(),
            Value::Object(_) => estrange(value),
            _ => {}
        }
    }
}

/// The customers of another world do what they do among ours, with the same products.
#[test]
fn strangers_change_nobody_elses_decisions() {
    let mut strangers_decided = 0;
    each_world(|world, rng, _| {
        let mut world = world.clone();
        // What strangers do share.
        let lines = world.config_toml.lines();
        let kept = lines.filter(|line| !line.starts_with("stock_budget") && !line.starts_with("similar"));
        world.config_toml = kept.map(|line| format!("{line}\n")).collect();
        let other = random_world_of(world.seed + 1_000_000, EVERYTHING);
        let mut changed = world.clone();
        for (stream, time) in
            [("clickstream", "timestamp"), ("carts", "updated_at"), ("orders", "placed_at"), ("profiles", "updated_at")]
        {
            let places = records_of(&world, stream);
            let mut theirs: Vec<Value> =
                records_of(&other, stream).into_iter().map(|(_, record, _)| record.into()).collect();
            if places.is_empty() {
                continue;
            }
            theirs.shuffle(rng);
            let added = theirs.into_iter().map(|mut record| {
                let (index, _, greatest_ms) = places.choose(rng).expect("there is one");
                estrange(&mut record);
                record[time] = (*greatest_ms).into();
                record.as_object_mut().filter(|_| stream == "orders").map(|it| it.remove("updated_at"));
                (index + 1, record.to_string())
            });
            changed = with(&changed, stream, added.collect());
        }
        let without = engine::replay(&world, Until::Drain, 1).decisions;
        let of_strangers = format!("\"customer_id\":\"{STRANGER}");
        let (theirs, ours): (Vec<String>, Vec<String>) =
            engine::replay(&changed, Until::Drain, 2).decisions.into_iter().partition(|it| it.contains(&of_strangers));
        same(&changed, &ours, &without);
        strangers_decided += theirs.len();
    });
    assert!(strangers_decided > 200, "only {strangers_decided} decisions about strangers");
}
