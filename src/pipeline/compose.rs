//! The message of a send (SPEC §6, "The content is rendered then, from the state of then"). In: what is owed, and the state as of
//! the newest closed tick. Out: a message, or why there is to be none.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use beckon_dataflows::model::{Contact, Id, Namespace, Tick};

use super::wiring;
use crate::config::{Campaign, Config, SecretSource};
use crate::coupon::Codes;
use crate::decision::{self, DecisionId, Mailbox, Message};
use crate::render::{Context, Discount, Links, MailLinks, TemplateFaults, Templates};
use crate::sink::delivery::Unsendable;
use crate::state::State;
use crate::tracking::Seal;

/// What messages are made with.
pub struct Composer {
    templates: Templates,
    coupons: Option<Codes>,
    links: Option<Links>,
    from: Mailbox,
    expiries: Expiries,
}

impl Composer {
    /// Loads all that a mail of this configuration can ask for. Fails with every fault of its templates, or without `[esp]`, which
    /// says whom mails are from, or without a secret where one is needed.
    pub fn of(config: &Config) -> anyhow::Result<Composer> {
        let esp = config.esp.as_ref().ok_or_else(|| anyhow::anyhow!("no [esp] is configured: nothing can be sent"))?;
        let from = Mailbox { name: esp.from.name.clone(), address: esp.from.address.clone() };
        Ok(Composer {
            templates: load_templates(config)?,
            coupons: codes_of(config)?,
            links: links_of(config)?,
            from,
            expiries: Expiries::of_campaigns(config),
        })
    }

    /// The message of a send, made from the state of now.
    pub fn compose(&self, send: &decision::Send, state: &State) -> Result<Message, Unsendable> {
        let (customer, decided) = (send.episode.customer, send.decision.as_of);
        let contact = state.contact(customer).filter(|contact| may_be_written_to(contact));
        // Who was erased and has come again is another.
        let contact = contact.filter(|_| !state.is_erased_since(customer, decided));
        let Some(contact) = contact else {
            return Err(Unsendable::Unreachable("no address, no consent, or erased since the decision".into()));
        };
        let links = self.links.as_ref().map(|links| links.of(&send.decision));
        let expires_at = self.expiries.of(&send.decision);
        let mut context = context_now(&send.decision, send.currency.clone(), (customer, contact), state, expires_at);
        context.unsubscribe_url = links.as_ref().and_then(MailLinks::unsubscribe_url);
        let context = match send.decision.payload.discount {
            None => context,
            Some(promised) => context.with_discount(self.coupon(promised, send.decision.decision_id)?),
        };
        let broken = |error: &dyn std::fmt::Display| Unsendable::Broken(error.to_string());
        let message = self.templates.render(&send.template, &context, &self.from);
        let mut message = message.map_err(|error| broken(&error))?;
        links.map_or(Ok(()), |links| links.dress(&mut message)).map_err(|fault| broken(&fault))?;
        Ok(message)
    }

    /// The discount that was promised, with its code.
    fn coupon(&self, promised: decision::Discount, id: DecisionId) -> Result<Discount, Unsendable> {
        let lacking = || Unsendable::Broken("a discount without [coupons]: no code can be made".into());
        let codes = self.coupons.as_ref().ok_or_else(lacking)?;
        Ok(Discount { percent: promised.percent, code: codes.code(promised.percent, id) })
    }
}

/// What a template can name of a decision, with the state of now.
pub(super) fn context_now(
    decision: &decision::Decision,
    currency: Option<Arc<str>>,
    (customer, contact): (Id, &Contact),
    state: &State,
    expires_at: Option<Tick>,
) -> Context {
    let sku = |text: &str| Id::of(Namespace::Sku, text).0;
    let product = |text: &str| state.product(sku(text)).map(|product| &**product);
    let on_hand = |text: &str| Some(state.on_hand(sku(text)));
    let context = Context::new(decision, currency, contact, product, on_hand);
    context.at(state.as_of(), expires_at).with_history(state.history(customer))
}

/// How long after their anchor the episodes of each campaign expire, in milliseconds, where they do.
pub(super) struct Expiries(HashMap<String, u64>);

impl Expiries {
    pub(super) fn of_campaigns(config: &Config) -> Expiries {
        let of = |campaign: &Campaign| Some((campaign.name.clone(), wiring::lasts_ms(campaign, config.tick_ms)?));
        Expiries(config.campaigns.iter().filter_map(of).collect())
    }

