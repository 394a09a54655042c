//! Why a decision was made (SPEC §7, `beckon explain`): the gates asked and their answers, and the records that made it. In: a
//! decision's id and the log. Out: an [`Explanation`]. Fails when the log cannot be read, or has no such decision.
//!
//! 1. `find`: the log is replayed until the decision is made, listening to its gates.
//! 2. `gather`: it is read again, and the records that can concern the decision are kept, each at its tick.
//! 3. `trial`: the engine runs on those alone. The decision must come out the same, to the byte; where another customer had a
//!    say, their records are gathered too, and what still depends on others is said.
//! 4. `minimal`: records are taken away as long as it stays the same, those no longer `in_force` first. What is left made it: take any one away, and the
//!    decision is another, or none, or made for another reason.
//!
//! Nothing is kept from one explanation to the next: it works after a restart, and as far back as the log is retained.

mod find;
mod gather;
mod in_force;
mod minimal;
mod related;
mod report;
mod trial;

use std::sync::Arc;

use beckon_dataflows::model::{Id, Position, Record, Tick};
use beckon_dataflows::plan::Plan;
use hashbrown::HashSet;

use super::wiring;
use crate::config::Config;
use crate::decide::{Asking, Decider};
use crate::decision::{Decision, DecisionId, Moment};
use crate::decode::Dictionary;
use crate::reclock::{Notes, PartitionClock};
use crate::source::Partition;
pub use minimal::{Minimal, minimal};
pub use report::gates;
pub use trial::{Made, Trial};

/// The member that the interests of all customers make. Their records are not gathered: of thousands who want two SKUs, none
/// is missed.
const SIMILAR: &str = "payload.similar";

/// What is explained, and from what.
pub struct Explain<'a> {
    /// The campaigns: those that decided.
    pub config: &'a Config,
    /// The decision.
    pub id: DecisionId,
    /// Worker threads of the replay.
    pub workers: usize,
    /// At most so many runs are tried to find the fewest records.
    pub trials_max: usize,
    /// What a live run noted in its timeline of the log; nothing for files.
    pub noted: Notes,
    /// Opens the log's partitions, from their beginning. It is read several times.
    pub open: &'a dyn Fn() -> anyhow::Result<Vec<Box<dyn Partition>>>,
}

/// What is being done, for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Replaying up to the decision; so far, 0 to 1.
    Finding(f64),
    /// Reading again for the records that can concern it: the how manieth time, and how far, 0 to 1.
    Gathering(u32, f64),
    /// Taking records away: runs so far, and records left.
    Trying(usize, usize),
}

/// A record with the tick at which it takes effect.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Where it stands.
    pub position: Position,
    /// When it takes effect.
    pub tick: Tick,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What they say.
    pub record: Record,
}

/// Why a decision was made.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// What the gates answered, each time they were asked.
    pub askings: Vec<Asking>,
    /// The records that made it, in the order in which they took effect.
    pub records: Vec<Kept>,
    /// How many could have had a say: those, and the ones that change nothing.
    pub considered: usize,
    /// Whether it was shown that none of the records can be missing.
    pub minimal: bool,
    /// Runs that were tried.
    pub trials: usize,
    /// The members of the decision that these records alone do not give, because other customers had a say.
    pub depends_on_others: Vec<&'static str>,
}

/// Why a decision is not explained.
#[derive(Debug, thiserror::Error)]
pub enum Unexplained {
    /// The log does not lead to it.
    #[error("no such decision in what the log retains: {}{}", told_of(.decisions), told_of_wait(.waited))]
    NotThere {
        /// How many decisions there are, and the first and the last one's tick.
        decisions: Option<(u64, Moment, Moment)>,
        /// Its episode was there at this tick, and waited for that one.
        waited: Option<(Moment, Moment)>,
    },
    /// The log cannot be read, or the engine failed.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

fn told_of(decisions: &Option<(u64, Moment, Moment)>) -> String {
    match decisions {
        Some((count, first, last)) => format!(
            "{count} decisions from {first} to {last}\n  check the id, and that the configuration is the one that decided: \
             a campaign's name is part of it"
        ),
        None => {
            "nothing was decided\n  check that the configuration and the log are the ones that belong together".into()
        }
    }
}

fn told_of_wait(waited: &Option<(Moment, Moment)>) -> String {
    let told = waited.map(|(at, until)| {
        format!(
            "\n  its episode entered the trigger set, waited at {at} for the end of quiet hours at {until}, and left before: \
             it was never decided"
        )
    });
    told.unwrap_or_default()
}

impl Explain<'_> {
    /// Explains the decision; `progress` hears what is being done.
    pub fn run(&self, progress: &mut dyn FnMut(Step)) -> Result<Explanation, Unexplained> {
        let found = find::find(self, progress)?;
        let dictionary = Arc::new(Dictionary::default());
        let mut trial = Trial::of(self.config, dictionary.clone(), &found.made.decision);
        let log = gather::Log {
            open: self.open,
            clock: self.clock(),
            noted: &self.noted,
            dictionary,
            extents: &found.extents,
            last: found.made.decision.as_of,
        };
        let mut related = related::Related::to(&found);
        let mut considered = log.gather(&mut related, progress)?;
        let mut made = trial.run(&considered);
        let mut people: HashSet<Id> = found.customers.iter().copied().collect();
        let asks_budgets = self.config.campaigns.iter().any(|campaign| campaign.stock_budget.is_some());
        let differs = |made: &Option<Made>| differing(&found.made, made.as_ref()).into_iter().any(|it| it != SIMILAR);
        while asks_budgets && differs(&made) {
            let known = people.len();
            people.extend(find::recipients(self, &people, log.last, progress)?);
            if people.len() == known {
                break;
            }
            related.add(people.iter().copied());
            considered = log.gather(&mut related, progress)?;
            made = trial.run(&considered);
        }
        let depends_on_others = differing(&found.made, made.as_ref());
        if depends_on_others.contains(&SIMILAR) {
            (trial, made) = (trial.without_similar(), made.map(Made::without_similar));
        }
        Ok(self.reduce(found.made, considered, made, &trial, depends_on_others, progress))
    }

