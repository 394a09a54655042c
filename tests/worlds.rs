//! Worlds: the oracle's own tests, and the random worlds on which it and the engine must agree.

mod engine;
#[path = "oracle/examples.rs"]
mod examples;
#[path = "worlds/explain.rs"]
mod explain;
mod hosts;
#[path = "worlds/kpis.rs"]
mod kpis;
#[path = "worlds/metamorphic.rs"]
mod metamorphic;
mod oracle;
mod own;
#[path = "worlds/snapshots.rs"]
mod snapshots;
#[path = "worlds/stall.rs"]
mod stall;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use beckon_dataflows::model::Stream;
use oracle::identity_cases::CASES;
use oracle::world::{
    CONTENTS, Contents, ERASING, ERASING_FORGETFUL, EVERY_TRIGGER, EVERYTHING, FORGETFUL, random_arrivals,
    random_world_of,
};
use oracle::{Look, Member, Until, first_difference, random_world, run, run_looking, write_world};

/// Enough worlds that everything below comes to pass in some.
const WORLDS: u64 = 200;

/// What must come to pass in one of the random worlds at least.
const MUST_OCCUR: [&str; 5 + 79] = [
    "outcome: send",
    "outcome: suppress",
    "outcome: holdout",
    "reason: unreachable",
    "reason: no_consent",
    "choice that declines",
    "reason: audience",
    "undecidable audience",
    "reason: cooldown",
    "reason: frequency_cap",
    "reason: stock_budget",
    "waited",
    "waited and gone",
    "released: \"send\"",
    "released: \"suppress\"",
    "released: \"holdout\"",
    "quiet hours: own zone",
    "quiet hours: over midnight",
    "quiet hours: clock put forward",
    "quiet hours: clock put back",
    "quiet hours: end that the clock skips",
    "quiet hours: end that the clock shows twice",
    "reason: outranked",
    "trigger: cart_abandonment",
    "trigger: back_in_stock",
    "variant: plain",
    "variant: urgent",
    "variant: kind",
    "variant: none",
    "stock: Any",
    "stock: All",
    "stock: Ignore",
    "similar: none",
    "similar: some",
    "similar: Window matters",
    "similar: Recent matters",
    "similar: TiesOfInterest matters",
    "similar: Stock matters",
    "similar: Orders matters",
    "similar: TiesOfRank matters",
    "late: clickstream",
    "late: carts",
    "late: inventory",
    "late: catalog",
    "late: orders",
    "late: profiles",
    "late: engagement",
    "stale: clickstream",
    "stale: carts",
    "stale: inventory",
    "stale: catalog",
    "stale: orders",
    "stale: profiles",
    "superseded: carts",
    "superseded: inventory",
    "superseded: clickstream",
    "superseded: catalog",
    "superseded: orders",
    "superseded: profiles",
    "duplicates: clickstream",
    "duplicates: engagement",
    "repeated after a day",
    "position decides",
    "bad: NotJson",
    "bad: WrongType",
    "bad: Missing",
    "bad: AbsurdTime",
    "bad: TooLong",
    "missing stream",
    "emptied cart",
    "closed cart",
    "left-out line of an open cart",
    "order in the tick of a cart's change",
    "re-entry with the same anchor",
    "tie of priority",
    "tie of one campaign's subjects",
    "user and visitor of one id",
    "cart that changed its owner",
    "discount: the first",
    "discount: a later one",
    "discount: none holds",
    "discount: not sent",
    "discount: of a fraction",
    "undecidable discount",
];

#[test]
fn a_seed_is_a_world_and_a_world_is_an_outcome() {
    for seed in 0..10 {
        let world = random_world(seed);
        assert_eq!(world, random_world(seed), "seed {seed}");
        let (first, again) = (run(&world, Until::Drain), run(&world, Until::Drain));
        assert_eq!(first, again, "seed {seed}");
    }
}

