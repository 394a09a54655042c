//! An ESP that is not there: takes messages over HTTP as six ESPs do, fails by a seed, and counts what it was asked
//! and what it took, by idempotency key. In: an [`EspConfig`]. Out: an [`EspHandle`]. Fails only where the port is
//! taken.
//!
//! | file | idea |
//! |---|---|
//! | `draw` | which fault a request meets |
//! | `inbox` | counts |
//! | `dialect` | what each ESP's requests and answers look like |
//! | `routes` | HTTP |
//! | `connection` | how to answer nothing |

mod connection;
mod dialect;
mod draw;
mod inbox;
mod routes;

pub use draw::FaultShares;
pub use inbox::{Arrival, KeyCounts, Message, Totals};

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use connection::{Cut, CuttableListener};
use inbox::Inbox;

/// How long open requests may take once the simulator is told to stop.
const STOP: Duration = Duration::from_secs(2);

/// How the ESP behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct EspConfig {
    /// Where it listens; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Faults are drawn from this.
    pub seed: u64,
    /// How long an answer takes.
    pub delay: Duration,
    /// Requests a second beyond which it answers 429.
    pub rate_limit: Option<u32>,
    /// Shares of faults.
    pub faults: FaultShares,
    /// How long a connection is held open that gets no answer.
    pub hold: Duration,
    /// What 429 and 503 say in `Retry-After`, in seconds.
    pub retry_after_s: u64,
    /// Whether a repeated `Idempotency-Key` is answered as before and taken for the same message.
    pub honour_idempotency: bool,
    /// How many of the latest messages are kept whole.
    pub messages_kept: usize,
}

impl Default for EspConfig {
    /// An ESP without faults on a free port of this machine.
    fn default() -> EspConfig {
        EspConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            delay: Duration::ZERO,
            rate_limit: None,
            faults: FaultShares::default(),
            hold: Duration::from_secs(30),
            retry_after_s: 1,
            honour_idempotency: true,
            messages_kept: 1_000,
        }
    }
}

/// What handlers share.
#[derive(Debug)]
struct Shared {
    config: EspConfig,
    inbox: Mutex<Inbox>,
    stopping: watch::Receiver<bool>,
}

impl Shared {
    /// The inbox. Counts are whole after every request, so a handler that panicked leaves nothing half done.
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as a connection without an answer is held, or until the simulator stops.
    async fn hold(&self) {
        tokio::select! {
            () = tokio::time::sleep(self.config.hold) => {}
            () = until_set(self.stopping.clone()) => {}
        }
    }
}

/// Waits until the flag is set, or nobody is left to set it.
async fn until_set(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await;
}

/// The simulator.
#[derive(Debug)]
pub struct Esp;

impl Esp {
    /// Listens and answers on the current tokio runtime, until [`EspHandle::stop`] or until the handle is dropped.
    pub async fn start(config: EspConfig) -> io::Result<EspHandle> {
        Esp::serve(Inbox::new(config.clone()), config).await
    }

    /// The same, which tells of each message that it takes, in the order in which they came.
    pub async fn start_telling(config: EspConfig, to: Sender<Arrival>) -> io::Result<EspHandle> {
        Esp::serve(Inbox::new(config.clone()).telling(to), config).await
    }

    async fn serve(inbox: Inbox, config: EspConfig) -> io::Result<EspHandle> {
        let listener = TcpListener::bind(config.listen).await?;
        let addr = listener.local_addr()?;
        let (stop, stopping) = watch::channel(false);
        let shared = Arc::new(Shared { config, inbox: Mutex::new(inbox), stopping: stopping.clone() });
        let service = routes::router(shared.clone()).into_make_service_with_connect_info::<Cut>();
        let server = axum::serve(CuttableListener(listener), service).with_graceful_shutdown(until_set(stopping));
        let server = tokio::spawn(async move { server.await });
        Ok(EspHandle { addr, shared, stop, server })
    }
}

/// A running simulator.
#[derive(Debug)]
pub struct EspHandle {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    server: JoinHandle<io::Result<()>>,
}

impl EspHandle {
    /// `http://ADDRESS`, for `esp.base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Behaves otherwise from now on.
    pub fn set_faults(&self, faults: FaultShares) {
        self.shared.inbox().set_faults(faults);
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Totals {
        self.shared.inbox().totals()
    }

    /// What it has seen of one key.
    pub fn seen_key(&self, key: &str) -> Option<KeyCounts> {
        self.shared.inbox().key(key)
    }

    /// What it has seen, by key.
    pub fn seen_keys(&self) -> BTreeMap<String, KeyCounts> {
        self.shared.inbox().keys().map(|(key, counts)| (key.clone(), counts.clone())).collect()
    }

    /// The latest messages it has taken, newest first; no more than `messages_kept`.
    pub fn latest_messages(&self, limit: usize) -> Vec<Message> {
        self.shared.inbox().latest(limit)
    }

    /// Takes no more connections, lets open requests end (those without an answer are cut at once), and gives the
    /// final counts.
    pub async fn stop(self) -> Totals {
        self.stop.send_replace(true);
        let mut server = self.server;
        if tokio::time::timeout(STOP, &mut server).await.is_err() {
            server.abort();
        }
        self.shared.inbox().totals()
    }
}
