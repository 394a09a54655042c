//! The ledger's file: its tables, and what one transaction does to them. A decision is its JSON (SPEC §5), a delivery a JSON
//! record; both are keyed by the decision's id. What is owed, in the order in which it goes out, what waits for a webhook, and
//! counts are kept beside them in the same transaction, so that nobody need read what was settled long ago; and the ids by
//! customer, so that one can be erased.
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
use serde::{Deserialize, Serialize};

use super::{LedgerError, OpenError, mirror};
use crate::decision::{Decision, DecisionId, DeliveryRecord, DeliveryState, Errand, OpenDelivery};

/// Grows with every change of what the tables hold.
const FORMAT: u64 = 2;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const DECISIONS: TableDefinition<u128, &[u8]> = TableDefinition::new("decisions");
const DELIVERIES: TableDefinition<u128, &[u8]> = TableDefinition::new("deliveries");
/// What is owed: the least goes first.
const OWED: TableDefinition<Rank, ()> = TableDefinition::new("owed");
/// Since when, epoch ms, which deliveries wait for the ESP's webhook.
const UNANSWERED: TableDefinition<(u64, u128), ()> = TableDefinition::new("unanswered");
const COUNTS: TableDefinition<&str, u64> = TableDefinition::new("counts");
const BY_CUSTOMER: TableDefinition<(&str, u128), ()> = TableDefinition::new("by_customer");

/// The name in `META` under which stands whether what was erased may linger in the file.
const LINGERS: &str = "lingers";

/// The name in `COUNTS` under which decisions are counted; the others are states.
const DECISIONS_COUNT: &str = "decisions";

/// The order in which deliveries go out (SPEC §6): greater priority (it is kept negated), older decision, lesser id.
type Rank = (i64, u64, u128);

/// A decision as it is written.
pub(super) struct Entry {
    id: DecisionId,
    customer: String,
    json: Vec<u8>,
    /// Of a send: pending since the decision's own tick, so that a replay writes the same.
    delivery: Option<Stored>,
}

/// A delivery as it is written.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    record: DeliveryRecord,
    errand: Errand,
    /// The decision's.
    as_of: Tick,
}

impl Stored {
    fn rank(&self, id: DecisionId) -> Rank {
        (-i64::from(self.errand.priority), self.as_of, id.0)
    }
}

/// How many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Decisions of any outcome.
    pub decisions: u64,
    /// Deliveries by state; a state without any is left out.
    pub deliveries: BTreeMap<DeliveryState, u64>,
}

impl Counts {
    /// Deliveries that are not settled: owed, or waiting for a webhook.
    pub fn open(&self) -> u64 {
        self.deliveries.iter().filter(|(state, _)| state.is_open()).map(|(_, count)| count).sum()
    }
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
        if found != FORMAT {
            return Ok(found);
        }
        transaction.open_table(DECISIONS)?;
        transaction.open_table(DELIVERIES)?;
        transaction.open_table(OWED)?;
        transaction.open_table(UNANSWERED)?;
        transaction.open_table(COUNTS)?;
        transaction.open_table(BY_CUSTOMER)?;
        transaction.open_table(META)?.insert("format", FORMAT)?;
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
        copy(&from, &to, OWED)?;
        copy(&from, &to, UNANSWERED)?;
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

