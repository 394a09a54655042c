//! `welcome` (SPEC §4). In: contacts. Out: an opening about a customer, W after consent to mail first held, while it holds.

use serde::{Deserialize, Serialize};
use thin_vec::ThinVec;

use crate::model::{Contact, Diff, Id, Opening, Standing, Tick};
use crate::per_key::{Next, PerKey};
use crate::plan::{Plan, Trigger, Wait};
use crate::triggers::found::Found;

/// The rule of a customer.
pub struct Welcomes {
    campaigns: Vec<(u16, Wait)>,
}

impl Welcomes {
    /// The plan's campaigns on this trigger; none when it has none.
    pub fn of(plan: &Plan) -> Option<Welcomes> {
        let campaigns = plan.on(|campaign, trigger| match trigger {
            Trigger::Welcome(wait) => Some((campaign, *wait)),
            _ => None,
        });
        (!campaigns.is_empty()).then_some(Welcomes { campaigns })
    }
}

/// What is kept of a customer.
#[derive(Default, Serialize, Deserialize)]
pub struct Consent {
    /// The tick at which it first held.
    first: Option<Tick>,
    holds: bool,
    open: ThinVec<Opening>,
}

impl PerKey for Welcomes {
    type In = Contact;
    type State = Consent;
    type Out = Opening;
    type Wake = Tick;

    fn visit(
        &mut self,
        now: Tick,
        key: Id,
        consent: &mut Consent,
        contacts: &mut dyn Iterator<Item = (Contact, Diff)>,
        emit: &mut dyn FnMut(Opening, Diff),
    ) -> Next {
        for (contact, diff) in contacts {
            let standing = if diff > 0 { contact.standing() } else { Standing::default() };
            let Standing { consent: given, erased, withheld, .. } = standing;
            let consents = given && !erased;
            consent.holds = consents && !withheld;
            consent.first = consent.first.or(consents.then_some(now));
        }
        let mut found = Found::new(key, now);
        if let (Some(first), true) = (consent.first, consent.holds) {
            for (campaign, wait) in &self.campaigns {
                if found.is_within(wait, first) {
                    found.add_customer(*campaign, first);
                }
            }
        }
        match (found.settle(&mut consent.open, emit), consent.first) {
            (Some(tick), _) => Next::WakeAt(tick),
            (None, Some(_)) => Next::Keep,
            (None, None) => Next::Forget,
        }
    }

    fn restate(&self, _key: Id, consent: &Consent, emit: &mut dyn FnMut(Opening)) {
        consent.open.iter().cloned().for_each(emit);
    }
}
