//! The ledger's file: its tables, and what one transaction does to them. A decision is its JSON (SPEC §5), a delivery a JSON
//! record; both are keyed by the decision's id. What is owed, in the order in which it goes out, what waits for a webhook, and
//! counts are kept beside them in the same transaction, so that nobody need read what was settled long ago.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{LedgerError, OpenError};
use crate::decision::{Decision, DecisionId, DeliveryRecord, DeliveryState, Errand, OpenDelivery};

/// Grows with every change of what the tables hold.
const FORMAT: u64 = 2;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const DECISIONS: TableDefinition<u128, &[u8]> = TableDefinition::new("decisions");
const DELIVERIES: TableDefinition<u128, &[u8]> = TableDefinition::new("deliveries");
/// What is owed: the least goes first.
const OWED: TableDefinition<Rank, &[u8]> = TableDefinition::new("owed");
/// Since when, epoch ms, which deliveries wait for the ESP's webhook.
const UNANSWERED: TableDefinition<(u64, u128), ()> = TableDefinition::new("unanswered");
const COUNTS: TableDefinition<&str, u64> = TableDefinition::new("counts");

/// The name in `COUNTS` under which decisions are counted; the others are states.
const DECISIONS_COUNT: &str = "decisions";

/// The order in which deliveries go out (SPEC §6): greater priority (it is kept negated), older decision, lesser id.
type Rank = (i64, u64, u128);

/// A decision as it is written.
pub(super) struct Entry {
    id: DecisionId,
    json: Vec<u8>,
    owed: Option<Owed>,
}

/// What is written of a send.
struct Owed {
    rank: Rank,
    errand: Vec<u8>,
    /// When its delivery becomes pending: the decision's own tick, so that a replay writes the same.
    since_ms: u64,
}

/// A delivery as it is written.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    record: DeliveryRecord,
    priority: i32,
    as_of: u64,
}

impl Stored {
    fn rank(&self, id: DecisionId) -> Rank {
        (-i64::from(self.priority), self.as_of, id.0)
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
    /// Deliveries that are not settled.
    pub fn owed(&self) -> u64 {
        self.deliveries.iter().filter(|(state, _)| state.is_open()).map(|(_, count)| count).sum()
    }
}

/// The open file.
pub(super) struct Tables {
    database: Database,
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
        let tables = Tables { database, path };
        let found = tables.prepare().map_err(|error| OpenError::of(error, &tables.path))?;
        if found != FORMAT {
            return Err(OpenError::Format { path: tables.path, found: found.to_string(), known: FORMAT });
        }
        Ok(tables)
    }

    /// Makes what is missing and returns the format found.
    fn prepare(&self) -> Result<u64, redb::Error> {
        let transaction = self.database.begin_write()?;
        let found = {
            let mut meta = transaction.open_table(META)?;
            let found = meta.get("format")?.map(|found| found.value());
            if found.is_none() {
                meta.insert("format", FORMAT)?;
            }
            found.unwrap_or(FORMAT)
        };
        if found == FORMAT {
            transaction.open_table(DECISIONS)?;
            transaction.open_table(DELIVERIES)?;
            transaction.open_table(OWED)?;
            transaction.open_table(UNANSWERED)?;
            transaction.open_table(COUNTS)?;
            transaction.commit()?;
        }
        Ok(found)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn encode(&self, (decision, errand): &(Decision, Option<Errand>)) -> Result<Entry, LedgerError> {
        let id = decision.decision_id;
        let unwritable = |error: serde_json::Error| LedgerError::Unwritable { id, fault: error.to_string() };
        let json = serde_json::to_vec(decision).map_err(unwritable)?;
        let owed = |errand: &Errand| -> Result<Owed, serde_json::Error> {
            let rank = (-i64::from(errand.priority), decision.as_of, id.0);
            Ok(Owed { rank, errand: serde_json::to_vec(errand)?, since_ms: decision.as_of })
        };
        let owed = errand.as_ref().map(owed).transpose().map_err(unwritable)?;
        Ok(Entry { id, json, owed })
    }

    /// Runs `changes` as one transaction. When this returns, the disk has it.
    pub fn commit<T>(
        &self,
        changes: impl FnOnce(&Tables, &mut Writing<'_>) -> Result<T, redb::Error>,
    ) -> Result<T, LedgerError> {
        let attempt = || {
            let transaction = self.database.begin_write()?;
            let result = changes(self, &mut Writing::open(&transaction)?)?;
            transaction.commit()?;
            Ok(result)
        };
        attempt().map_err(|error| LedgerError::of(error, &self.path))
    }

    pub fn decision(&self, id: DecisionId) -> Result<Option<Decision>, LedgerError> {
        self.read(DECISIONS, id)
    }

    pub fn decisions(&self) -> Result<Vec<Decision>, LedgerError> {
        let read = || -> Result<Vec<_>, redb::Error> {
            let table = self.database.begin_read()?.open_table(DECISIONS)?;
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
            let table = self.database.begin_read()?.open_table(DECISIONS)?;
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
            let table = self.database.begin_read()?.open_table(OWED)?;
            let (mut wanted, mut entries) = (Vec::new(), table.iter()?);
            for entry in entries.by_ref().take(count) {
                let (rank, errand) = entry?;
                let id = DecisionId(rank.value().2);
                if is_wanted(id) {
                    wanted.push((id, errand.value().to_vec()));
                }
            }
            Ok((wanted, entries.next().is_some()))
        };
        let (wanted, more) = read().map_err(|error| LedgerError::of(error, &self.path))?;
        let open = wanted.into_iter().map(|(id, errand)| {
            let missing = || self.fault(id, "is owed, but its decision or delivery is missing");
            let decision = self.decision(id)?.ok_or_else(missing)?;
            let delivery = self.delivery(id)?.ok_or_else(missing)?;
            let errand = serde_json::from_slice(&errand).map_err(|error| self.fault(id, error))?;
            Ok(OpenDelivery { decision, errand, delivery })
        });
        Ok((open.collect::<Result<_, LedgerError>>()?, more))
    }

    /// The deliveries that wait for a webhook since before `before_ms`, the oldest first.
    pub fn unanswered(&self, before_ms: u64) -> Result<Vec<DecisionId>, LedgerError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(UNANSWERED)?;
            table.range(..(before_ms, 0))?.map(|entry| Ok(DecisionId(entry?.0.value().1))).collect()
        };
        read().map_err(|error| LedgerError::of(error, &self.path))
    }

