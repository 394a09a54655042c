//! One attempt at one delivery, from the durable `in_flight` to the durable answer (SPEC §6). In: a job. Out: whether it is
//! settled or has to be tried again. Fails only when the log does; then nothing is sent.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::delivery::{Ports, Unsendable};
use super::queue::{Enrichment, Job};
use super::{Accepted, LogFault, SendError};
use crate::decision::{DecisionId, DeliveryRecord, DeliveryState, Message};

/// What the dispatcher does next.
pub(super) enum Next {
    /// Nothing more; `answered` when it was the ESP that settled it, which then wants to be left alone for `rest_ms`.
    Settled { id: DecisionId, answered: bool, rest_ms: Option<u64> },
    /// Try again.
    Again { job: Box<Job>, cause: &'static str, retry_after_ms: Option<u64> },
    /// The ESP refuses the account, in these words. Try again when somebody has seen to it.
    Denied { job: Box<Job>, fault: String },
    /// Sent, unanswered, and not to be tried again.
    LeftUnknown { id: DecisionId },
}

/// A reason not to make the request.
pub(super) struct Verdict {
    state: DeliveryState,
    note: String,
}

impl Verdict {
    /// Whether the delivery should not be made any more: it left the trigger set, is late, or has waited too long to be repeated.
    pub fn of(ports: &Ports, job: &Job) -> Option<Verdict> {
        if let Some(verdict) = Verdict::of_unanswered(ports, job) {
            return Some(verdict);
        }
        if !(ports.still_true)(&job.owed.episode) {
            let note = "left the trigger set before it was sent".to_owned();
            return Some(Verdict { state: DeliveryState::Withdrawn, note });
        }
        let late = job.owed.deadline_ms().is_some_and(|deadline_ms| (ports.now_ms)() > deadline_ms);
        let note = || "not sent within send_within".to_owned();
        late.then(|| Verdict { state: DeliveryState::Expired, note: note() })
    }

