//! Replays that are broken off and gone on with from a snapshot that was taken while records kept coming. What is decided, and the
//! trigger set at every tick, must be what one replay from the beginning gives; that is what the oracle says.

use super::engine::{self, Broken, Resumed};
use super::oracle::world::{
    CONTENTS, Contents, ERASING, ERASING_FORGETFUL, EVERY_TRIGGER, EVERYTHING, FORGETFUL, random_world_of,
};
use super::oracle::{Outcome, Until, World, first_difference, run};
use super::{first_difference_of_sets, worlds_to_try};

/// How many worlds are tried.
const WORLDS: usize = 60;

/// How a world is broken off, drawn from its seed. Mostly there is one snapshot, of a tick about which something changes: all
/// multiples of that but the first are out of reach.
pub fn broken(seed: u64, world: &World, expected: &Outcome) -> Broken {
    let mix = |salt: u64| (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(7 * salt as u32);
    let draw = |salt, below: u64| (mix(salt).wrapping_mul(0xD134_2543_DE82_EF95) >> 40) % below;
    let pace = |salt| (1 + draw(salt, 3) as usize, 1 + draw(salt + 1, 5) as usize);
    let first = pace(1);
    // As many workers as before in half of them.
    let second = if draw(3, 2) == 0 { (first.0, pace(4).1) } else { pace(4) };
    let records: usize = world.streams.values().map(Vec::len).sum();
    let pieces = (records / first.1).max(2) as u64;
    let changes: Vec<i64> = expected.trigger_set.keys().copied().collect();
    let change =
        changes.get(draw(7, (changes.len() as u64 * 2 / 3).max(1)) as usize).copied().unwrap_or(world.begin_ms);
    let once = change.unsigned_abs() - draw(8, 3) * 1000;
    Broken {
        paces: [first, second],
        after: (pieces / 2 + draw(6, pieces / 2)) as usize,
        every_ms: [once, once, once, 1000, 60_000][draw(9, 5) as usize],
        keys: [1, 3, 512][draw(10, 3) as usize],
    }
}

/// Of how many worlds a snapshot was gone on from, and of how many with another number of workers.
#[derive(Default)]
struct Tried {
    worlds: usize,
    resumed: usize,
    shared_out: usize,
    /// How many carts were open at the ends.
    carts: usize,
    read_less: usize,
}

fn agree(kind: &str, contents: Contents) {
    let tried = agree_as(kind, contents, |world, until, broken, _| engine::replay_broken(world, until, broken));
    let Tried { worlds, resumed, shared_out, carts, read_less } = tried;
    if worlds >= WORLDS {
        // What is forgotten soon leaves short worlds, in which a snapshot is often too late.
        assert!(3 * resumed > worlds, "{kind}: hardly any world had a snapshot: {resumed} of {worlds}");
        assert!(carts > worlds / 4, "{kind}: hardly a cart was open: {carts}");
        assert!(shared_out > 5 && 3 * read_less > resumed, "{kind}: {shared_out}, {read_less}");
    }
}

type Replay = fn(&World, Until, Broken, u64) -> Resumed;

fn agree_as(kind: &str, contents: Contents, replay: Replay) -> Tried {
    let mut tried = Tried::default();
    for seed in worlds_to_try(WORLDS as u64) {
        let world = random_world_of(seed, contents);
        let until = [Until::Drain, Until::LastEvent][seed as usize % 2];
        let expected = run(&world, until);
        let records: usize = world.streams.values().map(Vec::len).sum();
        let broken = broken(seed, &world, &expected);
        let found = replay(&world, until, broken, seed);
        let Broken { paces: [first, second], after, every_ms, keys } = broken;
        let how = format!(
            "{kind}, seed {seed}, {until:?}, {first:?} then {second:?}, broken off after {after}, every {every_ms} ms, \
             {keys} keys at a time, resumed from {:?}",
            found.from
        );
        let sets = first_difference_of_sets(&expected.trigger_set, &found.trigger_set);
        if let Some(difference) = sets.or(first_difference(&expected, &found.decisions)) {
            panic!("{how}: {difference}");
        }
        if until == Until::LastEvent {
            assert_eq!(expected.open_carts, found.open_carts, "{how}: the open carts");
            tried.carts += expected.open_carts.len();
        }
        tried.worlds += 1;
        tried.resumed += usize::from(found.from.is_some());
        tried.shared_out += usize::from(found.from.is_some() && first.0 != second.0);
        tried.read_less += usize::from(found.from.is_some() && found.records_read < records as u64);
    }
    let Tried { worlds, resumed, shared_out, read_less, .. } = &tried;
    println!(
        "{kind}: {resumed} of {worlds} resumed, {shared_out} by other workers, {read_less} without reading all again"
    );
    tried
}

/// All processes of a cluster write theirs of one tick, and go on from that.
#[test]
fn what_a_cluster_goes_on_from_decides_the_same() {
    let among: Replay = |world, until, broken, seed| {
        let [(workers, first), (_, second)] = broken.paces;
        let broken = Broken { paces: [(workers.min(2), first), (workers.min(2), second)], ..broken };
        engine::replay_broken_among(world, until, broken, 2 + seed as usize % 2)
    };
    for (kind, contents) in [("identities, in a cluster", EVERYTHING), ("forgetful, in a cluster", ERASING_FORGETFUL)] {
        let Tried { worlds, resumed, .. } = agree_as(kind, contents, among);
        // Often one process has read all of its partitions before the tick of a snapshot is reached, and then takes part in none.
        assert!(worlds < WORLDS || resumed > 3, "{kind}: hardly any world had a snapshot: {resumed} of {worlds}");
    }
}

#[test]
fn what_goes_on_from_a_snapshot_decides_the_same() {
    agree("two-triggers", CONTENTS);
}

#[test]
fn what_goes_on_from_a_snapshot_decides_the_same_on_every_trigger() {
    agree("every-trigger", EVERY_TRIGGER);
}

#[test]
fn what_goes_on_from_a_snapshot_decides_the_same_on_identities() {
    agree("identities", EVERYTHING);
}

#[test]
fn what_goes_on_from_a_snapshot_decides_the_same_of_what_is_forgotten() {
    agree("forgetful", FORGETFUL);
}

#[test]
fn what_goes_on_from_a_snapshot_decides_the_same_on_erasure() {
    agree("erasing", ERASING);
    agree("erasing-forgetful", ERASING_FORGETFUL);
}
