//! What the gates answered about one decision, for whoever explains it: each gate asked, its answer, and why, in figures and
//! in words. In: figures as a gate reckoned them. Out: an [`Asking`] a tick at which the episode was asked about. Plain rows;
//! cannot fail. Of a customer it says what the gate looked at and no more: that there is an address, not which.

use std::fmt;
use std::sync::Arc;

use beckon_dataflows::model::{Id, Tick};
use rust_decimal::Decimal;
use serde::{Serialize, Serializer};

use crate::decision::{DecisionId, Moment};

/// The gates of SPEC §5, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// No profile, no e-mail, erased.
    Unreachable,
    /// Consent, unsubscribe, complaint, bounce, choice.
    NoConsent,
    /// The campaign's expression.
    Audience,
    /// A send of this campaign lately.
    Cooldown,
    /// Sends over all campaigns.
    FrequencyCap,
    /// Sends naming the SKU in this restock.
    StockBudget,
    /// The customer's own time of day.
    QuietHours,
    /// Another campaign of the customer's at this tick.
    Outranked,
    /// The control group.
    Holdout,
    /// Which mail.
    Variant,
}

/// What a gate answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Let through.
    Passed,
    /// Suppressed: the decision's reason.
    Refused,
    /// All gates are asked again after the quiet hours.
    Waits,
    /// In the control group.
    HeldOut,
    /// A variant was drawn.
    Drawn,
}

/// A gate's answer, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reply {
    /// Which gate.
    pub gate: Gate,
    /// What it answered.
    pub answer: Answer,
    /// What it looked at.
    pub why: Why,
}

/// One asking of the gates: they are asked anew after each wait for the end of quiet hours.
#[derive(Clone, Debug, PartialEq)]
pub struct Asking {
    /// Of the decision that it led to, or will.
    pub decision: DecisionId,
    /// The tick.
    pub tick: Tick,
    /// The gates that were asked, in order.
    pub replies: Vec<Reply>,
}

impl Asking {
    /// The answer that decided it, where that was a refusal.
    pub fn refusal(&self) -> Option<&Reply> {
        self.replies.last().filter(|reply| reply.answer == Answer::Refused)
    }
}

/// Sends to a customer in one rolling window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CapCount {
    /// When there were some,
    pub sends: Vec<Moment>,
    /// so many are allowed,
    pub allowed: u32,
    /// in this time, ms.
    pub per_ms: u64,
}

/// The episode that goes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rival {
    /// Its campaign's name.
    pub campaign: Arc<str>,
    /// Its subject.
    pub subject: Arc<str>,
    /// Its campaign's priority.
    pub priority: i64,
}

/// What a gate looked at. Its text is a sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Why {
    /// [`Gate::Unreachable`]
    Unreachable {
        /// There is a profile.
        profile: bool,
        /// It has an e-mail address.
        email: bool,
        /// It says `deleted`.
        erased: bool,
    },
    /// [`Gate::NoConsent`]
    NoConsent {
        /// The profile gives consent.
        given: bool,
        /// An unsubscribe, a complaint or a bounce withholds it.
        withheld: bool,
        /// They chose to get none of this campaign's mails.
        declined: bool,
    },
    /// [`Gate::Audience`]
    Audience {
        /// As configured.
        expression: Arc<str>,
        /// What it came to; none when that was neither true nor false.
        holds: Option<bool>,
        /// Why it came to neither.
        fault: Option<String>,
    },
    /// [`Gate::Cooldown`]
    Cooldown {
        /// Whose sends count.
        campaign: Arc<str>,
        /// How long, ms.
        cooldown_ms: u64,
        /// The last send within that.
        last_send: Option<Moment>,
    },
    /// [`Gate::FrequencyCap`]
    FrequencyCap {
        /// Each of the windows.
        caps: Vec<CapCount>,
    },
    /// [`Gate::StockBudget`]
    StockBudget {
        /// The hero.
        sku: Arc<str>,
        /// Sends that named it in this restock.
        sends: u64,
        /// Sends per piece.
        #[serde(serialize_with = "as_text")]
        budget: Decimal,
        /// Pieces.
        on_hand: i64,
        /// When its stock last rose from nothing; none while there is nothing.
        since: Option<Moment>,
        /// To whom they were sent: they had a say.
        #[serde(skip)]
        recipients: Vec<Id>,
    },
    /// [`Gate::QuietHours`]
    QuietHours {
        /// The first quiet moment of the day.
        from: String,
        /// The first that is not quiet any more.
        to: String,
        /// The zone of the clock that was looked at.
        timezone: String,
        /// It is the profile's, not the default.
        of_profile: bool,
        /// The tick at which all gates are asked again; none when it is not quiet.
        until: Option<Moment>,
    },
    /// [`Gate::Outranked`]
    Outranked {
        /// Who goes first; nobody.
        by: Option<Rival>,
        /// The own campaign's priority.
        priority: i64,
    },
    /// [`Gate::Holdout`]
    Holdout {
        /// What the draw is keyed by.
        experiment: Arc<str>,
        /// The draw, from 0 to 1.
        u: f64,
        /// Below this is held out.
        holdout: f64,
    },
    /// [`Gate::Variant`]
    Variant {
        /// What the draw is keyed by.
        experiment: Arc<str>,
        /// The draw, from 0 to 1.
        u: f64,
        /// What was drawn.
        drawn: Arc<str>,
        /// The variants in the order written, each with the bound below which it is drawn.
        bounds: Vec<(Arc<str>, f64)>,
    },
}

/// Who listens to the gates.
pub trait Hear {
    /// A gate answered. Who does not listen does not ask why.
    fn hear(&mut self, gate: Gate, answer: Answer, why: impl FnOnce() -> Why);
}

