//! The ledger: decisions and deliveries made durable (SPEC §6). In: the decisions of a closed tick, and each change of a
//! delivery's state. Out: which decisions were new; after a restart, the deliveries that are still open. Fails when the
//! disk does, or when a state is asked to follow one that it may not.
//!
//! One writer owns the files: a thread of its own, or, where whoever holds the ledger has but one, that one. It commits
//! everything that waits for it in one transaction, so that a busy sender pays for one sync a batch and not for one a mail.
//! Nothing is acknowledged before the disk has it: in the journal at first, in the database's file some time later.

mod error;
mod journal;
mod mirror;
mod storage;
mod tables;
mod writer;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use beckon_dataflows::model::Tick;
use tokio::sync::oneshot;

pub use error::{LedgerError, OpenError};
pub use mirror::{MirrorError, MirrorTopics};
pub use storage::Storage;
pub use tables::{Counts, Owing};
pub use writer::{First, FirstError};

use crate::decision::{Decision, DecisionId, DeliveryRecord, Errand, OpenDelivery};
use crate::durable::Machine;
use journal::Journal;
use mirror::Mirror;
use tables::Tables;
use writer::{Command, Hand, Writer};
use writing::{Done, Step};

/// The database's file in the configured `state` folder. Beside it stands the journal, under the same name.
const FILE: &str = "ledger.redb";

/// How long the journal becomes where there is no thread to see when nobody waits.
const JOURNAL_BYTES_IN_LINE: u64 = 16 << 10;

/// How many entries of the mirror one transaction takes.
const RESTORED_AT_ONCE: usize = 10_000;

/// The open ledger. One process has it; share it by reference or `Arc`. Dropping it waits for what is being written.
pub struct Ledger {
    tables: Arc<Tables>,
    hand: Hand,
    /// Why nothing is written any more.
    fault: Arc<OnceLock<LedgerError>>,
}

impl Ledger {
    /// Opens the ledger in the folder `dir`, and makes both if there are none. Cannot be opened twice at a time.
    pub fn open(dir: &Path) -> Result<Ledger, OpenError> {
        Ledger::open_mirrored(dir, None)
    }

    /// The same, mirrored to the topics named. A ledger that is not there is made from what they have: so a disk that was lost
    /// has nothing sent twice.
    pub fn open_mirrored(dir: &Path, topics: Option<&MirrorTopics>) -> Result<Ledger, OpenError> {
        let path = dir.join(FILE);
        let disk: Arc<dyn Storage> = Arc::new(Machine);
        let failed = |error| OpenError::of(redb::Error::Io(error), &path);
        disk.make_folder(dir).map_err(failed)?;
        if let Some(topics) = topics.filter(|_| !path.exists()) {
            let unfinished = path.with_extension("new");
            restore(disk.clone(), &unfinished, topics)?;
            disk.replace(&unfinished, &path).map_err(failed)?;
        }
        let mirror = topics.cloned().map(Mirror::open).transpose()?;
        let (tables, journal) = open(disk, path, journal::BYTES_MAX)?;
        let fault = Arc::new(OnceLock::new());
        let hand = Hand::thread(Writer::new(tables.clone(), journal, mirror, fault.clone()));
        let hand = hand.map_err(|error| OpenError::of(error.into(), tables.path()))?;
        Ok(Ledger { tables, hand, fault })
    }

    /// Opens the ledger on another disk, in the folder `dir`, without a thread: what waits is written when somebody records
    /// something, or calls [`Ledger::write_waiting`].
    pub fn open_in_line(disk: Arc<dyn Storage>, dir: &Path) -> Result<Ledger, OpenError> {
        let path = dir.join(FILE);
        disk.make_folder(dir).map_err(|error| OpenError::of(redb::Error::Io(error), &path))?;
        let (tables, journal) = open(disk, path, JOURNAL_BYTES_IN_LINE)?;
        let fault = Arc::new(OnceLock::new());
        let writer = Writer::new(tables.clone(), journal, None, fault.clone());
        Ok(Ledger { hand: Hand::in_line(writer), tables, fault })
    }

    /// Writes what waits, in one transaction, where the ledger has no thread that does; and whether it can still write.
    pub fn write_waiting(&self) -> bool {
        self.hand.write_waiting()
    }

    /// Opens the ledger in the folder `dir`. Fails where there is none.
    pub fn open_existing(dir: &Path) -> Result<Ledger, OpenError> {
        let path = dir.join(FILE);
        match path.try_exists() {
            Ok(true) => Ledger::open(dir),
            Ok(false) => Err(OpenError::Missing { path }),
            Err(error) => Err(OpenError::of(redb::Error::Io(error), &path)),
        }
    }

    /// Makes the decisions of a closed tick durable, all or none, and a `pending` delivery of each that has an errand: of each send. Returns
    /// those that were not there yet, in the order given, so that a replay after a restart never has one sent twice.
    /// Blocks until the disk has them (a few milliseconds): call it from a thread, not from a task.
    pub fn record(&self, decisions: &[(Decision, Option<Errand>)]) -> Result<Vec<DecisionId>, LedgerError> {
        if decisions.is_empty() {
            return Ok(Vec::new());
        }
        self.wait_for(self.recording(decisions, |_| None)?).map(|done| done.new)
    }