/// A world that comes in line by line is the same world.
#[test]
fn what_arrives_is_what_the_files_hold() {
    for seed in 0..10 {
        let (world, arrivals) = (random_world_of(seed, EVERYTHING), random_arrivals(seed, EVERYTHING));
        assert_eq!((&world.config_toml, world.begin_ms), (&arrivals.config_toml, arrivals.begin_ms), "seed {seed}");
        assert!(arrivals.lines.is_sorted_by_key(|line| line.arrives_ms), "seed {seed}");
        for (stream, lines) in &world.streams {
            let arrived: Vec<&String> =
                arrivals.lines.iter().filter(|it| it.stream == *stream).map(|it| &it.line).collect();
            assert_eq!(arrived, lines.iter().collect::<Vec<_>>(), "seed {seed}");
        }
    }
}

/// The ticks that are skipped are those at which nothing changes.
#[test]
fn every_tick_gives_the_same() {
    for (seed, contents) in (0..40).flat_map(|seed| [(seed, EVERYTHING), (seed, FORGETFUL), (seed, ERASING)]) {
        let world = random_world_of(seed, contents);
        // Long enough for most; a world that jumps by a day would take too long.
        let until = Until::Time(world.begin_ms + 100 * 60 * 1000);
        let needed = run_looking(&world, until, Look::WhereNeeded);
        let every = run_looking(&world, until, Look::EveryTick);
        assert_eq!(needed.decisions, every.decisions, "seed {seed}");
        assert_eq!(needed.trigger_set, every.trigger_set, "seed {seed}");
    }
}

/// What a replay decides by a time is the beginning of what it decides in the end.
#[test]
fn a_shorter_replay_is_the_beginning_of_a_longer() {
    for seed in 0..40 {
        let world = random_world(seed);
        let whole = run(&world, Until::Drain);
        let Some(middle) = whole.trigger_set.keys().nth(whole.trigger_set.len() / 2) else {
            continue;
        };
        let half = run(&world, Until::Time(*middle));
        let count = half.decisions.len();
        assert_eq!(half.decisions, whole.decisions[..count], "seed {seed}");
        let sets: BTreeMap<_, _> = whole.trigger_set.range(..=*middle).collect();
        assert_eq!(half.trigger_set.iter().collect::<BTreeMap<_, _>>(), sets);
    }
}

#[test]
fn everything_occurs_in_the_random_worlds() {
    let mut occurred: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for seed in 0..WORLDS {
        let outcome = run(&random_world(seed), Until::Drain);
        let counts = &outcome.counts;
        let by_stream = [
            ("late", &counts.late),
            ("stale", &counts.stale),
            ("superseded", &counts.superseded),
            ("duplicates", &counts.duplicates),
            ("bad in", &counts.bad),
        ];
        let by_stream = by_stream.into_iter().flat_map(|(what, streams)| {
            let named = move |(stream, count): (&&str, &usize)| (format!("{what}: {stream}"), *count);
            streams.iter().map(named)
        });
        for (what, count) in outcome.occurred.clone().into_iter().chain(by_stream) {
            let (worlds, times) = occurred.entry(what).or_default();
            *worlds += usize::from(count > 0);
            *times += count;
        }
    }
    let mut table = String::from("worlds   times  what\n");
    for (what, (worlds, times)) in &occurred {
        writeln!(table, "{worlds:6} {times:7}  {what}").expect("writing to a string");
    }
    println!("{table}");
    let never = |what: &&str| occurred.get(*what).is_none_or(|(worlds, _)| *worlds == 0);
    let missing: Vec<&str> = MUST_OCCUR.into_iter().filter(never).collect();
    assert!(missing.is_empty(), "never occurred: {missing:?}\n{table}");
}

