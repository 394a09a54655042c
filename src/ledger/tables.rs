//! The ledger's file: its tables, and what can be read of them (`writing` says what is done to them). A decision is its JSON (SPEC §5), a delivery a JSON
//! record; both are keyed by the decision's id. What is owed, in the order in which it goes out, what waits for a webhook, and
//! counts are kept beside them in the same transaction, so that nobody need read what was settled long ago; and the ids by
//! customer, so that one can be erased.
//!
//! What was erased may linger in pages of the file that are free by now; [`Tables::rewrite`] gets rid of those.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use beckon_dataflows::model::Tick;
use redb::{
    Database, Durability, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, Value,
    WriteTransaction,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::writing::Writing;
use super::{LedgerError, OpenError, Storage, mirror};
use crate::decision::{Decision, DecisionId, DeliveryRecord, DeliveryState, Errand, OpenDelivery};

/// Grows with every change of what the tables hold, or may lack.
const FORMAT: u64 = 4;

/// The format before, which is the same without a journal.
const WITHOUT_JOURNAL: u64 = 3;

pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
pub(super) const DECISIONS: TableDefinition<u128, &[u8]> = TableDefinition::new("decisions");
pub(super) const DELIVERIES: TableDefinition<u128, &[u8]> = TableDefinition::new("deliveries");
/// What is owed: the least goes first.
pub(super) const OWED: TableDefinition<Rank, ()> = TableDefinition::new("owed");
/// Since when, epoch ms, which deliveries wait for the ESP's webhook.
pub(super) const UNANSWERED: TableDefinition<(u64, u128), ()> = TableDefinition::new("unanswered");
pub(super) const COUNTS: TableDefinition<&str, u64> = TableDefinition::new("counts");
pub(super) const BY_CUSTOMER: TableDefinition<(&str, u128), ()> = TableDefinition::new("by_customer");
/// What the gates answered, as JSON, of the decisions that were recorded with that.
pub(super) const ACCOUNTS: TableDefinition<u128, &[u8]> = TableDefinition::new("accounts");

/// The name in `META` under which stands whether what was erased may linger in the file.
pub(super) const LINGERS: &str = "lingers";

/// The name in `META` under which stands the number of the last frame of the journal that the tables have.
pub(super) const JOURNAL: &str = "journal";

/// The name in `COUNTS` under which decisions are counted; the others are states.
pub(super) const DECISIONS_COUNT: &str = "decisions";

/// The order of an ESP's deliveries: greater priority (it is kept negated), then the decision's tick, of which the latest goes out first. Before that
/// stands whose they are, so that what one ESP owes is found without looking at another's.
pub(super) type Rank = (u64, i64, u64, u128);

/// An ESP's place in the order, by its name.
pub(super) fn lane(esp: Option<&str>) -> u64 {
    esp.map_or(0, |name| xxh3_64(name.as_bytes()))
}

/// Which of the deliveries that an ESP owes are meant.
#[derive(Clone, Copy)]
pub enum Owing<'a> {
    /// All.
    All,
    /// Of each priority those decided at this tick or later.
    Since(&'a dyn Fn(i32) -> Tick),
    /// Of each priority those decided before this tick.
    Before(&'a dyn Fn(i32) -> Tick),
}

impl Owing<'_> {
    /// The places in the order that are meant, of those of a lane and a negated priority.
    fn of(self, lane: u64, negated: i64) -> Range<Rank> {
        let at = |tick| (lane, negated, tick, 0);
        let priority = i32::try_from(-negated).unwrap_or(i32::MAX);
        match self {
            Owing::All => at(0)..at(Tick::MAX),
            Owing::Since(tick) => at(tick(priority))..at(Tick::MAX),
            Owing::Before(tick) => at(0)..at(tick(priority)),
        }
    }
}

/// A decision as it is written.
#[derive(Serialize, Deserialize)]
pub(super) struct Entry {
    pub id: DecisionId,
    pub customer: String,
    pub json: String,
    /// What the gates answered, as JSON.
    pub account: Option<String>,
    /// Of a send: pending since the decision's own tick, so that a replay writes the same.
    pub delivery: Option<Stored>,
}

/// A delivery as it is written.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Stored {
    #[serde(flatten)]
    pub record: DeliveryRecord,
    pub errand: Errand,
    /// The decision's.
    pub as_of: Tick,
}

