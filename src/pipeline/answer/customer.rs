//! One customer: who they are, what they may be sent, what they have in their carts, what waits for them and what was decided about them
//! and why. In: the shop's id of a user or a visitor. Out: JSON as of one closed tick; nothing of whom nothing is known. Fails when the
//! ledger cannot be read.

use std::cmp::Reverse;

use beckon_dataflows::model::{Contact, Episode, History, Id, Namespace, OpenCart, Standing, Tick};
use hashbrown::HashSet;
use serde_json::{Value, json};

use super::{Answers, Campaign};
use crate::decision::{Decision, DecisionId, DeliveryRecord, Moment};
use crate::pipeline::View;

/// How many decisions are told of, the newest.
const DECISIONS_MAX: usize = 200;

/// Of how many at most, under each of a customer's ids.
const DECISIONS_READ_MAX: usize = 5_000;

/// What the state has of a customer.
struct Seen {
    customer: Id,
    kind: &'static str,
    owner: Id,
    all: Vec<Id>,
    contact: Option<Contact>,
    history: History,
    carts: Vec<Value>,
    episodes: Vec<Episode>,
}

impl Answers {
    pub(super) fn tell_customer(&self, id: &str) -> anyhow::Result<Option<Value>> {
        let campaigns = self.campaign_count();
        let (as_of, seen) = self.settled(0, |view| see(view, id, campaigns))?;
        let Some(seen) = seen else { return Ok(None) };
        let names: Vec<String> = seen.all.iter().filter_map(|id| self.dictionary.text(*id)).collect();
        let decisions = self.decisions_of(&names, as_of)?;
        let deliveries = decisions.iter().map(|decision| self.ledger.delivery(decision.decision_id));
        let deliveries: Vec<Option<DeliveryRecord>> = deliveries.collect::<Result<_, _>>()?;
        let waiting = self.waiting(&seen, as_of)?;
        let owed = decisions.iter().zip(&deliveries).filter(|(_, delivery)| is_owed(delivery.as_ref()));
        let owed: Vec<DecisionId> = owed.map(|(decision, _)| decision.decision_id).collect();
        let told: Vec<Value> =
            decisions.iter().zip(&deliveries).map(|it| self.told_decision(it)).collect::<anyhow::Result<_>>()?;
        let aliases: Vec<&String> = names.iter().filter(|name| *name != id).collect();
        Ok(Some(json!({
            "as_of": Moment(as_of),
            "customer_id": id,
            "kind": seen.kind,
            "alias_of": (seen.owner != seen.customer).then(|| self.text(seen.owner)),
            "aliases": aliases,
            "profile": seen.contact.as_ref().map(profile),
            "history": history(&seen.history),
            "carts": seen.carts,
            "waiting": waiting,
            "owed": owed,
            "decisions": told,
        })))
    }

    /// The newest decisions up to a tick about whoever goes by these names.
    fn decisions_of(&self, names: &[String], as_of: Tick) -> anyhow::Result<Vec<Decision>> {
        let mut decisions = Vec::new();
        for name in names {
            decisions.extend(self.ledger.decisions_of(name, DECISIONS_MAX, DECISIONS_READ_MAX)?);
        }
        decisions.retain(|decision| decision.as_of <= as_of);
        decisions.sort_by_key(|decision| (Reverse(decision.as_of), decision.decision_id));
        decisions.dedup_by_key(|decision| decision.decision_id);
        decisions.truncate(DECISIONS_MAX);
        Ok(decisions)
    }

    /// The episodes that hold and are not decided: at a tick that is decided, those that wait for the end of quiet hours.
    fn waiting(&self, seen: &Seen, as_of: Tick) -> anyhow::Result<Vec<Value>> {
        let customer = self.text(seen.customer);
        let mut waiting = Vec::new();
        for episode in &seen.episodes {
            let Some(Campaign { name, trigger }) = self.campaigns.get(usize::from(episode.campaign)) else { continue };
            let subject = self.text(episode.subject);
            let id = DecisionId::of(name, &customer, &subject, episode.anchor);
            if self.ledger.decision(id)?.is_none_or(|decision| decision.as_of > as_of) {
                waiting.push(json!({
                    "campaign": name,
                    "trigger": trigger,
                    "subject": subject,
                    "anchor": Moment(episode.anchor),
                    "decision_id": id,
                }));
            }
        }
        Ok(waiting)
    }

