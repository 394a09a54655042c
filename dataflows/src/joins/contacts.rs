//! Customers as a mail needs them. In: `profiles` records, last write wins, and engagement that withholds consent. Out: the
//! contact, replaced as it changes. An unsubscribe, complaint or bounce holds for good (ARCHITECTURE, "Decisions").

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::model::{Contact, Diff, Id, ProfileRecord, Stream, Tick, Written};
use crate::per_key::{Next, PerKey};

/// What is told of a customer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ContactChange {
    /// Their profile.
    Profile(ProfileRecord),
    /// What was withheld is told again. Comes as a retraction, and so first.
    Reset,
    /// They unsubscribed, complained, or their mailbox bounced, at this tick.
    ConsentWithheld(Tick),
}

/// The rule of a contact.
pub struct Contacts {
    /// Where stale records are counted.
    pub counts: Arc<Counts>,
}

/// The last write of a profile, and whether consent is withheld.
#[derive(Default, Serialize, Deserialize)]
pub struct LastContact {
    profile: Option<(Written, Arc<Contact>)>,
    /// The tick at which a profile first consented.
    consented: Option<Tick>,
    withheld: Option<Tick>,
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
                ContactChange::Reset => last.withheld = None,
                ContactChange::ConsentWithheld(at) => {
                    last.withheld = Some(last.withheld.map_or(at, |known| known.min(at)));
                }
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
            last.consented.get_or_insert(now);
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
        let consented = self.consented.filter(|at| self.withheld.is_none_or(|withheld| *at < withheld));
        self.contact().map(|contact| ContactRow { customer, contact, consented })
    }

    fn contact(&self) -> Option<Arc<Contact>> {
        match (&self.profile, self.withheld.is_some()) {
            (Some((_, profile)), false) => Some(profile.clone()),
            (Some((_, profile)), true) => Some(Arc::new(Contact { withheld: true, ..Contact::clone(profile) })),
            (None, true) => Some(Arc::new(Contact { withheld: true, ..Contact::default() })),
            (None, false) => None,
        }
    }
}
