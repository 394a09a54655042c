//! What a campaign's mail looks like (SPEC §7, `beckon preview`). In: a campaign, and a customer with the log or the ledger, or
//! nobody. Out: the context of the customer's newest decision with the state of now, or of a made-up one. Fails when the log or
//! the ledger cannot be read, or does not know the customer.
//!
//! Nothing is decided and nothing is written, and a discount's code is a made-up one: a preview gives nobody anything. Its links are
//! tagged, but not tracked, and the one that unsubscribes is void: nobody has decided what it would be about.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use beckon_dataflows::model::{Contact, Id, Namespace, Tick};

use super::compose::{self, Expiries, context_now};
use super::replay::{RECORDS_AN_ADVANCE, Replay, Until};
use super::{Act, View, record, wiring};
use crate::config::{Campaign, Config};
use crate::decide::Decided;
use crate::decision::{Decision, Mailbox, Message};
use crate::ledger::Ledger;
use crate::meter::Meter;
use crate::reclock::Notes;
use crate::render::{Context, Discount, MailLinks};
use crate::source::Partition;

/// What a preview is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The customer's newest decision of this campaign in the log, and the state at the log's end.
    Log,
    /// The customer's profile at the log's end, and a made-up decision: this campaign has decided nothing about them.
    Profile,
    /// The customer's newest decision of this campaign in the ledger, as it was decided. A ledger knows no profiles.
    Ledger,
    /// Nothing but the campaign.
    Sample,
}

/// A made-up decision of the campaign, about a made-up customer.
pub fn sample(campaign: &Campaign) -> Context {
    let mut context = Context::sample(campaign.trigger.name());
    context.campaign = campaign.name.as_str().into();
    (context.unsubscribe_url, context.live_url) = (None, None);
    context.similar.truncate(campaign.similar.unwrap_or(0) as usize);
    if campaign.expires_ms.is_none() {
        context.expires_at = None;
    }
    match campaign.discounts.first() {
        Some(discount) => context.with_discount(Discount::sample(discount.percent)),
        None => context,
    }
}

/// From the ledger, which must not be open in a running service.
pub fn from_ledger(config: &Config, campaign: &Campaign, customer: &str) -> anyhow::Result<Context> {
    let decisions = Ledger::open_existing(&config.state)?.decisions()?;
    let theirs = |decision: &&Decision| *decision.campaign == *campaign.name && &*decision.customer_id == customer;
    let newest = decisions.iter().filter(theirs).max_by_key(|decision| decision.as_of).with_context(|| {
        format!("the ledger has no decision of {} about {customer}; show a made-up one with --sample", campaign.name)
    })?;
    let context = Context::new(newest, None, &Contact::default(), |_| None, |_| None);
    Ok(discounted(context.at(newest.as_of, Expiries::of_campaigns(config).of(newest)), newest))
}

fn discounted(context: Context, decision: &Decision) -> Context {
    match decision.payload.discount {
        Some(promised) => context.with_discount(Discount::sample(promised.percent)),
        None => context,
    }
}

/// From the log's `partitions`, which are replayed to their end; `noted` is what a live run noted of them, and `progress` hears
/// how far it is, 0 to 1.
pub fn from_log(
    config: &Config,
    campaign: &Campaign,
    customer: &str,
    partitions: Vec<Box<dyn Partition>>,
    noted: Notes,
    progress: impl FnMut(f64),
) -> anyhow::Result<(Context, Origin)> {
    let found = Arc::new(Mutex::new(None));
    let watcher = Watcher {
        campaign: campaign.clone(),
        customer: customer.to_owned(),
        expiries: Expiries::of_campaigns(config),
        newest: None,
        found: found.clone(),
    };
    let replay = Replay {
        workers: 1,
        decoders: std::thread::available_parallelism().map_or(1, usize::from),
        plan: wiring::plan(config),
        decider: wiring::decider(config),
        allowed_lateness_ms: config.allowed_lateness_ms,
        until: Until::LastEvent,
        noted,
        advance_after: RECORDS_AN_ADVANCE,
        meter: Arc::new(Meter::default()),
    };
    replay.run_unless(&AtomicBool::new(false), partitions, watcher, Box::new(|_| Ok(())), progress)?;
    let found = found.lock().unwrap_or_else(PoisonError::into_inner).take();
    found.with_context(|| format!("the log has neither a profile nor a decision of the customer {customer}"))
}

type Newest = (Decision, Id, Option<Arc<str>>);

/// The preview's mail: of `template`, from the state that `context` has, with what its template wants from elsewhere, or with what
/// stands in for that where nothing is to be fetched. `decision` is what its links and its tags are of.
pub fn mail(
    config: &Config,
    template: &str,
    (context, decision): (Context, &Decision),
    from: &Mailbox,
    fetches: bool,
) -> anyhow::Result<Message> {
    let templates = compose::load_templates(config)?;
    let mut context = context.enriched(compose::fallbacks_of(config));
    if let Some(names) = templates.enrichments(template).filter(|_| fetches) {
        let enricher = compose::enricher_of(config)?;
        let known = serde_json::json!(context);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        context = context.enriched(runtime.block_on(enricher.fetch(&known, |name| names.contains(name))));
    }
    let links = compose::void_links_of(config)?;
    let links = links.as_ref().map(|links| links.of(decision));
    context.unsubscribe_url = links.as_ref().and_then(MailLinks::unsubscribe_url);
    let mut message = templates.render(template, &context, from)?;
    links.map_or(Ok(()), |links| links.dress(&mut message))?;
    Ok(message)
}

/// Waits for the newest decision, and then for the last state.
struct Watcher {
    campaign: Campaign,
    customer: String,
    expiries: Expiries,
    newest: Option<Newest>,
    found: Arc<Mutex<Option<(Context, Origin)>>>,
}

impl Act for Watcher {
    fn decided(&mut self, _tick: Tick, decided: Vec<Decided>, view: &View<'_>) -> anyhow::Result<()> {
        for (decision, opening) in decided {
            if *decision.campaign == *self.campaign.name && *decision.customer_id == *self.customer {
                let currency = record::currency(&opening, view);
                self.newest = Some((decision, opening.episode.customer, currency));
            }
        }
        Ok(())
    }

    fn closed(&mut self, upper: Option<Tick>, view: &View<'_>) -> anyhow::Result<()> {
        if upper.is_none() {
            let context = self.context(view);
            *self.found.lock().unwrap_or_else(PoisonError::into_inner) = context;
        }
        Ok(())
    }
}

impl Watcher {
    fn context(&self, view: &View<'_>) -> Option<(Context, Origin)> {
        let unknown = Contact::default();
        if let Some((decision, customer, currency)) = &self.newest {
            let contact = view.state.contact(*customer).unwrap_or(&unknown);
            let expires_at = self.expiries.of(decision);
            let context = context_now(decision, currency.clone(), (*customer, contact), view.state, expires_at);
            return Some((discounted(context, decision), Origin::Log));
        }
        let customer = Id::of(Namespace::User, &self.customer).0;
        let contact = view.state.contact(customer).filter(|contact| contact.standing().known)?;
        let made_up = sample(&self.campaign);
        let context = made_up.of_customer(&self.customer, contact).with_history(view.state.history(customer));
        Some((context, Origin::Profile))
    }
}