    /// Hands over decisions that are to be made durable in the same way, and does not wait: whoever decides goes on meanwhile. With them goes
    /// what the gates answered about each that is new, as JSON, where there is an `account_of` it. What they follow from is made durable by
    /// `first`; when the disk has both, `then` is called. What is handed over is taken in order. Fails when the ledger has failed at any time
    /// before; when it does so later, [`Ledger::check`] tells.
    pub fn hand_over(
        &self,
        decisions: &[(Decision, Option<Errand>)],
        account_of: impl FnMut(DecisionId) -> Option<String>,
        first: First,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<(), LedgerError> {
        let step = Some(self.recording(decisions, account_of)?);
        // One that failed has stopped the ledger, which says why.
        let waiter = move |done: Result<Done, LedgerError>| done.map_or((), |_| then());
        self.submit(Command { first: Some(first), step, waiter: Box::new(waiter) })?;
        self.write_waiting();
        self.check()
    }

    /// Blocks until all that was handed over before is durable, at most for so long; whether it is.
    pub fn settle(&self, within: Duration) -> Result<bool, LedgerError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.submit(Command { first: None, step: None, waiter: Box::new(move |done| drop(answer.send(done))) })?;
        self.write_waiting();
        match answered.recv_timeout(within) {
            Ok(done) => done.map(|_| true),
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(self.stopped()),
        }
    }

    /// Fails when the ledger has, and nothing can be written any more.
    pub fn check(&self) -> Result<(), LedgerError> {
        self.fault.get().cloned().map_or(Ok(()), Err)
    }

    fn recording(
        &self,
        decisions: &[(Decision, Option<Errand>)],
        mut account_of: impl FnMut(DecisionId) -> Option<String>,
    ) -> Result<Step, LedgerError> {
        let encode = |decided: &(Decision, _)| self.tables.encode(decided, account_of(decided.0.decision_id));
        Ok(Step::Record(decisions.iter().map(encode).collect::<Result<_, _>>()?))
    }

    /// Takes out of the decisions of these customers up to the tick `upto` what they are about, and out of their deliveries what the
    /// ESP said; ids, campaigns, outcomes and times stay, and so does every delivery's state. Returns of how many; those
    /// erased before are none. Blocks until the disk has it. In the file's free pages it may linger for a minute, in a
    /// file of more than 64 MiB until the ledger is opened the next time.
    pub fn erase(&self, customers: Vec<String>, upto: Tick) -> Result<usize, LedgerError> {
        self.wait_for(Step::Erase(customers, upto)).map(|done| done.erased)
    }

    /// Makes a delivery's next state durable. Resolves when the disk has it. Fails, and changes nothing, when there is no
    /// such delivery or the state may not follow the one it is in.
    pub async fn advance(&self, id: DecisionId, record: DeliveryRecord) -> Result<(), LedgerError> {
        self.done(Step::Advance(id, record)).await
    }

    /// The same of the ESP that is called `default`.
    pub fn owed(
        &self,
        count: usize,
        is_wanted: impl Fn(DecisionId) -> bool,
    ) -> Result<(Vec<OpenDelivery>, bool), LedgerError> {
        self.owed_by(None, Owing::All, count, is_wanted)
    }

    /// Of the first `count` of these deliveries that an ESP owes, in the order in which they go out (SPEC §6: greater priority; newer
    /// decision), those that `is_wanted` says; and whether more than `count` are owed. Owed are `pending` ones, `in_flight`
    /// ones (where a process died around the request; the ESP may have taken it) and `unknown` ones that may be repeated.
    pub fn owed_by(
        &self,
        esp: Option<&str>,
        owing: Owing<'_>,
        count: usize,
        is_wanted: impl Fn(DecisionId) -> bool,
    ) -> Result<(Vec<OpenDelivery>, bool), LedgerError> {
        self.tables.owed(esp, owing, count, is_wanted)
    }

    /// Gives what is owed to the ESPs that are to send it now; returns of how many deliveries. `esps` are all there are, `esp_of` says which
    /// one a campaign has. What an ESP may have taken stays with it, or, if it is none of `esps`, waits for its webhook. Call it before
    /// anything is sent.
    pub fn assign<'a>(
        &self,
        esps: &[Option<&str>],
        esp_of: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<usize, LedgerError> {
        let only = if let [only] = esps { Some(*only) } else { None };
        let misplaced = self.tables.misplaced(only, |campaign, esp| esp_of(campaign) == esp)?;
        let moved = misplaced.into_iter().filter(|(_, _, stored)| {
            !(stored.record.state.is_ambiguous() && esps.contains(&stored.errand.esp.as_deref()))
        });
        let moved: Vec<_> = moved.map(|(id, decision, _)| (id, esp_of(&decision.campaign).map(Arc::from))).collect();
        if moved.is_empty() {
            return Ok(0);
        }
        self.wait_for(Step::Assign(moved)).map(|done| done.assigned)
    }

