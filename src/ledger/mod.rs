//! The ledger: decisions and deliveries made durable (SPEC §6). In: the decisions of a closed tick, and each change of a
//! delivery's state. Out: which decisions were new; after a restart, the deliveries that are still open. Fails when the
//! disk does, or when a state is asked to follow one that it may not.
//!
//! One writer thread owns the file. It commits everything that waits for it in one transaction, so that a busy sender pays
//! for one sync a batch and not for one a mail. Nothing is acknowledged before its transaction is on the disk.

mod error;
mod tables;
mod writer;

use std::fs;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use beckon_dataflows::model::Tick;
use tokio::sync::oneshot;

pub use error::{LedgerError, OpenError};
pub use tables::{Counts, OpenDelivery};

use crate::decision::{Decision, DecisionId, DeliveryRecord};
use tables::Tables;
use writer::Command;

/// The file in the configured `state` folder.
const FILE: &str = "ledger.redb";

/// The open ledger. One process has it; share it by reference or `Arc`. Dropping it waits for what is being written.
pub struct Ledger {
    tables: Arc<Tables>,
    /// Unbounded, and yet small: every caller waits for the answer before it comes again.
    commands: Option<mpsc::Sender<Command>>,
    writer: Option<JoinHandle<()>>,
}

impl Ledger {
    /// Opens the ledger in the folder `dir`, and makes both if there are none. Cannot be opened twice at a time.
    pub fn open(dir: &Path) -> Result<Ledger, OpenError> {
        let path = dir.join(FILE);
        fs::create_dir_all(dir).map_err(|error| OpenError::of(redb::Error::Io(error), &path))?;
        let tables = Arc::new(Tables::open(path)?);
        let (commands, waiting) = mpsc::channel();
        let writer = {
            let tables = Arc::clone(&tables);
            std::thread::Builder::new().name("ledger".into()).spawn(move || writer::run(&tables, &waiting))
        };
        let writer = writer.map_err(|error| OpenError::of(redb::Error::Io(error), tables.path()))?;
        Ok(Ledger { tables, commands: Some(commands), writer: Some(writer) })
    }

    /// Makes the decisions of a closed tick durable, all or none, and a `pending` delivery of each that is a send. Returns
    /// those that were not there yet, in the order given, so that a replay after a restart never has one sent twice.
    /// Blocks until the disk has them (a few milliseconds): call it from a thread, not from a task.
    pub fn record(&self, decisions: &[Decision]) -> Result<Vec<DecisionId>, LedgerError> {
        if decisions.is_empty() {
            return Ok(Vec::new());
        }
        let entries = decisions.iter().map(|decision| self.tables.encode(decision)).collect::<Result<_, _>>()?;
        let (answer, answered) = mpsc::sync_channel(1);
        self.submit(Command::Record(entries, answer))?;
        answered.recv().map_err(|_| self.stopped())?
    }

