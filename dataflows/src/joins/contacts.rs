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
    /// They unsubscribed, complained, or their mailbox bounced.
    ConsentWithheld,
}

/// The rule of a contact.
pub struct Contacts {
    /// Where stale records are counted.
    pub counts: Arc<Counts>,
}

/// The last write of a profile, and whether consent is withheld.
#[derive(Default)]
pub struct LastContact {
    profile: Option<(Written, Arc<Contact>)>,
    withheld: bool,
}

impl PerKey for Contacts {
    type In = ContactChange;
    type State = LastContact;
    type Out = (Id, Arc<Contact>);

    fn visit(
        &mut self,
        _now: Tick,
        key: Id,
        last: &mut LastContact,
        changes: &mut dyn Iterator<Item = (ContactChange, Diff)>,
        emit: &mut dyn FnMut((Id, Arc<Contact>), Diff),
    ) -> Next {
        let before = last.contact();
        let mut profiles = Vec::new();
        for (change, _) in changes {
            match change {
                ContactChange::Profile(record) => profiles.push(record),
                ContactChange::ConsentWithheld => last.withheld = true,
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
        let after = last.contact();
        if before != after {
            before.into_iter().for_each(|contact| emit((key, contact), -1));
            after.into_iter().for_each(|contact| emit((key, contact), 1));
        }
        Next::Keep
    }
}

impl LastContact {
    fn contact(&self) -> Option<Arc<Contact>> {
        match (&self.profile, self.withheld) {
            (Some((_, profile)), false) => Some(profile.clone()),
            (Some((_, profile)), true) => Some(Arc::new(Contact { withheld: true, ..Contact::clone(profile) })),
            (None, true) => Some(Arc::new(Contact { withheld: true, ..Contact::default() })),
            (None, false) => None,
        }
    }
}