    fn told_decision(&self, (decision, delivery): (&Decision, &Option<DeliveryRecord>)) -> anyhow::Result<Value> {
        let mut told = serde_json::to_value(decision)?;
        let why = self.ledger.account(decision.decision_id)?.and_then(|account| decisive(&account));
        told["delivery"] = json!(delivery.as_ref().map(super::decision::delivery));
        told["why"] = why.into();
        Ok(told)
    }
}

/// A delivery that may still go out, or of which nobody knows whether it did.
fn is_owed(delivery: Option<&DeliveryRecord>) -> bool {
    delivery.is_some_and(|delivery| delivery.state.is_open())
}

/// The sentence of the gate that decided: the last one asked.
fn decisive(account: &[u8]) -> Option<String> {
    let gates: Vec<Value> = serde_json::from_slice(account).ok()?;
    Some(gates.last()?["why"].as_str()?.to_owned())
}

fn see(view: &View<'_>, name: &str, campaigns: u16) -> Option<Seen> {
    let user = look(view, Id::of(Namespace::User, name).0, "user", campaigns);
    user.or_else(|| look(view, Id::of(Namespace::Anonymous, name).0, "visitor", campaigns))
}

/// What is known of this customer; none where the name is not.
fn look(view: &View<'_>, customer: Id, kind: &'static str, campaigns: u16) -> Option<Seen> {
    let state = view.state;
    let (contact, carts) = (state.contact(customer).cloned(), state.carts(customer));
    if contact.is_none() && carts.is_empty() && view.dictionary.text(customer).is_none() {
        return None;
    }
    let mut all: Vec<Id> = state.all_of(customer);
    let mut known = HashSet::new();
    all.insert(0, customer);
    all.retain(|id| known.insert(*id));
    Some(Seen {
        customer,
        kind,
        owner: state.owner(customer),
        all,
        contact,
        history: state.history(customer),
        carts: carts.iter().rev().map(|cart| told_cart(view, customer, cart)).collect(),
        episodes: state.episodes_of(customer, campaigns).copied().collect(),
    })
}

fn profile(contact: &Contact) -> Value {
    // What a profile says in its attributes is JSON that the decoder has read.
    let Standing { known, erased, consent, withheld } = contact.standing();
    let words = contact.words();
    let attributes: Option<Value> = words.attributes.and_then(|attributes| serde_json::from_str(attributes).ok());
    json!({
        "known": known,
        "erased": erased,
        "email": words.email,
        "first_name": words.first_name,
        "locale": words.locale,
        "timezone": words.timezone,
        "consent": consent,
        "withheld": withheld,
        "declined": contact.declined().collect::<Vec<_>>(),
        "attributes": attributes,
    })
}

fn history(history: &History) -> Value {
    json!({
        "orders": history.orders,
        "total": history.total.to_string(),
        "last_order_at": history.last_order.map(Moment),
    })
}

fn told_cart(view: &View<'_>, customer: Id, cart: &OpenCart) -> Value {
    let text = |id: Id| view.dictionary.text(id);
    let lines = cart.lines.iter().map(|line| {
        let product = view.state.product(line.sku);
        json!({
            "sku": text(line.sku),
            "name": product.and_then(|product| product.name.as_deref()),
            "quantity": line.quantity,
            "price": line.price.map(|price| price.to_string()),
            "price_now": product.and_then(|product| product.price).map(|price| price.to_string()),
            "on_hand": view.state.on_hand(line.sku),
        })
    });
    let lines: Vec<Value> = lines.collect();
    json!({
        "cart_id": (cart.id != customer).then(|| text(cart.id)).flatten(),
        "changed_at": Moment(cart.changed),
        "currency": text(cart.currency),
        "lines": lines,
    })
}
