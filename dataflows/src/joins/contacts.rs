//! Customers as a mail needs them. In: `profiles` records, last write wins, engagement that withholds consent, and choices. Out: the
//! contact, replaced as it changes. An unsubscribe, complaint or bounce holds for good (ARCHITECTURE, "Decisions"), a choice until
//! the next one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::model::{Choice, Contact, Diff, Id, ProfileRecord, Stream, Tick, Written};
use crate::per_key::{Next, PerKey};

/// What is told of a customer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ContactChange {
    /// Their profile.
    Profile(ProfileRecord),
    /// What was withheld and chosen is told again. Comes as a retraction, and so first.
    Reset,
    /// They unsubscribed, complained, or their mailbox bounced, at this tick.
    ConsentWithheld(Tick),
    /// They chose, under one of their ids.
    Chosen(Arc<Choice>),
}

/// The rule of a contact.
pub struct Contacts {
    /// Where stale records are counted.
    pub counts: Arc<Counts>,
}

/// The last write of a profile, whether consent is withheld, and the last choice.
#[derive(Serialize, Deserialize)]
pub struct LastContact {
    profile: Option<(Written, Arc<Contact>)>,
    /// The tick at which a profile first consented.
    consented: Tick,
    withheld: Tick,
    choice: Option<Arc<Choice>>,
}

/// The tick of what has not come to pass.
const NEVER: Tick = Tick::MAX;

impl Default for LastContact {
    fn default() -> LastContact {
        LastContact { profile: None, consented: NEVER, withheld: NEVER, choice: None }
    }
}

/// A contact as it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContactRow {
    /// Whose.
    pub customer: Id,
    /// What is known of them.
    pub contact: Arc<Contact>,
    /// The tick at which consent first held.
    pub consented: Option<Tick>,
}

impl PerKey for Contacts {
    type In = ContactChange;
    type State = LastContact;
    type Out = ContactRow;

    fn visit(
        &mut self,
        now: Tick,
        key: Id,
        last: &mut LastContact,
        changes: &mut dyn Iterator<Item = (ContactChange, Diff)>,
        emit: &mut dyn FnMut(ContactRow, Diff),
    ) -> Next {
        let before = last.row(key);
        let mut profiles = Vec::new();
        for (change, _) in changes {
            match change {
                ContactChange::Profile(record) => profiles.push(record),
                ContactChange::Reset => (last.withheld, last.choice) = (NEVER, None),
                ContactChange::ConsentWithheld(at) => last.withheld = last.withheld.min(at),
                ContactChange::Chosen(choice) => last.choice = last.choice.take().max(Some(choice)),
            }
        }
        profiles.sort_unstable_by_key(|record| record.written);
        for record in profiles {
            if last.profile.as_ref().is_some_and(|(written, _)| record.written <= *written) {
                self.counts.stale(Stream::Profiles);
            } else {
                last.profile = Some((record.written, record.contact));
            }
        }
        if last.profile.as_ref().is_some_and(|(_, contact)| contact.consent && !contact.erased) {
            last.consented = last.consented.min(now);
        }
        let after = last.row(key);
        if before != after {
            before.into_iter().for_each(|row| emit(row, -1));
            after.into_iter().for_each(|row| emit(row, 1));
        }
        Next::Keep
    }

    fn restate(&self, key: Id, last: &LastContact, emit: &mut dyn FnMut(ContactRow)) {
        last.row(key).into_iter().for_each(emit);
    }
}

impl LastContact {
    fn row(&self, customer: Id) -> Option<ContactRow> {
        let consented = (self.consented < self.withheld).then_some(self.consented);
        self.contact().map(|contact| ContactRow { customer, contact, consented })
    }

    fn contact(&self) -> Option<Arc<Contact>> {
        let profile = self.profile.as_ref().map(|(_, profile)| profile);
        let declined = self.choice.as_ref().map(|choice| &choice.declined).filter(|declined| !declined.is_empty());
        if self.withheld == NEVER && declined.is_none() {
            return profile.cloned();
        }
        let profile = profile.map(|profile| Contact::clone(profile)).unwrap_or_default();
        let declined = declined.into_iter().flatten().cloned().collect();
        Some(Arc::new(Contact { withheld: self.withheld < NEVER, declined, ..profile }))
    }
}
