//! Which mails recipients want (ARCHITECTURE, "Choices"). In: a customer. Out: what they have chosen, as of the newest closed tick; nothing
//! while that is an old one, as the log is being read.

use std::sync::Arc;

use beckon_dataflows::model::{Id, Namespace, Standing};

use super::Answers;
use crate::config::Config;
use crate::pipeline::read;
use crate::web::choices::{Choices, Chosen, Offer};

/// How far the newest closed tick may be behind for its state to be shown as that of now, in milliseconds of the service's clock.
const BEHIND_MS_MAX: u64 = 15 * 60 * 1000;

/// Whoever looks up what was chosen.
pub struct Chooser {
    answers: Answers,
    offers: Vec<Offer>,
}

impl Chooser {
    /// That of a service, which offers the configured campaigns: those of one title together.
    pub fn of(answers: Answers, config: &Config) -> Arc<Chooser> {
        let mut offers: Vec<Offer> = Vec::new();
        for campaign in &config.campaigns {
            match offers.iter_mut().find(|offer| offer.title == campaign.title) {
                Some(offer) => offer.campaigns.push(campaign.name.clone()),
                None => offers.push(Offer { title: campaign.title.clone(), campaigns: vec![campaign.name.clone()] }),
            }
        }
        Arc::new(Chooser { answers, offers })
    }
}

impl Choices for Chooser {
    fn offers(&self) -> &[Offer] {
        &self.offers
    }

    fn of(&self, customer: &str) -> Option<Chosen> {
        let now_ms = (self.answers.clock)();
        let state = read(&self.answers.state);
        if state.as_of() == 0 || now_ms.saturating_sub(state.as_of()) > BEHIND_MS_MAX {
            return None;
        }
        let Some(contact) = state.contact(state.owner(Id::of(Namespace::User, customer).0)) else {
            return Some(Chosen::AllBut([].into()));
        };
        let declined = contact.declined().map(str::to_owned).collect();
        let Standing { withheld, erased, .. } = contact.standing();
        Some(if withheld || erased { Chosen::Nothing } else { Chosen::AllBut(declined) })
    }
}