/// Every trigger sends and is suppressed in the worlds of every trigger, and in those with identities as well.
#[test]
fn every_trigger_occurs_in_worlds_of_every_trigger() {
    for contents in [EVERY_TRIGGER, EVERYTHING] {
        let mut decisions: BTreeMap<String, usize> = BTreeMap::new();
        for seed in 0..WORLDS {
            for (what, times) in run(&random_world_of(seed, contents), Until::Drain).occurred {
                *decisions.entry(what).or_default() += times;
            }
        }
        let outcomes = ["send", "suppress"];
        let wanted = contents.triggers.iter().flat_map(|name| outcomes.map(|outcome| format!("{name}: {outcome}")));
        let (seen, missing): (Vec<String>, Vec<String>) = wanted.partition(|what| decisions.contains_key(what));
        for what in seen {
            println!("{:7}  {what}", decisions[&what]);
        }
        assert!(missing.is_empty(), "never occurred, identities {}: {missing:?}", contents.identity);
        let never = CASES.into_iter().filter(|case| decisions.get(*case).is_none_or(|times| *times == 0));
        let never: Vec<&str> = never.collect();
        assert!(!contents.identity || never.is_empty(), "cases of identity that never occurred: {never:?}");
        for case in CASES.into_iter().filter(|_| contents.identity) {
            println!("{:7}  {case}", decisions[case]);
        }
        let moved = decisions.contains_key("similar: Identities matters");
        assert_eq!(moved, contents.identity, "similar SKUs differ by whose the interest is");
    }
}

/// Everything that can be forgotten is, in the worlds that forget soon.
#[test]
fn everything_is_forgotten_in_forgetful_worlds() {
    let mut occurred: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..WORLDS {
        for (what, times) in run(&random_world_of(seed, FORGETFUL), Until::Drain).occurred {
            *occurred.entry(what).or_default() += usize::from(times > 0);
        }
    }
    let wanted = [
        "forgotten: cart",
        "forgotten: folded line",
        "forgotten: order",
        "forgotten: link",
        "what is left of forgotten orders",
        "write of a key that is forgotten",
        "forgotten: what was an erased customer's",
        "win_back: send",
        "cart_abandonment: send",
        "price_drop: send",
    ];
    for seed in 0..WORLDS {
        for (what, times) in run(&random_world_of(seed, ERASING), Until::Drain).occurred {
            *occurred.entry(what).or_default() += usize::from(times > 0);
        }
    }
    for what in wanted {
        println!("{:7}  {what}", occurred.get(what).unwrap_or(&0));
    }
    let never = |what: &&str| occurred.get(*what).is_none_or(|worlds| *worlds < 3);
    let missing: Vec<&str> = wanted.into_iter().filter(never).collect();
    assert!(missing.is_empty(), "hardly ever occurred: {missing:?}");
}

#[test]
fn a_difference_is_explained() {
    let world = random_world(1);
    let outcome = run(&world, Until::Drain);
    let lines: Vec<String> = outcome.decisions.iter().map(|it| it.to_string()).collect();
    assert!(lines.len() > 2, "seed 1 decides too little for this test");
    assert_eq!(first_difference(&outcome, &lines), None);
    let says = |lines: &[String], what: &str| {
        let difference = first_difference(&outcome, lines).unwrap_or_default();
        assert!(difference.contains(what), "{difference}");
    };
    says(&lines[..1], "decision 2 differs");
    says(&lines[1..], "is missing");
    let mut more = lines.clone();
    more.insert(1, lines[1].replace("\"subject\":\"", "\"subject\":\"no-"));
    says(&more, "is one too many");
    let mut other = lines.clone();
    other[0] = lines[0].replace("\"variant\":null", "\"variant\":\"x\"");
    other[0] = other[0].replace("\"reason\":", "\"reason\":\"odd\",\"was\":");
    says(&other, "reason should be");
}

#[test]
fn a_world_is_written_as_files() {
    let dir = tempfile::tempdir().expect("a directory for the files");
    let world = random_world(3);
    write_world(&world, dir.path()).expect("the files are written");
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name));
    assert_eq!(read("beckon.toml").expect("a configuration"), world.config_toml);
    for (stream, lines) in &world.streams {
        let text = read(&format!("{stream}.jsonl")).expect("a stream");
        assert_eq!(text.lines().collect::<Vec<_>>(), *lines);
    }
}

/// The engine and the oracle agree on the whole trigger set at every tick and on every decision, to the byte.
#[test]
fn the_engine_agrees_with_the_oracle() {
    agree("two-triggers", CONTENTS);
}

