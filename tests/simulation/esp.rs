//! An ESP with an inbox, and the observer at its door. In: requests. Out: answers, some of which never come, or say that it failed
//! though the message was taken. At each request the observer looks whether it may be made at all (SPEC §6); what it finds is a
//! breach.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use beckon::decision::{Decision, DecisionId, Message, Outcome};
use beckon::pipeline::SharedState;
use beckon::sink::{Accepted, BoxFuture, Esp, SendError};
use beckon_dataflows::model::{Episode, Standing};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::disk::Platter;
use super::trace::Trace;

/// How long a client waits for an answer, ms.
pub const TIMEOUT_MS: u64 = 10_000;

/// How long after it was given up a request can still come to the ESP, ms.
const STRAY_MS_MAX: u64 = 20_000;

/// What the ESP is like, and what it has.
#[derive(Clone)]
pub struct Provider(Arc<Mutex<Desk>>);

struct Desk {
    rng: ChaCha8Rng,
    trace: Trace,
    manners: Manners,
    healed: bool,
    /// It is down until then, epoch ms.
    down_until_ms: u64,
    /// When it took which message.
    inbox: BTreeMap<DecisionId, Vec<u64>>,
    requests: BTreeMap<DecisionId, Vec<Request>>,
    /// Requests that come to it after the client has given up, by time.
    stray: BTreeMap<(u64, DecisionId), ()>,
    /// What the sender was told to send.
    owed: BTreeMap<DecisionId, (Episode, Arc<Decision>)>,
}

/// What the ESP is like.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// Two requests of one key are one mail.
    pub honours_keys: bool,
    /// How likely an answer is a bad one.
    pub fault: f64,
    /// How likely the process dies over a request.
    pub deadly: f64,
    /// After this long a key is not asked again, ms.
    pub unknown_after_ms: u64,
    /// After this long it has forgotten a key, ms.
    pub keys_kept_ms: u64,
    /// When a decision is too old to be sent, if ever, ms.
    pub send_within_ms: Option<u64>,
    /// Length of a tick.
    pub tick_ms: u64,
}

/// A request, as the client's side knows it.
#[derive(Clone, Copy)]
struct Request {
    at_ms: u64,
    /// Whether the client can know that it was not taken.
    told_not_taken: bool,
}

/// What a request comes to.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Taken,
    TakenAndSilent,
    TakenAndBroken,
    Silent,
    Broken,
    Stray,
    Throttled(u16, Option<u64>),
    Refused,
    NotSent,
}

impl Provider {
    /// An empty inbox; its faults are drawn from `seed`.
    pub fn new(seed: u64, manners: Manners, trace: Trace) -> Provider {
        Provider(Arc::new(Mutex::new(Desk {
            rng: ChaCha8Rng::seed_from_u64(seed),
            trace,
            manners,
            healed: false,
            down_until_ms: 0,
            inbox: BTreeMap::new(),
            requests: BTreeMap::new(),
            stray: BTreeMap::new(),
            owed: BTreeMap::new(),
        })))
    }

    /// The ESP as one process sees it, which has this state and began then.
    pub fn client(&self, state: SharedState, began_ms: u64, platter: Platter) -> Client {
        Client { provider: self.clone(), state, began_ms, platter }
    }

    /// The sender is told to send this.
    pub fn owed(&self, episode: Episode, decision: &Arc<Decision>) {
        self.desk().owed.insert(decision.decision_id, (episode, decision.clone()));
    }

    /// No more faults.
    pub fn heal(&self) {
        let mut desk = self.desk();
        (desk.healed, desk.down_until_ms) = (true, 0);
    }

    /// What it took, and when.
    pub fn inbox(&self) -> BTreeMap<DecisionId, Vec<u64>> {
        let mut desk = self.desk();
        let now_ms = desk.trace.now_ms();
        desk.take_stray(now_ms);
        desk.inbox.clone()
    }

