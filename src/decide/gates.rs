//! The gates, in the order in which they are asked (SPEC §5): the one place that states it. In: an episode at a tick, and the
//! state as of it. Out: the [`Ruling`]. Cannot fail.
//!
//! A gate reckons its figures once: whether it refuses and what an explanation says of it follow from the same ones. Who
//! decides hears nothing of them ([`Nobody`]), and pays for none; who explains has them listed.

use std::sync::Arc;

use beckon_dataflows::model::{Contact, Episode, Standing, Tick};

use super::account::{Answer, CapCount, Gate, Hear, Rival, Why};
use super::arms::{Arm, upper_bounds};
use super::budget::Budgets;
use super::memory::Memory;
use super::{Asked, Campaign, Cap, Decider, Facts, QuietHours, Undecided, about};
use crate::decision::{Moment, Outcome, Reason};

/// What the gates say of an episode.
pub(super) enum Ruling {
    /// Quiet hours: all gates are asked again at this tick.
    Waits(Tick),
    /// A gate refused.
    Refused(Reason),
    /// Every gate let it through; its arm says what becomes of it.
    Drawn(Outcome, Option<Arc<str>>),
}

/// An episode as the gates look at it.
struct Case<'a, F> {
    tick: Tick,
    asked: &'a Asked,
    episode: Episode,
    campaign: &'a Campaign,
    contact: Option<&'a Contact>,
    facts: &'a F,
}

impl Decider {
    /// Asks the gates in SPEC's order; the first that refuses, or quiet hours, end it. `first` is the customer's episode of
    /// this tick that was let through already, if there is one. What is not configured is not asked.
    pub(super) fn rule(
        &mut self,
        tick: Tick,
        asked: &Asked,
        first: Option<&Episode>,
        facts: &impl Facts,
        hear: &mut impl Hear,
    ) -> Ruling {
        let episode = asked.opening.episode;
        let campaign = &self.campaigns[episode.campaign as usize];
        let case = Case { tick, asked, episode, campaign, contact: facts.contact(episode.customer), facts };
        let refusal = unreachable(&case, hear)
            .or_else(|| no_consent(&case, hear))
            .or_else(|| audience(&case, &mut self.undecided, hear))
            .or_else(|| cooldown(&case, &self.memory, hear))
            .or_else(|| frequency_cap(&case, &self.limits.caps, &self.memory, hear))
            .or_else(|| stock_budget(&case, self.budgets.as_ref(), hear));
        if let Some(reason) = refusal {
            return Ruling::Refused(reason);
        }
        if let Some(until) = self.limits.quiet_hours.as_ref().and_then(|hours| quiet_hours(&case, hours, hear)) {
            return Ruling::Waits(until);
        }
        outranked(&case, &self.campaigns, first, hear).map_or_else(|| draw(&case, hear), Ruling::Refused)
    }
}

/// No profile, no e-mail address, or erased.
fn unreachable<F>(case: &Case<'_, F>, hear: &mut impl Hear) -> Option<Reason> {
    let Standing { known: profile, erased, .. } = case.contact.map(Contact::standing).unwrap_or_default();
    let email = case.contact.is_some_and(|contact| contact.words().email.is_some());
    let refuses = !(profile && !erased && email);
    hear.hear(Gate::Unreachable, Answer::refused_if(refuses), || Why::Unreachable { profile, email, erased });
    refuses.then_some(Reason::Unreachable)
}

/// Consent not given, or withdrawn by an unsubscribe, a complaint or a bounce; or the campaign is one that they chose not to get,
/// which SPEC does not know (ARCHITECTURE, "Choices").
fn no_consent<F>(case: &Case<'_, F>, hear: &mut impl Hear) -> Option<Reason> {
    let Standing { consent: given, withheld, .. } = case.contact.map(Contact::standing).unwrap_or_default();
    let declined = case.contact.is_some_and(|contact| contact.declines(&case.campaign.name));
    let refuses = !given || withheld || declined;
    hear.hear(Gate::NoConsent, Answer::refused_if(refuses), || Why::NoConsent { given, withheld, declined });
    refuses.then_some(Reason::NoConsent)
}

/// A condition that cannot be decided is not met: nobody is written to by mistake.
fn audience<F: Facts>(case: &Case<'_, F>, undecided: &mut Vec<Undecided>, hear: &mut impl Hear) -> Option<Reason> {
    let audience = case.campaign.audience.as_ref()?;
    let held = audience.holds(&about(case.tick, case.asked, case.campaign, case.facts));
    let refuses = !held.as_ref().is_ok_and(|holds| *holds);
    hear.hear(Gate::Audience, Answer::refused_if(refuses), || Why::Audience {
        expression: audience.text().into(),
        holds: held.as_ref().ok().copied(),
        fault: held.as_ref().err().map(ToString::to_string),
    });
    (!super::held(held, case.campaign, undecided)).then_some(Reason::Audience)
}

