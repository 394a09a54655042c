//! Group commit. In: commands, each with someone waiting for its answer. All that wait are done in one transaction; the
//! answers go out when the disk has it. After a storage fault the writer is gone, and everyone who comes later is told.
//!
//! The writer has a thread of its own, or it writes when it is told to ([`Hand`]).
//!
//! Some time after something was erased the file is written anew, so that it does not linger there.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use beckon_dataflows::model::Tick;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::LedgerError;
use super::mirror::Mirror;
use super::tables::{Entry, Tables};
use super::writing::Writing;
use crate::decision::{DecisionId, DeliveryRecord};

/// The most commands that one transaction takes, so that the first does not wait for ever.
const BATCH_MAX: usize = 1024;

/// The file is written anew at most so often,
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// and up to this size, which takes about a second; a larger one when the ledger is opened the next time.
const SWEEP_BYTES_MAX: u64 = 64 << 20;

/// Something to be made durable.
pub(super) enum Command {
    /// The decisions of a closed tick.
    Record(Vec<Entry>, SyncSender<Result<Vec<DecisionId>, LedgerError>>),
    /// That a delivery's webhook is waited for no longer.
    Bury(DecisionId, oneshot::Sender<Result<(), LedgerError>>),
    /// To which ESPs deliveries go from now on.
    Assign(Vec<(DecisionId, Option<Arc<str>>)>, SyncSender<Result<usize, LedgerError>>),
    /// A mark that means nothing.
    Probe(oneshot::Sender<Result<(), LedgerError>>),
    /// A delivery's next state.
    Advance(DecisionId, DeliveryRecord, oneshot::Sender<Result<(), LedgerError>>),
    /// What the decisions of customers up to a tick are about is to be forgotten.
    Erase(Vec<String>, Tick, SyncSender<Result<usize, LedgerError>>),
}

/// What is said to whoever waits, once the transaction is durable.
enum Answer {
    Recorded(SyncSender<Result<Vec<DecisionId>, LedgerError>>, Vec<DecisionId>),
    Advanced(oneshot::Sender<Result<(), LedgerError>>, Result<(), LedgerError>),
    Assigned(SyncSender<Result<usize, LedgerError>>, Result<usize, LedgerError>),
    Erased(SyncSender<Result<usize, LedgerError>>, Result<usize, LedgerError>),
}

/// By whose hand commands are done.
pub(super) enum Hand {
    /// A thread's. Its channel is unbounded, and yet short: every caller waits for the answer before it comes again.
    Thread { commands: Option<Sender<Command>>, writer: Option<JoinHandle<()>> },
    /// The holder's, when it says so.
    InLine(Mutex<InLine>),
}

/// A writer without a thread.
pub(super) struct InLine {
    /// None after a fault.
    writer: Option<Writer>,
    waiting: Vec<Command>,
}

impl Hand {
    /// Starts a thread. Fails when there can be none.
    pub fn thread(
        tables: Arc<Tables>,
        mirror: Option<Mirror>,
        fault: Arc<OnceLock<LedgerError>>,
    ) -> std::io::Result<Hand> {
        let (commands, waiting) = mpsc::channel();
        let writer = Writer { tables, mirror, sweeps: Sweeps::default(), fault };
        let thread = std::thread::Builder::new().name("ledger".into()).spawn(move || writer.run(&waiting))?;
        Ok(Hand::Thread { commands: Some(commands), writer: Some(thread) })
    }

    /// Nothing is written but by [`Hand::write_waiting`].
    pub fn in_line(tables: Arc<Tables>, fault: Arc<OnceLock<LedgerError>>) -> Hand {
        let writer = Writer { tables, mirror: None, sweeps: Sweeps::default(), fault };
        Hand::InLine(Mutex::new(InLine { writer: Some(writer), waiting: Vec::new() }))
    }

    /// Takes a command; false when nobody will do it any more.
    pub fn submit(&self, command: Command) -> bool {
        match self {
            Hand::Thread { commands, .. } => commands.as_ref().is_some_and(|commands| commands.send(command).is_ok()),
            Hand::InLine(own) => {
                let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
                let writes = own.writer.is_some();
                own.waiting.extend(Some(command).filter(|_| writes));
                writes
            }
        }
    }

    /// Does what waits, where no thread does; false when it cannot any more.
    pub fn write_waiting(&self) -> bool {
        let Hand::InLine(own) = self else { return true };
        let InLine { writer, waiting } = &mut *own.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = std::mem::take(waiting);
        let written = writer.as_mut().is_some_and(|writer| {
            let committed = if batch.is_empty() { Ok(()) } else { writer.commit(batch) };
            committed.and_then(|()| writer.sweep_if_due()).is_ok()
        });
        if !written {
            *writer = None;
        }
        written
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        if let Hand::Thread { commands, writer } = self {
            drop(commands.take());
            // A panic of the writer has already been reported, and nothing was acknowledged after it.
            writer.take().map(JoinHandle::join);
        }
    }
}

/// Who has the file.
struct Writer {
    tables: Arc<Tables>,
    mirror: Option<Mirror>,
    sweeps: Sweeps,
    /// Says why nothing is written any more, to whoever comes later.
    fault: Arc<OnceLock<LedgerError>>,
}

