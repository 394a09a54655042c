//! The trigger set, by campaign, a page at a time. In: a campaign, and where the page before ended. Out: JSON, each page as of the closed
//! tick that it names. The set goes on changing between two pages: what held all the while is on one of them, once.

use std::ops::Bound;

use beckon_dataflows::model::{Episode, Id, Tick};
use serde_json::{Map, Value, json};

use super::Answers;
use crate::decision::{DecisionId, Moment};
use crate::web::answer::TriggersAsked;

impl Answers {
    pub(super) fn tell_triggers(&self, asked: &TriggersAsked) -> anyhow::Result<Option<Value>> {
        let place = |name: &String| self.campaigns.iter().position(|campaign| *campaign.name == **name);
        let only = match asked.campaign.as_ref().map(|name| place(name).and_then(|it| u16::try_from(it).ok())) {
            // There is no such campaign.
            Some(None) => return Ok(None),
            Some(only) => only,
            None => None,
        };
        let after = asked.after.as_deref().map(cursor);
        if after == Some(None) {
            return Ok(None);
        }
        let (from, to) = range(only, after.flatten());
        let (as_of, (counts, mut episodes)) = self.settled(0, |view| {
            let set = view.state.trigger_set();
            let counts: Vec<usize> = (0..self.campaign_count()).map(|it| view.state.episodes(it)).collect();
            // One more than asked for tells whether there is another page.
            (counts, set.range((from, to)).take(asked.limit + 1).copied().collect::<Vec<Episode>>())
        })?;
        let more = episodes.len() > asked.limit;
        episodes.truncate(asked.limit);
        let names = self.campaigns.iter().map(|campaign| campaign.name.to_string());
        let counts: Map<String, Value> = names.zip(counts.into_iter().map(Value::from)).collect();
        Ok(Some(json!({
            "as_of": Moment(as_of),
            "counts": counts,
            "next": episodes.last().filter(|_| more).map(text_of),
            "episodes": episodes.iter().map(|episode| self.told_episode(episode)).collect::<Vec<_>>(),
        })))
    }

    fn told_episode(&self, episode: &Episode) -> Value {
        let campaign = self.campaigns.get(usize::from(episode.campaign));
        let (name, trigger) = campaign.map(|campaign| (&*campaign.name, &*campaign.trigger)).unwrap_or_default();
        let (customer, subject) = (self.text(episode.customer), self.text(episode.subject));
        let id = DecisionId::of(name, &customer, &subject, episode.anchor);
        json!({
            "campaign": name,
            "trigger": trigger,
            "customer_id": customer,
            "subject": subject,
            "anchor": Moment(episode.anchor),
            "decision_id": id,
        })
    }
}

/// From where to where a page is taken.
fn range(only: Option<u16>, after: Option<Episode>) -> (Bound<Episode>, Bound<Episode>) {
    let end = |campaign, id, anchor| Episode { campaign, customer: Id(id), subject: Id(id), anchor };
    let first = only.map_or(Bound::Unbounded, |campaign| Bound::Included(end(campaign, 0, 0)));
    let last = only.map_or(Bound::Unbounded, |campaign| Bound::Included(end(campaign, u64::MAX, Tick::MAX)));
    // Where a page is asked for that lies after all of the campaign, there is nothing, and no range may be empty the wrong way round.
    match (after, only) {
        (Some(after), Some(only)) if after.campaign > only => (Bound::Excluded(end(only, u64::MAX, Tick::MAX)), last),
        (Some(after), Some(only)) if after.campaign < only => (first, last),
        (Some(after), _) => (Bound::Excluded(after), last),
        (None, _) => (first, last),
    }
}

/// Where a page ended: the episode, as the set is ordered.
fn text_of(episode: &Episode) -> String {
    let Episode { campaign, customer, subject, anchor } = episode;
    format!("{campaign:04x}{:016x}{:016x}{anchor:016x}", customer.0, subject.0)
}

fn cursor(text: &str) -> Option<Episode> {
    if text.len() != 52 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let word = |from: usize, to: usize| u64::from_str_radix(&text[from..to], 16).ok();
    let campaign = u16::try_from(word(0, 4)?).ok()?;
    Some(Episode { campaign, customer: Id(word(4, 20)?), subject: Id(word(20, 36)?), anchor: word(36, 52)? })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn episode(campaign: u16, customer: u64) -> Episode {
        Episode { campaign, customer: Id(customer), subject: Id(u64::MAX), anchor: 1_000 }
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is_one() {
        let all = [episode(0, 0), episode(u16::MAX, u64::MAX), episode(7, 1 << 60)];
        all.iter().for_each(|it| assert_eq!(cursor(&text_of(it)), Some(*it)));
        for wrong in ["", "0", &"g".repeat(52), &"é".repeat(26), &"+".repeat(52), &"0".repeat(53)] {
            assert_eq!(cursor(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn pages_are_of_one_campaign_and_go_on_where_the_last_one_ended() {
        let set: BTreeSet<Episode> = (0..3).flat_map(|campaign| (0..5).map(move |it| episode(campaign, it))).collect();
        let page = |only, after| set.range(range(only, after)).copied().collect::<Vec<_>>();
        assert_eq!(page(None, None).len(), 15);
        assert_eq!(page(Some(1), None), (0..5).map(|it| episode(1, it)).collect::<Vec<_>>());
        assert_eq!(page(Some(1), Some(episode(1, 2))), [episode(1, 3), episode(1, 4)]);
        assert_eq!(page(None, Some(episode(2, 3))), [episode(2, 4)]);
        // The end of another campaign, and the end itself.
        assert_eq!(page(Some(1), Some(episode(0, 2))).len(), 5);
        for after in [episode(2, 0), Episode { anchor: Tick::MAX, ..episode(1, u64::MAX) }] {
            assert!(page(Some(1), Some(after)).is_empty());
        }
    }
}