    /// What the delivery of this decision needs to know that the decision does not say; `None` unless it is a send.
    pub fn errand(&self, id: DecisionId) -> Result<Option<Errand>, LedgerError> {
        self.tables.errand(id)
    }

    /// The deliveries that wait for the ESP's webhook since before `before_ms`, the oldest first.
    pub fn unanswered(&self, before_ms: u64) -> Result<Vec<DecisionId>, LedgerError> {
        self.tables.unanswered(before_ms)
    }

    /// Gives up waiting for a delivery's webhook, durably: it is no longer [`Ledger::unanswered`], and stays `unknown`.
    pub async fn bury(&self, id: DecisionId) -> Result<(), LedgerError> {
        self.done(Step::Bury(id)).await
    }

    /// Writes a mark that means nothing. Resolves when the disk has it: so anything else could be written too.
    pub async fn probe(&self) -> Result<(), LedgerError> {
        self.done(Step::Probe).await
    }

    /// All decisions, in the order in which they are written (SPEC §5). Holds them in memory.
    pub fn decisions(&self) -> Result<Vec<Decision>, LedgerError> {
        let mut decisions = self.tables.decisions()?;
        decisions.sort_by(|one, other| one.sort_key().cmp(&other.sort_key()));
        Ok(decisions)
    }

    /// The decision of this id, if it was ever recorded.
    pub fn decision(&self, id: DecisionId) -> Result<Option<Decision>, LedgerError> {
        self.tables.decision(id)
    }

    /// What the gates answered about this decision, as JSON, if it was recorded with that and its customer is not erased.
    pub fn account(&self, id: DecisionId) -> Result<Option<Vec<u8>>, LedgerError> {
        self.tables.account(id)
    }

    /// The newest `count` decisions about a customer, the newest first, of the first `of` that are found: of more, nobody knows which
    /// are the newest without reading all.
    pub fn decisions_of(&self, customer: &str, count: usize, of: usize) -> Result<Vec<Decision>, LedgerError> {
        let ids = self.tables.ids_of_customer(customer, of)?;
        let decisions = ids.into_iter().filter_map(|id| self.decision(id).transpose());
        let mut decisions: Vec<Decision> = decisions.collect::<Result<_, _>>()?;
        decisions.sort_by(|one, other| other.sort_key().cmp(&one.sort_key()));
        decisions.truncate(count);
        Ok(decisions)
    }

    /// The ids of all decisions about a customer.
    pub fn ids_of(&self, customer: &str) -> Result<Vec<DecisionId>, LedgerError> {
        self.tables.ids_of_customer(customer, usize::MAX)
    }

    /// The decisions whose ids begin with these 64 bits, in the order of their ids; there is hardly ever a second one.
    pub fn decisions_of_prefix(&self, prefix: u64) -> Result<Vec<Decision>, LedgerError> {
        let ids = self.tables.ids_of_prefix(prefix)?;
        ids.into_iter().filter_map(|id| self.decision(id).transpose()).collect()
    }

    /// The delivery of this decision; `None` unless it is a send.
    pub fn delivery(&self, id: DecisionId) -> Result<Option<DeliveryRecord>, LedgerError> {
        self.tables.delivery(id)
    }

    /// How many decisions there are, and how many deliveries in each state.
    pub fn counts(&self) -> Result<Counts, LedgerError> {
        self.tables.counts()
    }

    /// The deliveries that were accepted, each with when, epoch ms, which is not before the tick of its decision. Reads all of them.
    pub fn accepted(&self) -> Result<Vec<(DecisionId, u64)>, LedgerError> {
        self.tables.accepted()
    }

    /// Has a step taken, and blocks until the disk has it.
    fn wait_for(&self, step: Step) -> Result<Done, LedgerError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.submit(Command::alone(step, move |done| drop(answer.send(done))))?;
        self.write_waiting();
        answered.recv().map_err(|_| self.stopped())?
    }

    /// Has a step taken. Resolves when the disk has it.
    async fn done(&self, step: Step) -> Result<(), LedgerError> {
        let (answer, answered) = oneshot::channel();
        self.submit(Command::alone(step, move |done| drop(answer.send(done))))?;
        answered.await.map_err(|_| self.stopped())?.map(drop)
    }

    fn submit(&self, command: Command) -> Result<(), LedgerError> {
        if self.hand.submit(command) { Ok(()) } else { Err(self.stopped()) }
    }

    fn stopped(&self) -> LedgerError {
        let unsaid = || LedgerError::Stopped { path: self.tables.path().to_owned() };
        self.fault.get().cloned().unwrap_or_else(unsaid)
    }
}

