//! Decisions (SPEC §5). In: the episodes that are asked at a tick, the state, and the sends so far. Out: for each a
//! decision, or until when it waits. Cannot fail.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::{Number, Value, json};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::audience;
use super::config::{Campaign, Config};
use super::records::Customer;
use super::state::State;
use super::triggers::Episode;

/// A decision whose outcome was `send`.
pub struct Send {
    pub tick: i64,
    pub campaign: String,
    pub customer: Customer,
    /// The SKU that it is about.
    pub hero: Option<String>,
}

/// What a gate is asked about.
pub struct Asked<'a> {
    pub episode: &'a Episode,
    pub payload: &'a Value,
    pub campaign: &'a Campaign,
    pub config: &'a Config,
    pub state: &'a State,
    /// Those before this tick.
    pub sends: &'a [Send],
}

impl<'a> Asked<'a> {
    pub fn new(of: (&'a Episode, &'a Value), config: &'a Config, state: &'a State, sends: &'a [Send]) -> Self {
        let (episode, payload) = of;
        Asked { episode, payload, campaign: campaign_of(config, episode), config, state, sends }
    }

    /// The zone that the customer's profile names.
    pub fn timezone(&self) -> Option<&str> {
        let profile = self.state.profiles.get(&self.episode.customer);
        profile.and_then(|profile| profile.timezone.as_deref())
    }
}

/// A reason, and whether the gate refuses for it.
type Gate = (&'static str, fn(&Asked) -> bool);

/// The gates before `stock_budget`, in SPEC's order.
const GATES: [Gate; 5] = [
    ("unreachable", unreachable),
    ("no_consent", no_consent),
    ("audience", |asked| !audience::is_for(asked)),
    ("cooldown", cooldown),
    ("frequency_cap", frequency_cap),
];

/// What becomes of an episode that is asked.
pub enum Ruling {
    /// Quiet hours: it is asked again at this tick.
    Waits(i64),
    Decided(Decided),
}

/// A decided episode.
pub struct Decided {
    pub sent: Option<Send>,
    /// SPEC §5's object.
    pub decision: Value,
}

/// Rules on all that are asked at one tick: one after the other, the first of a customer's before the others, because what is
/// sent uses up the stock budget of those after it. The rulings are in the order of `entering`.
pub fn decide(entering: &[(Episode, Value)], config: &Config, state: &State, sends: &[Send]) -> Vec<Ruling> {
    let mut order: Vec<usize> = (0..entering.len()).collect();
    order.sort_by_key(|index| rank(&entering[*index].0, config));
    let mut rulings: Vec<Option<Ruling>> = entering.iter().map(|_| None).collect();
    let mut first: BTreeSet<&Customer> = BTreeSet::new();
    let mut now: Vec<Send> = Vec::new();
    for index in order {
        let (episode, payload) = &entering[index];
        let asked = Asked::new((episode, payload), config, state, sends);
        let ruling = match refusal(&asked, &now) {
            Some(reason) => Ruling::Decided(conclude(&asked, Some(reason))),
            None => match quiet_until(&asked) {
                Some(wake) => Ruling::Waits(wake),
                None if first.insert(&episode.customer) => Ruling::Decided(conclude(&asked, None)),
                None => Ruling::Decided(conclude(&asked, Some("outranked"))),
            },
        };
        if let Ruling::Decided(Decided { sent: Some(send), .. }) = &ruling {
            now.push(Send {
                campaign: send.campaign.clone(),
                customer: send.customer.clone(),
                hero: send.hero.clone(),
                ..*send
            });
        }
        rulings[index] = Some(ruling);
    }
    rulings.into_iter().flatten().collect()
}

/// Greater priority, lesser campaign name, lesser customer id, lesser subject; of a user and a visitor of one id, the earlier
/// anchor.
fn rank<'a>(episode: &'a Episode, config: &Config) -> impl Ord + use<'a> {
    let priority = campaign_of(config, episode).priority;
    let customer = episode.customer.id().to_owned();
    (Reverse(priority), episode.campaign.clone(), customer, episode.subject.clone(), episode.anchor)
}