/// A send of this campaign to the customer less than `cooldown` ago.
fn cooldown<F: Facts>(case: &Case<'_, F>, memory: &Memory, hear: &mut impl Hear) -> Option<Reason> {
    let cooldown_ms = case.campaign.cooldown_ms?;
    let ids = case.facts.all_of(case.episode.customer);
    let own = memory.sends_before(&ids, case.tick).filter(|send| send.campaign == case.episode.campaign);
    let last = own.map(|send| send.at).filter(|at| case.tick - at < cooldown_ms).max();
    hear.hear(Gate::Cooldown, Answer::refused_if(last.is_some()), || Why::Cooldown {
        campaign: case.campaign.name.clone(),
        cooldown_ms,
        last_send: last.map(Into::into),
    });
    last.map(|_| Reason::Cooldown)
}

/// As many sends to the customer over all campaigns as one of the rolling windows allows.
fn frequency_cap<F: Facts>(case: &Case<'_, F>, caps: &[Cap], memory: &Memory, hear: &mut impl Hear) -> Option<Reason> {
    if caps.is_empty() {
        return None;
    }
    let ids = case.facts.all_of(case.episode.customer);
    let within = |cap: &Cap| {
        let per_ms = cap.per_ms;
        memory.sends_before(&ids, case.tick).map(|send| send.at).filter(move |at| case.tick - at < per_ms)
    };
    let refuses = caps.iter().any(|cap| within(cap).count() >= cap.sends as usize);
    hear.hear(Gate::FrequencyCap, Answer::refused_if(refuses), || {
        let counted = caps.iter().map(|cap| {
            let mut sends: Vec<Moment> = within(cap).map(Into::into).collect();
            sends.sort_unstable();
            CapCount { sends, allowed: cap.sends, per_ms: cap.per_ms }
        });
        Why::FrequencyCap { caps: counted.collect() }
    });
    refuses.then_some(Reason::FrequencyCap)
}

/// As many sends have named the hero in this restock as the budget allows.
fn stock_budget<F: Facts>(case: &Case<'_, F>, budgets: Option<&Budgets>, hear: &mut impl Hear) -> Option<Reason> {
    let budget = case.campaign.stock_budget?;
    let (hero, budgets) = (case.asked.hero?, budgets?);
    let (since, on_hand) = (case.facts.in_stock_since(hero), case.facts.on_hand(hero));
    let refuses = budgets.is_reached(hero, since, on_hand, budget);
    hear.hear(Gate::StockBudget, Answer::refused_if(refuses), || Why::StockBudget {
        sku: case.facts.text(hero),
        sends: budgets.sends(hero, since),
        budget,
        on_hand,
        since: since.map(Into::into),
        recipients: budgets.recipients(hero),
    });
    refuses.then_some(Reason::StockBudget)
}

/// Until when it is quiet for the customer; none when it is not.
fn quiet_hours<F>(case: &Case<'_, F>, hours: &QuietHours, hear: &mut impl Hear) -> Option<Tick> {
    let timezone = case.contact.and_then(|contact| contact.words().timezone);
    let until = hours.until(case.tick, timezone);
    let answer = if until.is_some() { Answer::Waits } else { Answer::Passed };
    hear.hear(Gate::QuietHours, answer, || {
        let (timezone, of_profile) = hours.zone_name(timezone);
        let [from, to] = [hours.from, hours.to].map(|time| time.strftime("%H:%M").to_string());
        Why::QuietHours { from, to, timezone, of_profile, until: until.map(Into::into) }
    });
    until
}

/// Another episode of the customer's at this tick goes first.
fn outranked<F: Facts>(
    case: &Case<'_, F>,
    campaigns: &[Campaign],
    first: Option<&Episode>,
    hear: &mut impl Hear,
) -> Option<Reason> {
    hear.hear(Gate::Outranked, Answer::refused_if(first.is_some()), || Why::Outranked {
        by: first.map(|first| Rival {
            campaign: campaigns[first.campaign as usize].name.clone(),
            subject: case.facts.text(first.subject),
            priority: campaigns[first.campaign as usize].priority,
        }),
        priority: case.campaign.priority,
    });
    first.map(|_| Reason::Outranked)
}

/// Holdout, then a variant.
fn draw<F>(case: &Case<'_, F>, hear: &mut impl Hear) -> Ruling {
    let arms = &case.campaign.arms;
    let u = arms.u(&case.asked.customer);
    let arm = arms.arm(u);
    if arms.holdout > 0.0 {
        let answer = if arm == Arm::Holdout { Answer::HeldOut } else { Answer::Passed };
        hear.hear(Gate::Holdout, answer, || Why::Holdout {
            experiment: arms.experiment.clone(),
            u,
            holdout: arms.holdout,
        });
    }
    match arm {
        Arm::Holdout => Ruling::Drawn(Outcome::Holdout, None),
        Arm::Send(None) => Ruling::Drawn(Outcome::Send, None),
        Arm::Send(Some(variant)) => {
            hear.hear(Gate::Variant, Answer::Drawn, || Why::Variant {
                experiment: arms.experiment.clone(),
                u,
                drawn: variant.name.clone(),
                bounds: upper_bounds(arms).map(|(variant, bound)| (variant.name.clone(), bound)).collect(),
            });
            Ruling::Drawn(Outcome::Send, Some(variant.name.clone()))
        }
    }
}
