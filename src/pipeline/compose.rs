//! The message of a send (SPEC §6, "The content is rendered then, from the state of then"). In: what is owed, and the state as of
//! the newest closed tick. Out: a message, or why there is to be none.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use beckon_dataflows::model::{Contact, Id, Namespace, Standing, Tick};

use serde_json::{Map, Value};

use super::wiring;
use crate::config::{Campaign, Config, Enrichment, SecretSource, Tracking};
use crate::coupon::Codes;
use crate::decision::{self, DecisionId, Mailbox, Message};
use crate::enrich::{Enricher, Source};
use crate::render::{Context, Discount, Enrichments, Links, MailLinks, RenderError, TemplateFaults, Templates};
use crate::secret::Secret;
use crate::sink::client;
use crate::sink::delivery::Unsendable;
use crate::state::State;
use crate::tracking::Seal;

/// What messages are made with.
pub struct Composer {
    templates: Templates,
    coupons: Option<Codes>,
    links: Option<Links>,
    /// The senders that campaigns have by their ESPs, in the order of the campaigns.
    from: Vec<Mailbox>,
    expiries: Expiries,
    enricher: Enricher,
    /// What stands in for each enrichment.
    fallbacks: Enrichments,
}

impl Composer {
    /// Loads all that a mail of this configuration can ask for. Fails with every fault of its templates, or without `[esp]`, which
    /// says whom mails are from, or without a secret where one is needed.
    pub fn of(config: &Config) -> anyhow::Result<Composer> {
        let lacking = || anyhow::anyhow!("no [esp] is configured: nothing can be sent");
        let from = |campaign: &Campaign| {
            let from = &config.esp_of(campaign).ok_or_else(lacking)?.from;
            Ok(Mailbox { name: from.name.clone(), address: from.address.clone() })
        };
        let from = config.campaigns.iter().map(from).collect::<anyhow::Result<_>>()?;
        Ok(Composer {
            templates: load_templates(config)?,
            coupons: codes_of(config)?,
            links: links_of(config)?,
            from,
            expiries: Expiries::of_campaigns(config),
            enricher: enricher_of(config)?,
            fallbacks: fallbacks_of(config),
        })
    }

    /// Whether mails of this template want anything from elsewhere.
    pub fn is_enriched(&self, template: &str) -> bool {
        self.templates.enrichments(template).is_some()
    }

    /// Fetches what mails of this template want; URLs can name what is in `context`.
    pub async fn enrich(&self, template: &str, context: &Value) -> Enrichments {
        match self.templates.enrichments(template) {
            Some(names) => self.enricher.fetch(context, |name| names.contains(name)).await,
            None => Enrichments::new(),
        }
    }

    /// What can be named of a send and its customer in the state of now; that, and no secret: neither code nor link.
    pub fn context(&self, send: &decision::Send, state: &State) -> Result<Context, Unsendable> {
        let (customer, decided) = (send.episode.customer, send.decision.as_of);
        let contact = state.contact(customer).filter(|contact| may_be_written_to(contact, &send.decision.campaign));
        // Who was erased and has come again is another.
        let contact = contact.filter(|_| !state.is_erased_since(customer, decided));
        let Some(contact) = contact else {
            return Err(Unsendable::Unreachable(
                "no address, no consent, declined, or erased since the decision".into(),
            ));
        };
        let expires_at = self.expiries.of(&send.decision);
        Ok(context_now(&send.decision, send.currency.clone(), (customer, contact), state, expires_at))
    }

    /// The message of a send, made from the state of now and what was `fetched` for it.
    pub fn compose(
        &self,
        send: &decision::Send,
        fetched: Map<String, Value>,
        state: &State,
    ) -> Result<Message, Unsendable> {
        let links = self.links.as_ref().map(|links| links.of(&send.decision));
        let mut context = self.context(send, state)?.enriched(self.fallbacks.clone());
        context.unsubscribe_url = links.as_ref().and_then(MailLinks::unsubscribe_url);
        context.live_url = links.as_ref().and_then(MailLinks::live_url);
        let context = match send.decision.payload.discount {
            None => context,
            Some(promised) => context.with_discount(self.coupon(promised, send.decision.decision_id)?),
        };
        let from = self.from.get(usize::from(send.episode.campaign));
        let from = from.ok_or_else(|| Unsendable::Broken("its campaign is no longer configured".into()))?;
        let broken = |error: &dyn std::fmt::Display| Unsendable::Broken(error.to_string());
        let mut message = self.render(&send.template, context, fetched, from).map_err(|error| broken(&error))?;
        links.map_or(Ok(()), |links| links.dress(&mut message)).map_err(|fault| broken(&fault))?;
        Ok(message)
    }

