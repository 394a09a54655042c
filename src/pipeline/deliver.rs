//! From decisions to the ESP: ledger → sink (SPEC §6). In: the decisions of closed ticks. Out: deliveries, each state durable.
//! A decided send is in the ledger before any request for it leaves; what was open when the process ended is taken up again
//! when the log is read again.
//!
//! While the log is still being read up to where it ended when the process started, nothing is sent: the trigger set of
//! an old tick does not say what is true now.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use beckon_dataflows::model::{Contact, Id, Namespace, Tick};
use tokio::sync::{mpsc, oneshot};

use super::{Act, SharedState, View, read};
use crate::config::{self, Config, EspKind};
use crate::decide::Decided;
use crate::decision::{self, Decision, DecisionId, DeliveryRecord, Mailbox, Outcome};
use crate::ledger::Ledger;
use crate::pipeline::live::WallClock;
use crate::render::{Context, Templates};
use crate::sink::delivery::{self, Drained, Limits, Owed, Ports, Unsendable};
use crate::sink::{ApiKey, BoxFuture, DeliveryLog, Esp, LogFault, client, http::Http, sendgrid::SendGrid};
use crate::state::State;

/// How many sends may wait between the deciding thread and the sender before deciding waits.
const SENDS_WAITING: usize = 1024;

/// Records decisions and passes the sends on.
pub struct Recorder {
    ledger: Arc<Ledger>,
    campaigns: Vec<Campaign>,
    open: HashMap<DecisionId, DeliveryRecord>,
    outgoing: mpsc::Sender<Owed>,
    /// Sends decided before the log was read up to `live_from`.
    held: Vec<Owed>,
    live_from: Tick,
    live: bool,
}

/// What a campaign adds to a send.
struct Campaign {
    send_within_ms: Option<u64>,
    priority: i32,
    template: Arc<str>,
    variants: Vec<(String, Arc<str>)>,
}

impl Recorder {
    /// A recorder that passes sends to `outgoing`, and holds them back until the ticks before `live_from` are closed. Fails
    /// when the ledger cannot be read.
    pub fn new(
        config: &Config,
        ledger: Arc<Ledger>,
        live_from: Tick,
        outgoing: mpsc::Sender<Owed>,
    ) -> anyhow::Result<Recorder> {
        let open =
            ledger.open_deliveries()?.into_iter().map(|open| (open.decision.decision_id, open.delivery)).collect();
        let campaigns = config.campaigns.iter().map(Campaign::new).collect();
        Ok(Recorder { ledger, campaigns, open, outgoing, held: Vec::new(), live_from, live: false })
    }

    fn owed(&self, decided: Decided, delivery: DeliveryRecord, view: &View<'_>) -> Owed {
        let (decision, opening) = decided;
        let campaign = &self.campaigns[opening.episode.campaign as usize];
        let currency = view.dictionary.text(opening.currency).map(Arc::from).or_else(|| {
            let product = view.state.product(opening.lines.first()?.sku)?;
            product.currency.as_deref().map(Arc::from)
        });
        let send = decision::Send {
            template: campaign.template_of(&decision),
            decision: Arc::new(decision),
            episode: opening.episode,
            currency,
            send_within_ms: campaign.send_within_ms,
            priority: campaign.priority,
        };
        Owed { send, delivery }
    }

    fn pass_on(&mut self, owed: Owed) {
        if self.live {
            // A sender that has stopped leaves the rest to the ledger, and the service ends with it.
            let _ = self.outgoing.blocking_send(owed);
        } else {
            self.held.push(owed);
        }
    }
}