/// Opens the database at `path`, which has taken all that its journal says, and the journal, which is empty then.
fn open(disk: Arc<dyn Storage>, path: PathBuf, journal_bytes: u64) -> Result<(Arc<Tables>, Journal), OpenError> {
    let of = path.with_extension("journal");
    let tables = Tables::open(disk.clone(), path.clone())?;
    let failed = |error| OpenError::of(error, &path);
    let stands = tables.stand_at().map_err(failed)?;
    let mut number = stands;
    let frames = Journal::read(&*disk, &of).map_err(|error| failed(error.into()))?;
    for frame in frames.into_iter().filter(|frame| frame.number > stands) {
        let unreadable = |error: serde_json::Error| OpenError::Journal {
            path: of.clone(),
            number: frame.number,
            fault: error.to_string(),
        };
        let steps: Vec<Step> = serde_json::from_slice(&frame.json).map_err(unreadable)?;
        let taken = tables.commit(|tables, writing| {
            // What failed for a fault of the caller's fails again, alone.
            steps.into_iter().try_for_each(|step| writing.take(tables, step).map(drop))?;
            writing.stands_at(frame.number)
        });
        taken.map_err(OpenError::Recover)?;
        number = frame.number;
    }
    if tables.lingers().map_err(failed)? {
        tables.rewrite().map_err(failed)?;
    }
    tables.write_back().map_err(OpenError::Recover)?;
    let journal = Journal::begin(&*disk, &of, number, journal_bytes).map_err(|error| failed(error.into()))?;
    Ok((Arc::new(tables), journal))
}