impl Stored {
    pub fn rank(&self, id: DecisionId) -> Rank {
        (lane(self.errand.esp.as_deref()), -i64::from(self.errand.priority), self.as_of, id.0)
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
    disk: Arc<dyn Storage>,
    path: PathBuf,
}

impl Tables {
    /// Opens the file, or makes one, and checks that its tables are of this format.
    pub fn open(disk: Arc<dyn Storage>, path: PathBuf) -> Result<Tables, OpenError> {
        let is_there = disk.size(&path).map_err(|error| OpenError::of(error.into(), &path))?.is_some();
        if !is_there {
            make(&disk, &path)?;
        }
        Tables::at(disk, path)
    }

    /// The file at `path`, with its tables.
    fn at(disk: Arc<dyn Storage>, path: PathBuf) -> Result<Tables, OpenError> {
        let database = disk.database(&path).map_err(|error| match error {
            redb::DatabaseError::UpgradeRequired(found) => {
                OpenError::Format { path: path.clone(), found: format!("redb {found}"), known: FORMAT }
            }
            error => OpenError::of(error.into(), &path),
        })?;
        let tables = Tables { database: RwLock::new(database), disk, path };
        match tables.prepare().map_err(|error| OpenError::of(error, &tables.path))? {
            FORMAT => Ok(tables),
            found => Err(OpenError::Format { path: tables.path, found: found.to_string(), known: FORMAT }),
        }
    }

    /// Makes what is missing and returns the format found.
    fn prepare(&self) -> Result<u64, redb::Error> {
        let transaction = self.database().begin_write()?;
        let found = transaction.open_table(META)?.get("format")?.map_or(FORMAT, |found| found.value());
        if found != FORMAT && found != WITHOUT_JOURNAL {
            return Ok(found);
        }
        transaction.open_table(DECISIONS)?;
        transaction.open_table(DELIVERIES)?;
        transaction.open_table(OWED)?;
        transaction.open_table(UNANSWERED)?;
        transaction.open_table(COUNTS)?;
        transaction.open_table(BY_CUSTOMER)?;
        transaction.open_table(ACCOUNTS)?;
        transaction.open_table(META)?.insert("format", FORMAT)?;
        transaction.commit()?;
        Ok(FORMAT)
    }

    fn database(&self) -> RwLockReadGuard<'_, Database> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what was erased may linger in the file.
    pub fn lingers(&self) -> Result<bool, redb::Error> {
        Ok(self.meta(LINGERS)? > 0)
    }

    /// The number of the last frame of the journal that they have.
    pub fn stand_at(&self) -> Result<u64, redb::Error> {
        self.meta(JOURNAL)
    }

    fn meta(&self, name: &str) -> Result<u64, redb::Error> {
        let meta = self.database().begin_read()?.open_table(META)?;
        Ok(meta.get(name)?.map_or(0, |value| value.value()))
    }

    /// How large the file is, bytes.
    pub fn bytes(&self) -> u64 {
        self.disk.size(&self.path).ok().flatten().unwrap_or(0)
    }

    /// Writes all that is in the tables into a new file and puts that in the place of this one. Only the writer may, between
    /// two transactions. A crash leaves one of the two, whole.
    pub fn rewrite(&self) -> Result<(), redb::Error> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let beside = self.path.with_extension("redb.new");
        self.disk.clear(&beside)?;
        let fresh = self.disk.database(&beside)?;
        let (from, to) = (database.begin_read()?, fresh.begin_write()?);
        copy(&from, &to, META)?;
        copy(&from, &to, DECISIONS)?;
        copy(&from, &to, DELIVERIES)?;
        copy(&from, &to, OWED)?;
        copy(&from, &to, UNANSWERED)?;
        copy(&from, &to, COUNTS)?;
        copy(&from, &to, BY_CUSTOMER)?;
        copy(&from, &to, ACCOUNTS)?;
        to.open_table(META)?.remove(LINGERS)?;
        to.commit()?;
        self.disk.replace(&beside, &self.path)?;
        *database = fresh;
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn encode(
        &self,
        (decision, errand): &(Decision, Option<Errand>),
        account: Option<String>,
    ) -> Result<Entry, LedgerError> {
        let id = decision.decision_id;
        let unwritable = |error: serde_json::Error| LedgerError::Unwritable { id, fault: error.to_string() };
        let json = serde_json::to_string(decision).map_err(unwritable)?;
        let (as_of, customer) = (decision.as_of, decision.customer_id.to_string());
        let pending = |errand: Errand| Stored { record: DeliveryRecord::pending(as_of), errand, as_of };
        Ok(Entry { id, customer, json, account, delivery: errand.clone().map(pending) })
    }