    /// Of which decisions there were requests.
    pub fn requested(&self) -> Vec<DecisionId> {
        self.desk().requests.keys().copied().collect()
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    /// The message is in the inbox from now on, unless the ESP knows its key.
    fn take(&mut self, id: DecisionId, now_ms: u64) {
        let Manners { honours_keys, keys_kept_ms, .. } = self.manners;
        let taken = self.inbox.entry(id).or_default();
        let known = honours_keys && taken.last().is_some_and(|last_ms| now_ms < last_ms + keys_kept_ms);
        if known {
            self.trace.tell("esp: key known", id);
            return;
        }
        taken.push(now_ms);
        if taken.len() > 1 {
            self.trace.breach(format!("{id} was taken {} times", taken.len()));
        }
    }

    fn take_stray(&mut self, now_ms: u64) {
        while let Some(entry) = self.stray.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            let (at_ms, id) = *entry.key();
            entry.remove();
            self.trace.tell("esp: stray taken", id);
            self.take(id, at_ms);
        }
    }

    fn draw(&mut self, id: DecisionId, now_ms: u64) -> Fate {
        // A message that it does not like it never likes, unless it has already taken it.
        if id.0 % 29 == 7 && !self.inbox.contains_key(&id) {
            return Fate::Refused;
        }
        if self.healed {
            return Fate::Taken;
        }
        if now_ms < self.down_until_ms {
            return Fate::NotSent;
        }
        if self.rng.random_bool(0.02) {
            self.down_until_ms = now_ms + self.rng.random_range(0..120_000);
            return Fate::NotSent;
        }
        if !self.rng.random_bool(self.manners.fault) {
            return Fate::Taken;
        }
        match self.rng.random_range(0..9) {
            0 => Fate::TakenAndSilent,
            1 => Fate::TakenAndBroken,
            2 => Fate::Silent,
            3 => Fate::Broken,
            4 => Fate::Stray,
            5 => Fate::Throttled(429, Some(self.rng.random_range(0..30) * 1_000)),
            6 => Fate::Throttled(429, None),
            7 => Fate::Throttled(503, None),
            _ => Fate::NotSent,
        }
    }

    fn delay(&mut self) -> Duration {
        let long = self.rng.random_bool(0.1);
        Duration::from_millis(if long { self.rng.random_range(0..4_000) } else { self.rng.random_range(1..200) })
    }

    fn dies(&mut self) -> bool {
        !self.healed && self.rng.random_bool(self.manners.deadly)
    }

    /// Whether this request may be made (SPEC §6).
    fn observe(&self, id: DecisionId, client: &Client, now_ms: u64) -> Result<(), String> {
        let (episode, decision) = self.owed.get(&id).ok_or("it was never owed")?;
        if decision.outcome != Outcome::Send {
            return Err(format!("it was decided as {:?}", decision.outcome));
        }
        let state = client.state.read().unwrap_or_else(PoisonError::into_inner);
        if !state.trigger_set().contains(episode) {
            return Err(format!("its episode has left the trigger set as of {}", state.as_of()));
        }
        if state.as_of() + self.manners.tick_ms < client.began_ms {
            return Err(format!("the process is still catching up: {} of {}", state.as_of(), client.began_ms));
        }
        let reachable = |contact: &beckon_dataflows::model::Contact| {
            let Standing { known, erased, consent, withheld } = contact.standing();
            let consents = consent && !withheld && !contact.declines(&decision.campaign);
            known && !erased && consents && contact.words().email.is_some()
        };
        if !state.contact(episode.customer).is_some_and(reachable) {
            return Err("its customer may not be written to".into());
        }
        if self.manners.send_within_ms.is_some_and(|within_ms| now_ms > decision.as_of + within_ms) {
            return Err("it is too late for it".into());
        }
        let doubtful = self.requests.get(&id).into_iter().flatten().find(|request| !request.told_not_taken);
        match doubtful {
            Some(_) if !self.manners.honours_keys => {
                Err("an earlier request may have been taken, and has no key".into())
            }
            Some(first) if now_ms > first.at_ms + self.manners.unknown_after_ms + TIMEOUT_MS => {
                Err(format!("an earlier request may have been taken {} ms ago", now_ms - first.at_ms))
            }
            _ => Ok(()),
        }
    }
}

/// The ESP as one process sees it.
pub struct Client {
    provider: Provider,
    state: SharedState,
    began_ms: u64,
    platter: Platter,
}

