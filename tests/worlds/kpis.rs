//! KPIs of random worlds: the oracle and the dataflow must agree on the whole table at every tick at which it changes. What came of the
//! mails is drawn beside each world, of what it decides, in time and too late; and nothing of how it is computed may make a
//! difference.

use std::collections::BTreeMap;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::engine::{self, Measured, Pace};
use super::metamorphic::jostled;
use super::oracle::kpis::Table;
use super::oracle::world::{
    CONTENTS, Contents, ERASING, ERASING_FORGETFUL, EVERY_TRIGGER, EVERYTHING, FORGETFUL, random_world_of,
};
use super::oracle::{self, Until, World};
use super::snapshots::broken;
use super::worlds_to_try;

/// A world, and which of its decisions' mails were accepted when, epoch ms.
pub struct Followed {
    pub world: World,
    pub accepted: Vec<(i64, String)>,
}

/// Draws what came of the decisions of a world.
pub fn followed(seed: u64, contents: Contents) -> Followed {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x4B50_4953);
    let mut world = random_world_of(seed, contents);
    let attribution_ms = [1_000, 7_000, 60_000, 600_000, 7_200_000, 400_000_000].choose(&mut rng).copied().unwrap();
    world.config_toml = format!("attribution = \"{attribution_ms}ms\"\n{}", world.config_toml);
    let decisions = oracle::run(&world, Until::Drain).decisions;
    let (mut accepted, mut events) = (Vec::new(), Vec::new());
    for decision in &decisions {
        let id = decision["decision_id"].as_str().unwrap().to_owned();
        let as_of: jiff::Timestamp = decision["as_of"].as_str().unwrap().parse().unwrap();
        let as_of = as_of.as_millisecond();
        let later = |rng: &mut ChaCha8Rng| match rng.random_range(0..10) {
            0 => as_of,
            1 => as_of + attribution_ms + rng.random_range(-1..=1) * 1000,
            2 => as_of - 1500,
            _ => as_of + rng.random_range(0..=(attribution_ms + 20_000).min(900_000)),
        };
        if rng.random_bool(0.6) {
            // The ledger has none before its decision.
            accepted.push((later(&mut rng).max(as_of), id.clone()));
        }
        for _ in 0..rng.random_range(0..5) {
            events.push(event(&id, later(&mut rng), events.len(), &mut rng));
        }
    }
    insert(&mut world, events);
    Followed { world, accepted }
}

/// What somebody did with the mail of a decision, or a machine.
fn event(decision: &str, time_ms: i64, number: usize, rng: &mut ChaCha8Rng) -> (i64, String) {
    let kinds = ["delivered", "delivered", "opened", "opened", "clicked", "bounced", "complained", "unsubscribed"];
    let kind = kinds.choose(rng).unwrap();
    // Now and then one that was there already, or of another's mail.
    let number = if rng.random_bool(0.1) { number / 2 } else { number };
    let decision = if rng.random_bool(0.05) { "0123456789abcdef0123456789ABCDEF" } else { decision };
    let mut record =
        json!({ "event_id": format!("mail-{number}"), "type": kind, "decision_id": decision, "occurred_at": time_ms });
    if rng.random_bool(0.5) {
        record["machine"] = rng.random_bool(0.4).into();
    }
    (time_ms, record.to_string())
}

/// Puts the events into their stream, each before the first line that is later.
fn insert(world: &mut World, mut events: Vec<(i64, String)>) {
    events.sort();
    let lines = world.streams.entry("engagement").or_default();
    for (time_ms, line) in events {
        let mut greatest = i64::MIN;
        let place = lines.iter().position(|line| {
            greatest = oracle::event_time_ms("engagement", line).map_or(greatest, |time_ms| time_ms.max(greatest));
            greatest > time_ms
        });
        lines.insert(place.unwrap_or(lines.len()), line);
    }
}