    pub fn counts(&self) -> Result<Counts, LedgerError> {
        let read = || {
            let table = self.database.begin_read()?.open_table(COUNTS)?;
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
        let read = || Ok(self.database.begin_read()?.open_table(table)?.get(id.0)?);
        let found = read().map_err(|error: redb::Error| LedgerError::of(error, &self.path))?;
        found.map(|json| serde_json::from_slice(json.value()).map_err(|error| self.fault(id, error))).transpose()
    }

    fn fault(&self, id: DecisionId, fault: impl ToString) -> LedgerError {
        LedgerError::Entry { path: self.path.clone(), id, fault: fault.to_string() }
    }
}

/// The tables of one transaction.
pub(super) struct Writing<'t> {
    decisions: Table<'t, u128, &'static [u8]>,
    deliveries: Table<'t, u128, &'static [u8]>,
    owed: Table<'t, Rank, &'static [u8]>,
    unanswered: Table<'t, (u64, u128), ()>,
    counts: Table<'t, &'static str, u64>,
}

impl<'t> Writing<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Writing {
            decisions: transaction.open_table(DECISIONS)?,
            deliveries: transaction.open_table(DELIVERIES)?,
            owed: transaction.open_table(OWED)?,
            unanswered: transaction.open_table(UNANSWERED)?,
            counts: transaction.open_table(COUNTS)?,
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
            self.count(DECISIONS_COUNT, 1)?;
            if let Some(owed) = entry.owed {
                let (negated, as_of, _) = owed.rank;
                let priority = i32::try_from(-negated).unwrap_or(i32::MAX);
                self.put(entry.id, &Stored { record: DeliveryRecord::pending(owed.since_ms), priority, as_of })?;
                self.owed.insert(owed.rank, owed.errand.as_slice())?;
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
        let stored = match self.deliveries.get(id.0)? {
            None => return Ok(Err(LedgerError::NoDelivery { id })),
            Some(json) => match serde_json::from_slice::<Stored>(json.value()) {
                Ok(stored) => stored,
                Err(error) => return Ok(Err(tables.fault(id, error))),
            },
        };
        let from = stored.record.state;
        if !from.may_become(next.state) {
            return Ok(Err(LedgerError::Step { id, from, to: next.state }));
        }
        if !next.is_owed() {
            self.owed.remove(stored.rank(id))?;
        }
        self.unanswered.remove((stored.record.since_ms, id.0))?;
        if next.awaits_webhook {
            self.unanswered.insert((next.since_ms, id.0), ())?;
        }
        self.put(id, &Stored { record: next.clone(), ..stored })?;
        self.count(from.name(), -1)?;
        self.count(next.state.name(), 1)?;
        Ok(Ok(()))
    }

    /// Waits for the webhook of a delivery no longer. It stays `unknown`.
    pub fn bury(&mut self, tables: &Tables, id: DecisionId) -> Result<Result<(), LedgerError>, redb::Error> {
        let since_ms = match self.deliveries.get(id.0)? {
            None => return Ok(Err(LedgerError::NoDelivery { id })),
            Some(json) => match serde_json::from_slice::<Stored>(json.value()) {
                Ok(stored) => stored.record.since_ms,
                Err(error) => return Ok(Err(tables.fault(id, error))),
            },
        };
        self.unanswered.remove((since_ms, id.0))?;
        Ok(Ok(()))
    }

    fn put(&mut self, id: DecisionId, stored: &Stored) -> Result<(), redb::Error> {
        let json = serde_json::to_vec(stored).map_err(|error| redb::Error::Io(error.into()))?;
        self.deliveries.insert(id.0, json.as_slice())?;
        Ok(())
    }

    fn count(&mut self, name: &'static str, by: i64) -> Result<(), redb::Error> {
        let before = self.counts.get(name)?.map_or(0, |count| count.value());
        self.counts.insert(name, before.saturating_add_signed(by))?;
        Ok(())
    }
}