/// And so they do on every trigger.
#[test]
fn the_engine_agrees_with_the_oracle_on_every_trigger() {
    agree("every-trigger", EVERY_TRIGGER);
}

/// Nor do identities make a difference: visitors who log in, devices shared, users made aliases.
#[test]
fn the_engine_agrees_with_the_oracle_on_identities() {
    agree("identities", EVERYTHING);
}

/// And so it is where what does not change is forgotten soon.
#[test]
fn the_engine_agrees_with_the_oracle_on_what_is_forgotten() {
    let dropped_names = agree("forgetful", FORGETFUL);
    assert!(dropped_names > 0, "no names were dropped in any world");
}

/// And where customers are erased, be they forgotten or not.
#[test]
fn the_engine_agrees_with_the_oracle_on_erasure() {
    agree("erasing", ERASING);
    agree("erasing-forgetful", ERASING_FORGETFUL);
}

/// Worlds in which they once did not agree: one whose interest only similar products still
/// counted when a link moved it, one erased in the very tick in which a visitor's interest became theirs, a cart that was
/// emptied and forgotten where carts stay, and one in which the last hand was that of somebody erased.
#[test]
fn the_engine_agrees_with_the_oracle_where_it_once_did_not() {
    agree_from("identities", EVERYTHING, 101_980..101_981);
    agree_from("erasing", ERASING, 7387..7388);
    agree_from("forgetful", FORGETFUL, 7246..7247);
    agree_from("erasing-forgetful", ERASING_FORGETFUL, 21731..21732);
}

/// The seeds of the worlds to try: as many as `BECKON_WORLDS` says, from `BECKON_SEED` on.
fn worlds_to_try(by_default: u64) -> std::ops::Range<u64> {
    let worlds = std::env::var("BECKON_WORLDS").map_or(by_default, |worlds| worlds.parse().unwrap());
    let first = std::env::var("BECKON_SEED").map_or(0, |seed| seed.parse().unwrap());
    first..first + worlds
}

/// Holds the engine to the oracle on worlds of these contents: as many as `BECKON_WORLDS` says, from seed `BECKON_SEED` on, or
/// of the one trigger `BECKON_TRIGGER` alone. Returns in how many of them names were dropped.
fn agree(kind: &str, contents: Contents) -> usize {
    agree_from(kind, contents, worlds_to_try(WORLDS))
}

/// [`agree`] on the worlds of these seeds.
fn agree_from(kind: &str, contents: Contents, seeds: Range<u64>) -> usize {
    let mut dropped_names = 0;
    let only = std::env::var("BECKON_TRIGGER");
    let only = only.as_deref().map(|name| [name]);
    let triggers = only.as_ref().map_or(contents.triggers, |name| &name[..]);
    for seed in seeds {
        let world = random_world_of(seed, Contents { triggers, ..contents });
        let until = [Until::Drain, Until::LastEvent][seed as usize % 2];
        let expected = run(&world, until);
        let workers = 1 + seed as usize / 2 % 2;
        // Some worlds are read piece by piece, so that ticks close meanwhile.
        let piece = Some(1 + seed as usize / 4 % 5).filter(|piece| contents.forget || *piece > 2);
        let found = engine::replay_at(&world, until, engine::Pace { workers, piece });
        dropped_names += usize::from(found.dropped_names);
        let decisions = first_difference(&expected, &found.decisions);
        let sets = first_difference_of_sets(&expected.trigger_set, &found.trigger_set);
        if let Some(difference) = sets.or(decisions) {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("world-{kind}-{seed}"));
            std::fs::create_dir_all(&kept).and_then(|()| write_world(&world, &kept)).unwrap();
            panic!("seed {seed}, {until:?}, {workers} workers, kept in {}: {difference}", kept.display());
        }
        // A replay that goes on until nothing is pending ends at a tick of its own.
        if until == Until::LastEvent {
            assert_eq!(expected.open_carts, found.open_carts, "seed {seed}, {workers} workers: the open carts");
        }
        let undecided: u64 = found.meter.undecided_conditions().values().map(|(count, _)| count).sum();
        let undecidable = ["undecidable audience", "undecidable discount"];
        let expected_undecided: usize = undecidable.iter().filter_map(|what| expected.occurred.get(*what)).sum();
        assert_eq!(undecided, expected_undecided as u64, "seed {seed}: conditions that could not be decided");
        for stream in Stream::ALL {
            let counted = |counts: &BTreeMap<&str, usize>| counts.get(stream.name()).copied().unwrap_or(0) as u64;
            let (stale, duplicates) = (found.counts.stale_records(stream), found.counts.duplicate_records(stream));
            // The engine does not count those that lost only to a greater one of their own tick.
            let older = counted(&expected.counts.stale) - counted(&expected.counts.superseded);
            let expected = (older, counted(&expected.counts.duplicates));
            assert_eq!((stale, duplicates), expected, "seed {seed}: stale and duplicates of {}", stream.name());
        }
    }
    dropped_names
}

