//! Group commit. In: commands, each with someone waiting for its answer. All that wait are done in one transaction; the
//! answers go out when the journal has it on the disk. After a storage fault the writer is gone, and everyone who comes later is told.
//!
//! The writer has a thread of its own, or it writes when it is told to ([`Hand`]).
//!
//! When nobody waits the database's file is written, and the journal is wiped out. Some time after something was erased that file is written
//! anew, so that it does not linger there.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

use super::LedgerError;
use super::journal::Journal;
use super::mirror::Mirror;
use super::tables::Tables;
use super::writing::{Done, Step};

/// The most commands that one transaction takes, so that the first does not wait for ever.
const BATCH_MAX: usize = 1024;

/// The file is written anew at most so often,
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// and up to this size, which takes about a second; a larger one when the ledger is opened the next time.
const SWEEP_BYTES_MAX: u64 = 64 << 20;

/// Something to be made durable, and who waits for that.
pub(super) struct Command {
    /// What has to be durable before, and is made so by this.
    pub first: Option<First>,
    /// None: there is nothing to be done but what came before this command.
    pub step: Option<Step>,
    pub waiter: Waiter,
}

impl Command {
    /// A step that follows from nothing else.
    pub fn alone(step: Step, waiter: impl FnOnce(Result<Done, LedgerError>) + Send + 'static) -> Command {
        Command { first: None, step: Some(step), waiter: Box::new(waiter) }
    }
}

/// Makes durable what decisions follow from.
pub type First = Box<dyn FnOnce() -> Result<(), FirstError> + Send>;

/// Why that could not be done.
pub type FirstError = Box<dyn std::error::Error + Send + Sync>;

/// Hears what a command came to. Nobody may be listening any more (a task that was cut off); what is on the disk stays there.
pub(super) type Waiter = Box<dyn FnOnce(Result<Done, LedgerError>) + Send>;

/// By whose hand commands are done.
pub(super) enum Hand {
    /// A thread's. Its channel is unbounded, and yet short: every caller waits for the answer before it comes again, or bounds how much it has
    /// handed over.
    Thread { commands: Option<Sender<Command>>, writer: Option<JoinHandle<()>> },
    /// The holder's, when it says so.
    InLine(Box<Mutex<InLine>>),
}

/// A writer without a thread.
pub(super) struct InLine {
    /// None after a fault.
    writer: Option<Writer>,
    waiting: Vec<Command>,
}

impl Hand {
    /// Starts a thread. Fails when there can be none.
    pub fn thread(writer: Writer) -> std::io::Result<Hand> {
        let (commands, waiting) = mpsc::channel();
        let thread = std::thread::Builder::new().name("ledger".into()).spawn(move || writer.run(&waiting))?;
        Ok(Hand::Thread { commands: Some(commands), writer: Some(thread) })
    }

    /// Nothing is written but by [`Hand::write_waiting`].
    pub fn in_line(writer: Writer) -> Hand {
        Hand::InLine(Box::new(Mutex::new(InLine { writer: Some(writer), waiting: Vec::new() })))
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

/// Who has the files.
pub(super) struct Writer {
    tables: Arc<Tables>,
    journal: Journal,
    mirror: Option<Mirror>,
    sweeps: Sweeps,
    /// Says why nothing is written any more, to whoever comes later.
    fault: Arc<OnceLock<LedgerError>>,
}

impl Writer {
    /// Who writes to these.
    pub fn new(
        tables: Arc<Tables>,
        journal: Journal,
        mirror: Option<Mirror>,
        fault: Arc<OnceLock<LedgerError>>,
    ) -> Writer {
        Writer { tables, journal, mirror, sweeps: Sweeps::default(), fault }
    }

    /// Runs until the ledger is dropped or the storage fails, or the mirror, where there is one.
    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let written = match self.wait(commands) {
                Ok(first) => {
                    let mut batch = vec![first];
                    batch.extend(commands.try_iter().take(BATCH_MAX - 1));
                    self.commit(batch)
                }
                Err(RecvTimeoutError::Timeout) => self.tidy(),
                Err(RecvTimeoutError::Disconnected) => {
                    // The journal has it all, should that fail.
                    let _ = self.write_back();
                    return;
                }
            };
            if written.is_err() {
                return;
            }
        }
    }

    /// The next command, unless it is time for something else before there is one.
    fn wait(&self, commands: &Receiver<Command>) -> Result<Command, RecvTimeoutError> {
        match self.sweeps.due.into_iter().chain(self.journal.due()).min() {
            None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => commands.recv_timeout(due.saturating_duration_since(Instant::now())),
        }
    }

