//! Decisions (SPEC §5). In: the episodes that enter the trigger set at a tick, the state, and the sends so far. Out: one
//! decision each. Cannot fail.

use std::cmp::Reverse;

use jiff::Timestamp;
use serde_json::{Value, json};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::config::{Campaign, Config};
use super::records::Customer;
use super::state::State;
use super::triggers::Episode;

/// A decision whose outcome was `send`.
pub struct Send {
    pub tick: i64,
    pub campaign: String,
    pub customer: Customer,
}

/// What a gate is asked about.
pub struct Asked<'a> {
    pub episode: &'a Episode,
    pub campaign: &'a Campaign,
    pub config: &'a Config,
    pub state: &'a State,
    pub sends: &'a [Send],
}

/// A reason, and whether the gate refuses for it.
type Gate = (&'static str, fn(&Asked) -> bool);

/// The gates before `outranked`, in SPEC's order.
const GATES: [Gate; 4] = [
    ("unreachable", unreachable),
    ("no_consent", no_consent),
    ("cooldown", cooldown),
    ("frequency_cap", frequency_cap),
];

/// A decided episode.
pub struct Decided {
    pub customer: Customer,
    pub campaign: String,
    pub sent: bool,
    /// SPEC §5's object.
    pub decision: Value,
}

/// Decides all that enter at one tick.
pub fn decide(entering: &[(Episode, Value)], config: &Config, state: &State, sends: &[Send]) -> Vec<Decided> {
    let asked = |episode| Asked { episode, campaign: campaign_of(config, episode), config, state, sends };
    let refusals: Vec<Option<&str>> = entering.iter().map(|(episode, _)| refusal(&asked(episode))).collect();
    let mut decided = Vec::new();
    for (index, (episode, payload)) in entering.iter().enumerate() {
        let rivals =
            entering.iter().zip(&refusals).filter(|(_, refusal)| refusal.is_none()).map(|((rival, _), _)| rival);
        let reason = match refusals[index] {
            None if outranked(episode, rivals, config) => Some("outranked"),
            refusal => refusal,
        };
        let campaign = campaign_of(config, episode);
        let (outcome, variant) = match reason {
            Some(_) => ("suppress", None),
            None => draw(campaign, episode.customer.id()),
        };
        decided.push(Decided {
            customer: episode.customer.clone(),
            campaign: campaign.name.clone(),
            sent: outcome == "send",
            decision: json!({
                "decision_id": decision_id(episode),
                "campaign": campaign.name,
                "customer_id": episode.customer.id(),
                "trigger": campaign.trigger,
                "subject": episode.subject,
                "anchor": rfc3339(episode.anchor),
                "as_of": rfc3339(state.tick),
                "outcome": outcome,
                "reason": reason,
                "variant": variant,
                "payload": payload,
            }),
        });
    }
    decided
}

fn campaign_of<'a>(config: &'a Config, episode: &Episode) -> &'a Campaign {
    let named = |campaign: &&Campaign| campaign.name == episode.campaign;
    let campaign = config.campaigns.iter().find(named);
    campaign.expect("an episode's campaign is configured")
}

fn refusal(asked: &Asked) -> Option<&'static str> {
    let refuses = |(_, gate): &&Gate| gate(asked);
    GATES.iter().find(refuses).map(|(reason, _)| *reason)
}

/// No profile, no e-mail, or erased.
fn unreachable(asked: &Asked) -> bool {
    match asked.state.profiles.get(&asked.episode.customer) {
        Some(profile) => profile.email.is_none() || profile.deleted,
        None => true,
    }
}

/// Consent not given, or withdrawn by an unsubscription, a complaint or a bounce.
fn no_consent(asked: &Asked) -> bool {
    let profile = asked.state.profiles.get(&asked.episode.customer);
    !profile.is_some_and(|profile| profile.consent) || asked.state.refused.contains(&asked.episode.customer)
}

/// A send of this campaign in the last `cooldown`.
fn cooldown(asked: &Asked) -> bool {
    asked
        .campaign
        .cooldown_ms
        .is_some_and(|cooldown_ms| own_sends(asked, cooldown_ms).any(|send| send.campaign == asked.campaign.name))
}

/// As many sends of any campaign in a window as it allows.
fn frequency_cap(asked: &Asked) -> bool {
    let full = |&(sends, per_ms): &(usize, i64)| own_sends(asked, per_ms).count() >= sends;
    asked.config.caps.iter().any(full)
}

/// The sends to the episode's customer less than `window_ms` ago.
fn own_sends<'a>(asked: &'a Asked, window_ms: i64) -> impl Iterator<Item = &'a Send> {
    asked.sends.iter().filter(move |send| {
        asked.state.tick - send.tick < window_ms && asked.state.now(&send.customer) == asked.episode.customer
    })
}

/// Whether a rival of the same customer goes first: greater priority, lesser campaign name, lesser subject.
fn outranked<'a>(episode: &Episode, rivals: impl Iterator<Item = &'a Episode>, config: &Config) -> bool {
    let rank = |episode: &Episode| {
        let campaign = campaign_of(config, episode);
        let subject = episode.subject.clone();
        (Reverse(campaign.priority), campaign.name.clone(), subject)
    };
    let mut rivals = rivals.filter(|rival| rival.customer == episode.customer);
    rivals.any(|rival| rank(rival) < rank(episode))
}

/// The outcome and the variant that the customer's hash falls to.
fn draw<'a>(campaign: &'a Campaign, customer_id: &str) -> (&'static str, Option<&'a str>) {
    let drawn = [campaign.experiment.as_bytes(), customer_id.as_bytes()].join(&0x1F);
    let u = xxh3_64(&drawn) as f64 / 2f64.powi(64);
    if u < campaign.holdout {
        return ("holdout", None);
    }
    let sum: f64 = campaign.variants.iter().map(|(_, weight)| weight).sum();
    let mut so_far = 0.0;
    for (name, weight) in &campaign.variants {
        so_far += weight;
        if u < campaign.holdout + (1.0 - campaign.holdout) * so_far / sum {
            return ("send", Some(name));
        }
    }
    let last = campaign.variants.last();
    ("send", last.map(|(name, _)| name.as_str()))
}

fn decision_id(episode: &Episode) -> String {
    let anchor = episode.anchor.to_string();
    let about = [&episode.campaign, episode.customer.id(), &episode.subject, &anchor];
    format!("{:032x}", xxh3_128(about.join("\u{1f}").as_bytes()))
}

/// A tick as RFC 3339 in UTC with milliseconds.
fn rfc3339(tick: i64) -> String {
    let time = Timestamp::from_millisecond(tick).expect("ticks lie between 2000 and 2100");
    format!("{time:.3}")
}
