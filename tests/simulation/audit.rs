//! The end of the day: the ledger, the ESP's inbox and an undisturbed replay of the same log must tell one story. In: all three. Out:
//! the first thing in which they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use beckon::decide::Decided;
use beckon::decision::{Decision, DecisionId, DeliveryState, Outcome};
use beckon::decode::Dictionary;
use beckon::ledger::Ledger;
use beckon::meter::Meter;
use beckon::pipeline::in_line::InLine;
use beckon::pipeline::lanes::{Decoders, Intake, Resume};
use beckon::pipeline::live::Graph;
use beckon::pipeline::reading::Reading;
use beckon::pipeline::{Act, Deciding, SharedState, View, wiring};
use beckon::reclock::{Notes, PartitionClock};
use beckon_dataflows::counts::Counts;
use beckon_dataflows::horizon::Horizon;
use beckon_dataflows::model::{Id, Tick};

use super::oracle::{self, Until, World};
use super::process::Surroundings;

/// Checks everything, of a service that has closed the ticks before `open`, has `noted` this in its timeline, and has had time to
/// settle what was decided before `settled_before_ms`.
pub fn audit(
    around: &Surroundings,
    ledger: &Ledger,
    noted: Notes,
    open: Tick,
    settled_before_ms: u64,
) -> Result<(), String> {
    let replayed =
        replay(around, Some(noted), open).map_err(|error| format!("the log cannot be replayed: {error:#}"))?;
    let recorded = ledger.decisions().map_err(|error| error.to_string())?;
    decisions_agree(&replayed, &recorded)?;
    oracle_agrees(around, &replayed, open)?;
    caps_hold(around, &recorded)?;
    around.trace.tell("decisions", recorded.len());
    let sends: BTreeSet<DecisionId> =
        replayed.decisions.values().filter(|it| it.outcome == Outcome::Send).map(|it| it.decision_id).collect();
    if let Some(id) = around.provider.requested().into_iter().find(|id| !sends.contains(id)) {
        return Err(format!("{id} was requested, and an undisturbed replay does not send it"));
    }
    deliveries_are_settled(around, ledger, &sends, settled_before_ms)
}

/// What an undisturbed run decides.
#[derive(Default)]
struct Replayed {
    decisions: BTreeMap<DecisionId, Decision>,
    /// Who was erased at any time.
    erased: BTreeSet<String>,
}

/// Replays the whole log up to the tick `open`, by what the timeline says, or by the records alone.
fn replay(around: &Surroundings, noted: Option<Notes>, open: Tick) -> anyhow::Result<Replayed> {
    let config = &around.config;
    let plan = wiring::plan(config);
    let (dictionary, meter) = (Arc::new(Dictionary::forgetting(Horizon::of(&plan))), Arc::new(Meter::default()));
    let heard = Arc::new(Mutex::new(Replayed::default()));
    let (decider, act) = (wiring::decider(config), Listener(heard.clone()));
    let deciding = Deciding::new(1, decider, dictionary.clone(), SharedState::default(), meter.clone(), act);
    let mut graph = InLine::new(&plan, &Arc::new(Counts::default()), deciding);
    let intake = Intake { decoders: Decoders::in_line(&dictionary), meter, bury: Box::new(|_| Ok(())) };
    let clock = PartitionClock::new(config.tick_ms, config.allowed_lateness_ms);
    let resume = Resume::default();
    let mut reading =
        Reading::new(around.broker.retained(), &clock, noted.unwrap_or_default(), intake, Tick::MAX, &resume);
    while let Some(taken) = reading.take()? {
        graph.feed(taken.batch)?;
    }
    graph.advance(open)?;
    drop(graph);
    let replayed = std::mem::take(&mut *heard.lock().unwrap());
    Ok(replayed)
}

struct Listener(Arc<Mutex<Replayed>>);

impl Act for Listener {
    fn decided(&mut self, _tick: Tick, decided: Vec<Decided>, view: &View<'_>) -> anyhow::Result<()> {
        let mut heard = self.0.lock().unwrap();
        for (decision, opening) in decided {
            // Decided while the profile was deleted.
            if view.state.contact(opening.episode.customer).is_some_and(|contact| contact.standing().erased) {
                heard.erased.insert(decision.customer_id.to_string());
            }
            heard.decisions.insert(decision.decision_id, decision);
        }
        Ok(())
    }

    fn erased(&mut self, _tick: Tick, customers: &[Id], view: &View<'_>) -> anyhow::Result<()> {
        let all = customers.iter().flat_map(|id| view.state.all_of(*id)).chain(customers.iter().copied());
        let names = all.filter_map(|id| view.dictionary.text(id));
        self.0.lock().unwrap().erased.extend(names);
        Ok(())
    }
}