    /// Does the whole batch in one transaction, and tells everybody who waits.
    fn commit(&mut self, batch: Vec<Command>) -> Result<(), LedgerError> {
        let (mut firsts, mut steps, mut waiters) = (Vec::new(), Vec::new(), Vec::with_capacity(batch.len()));
        for Command { first, step, waiter } in batch {
            waiters.push((waiter, step.is_some()));
            firsts.extend(first);
            steps.extend(step);
        }
        let mut done = Vec::with_capacity(steps.len());
        let committed = firsts.into_iter().try_for_each(|first| first().map_err(|why| LedgerError::First(why.into())));
        let committed = committed.and_then(|()| self.take(steps, &mut done)).inspect_err(|error| self.stops(error));
        let mut done = done.into_iter();
        for (waiter, has_step) in waiters {
            // There are fewer where it was cut short, and then there is an error for all.
            let own = if has_step { done.next() } else { None };
            let done = committed.clone().and_then(|()| own.unwrap_or(Ok(Done::default())));
            self.sweeps.heed(&done);
            waiter(done);
        }
        committed?;
        if self.journal.is_full() { self.write_back() } else { Ok(()) }
    }

    /// Takes all steps in one transaction, and waits for the disk; one that cannot be taken for a fault of its caller's fails alone.
    fn take(&mut self, steps: Vec<Step>, done: &mut Vec<Result<Done, LedgerError>>) -> Result<(), LedgerError> {
        if steps.is_empty() {
            return Ok(());
        }
        metrics::histogram!("beckon_ledger_batch_commands").record(steps.len() as f64);
        let mut mirrored = Ok(());
        let Writer { tables, journal, mirror, .. } = self;
        let committed = tables.commit(|tables, writing| {
            let frame = serde_json::to_vec(&steps).map_err(|error| redb::Error::Io(error.into()))?;
            for step in steps {
                done.push(writing.take(tables, step)?);
            }
            writing.stands_at(journal.next())?;
            // Under way to the brokers while the disk syncs.
            mirrored = mirror.as_mut().map_or(Ok(()), |mirror| mirror.send_all(writing.take_changed()));
            // Before anybody sees it.
            Ok(journal.append(&frame)?)
        });
        let settled = mirrored.and_then(|()| mirror.as_mut().map_or(Ok(()), Mirror::settle));
        committed.and(settled.map_err(LedgerError::Mirror))
    }

    /// Does what is due when nobody waits.
    fn tidy(&mut self) -> Result<(), LedgerError> {
        self.sweep_if_due()?;
        let due = self.journal.due().is_some_and(|due| due <= Instant::now());
        if due { self.write_back() } else { Ok(()) }
    }

    /// Writes the database's file, and wipes out the journal.
    fn write_back(&mut self) -> Result<(), LedgerError> {
        if self.journal.is_empty() {
            return Ok(());
        }
        let written = self.tables.write_back().and_then(|()| self.clear_journal());
        written.inspect_err(|error| self.stops(error))
    }

    fn clear_journal(&mut self) -> Result<(), LedgerError> {
        self.journal.clear().map_err(|error| LedgerError::of(error.into(), self.tables.path()))
    }

    fn stops(&self, fault: &LedgerError) {
        tracing::error!(%fault, "the ledger stops");
        let _ = self.fault.set(fault.clone());
    }

    fn sweep_if_due(&mut self) -> Result<(), LedgerError> {
        if self.sweeps.due.is_some_and(|due| due <= Instant::now()) {
            let swept = self.sweeps.sweep(&self.tables).and_then(|is_swept| match is_swept {
                true => self.clear_journal(),
                false => Ok(()),
            });
            swept.inspect_err(|error| self.stops(error))?;
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
    fn heed(&mut self, done: &Result<Done, LedgerError>) {
        if matches!(done, Ok(Done { erased: 1.., .. })) && self.due.is_none() {
            let now = Instant::now();
            self.due = Some(self.last.map_or(now, |last| now.max(last + SWEEP_EVERY)));
        }
    }

    /// Writes the file anew, unless it is too large.
    fn sweep(&mut self, tables: &Tables) -> Result<bool, LedgerError> {
        self.due = None;
        if tables.bytes() > SWEEP_BYTES_MAX {
            tracing::info!("what was erased lingers in free pages of the ledger until it is opened the next time");
            return Ok(false);
        }
        tables.sweep()?;
        self.last = Some(Instant::now());
        Ok(true)
    }
}
