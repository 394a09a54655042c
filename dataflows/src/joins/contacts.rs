//! Customers as a mail needs them. In: `profiles` records, last write wins, engagement that withholds consent, and choices. Out: the
//! contact, replaced as it changes. An unsubscribe, complaint or bounce holds for good (ARCHITECTURE, "Decisions"), a choice until
//! the next one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::model::{Choice, Contact, Diff, Id, ProfileRecord, Standing, Stream, Tick, Written};
use crate::per_key::{Never, Next, PerKey};

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

/// What is kept of a customer.
#[derive(Serialize, Deserialize)]
pub enum LastContact {
    /// The last write of the profile: of most there is no more.
    Profile(Written, Contact),
    /// Of those who ever refused or chose, or have no profile.
    Rest(Option<Box<Rest>>),
}

/// The last write of the profile, and what was refused and chosen.
#[derive(Default, Serialize, Deserialize)]
pub struct Rest {
    profile: Option<(Written, Contact)>,
    withheld: Option<Tick>,
    choice: Option<Arc<Choice>>,
}

impl Default for LastContact {
    fn default() -> LastContact {
        LastContact::Rest(None)
    }
}

impl PerKey for Contacts {
    type In = ContactChange;
    type State = LastContact;
    type Out = (Id, Contact);
    type Wake = Never;

    fn visit(
        &mut self,
        _now: Tick,
        key: Id,
        last: &mut LastContact,
        changes: &mut dyn Iterator<Item = (ContactChange, Diff)>,
        emit: &mut dyn FnMut((Id, Contact), Diff),
    ) -> Next {
        let before = last.contact();
        let mut profiles = Vec::new();
        for (change, _) in changes {
            match change {
                ContactChange::Profile(record) => profiles.push(record),
                ContactChange::Reset => last.reset(),
                ContactChange::ConsentWithheld(at) => {
                    last.refuse(|rest| rest.withheld = Some(rest.withheld.map_or(at, |before| before.min(at))));
                }
                ContactChange::Chosen(choice) => last.refuse(|rest| rest.choice = rest.choice.take().max(Some(choice))),
            }
        }
        profiles.sort_unstable_by_key(|record| record.written);
        for record in profiles {
            if last.profile().is_some_and(|(written, _)| record.written <= written) {
                self.counts.stale(Stream::Profiles);
            } else {
                last.write(record.written, record.contact);
            }
        }
        let after = last.contact();
        if before != after {
            before.into_iter().for_each(|contact| emit((key, contact), -1));
            after.into_iter().for_each(|contact| emit((key, contact), 1));
        }
        Next::Keep
    }

    fn restate(&self, key: Id, last: &LastContact, emit: &mut dyn FnMut((Id, Contact))) {
        last.contact().into_iter().for_each(|contact| emit((key, contact)));
    }
}

impl LastContact {
    fn profile(&self) -> Option<(Written, &Contact)> {
        match self {
            LastContact::Profile(written, contact) => Some((*written, contact)),
            LastContact::Rest(rest) => rest.as_ref()?.profile.as_ref().map(|(written, contact)| (*written, contact)),
        }
    }

    fn write(&mut self, written: Written, contact: Contact) {
        match self {
            LastContact::Rest(Some(rest)) => rest.profile = Some((written, contact)),
            _ => *self = LastContact::Profile(written, contact),
        }
    }

    /// What was refused and chosen is told again.
    fn reset(&mut self) {
        if let LastContact::Rest(Some(rest)) = self {
            let profile = rest.profile.take();
            *self =
                profile.map_or(LastContact::Rest(None), |(written, contact)| LastContact::Profile(written, contact));
        }
    }

    /// Something is refused or chosen.
    fn refuse(&mut self, change: impl FnOnce(&mut Rest)) {
        let mut rest = match std::mem::take(self) {
            LastContact::Profile(written, contact) => {
                Box::new(Rest { profile: Some((written, contact)), ..Rest::default() })
            }
            LastContact::Rest(rest) => rest.unwrap_or_default(),
        };
        change(&mut rest);
        *self = LastContact::Rest(Some(rest));
    }

    fn contact(&self) -> Option<Contact> {
        let profile = self.profile().map(|(_, contact)| contact);
        let LastContact::Rest(Some(rest)) = self else { return profile.cloned() };
        let mut declined =
            rest.choice.iter().flat_map(|choice| &choice.declined).map(|campaign| &**campaign).peekable();
        if rest.withheld.is_none() && declined.peek().is_none() {
            return profile.cloned();
        }
        let profile = profile.cloned().unwrap_or_default();
        let standing = Standing { withheld: rest.withheld.is_some(), ..profile.standing() };
        Some(Contact::declining(standing, &profile.words(), declined))
    }
}