    /// Takes out of the decisions of these customers up to the tick `upto` what they are about, and out of their deliveries what the
    /// ESP said; ids, campaigns, outcomes and times stay, and so does every delivery's state. Returns of how many; those
    /// erased before are none. Blocks until the disk has it. In the file's free pages it may linger for a minute, in a
    /// file of more than 64 MiB until the ledger is opened the next time.
    pub fn erase(&self, customers: Vec<String>, upto: Tick) -> Result<usize, LedgerError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.submit(Command::Erase(customers, upto, answer))?;
        answered.recv().map_err(|_| self.stopped())?
    }

    /// Makes a delivery's next state durable. Resolves when the disk has it. Fails, and changes nothing, when there is no
    /// such delivery or the state may not follow the one it is in.
    pub async fn advance(&self, id: DecisionId, record: DeliveryRecord) -> Result<(), LedgerError> {
        let (answer, answered) = oneshot::channel();
        self.submit(Command::Advance(id, record, answer))?;
        answered.await.map_err(|_| self.stopped())?
    }

    /// The deliveries that a restart takes up again, with their decisions: `pending`, `in_flight` (the process died around
    /// the request; the ESP may have taken it) and `unknown`. In the order of their ids.
    pub fn open_deliveries(&self) -> Result<Vec<OpenDelivery>, LedgerError> {
        self.tables.open_deliveries()
    }

    /// The decision of this id, if it was ever recorded.
    pub fn decision(&self, id: DecisionId) -> Result<Option<Decision>, LedgerError> {
        self.tables.decision(id)
    }

    /// The delivery of this decision; `None` unless it is a send.
    pub fn delivery(&self, id: DecisionId) -> Result<Option<DeliveryRecord>, LedgerError> {
        self.tables.delivery(id)
    }

    /// How many decisions there are, and how many deliveries in each state.
    pub fn counts(&self) -> Result<Counts, LedgerError> {
        self.tables.counts()
    }

    fn submit(&self, command: Command) -> Result<(), LedgerError> {
        let sent = self.commands.as_ref().map(|commands| commands.send(command));
        if let Some(Ok(())) = sent { Ok(()) } else { Err(self.stopped()) }
    }

    fn stopped(&self) -> LedgerError {
        LedgerError::Stopped { path: self.tables.path().to_owned() }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has already been reported, and nothing was acknowledged after it.
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests {
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

    fn at(state: DeliveryState) -> DeliveryRecord {
        DeliveryRecord { state, attempts: 1, since_ms: 3_000, note: None }
    }

    #[tokio::test]
    async fn a_decision_is_new_once_and_an_open_delivery_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (decision("a", Outcome::Send), decision("b", Outcome::Send));
        let held_out = decision("c", Outcome::Holdout);
        {
            let ledger = Ledger::open(dir.path()).unwrap();
            let new = ledger.record(&[a.clone(), held_out.clone(), a.clone()]).unwrap();
            assert_eq!(new, [a.decision_id, held_out.decision_id]);
            assert_eq!(ledger.record(&[b.clone(), a.clone()]).unwrap(), [b.decision_id]);
            ledger.advance(a.decision_id, at(DeliveryState::InFlight)).await.unwrap();
            ledger.advance(b.decision_id, at(DeliveryState::InFlight)).await.unwrap();
            ledger.advance(b.decision_id, at(DeliveryState::Accepted)).await.unwrap();
        }
        let ledger = Ledger::open(dir.path()).unwrap();
        assert!(ledger.record(&[a.clone(), b.clone(), held_out.clone()]).unwrap().is_empty());
        let open = ledger.open_deliveries().unwrap();
        assert_eq!(open, [OpenDelivery { decision: a, delivery: at(DeliveryState::InFlight) }]);
        let deliveries = [(DeliveryState::InFlight, 1), (DeliveryState::Accepted, 1)].into();
        assert_eq!(ledger.counts().unwrap(), Counts { decisions: 3, deliveries });
        assert_eq!(ledger.decision(held_out.decision_id).unwrap(), Some(held_out.clone()));
        assert_eq!(ledger.delivery(held_out.decision_id).unwrap(), None);
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_in_the_file_though_the_process_never_closes_it() {
        let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ledger = Ledger::open(dir.path()).unwrap();
        let a = decision("a", Outcome::Send);
        ledger.record(std::slice::from_ref(&a)).unwrap();
        ledger.advance(a.decision_id, at(DeliveryState::InFlight)).await.unwrap();
        std::fs::copy(dir.path().join(FILE), crashed.path().join(FILE)).unwrap();
        let after = Ledger::open(crashed.path()).unwrap();
        let open = [OpenDelivery { decision: a, delivery: at(DeliveryState::InFlight) }];
        assert_eq!(after.open_deliveries().unwrap(), open);
    }

    #[tokio::test]
    async fn a_wrong_step_fails_alone_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let a = decision("a", Outcome::Send);
        let id = a.decision_id;
        ledger.record(&[a]).unwrap();
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
        ledger.record(&decisions).unwrap();
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
        assert!(ledger.open_deliveries().unwrap().is_empty());
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
        assert!(matches!(fault, OpenError::Format { known: 2, .. }), "{fault}");

        std::fs::write(dir.path().join(FILE), "no ledger at all, but long enough to have a header".repeat(200))
            .unwrap();
        assert!(matches!(Ledger::open(dir.path()), Err(OpenError::Storage { .. })));
    }

    /// Whether the file in `dir` holds these bytes anywhere.
    fn holds(dir: &Path, text: &str) -> bool {
        let bytes = std::fs::read(dir.join(FILE)).unwrap();
        memchr::memmem::find(&bytes, text.as_bytes()).is_some()
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
            payload: Payload { lines: vec![line] },
            ..decision(subject, Outcome::Send)
        }
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
            ledger.record(&early).unwrap();
            ledger.record(&others).unwrap();
            ledger.record(std::slice::from_ref(&later)).unwrap();
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
            assert!(ledger.record(&early).unwrap().is_empty(), "what was decided stays decided");
            assert_eq!(ledger.open_deliveries().unwrap().len(), 100);
            // The file is written anew as soon as nothing else waits.
            let began = std::time::Instant::now();
            while ["Secret Slippers", "secret-7", "secret@"].iter().any(|text| holds(dir.path(), text)) {
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
            let tables = Tables::open(dir.path().join(FILE)).unwrap();
            let entry = tables.encode(&send("u1", "cart", 2_000, "Secret Slippers")).unwrap();
            tables.commit(|_, writing| writing.record(vec![entry])).unwrap();
            let erased = tables.commit(|tables, writing| writing.erase(tables, "u1", 5_000)).unwrap();
            assert_eq!(erased.unwrap(), 1);
            std::fs::copy(dir.path().join(FILE), crashed.path().join(FILE)).unwrap();
        }
        assert!(holds(crashed.path(), "Secret Slippers"), "or there is nothing to be shown");
        drop(Ledger::open(crashed.path()).unwrap());
        assert!(!holds(crashed.path(), "Secret Slippers"));
    }

    #[test]
    fn a_ledger_of_the_format_before_can_be_erased_from() {
        let dir = tempfile::tempdir().unwrap();
        let old = send("u1", "cart", 2_000, "Secret Slippers");
        let database = redb::Database::create(dir.path().join(FILE)).unwrap();
        let transaction = database.begin_write().unwrap();
        let meta = redb::TableDefinition::<&str, u64>::new("meta");
        transaction.open_table(meta).unwrap().insert("format", 1).unwrap();
        let decisions = redb::TableDefinition::<u128, &[u8]>::new("decisions");
        let json = serde_json::to_vec(&old).unwrap();
        transaction.open_table(decisions).unwrap().insert(old.decision_id.0, json.as_slice()).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let ledger = Ledger::open(dir.path()).unwrap();
        assert_eq!(ledger.decision(old.decision_id).unwrap(), Some(old.clone()));
        assert_eq!(ledger.erase(vec!["u1".into()], 2_000).unwrap(), 1);
        assert_eq!(ledger.decision(old.decision_id).unwrap(), Some(old.erased()));
    }
}