/// The same decisions, to the byte, but for what was erased.
fn decisions_agree(replayed: &Replayed, recorded: &[Decision]) -> Result<(), String> {
    let of = |decision: &Decision| serde_json::to_string(decision).unwrap();
    for decision in recorded {
        let id = decision.decision_id;
        let Some(again) = replayed.decisions.get(&id) else {
            return Err(format!("the ledger has {}, which an undisturbed replay does not decide", of(decision)));
        };
        let is_erased = replayed.erased.contains(&*decision.customer_id);
        if of(decision) != of(again) && !(is_erased && *decision == again.erased()) {
            return Err(format!("the ledger has     {}\n  a replay decides   {}", of(decision), of(again)));
        }
    }
    let known: BTreeSet<DecisionId> = recorded.iter().map(|decision| decision.decision_id).collect();
    match replayed.decisions.values().find(|decision| !known.contains(&decision.decision_id)) {
        Some(lacking) => Err(format!("the ledger lacks {}", of(lacking))),
        None => Ok(()),
    }
}

/// Where the wall clock made no difference, the oracle decides the same, which knows the records alone.
fn oracle_agrees(around: &Surroundings, replayed: &Replayed, open: Tick) -> Result<(), String> {
    let Some(streams) = around.broker.streams().filter(|_| around.ask_oracle) else { return Ok(()) };
    let untimed = replay(around, None, open).map_err(|error| format!("the log cannot be replayed: {error:#}"))?;
    if untimed.decisions != replayed.decisions {
        return Ok(());
    }
    let world = World { seed: 0, config_toml: around.config_toml.clone(), begin_ms: around.begin_ms, streams };
    let outcome = oracle::run(&world, Until::Time(open as i64 - 1));
    let mut decisions: Vec<&Decision> = replayed.decisions.values().collect();
    decisions.sort_by(|one, other| one.sort_key().cmp(&other.sort_key()));
    let decisions: Vec<String> = decisions.into_iter().map(|it| serde_json::to_string(it).unwrap()).collect();
    around.trace.tell("oracle asked", "");
    oracle::first_difference(&outcome, &decisions).map_or(Ok(()), Err)
}

/// No customer was decided more sends in any window than the caps allow. Where one customer can become another, the engine's own
/// tests tell.
fn caps_hold(around: &Surroundings, recorded: &[Decision]) -> Result<(), String> {
    let tick_ms = around.config.tick_ms;
    let mut sends: BTreeMap<&str, Vec<Tick>> = BTreeMap::new();
    for decision in recorded.iter().filter(|decision| decision.outcome == Outcome::Send) {
        sends.entry(&decision.customer_id).or_default().push(decision.as_of);
    }
    for cap in around.config.limits.frequency_caps.iter().filter(|_| !around.identities) {
        let (most, per_ms) = (cap.sends as usize, cap.per_ms.div_ceil(tick_ms) * tick_ms);
        for (customer, times) in &sends {
            // `recorded` is in the order of time.
            if let Some(window) = times.windows(most + 1).find(|window| window[most] - window[0] < per_ms) {
                return Err(format!("{customer} got more than {most} sends within {per_ms} ms: {window:?}"));
            }
        }
    }
    Ok(())
}

/// Every send came to an end, and the ledger says of each what the inbox does.
fn deliveries_are_settled(
    around: &Surroundings,
    ledger: &Ledger,
    sends: &BTreeSet<DecisionId>,
    settled_before_ms: u64,
) -> Result<(), String> {
    let inbox = around.provider.inbox();
    let unanswered = ledger.unanswered(u64::MAX).map_err(|error| error.to_string())?;
    let letters = String::from_utf8_lossy(&around.letters.0.lock().unwrap()).into_owned();
    for id in sends {
        let delivery = ledger.delivery(*id).map_err(|error| error.to_string())?;
        let delivery = delivery.ok_or_else(|| format!("{id} is a send, and has no delivery"))?;
        let decision = ledger.decision(*id).map_err(|error| error.to_string())?;
        let is_recent = decision.is_some_and(|decision| decision.as_of >= settled_before_ms);
        let state = delivery.state;
        around.trace.tell(&format!("end: {state}"), id);
        let took = inbox.contains_key(id);
        let agrees = match state {
            DeliveryState::Accepted => took,
            DeliveryState::Withdrawn | DeliveryState::Expired | DeliveryState::Refused => !took,
            DeliveryState::Unknown => is_recent || letters.contains(&id.to_string()) && !unanswered.contains(id),
            DeliveryState::Pending | DeliveryState::InFlight => is_recent,
        };
        if !agrees {
            let taken = if took { "has" } else { "does not have" };
            return Err(format!("in the end {id} is {delivery:?}, and the ESP {taken} it"));
        }
    }
    let counted = ledger.counts().map_err(|error| error.to_string())?;
    let total: u64 = counted.deliveries.values().sum();
    if total != sends.len() as u64 {
        return Err(format!("the ledger counts {total} deliveries of {} sends: {counted:?}", sends.len()));
    }
    Ok(())
}