    /// Renders with what was fetched; where no mail comes of that, as no list of it was there when the template was checked,
    /// without: a stranger's answer refuses nobody's mail.
    fn render(
        &self,
        template: &str,
        context: Context,
        fetched: Enrichments,
        from: &Mailbox,
    ) -> Result<Message, RenderError> {
        if fetched.is_empty() {
            return self.templates.render(template, &context, from);
        }
        self.templates.render(template, &context.clone().enriched(fetched), from).or_else(|fault| {
            tracing::warn!(%fault, "the mail gets its enrichments' fallbacks");
            self.templates.render(template, &context, from)
        })
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
    Templates::load_for(&config.templates, &wanted, &fallbacks_of(config)).map_err(TemplateFaults)
}

/// What stands in for each enrichment.
pub(super) fn fallbacks_of(config: &Config) -> Enrichments {
    config.enrichments.iter().map(|enrichment| (enrichment.name.clone(), enrichment.fallback.clone())).collect()
}

pub(super) fn enricher_of(config: &Config) -> anyhow::Result<Enricher> {
    let source = |enrichment: &Enrichment| {
        let Enrichment { name, url, timeout_ms, cache_ms, fallback } = enrichment.clone();
        Source { name, url, timeout_ms, cache_ms, fallback }
    };
    let slowest_ms = config.enrichments.iter().map(|enrichment| enrichment.timeout_ms).max().unwrap_or_default();
    Ok(Enricher::new(config.enrichments.iter().map(source).collect(), &client(slowest_ms.max(1))?)?)
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
    Ok(Some(links(tracking, &secret)))
}

fn links(tracking: &Tracking, secret: &Secret) -> Links {
    Links {
        base_url: tracking.base_url.clone(),
        seal: Seal::of(secret),
        opens: tracking.opens,
        clicks: tracking.clicks,
        utm: tracking.utm.as_ref().map(|utm| (utm.source.clone(), utm.medium.clone())),
        unsubscribe_mailto: tracking.unsubscribe_mailto.clone(),
    }
}

/// The same for a mail that nobody decided: its links are tagged and lead straight to the shop, and the one that unsubscribes is
/// sealed with a secret that nobody has.
pub(super) fn void_links_of(config: &Config) -> anyhow::Result<Option<Links>> {
    let Some(tracking) = &config.tracking else { return Ok(None) };
    let secret = Secret::new(&rand::random::<[u8; 32]>())?;
    Ok(Some(Links { opens: false, clicks: false, ..links(tracking, &secret) }))
}

fn may_be_written_to(contact: &Contact, campaign: &str) -> bool {
    let Standing { known, erased, consent, withheld } = contact.standing();
    let consents = consent && !withheld && !contact.declines(campaign);
    known && !erased && consents && contact.words().email.is_some()
}

#[cfg(test)]
mod tests {
    use beckon_dataflows::model::{Change, Episode, Words};

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
        let contact = |erased: bool| {
            let standing = Standing { known: true, erased, consent: !erased, ..Standing::default() };
            Contact::new(standing, &Words { email: (!erased).then_some("ada@example.com"), ..Words::default() })
        };
        let mut state = State::default();
        for (tick, erased) in [(1_000, false), (2_000, true), (3_000, false)] {
            state.apply(tick, Change::Contact(customer, contact(erased)), |_| "".into());
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
        let (enricher, fallbacks) = (Enricher::new(Vec::new(), &client(1_000).unwrap()).unwrap(), Enrichments::new());
        let (from, coupons, links) = (vec![from], None, None);
        let composer = Composer { templates, coupons, links, from, expiries, enricher, fallbacks };
        let composed = |as_of| composer.compose(&send(as_of), Map::new(), &state);
        assert!(matches!(composed(1_500), Err(Unsendable::Unreachable(_))));
        assert!(matches!(composed(2_000), Err(Unsendable::Unreachable(_))));
        assert!(composed(3_500).is_ok());
    }
}
