//! Episodes that wait for the end of quiet hours (SPEC §5). In: the edges of the trigger set, and until when an episode waits.
//! Out: the episodes to be asked at a tick. Cannot fail. It holds no more episodes than the trigger set does.

use std::collections::BTreeSet;

use beckon_dataflows::model::{Episode, Opening, Tick};
use hashbrown::{HashMap, HashSet};

/// The episodes that wait.
#[derive(Default)]
pub struct Waiting {
    openings: HashMap<Episode, (Opening, Tick)>,
    wakes: BTreeSet<(Tick, Episode)>,
}

impl Waiting {
    /// Takes up the edges of a tick, and gives the episodes to be asked at it: those that entered, and those whose wait is
    /// over. One that left waits no more. One that left and entered at once has only changed its opening: it waits on.
    pub fn take_up(&mut self, tick: Tick, left: &[Episode], entered: Vec<Opening>) -> Vec<Opening> {
        let mut changed = HashSet::new();
        let mut due = Vec::with_capacity(entered.len());
        for opening in entered {
            match self.openings.get_mut(&opening.episode) {
                Some((waiting, _)) => {
                    changed.insert(opening.episode);
                    *waiting = opening;
                }
                None => due.push(opening),
            }
        }
        for episode in left.iter().filter(|episode| !changed.contains(*episode)) {
            self.end(episode);
        }
        while let Some((_, episode)) = self.wakes.first().copied().filter(|(wake, _)| *wake <= tick) {
            due.extend(self.end(&episode));
        }
        due
    }

    /// Lets an episode wait until the tick `wake`.
    pub fn wait(&mut self, opening: Opening, wake: Tick) {
        self.wakes.insert((wake, opening.episode));
        self.openings.insert(opening.episode, (opening, wake));
    }

    /// All that wait, each until when.
    pub fn all(&self) -> Vec<(Opening, Tick)> {
        self.openings.values().cloned().collect()
    }

    /// The next tick at which a wait is over.
    pub fn next_wake(&self) -> Option<Tick> {
        self.wakes.first().map(|(wake, _)| *wake)
    }

    fn end(&mut self, episode: &Episode) -> Option<Opening> {
        let (opening, wake) = self.openings.remove(episode)?;
        self.wakes.remove(&(wake, *episode));
        Some(opening)
    }
}

#[cfg(test)]
mod tests {
    use beckon_dataflows::model::{Id, Line};

    use super::*;

    fn opening(subject: u64, quantity: u32) -> Opening {
        let episode = Episode { campaign: 0, customer: Id(1), subject: Id(subject), anchor: 1_000 };
        let lines = [Line { sku: Id(9), quantity, price: None }];
        Opening { episode, currency: Id::NONE, lines: lines.into() }
    }

    #[test]
    fn an_episode_is_asked_when_its_wait_is_over_unless_it_left() {
        let mut waiting = Waiting::default();
        waiting.wait(opening(1, 1), 5_000);
        waiting.wait(opening(2, 1), 5_000);
        waiting.wait(opening(3, 1), 7_000);
        assert_eq!(waiting.take_up(3_000, &[opening(2, 1).episode], vec![]), []);
        assert_eq!(waiting.take_up(5_000, &[], vec![]), [opening(1, 1)]);
        assert_eq!(waiting.next_wake(), Some(7_000));
        assert_eq!(waiting.take_up(6_000, &[opening(3, 1).episode], vec![opening(2, 1)]), [opening(2, 1)]);
        assert_eq!(waiting.next_wake(), None);
    }

    #[test]
    fn one_whose_opening_changes_waits_on_with_the_new_one() {
        let mut waiting = Waiting::default();
        waiting.wait(opening(1, 1), 5_000);
        assert_eq!(waiting.take_up(3_000, &[opening(1, 1).episode], vec![opening(1, 2)]), []);
        assert_eq!(waiting.take_up(5_000, &[], vec![]), [opening(1, 2)]);
    }
}
