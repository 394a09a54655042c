//! The ledger's file: its tables, and what one transaction does to them. A decision is its JSON (SPEC §5), a delivery a JSON
//! record; both are keyed by the decision's id. Open deliveries and counts are kept beside them in the same transaction,
//! so that a restart need not read what was settled long ago, and the ids by customer, so that one can be erased.
//!
//! What was erased may linger in pages of the file that are free by now; [`Tables::rewrite`] gets rid of those.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use beckon_dataflows::model::Tick;
use redb::{
    Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition, Value, WriteTransaction,
};
use serde::de::DeserializeOwned;

use super::{LedgerError, OpenError};
use crate::decision::{Decision, DecisionId, DeliveryRecord, DeliveryState, Outcome};

/// Grows with every change of what the tables hold. The one before had no ids by customer; it is read, and made this one.
const FORMAT: u64 = 2;
const FORMAT_BEFORE: u64 = 1;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const DECISIONS: TableDefinition<u128, &[u8]> = TableDefinition::new("decisions");
const DELIVERIES: TableDefinition<u128, &[u8]> = TableDefinition::new("deliveries");
const OPEN: TableDefinition<u128, ()> = TableDefinition::new("open");
const COUNTS: TableDefinition<&str, u64> = TableDefinition::new("counts");
const BY_CUSTOMER: TableDefinition<(&str, u128), ()> = TableDefinition::new("by_customer");

/// The name in `META` under which stands whether what was erased may linger in the file.
const LINGERS: &str = "lingers";

/// The name in `COUNTS` under which decisions are counted; the others are states.
const DECISIONS_COUNT: &str = "decisions";

/// A decision as it is written.
pub(super) struct Entry {
    id: DecisionId,
    customer: String,
    json: Vec<u8>,
    /// When a send's delivery becomes pending: the decision's own tick, so that a replay writes the same.
    pending_since_ms: Option<u64>,
}

/// A delivery to be taken up again, with its decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenDelivery {
    /// What was decided.
    pub decision: Decision,
    /// How far it came.
    pub delivery: DeliveryRecord,
}

/// How many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Decisions of any outcome.
    pub decisions: u64,
    /// Deliveries by state; a state without any is left out.
    pub deliveries: BTreeMap<DeliveryState, u64>,
}

/// The open file.
pub(super) struct Tables {
    /// Written to only to put another file in the place of this one.
    database: RwLock<Database>,
    path: PathBuf,
}

impl Tables {
    /// Opens the file and makes the tables, or checks that they are of this format.
    pub fn open(path: PathBuf) -> Result<Tables, OpenError> {
        let database = Database::create(&path).map_err(|error| match error {
            redb::DatabaseError::UpgradeRequired(found) => {
                OpenError::Format { path: path.clone(), found: format!("redb {found}"), known: FORMAT }
            }
            error => OpenError::of(error.into(), &path),
        })?;
        let tables = Tables { database: RwLock::new(database), path };
        let found = tables.prepare().map_err(|error| OpenError::of(error, &tables.path))?;
        if found != FORMAT {
            return Err(OpenError::Format { path: tables.path, found: found.to_string(), known: FORMAT });
        }
        if tables.lingers().map_err(|error| OpenError::of(error, &tables.path))? {
            tables.rewrite().map_err(|error| OpenError::of(error, &tables.path))?;
        }
        Ok(tables)
    }

    /// Makes what is missing and returns the format found.
    fn prepare(&self) -> Result<u64, redb::Error> {
        let transaction = self.database().begin_write()?;
        let found = transaction.open_table(META)?.get("format")?.map_or(FORMAT, |found| found.value());
        if !(FORMAT_BEFORE..=FORMAT).contains(&found) {
            return Ok(found);
        }
        {
            let decisions = transaction.open_table(DECISIONS)?;
            transaction.open_table(DELIVERIES)?;
            transaction.open_table(OPEN)?;
            transaction.open_table(COUNTS)?;
            let mut by_customer = transaction.open_table(BY_CUSTOMER)?;
            if found == FORMAT_BEFORE {
                for entry in decisions.iter()? {
                    let (id, json) = entry?;
                    // One that cannot be read is said where it is asked for.
                    if let Ok(decision) = serde_json::from_slice::<Decision>(json.value()) {
                        by_customer.insert((&*decision.customer_id, id.value()), ())?;
                    }
                }
            }
            transaction.open_table(META)?.insert("format", FORMAT)?;
        }
        transaction.commit()?;
        Ok(FORMAT)
    }

    fn database(&self) -> RwLockReadGuard<'_, Database> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what was erased may linger in the file.
    fn lingers(&self) -> Result<bool, redb::Error> {
        let meta = self.database().begin_read()?.open_table(META)?;
        Ok(meta.get(LINGERS)?.is_some_and(|lingers| lingers.value() > 0))
    }