impl Act for Recorder {
    fn decided(&mut self, _tick: Tick, decided: Vec<Decided>, view: &View<'_>) -> anyhow::Result<()> {
        if decided.is_empty() {
            return Ok(());
        }
        // Of the erased no more is kept than that something was decided.
        let at_rest = |(decision, opening): &Decided| {
            let contact = view.state.contact(opening.episode.customer);
            if contact.is_some_and(|contact| contact.erased) { decision.erased() } else { decision.clone() }
        };
        let decisions: Vec<Decision> = decided.iter().map(at_rest).collect();
        let new = self.ledger.record(&decisions)?;
        for decided in decided.into_iter().filter(|(decision, _)| decision.outcome == Outcome::Send) {
            let id = decided.0.decision_id;
            let delivery = match self.open.remove(&id) {
                Some(open) => Some(open),
                None => new.contains(&id).then(|| DeliveryRecord::pending(decided.0.as_of)),
            };
            if let Some(delivery) = delivery {
                let owed = self.owed(decided, delivery, view);
                self.pass_on(owed);
            }
        }
        Ok(())
    }

    /// Also those who are aliases of the erased. Open deliveries are withdrawn by the sender, which finds them unreachable.
    fn erased(&mut self, tick: Tick, customers: &[Id], view: &View<'_>) -> anyhow::Result<()> {
        let all: HashSet<Id> =
            customers.iter().flat_map(|id| view.state.all_of(*id)).chain(customers.iter().copied()).collect();
        let names = all.into_iter().filter_map(|id| view.dictionary.text(id)).collect();
        self.ledger.erase(names, tick)?;
        Ok(())
    }

    fn closed(&mut self, upper: Option<Tick>, _view: &View<'_>) -> anyhow::Result<()> {
        if !self.live && upper.is_some_and(|upper| upper >= self.live_from) {
            self.live = true;
            std::mem::take(&mut self.held).into_iter().for_each(|owed| self.pass_on(owed));
        }
        Ok(())
    }
}

impl Campaign {
    fn new(campaign: &config::Campaign) -> Campaign {
        let template: Arc<str> = campaign.template.as_deref().unwrap_or_default().into();
        let of = |variant: &config::Variant| variant.template.as_deref().map_or(template.clone(), Arc::from);
        Campaign {
            send_within_ms: campaign.send_within_ms,
            priority: i32::try_from(campaign.priority).unwrap_or(if campaign.priority < 0 {
                i32::MIN
            } else {
                i32::MAX
            }),
            variants: campaign.variants.iter().map(|variant| (variant.name.clone(), of(variant))).collect(),
            template,
        }
    }

    fn template_of(&self, decision: &Decision) -> Arc<str> {
        let variant = decision.variant.as_deref();
        let own = self.variants.iter().find(|(name, _)| Some(name.as_str()) == variant);
        own.map_or(&self.template, |(_, template)| template).clone()
    }
}

/// The sender on threads of its own.
pub struct Sender {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<anyhow::Result<Drained>>,
}

impl Sender {
    /// Starts it. The returned channel is where sends go; `ended` is set when it ends, for whatever reason. Fails when the templates or the ESP cannot be set up.
    pub fn start(
        config: &Config,
        ledger: Arc<Ledger>,
        state: SharedState,
        clock: WallClock,
        ended: Arc<AtomicBool>,
    ) -> anyhow::Result<(Sender, mpsc::Sender<Owed>)> {
        let esp = config.esp.as_ref().ok_or_else(|| anyhow::anyhow!("no [esp] is configured: nothing can be sent"))?;
        let templates = load_templates(config)?;
        let from = Mailbox { name: esp.from.name.clone(), address: esp.from.address.clone() };
        let (asked, held) = (state.clone(), state);
        let ports = Ports {
            esp: esp_of(esp)?,
            log: Arc::new(Log(ledger)),
            still_true: Box::new(move |episode| read(&asked).trigger_set().contains(episode)),
            compose: Box::new(move |send| compose(send, &read(&held), &templates, &from)),
            now_ms: Box::new(move || clock()),
            limits: Limits {
                requests_per_second: NonZeroU32::new(esp.requests_per_second).unwrap_or(NonZeroU32::MIN),
                concurrency: esp.max_in_flight as usize,
                unknown_after_ms: esp.unknown_after_ms,
                ..Limits::default()
            },
        };
        let (outgoing, incoming) = mpsc::channel(SENDS_WAITING);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let thread = std::thread::Builder::new().name("sender".into()).spawn(move || {
            // Without anybody left to stop it, it ends when its channel does.
            let shutdown = async {
                if stopped.await.is_err() {
                    std::future::pending().await
                }
            };
            let drained = runtime.block_on(delivery::run(ports, incoming, shutdown));
            ended.store(true, Ordering::Relaxed);
            drained.map_err(anyhow::Error::from)
        })?;
        Ok((Sender { stop, thread }, outgoing))
    }