    fn clock(&self) -> PartitionClock {
        PartitionClock::new(self.config.tick_ms, self.config.allowed_lateness_ms)
    }

    /// Takes away what changes nothing of what the records alone have `made`.
    fn reduce(
        &self,
        found: Made,
        considered: Vec<Kept>,
        made: Option<Made>,
        trial: &Trial,
        depends_on_others: Vec<&'static str>,
        progress: &mut dyn FnMut(Step),
    ) -> Explanation {
        let count = considered.len();
        let few = match &made {
            None => Minimal { kept: (0..count).collect(), proven: false, trials: 0 },
            Some(made) => self.fewest(&considered, |kept, trials| {
                progress(Step::Trying(trials, kept.len()));
                trial.run(kept.iter().map(|index| &considered[*index])).is_some_and(|left| left.is_same_as(made))
            }),
        };
        let mut is_kept = vec![false; count];
        few.kept.iter().for_each(|index| is_kept[*index] = true);
        let mut records: Vec<Kept> =
            considered.into_iter().zip(is_kept).filter_map(|(record, kept)| kept.then_some(record)).collect();
        records.sort_by_key(|record| (record.tick, record.position));
        let (decision, askings) = (found.decision, found.askings);
        let (minimal, trials) = (few.proven, few.trials);
        Explanation { decision, askings, records, considered: count, minimal, trials, depends_on_others }
    }
}

impl Explain<'_> {
    /// The fewest of `considered` that tell the same; first of all the writes that are no longer in force are taken away.
    fn fewest(&self, considered: &[Kept], mut tell_the_same: impl FnMut(&[usize], usize) -> bool) -> Minimal {
        let is_in_force = in_force::in_force(considered);
        let (now, old): (Vec<usize>, Vec<usize>) = (0..considered.len()).partition(|index| is_in_force[*index]);
        let with_old = |kept: &[usize]| -> Vec<usize> {
            let mut all: Vec<usize> = kept.iter().map(|index| old[*index]).chain(now.iter().copied()).collect();
            all.sort_unstable();
            all
        };
        let first = minimal(old.len(), self.trials_max, |kept, trials| tell_the_same(&with_old(kept), trials));
        let left = with_old(&first.kept);
        let of_left = |kept: &[usize]| -> Vec<usize> { kept.iter().map(|index| left[*index]).collect() };
        let second = minimal(left.len(), self.trials_max - first.trials, |kept, trials| {
            tell_the_same(&of_left(kept), first.trials + trials)
        });
        Minimal { kept: of_left(&second.kept), trials: first.trials + second.trials, ..second }
    }
}

/// In what the decision that was `found` is not what some records `made`; all that can differ, when they made none.
fn differing(found: &Made, made: Option<&Made>) -> Vec<&'static str> {
    type Differ = fn(&Made, &Made) -> bool;
    let members: [(&'static str, Differ); 8] = [
        ("as_of", |one, other| one.decision.as_of != other.decision.as_of),
        ("outcome", |one, other| one.decision.outcome != other.decision.outcome),
        ("reason", |one, other| one.decision.reason != other.decision.reason),
        ("variant", |one, other| one.decision.variant != other.decision.variant),
        ("payload.lines", |one, other| one.decision.payload.lines != other.decision.payload.lines),
        (SIMILAR, |one, other| one.decision.payload.similar != other.decision.payload.similar),
        ("payload.discount", |one, other| one.decision.payload.discount != other.decision.payload.discount),
        ("gates", |one, other| !one.is_made_like(other)),
    ];
    let differs = |differ: Differ| made.is_none_or(|made| differ(found, made));
    members.into_iter().filter(|(_, differ)| differs(*differ)).map(|(member, _)| member).collect()
}

/// The replay's stages for one explanation, wired as for any replay.
fn stages(config: &Config) -> (Plan, Decider) {
    (wiring::plan(config), wiring::decider(config))
}