/// Says where two tables differ first.
fn first_difference(expected: &BTreeMap<i64, Table>, found: &BTreeMap<i64, Table>) -> Option<String> {
    let none = Table::new();
    let at = |tables: &BTreeMap<i64, Table>, tick: i64| {
        tables.range(..=tick).next_back().map_or(none.clone(), |(_, table)| table.clone())
    };
    let mut ticks: Vec<i64> = expected.keys().chain(found.keys()).copied().collect();
    ticks.sort_unstable();
    ticks.into_iter().find_map(|tick| {
        let (wanted, had) = (at(expected, tick), at(found, tick));
        let mut cells = wanted.keys().chain(had.keys());
        let differing = cells.find(|cell| wanted.get(*cell) != had.get(*cell))?;
        Some(format!("at {tick} {differing:?} should be {:#?} and is {:#?}", wanted.get(differing), had.get(differing)))
    })
}

/// The seeds that are tried of each kind of world, unless told otherwise.
const WORLDS: u64 = 150;

/// Holds the dataflow to the oracle on worlds of these contents. Returns how often what was counted.
fn agree(kind: &str, contents: Contents) -> BTreeMap<&'static str, i64> {
    let mut counted: BTreeMap<&'static str, i64> = BTreeMap::new();
    for seed in worlds_to_try(WORLDS) {
        let Followed { world, accepted } = followed(seed, contents);
        let until = [Until::Drain, Until::LastEvent][seed as usize % 2];
        let (outcome, expected) = oracle::run_and_follow(&world, until, &accepted);
        let piece = Some(1 + seed as usize / 4 % 5).filter(|piece| *piece > 1);
        let pace = Pace { workers: 1 + seed as usize / 2 % 3, piece };
        let Measured { decisions, tables } = engine::measure(&world, until, pace, &accepted);
        let difference = oracle::first_difference(&outcome, &decisions);
        assert_eq!(difference, None, "{kind}, seed {seed}: to measure makes a difference");
        if let Some(difference) = first_difference(&expected, &tables) {
            let kept = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kpis-{kind}-{seed}"));
            std::fs::create_dir_all(&kept).and_then(|()| oracle::write_world(&world, &kept)).unwrap();
            panic!("{kind}, seed {seed}, {until:?}, {pace:?}, kept in {}: {difference}", kept.display());
        }
        for (cell, tally) in expected.values().next_back().into_iter().flatten().filter(|(cell, _)| cell.2.is_none()) {
            for (name, count) in &tally.counts {
                *counted.entry(*name).or_default() += count;
            }
            *counted.entry("held out and converted").or_default() +=
                if cell.1.0 == "holdout" { tally.counts.get("converted").copied().unwrap_or(0) } else { 0 };
            *counted.entry("with revenue").or_default() += i64::from(!tally.revenue.is_zero());
        }
        let falls = expected.values().zip(expected.values().skip(1)).any(|(before, after)| {
            let sum = |table: &Table| table.values().map(|tally| tally.revenue).sum::<rust_decimal::Decimal>();
            sum(after) < sum(before)
        });
        *counted.entry("worlds in which revenue falls").or_default() += i64::from(falls);
    }
    println!("{kind}: {counted:?}");
    counted
}

/// All that is counted, and what must come to pass beside.
const MUST_OCCUR: [&str; 16] = [
    "decisions",
    "decided",
    "sent",
    "delivered",
    "bounced",
    "complained",
    "unsubscribed",
    "opened",
    "clicked",
    "opened_by_machine",
    "clicked_by_machine",
    "converted",
    "orders",
    "held out and converted",
    "with revenue",
    "worlds in which revenue falls",
];

#[test]
fn the_dataflow_agrees_with_the_oracle_on_kpis() {
    let kinds = [("two-triggers", CONTENTS), ("every-trigger", EVERY_TRIGGER), ("identities", EVERYTHING)];
    for (kind, contents) in kinds {
        let counted = agree(kind, contents);
        let never: Vec<&str> =
            MUST_OCCUR.into_iter().filter(|what| counted.get(what).is_none_or(|it| *it == 0)).collect();
        assert!(never.is_empty(), "{kind}: never occurred: {never:?}");
    }
}

#[test]
fn the_dataflow_agrees_with_the_oracle_on_kpis_of_what_is_forgotten() {
    agree("forgetful", FORGETFUL);
    agree("erasing", ERASING);
    agree("erasing-forgetful", ERASING_FORGETFUL);
}