/// Makes a ledger at `path` of all that its mirror has.
fn restore(disk: Arc<dyn Storage>, path: &Path, topics: &MirrorTopics) -> Result<(), OpenError> {
    disk.clear(path).map_err(|error| OpenError::of(redb::Error::Io(error), path))?;
    let tables = Tables::open(disk, path.to_owned())?;
    let (mut batch, mut count) = (Vec::new(), 0);
    topics.read(|entry, id, json| {
        count += 1;
        batch.push((entry, id, json.to_vec()));
        if batch.len() < RESTORED_AT_ONCE {
            Ok(())
        } else {
            tables.restore(batch.drain(..)).map_err(OpenError::Restore)
        }
    })?;
    tables.restore(batch.into_iter()).map_err(OpenError::Restore)?;
    tables.write_back().map_err(OpenError::Restore)?;
    if count > 0 {
        tracing::warn!(entries = count, "the ledger was not there, and was made again from its mirror");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use beckon_dataflows::model::Id;

    use super::*;
    use crate::decision::{DeliveryState, Outcome, Payload};

    fn decision(subject: &str, outcome: Outcome) -> Decision {
        Decision {
            decision_id: DecisionId::of("c", "u", subject, 1_000),
            campaign: "c".into(),
            customer_id: "u".into(),
            trigger: "cart_abandonment".into(),
            subject: subject.into(),
            anchor: 1_000,
            as_of: 2_000,
            outcome,
            reason: None,
            variant: None,
            payload: Payload::default(),
        }
    }

    fn errand(priority: i32) -> Errand {
        Errand { customer: Id(1), subject: Id(2), currency: None, priority, esp: None }
    }

    /// As it is recorded: with an errand if it is a send.
    fn entry(decision: &Decision) -> (Decision, Option<Errand>) {
        (decision.clone(), (decision.outcome == Outcome::Send).then(|| errand(0)))
    }

    /// Records what the gates answered too.
    fn record_with(
        ledger: &Ledger,
        entries: &[(Decision, Option<Errand>)],
        account_of: impl FnMut(DecisionId) -> Option<String>,
    ) -> Result<bool, LedgerError> {
        ledger.hand_over(entries, account_of, Box::new(|| Ok(())), || ())?;
        ledger.settle(Duration::from_secs(60))
    }

    /// The files as a crash leaves them.
    fn copy(from: &Path, to: &Path) {
        for file in [FILE, "ledger.journal"] {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }

    fn owed(ledger: &Ledger) -> Vec<OpenDelivery> {
        ledger.owed(1000, |_| true).unwrap().0
    }

    fn at(state: DeliveryState) -> DeliveryRecord {
        DeliveryRecord { attempts: 1, state, ..DeliveryRecord::pending(3_000) }
    }

    #[tokio::test]
    async fn a_decision_is_new_once_and_an_open_delivery_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (decision("a", Outcome::Send), decision("b", Outcome::Send));
        let held_out = decision("c", Outcome::Holdout);
        {
            let ledger = Ledger::open(dir.path()).unwrap();
            let new = ledger.record(&[entry(&a), entry(&held_out), entry(&a)]).unwrap();
            assert_eq!(new, [a.decision_id, held_out.decision_id]);
            assert_eq!(ledger.record(&[entry(&b), entry(&a)]).unwrap(), [b.decision_id]);
            ledger.advance(a.decision_id, at(DeliveryState::InFlight)).await.unwrap();
            ledger.advance(b.decision_id, at(DeliveryState::InFlight)).await.unwrap();
            ledger.advance(b.decision_id, at(DeliveryState::Accepted)).await.unwrap();
        }
        let ledger = Ledger::open(dir.path()).unwrap();
        assert!(ledger.record(&[entry(&a), entry(&b), entry(&held_out)]).unwrap().is_empty());
        let open = OpenDelivery { decision: a, errand: errand(0), delivery: at(DeliveryState::InFlight) };
        assert_eq!(owed(&ledger), [open]);
        assert_eq!(ledger.accepted().unwrap(), [(b.decision_id, 3_000)]);
        let deliveries = [(DeliveryState::InFlight, 1), (DeliveryState::Accepted, 1)].into();
        assert_eq!(ledger.counts().unwrap(), Counts { decisions: 3, deliveries });
        assert_eq!(ledger.decision(held_out.decision_id).unwrap(), Some(held_out.clone()));
        assert_eq!(ledger.delivery(held_out.decision_id).unwrap(), None);
        let prefix = (held_out.decision_id.0 >> 64) as u64;
        assert_eq!(ledger.decisions_of_prefix(prefix).unwrap(), [held_out]);
        assert!(ledger.decisions_of_prefix(!prefix).unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_in_the_files_though_the_process_never_closes_them() {
        let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ledger = Ledger::open(dir.path()).unwrap();
        let a = decision("a", Outcome::Send);
        ledger.record(&[entry(&a)]).unwrap();
        ledger.advance(a.decision_id, at(DeliveryState::InFlight)).await.unwrap();
        // A fault of the caller's is journaled with the rest, and fails again.
        ledger.advance(a.decision_id, at(DeliveryState::Pending)).await.unwrap();
        ledger.advance(a.decision_id, at(DeliveryState::Accepted)).await.unwrap_err();
        ledger.advance(a.decision_id, at(DeliveryState::InFlight)).await.unwrap();
        copy(dir.path(), crashed.path());
        let after = Ledger::open(crashed.path()).unwrap();
        let id = a.decision_id;
        let open = OpenDelivery { decision: a, errand: errand(0), delivery: at(DeliveryState::InFlight) };
        assert_eq!(owed(&after), [open]);
        assert_eq!(after.counts().unwrap(), ledger.counts().unwrap());
        // What goes on then is found as well, by the numbers of the journal that was.
        after.advance(id, at(DeliveryState::Accepted)).await.unwrap();
        let crashed_again = tempfile::tempdir().unwrap();
        copy(crashed.path(), crashed_again.path());
        assert!(owed(&Ledger::open(crashed_again.path()).unwrap()).is_empty());
    }

    /// It was written back, and the process died before the journal began anew.
    #[tokio::test]
    async fn what_the_file_has_already_is_not_taken_from_the_journal_again() {
        let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let a = decision("a", Outcome::Send);
        {
            let ledger = Ledger::open(dir.path()).unwrap();
            ledger.record(&[entry(&a)]).unwrap();
            ledger.advance(a.decision_id, at(DeliveryState::InFlight)).await.unwrap();
            copy(dir.path(), crashed.path());
            ledger.advance(a.decision_id, at(DeliveryState::Accepted)).await.unwrap();
        }
        // The file as it was closed, with everything, and the journal of before.
        std::fs::copy(dir.path().join(FILE), crashed.path().join(FILE)).unwrap();
        let after = Ledger::open(crashed.path()).unwrap();
        assert_eq!(after.delivery(a.decision_id).unwrap(), Some(at(DeliveryState::Accepted)));
    }

    #[tokio::test]
    async fn the_file_is_written_when_nobody_waits() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let a = decision("a", Outcome::Send);
        ledger.record(&[entry(&a)]).unwrap();
        let needs_no_journal = || {
            let alone = tempfile::tempdir().unwrap();
            std::fs::copy(dir.path().join(FILE), alone.path().join(FILE)).unwrap();
            // It may be written just now.
            Ledger::open(alone.path()).is_ok_and(|ledger| owed(&ledger).len() == 1)
        };
        assert!(!needs_no_journal());
        let began = std::time::Instant::now();
        while !needs_no_journal() {
            assert!(began.elapsed().as_secs() < 20, "the journal is never written back");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    #[test]
    fn a_journal_that_cannot_be_read_is_refused_and_one_that_is_cut_off_is_not() {
        let dir = tempfile::tempdir().unwrap();
        drop(Ledger::open(dir.path()).unwrap());
        let path = dir.path().join("ledger.journal");
        let mut journal = Journal::begin(&Machine, &path, 7, 0).unwrap();
        journal.append(b"[{\"Sing\":[]}]").unwrap();
        let fault = Ledger::open(dir.path()).err().unwrap();
        assert!(matches!(fault, OpenError::Journal { number: 8, .. }), "{fault}");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        drop(Ledger::open(dir.path()).unwrap());
    }

    /// Found by simulation: such a file was taken for a broken ledger at every later start.
    #[test]
    fn a_ledger_whose_making_was_cut_off_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ledger.unfinished"), [0; 4096]).unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        ledger.record(&[entry(&decision("a", Outcome::Send))]).unwrap();
        assert_eq!(owed(&ledger).len(), 1);
        assert!(!dir.path().join("ledger.unfinished").exists());
    }

    #[tokio::test]
    async fn what_is_owed_comes_by_priority_and_age_and_what_awaits_a_webhook_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let sends: Vec<_> = [("low", -3, 5_000), ("young", 7, 6_000), ("old", 7, 5_000), ("unanswered", 9, 5_000)]
            .map(|(subject, priority, as_of)| {
                let send = Decision { as_of, ..decision(subject, Outcome::Send) };
                (send, Some(errand(priority)))
            })
            .into();
        ledger.record(&sends).unwrap();
        let unanswered = sends[3].0.decision_id;
        ledger.advance(unanswered, at(DeliveryState::InFlight)).await.unwrap();
        let waits = DeliveryRecord { awaits_webhook: true, ..at(DeliveryState::Unknown) };
        ledger.advance(unanswered, waits.clone()).await.unwrap();
        let subjects = |(open, more): (Vec<OpenDelivery>, bool)| {
            (open.iter().map(|open| open.decision.subject.to_string()).collect::<Vec<_>>(), more)
        };
        let all = ["young", "old", "low"].map(String::from).to_vec();
        assert_eq!(subjects(ledger.owed(3, |_| true).unwrap()), (all.clone(), false));
        let old = sends[2].0.decision_id;
        assert_eq!(subjects(ledger.owed(2, |id| id != old).unwrap()), (all[..1].to_vec(), true));
        let tick = |priority| if priority == 7 { 6_000 } else { 5_000 };
        let (timely, overdue) = (["young", "low"].map(String::from), ["old".to_owned()]);
        let of = |owing, count| subjects(ledger.owed_by(None, owing, count, |_| true).unwrap());
        assert_eq!(of(Owing::Since(&tick), 9), (timely.to_vec(), false));
        assert_eq!(of(Owing::Since(&tick), 1), (timely[..1].to_vec(), true));
        assert_eq!(of(Owing::Before(&tick), 1), (overdue.to_vec(), false));
        assert_eq!(of(Owing::Before(&|_| u64::MAX), 9), (all, false));
        assert_eq!(of(Owing::Before(&|_| 0), 9), (vec![], false));

        assert_eq!(ledger.unanswered(3_000).unwrap(), []);
        assert_eq!(ledger.unanswered(3_001).unwrap(), [unanswered]);
        ledger.bury(unanswered).await.unwrap();
        assert_eq!(ledger.unanswered(u64::MAX).unwrap(), []);
        assert_eq!(ledger.delivery(unanswered).unwrap(), Some(waits));
    }

    #[tokio::test]
    async fn each_esp_owes_its_own_and_what_one_may_have_taken_is_given_to_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let to = |subject, esp: Option<&str>| {
            let send = decision(subject, Outcome::Send);
            (send, Some(Errand { esp: esp.map(Arc::from), ..errand(0) }))
        };
        let sends = [to("a", None), to("b", Some("old")), to("c", Some("old")), to("d", Some("new"))];
        ledger.record(&sends).unwrap();
        let taken = sends[2].0.decision_id;
        ledger.advance(taken, at(DeliveryState::InFlight)).await.unwrap();
        let owes = |esp| -> Vec<String> {
            let (owed, more) = ledger.owed_by(esp, Owing::All, 9, |_| true).unwrap();
            assert!(!more);
            let mut subjects: Vec<_> = owed.iter().map(|open| open.decision.subject.to_string()).collect();
            subjects.sort();
            subjects
        };
        assert_eq!((owes(None), owes(Some("old"))), (vec!["a".into()], vec!["b".into(), "c".into()]));
        // The campaign's ESP is another now, and the old one still there for what it may have taken.
        assert_eq!(ledger.assign(&[None, Some("old"), Some("new")], |_| Some("new")).unwrap(), 2);
        assert_eq!((owes(None), owes(Some("old"))), (vec![], vec!["c".to_string()]));
        assert_eq!(owes(Some("new")), ["a", "b", "d"]);
        // Then it is gone.
        assert_eq!(ledger.assign(&[Some("new")], |_| Some("new")).unwrap(), 1);
        assert_eq!((owes(Some("old")), owes(Some("new")).len()), (vec![], 3));
        assert_eq!(ledger.unanswered(u64::MAX).unwrap(), [taken]);
        assert_eq!(ledger.assign(&[Some("new")], |_| Some("new")).unwrap(), 0);
        assert_eq!(ledger.errand(taken).unwrap().unwrap().esp.as_deref(), Some("old"));
    }

    #[tokio::test]
    async fn a_wrong_step_fails_alone_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let a = decision("a", Outcome::Send);
        let id = a.decision_id;
        ledger.record(&[entry(&a)]).unwrap();
        let fault = ledger.advance(id, at(DeliveryState::Accepted)).await.unwrap_err();
        assert_eq!(fault.to_string(), format!("delivery {id} is pending and cannot become accepted"));
        assert!(matches!(
            ledger.advance(DecisionId(1), at(DeliveryState::InFlight)).await,
            Err(LedgerError::NoDelivery { id: DecisionId(1) })
        ));
        assert_eq!(ledger.delivery(id).unwrap(), Some(DeliveryRecord::pending(2_000)));
        ledger.advance(id, at(DeliveryState::InFlight)).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_who_wait_share_commits_and_all_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::open(dir.path()).unwrap());
        let decisions: Vec<_> = (0..200).map(|n| decision(&n.to_string(), Outcome::Send)).collect();
        ledger.record(&decisions.iter().map(entry).collect::<Vec<_>>()).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for id in decisions.iter().map(|decision| decision.decision_id) {
            let ledger = Arc::clone(&ledger);
            tasks.spawn(async move {
                ledger.advance(id, at(DeliveryState::InFlight)).await.unwrap();
                ledger.advance(id, at(DeliveryState::Accepted)).await.unwrap();
            });
        }
        tasks.join_all().await;
        assert_eq!(ledger.counts().unwrap().deliveries, [(DeliveryState::Accepted, 200)].into());
        assert!(owed(&ledger).is_empty());
    }

    #[test]
    fn a_ledger_is_open_once_and_in_a_known_format() {
        let dir = tempfile::tempdir().unwrap();
        let first = Ledger::open(dir.path()).unwrap();
        assert!(matches!(Ledger::open(dir.path()), Err(OpenError::Locked { .. })));
        drop(first);

        let database = redb::Database::create(dir.path().join(FILE)).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(redb::TableDefinition::<&str, u64>::new("meta")).unwrap().insert("format", 7).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let fault = Ledger::open(dir.path()).err().unwrap();
        assert!(matches!(fault, OpenError::Format { known: 4, .. }), "{fault}");

        std::fs::write(dir.path().join(FILE), "no ledger at all, but long enough to have a header".repeat(200))
            .unwrap();
        assert!(matches!(Ledger::open(dir.path()), Err(OpenError::Storage { .. })));
    }

    /// Whether the files in `dir` hold these bytes anywhere.
    fn holds(dir: &Path, text: &str) -> bool {
        [FILE, "ledger.journal"].iter().any(|file| {
            let bytes = std::fs::read(dir.join(file)).unwrap();
            memchr::memmem::find(&bytes, text.as_bytes()).is_some()
        })
    }

    /// A send to `customer` at the tick `as_of` about a product of this name.
    fn send(customer: &str, subject: &str, as_of: Tick, name: &str) -> Decision {
        let line = crate::decision::PayloadLine {
            sku: "s1".into(),
            quantity: None,
            price: None,
            name: Some(name.to_owned()),
            image: None,
            url: None,
            on_hand: None,
        };
        Decision {
            decision_id: DecisionId::of("c", customer, subject, 1_000),
            customer_id: customer.into(),
            as_of,
            payload: Payload { lines: vec![line], ..Payload::default() },
            ..decision(subject, Outcome::Send)
        }
    }

    #[test]
    fn what_the_gates_answered_is_kept_as_it_was_the_first_time() {
        let dir = tempfile::tempdir().unwrap();
        let decisions = [decision("a", Outcome::Send), decision("b", Outcome::Holdout)];
        let entries = decisions.each_ref().map(entry);
        let ids = decisions.each_ref().map(|decision| decision.decision_id);
        let of = |ledger: &Ledger| ids.map(|id| ledger.account(id).unwrap());
        {
            let ledger = Ledger::open(dir.path()).unwrap();
            record_with(&ledger, &entries, |id| (id == ids[0]).then(|| "first".to_owned())).unwrap();
            // Decided again after a restart, under another configuration.
            record_with(&ledger, &entries, |_| Some("second".to_owned())).unwrap();
            assert_eq!(of(&ledger), [Some(b"first".to_vec()), None]);
        }
        let ledger = Ledger::open(dir.path()).unwrap();
        assert_eq!(of(&ledger), [Some(b"first".to_vec()), None]);
        let newest = ledger.decisions_of("u", 1, 10).unwrap();
        assert_eq!(newest.len(), 1);
        assert_eq!(ledger.decisions_of("u", 10, 10).unwrap().len(), 2);
        assert_eq!(ledger.decisions_of("u", 10, 1).unwrap().len(), 1);
        assert!(ledger.decisions_of("v", 10, 10).unwrap().is_empty() && ledger.ids_of("v").unwrap().is_empty());
    }

    #[test]
    fn what_is_handed_over_is_there_when_it_is_told_after_what_it_follows_from() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, heard) = (Arc::new(Ledger::open(dir.path()).unwrap()), Arc::new(Mutex::new(Vec::new())));
        let decisions: Vec<Decision> = (0..20).map(|n| send("u", &n.to_string(), 2_000, "Shoes")).collect();
        for decision in &decisions {
            let (first, then, id) = (heard.clone(), heard.clone(), decision.decision_id);
            let (seen, looked) = (ledger.clone(), ledger.clone());
            let first: First = Box::new(move || {
                first.lock().unwrap().push((id, seen.decision(id)?.is_some()));
                Ok(())
            });
            let then = move || then.lock().unwrap().push((id, looked.decision(id).unwrap().is_some()));
            ledger.hand_over(&[entry(decision)], |_| None, first, then).unwrap();
        }
        assert!(ledger.settle(Duration::from_secs(60)).unwrap());
        let heard = heard.lock().unwrap();
        for told in [false, true] {
            let ids: Vec<DecisionId> = heard.iter().filter(|(_, is_there)| *is_there == told).map(|it| it.0).collect();
            assert_eq!(ids, decisions.iter().map(|it| it.decision_id).collect::<Vec<_>>(), "there: {told}");
        }
    }

    #[test]
    fn nothing_is_recorded_when_what_it_follows_from_cannot_be_made_durable() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (decision("a", Outcome::Send), decision("b", Outcome::Send));
        {
            let ledger = Ledger::open(dir.path()).unwrap();
            let full: First = Box::new(|| Err("no space for what comes first".into()));
            // It may be heard of at once, or at the next look.
            let _ = ledger.hand_over(&[entry(&a)], |_| None, full, || panic!("it was not recorded"));
            let told = ledger.settle(Duration::from_secs(60)).unwrap_err();
            assert!(matches!(told, LedgerError::First(_)) && told.to_string() == "no space for what comes first");
            assert!(matches!(ledger.check(), Err(LedgerError::First(_))));
            assert!(matches!(ledger.record(&[entry(&b)]), Err(LedgerError::First(_))));
        }
        assert!(Ledger::open(dir.path()).unwrap().decisions().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_the_erased_were_told_of_is_gone_from_the_file_and_the_rest_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let early: Vec<Decision> =
            (0..50).map(|n| send("u1", &format!("secret-{n}"), 2_000, "Secret Slippers")).collect();
        let others: Vec<Decision> = (0..50).map(|n| send("u2", &n.to_string(), 2_000, "Plain Shoes")).collect();
        let later = send("u1", "later", 9_000, "New Boots");
        {
            let ledger = Ledger::open(dir.path()).unwrap();
            let all = |decisions: &[Decision]| decisions.iter().map(entry).collect::<Vec<_>>();
            record_with(&ledger, &all(&early), |_| Some("[\"secret-zone\"]".to_owned())).unwrap();
            record_with(&ledger, &all(&others), |_| Some("[]".to_owned())).unwrap();
            ledger.record(&[entry(&later)]).unwrap();
            let id = early[0].decision_id;
            ledger.advance(id, at(DeliveryState::InFlight)).await.unwrap();
            let note = Some("550 no mailbox secret@example.com".to_owned());
            ledger.advance(id, DeliveryRecord { note, ..at(DeliveryState::Refused) }).await.unwrap();
            assert!(holds(dir.path(), "Secret Slippers") && holds(dir.path(), "secret@example.com"));

            assert_eq!(ledger.erase(vec!["u1".into(), "u9".into()], 5_000).unwrap(), 50);
            assert_eq!(ledger.erase(vec!["u1".into()], 5_000).unwrap(), 0, "once is enough");
            assert_eq!(ledger.decision(early[7].decision_id).unwrap(), Some(early[7].erased()));
            assert_eq!(ledger.decision(others[7].decision_id).unwrap(), Some(others[7].clone()));
            assert_eq!(ledger.decision(later.decision_id).unwrap(), Some(later.clone()));
            assert_eq!(ledger.delivery(id).unwrap(), Some(at(DeliveryState::Refused)));
            assert_eq!(ledger.account(early[7].decision_id).unwrap(), None);
            assert_eq!(ledger.account(others[7].decision_id).unwrap(), Some(b"[]".to_vec()));
            assert!(ledger.record(&all(&early)).unwrap().is_empty(), "what was decided stays decided");
            assert_eq!(owed(&ledger).len(), 100);
            // The file is written anew as soon as nothing else waits.
            let began = std::time::Instant::now();
            while ["Secret Slippers", "secret-7", "secret@", "secret-zone"].iter().any(|text| holds(dir.path(), text)) {
                assert!(began.elapsed().as_secs() < 20, "what was erased lingers");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            assert!(holds(dir.path(), "Plain Shoes") && holds(dir.path(), "New Boots"));
            ledger.advance(early[1].decision_id, at(DeliveryState::Withdrawn)).await.unwrap();
            assert!(
                matches!(Ledger::open(dir.path()), Err(OpenError::Locked { .. })),
                "the new file is locked as well"
            );
        }
        let ledger = Ledger::open(dir.path()).unwrap();
        assert_eq!(ledger.counts().unwrap().decisions, 101);
        assert_eq!(ledger.delivery(early[1].decision_id).unwrap(), Some(at(DeliveryState::Withdrawn)));
    }

    #[test]
    fn what_lingers_when_the_process_dies_is_gone_when_the_ledger_is_opened_again() {
        let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        {
            let (tables, mut journal) = open(Arc::new(Machine), dir.path().join(FILE), 0).unwrap();
            let entry = tables.encode(&entry(&send("u1", "cart", 2_000, "Secret Slippers")), None).unwrap();
            let erasing = Step::Erase(vec!["u1".to_owned()], 5_000);
            journal.append(&serde_json::to_vec(&[Step::Record(vec![entry]), erasing]).unwrap()).unwrap();
            copy(dir.path(), crashed.path());
        }
        assert!(holds(crashed.path(), "Secret Slippers"), "or there is nothing to be shown");
        drop(Ledger::open(crashed.path()).unwrap());
        assert!(!holds(crashed.path(), "Secret Slippers"));
    }
}