    /// How large the file is, bytes.
    pub fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Writes all that is in the tables into a new file and puts that in the place of this one. Only the writer may, between
    /// two transactions. A crash leaves one of the two, whole.
    pub fn rewrite(&self) -> Result<(), redb::Error> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let beside = self.path.with_extension("redb.new");
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let fresh = Database::create(&beside)?;
        let (from, to) = (database.begin_read()?, fresh.begin_write()?);
        copy(&from, &to, META)?;
        copy(&from, &to, DECISIONS)?;
        copy(&from, &to, DELIVERIES)?;
        copy(&from, &to, OPEN)?;
        copy(&from, &to, COUNTS)?;
        copy(&from, &to, BY_CUSTOMER)?;
        to.open_table(META)?.remove(LINGERS)?;
        to.commit()?;
        fs::rename(&beside, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        *database = fresh;
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn encode(&self, decision: &Decision) -> Result<Entry, LedgerError> {
        let id = decision.decision_id;
        let json =
            serde_json::to_vec(decision).map_err(|error| LedgerError::Unwritable { id, fault: error.to_string() })?;
        let customer = decision.customer_id.to_string();
        Ok(Entry {
            id,
            customer,
            json,
            pending_since_ms: (decision.outcome == Outcome::Send).then_some(decision.as_of),
        })
    }

    /// Runs `changes` as one transaction. When this returns, the disk has it.
    pub fn commit<T>(
        &self,
        changes: impl FnOnce(&Tables, &mut Writing<'_>) -> Result<T, redb::Error>,
    ) -> Result<T, LedgerError> {
        let attempt = || {
            let transaction = self.database().begin_write()?;
            let result = changes(self, &mut Writing::open(&transaction)?)?;
            transaction.commit()?;
            Ok(result)
        };
        attempt().map_err(|error| LedgerError::of(error, &self.path))
    }

    pub fn decision(&self, id: DecisionId) -> Result<Option<Decision>, LedgerError> {
        self.read(DECISIONS, id)
    }

    pub fn delivery(&self, id: DecisionId) -> Result<Option<DeliveryRecord>, LedgerError> {
        self.read(DELIVERIES, id)
    }

    pub fn open_deliveries(&self) -> Result<Vec<OpenDelivery>, LedgerError> {
        let ids = self.open_ids().map_err(|error| LedgerError::of(error, &self.path))?;
        let open = ids.into_iter().map(|id| {
            let missing = || self.fault(id, "is open, but its decision or delivery is missing");
            let decision = self.decision(id)?.ok_or_else(missing)?;
            let delivery = self.delivery(id)?.ok_or_else(missing)?;
            Ok(OpenDelivery { decision, delivery })
        });
        open.collect()
    }

    pub fn counts(&self) -> Result<Counts, LedgerError> {
        let read = || {
            let table = self.database().begin_read()?.open_table(COUNTS)?;
            let count = |name: &str| table.get(name).map(|count| count.map_or(0, |count| count.value()));
            let mut counts = Counts { decisions: count(DECISIONS_COUNT)?, ..Counts::default() };
            for state in DeliveryState::ALL {
                let deliveries = count(state.name())?;
                if deliveries > 0 {
                    counts.deliveries.insert(state, deliveries);
                }
            }
            Ok(counts)
        };
        read().map_err(|error: redb::Error| LedgerError::of(error, &self.path))
    }

    fn open_ids(&self) -> Result<Vec<DecisionId>, redb::Error> {
        let table = self.database().begin_read()?.open_table(OPEN)?;
        table.iter()?.map(|entry| Ok(DecisionId(entry?.0.value()))).collect()
    }

    fn read<T: DeserializeOwned>(
        &self,
        table: TableDefinition<u128, &'static [u8]>,
        id: DecisionId,
    ) -> Result<Option<T>, LedgerError> {
        let read = || Ok(self.database().begin_read()?.open_table(table)?.get(id.0)?);
        let found = read().map_err(|error: redb::Error| LedgerError::of(error, &self.path))?;
        found.map(|json| serde_json::from_slice(json.value()).map_err(|error| self.fault(id, error))).transpose()
    }

    /// What [`Tables::rewrite`] came to, as the ledger says it.
    pub fn sweep(&self) -> Result<(), LedgerError> {
        self.rewrite().map_err(|error| LedgerError::of(error, &self.path))
    }

    fn fault(&self, id: DecisionId, fault: impl ToString) -> LedgerError {
        LedgerError::Entry { path: self.path.clone(), id, fault: fault.to_string() }
    }
}

/// Copies a table.
fn copy<K: Key, V: Value>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<(), redb::Error> {
    let (from, mut to) = (from.open_table(table)?, to.open_table(table)?);
    for entry in from.iter()? {
        let (key, value) = entry?;
        to.insert(key.value(), value.value())?;
    }
    Ok(())
}

/// The tables of one transaction.
pub(super) struct Writing<'t> {
    decisions: Table<'t, u128, &'static [u8]>,
    deliveries: Table<'t, u128, &'static [u8]>,
    open: Table<'t, u128, ()>,
    counts: Table<'t, &'static str, u64>,
    by_customer: Table<'t, (&'static str, u128), ()>,
    meta: Table<'t, &'static str, u64>,
}

