//! From the ledger to the ESP (SPEC §6): the sender, with the ESP and whoever composes the messages, on threads of its own.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::backlog::Log;
use super::compose::Composer;
use super::{SharedState, read};
use crate::config::{self, Config, EspKind};
use crate::ledger::Ledger;
use crate::pipeline::live::WallClock;
use crate::sink::delivery::{self, Drained, Limits, Ports};
use crate::sink::{ApiKey, Esp, client, http::Http, sendgrid::SendGrid};

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
        let composer = Composer::of(config)?;
        let (asked, held) = (state.clone(), state);
        let ports = Ports {
            esp: esp_of(esp)?,
            log: Arc::new(Log::open(config, ledger)?),
            still_true: Box::new(move |episode| read(&asked).trigger_set().contains(episode)),
            compose: Box::new(move |send| composer.compose(send, &read(&held))),
            now_ms: Box::new(move || clock()),
            limits: Limits {
                requests_per_second: NonZeroU32::new(esp.requests_per_second).unwrap_or(NonZeroU32::MIN),
                concurrency: esp.max_in_flight as usize,
                unknown_after_ms: esp.unknown_after_ms,
                ..Limits::default()
            },
        };
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

/// The configured ESP.
pub fn esp_of(esp: &config::Esp) -> anyhow::Result<Arc<dyn Esp>> {
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
