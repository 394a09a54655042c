//! Interests by customer (SPEC §3, "Similar"). In: what a customer is interested in, each with its tick. Out: the SKUs that count
//! for them, as a set: those of the latest interest within the window, replaced when another counts or one no longer does.
//!
//! What is kept of a customer is what counts and no more: what is cut off is older than as many others, which leave the window
//! later. A visit costs what is kept; seeing a product again that counts anyway changes no set, and so tells nothing.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::model::{Diff, Id, Interests, Tick};
use crate::per_key::{Next, PerKey};
use crate::plan::Similar;

/// What is told of a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Interest {
    /// They are told everything again. Comes as a retraction, and so first.
    Reset,
    /// They were interested in a SKU at this tick.
    In(Id, Tick),
}

/// The rule of a customer's interests.
pub struct RecentInterests {
    /// Which count.
    pub similar: Similar,
    /// Length of a tick, ms.
    pub tick_ms: u64,
}

/// The latest interest in each SKU that counts, the latest first.
#[derive(Default, Serialize, Deserialize)]
pub struct Latest {
    interests: Vec<(Tick, Id)>,
    told: Interests,
}

impl PerKey for RecentInterests {
    type In = Interest;
    type State = Latest;
    type Out = (Id, Interests);
    type Wake = Tick;

    fn visit(
        &mut self,
        now: Tick,
        key: Id,
        latest: &mut Latest,
        changes: &mut dyn Iterator<Item = (Interest, Diff)>,
        emit: &mut dyn FnMut((Id, Interests), Diff),
    ) -> Next {
        for (change, _) in changes {
            match change {
                Interest::Reset => latest.interests.clear(),
                Interest::In(sku, at) => latest.interests.push((at, sku)),
            }
        }
        latest.cut(now, &self.similar);
        let interests = latest.that_count(self.similar.recent);
        // Nobody has any to begin with, told or not.
        if interests != latest.told {
            let before = std::mem::replace(&mut latest.told, interests.clone());
            emit((key, before), -1);
            emit((key, interests), 1);
        }
        match latest.interests.last() {
            Some((oldest, _)) => Next::WakeAt(oldest.saturating_add(self.similar.interest_ms(self.tick_ms))),
            None => Next::Forget,
        }
    }

    fn restate(&self, key: Id, latest: &Latest, emit: &mut dyn FnMut((Id, Interests))) {
        if latest.told != Interests::default() {
            emit((key, latest.told.clone()));
        }
    }
}

impl Latest {
    /// Keeps the latest interest in each SKU, of those within the window as many as count; and of the tick of the last of
    /// these all, because which of them count is for their texts to say.
    fn cut(&mut self, now: Tick, similar: &Similar) {
        let earliest = now.saturating_sub(similar.window_ms);
        self.interests.retain(|(at, _)| *at >= earliest);
        self.interests.sort_unstable_by_key(|(at, sku)| (*sku, Reverse(*at)));
        self.interests.dedup_by_key(|(_, sku)| *sku);
        self.interests.sort_unstable_by_key(|(at, sku)| (Reverse(*at), *sku));
        if let Some((last, _)) = self.interests.get(similar.recent.saturating_sub(1)).copied() {
            self.interests.truncate(self.interests.partition_point(|(at, _)| *at >= last));
        }
    }

    /// The SKUs that count, where at most `recent` do.
    fn that_count(&self, recent: usize) -> Interests {
        let all = self.interests.len();
        let sure = match self.interests.last() {
            Some((last, _)) if all > recent => self.interests.partition_point(|(at, _)| at > last),
            _ => all,
        };
        let skus = |interests: &[(Tick, Id)]| {
            let mut skus: Vec<Id> = interests.iter().map(|(_, sku)| *sku).collect();
            skus.sort_unstable();
            skus.into()
        };
        let (sure, tied) = self.interests.split_at(sure);
        Interests { places: if tied.is_empty() { 0 } else { recent - sure.len() }, skus: skus(sure), tied: skus(tied) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SKUs that count, those tied, and the places for these.
    type Told = (Vec<u64>, Vec<u64>, usize);

    /// A customer of whom three SKUs count, each for 100 ms.
    struct Story(RecentInterests, Latest);

    impl Story {
        fn new() -> Story {
            let similar = Similar { window_ms: 100, recent: 3 };
            Story(RecentInterests { similar, tick_ms: 10 }, Latest::default())
        }

        /// What is told now, if anything, and when to wake.
        fn visit(&mut self, now: Tick, interests: &[(u64, Tick)]) -> (Option<Told>, Next) {
            let mut told = None;
            let ids = |skus: &[Id]| skus.iter().map(|sku| sku.0).collect::<Vec<_>>();
            let mut changes = interests.iter().map(|(sku, at)| (Interest::In(Id(*sku), *at), 1));
            let next = self.0.visit(now, Id(1), &mut self.1, &mut changes, &mut |(_, row), diff| {
                if diff > 0 {
                    told = Some((ids(&row.skus), ids(&row.tied), row.places));
                }
            });
            (told, next)
        }
    }

    #[test]
    fn an_interest_counts_to_the_end_of_the_window() {
        let mut story = Story::new();
        assert_eq!(story.visit(200, &[(7, 200)]), (Some((vec![7], vec![], 0)), Next::WakeAt(310)));
        assert_eq!(story.visit(250, &[(7, 250)]), (None, Next::WakeAt(360)));
        assert_eq!(story.visit(350, &[]), (None, Next::WakeAt(360)));
        assert_eq!(story.visit(360, &[]), (Some((vec![], vec![], 0)), Next::Forget));
    }

    #[test]
    fn what_is_cut_off_is_older_and_what_is_tied_is_left_to_the_texts() {
        let mut story = Story::new();
        story.visit(200, &[(1, 200), (2, 200)]);
        assert_eq!(story.visit(210, &[(3, 210)]).0, Some((vec![1, 2, 3], vec![], 0)));
        assert_eq!(story.visit(220, &[(4, 220)]).0, Some((vec![3, 4], vec![1, 2], 1)));
        assert_eq!(story.visit(230, &[(2, 230)]), (Some((vec![2, 3, 4], vec![], 0)), Next::WakeAt(320)));
    }
}
