//! Deterministic simulation: the whole service in one thread, on a virtual clock, from one seed. The shop's records come through a
//! broker that delays, repeats, reorders and loses them and falls silent; the ESP refuses, throttles, breaks, takes a message and
//! says nothing, or takes it later; the disk fails, and forgets what was not synced; the process dies at any step of the disk, over a
//! request, or at any time. Then everything is healed.
//!
//! At every request an observer at the ESP's door says whether it may be made (`esp`). In the end the ledger, the ESP's inbox and an
//! undisturbed replay of the same log must tell one story (`audit`).
//!
//! `BECKON_SEEDS=n` runs the seeds from 0 to n, 1000 unless set; `BECKON_SEED=s` runs one, and tells all that happens.
//!
//! What is the service's own: decoding, reclocking, the timeline, graph, decisions, ledger, dispatcher, retries, rate, breaker,
//! rendering. What is not in it: threads, Kafka's client and the ledger's mirror, HTTP, several processes.

#[path = "simulation/audit.rs"]
mod audit;
#[path = "simulation/broker.rs"]
mod broker;
#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/esp.rs"]
mod esp;
// The simulation draws its worlds from it, and asks it in the end; the rest of it the worlds' own tests use.
#[allow(dead_code, unused_imports)]
mod oracle;
#[path = "simulation/process.rs"]
mod process;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/trace.rs"]
mod trace;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use trace::Told;

/// So many seeds, and each of these comes to pass in some.
const SEEDS: u64 = 1000;

/// What must come to pass.
const MUST_OCCUR: [&str; 54] = [
    "broker: lost",
    "broker: repeated",
    "broker: silent",
    "crash: any time",
    "crash: before a request was there",
    "crash: before an answer was there",
    "crash: ledger replace",
    "crash: ledger resize",
    "crash: ledger sync",
    "crash: ledger write",
    "crash: ledger.journal create",
    "crash: ledger.journal sync",
    "crash: ledger.journal write",
    "crash: ledger.redb sync",
    "crash: ledger.redb write",
    "crash: timeline append",
    "crash: timeline create",
    "crash: timeline replace",
    "crash: timeline sync",
    "disk: ledger replace failed",
    "disk: ledger sync failed",
    "disk: ledger write failed",
    "disk: ledger.journal create failed",
    "disk: ledger.journal sync failed",
    "disk: ledger.journal write failed",
    "disk: ledger.redb sync failed",
    "disk: ledger.redb write failed",
    "disk: timeline append failed",
    "disk: timeline create failed",
    "disk: timeline replace failed",
    "disk: timeline sync failed",
    "end: accepted",
    "end: expired",
    "end: refused",
    "end: unknown",
    "end: withdrawn",
    "esp: 429",
    "esp: 429, retry after",
    "esp: 500",
    "esp: 503",
    "esp: key known",
    "esp: no answer",
    "esp: no answer, taken later",
    "esp: no connection",
    "esp: refused",
    "esp: stray taken",
    "esp: taken",
    "esp: taken, and says 500",
    "esp: taken, no answer",
    "oracle asked",
    "power: lost",
    "start failed",
    "state: unknown, for good",
    "stopped",
];

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a whole number, not {text:?}")))
}

#[test]
fn nothing_is_lost_or_sent_twice_whatever_fails() {
    if let Some(seed) = number("BECKON_SEED") {
        let told = run::run(seed);
        told.events.iter().for_each(|event| println!("{event}"));
        assert!(told.breach.is_none(), "seed {seed}: {}", told.breach.unwrap_or_default());
        return;
    }
    let seeds = number("BECKON_SEEDS").unwrap_or(SEEDS);
    let began = Instant::now();
    let counts = run_all(0..seeds);
    let mut table = String::new();
    for (what, (worlds, times)) in &counts {
        table += &format!("{worlds:6} {times:8}  {what}\n");
    }
    println!("seeds    times  what\n{table}{seeds} seeds in {:.1} s", began.elapsed().as_secs_f64());
    let missing: Vec<&str> = MUST_OCCUR.into_iter().filter(|what| !counts.contains_key(*what)).collect();
    assert!(seeds < SEEDS || missing.is_empty(), "never occurred: {missing:?}");
}

#[test]
fn a_seed_is_a_story() {
    for seed in 0..25 {
        let (once, again) = (run::run(seed), run::run(seed));
        let differs =
            (0..once.events.len().max(again.events.len())).find(|it| once.events.get(*it) != again.events.get(*it));
        let at = differs.map(|it| (once.events.get(it), again.events.get(it)));
        assert!(at.is_none(), "seed {seed}: {at:?}");
    }
}

/// How many seeds had what, and how often.
fn run_all(seeds: std::ops::Range<u64>) -> BTreeMap<String, (u64, u64)> {
    let (next, counts) = (AtomicU64::new(seeds.start), Mutex::new(BTreeMap::<String, (u64, u64)>::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let told = run::run(seed);
                    if told.breach.is_some() {
                        // Nobody begins another.
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                    judge(seed, &told);
                    let mut counts = counts.lock().unwrap();
                    for (what, times) in told.counts {
                        let (worlds, all) = counts.entry(what).or_default();
                        (*worlds, *all) = (*worlds + 1, *all + times);
                    }
                }
            });
        }
    });
    counts.into_inner().unwrap()
}

fn judge(seed: u64, told: &Told) {
    if let Some(breach) = &told.breach {
        let last = told.events.len().saturating_sub(40);
        let story = told.events[last..].join("\n");
        panic!("seed {seed}: {breach}\nthe last events:\n{story}\nBECKON_SEED={seed} tells all of them");
    }
}