    /// Runs `changes` as one transaction, seen by all who read when this returns. The disk has it after the next
    /// [`Tables::write_back`]: whoever needs it before has it in the journal.
    pub fn commit<T>(
        &self,
        changes: impl FnOnce(&Tables, &mut Writing<'_>) -> Result<T, redb::Error>,
    ) -> Result<T, LedgerError> {
        let attempt = || {
            let mut transaction = self.database().begin_write()?;
            transaction.set_durability(Durability::None)?;
            let result = changes(self, &mut Writing::open(&transaction)?)?;
            transaction.commit()?;
            Ok(result)
        };
        attempt().map_err(|error| LedgerError::of(error, &self.path))
    }

    /// Writes all that was committed. When this returns, the disk has it.
    pub fn write_back(&self) -> Result<(), LedgerError> {
        let attempt = || Ok(self.database().begin_write()?.commit()?);
        attempt().map_err(|error: redb::Error| LedgerError::of(error, &self.path))
    }

    /// Takes up entries of the mirror, in one transaction. The disk has them after the next [`Tables::write_back`].
    pub fn restore(
        &self,
        mut entries: impl Iterator<Item = (mirror::Entry, DecisionId, Vec<u8>)>,
    ) -> Result<(), LedgerError> {
        self.commit(|tables, writing| {
            for (entry, id, json) in entries.by_ref() {
                if let Err(fault) = writing.restore(tables, entry, id, json)? {
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

    /// The deliveries that were accepted, and when, epoch ms.
    pub fn accepted(&self) -> Result<Vec<(DecisionId, u64)>, LedgerError> {
        let mut accepted = Vec::new();
        let mut read = || -> Result<Result<(), LedgerError>, redb::Error> {
            let table = self.database().begin_read()?.open_table(DELIVERIES)?;
            for entry in table.iter()? {
                let (id, json) = entry?;
                let id = DecisionId(id.value());
                match serde_json::from_slice(json.value()) {
                    Ok(Stored { record, as_of, .. }) if record.state == DeliveryState::Accepted => {
                        accepted.push((id, record.since_ms.max(as_of)));
                    }
                    Ok(_) => {}
                    Err(error) => return Ok(Err(self.fault(id, error))),
                }
            }
            Ok(Ok(()))
        };
        read().map_err(|error| LedgerError::of(error, &self.path))??;
        Ok(accepted)
    }

    /// What the gates answered about this decision, as JSON.
    pub fn account(&self, id: DecisionId) -> Result<Option<Vec<u8>>, LedgerError> {
        let read = || {
            let table = self.database().begin_read()?.open_table(ACCOUNTS)?;
            let found = table.get(id.0)?;
            Ok(found.map(|json| json.value().to_vec()))
        };
        read().map_err(|error: redb::Error| LedgerError::of(error, &self.path))
    }

    /// The first `count` decisions about a customer, by their ids.
    pub fn ids_of_customer(&self, customer: &str, count: usize) -> Result<Vec<DecisionId>, LedgerError> {
        let read = || {
            let table = self.database().begin_read()?.open_table(BY_CUSTOMER)?;
            let own = table.range((customer, u128::MIN)..=(customer, u128::MAX))?;
            own.take(count).map(|entry| Ok(DecisionId(entry?.0.value().1))).collect::<Result<_, _>>()
        };
        read().map_err(|error: redb::Error| LedgerError::of(error, &self.path))
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

    /// Of the first `count` of these that are owed by this ESP those that `is_wanted` says, and whether there are more than `count`.
    pub fn owed(
        &self,
        esp: Option<&str>,
        owing: Owing<'_>,
        count: usize,
        is_wanted: impl Fn(DecisionId) -> bool,
    ) -> Result<(Vec<OpenDelivery>, bool), LedgerError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database().begin_read()?.open_table(OWED)?;
            let (mut wanted, mut seen) = (Vec::new(), 0);
            let mut first = (lane(esp), i64::MIN, 0, 0);
            // One priority after the other: none is looked for in what is not asked for.
            while let Some(next) = table.range(first..=(first.0, i64::MAX, u64::MAX, u128::MAX))?.next() {
                let priority = next?.0.value().1;
                for entry in table.range(owing.of(first.0, priority))?.rev() {
                    if seen == count {
                        return Ok((wanted, true));
                    }
                    seen += 1;
                    let id = DecisionId(entry?.0.value().3);
                    if is_wanted(id) {
                        wanted.push(id);
                    }
                }
                let Some(after) = priority.checked_add(1) else { break };
                first = (first.0, after, 0, 0);
            }
            Ok((wanted, false))
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

    /// What is owed by others than `is_of` says of the campaign and the ESP that it is with: all of it is read, unless there is only one ESP
    /// and all is its.
    pub fn misplaced(
        &self,
        only: Option<Option<&str>>,
        is_of: impl Fn(&str, Option<&str>) -> bool,
    ) -> Result<Vec<(DecisionId, Decision, Stored)>, LedgerError> {
        let read = || -> Result<Vec<DecisionId>, redb::Error> {
            let table = self.database().begin_read()?.open_table(OWED)?;
            let ends = [table.first()?, table.last()?].map(|end| end.map(|(rank, _)| rank.value().0));
            if only.is_some_and(|only| ends.iter().flatten().all(|end| *end == lane(only))) {
                return Ok(Vec::new());
            }
            table.iter()?.map(|entry| Ok(DecisionId(entry?.0.value().3))).collect()
        };
        let mut misplaced = Vec::new();
        for id in read().map_err(|error| LedgerError::of(error, &self.path))? {
            let missing = || self.fault(id, "is owed, but its decision or delivery is missing");
            let decision = self.decision(id)?.ok_or_else(missing)?;
            let stored: Stored = self.read(DELIVERIES, id)?.ok_or_else(missing)?;
            if !is_of(&decision.campaign, stored.errand.esp.as_deref()) {
                misplaced.push((id, decision, stored));
            }
        }
        Ok(misplaced)
    }

    /// What the delivery needs to know that its decision does not say.
    pub fn errand(&self, id: DecisionId) -> Result<Option<Errand>, LedgerError> {
        Ok(self.read::<Stored>(DELIVERIES, id)?.map(|stored| stored.errand))
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
        let read = || {
            let table = self.database().begin_read()?.open_table(table)?;
            // Read while the table is held: redb 4 says that what `get` returns keeps the transaction alive, and it does not.
            let found = table.get(id.0)?;
            Ok(found.map(|json| serde_json::from_slice(json.value())))
        };
        let found = read().map_err(|error: redb::Error| LedgerError::of(error, &self.path))?;
        found.transpose().map_err(|error| self.fault(id, error))
    }

    /// What [`Tables::rewrite`] came to, as the ledger says it.
    pub fn sweep(&self) -> Result<(), LedgerError> {
        self.rewrite().map_err(|error| LedgerError::of(error, &self.path))
    }

    pub fn fault(&self, id: DecisionId, fault: impl ToString) -> LedgerError {
        LedgerError::Entry { path: self.path.clone(), id, fault: fault.to_string() }
    }
}

/// Makes an empty ledger beside `path` and puts it there: redb takes a file for broken whose making was cut off, and so a crash
/// at the first start would have been the last.
fn make(disk: &Arc<dyn Storage>, path: &Path) -> Result<(), OpenError> {
    let unfinished = path.with_extension("unfinished");
    let failed = |error: std::io::Error| OpenError::of(error.into(), path);
    match Tables::at(disk.clone(), unfinished.clone()) {
        Ok(_) => {}
        // Another process is making it.
        Err(locked @ OpenError::Locked { .. }) => return Err(locked),
        Err(_) => {
            disk.clear(&unfinished).map_err(failed)?;
            Tables::at(disk.clone(), unfinished.clone())?;
        }
    }
    disk.replace(&unfinished, path).map_err(failed)
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
