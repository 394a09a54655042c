//! What one transaction does to the tables. In: steps (decisions, states of deliveries, erasures), and entries of the mirror. Out: what
//! came of them, and what the mirror is to be told. The inner error is the caller's own, or that of one entry, and leaves the transaction sound.

use std::sync::Arc;

use beckon_dataflows::model::Tick;
use redb::{ReadableTable, Table, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::tables::{
    ACCOUNTS, BY_CUSTOMER, COUNTS, DECISIONS, DECISIONS_COUNT, DELIVERIES, Entry, JOURNAL, LINGERS, META, OWED, Rank,
    Stored, Tables, UNANSWERED,
};
use super::{LedgerError, mirror};
use crate::decision::{Decision, DecisionId, DeliveryRecord, DeliveryState};

/// The name in `META` under which stands how often it was tried whether anything can be written.
const PROBES: &str = "probes";

/// Something to be made durable. Taken again by the same tables it comes to the same.
#[derive(Serialize, Deserialize)]
pub(super) enum Step {
    /// The decisions of a closed tick.
    Record(Vec<Entry>),
    /// A delivery's next state.
    Advance(DecisionId, DeliveryRecord),
    /// That a delivery's webhook is waited for no longer.
    Bury(DecisionId),
    /// To which ESPs deliveries go from now on.
    Assign(Vec<(DecisionId, Option<Arc<str>>)>),
    /// What the decisions of customers up to a tick are about is to be forgotten.
    Erase(Vec<String>, Tick),
    /// A mark that means nothing.
    Probe,
}

/// What a step came to.
#[derive(Default)]
pub(super) struct Done {
    /// The decisions that were not there.
    pub new: Vec<DecisionId>,
    /// How many deliveries were given to another ESP.
    pub assigned: usize,
    /// How many decisions lost what they were about.
    pub erased: usize,
}

/// The tables of one transaction.
pub(super) struct Writing<'t> {
    decisions: Table<'t, u128, &'static [u8]>,
    deliveries: Table<'t, u128, &'static [u8]>,
    owed: Table<'t, Rank, ()>,
    unanswered: Table<'t, (u64, u128), ()>,
    counts: Table<'t, &'static str, u64>,
    by_customer: Table<'t, (&'static str, u128), ()>,
    accounts: Table<'t, u128, &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
    changed: Vec<(mirror::Entry, DecisionId, Vec<u8>)>,
}

