//! The sender: which delivery goes when (SPEC §6). In: what the [`DeliveryLog`] says is owed. Out: requests to the ESP, and each
//! delivery's states, to the log. Fails only when that cannot be read or written.
//!
//! The log is the backlog: the sender has the first of it in hand and no more, so that memory is bounded however far the ESP
//! is behind, and what was owed when a process ended needs nothing but the log. Those who decide only wake the sender.
//!
//! Highest priority first; never faster than the configured rate, retries included; never more at a time than the
//! configured concurrency; each just after it was made sure that it is still true. What fails without having been sent
//! waits with full jitter and goes again; an ESP that is down is left alone (`breaker`). What a message wants from elsewhere is
//! fetched before its turn (`ahead`).

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use beckon_dataflows::model::Episode;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::ahead::Ahead;
use super::attempt::{Next, Verdict, attempt, give_up};
use super::breaker::Breaker;
use super::pace::Pace;
use super::queue::{Enrichment, Job, Queue};
use super::{Backlog, DeliveryLog, Due, Enrich, Esp, LogFault, backoff_ms};
use crate::decision::{self, DecisionId, DeliveryRecord, Message};

/// A send with what the log says of its delivery.
#[derive(Clone, Debug)]
pub struct Owed {
    /// What to send.
    pub send: decision::Send,
    /// How far it came.
    pub delivery: DeliveryRecord,
}

/// Why no message can be made of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsendable {
    /// There is nobody to send it to any more (erased, no address, consent withdrawn): the delivery is withdrawn.
    Unreachable(String),
    /// The template or the address is broken: the delivery is refused.
    Broken(String),
}

/// Renders the message of a send from the state of now, and what was fetched for it.
pub type Compose = dyn Fn(&decision::Send, Map<String, Value>) -> Result<Message, Unsendable> + Send + Sync;

/// What the sender asks and tells.
pub struct Ports {
    /// What the ESP is called, in metrics.
    pub name: Arc<str>,
    /// Where messages go.
    pub esp: Arc<dyn Esp>,
    /// Where states go.
    pub log: Arc<dyn DeliveryLog>,
    /// Whether an episode is in the trigger set as of the newest closed tick.
    pub still_true: Box<dyn Fn(&Episode) -> bool + Send + Sync>,
    /// What messages want from elsewhere, if there is any of that.
    pub enrich: Option<Arc<dyn Enrich>>,
    /// Makes the message.
    pub compose: Box<Compose>,
    /// The clock that `send_within` is measured on, epoch ms; simulated in the demo and in tests. Waiting between
    /// attempts is in real time always: it is the ESP that is waited for.
    pub now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
    /// How hard the ESP is pressed.
    pub limits: Limits,
}

/// A limit on everything that grows or repeats.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests per second, retries included; a burst is at most a tenth of it.
    pub requests_per_second: NonZeroU32,
    /// Requests under way at a time.
    pub concurrency: usize,
    /// Sends in hand; the rest wait in the log.
    pub queue_max: usize,
    /// The longest first wait before a retry, milliseconds; doubles with each attempt.
    pub backoff_base_ms: u64,
    /// The longest wait of all, milliseconds.
    pub backoff_cap_ms: u64,
    /// How long after its first unanswered request a message is still repeated to an ESP that honours keys, and how long
    /// the webhook of one is waited for that is not, milliseconds (SPEC §6).
    pub unknown_after_ms: u64,
    /// How often it is looked for those that have waited that long, milliseconds of real time.
    pub sweep_ms: u64,
    /// How long a shutdown waits for the requests under way, milliseconds.
    pub drain_ms: u64,
    /// What the jitter of waits is drawn from; chance, where it is not set.
    pub jitter_seed: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            requests_per_second: NonZeroU32::new(50).unwrap_or(NonZeroU32::MIN),
            concurrency: 16,
            queue_max: 1000,
            backoff_base_ms: 500,
            backoff_cap_ms: 60_000,
            unknown_after_ms: 60 * 60 * 1000,
            sweep_ms: 10_000,
            drain_ms: 10_000,
            jitter_seed: None,
        }
    }
}

/// What a shutdown left behind; the ledger has all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Deliveries that were in hand.
    pub owed: usize,
    /// Requests cut off after `drain_ms`: `in_flight` in the ledger, taken up as ambiguous at the next start.
    pub cut_off: usize,
}

impl Ports {
    /// Whether a message that may have been taken may be sent again.
    pub(super) fn may_repeat(&self, ambiguous_since_ms: u64) -> bool {
        let age_ms = (self.now_ms)().saturating_sub(ambiguous_since_ms);
        self.esp.honours_idempotency() && age_ms < self.limits.unknown_after_ms
    }
}