    /// Whether the request may have been taken, and may not be repeated, or no longer: the ESP's webhook has to tell.
    pub fn of_unanswered(ports: &Ports, job: &Job) -> Option<Verdict> {
        let is_unanswered = job.ambiguous_since_ms.is_some_and(|since_ms| !ports.may_repeat(since_ms));
        let note = || "no answer says whether the request was taken, and it may not be repeated".to_owned();
        is_unanswered.then(|| Verdict { state: DeliveryState::Unknown, note: note() })
    }
}

impl From<Unsendable> for Verdict {
    fn from(fault: Unsendable) -> Verdict {
        match fault {
            Unsendable::Unreachable(note) => Verdict { state: DeliveryState::Withdrawn, note },
            Unsendable::Broken(note) => Verdict { state: DeliveryState::Refused, note },
        }
    }
}

/// Makes the request, if it should still be made once `in_flight` is durable.
pub(super) async fn attempt(ports: Arc<Ports>, mut job: Job) -> Result<Next, LogFault> {
    if job.state == DeliveryState::InFlight {
        let note = "the process ended around the request";
        write(&ports, &mut job, DeliveryState::Unknown, Some(note.to_owned())).await?;
    }
    job.attempts += 1;
    write(&ports, &mut job, DeliveryState::InFlight, None).await?;
    if let Some(verdict) = Verdict::of(&ports, &job) {
        return give_up(ports, job, verdict).await;
    }
    // What is repeated is repeated as it was, but to nobody who may not be written to any more.
    let fetched = fetched(&mut job);
    let message = match ((ports.compose)(&job.owed, fetched), job.repeat.take()) {
        (Ok(_) | Err(Unsendable::Broken(_)), Some(message)) | (Ok(message), None) => message,
        (Err(fault), _) => return give_up(ports, job, fault.into()).await,
    };
    let started = Instant::now();
    let result = ports.esp.send(&message, &job.owed.decision).await;
    tell(&ports.name, started, &result);
    conclude(&ports, job, message, result).await
}

/// Counts what the ESP said, and how long it took.
fn tell(esp: &Arc<str>, started: Instant, result: &Result<Accepted, SendError>) {
    let answer = match result {
        Ok(_) => "accepted",
        Err(SendError::Refused { .. }) => "refused",
        Err(SendError::Denied { .. }) => "denied",
        Err(SendError::NotSent { .. }) => "not_sent",
        Err(SendError::Throttled { .. }) => "throttled",
        Err(SendError::Unknown { .. }) => "unknown",
    };
    metrics::histogram!("beckon_esp_request_seconds", "esp" => esp.clone()).record(started.elapsed());
    metrics::counter!("beckon_esp_answers_total", "esp" => esp.clone(), "answer" => answer).increment(1);
}

/// Takes what was fetched for the message; the next attempt fetches anew.
fn fetched(job: &mut Job) -> Map<String, Value> {
    match std::mem::replace(&mut job.enrichment, Enrichment::Unwanted) {
        Enrichment::Fetched(fetched) => {
            job.enrichment = Enrichment::Wanted;
            fetched.values
        }
        _ => Map::new(),
    }
}

/// Settles a delivery without a request. One that may already have been taken stays `unknown`: the other states would say
/// that nothing was sent.
pub(super) async fn give_up(ports: Arc<Ports>, mut job: Job, verdict: Verdict) -> Result<Next, LogFault> {
    let is_ambiguous = job.ambiguous_since_ms.is_some();
    let end = if is_ambiguous { DeliveryState::Unknown } else { verdict.state };
    if job.state == DeliveryState::InFlight && !end.is_ambiguous() {
        // The request that `in_flight` announced was not made.
        job.attempts = job.attempts.saturating_sub(1);
        write(&ports, &mut job, DeliveryState::Pending, None).await?;
    }
    if is_ambiguous {
        await_webhook(&ports, &mut job, Some(verdict.note)).await?;
    } else {
        write(&ports, &mut job, end, Some(verdict.note)).await?;
    }
    Ok(Next::Settled { id: job.id(), answered: false, rest_ms: None })
}

/// Writes down what the ESP said.
async fn conclude(
    ports: &Ports,
    mut job: Job,
    message: Message,
    result: Result<Accepted, SendError>,
) -> Result<Next, LogFault> {
    let error = match result {
        Ok(Accepted { esp_id, rest_ms }) => {
            write(ports, &mut job, DeliveryState::Accepted, esp_id).await?;
            return Ok(Next::Settled { id: job.id(), answered: true, rest_ms });
        }
        Err(error) => error,
    };
    let note = Some(error.to_string());
    let is_denied = matches!(error, SendError::Denied { .. });
    let (cause, retry_after_ms) = match error {
        SendError::Refused { .. } => return refuse(ports, job, note).await,
        SendError::Denied { .. } if job.is_to_blame => return refuse(ports, job, note).await,
        SendError::Denied { .. } => ("denied", None),
        SendError::NotSent { .. } => ("not_sent", None),
        SendError::Throttled { retry_after_ms, .. } => ("throttled", retry_after_ms),
        SendError::Unknown { .. } => {
            job.ambiguous_since_ms.get_or_insert_with(|| (ports.now_ms)());
            ("unknown", None)
        }
    };
    match job.ambiguous_since_ms {
        // Nothing can have been taken: the next attempt renders anew.
        None => write(ports, &mut job, DeliveryState::Pending, note.clone()).await?,
        Some(since_ms) if ports.may_repeat(since_ms) => {
            write(ports, &mut job, DeliveryState::Unknown, note.clone()).await?;
            job.repeat = Some(message);
            job.enrichment = Enrichment::Unwanted;
        }
        Some(_) => {
            await_webhook(ports, &mut job, note).await?;
            return Ok(Next::LeftUnknown { id: job.id() });
        }
    }
    let job = Box::new(job);
    Ok(match note {
        Some(fault) if is_denied => Next::Denied { job, fault },
        _ => Next::Again { job, cause, retry_after_ms },
    })
}

/// Settles a delivery that will never be taken.
async fn refuse(ports: &Ports, mut job: Job, note: Option<String>) -> Result<Next, LogFault> {
    write(ports, &mut job, DeliveryState::Refused, note).await?;
    Ok(Next::Settled { id: job.id(), answered: true, rest_ms: None })
}

async fn write(ports: &Ports, job: &mut Job, state: DeliveryState, note: Option<String>) -> Result<(), LogFault> {
    log(ports, job, state, note, false).await
}

/// Leaves it `unknown`: it may have been taken, and is not to be repeated.
async fn await_webhook(ports: &Ports, job: &mut Job, note: Option<String>) -> Result<(), LogFault> {
    log(ports, job, DeliveryState::Unknown, note, true).await
}

async fn log(
    ports: &Ports,
    job: &mut Job,
    state: DeliveryState,
    note: Option<String>,
    awaits_webhook: bool,
) -> Result<(), LogFault> {
    job.state = state;
    let (attempts, since_ms) = (job.attempts, (ports.now_ms)());
    let ambiguous_since_ms = job.ambiguous_since_ms.filter(|_| state.is_ambiguous());
    let record = DeliveryRecord { state, attempts, since_ms, ambiguous_since_ms, note, awaits_webhook };
    ports.log.write(job.id(), record).await?;
    metrics::counter!("beckon_delivery_states_total", "state" => job.state.name()).increment(1);
    Ok(())
}