impl<'t> Writing<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Writing {
            decisions: transaction.open_table(DECISIONS)?,
            deliveries: transaction.open_table(DELIVERIES)?,
            open: transaction.open_table(OPEN)?,
            counts: transaction.open_table(COUNTS)?,
            by_customer: transaction.open_table(BY_CUSTOMER)?,
            meta: transaction.open_table(META)?,
        })
    }

    /// Adds the decisions that are not there yet; returns which.
    pub fn record(&mut self, entries: Vec<Entry>) -> Result<Vec<DecisionId>, redb::Error> {
        let mut new = Vec::with_capacity(entries.len());
        for entry in entries {
            if self.decisions.get(entry.id.0)?.is_some() {
                continue;
            }
            self.decisions.insert(entry.id.0, entry.json.as_slice())?;
            self.by_customer.insert((&*entry.customer, entry.id.0), ())?;
            self.count(DECISIONS_COUNT, 1)?;
            if let Some(since_ms) = entry.pending_since_ms {
                self.put(entry.id, &DeliveryRecord::pending(since_ms))?;
                self.count(DeliveryState::Pending.name(), 1)?;
            }
            new.push(entry.id);
        }
        Ok(new)
    }

    /// Moves a delivery to its next state. The inner error is the caller's own and leaves the transaction sound.
    pub fn advance(
        &mut self,
        tables: &Tables,
        id: DecisionId,
        next: &DeliveryRecord,
    ) -> Result<Result<(), LedgerError>, redb::Error> {
        let from = match self.deliveries.get(id.0)? {
            None => return Ok(Err(LedgerError::NoDelivery { id })),
            Some(json) => match serde_json::from_slice::<DeliveryRecord>(json.value()) {
                Ok(delivery) => delivery.state,
                Err(error) => return Ok(Err(tables.fault(id, error))),
            },
        };
        if !from.may_become(next.state) {
            return Ok(Err(LedgerError::Step { id, from, to: next.state }));
        }
        self.put(id, next)?;
        self.count(from.name(), -1)?;
        self.count(next.state.name(), 1)?;
        Ok(Ok(()))
    }

    /// Takes out of the decisions of `customer` up to the tick `upto` what they are about, and out of their deliveries what the
    /// ESP said. Returns of how many. The inner error is an entry that cannot be read; what is before it is erased.
    pub fn erase(
        &mut self,
        tables: &Tables,
        customer: &str,
        upto: Tick,
    ) -> Result<Result<usize, LedgerError>, redb::Error> {
        let own = self.by_customer.range((customer, u128::MIN)..=(customer, u128::MAX))?;
        let ids = own.map(|entry| Ok(DecisionId(entry?.0.value().1))).collect::<Result<Vec<_>, redb::Error>>()?;
        let mut erased = 0;
        for id in ids {
            let Some(decision) = self.decisions.get(id.0)?.map(|json| serde_json::from_slice::<Decision>(json.value()))
            else {
                continue;
            };
            let decision = match decision {
                Ok(decision) if decision.as_of <= upto => decision,
                Ok(_) => continue,
                Err(error) => return Ok(Err(tables.fault(id, error))),
            };
            let rest = decision.erased();
            let said = self.erase_note(tables, id)?;
            if rest != decision {
                let json = serde_json::to_vec(&rest).map_err(|error| redb::Error::Io(error.into()))?;
                self.decisions.insert(id.0, json.as_slice())?;
            }
            match said {
                Ok(said) => erased += usize::from(said || rest != decision),
                Err(fault) => return Ok(Err(fault)),
            }
        }
        if erased > 0 {
            self.meta.insert(LINGERS, 1)?;
        }
        Ok(Ok(erased))
    }

    /// Takes out of a delivery what the ESP said, which may name an address. Whether there was anything.
    fn erase_note(&mut self, tables: &Tables, id: DecisionId) -> Result<Result<bool, LedgerError>, redb::Error> {
        let delivery = self.deliveries.get(id.0)?.map(|json| serde_json::from_slice::<DeliveryRecord>(json.value()));
        match delivery {
            Some(Ok(delivery)) if delivery.note.is_some() => {
                self.put(id, &DeliveryRecord { note: None, ..delivery })?;
                Ok(Ok(true))
            }
            Some(Err(error)) => Ok(Err(tables.fault(id, error))),
            _ => Ok(Ok(false)),
        }
    }

    fn put(&mut self, id: DecisionId, delivery: &DeliveryRecord) -> Result<(), redb::Error> {
        let json = serde_json::to_vec(delivery).map_err(|error| redb::Error::Io(error.into()))?;
        self.deliveries.insert(id.0, json.as_slice())?;
        if delivery.state.is_open() {
            self.open.insert(id.0, ())?;
        } else {
            self.open.remove(id.0)?;
        }
        Ok(())
    }

    fn count(&mut self, name: &'static str, by: i64) -> Result<(), redb::Error> {
        let before = self.counts.get(name)?.map_or(0, |count| count.value());
        self.counts.insert(name, before.saturating_add_signed(by))?;
        Ok(())
    }
}
