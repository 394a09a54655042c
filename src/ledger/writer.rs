//! Group commit. In: commands, each with someone waiting for its answer. All that wait are done in one transaction; the
//! answers go out when the disk has it. After a storage fault the thread ends, and everyone who comes later is told.

use std::sync::mpsc::{Receiver, SyncSender};

use tokio::sync::oneshot;

use super::LedgerError;
use super::mirror::Mirror;
use super::tables::{Entry, Tables, Writing};
use crate::decision::{DecisionId, DeliveryRecord};

/// The most commands that one transaction takes, so that the first does not wait for ever.
const BATCH_MAX: usize = 1024;

/// Something to be made durable.
pub(super) enum Command {
    /// The decisions of a closed tick.
    Record(Vec<Entry>, SyncSender<Result<Vec<DecisionId>, LedgerError>>),
    /// That a delivery's webhook is waited for no longer.
    Bury(DecisionId, oneshot::Sender<Result<(), LedgerError>>),
    /// A delivery's next state.
    Advance(DecisionId, DeliveryRecord, oneshot::Sender<Result<(), LedgerError>>),
}

/// What is said to whoever waits, once the transaction is durable.
enum Answer {
    Recorded(SyncSender<Result<Vec<DecisionId>, LedgerError>>, Vec<DecisionId>),
    Advanced(oneshot::Sender<Result<(), LedgerError>>, Result<(), LedgerError>),
}

/// Runs until the ledger is dropped or the storage fails, or the mirror, where there is one.
pub(super) fn run(tables: &Tables, mut mirror: Option<Mirror>, commands: &Receiver<Command>) {
    while let Ok(first) = commands.recv() {
        let mut batch = vec![first];
        batch.extend(commands.try_iter().take(BATCH_MAX - 1));
        metrics::histogram!("beckon_ledger_batch_commands").record(batch.len() as f64);
        let mut waiting = Vec::with_capacity(batch.len());
        let mut mirrored = Ok(());
        let committed = tables.commit(|tables, writing| {
            apply(tables, writing, batch, &mut waiting)?;
            // Under way to the brokers while the disk syncs.
            mirrored = mirror.as_mut().map_or(Ok(()), |mirror| mirror.send_all(writing.take_changed()));
            Ok(())
        });
        let settled = mirrored.and_then(|()| mirror.as_mut().map_or(Ok(()), Mirror::settle));
        let committed = committed.and(settled.map_err(LedgerError::Mirror));
        if let Err(fault) = &committed {
            tracing::error!(%fault, "the ledger stops");
        }
        for answer in waiting {
            answer.give(&committed);
        }
        if committed.is_err() {
            return;
        }
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
            Command::Bury(id, answer) => waiting.push(Answer::Advanced(answer, writing.bury(tables, id)?)),
            Command::Advance(id, record, answer) => {
                waiting.push(Answer::Advanced(answer, writing.advance(tables, id, &record)?));
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
        }
    }
}
