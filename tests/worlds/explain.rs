//! Explanations on random worlds: the records that an explanation shows are there, they alone give the decision, and each of
//! them is needed. The oracle has the last word: it knows nothing of explanations, and decides the same from them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use beckon::config::{Config, Purpose};
use beckon::decide::{Answer, Gate};
use beckon::decision::Decision;
use beckon::decode::{Decoder, Dictionary};
use beckon::pipeline::explain::{Explain, Explanation, Kept, Made, Trial};
use beckon::reclock::Notes;
use beckon::source;
use beckon_dataflows::time::tick_at;

use super::engine;
use super::oracle::world::{CONTENTS, Contents, EVERY_TRIGGER, EVERYTHING, random_world_of};
use super::oracle::{Until, World, run, write_world};

/// So many worlds of each kind, every decision of each.
const EXPLAINED_WORLDS: u64 = 6;

/// So many more in which an episode waits for the end of quiet hours, which is rare.
const WAITING_WORLDS: usize = 3;

/// What came to pass over all worlds.
#[derive(Default)]
struct Tally {
    decisions: usize,
    considered: usize,
    records: usize,
    trials: usize,
    /// Decisions whose similar SKUs depend on others.
    similar: usize,
    /// Sets whose every record came in time, so that the oracle could judge them too.
    judged: usize,
    answers: BTreeMap<String, usize>,
}

#[test]
fn the_records_of_an_explanation_alone_make_the_decision_and_each_is_needed() {
    let worlds = std::env::var("BECKON_WORLDS").map_or(EXPLAINED_WORLDS, |worlds| worlds.parse().unwrap());
    let first = std::env::var("BECKON_SEED").map_or(0, |seed| seed.parse().unwrap());
    let mut tally = Tally::default();
    for contents in [CONTENTS, EVERY_TRIGGER, EVERYTHING] {
        for seed in first..first + worlds {
            explain_world(seed, contents, &mut tally);
        }
    }
    let waits = |seed: &u64| {
        let occurred = run(&random_world_of(*seed, CONTENTS), Until::Drain).occurred;
        occurred.iter().any(|(what, times)| what.starts_with("released") && *times > 0)
    };
    (first..first + 200).filter(waits).take(WAITING_WORLDS).for_each(|seed| explain_world(seed, CONTENTS, &mut tally));
    let Tally { decisions, considered, records, trials, similar, judged, answers } = tally;
    println!(
        "{decisions} decisions: {records} records of {considered} considered, {trials} trials; {judged} judged, {similar} similar"
    );
    answers.iter().for_each(|(answer, times)| println!("{times:7}  {answer}"));
    if worlds >= EXPLAINED_WORLDS {
        for gate in [Gate::Unreachable, Gate::NoConsent, Gate::Audience, Gate::Cooldown, Gate::FrequencyCap] {
            let answer = format!("{} {}", gate.name(), Answer::Refused.name());
            assert!(answers.contains_key(&answer), "no {answer}");
        }
        assert!(answers.contains_key("quiet_hours waits"), "nobody waited");
        assert!(judged * 2 > decisions, "the oracle judged {judged} of {decisions}");
    }
}

fn explain_world(seed: u64, contents: Contents, tally: &mut Tally) {
    let world = random_world_of(seed, contents);
    let directory = tempfile::tempdir().unwrap();
    write_world(&world, directory.path()).unwrap();
    let config = Config::load(&directory.path().join("beckon.toml"), Purpose::Replay).unwrap();
    for line in
        engine::replay_directory(directory.path(), Until::Drain, engine::Pace { workers: 1, piece: None }).decisions
    {
        let decision: Decision = serde_json::from_str(&line).unwrap();
        let place = format!("seed {seed}, identities {}, {line}", contents.identity);
        let explanation = explain(&config, directory.path(), &decision);
        assert_eq!(serde_json::to_string(&explanation.decision).unwrap(), line, "{place}");
        let others = &explanation.depends_on_others[..];
        assert!(matches!(others, [] | ["payload.similar"]), "{place}: {others:?}");
        tally.similar += others.len();
        assert!(explanation.minimal, "{place}");
        assert_gates_agree(&explanation, &place);
        assert_records_are_there(&explanation, &world, &place);
        assert_each_is_needed(&explanation, &config, &place);
        tally.judged += usize::from(the_oracle_agrees(&explanation, &world, &config, &line, &place));
        tally.decisions += 1;
        tally.considered += explanation.considered;
        tally.records += explanation.records.len();
        tally.trials += explanation.trials;
        for reply in explanation.askings.iter().flat_map(|asking| &asking.replies) {
            *tally.answers.entry(format!("{} {}", reply.gate.name(), reply.answer.name())).or_default() += 1;
        }
    }
}

