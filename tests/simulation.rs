//! Deterministic simulation of the service.

#[path = "simulation/audit.rs"]
mod audit;
#[path = "simulation/broker.rs"]
mod broker;
#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/esp.rs"]
mod esp;
// Of the oracle only its worlds are drawn here.
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
    let seeds = number("BECKON_SEEDS").unwrap_or(1000);
    let began = Instant::now();
    let counts = run_all(0..seeds);
    let mut table = String::new();
    for (what, (worlds, times)) in &counts {
        table += &format!("{worlds:6} {times:8}  {what}\n");
    }
    println!("seeds    times  what\n{table}{seeds} seeds in {:.1} s", began.elapsed().as_secs_f64());
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