/// Sends what is owed, each time it is woken by `decided`, until that is closed and everything is settled, or until `shutdown`
/// resolves: then requests under way may finish for [`Limits::drain_ms`], and the rest stays in the log.
pub async fn run(
    ports: Ports,
    mut decided: mpsc::Receiver<()>,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, LogFault> {
    let mut sweep = tokio::time::interval(Duration::from_millis(ports.limits.sweep_ms.max(1)));
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sender = Sender::new(ports);
    let mut closed = false;
    tokio::pin!(shutdown);
    while !(closed && sender.is_idle()) {
        let now = Instant::now();
        sender.queue.wake(now);
        if sender.runs_low() {
            sender.take_in_hand()?;
        }
        if sender.overdue && sender.settling.is_empty() {
            sender.settle_overdue()?;
        }
        sender.ahead.begin(&sender.ports, &mut sender.queue);
        let may_start = sender.may_start(now);
        let wake = sender.next_wake(now);
        tokio::select! {
            biased;
            () = &mut shutdown => return sender.drain().await,
            Some(done) = sender.running.join_next() => sender.finish(done)?,
            Some(done) = sender.settling.join_next() => sender.finish(done)?,
            Some(job) = sender.ahead.next() => sender.queue.push(job),
            woken = decided.recv(), if !closed => match woken {
                Some(()) => sender.take_in_hand()?,
                None => closed = true,
            },
            _ = sweep.tick() => sender.bury_unanswered().await?,
            () = sender.pace.permit(), if may_start => sender.start(),
            () = tokio::time::sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
        }
    }
    Ok(Drained::default())
}

struct Sender {
    ports: Arc<Ports>,
    queue: Queue,
    ahead: Ahead,
    /// All that is in the queue, being enriched, or being sent.
    in_hand: HashSet<DecisionId>,
    /// Whether the log has more than what is in hand.
    more: bool,
    /// Whether it may have some that are overdue.
    overdue: bool,
    breaker: Breaker,
    /// How often the ESP settled a delivery.
    answers: u64,
    /// The account is refused, and it has been said so.
    is_denied: bool,
    pace: Pace,
    running: JoinSet<Result<Next, LogFault>>,
    /// Those that are settled without a request.
    settling: JoinSet<Result<Next, LogFault>>,
    rng: StdRng,
}

impl Sender {
    fn new(ports: Ports) -> Sender {
        let limits = &ports.limits;
        Sender {
            queue: Queue::default(),
            ahead: Ahead::default(),
            in_hand: HashSet::new(),
            more: false,
            overdue: true,
            breaker: Breaker::new(Instant::now(), limits.backoff_base_ms, limits.backoff_cap_ms),
            answers: 0,
            is_denied: false,
            pace: Pace::new(limits.requests_per_second),
            running: JoinSet::new(),
            settling: JoinSet::new(),
            rng: limits.jitter_seed.map_or_else(rand::make_rng, StdRng::seed_from_u64),
            ports: Arc::new(ports),
        }
    }

    fn is_idle(&self) -> bool {
        self.in_hand.is_empty() && !self.more && !self.overdue
    }

    fn runs_low(&self) -> bool {
        self.more && self.in_hand.len() < self.ports.limits.queue_max.max(2) / 2
    }

    /// Takes in hand what goes first of all that is owed, and lets go of what goes later.
    fn take_in_hand(&mut self) -> Result<(), LogFault> {
        let max = self.ports.limits.queue_max.max(2);
        let Backlog { owed, more } = self.ports.log.owed(Due::InTime, (self.ports.now_ms)(), max, &self.in_hand)?;
        self.more = more;
        // What was left in time before may have become late since.
        self.overdue = true;
        owed.into_iter().for_each(|owed| self.take(owed, Verdict::of_unanswered));
        for id in self.queue.shed(max) {
            self.in_hand.remove(&id);
            self.more = true;
        }
        Ok(())
    }

    /// Settles the first of what was not sent in time, beside what is sent: however much it is, the rest does not wait for it.
    fn settle_overdue(&mut self) -> Result<(), LogFault> {
        let max = self.ports.limits.queue_max.max(2);
        let Backlog { owed, more } = self.ports.log.owed(Due::Overdue, (self.ports.now_ms)(), max, &self.in_hand)?;
        self.overdue = more;
        owed.into_iter().for_each(|owed| self.take(owed, Verdict::of));
        Ok(())
    }

    async fn bury_unanswered(&self) -> Result<(), LogFault> {
        let before_ms = (self.ports.now_ms)().saturating_sub(self.ports.limits.unknown_after_ms);
        self.ports.log.bury_unanswered(before_ms).await
    }

    fn may_start(&self, now: Instant) -> bool {
        let concurrency = self.breaker.concurrency(self.ports.limits.concurrency.max(1));
        self.queue.has_ready() && self.running.len() < concurrency && self.breaker.shut_until() <= now
    }

    /// When something changes by itself: a retry is due, or the breaker lets the next through.
    fn next_wake(&self, now: Instant) -> Option<Instant> {
        let shut_until = Some(self.breaker.shut_until()).filter(|until| self.queue.has_ready() && *until > now);
        self.queue.next_due().into_iter().chain(shut_until).min()
    }

    /// Takes a send in hand: in the queue, unless there is a verdict on it. One that was under way when an earlier process died may have
    /// been taken by the ESP.
    fn take(&mut self, owed: Owed, verdict: impl Fn(&Ports, &Job) -> Option<Verdict>) {
        let DeliveryRecord { state, attempts, since_ms, ambiguous_since_ms, .. } = owed.delivery;
        let ambiguous_since_ms = ambiguous_since_ms.or(state.is_ambiguous().then_some(since_ms));
        let is_enriched = self.ports.enrich.as_ref().is_some_and(|enrich| enrich.is_wanted(&owed.send));
        let job = Job {
            owed: owed.send,
            state,
            attempts,
            ambiguous_since_ms,
            repeat: None,
            denied_at: None,
            is_to_blame: false,
            enrichment: if is_enriched { Enrichment::Wanted } else { Enrichment::Unwanted },
        };
        self.in_hand.insert(job.id());
        match verdict(&self.ports, &job) {
            Some(verdict) => self.settle(job, verdict),
            None => self.queue.push(job),
        }
    }

    fn settle(&mut self, job: Job, verdict: Verdict) {
        self.settling.spawn(give_up(self.ports.clone(), job, verdict));
    }

    /// Starts the attempt that goes first. Those that are not to be made any more do not use up the rate.
    fn start(&mut self) {
        let now = Instant::now();
        while let Some(mut job) = self.queue.pop(self.answers) {
            if matches!(&job.enrichment, Enrichment::Fetched(fetched) if fetched.is_stale(now)) {
                job.enrichment = Enrichment::Wanted;
                self.queue.push(job);
                continue;
            }
            job.is_to_blame = job.denied_at.is_some_and(|answers| self.answers > answers);
            match Verdict::of(&self.ports, &job) {
                Some(verdict) => self.settle(job, verdict),
                None => {
                    self.running.spawn(attempt(self.ports.clone(), job));
                    return;
                }
            }
        }
    }

    /// Learns what an attempt came to.
    fn finish(&mut self, done: Result<Result<Next, LogFault>, JoinError>) -> Result<(), LogFault> {
        let next = match done {
            Ok(next) => next?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => return Err(LogFault(error.into())),
        };
        let now = Instant::now();
        match next {
            Next::Settled { id, answered, rest_ms } => {
                self.in_hand.remove(&id);
                if answered {
                    self.answered(now, rest_ms);
                }
            }
            Next::Denied { mut job, fault } => {
                metrics::counter!("beckon_delivery_retries_total", "cause" => "denied").increment(1);
                if !std::mem::replace(&mut self.is_denied, true) {
                    tracing::error!(%fault, "nothing is sent until this is seen to; what is owed waits");
                }
                self.breaker.denied(now, &mut self.rng);
                job.denied_at = Some(self.answers);
                self.again(self.breaker.shut_until(), *job, None);
            }
            Next::LeftUnknown { id } => {
                self.in_hand.remove(&id);
                self.breaker.failed(now, None, &mut self.rng);
            }
            Next::Again { job, cause, retry_after_ms } => {
                metrics::counter!("beckon_delivery_retries_total", "cause" => cause).increment(1);
                self.breaker.failed(now, retry_after_ms, &mut self.rng);
                self.again(now, *job, retry_after_ms);
            }
        }
        Ok(())
    }

    /// The ESP settled a delivery: all is well.
    fn answered(&mut self, now: Instant, rest_ms: Option<u64>) {
        self.answers += 1;
        self.is_denied = false;
        self.breaker.answered();
        if let Some(rest_ms) = rest_ms {
            self.breaker.rest(now, rest_ms);
        }
    }

    /// Lets a job wait for its next attempt, from `start` on: with full jitter, and no shorter than the ESP asks for.
    fn again(&mut self, start: Instant, job: Job, retry_after_ms: Option<u64>) {
        let Limits { backoff_base_ms, backoff_cap_ms, .. } = self.ports.limits;
        let earlier = job.attempts.saturating_sub(1);
        let wait_ms = backoff_ms(earlier, backoff_base_ms, backoff_cap_ms, &mut self.rng);
        let wait_ms = wait_ms.max(retry_after_ms.unwrap_or(0));
        self.queue.push_at(start + Duration::from_millis(wait_ms), job);
    }

    /// Lets the requests under way finish, within the bound.
    async fn drain(mut self) -> Result<Drained, LogFault> {
        let until = Instant::now() + Duration::from_millis(self.ports.limits.drain_ms);
        while let Ok(Some(done)) = tokio::time::timeout_at(until, self.running.join_next()).await {
            self.finish(done)?;
        }
        let cut_off = self.running.len();
        self.running.shutdown().await;
        Ok(Drained { owed: self.in_hand.len(), cut_off })
    }
}
