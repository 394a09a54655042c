//! From the ledger to the ESP (SPEC §6): the sender, with the ESP, the templates and the state it renders from, on threads of its
//! own.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use beckon_dataflows::model::{Contact, Id, Namespace};
use tokio::sync::{mpsc, oneshot};

use super::backlog::Log;
use super::{SharedState, read};
use crate::config::{self, Config, EspKind};
use crate::coupon::Secret;
use crate::decision::{self, DecisionId, Mailbox};
use crate::ledger::Ledger;
use crate::pipeline::live::WallClock;
use crate::render::{Context, Discount, Templates};
use crate::sink::delivery::{self, Drained, Limits, Ports, Unsendable};
use crate::sink::{ApiKey, DeliveryLog, Esp, client, http::Http, sendgrid::SendGrid};
use crate::state::State;

/// The sender on threads of its own.
pub struct Sender {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<anyhow::Result<Drained>>,
}

impl Sender {
    /// Starts it. The returned channel wakes it; `ended` is set when it ends, for whatever reason. Fails when the templates or the
    /// ESP cannot be set up.
    pub fn start(
        config: &Config,
        ledger: Arc<Ledger>,
        state: SharedState,
        clock: WallClock,
        ended: Arc<AtomicBool>,
    ) -> anyhow::Result<(Sender, mpsc::Sender<()>)> {
        let esp = config.esp.as_ref().ok_or_else(|| anyhow::anyhow!("no [esp] is configured: nothing can be sent"))?;
        let log = Arc::new(Log::open(config, ledger)?);
        let ports = ports(config, esp_of(esp)?, log, state, clock)?;
        // Whoever is woken finds all that is new: one waking at a time is enough.
        let (wake, woken) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let thread = std::thread::Builder::new().name("sender".into()).spawn(move || {
            // Without anybody left to stop it, it ends when its channel does.
            let shutdown = async {
                if stopped.await.is_err() {
                    std::future::pending().await
                }
            };
            let drained = runtime.block_on(delivery::run(ports, woken, shutdown));
            ended.store(true, Ordering::Relaxed);
            drained.map_err(anyhow::Error::from)
        })?;
        Ok((Sender { stop, thread }, wake))
    }

    /// Lets the requests under way finish, and says what is still owed; the ledger has all of it.
    pub fn stop(self) -> anyhow::Result<Drained> {
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| anyhow::anyhow!("the sender's thread failed"))?
    }
}

/// What the sender of the configured mail asks and tells, with `esp` for its ESP. Fails when the templates or the secret of
/// the coupons cannot be had.
pub fn ports(
    config: &Config,
    esp: Arc<dyn Esp>,
    log: Arc<dyn DeliveryLog>,
    state: SharedState,
    clock: WallClock,
) -> anyhow::Result<Ports> {
    let settings = config.esp.as_ref().ok_or_else(|| anyhow::anyhow!("no [esp] is configured: nothing can be sent"))?;
    let templates = load_templates(config)?;
    let coupons = secret_of(config)?;
    let from = Mailbox { name: settings.from.name.clone(), address: settings.from.address.clone() };
    let (asked, held) = (state.clone(), state);
    Ok(Ports {
        esp,
        log,
        still_true: Box::new(move |episode| read(&asked).trigger_set().contains(episode)),
        compose: Box::new(move |send| compose(send, &read(&held), &templates, coupons.as_ref(), &from)),
        now_ms: Box::new(move || clock()),
        limits: Limits {
            requests_per_second: NonZeroU32::new(settings.requests_per_second).unwrap_or(NonZeroU32::MIN),
            concurrency: settings.max_in_flight as usize,
            unknown_after_ms: settings.unknown_after_ms,
            ..Limits::default()
        },
    })
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

/// The secret of the coupons. Where no campaign gives discounts any more, what is owed may still have one: then a secret is
/// taken if it is there.
fn secret_of(config: &Config) -> anyhow::Result<Option<Secret>> {
    match config.coupons.as_ref().map(config::Coupons::secret) {
        Some(Err(fault)) if config.gives_discounts() => Err(anyhow::anyhow!(fault)),
        secret => Ok(secret.and_then(Result::ok)),
    }
}

/// The message of a send, made from the state of now.
fn compose(
    send: &decision::Send,
    state: &State,
    templates: &Templates,
    coupons: Option<&Secret>,
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
    let context = match send.decision.payload.discount {
        None => context,
        Some(promised) => context.with_discount(coupon(promised, send.decision.decision_id, coupons)?),
    };
    templates.render(&send.template, &context, from).map_err(|error| Unsendable::Broken(error.to_string()))
}

/// The discount that was promised, with its code.
fn coupon(promised: decision::Discount, id: DecisionId, coupons: Option<&Secret>) -> Result<Discount, Unsendable> {
    let secret =
        coupons.ok_or_else(|| Unsendable::Broken("a discount without [coupons]: no code can be made".into()))?;
    Ok(Discount { percent: promised.percent, code: secret.code(promised.percent, id) })
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
        let composed = |as_of| compose(&send(as_of), &state, &templates, None, &from);
        assert!(matches!(composed(1_500), Err(Unsendable::Unreachable(_))));
        assert!(matches!(composed(2_000), Err(Unsendable::Unreachable(_))));
        assert!(composed(3_500).is_ok());
    }
}