/// The decision, where a reason refuses it or none does.
fn conclude(asked: &Asked, reason: Option<&str>) -> Decided {
    let (episode, campaign) = (asked.episode, asked.campaign);
    let (outcome, variant) = match reason {
        Some(_) => ("suppress", None),
        None => draw(campaign, episode.customer.id()),
    };
    let send = || Send {
        tick: asked.state.tick,
        campaign: campaign.name.clone(),
        customer: episode.customer.clone(),
        hero: hero(asked.payload),
    };
    let decision = json!({
        "decision_id": decision_id(episode),
        "campaign": campaign.name,
        "customer_id": episode.customer.id(),
        "trigger": campaign.trigger,
        "subject": episode.subject,
        "anchor": rfc3339(episode.anchor),
        "as_of": rfc3339(asked.state.tick),
        "outcome": outcome,
        "reason": reason,
        "variant": variant,
        "payload": payload(asked),
    });
    Decided { sent: (outcome == "send").then(send), decision }
}

/// The payload, with the discount that is promised in it.
fn payload(asked: &Asked) -> Value {
    let mut payload = asked.payload.clone();
    if let Some(place) = discount(asked) {
        // A number has no zeros at its end.
        let percent = asked.campaign.discounts[place].1.normalize().to_string();
        payload["discount"] = json!({"percent": percent.parse::<Number>().expect("a number")});
    }
    payload
}

/// The place of the first discount whose condition holds.
pub fn discount(asked: &Asked) -> Option<usize> {
    asked.campaign.discounts.iter().position(|(when, _)| audience::holds(when, asked) == Some(true))
}

pub fn campaign_of<'a>(config: &'a Config, episode: &Episode) -> &'a Campaign {
    let named = |campaign: &&Campaign| campaign.name == episode.campaign;
    let campaign = config.campaigns.iter().find(named);
    campaign.expect("an episode's campaign is configured")
}

/// The reason of the first gate that refuses. `now`: what was sent at this tick before.
fn refusal(asked: &Asked, now: &[Send]) -> Option<&'static str> {
    let refuses = |(_, gate): &&Gate| gate(asked);
    let reason = GATES.iter().find(refuses).map(|(reason, _)| *reason);
    reason.or_else(|| stock_budget(asked, now).then_some("stock_budget"))
}

/// No profile, no e-mail, or erased.
fn unreachable(asked: &Asked) -> bool {
    match asked.state.profiles.get(&asked.episode.customer) {
        Some(profile) => profile.email.is_none() || profile.deleted,
        None => true,
    }
}

/// Consent not given, or withdrawn by an unsubscription, a complaint or a bounce; or the campaign is one that they do not want.
fn no_consent(asked: &Asked) -> bool {
    let profile = asked.state.profiles.get(&asked.episode.customer);
    let refuses =
        !profile.is_some_and(|profile| profile.consent) || asked.state.refused.contains(&asked.episode.customer);
    refuses || declines(asked)
}

/// The last choice of the customer's names the campaign.
pub fn declines(asked: &Asked) -> bool {
    let chosen = asked.state.chosen.get(&asked.episode.customer);
    chosen.is_some_and(|(_, declined)| declined.contains(&asked.campaign.name))
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

/// Sends about the payload's hero since its stock last rose have reached the budget times the stock.
fn stock_budget(asked: &Asked, now: &[Send]) -> bool {
    let (Some(budget), Some(hero)) = (asked.campaign.stock_budget, hero(asked.payload)) else {
        return false;
    };
    let rose = asked.state.rose.get(&hero).copied().unwrap_or(i64::MAX);
    let since = asked.sends.iter().chain(now).filter(|send| send.tick >= rose && send.hero.as_ref() == Some(&hero));
    Decimal::from(since.count()) >= budget * Decimal::from(asked.state.stock_of(&hero))
}

/// The SKU of the most expensive line, the first of several.
pub fn hero(payload: &Value) -> Option<String> {
    let lines = payload["lines"].as_array()?;
    let price = |line: &Value| line.get("price").and_then(|price| price.as_str()?.parse::<Decimal>().ok());
    let greatest = lines.iter().map(price).max()?;
    let hero = lines.iter().find(|line| price(line) == greatest)?;
    hero["sku"].as_str().map(str::to_owned)
}

/// In quiet hours, the tick at which to ask again.
fn quiet_until(asked: &Asked) -> Option<i64> {
    let (quiet, tick) = (asked.config.quiet.as_ref()?, asked.state.tick);
    let is_quiet = quiet.is_quiet(tick, asked.timezone());
    is_quiet.then(|| quiet.release(tick, asked.timezone(), asked.config.tick_ms))
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