fn explain(config: &Config, directory: &Path, decision: &Decision) -> Explanation {
    let open = || Ok(source::files::open(directory)?);
    let id = decision.decision_id;
    let explain = Explain { config, id, workers: 1, trials_max: 100_000, noted: Notes::new(), open: &open };
    explain.run(&mut |_| {}).unwrap_or_else(|fault| panic!("{id}: {fault}"))
}

/// The last gate asked gave the outcome; all before it let through; each asking but the last ended in a wait.
fn assert_gates_agree(explanation: &Explanation, place: &str) {
    let (last, waits) = explanation.askings.split_last().expect(place);
    assert_eq!(last.tick, explanation.decision.as_of, "{place}");
    for asking in waits {
        assert_eq!(asking.replies.last().map(|reply| reply.answer), Some(Answer::Waits), "{place}");
    }
    for asking in &explanation.askings {
        let gates: Vec<Gate> = asking.replies.iter().map(|reply| reply.gate).collect();
        assert!(gates.is_sorted() && gates.contains(&Gate::Unreachable), "{place}: {gates:?}");
        let (_, before) = asking.replies.split_last().expect(place);
        assert!(before.iter().all(|reply| reply.answer == Answer::Passed), "{place}: {asking:?}");
    }
    let refusal = last.refusal().map(|reply| reply.gate.name());
    assert_eq!(refusal, explanation.decision.reason.map(|reason| reason.name()), "{place}");
}

/// Every position holds what is shown.
fn assert_records_are_there(explanation: &Explanation, world: &World, place: &str) {
    for kept in &explanation.records {
        let lines = &world.streams[kept.position.stream().name()];
        let line = &lines[kept.position.offset() as usize - 1];
        assert_eq!(line.as_bytes(), kept.bytes, "{place}: {}", kept.position);
        assert!(kept.tick <= explanation.decision.as_of, "{place}: {}", kept.position);
    }
    let keys: Vec<_> = explanation.records.iter().map(|kept| (kept.tick, kept.position)).collect();
    assert!(keys.is_sorted_by(|one, other| one < other), "{place}: {keys:?}");
}

/// Without any one of them it is another story.
fn assert_each_is_needed(explanation: &Explanation, config: &Config, place: &str) {
    let dictionary = Arc::new(Dictionary::new());
    let mut decoder = Decoder::new(dictionary.clone());
    for kept in &explanation.records {
        let decoded = decoder.decode(kept.position, &kept.bytes).expect(place);
        assert_eq!(decoded.record, kept.record, "{place}");
    }
    let mut trial = Trial::of(config, dictionary, &explanation.decision);
    let mut story = Made { decision: explanation.decision.clone(), askings: explanation.askings.clone() };
    if !explanation.depends_on_others.is_empty() {
        (trial, story) = (trial.without_similar(), story.without_similar());
    }
    let is_told_by = |records: &[&Kept]| trial.run(records.iter().copied()).is_some_and(|made| made.is_same_as(&story));
    let all: Vec<&Kept> = explanation.records.iter().collect();
    assert!(is_told_by(&all), "{place}: the records alone give something else");
    for left_out in 0..all.len() {
        let mut others = all.clone();
        let kept = others.remove(left_out);
        assert!(!is_told_by(&others), "{place}: {} is not needed", kept.position);
    }
}

/// The oracle decides the same from a world of those records alone. That is a fair question where none of them was late: in a
/// world that has less in it, less is late. Whether it was asked.
fn the_oracle_agrees(explanation: &Explanation, world: &World, config: &Config, line: &str, place: &str) -> bool {
    if !explanation.depends_on_others.is_empty() {
        return false;
    }
    let mut decoder = Decoder::new(Arc::new(Dictionary::new()));
    let mut streams: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let mut in_log_order: Vec<&Kept> = explanation.records.iter().collect();
    in_log_order.sort_by_key(|kept| kept.position);
    for kept in in_log_order {
        let event_ms = decoder.decode(kept.position, &kept.bytes).expect(place).event_ms;
        if tick_at(event_ms, config.tick_ms) != kept.tick {
            return false;
        }
        let lines = streams.entry(kept.position.stream().name()).or_default();
        lines.push(String::from_utf8(kept.bytes.clone()).expect(place));
    }
    let alone = run(&World { streams, ..world.clone() }, Until::Drain);
    let decided: HashMap<String, String> =
        alone.decisions.iter().map(|decision| (decision["decision_id"].to_string(), decision.to_string())).collect();
    let id = format!("\"{}\"", explanation.decision.decision_id);
    assert_eq!(decided.get(&id).map(String::as_str), Some(line), "{place}: the oracle");
    true
}