/// Records that arrive in another order within the allowed lateness, and so in other blocks, give the same.
#[test]
fn the_order_of_arrival_makes_no_difference_to_kpis() {
    for seed in worlds_to_try(40) {
        let Followed { world, accepted } = followed(seed, EVERYTHING);
        let pace = Pace { workers: 1, piece: None };
        let expected = engine::measure(&world, Until::Drain, pace, &accepted).tables;
        let partitions = jostled(&world, &mut ChaCha8Rng::seed_from_u64(seed));
        let pace = Pace { workers: 2, piece: None };
        let found = engine::measure_partitions(&world, partitions, Until::Drain, pace, &accepted).tables;
        assert_eq!(first_difference(&expected, &found), None, "seed {seed}");
    }
}

/// The computation is spread over processes, of which one follows what was decided.
#[test]
fn processes_make_no_difference_to_kpis() {
    for seed in worlds_to_try(12) {
        let Followed { world, accepted } = followed(seed, [EVERYTHING, ERASING_FORGETFUL][seed as usize % 2]);
        let pace = Pace { workers: 1 + seed as usize % 2, piece: None };
        let expected = engine::measure(&world, Until::Drain, pace, &accepted).tables;
        let found = engine::measure_among(&world, 2 + seed as usize / 2 % 2, pace, &accepted);
        assert_eq!(first_difference(&expected, &found), None, "seed {seed}");
    }
}

/// A service that starts again, with its ledger and the log, has the KPIs that it had; also where it would decide otherwise now.
#[test]
fn a_start_from_ledger_and_log_makes_no_difference_to_kpis() {
    let mut otherwise = 0;
    for seed in worlds_to_try(40) {
        let Followed { world, accepted } = followed(seed, EVERYTHING);
        let pace = Pace { workers: 1, piece: None };
        let expected = engine::measure(&world, Until::Drain, pace, &accepted).tables;
        let same = engine::measure_by_ledger(&world, &accepted, str::to_owned);
        assert_eq!(first_difference(&expected, &same), None, "seed {seed}");
        // Nobody would be held out any more; caps and the like then refuse others, so only worlds without are the same.
        let is_simple = ["cooldown", "frequency_cap", "stock_budget"].iter().all(|it| !world.config_toml.contains(it));
        if is_simple && world.config_toml.contains("\nholdout") {
            let nobody = |toml: &str| {
                let lines = toml.lines().filter(|line| !line.starts_with("holdout"));
                lines.map(|line| format!("{line}\n")).collect()
            };
            let found = engine::measure_by_ledger(&world, &accepted, nobody);
            assert_eq!(first_difference(&expected, &found), None, "seed {seed}, nobody held out any more");
            otherwise += 1;
        }
    }
    println!("{otherwise} worlds would be decided otherwise");
    assert!(otherwise > 0 || worlds_to_try(40).count() < 40);
}

/// What goes on from a snapshot has the KPIs of one replay from the beginning.
#[test]
fn what_goes_on_from_a_snapshot_has_the_same_kpis() {
    let mut resumed = 0;
    for seed in worlds_to_try(90) {
        let contents = [EVERYTHING, FORGETFUL, ERASING][seed as usize % 3];
        let Followed { world, accepted } = followed(seed, contents);
        let until = [Until::Drain, Until::LastEvent][seed as usize % 2];
        let (outcome, expected) = oracle::run_and_follow(&world, until, &accepted);
        let broken = broken(seed, &world, &outcome);
        let found = engine::measure_broken(&world, until, broken, &accepted);
        let how = format!("seed {seed}, {until:?}, resumed from {:?}", found.from);
        if let Some(difference) = first_difference(&expected, &found.tables) {
            panic!("{how}: {difference}");
        }
        assert_eq!(expected.values().next_back().unwrap_or(&Table::new()), &found.last, "{how}");
        resumed += usize::from(found.from.is_some());
    }
    println!("{resumed} worlds were gone on with from a snapshot");
    assert!(resumed > 25 || worlds_to_try(90).count() < 90, "only {resumed}");
}