impl<'t> Writing<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Writing {
            decisions: transaction.open_table(DECISIONS)?,
            deliveries: transaction.open_table(DELIVERIES)?,
            owed: transaction.open_table(OWED)?,
            unanswered: transaction.open_table(UNANSWERED)?,
            counts: transaction.open_table(COUNTS)?,
            by_customer: transaction.open_table(BY_CUSTOMER)?,
            accounts: transaction.open_table(ACCOUNTS)?,
            meta: transaction.open_table(META)?,
            changed: Vec::new(),
        })
    }

    /// Takes a step.
    pub fn take(&mut self, tables: &Tables, step: Step) -> Result<Result<Done, LedgerError>, redb::Error> {
        let mut done = Done::default();
        let taken = match step {
            Step::Record(entries) => {
                done.new = self.record(entries)?;
                Ok(())
            }
            Step::Advance(id, record) => self.advance(tables, id, &record)?,
            Step::Bury(id) => self.bury(tables, id)?,
            Step::Assign(deliveries) => {
                done.assigned = deliveries.len();
                // Each for itself: the first fault is told when all are done.
                let mut all = Ok(());
                for (id, esp) in deliveries {
                    all = all.and(self.assign(tables, id, esp)?);
                }
                all
            }
            Step::Erase(customers, upto) => {
                let mut all = Ok(());
                for customer in customers {
                    let erased = self.erase(tables, &customer, upto)?;
                    all = all.and(erased.map(|count| done.erased += count));
                }
                all
            }
            Step::Probe => {
                self.probe()?;
                Ok(())
            }
        };
        Ok(taken.map(|()| done))
    }

    /// Notes that what it does is in the journal up to the frame of this number.
    pub fn stands_at(&mut self, number: u64) -> Result<(), redb::Error> {
        self.meta.insert(JOURNAL, number)?;
        Ok(())
    }

    /// Leaves a mark: another one each time.
    fn probe(&mut self) -> Result<(), redb::Error> {
        let before = self.meta.get(PROBES)?.map_or(0, |count| count.value());
        self.meta.insert(PROBES, before.wrapping_add(1))?;
        Ok(())
    }

    /// Adds the decisions, and the deliveries, that are not there yet; returns of which there was one.
    fn record(&mut self, entries: Vec<Entry>) -> Result<Vec<DecisionId>, redb::Error> {
        let mut new = Vec::with_capacity(entries.len());
        for Entry { id, customer, json, account, delivery } in entries {
            let is_new = self.add_decision(id, &customer, json.into_bytes())?;
            if let Some(account) = account.filter(|_| is_new) {
                self.accounts.insert(id.0, account.as_bytes())?;
            }
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
    fn add_decision(&mut self, id: DecisionId, customer: &str, json: Vec<u8>) -> Result<bool, redb::Error> {
        if self.decisions.get(id.0)?.is_some() {
            return Ok(false);
        }
        self.decisions.insert(id.0, json.as_slice())?;
        self.by_customer.insert((customer, id.0), ())?;
        self.count(DECISIONS_COUNT, 1)?;
        self.changed.push((mirror::Entry::Decision, id, json));
        Ok(true)
    }

    /// Moves a delivery to its next state. The inner error is the caller's own and leaves the transaction sound.
    fn advance(
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

    /// Gives a delivery that is owed to another ESP. What the first may have taken is given to nobody: only a webhook can tell.
    fn assign(
        &mut self,
        tables: &Tables,
        id: DecisionId,
        esp: Option<Arc<str>>,
    ) -> Result<Result<(), LedgerError>, redb::Error> {
        let before = match self.stored(tables, id)? {
            Ok(before) => before,
            Err(fault) => return Ok(Err(fault)),
        };
        let mut after = before.clone();
        if before.record.state.is_ambiguous() {
            after.record.state = DeliveryState::Unknown;
            after.record.awaits_webhook = true;
            after.record.note = Some("the ESP that may have taken it is no longer configured".to_owned());
        } else {
            after.errand.esp = esp;
        }
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
    fn bury(&mut self, tables: &Tables, id: DecisionId) -> Result<Result<(), LedgerError>, redb::Error> {
        let since_ms = match self.stored(tables, id)? {
            Ok(stored) => stored.record.since_ms,
            Err(fault) => return Ok(Err(fault)),
        };
        self.unanswered.remove((since_ms, id.0))?;
        Ok(Ok(()))
    }

    /// Takes out of the decisions of `customer` up to the tick `upto` what they are about, and out of their deliveries what the
    /// ESP said. Returns of how many. The inner error is an entry that cannot be read; what is before it is erased.
    fn erase(
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
            // It names what the gates looked at: carts, products, a zone.
            self.accounts.remove(id.0)?;
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
        json: Vec<u8>,
    ) -> Result<Result<(), LedgerError>, redb::Error> {
        if entry == mirror::Entry::Decision {
            return match serde_json::from_slice::<Decision>(&json) {
                Ok(decision) => {
                    if self.decisions.get(id.0)?.is_some() {
                        self.decisions.insert(id.0, json.as_slice())?;
                    } else {
                        self.add_decision(id, &decision.customer_id, json)?;
                    }
                    Ok(Ok(()))
                }
                Err(error) => Ok(Err(tables.fault(id, error))),
            };
        }
        let after = match serde_json::from_slice::<Stored>(&json) {
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