    /// When the decision's episode expires, epoch ms.
    pub(super) fn of(&self, decision: &decision::Decision) -> Option<Tick> {
        self.0.get(&*decision.campaign).map(|lasts_ms| decision.anchor.saturating_add(*lasts_ms))
    }
}

/// Loads every template that a campaign or a variant names, and rehearses it for their triggers; all faults at once.
pub fn load_templates(config: &Config) -> Result<Templates, TemplateFaults> {
    let wanted = config.campaigns.iter().flat_map(|campaign| {
        campaign.templates().into_iter().flatten().map(|name| (name, campaign.trigger.name())).collect::<Vec<_>>()
    });
    let wanted: Vec<(&str, &str)> = wanted.collect::<BTreeSet<_>>().into_iter().collect();
    Templates::load_for(&config.templates, &wanted).map_err(TemplateFaults)
}

/// The secret of the coupons. Where no campaign gives discounts any more, what is owed may still have one: then a secret is
/// taken if it is there.
fn codes_of(config: &Config) -> anyhow::Result<Option<Codes>> {
    match config.coupons.as_ref().map(SecretSource::secret) {
        Some(Err(fault)) if config.gives_discounts() => Err(anyhow::anyhow!(fault)),
        secret => Ok(secret.and_then(Result::ok).map(|secret| Codes::of(&secret))),
    }
}

/// How links lead back, where tracking is configured.
fn links_of(config: &Config) -> anyhow::Result<Option<Links>> {
    let Some(tracking) = &config.tracking else { return Ok(None) };
    let secret = tracking.secret.secret().map_err(anyhow::Error::msg)?;
    let utm = tracking.utm.as_ref().map(|utm| (utm.source.clone(), utm.medium.clone()));
    Ok(Some(Links {
        base_url: tracking.base_url.clone(),
        seal: Seal::of(&secret),
        opens: tracking.opens,
        clicks: tracking.clicks,
        utm,
        unsubscribe_mailto: tracking.unsubscribe_mailto.clone(),
    }))
}

fn may_be_written_to(contact: &Contact) -> bool {
    contact.known && !contact.erased && contact.consent && !contact.withheld && contact.email.is_some()
}

#[cfg(test)]
mod tests {
    use beckon_dataflows::model::{Change, Episode};

    use super::*;
    use crate::decision::{Decision, DecisionId, Outcome, Payload};

    #[test]
    fn who_was_erased_since_the_decision_gets_nothing_though_they_have_come_again() {
        let folder = tempfile::tempdir().unwrap();
        for part in ["subject", "html", "txt"] {
            std::fs::write(folder.path().join(format!("a.{part}.hbs")), "Hello").unwrap();
        }
        let templates = Templates::load(folder.path(), &["a"]).unwrap();
        let from = Mailbox { name: None, address: "shop@example.com".into() };
        let customer = Id(1);
        let contact = |erased: bool| Contact {
            known: true,
            erased,
            consent: !erased,
            email: (!erased).then(|| "ada@example.com".into()),
            ..Contact::default()
        };
        let mut state = State::default();
        for (tick, erased) in [(1_000, false), (2_000, true), (3_000, false)] {
            state.apply(tick, Change::Contact(customer, Arc::new(contact(erased))), |_| "".into());
        }
        let send = |as_of| decision::Send {
            decision: Arc::new(Decision {
                decision_id: DecisionId(1),
                campaign: "c".into(),
                customer_id: "u1".into(),
                trigger: "welcome".into(),
                subject: "u1".into(),
                anchor: 1_000,
                as_of,
                outcome: Outcome::Send,
                reason: None,
                variant: None,
                payload: Payload::default(),
            }),
            episode: Episode { campaign: 0, customer, subject: customer, anchor: 1_000 },
            currency: None,
            send_within_ms: None,
            priority: 0,
            template: "a".into(),
        };
        let expiries = Expiries(HashMap::new());
        let composer = Composer { templates, coupons: None, links: None, from, expiries };
        let composed = |as_of| composer.compose(&send(as_of), &state);
        assert!(matches!(composed(1_500), Err(Unsendable::Unreachable(_))));
        assert!(matches!(composed(2_000), Err(Unsendable::Unreachable(_))));
        assert!(composed(3_500).is_ok());
    }
}
