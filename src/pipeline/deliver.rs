//! From the ledger to the ESPs (SPEC §6): a sender for each ESP, with whoever composes the messages, on a thread of their own. Each has a
//! backlog, a rate, a breaker and connections of its own, so that one that is dead slows no other.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::backlog::Log;
use super::compose::Composer;
use super::enriching::Enriching;
use super::keeping::Keeping;
use super::measure::Accepted;
use super::{SharedState, esps, read};
use crate::config::{self, Config};
use crate::ledger::Ledger;
use crate::mails::Mails;
use crate::pipeline::live::WallClock;
use crate::sink::delivery::{self, Drained, Limits, Ports};
use crate::sink::{DeliveryLog, Esp};

/// The senders on a thread of their own.
pub struct Sender {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<anyhow::Result<Drained>>,
}

/// What whoever listens to the senders hears.
#[derive(Clone, Default)]
pub struct Heard {
    /// Each delivery that an ESP took.
    pub accepting: Option<crossbeam_channel::Sender<Accepted>>,
    /// Each message that is handed to an ESP.
    pub mails: Option<Arc<Mails>>,
}

impl Sender {
    /// Starts it. The returned channel wakes it; `ended` is set when it ends, for whatever reason. Fails when the templates or an
    /// ESP cannot be set up.
    pub fn start(
        config: &Config,
        ledger: Arc<Ledger>,
        state: SharedState,
        clock: WallClock,
        ended: Arc<AtomicBool>,
    ) -> anyhow::Result<(Sender, mpsc::Sender<()>)> {
        Sender::start_telling(config, ledger, state, clock, ended, Heard::default())
    }

    /// The same, with somebody who listens.
    pub fn start_telling(
        config: &Config,
        ledger: Arc<Ledger>,
        state: SharedState,
        clock: WallClock,
        ended: Arc<AtomicBool>,
        heard: Heard,
    ) -> anyhow::Result<(Sender, mpsc::Sender<()>)> {
        anyhow::ensure!(!config.esps.is_empty(), "no [esp] is configured: nothing can be sent");
        let composer = Arc::new(Composer::of(config)?);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let within = runtime.enter();
        let logs = Log::open_all(config, &ledger)?;
        let ports = config.esps.iter().zip(logs).map(|(settings, log)| {
            let esp = heard.keeping(esps::esp(settings)?, &clock);
            let log = Arc::new(log.telling(heard.accepting.clone()));
            Ok(ports(settings, esp, log, &composer, &state, &clock))
        });
        let ports = ports.collect::<anyhow::Result<Vec<_>>>()?;
        drop(within);
        // Whoever is woken finds all that is new: one waking at a time is enough.
        let (wake, woken) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("sender".into()).spawn(move || {
            let drained = deliver(&runtime, ports, woken, stopped);
            ended.store(true, Ordering::Relaxed);
            drained
        })?;
        Ok((Sender { stop, thread }, wake))
    }

    /// Lets the requests under way finish, and says what is still owed; the ledger has all of it.
    pub fn stop(self) -> anyhow::Result<Drained> {
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| anyhow::anyhow!("the sender's thread failed"))?
    }
}

impl Heard {
    /// The ESP, whose messages are kept where somebody keeps them.
    fn keeping(&self, esp: Arc<dyn Esp>, clock: &WallClock) -> Arc<dyn Esp> {
        match self.mails.clone() {
            Some(mails) => Arc::new(Keeping { esp, mails, clock: clock.clone() }),
            None => esp,
        }
    }
}

/// What the sender of one ESP asks and tells.
pub fn ports(
    settings: &config::Esp,
    esp: Arc<dyn Esp>,
    log: Arc<dyn DeliveryLog>,
    composer: &Arc<Composer>,
    state: &SharedState,
    clock: &WallClock,
) -> Ports {
    let (asked, held, composer, clock) = (state.clone(), state.clone(), composer.clone(), clock.clone());
    let enriching = Enriching::new(composer.clone(), state.clone());
    Ports {
        name: settings.name.as_str().into(),
        esp,
        log,
        still_true: Box::new(move |episode| read(&asked).trigger_set().contains(episode)),
        enrich: Some(Arc::new(enriching)),
        compose: Box::new(move |send, fetched| composer.compose(send, fetched, &read(&held))),
        now_ms: Box::new(move || clock()),
        limits: Limits {
            requests_per_second: NonZeroU32::new(settings.requests_per_second).unwrap_or(NonZeroU32::MIN),
            concurrency: settings.max_in_flight as usize,
            unknown_after_ms: settings.unknown_after_ms,
            ..Limits::default()
        },
    }
}

/// Runs all senders until `stopped`, or until nobody is left to wake or stop them. Fails with the first that does; the others end then.
fn deliver(
    runtime: &Runtime,
    ports: Vec<Ports>,
    mut woken: mpsc::Receiver<()>,
    stopped: oneshot::Receiver<()>,
) -> anyhow::Result<Drained> {
    let (stop, stopping) = watch::channel(false);
    let mut senders = JoinSet::new();
    let mut wakes = Vec::with_capacity(ports.len());
    for ports in ports {
        let (wake, woken) = mpsc::channel(1);
        wakes.push(wake);
        let mut stopping = stopping.clone();
        let shutdown = async move {
            // Without anybody left to stop it, it ends when its channel does.
            if stopping.wait_for(|stop| *stop).await.is_err() {
                std::future::pending().await
            }
        };
        senders.spawn_on(delivery::run(ports, woken, shutdown), runtime.handle());
    }
    let stop = Arc::new(stop);
    let to_stop = stop.clone();
    runtime.spawn(async move {
        if stopped.await.is_ok() {
            to_stop.send_replace(true);
        }
    });
    runtime.spawn(async move {
        while woken.recv().await.is_some() {
            for wake in &wakes {
                let _ = wake.try_send(());
            }
        }
    });
    let mut all = Ok(Drained::default());
    while let Some(ended) = runtime.block_on(senders.join_next()) {
        let ended = ended.map_err(anyhow::Error::from).and_then(|drained| drained.map_err(anyhow::Error::from));
        if ended.is_err() {
            stop.send_replace(true);
        }
        all = match (all, ended) {
            (Ok(all), Ok(more)) => Ok(Drained { owed: all.owed + more.owed, cut_off: all.cut_off + more.cut_off }),
            (Err(fault), _) | (_, Err(fault)) => Err(fault),
        };
    }
    all
}