impl Client {
    /// A request reaches the ESP's door: what is to come of it.
    fn arrive(&self, id: DecisionId) -> (Fate, Duration, Duration) {
        let desk = &mut *self.provider.desk();
        let now_ms = desk.trace.now_ms();
        desk.take_stray(now_ms);
        if let Err(why) = desk.observe(id, self, now_ms) {
            desk.trace.breach(format!("{id} was requested, but {why}"));
        }
        let fate = desk.draw(id, now_ms);
        desk.requests.entry(id).or_default().push(Request { at_ms: now_ms, told_not_taken: false });
        desk.trace.tell("request", id);
        desk.trace.tell(&format!("esp: {}", fate.name()), id);
        (fate, desk.delay(), desk.delay())
    }

    /// The process dies over the request: nothing more is heard of it.
    async fn perhaps_die(&self, at: &str) {
        if self.provider.desk().dies() {
            self.platter.die(at);
            std::future::pending::<()>().await;
        }
    }

    /// The client hears that it was not taken.
    fn tell_not_taken(&self, id: DecisionId) {
        let mut desk = self.provider.desk();
        desk.requests
            .get_mut(&id)
            .and_then(|requests| requests.last_mut())
            .into_iter()
            .for_each(|it| it.told_not_taken = true);
    }

    fn take(&self, id: DecisionId) {
        let mut desk = self.provider.desk();
        let now_ms = desk.trace.now_ms();
        desk.take(id, now_ms);
    }
}

impl Fate {
    fn name(self) -> &'static str {
        match self {
            Fate::Taken => "taken",
            Fate::TakenAndSilent => "taken, no answer",
            Fate::TakenAndBroken => "taken, and says 500",
            Fate::Silent => "no answer",
            Fate::Broken => "500",
            Fate::Stray => "no answer, taken later",
            Fate::Throttled(429, Some(_)) => "429, retry after",
            Fate::Throttled(429, None) => "429",
            Fate::Throttled(..) => "503",
            Fate::Refused => "refused",
            Fate::NotSent => "no connection",
        }
    }
}

impl Esp for Client {
    fn send<'a>(&'a self, _message: &'a Message, decision: &'a Decision) -> BoxFuture<'a, Result<Accepted, SendError>> {
        let id = decision.decision_id;
        Box::pin(async move {
            if !self.platter.is_alive() {
                std::future::pending::<()>().await;
            }
            let (fate, there, back) = self.arrive(id);
            if let Fate::NotSent = fate {
                self.tell_not_taken(id);
                return Err(SendError::NotSent { reason: "refused".into() });
            }
            self.perhaps_die("before a request was there").await;
            tokio::time::sleep(there).await;
            match fate {
                Fate::Taken | Fate::TakenAndSilent | Fate::TakenAndBroken => self.take(id),
                Fate::Stray => {
                    let mut desk = self.provider.desk();
                    let after_ms = desk.rng.random_range(TIMEOUT_MS..TIMEOUT_MS + STRAY_MS_MAX);
                    let at_ms = desk.trace.now_ms() + after_ms;
                    desk.stray.insert((at_ms, id), ());
                }
                _ => {}
            }
            self.perhaps_die("before an answer was there").await;
            let unknown =
                |status, reason: &str| SendError::Unknown { status, waited_ms: TIMEOUT_MS, reason: reason.into() };
            if let Fate::TakenAndSilent | Fate::Silent | Fate::Stray = fate {
                tokio::time::sleep(Duration::from_millis(TIMEOUT_MS).saturating_sub(there)).await;
                return Err(unknown(None, "timed out"));
            }
            tokio::time::sleep(back).await;
            match fate {
                Fate::TakenAndBroken | Fate::Broken => return Err(unknown(Some(500), "broken")),
                Fate::Throttled(status, retry_after_ms) => {
                    self.tell_not_taken(id);
                    return Err(SendError::Throttled { status, retry_after_ms });
                }
                Fate::Refused => {
                    self.tell_not_taken(id);
                    return Err(SendError::Refused { status: 400, excerpt: "not this one".into() });
                }
                _ => {}
            }
            Ok(Accepted::default())
        })
    }

    fn honours_idempotency(&self) -> bool {
        self.provider.desk().manners.honours_keys
    }
}