impl Writer {
    /// Runs until the ledger is dropped or the storage fails, or the mirror, where there is one.
    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let written = match self.sweeps.wait(commands) {
                Ok(first) => {
                    let mut batch = vec![first];
                    batch.extend(commands.try_iter().take(BATCH_MAX - 1));
                    self.commit(batch)
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => self.sweep_if_due(),
            };
            if written.is_err() {
                return;
            }
        }
    }

    /// Does the whole batch in one transaction, and tells everybody who waits.
    fn commit(&mut self, batch: Vec<Command>) -> Result<(), LedgerError> {
        metrics::histogram!("beckon_ledger_batch_commands").record(batch.len() as f64);
        let mut waiting = Vec::with_capacity(batch.len());
        let (mirror, mut mirrored) = (&mut self.mirror, Ok(()));
        let committed = self.tables.commit(|tables, writing| {
            apply(tables, writing, batch, &mut waiting)?;
            // Under way to the brokers while the disk syncs.
            mirrored = mirror.as_mut().map_or(Ok(()), |mirror| mirror.send_all(writing.take_changed()));
            Ok(())
        });
        let settled = mirrored.and_then(|()| mirror.as_mut().map_or(Ok(()), Mirror::settle));
        let committed = committed.and(settled.map_err(LedgerError::Mirror)).inspect_err(|error| self.stops(error));
        for answer in waiting {
            self.sweeps.heed(&answer);
            answer.give(&committed);
        }
        committed
    }

    fn stops(&self, fault: &LedgerError) {
        tracing::error!(%fault, "the ledger stops");
        let _ = self.fault.set(fault.clone());
    }

    fn sweep_if_due(&mut self) -> Result<(), LedgerError> {
        if self.sweeps.due.is_some_and(|due| due <= Instant::now()) {
            self.sweeps.sweep(&self.tables).inspect_err(|error| self.stops(error))?;
        }
        Ok(())
    }
}

/// When the file is to be written anew.
#[derive(Default)]
struct Sweeps {
    due: Option<Instant>,
    last: Option<Instant>,
}

impl Sweeps {
    /// The next command, unless it is time to write the file anew before there is one.
    fn wait(&self, commands: &Receiver<Command>) -> Result<Command, RecvTimeoutError> {
        match self.due {
            None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => commands.recv_timeout(due.saturating_duration_since(Instant::now())),
        }
    }

    fn heed(&mut self, answer: &Answer) {
        if matches!(answer, Answer::Erased(_, Ok(1..))) && self.due.is_none() {
            let now = Instant::now();
            self.due = Some(self.last.map_or(now, |last| now.max(last + SWEEP_EVERY)));
        }
    }

    fn sweep(&mut self, tables: &Tables) -> Result<(), LedgerError> {
        self.due = None;
        if tables.bytes() > SWEEP_BYTES_MAX {
            tracing::info!("what was erased lingers in free pages of the ledger until it is opened the next time");
            return Ok(());
        }
        tables.sweep()?;
        self.last = Some(Instant::now());
        Ok(())
    }
}

/// Does the whole batch; a command that is the caller's own fault fails alone.
fn apply(
    tables: &Tables,
    writing: &mut Writing<'_>,
    batch: Vec<Command>,
    waiting: &mut Vec<Answer>,
) -> Result<(), redb::Error> {
    for command in batch {
        match command {
            Command::Record(entries, answer) => waiting.push(Answer::Recorded(answer, writing.record(entries)?)),
            Command::Probe(answer) => {
                writing.probe()?;
                waiting.push(Answer::Advanced(answer, Ok(())));
            }
            Command::Bury(id, answer) => waiting.push(Answer::Advanced(answer, writing.bury(tables, id)?)),
            Command::Advance(id, record, answer) => {
                waiting.push(Answer::Advanced(answer, writing.advance(tables, id, &record)?));
            }
            Command::Assign(deliveries, answer) => {
                let mut assigned = Ok(deliveries.len());
                for (id, esp) in deliveries {
                    let done = writing.assign(tables, id, esp)?;
                    assigned = assigned.and_then(|count| done.map(|()| count));
                }
                waiting.push(Answer::Assigned(answer, assigned));
            }
            Command::Erase(customers, upto, answer) => {
                let mut erased = Ok(0);
                for customer in customers {
                    let own = writing.erase(tables, &customer, upto)?;
                    erased = erased.and_then(|erased| Ok(erased + own?));
                }
                waiting.push(Answer::Erased(answer, erased));
            }
        }
    }
    Ok(())
}

impl Answer {
    /// Nobody may be listening any more (a task that was cut off); what is on the disk stays there.
    fn give(self, committed: &Result<(), LedgerError>) {
        let committed = committed.clone();
        match self {
            Answer::Recorded(waiter, new) => drop(waiter.send(committed.map(|()| new))),
            Answer::Advanced(waiter, done) => drop(waiter.send(committed.and(done))),
            Answer::Assigned(waiter, done) | Answer::Erased(waiter, done) => drop(waiter.send(committed.and(done))),
        }
    }
}
