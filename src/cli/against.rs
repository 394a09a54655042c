//! What would have been different: a replay's decisions beside those of an earlier one (`beckon replay --against OLD.jsonl`).
//! In: the earlier decisions, one a line, and each new one as it is made. Out: a summary by campaign.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;

use crate::decision::{Decision, DecisionId};

/// The earlier decisions, and how the new ones differ.
#[derive(Default)]
pub struct Against {
    before: HashMap<DecisionId, Decision>,
    found: BTreeMap<(String, String), u64>,
    same: u64,
}

impl Against {
    /// Reads the earlier decisions. Fails at the first line that is none, with its number.
    pub fn read(path: &Path) -> anyhow::Result<Against> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut before = HashMap::new();
        for (number, line) in (1..).zip(BufReader::new(file).lines()) {
            let place = || format!("{}:{number} is no decision: is it the output of `beckon replay`?", path.display());
            let decision: Decision = serde_json::from_str(&line.with_context(place)?).with_context(place)?;
            before.insert(decision.decision_id, decision);
        }
        Ok(Against { before, ..Against::default() })
    }

    /// Compares a new decision with its earlier self.
    pub fn compare(&mut self, decision: &Decision) {
        match self.before.remove(&decision.decision_id) {
            None => self.count(decision, format!("now: {}", said(decision))),
            Some(before) if before == *decision => self.same += 1,
            Some(before) if said(&before) == said(decision) => {
                self.count(decision, format!("{}, with another payload or time", said(decision)));
            }
            Some(before) => self.count(decision, format!("{} → {}", said(&before), said(decision))),
        }
    }

    /// Counts the earlier decisions that were not made again. Call it once, at the end.
    pub fn finish(&mut self) {
        for decision in std::mem::take(&mut self.before).into_values() {
            self.count(&decision, format!("no longer: {}", said(&decision)));
        }
    }

    fn count(&mut self, decision: &Decision, what: String) {
        *self.found.entry((decision.campaign.to_string(), what)).or_default() += 1;
    }
}

/// The outcome with what goes with it: the reason, or the variant.
fn said(decision: &Decision) -> String {
    let more = decision.reason.map(|reason| reason.name().to_owned());
    let more = more.or_else(|| decision.variant.as_ref().map(ToString::to_string));
    more.map_or_else(|| decision.outcome.name().into(), |more| format!("{} ({more})", decision.outcome.name()))
}

impl fmt::Display for Against {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:>8} decisions are the same", self.same)?;
        self.found.iter().try_for_each(|((campaign, what), count)| writeln!(out, "{count:>8} {campaign}: {what}"))
    }
}
