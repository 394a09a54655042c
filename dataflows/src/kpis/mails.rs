//! What became of each mail, as long as its decision is followed. In: sends, deliveries, and what people and machines did. Out: what each
//! mail adds to each row: once, however often it was done. Cannot fail.

use serde::{Deserialize, Serialize};

use super::{Cell, Followed, Measure, Tally, Terms};
use crate::model::{Diff, Engagement, EngagementKind, Id, Tick};
use crate::per_key::{Next, PerKey};

/// The rule of a mail.
pub(super) struct Mails {
    pub(super) terms: Terms,
}

/// What concerns a mail. In their order, so that a send is known before what came of it at its tick.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum OfMail {
    /// It was decided.
    Decided(Followed),
    /// An ESP took it.
    Accepted(u128),
    /// Somebody did something with it.
    Engaged(Engagement),
}

/// Where a decision's mail is kept: by half of its id, which is a hash.
pub(super) fn key(decision: u128) -> Id {
    Id(decision as u64)
}

/// A mail, and what is counted of it.
#[derive(Serialize, Deserialize)]
pub(super) struct Mail {
    decision: Followed,
    counted: Vec<Measure>,
}

impl PerKey for Mails {
    type In = OfMail;
    /// Hardly ever more than one: those whose ids have this half in common.
    type State = Vec<Mail>;
    type Out = (Cell, Tally);
    type Wake = Tick;

    fn visit(
        &mut self,
        now: Tick,
        _key: Id,
        mails: &mut Vec<Mail>,
        changes: &mut dyn Iterator<Item = (OfMail, Diff)>,
        emit: &mut dyn FnMut((Cell, Tally), Diff),
    ) -> Next {
        mails.retain(|mail| self.terms.follows(mail.decision.at, now));
        let mut changes: Vec<OfMail> = changes.map(|(change, _)| change).collect();
        changes.sort_unstable();
        for change in changes {
            let (id, measure) = match change {
                OfMail::Decided(decision) => {
                    mails.push(Mail { decision, counted: Vec::new() });
                    continue;
                }
                OfMail::Accepted(id) => (id, Measure::Sent),
                OfMail::Engaged(engagement) => match measure(&engagement) {
                    Some(measure) => (engagement.decision, measure),
                    None => continue,
                },
            };
            let Some(mail) = mails.iter_mut().find(|mail| mail.decision.id == id) else { continue };
            if !mail.counted.contains(&measure) {
                mail.counted.push(measure);
                let cell = mail.decision.cell;
                [cell, cell.whole()].into_iter().for_each(|cell| emit((cell, Tally::one(measure)), 1));
            }
        }
        mails.iter().map(|mail| self.terms.end(mail.decision.at)).min().map_or(Next::Forget, Next::wake_at)
    }
}

/// What it counts as; a choice as nothing.
fn measure(Engagement { kind, machine, .. }: &Engagement) -> Option<Measure> {
    Some(match (kind, machine) {
        (EngagementKind::Delivered, _) => Measure::Delivered,
        (EngagementKind::Bounced, _) => Measure::Bounced,
        (EngagementKind::Complained, _) => Measure::Complained,
        (EngagementKind::Unsubscribed, _) => Measure::Unsubscribed,
        (EngagementKind::Opened, false) => Measure::Opened,
        (EngagementKind::Opened, true) => Measure::OpenedByMachine,
        (EngagementKind::Clicked, false) => Measure::Clicked,
        (EngagementKind::Clicked, true) => Measure::ClickedByMachine,
        (EngagementKind::Chosen, _) => return None,
    })
}