/// Listens to nothing.
pub struct Nobody;

impl Hear for Nobody {
    #[inline]
    fn hear(&mut self, _gate: Gate, _answer: Answer, _why: impl FnOnce() -> Why) {}
}

impl Hear for Vec<Reply> {
    fn hear(&mut self, gate: Gate, answer: Answer, why: impl FnOnce() -> Why) {
        self.push(Reply { gate, answer, why: why() });
    }
}

impl Why {
    /// To whom the sends went that it counted.
    pub fn recipients(&self) -> &[Id] {
        match self {
            Why::StockBudget { recipients, .. } => recipients,
            _ => &[],
        }
    }
}

impl Answer {
    /// Refused, or passed.
    pub fn refused_if(refuses: bool) -> Answer {
        if refuses { Answer::Refused } else { Answer::Passed }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Answer::Passed => "passed",
            Answer::Refused => "refused",
            Answer::Waits => "waits",
            Answer::HeldOut => "held out",
            Answer::Drawn => "drawn",
        }
    }
}

impl Gate {
    /// The word of SPEC §5.
    pub fn name(self) -> &'static str {
        match self {
            Gate::Unreachable => "unreachable",
            Gate::NoConsent => "no_consent",
            Gate::Audience => "audience",
            Gate::Cooldown => "cooldown",
            Gate::FrequencyCap => "frequency_cap",
            Gate::StockBudget => "stock_budget",
            Gate::QuietHours => "quiet_hours",
            Gate::Outranked => "outranked",
            Gate::Holdout => "holdout",
            Gate::Variant => "variant",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Unreachable { profile: false, .. } => write!(out, "there is no profile"),
            Why::Unreachable { erased: true, .. } => write!(out, "the profile is erased"),
            Why::Unreachable { email: false, .. } => write!(out, "the profile has no e-mail address"),
            Why::Unreachable { .. } => write!(out, "there is a profile with an e-mail address"),
            Why::NoConsent { withheld: true, .. } => {
                write!(out, "an unsubscribe, a complaint or a bounce withholds consent")
            }
            Why::NoConsent { given: true, declined: true, .. } => {
                write!(out, "the customer has chosen to get no mails of this campaign")
            }
            Why::NoConsent { given: true, .. } => {
                write!(out, "the profile consents, and nothing has withheld it since")
            }
            Why::NoConsent { .. } => write!(out, "the profile does not consent to e-mail"),
            Why::Audience { expression, holds: Some(holds), .. } => write!(out, "{holds}: {expression}"),
            Why::Audience { expression, fault, .. } => {
                write!(out, "counts as false ({}): {expression}", fault.as_deref().unwrap_or("it fails"))
            }
            Why::Cooldown { campaign, cooldown_ms, last_send: None } => {
                write!(out, "{campaign} sent nothing in the last {}", Span(*cooldown_ms))
            }
            Why::Cooldown { campaign, cooldown_ms, last_send: Some(last) } => {
                write!(out, "{campaign} last sent at {last}, within {}", Span(*cooldown_ms))
            }
            Why::FrequencyCap { caps } => caps.iter().enumerate().try_for_each(|(index, cap)| {
                let comma = if index == 0 { "" } else { "; " };
                write!(out, "{comma}{} of {} sends in {}", cap.sends.len(), cap.allowed, Span(cap.per_ms))?;
                match cap.sends.iter().max() {
                    Some(last) => write!(out, ", the last at {last}"),
                    None => Ok(()),
                }
            }),
            Why::StockBudget { sku, sends, budget, on_hand, since: Some(since), .. } => {
                write!(
                    out,
                    "{sends} sends of {budget} × {on_hand} on hand have named {sku} since its restock at {since}"
                )
            }
            Why::StockBudget { sku, .. } => write!(out, "nothing of {sku} is on hand"),
            Why::QuietHours { from, to, timezone, of_profile, until } => {
                let whose = if *of_profile { "the profile's zone" } else { "the default zone" };
                match until {
                    Some(until) => write!(out, "it is between {from} and {to} in {timezone}, {whose}, until {until}"),
                    None => write!(out, "it is not between {from} and {to} in {timezone}, {whose}"),
                }
            }
            Why::Outranked { by: None, .. } => write!(out, "nothing else for this customer goes first at this tick"),
            Why::Outranked { by: Some(rival), priority } => {
                let Rival { campaign, subject, priority: greater } = rival;
                write!(out, "{campaign} about {subject} goes first: priority {greater} to {priority}")?;
                if greater == priority { write!(out, ", then by name, then by subject") } else { Ok(()) }
            }
            Why::Holdout { experiment, u, holdout } => {
                let side = if u < holdout { "below" } else { "not below" };
                write!(out, "u = {u:.6} of experiment {experiment} is {side} {holdout}")
            }
            Why::Variant { experiment, u, drawn, bounds } => {
                write!(out, "u = {u:.6} of experiment {experiment} falls to {drawn}:")?;
                bounds.iter().enumerate().try_for_each(|(index, (variant, bound))| {
                    let comma = if index == 0 { "" } else { "," };
                    write!(out, "{comma} {variant} below {bound:.6}")
                })
            }
        }
    }
}

/// Exact, as money is: a JSON number would be read as a double.
fn as_text<S: Serializer>(amount: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(amount)
}

/// A length of time in ms, as the configuration writes it: `1h30m`.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest_ms = self.0;
        for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if rest_ms >= unit_ms {
                write!(out, "{}{unit}", rest_ms / unit_ms)?;
                rest_ms %= unit_ms;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_written_as_it_is_configured() {
        let written = [86_400_000, 5_400_000, 250, 61_001].map(|ms| Span(ms).to_string());
        assert_eq!(written, ["1d", "1h30m", "250ms", "1m1s1ms"]);
    }
}