    pub fn encode(&self, (decision, errand): &(Decision, Option<Errand>)) -> Result<Entry, LedgerError> {
        let id = decision.decision_id;
        let unwritable = |error: serde_json::Error| LedgerError::Unwritable { id, fault: error.to_string() };
        let json = serde_json::to_vec(decision).map_err(unwritable)?;
        let (as_of, customer) = (decision.as_of, decision.customer_id.to_string());
        let pending = |errand: Errand| Stored { record: DeliveryRecord::pending(as_of), errand, as_of };
        Ok(Entry { id, customer, json, delivery: errand.clone().map(pending) })
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

    /// Takes up entries of the mirror, in one transaction.
    pub fn restore(
        &self,
        mut entries: impl Iterator<Item = (mirror::Entry, DecisionId, Vec<u8>)>,
    ) -> Result<(), LedgerError> {
        self.commit(|tables, writing| {
            for (entry, id, json) in entries.by_ref() {
                if let Err(fault) = writing.restore(tables, entry, id, &json)? {
                    return Ok(Err(fault));
                }
            }
            Ok(Ok(()))
        })?
    }

    pub fn decision(&self, id: DecisionId) -> Result<Option<Decision>, LedgerError> {
        self.read(DECISIONS, id)
    }

    pub fn decisions(&self) -> Result<Vec<Decision>, LedgerError> {
        let read = || -> Result<Vec<_>, redb::Error> {
            let table = self.database().begin_read()?.open_table(DECISIONS)?;
            table
                .iter()?
                .map(|entry| entry.map(|(id, json)| (id.value(), json.value().to_vec())).map_err(Into::into))
                .collect()
        };
        let entries = read().map_err(|error| LedgerError::of(error, &self.path))?;
        let decision = |(id, json): (u128, Vec<u8>)| {
            serde_json::from_slice(&json).map_err(|error| self.fault(DecisionId(id), error))
        };
        entries.into_iter().map(decision).collect()
    }

    pub fn ids_of_prefix(&self, prefix: u64) -> Result<Vec<DecisionId>, LedgerError> {
        let least = u128::from(prefix) << 64;
        let read = || {
            let table = self.database().begin_read()?.open_table(DECISIONS)?;
            let entries = table.range(least..=least | u128::from(u64::MAX))?;
            entries.map(|entry| Ok(DecisionId(entry?.0.value()))).collect::<Result<_, _>>()
        };
        read().map_err(|error: redb::Error| LedgerError::of(error, &self.path))
    }

    pub fn delivery(&self, id: DecisionId) -> Result<Option<DeliveryRecord>, LedgerError> {
        Ok(self.read::<Stored>(DELIVERIES, id)?.map(|stored| stored.record))
    }

    /// Of the first `count` that are owed those that `is_wanted` says, and whether there are more than `count`.
    pub fn owed(
        &self,
        count: usize,
        is_wanted: impl Fn(DecisionId) -> bool,
    ) -> Result<(Vec<OpenDelivery>, bool), LedgerError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database().begin_read()?.open_table(OWED)?;
            let (mut wanted, mut entries) = (Vec::new(), table.iter()?);
            for entry in entries.by_ref().take(count) {
                let id = DecisionId(entry?.0.value().2);
                if is_wanted(id) {
                    wanted.push(id);
                }
            }
            Ok((wanted, entries.next().is_some()))
        };
        let (wanted, more) = read().map_err(|error| LedgerError::of(error, &self.path))?;
        let open = wanted.into_iter().map(|id| {
            let missing = || self.fault(id, "is owed, but its decision or delivery is missing");
            let decision = self.decision(id)?.ok_or_else(missing)?;
            let Stored { record, errand, .. } = self.read(DELIVERIES, id)?.ok_or_else(missing)?;
            Ok(OpenDelivery { decision, errand, delivery: record })
        });
        Ok((open.collect::<Result<_, LedgerError>>()?, more))
    }

    /// The deliveries that wait for a webhook since before `before_ms`, the oldest first.
    pub fn unanswered(&self, before_ms: u64) -> Result<Vec<DecisionId>, LedgerError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database().begin_read()?.open_table(UNANSWERED)?;
            table.range(..(before_ms, 0))?.map(|entry| Ok(DecisionId(entry?.0.value().1))).collect()
        };
        read().map_err(|error| LedgerError::of(error, &self.path))
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
    owed: Table<'t, Rank, ()>,
    unanswered: Table<'t, (u64, u128), ()>,
    counts: Table<'t, &'static str, u64>,
    by_customer: Table<'t, (&'static str, u128), ()>,
    meta: Table<'t, &'static str, u64>,
    changed: Vec<(mirror::Entry, DecisionId, Vec<u8>)>,
}