/// What is decided does not depend on how many workers there are, wherever the replay ends.
#[test]
fn workers_make_no_difference() {
    for seed in 0..60 {
        let world = random_world(seed);
        let ticks: Vec<i64> = run(&world, Until::Drain).trigger_set.into_keys().collect();
        let middle = ticks.get(ticks.len() / 2).map_or(world.begin_ms, |tick| tick + 1);
        for until in [Until::Drain, Until::LastEvent, Until::Time(middle)] {
            let expected = run(&world, until);
            for workers in [1, 2, 3] {
                let found = engine::replay(&world, until, workers);
                let difference = first_difference(&expected, &found.decisions);
                assert_eq!(difference, None, "seed {seed}, {until:?}, {workers} workers");
            }
        }
    }
}

/// A trigger of a user's own decides what one of Beckon's own decides that follows the same rule, over whatever it is.
#[test]
fn a_trigger_of_ones_own_is_as_good_as_any() {
    let kinds = own::kinds();
    let mut decided: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..60 {
        let world = random_world_of(seed, Contents { triggers: &own::FOLLOWED, ..EVERYTHING });
        let mut renamed = world.clone();
        renamed.config_toml = world.config_toml.replace("trigger = \"", "trigger = \"own_");
        let workers = 1 + seed as usize % 2;
        let built = engine::replay(&world, Until::Drain, workers);
        let own = engine::replay_with(&kinds, &renamed, Until::Drain, workers);
        let decisions: Vec<String> =
            own.decisions.iter().map(|line| line.replace("\"trigger\":\"own_", "\"trigger\":\"")).collect();
        assert_eq!(decisions, built.decisions, "seed {seed}");
        assert_eq!(own.trigger_set, built.trigger_set, "seed {seed}");
        for name in own::FOLLOWED {
            let of = decisions.iter().filter(|line| line.contains(&format!("\"trigger\":\"{name}\""))).count();
            *decided.entry(name).or_default() += of;
        }
    }
    assert!(decided.values().all(|count| *count > 20), "too little was decided: {decided:?}");
}

/// Says which members of the trigger set are too few or too many at the first tick at which two runs differ.
fn first_difference_of_sets(
    expected: &BTreeMap<i64, BTreeSet<Member>>,
    found: &BTreeMap<i64, BTreeSet<Member>>,
) -> Option<String> {
    let none = BTreeSet::new();
    let at = |sets: &BTreeMap<i64, BTreeSet<Member>>, tick: i64| {
        sets.range(..=tick).next_back().map_or(none.clone(), |(_, set)| set.clone())
    };
    let ticks: BTreeSet<i64> = expected.keys().chain(found.keys()).copied().collect();
    ticks.into_iter().find_map(|tick| {
        let (wanted, had) = (at(expected, tick), at(found, tick));
        let missing: Vec<&Member> = wanted.difference(&had).collect();
        let excess: Vec<&Member> = had.difference(&wanted).collect();
        let differs = wanted != had || expected.contains_key(&tick) != found.contains_key(&tick);
        differs.then(|| format!("the trigger set at {tick} lacks {missing:?} and has {excess:?} too many"))
    })
}