    /// Lets the requests under way finish, and says what is still owed; the ledger has all of it.
    pub fn stop(self) -> anyhow::Result<Drained> {
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| anyhow::anyhow!("the sender's thread failed"))?
    }
}

/// Loads every template that a campaign or a variant names; all faults at once.
fn load_templates(config: &Config) -> anyhow::Result<Templates> {
    let names: std::collections::BTreeSet<&str> =
        config.campaigns.iter().flat_map(|c| c.templates()).flatten().collect();
    let names: Vec<&str> = names.into_iter().collect();
    Templates::load(&config.templates, &names).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", faults.join("\n"))
    })
}

/// The configured ESP.
fn esp_of(esp: &config::Esp) -> anyhow::Result<Arc<dyn Esp>> {
    let key = esp.api_key_env.as_ref().map(|name| ApiKey::new(&std::env::var(name).unwrap_or_default())).transpose()?;
    let (client, base_url) = (client(esp.timeout_ms)?, esp.base_url.as_str());
    match (esp.kind, key) {
        (EspKind::Http, key) => Ok(Arc::new(Http::new(client, base_url, key, esp.honours_idempotency_key)?)),
        (EspKind::Sendgrid, Some(key)) => Ok(Arc::new(SendGrid::new(client, base_url, key)?)),
        (kind, _) => {
            Err(anyhow::anyhow!("the ESP {kind:?} cannot be used: it is not built yet, or its key is missing"))
        }
    }
}

/// The message of a send, made from the state of now.
fn compose(
    send: &decision::Send,
    state: &State,
    templates: &Templates,
    from: &Mailbox,
) -> Result<decision::Message, Unsendable> {
    let (customer, decided) = (send.episode.customer, send.decision.as_of);
    let contact = state.contact(customer).filter(|contact| may_be_written_to(contact));
    // Who was erased and has come again is another.
    let contact = contact.filter(|_| !state.is_erased_since(customer, decided));
    let Some(contact) = contact else {
        return Err(Unsendable::Unreachable("no address, no consent, or erased since the decision".into()));
    };
    let sku = |text: &str| Id::of(Namespace::Sku, text).0;
    let product = |text: &str| state.product(sku(text)).map(|product| &**product);
    let context =
        Context::new(&send.decision, send.currency.clone(), contact, product, |text| Some(state.on_hand(sku(text))));
    templates.render(&send.template, &context, from).map_err(|error| Unsendable::Broken(error.to_string()))
}

fn may_be_written_to(contact: &Contact) -> bool {
    contact.known && !contact.erased && contact.consent && !contact.withheld && contact.email.is_some()
}

/// The ledger as the sender writes it.
struct Log(Arc<Ledger>);

impl DeliveryLog for Log {
    fn write(&self, id: DecisionId, record: DeliveryRecord) -> BoxFuture<'_, Result<(), LogFault>> {
        Box::pin(async move { self.0.advance(id, record).await.map_err(|error| LogFault(error.into())) })
    }
}

#[cfg(test)]
mod tests {
    use beckon_dataflows::model::{Change, Episode};

    use super::*;
    use crate::decision::Payload;

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
            state.apply(tick, Change::Contact(customer, Arc::new(contact(erased))));
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
        let composed = |as_of| compose(&send(as_of), &state, &templates, &from);
        assert!(matches!(composed(1_500), Err(Unsendable::Unreachable(_))));
        assert!(matches!(composed(2_000), Err(Unsendable::Unreachable(_))));
        assert!(composed(3_500).is_ok());
    }
}