impl<'t> Writing<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Writing {
            decisions: transaction.open_table(DECISIONS)?,
            deliveries: transaction.open_table(DELIVERIES)?,
            owed: transaction.open_table(OWED)?,
            unanswered: transaction.open_table(UNANSWERED)?,
            counts: transaction.open_table(COUNTS)?,
            by_customer: transaction.open_table(BY_CUSTOMER)?,
            meta: transaction.open_table(META)?,
            changed: Vec::new(),
        })
    }

    /// Adds the decisions, and the deliveries, that are not there yet; returns of which there was one.
    pub fn record(&mut self, entries: Vec<Entry>) -> Result<Vec<DecisionId>, redb::Error> {
        let mut new = Vec::with_capacity(entries.len());
        for Entry { id, customer, json, delivery } in entries {
            let is_new = self.add_decision(id, &customer, &json)?;
            let is_owed = delivery.map_or(Ok(false), |delivery| self.add_delivery(id, is_new, &delivery))?;
            if is_new || is_owed {
                new.push(id);
            }
        }
        Ok(new)
    }

    /// Adds a delivery that is not there yet; whether it was not. One of a decision that was not there is from a mirror that
    /// lost the decision, and can be made from now on.
    fn add_delivery(&mut self, id: DecisionId, decision_is_new: bool, new: &Stored) -> Result<bool, redb::Error> {
        let known = self.deliveries.get(id.0)?.map(|json| serde_json::from_slice::<Stored>(json.value()));
        match known {
            None => self.put(id, None, new)?,
            Some(Ok(known)) if decision_is_new && known.record.is_owed() => drop(self.owed.insert(known.rank(id), ())?),
            // One that cannot be read is no reason to send anything.
            Some(_) => return Ok(false),
        }
        Ok(true)
    }

    /// Adds a decision that is not there yet; whether it was not.
    fn add_decision(&mut self, id: DecisionId, customer: &str, json: &[u8]) -> Result<bool, redb::Error> {
        if self.decisions.get(id.0)?.is_some() {
            return Ok(false);
        }
        self.decisions.insert(id.0, json)?;
        self.by_customer.insert((customer, id.0), ())?;
        self.count(DECISIONS_COUNT, 1)?;
        self.changed.push((mirror::Entry::Decision, id, json.to_vec()));
        Ok(true)
    }

    /// Moves a delivery to its next state. The inner error is the caller's own and leaves the transaction sound.
    pub fn advance(
        &mut self,
        tables: &Tables,
        id: DecisionId,
        next: &DeliveryRecord,
    ) -> Result<Result<(), LedgerError>, redb::Error> {
        let before = match self.stored(tables, id)? {
            Ok(before) => before,
            Err(fault) => return Ok(Err(fault)),
        };
        let (from, to) = (before.record.state, next.state);
        if !from.may_become(to) {
            return Ok(Err(LedgerError::Step { id, from, to }));
        }
        let after = Stored { record: next.clone(), errand: before.errand.clone(), as_of: before.as_of };
        self.put(id, Some(&before), &after)?;
        Ok(Ok(()))
    }

    fn stored(&self, tables: &Tables, id: DecisionId) -> Result<Result<Stored, LedgerError>, redb::Error> {
        Ok(match self.deliveries.get(id.0)? {
            None => Err(LedgerError::NoDelivery { id }),
            Some(json) => serde_json::from_slice(json.value()).map_err(|error| tables.fault(id, error)),
        })
    }

    /// Waits for the webhook of a delivery no longer. It stays `unknown`.
    pub fn bury(&mut self, tables: &Tables, id: DecisionId) -> Result<Result<(), LedgerError>, redb::Error> {
        let since_ms = match self.stored(tables, id)? {
            Ok(stored) => stored.record.since_ms,
            Err(fault) => return Ok(Err(fault)),
        };
        self.unanswered.remove((since_ms, id.0))?;
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
                self.changed.push((mirror::Entry::Decision, id, json));
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
        match self.stored(tables, id)? {
            Ok(before) if before.record.note.is_some() => {
                let record = DeliveryRecord { note: None, ..before.record.clone() };
                let after = Stored { record, errand: before.errand.clone(), as_of: before.as_of };
                self.put(id, Some(&before), &after)?;
                Ok(Ok(true))
            }
            Ok(_) | Err(LedgerError::NoDelivery { .. }) => Ok(Ok(false)),
            Err(fault) => Ok(Err(fault)),
        }
    }

    /// Takes up an entry of the mirror, which knows better than an earlier one.
    pub fn restore(
        &mut self,
        tables: &Tables,
        entry: mirror::Entry,
        id: DecisionId,
        json: &[u8],
    ) -> Result<Result<(), LedgerError>, redb::Error> {
        if entry == mirror::Entry::Decision {
            return match serde_json::from_slice::<Decision>(json) {
                Ok(decision) => {
                    if !self.add_decision(id, &decision.customer_id, json)? {
                        self.decisions.insert(id.0, json)?;
                    }
                    Ok(Ok(()))
                }
                Err(error) => Ok(Err(tables.fault(id, error))),
            };
        }
        let after = match serde_json::from_slice::<Stored>(json) {
            Ok(after) => after,
            Err(error) => return Ok(Err(tables.fault(id, error))),
        };
        let before = self.stored(tables, id)?.ok();
        self.put(id, before.as_ref(), &after)?;
        // Without its decision it cannot be delivered; the log will decide it again.
        if self.decisions.get(id.0)?.is_none() {
            self.owed.remove(after.rank(id))?;
        }
        Ok(Ok(()))
    }

    /// Writes a delivery, and what follows from it.
    fn put(&mut self, id: DecisionId, before: Option<&Stored>, after: &Stored) -> Result<(), redb::Error> {
        if let Some(before) = before {
            self.owed.remove(before.rank(id))?;
            self.unanswered.remove((before.record.since_ms, id.0))?;
            self.count(before.record.state.name(), -1)?;
        }
        if after.record.is_owed() {
            self.owed.insert(after.rank(id), ())?;
        }
        if after.record.awaits_webhook {
            self.unanswered.insert((after.record.since_ms, id.0), ())?;
        }
        self.count(after.record.state.name(), 1)?;
        let json = serde_json::to_vec(after).map_err(|error| redb::Error::Io(error.into()))?;
        self.deliveries.insert(id.0, json.as_slice())?;
        self.changed.push((mirror::Entry::Delivery, id, json));
        Ok(())
    }

    /// What was changed, for the mirror.
    pub fn take_changed(&mut self) -> Vec<(mirror::Entry, DecisionId, Vec<u8>)> {
        std::mem::take(&mut self.changed)
    }

    fn count(&mut self, name: &'static str, by: i64) -> Result<(), redb::Error> {
        let before = self.counts.get(name)?.map_or(0, |count| count.value());
        self.counts.insert(name, before.saturating_add_signed(by))?;
        Ok(())
    }
}
