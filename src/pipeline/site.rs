//! What a service answers over HTTP (SPEC §8), on a thread of its own: a browser that is slow delays no decision and no mail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use axum::Router;
use beckon_dataflows::model::Stream;
use tokio::sync::oneshot;

use super::live::WallClock;
use crate::config::{Config, Kafka, Web};
use crate::kpis::Reader;
use crate::tracking::Seal;
use crate::web::answer::{self, Api};
use crate::web::publish::Topic;
use crate::web::track::{self, Tracker};
use crate::web::{listen, routes, serve};

/// The running web server.
pub struct Site {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Site {
    /// Starts answering, where `[web]` is configured. Fails when the address cannot be listened on, or a producer cannot be made.
    pub fn start(config: &Config, kpis: Option<Reader>, clock: WallClock) -> anyhow::Result<Option<Site>> {
        let Some(web) = &config.web else { return Ok(None) };
        let kafka = config.kafka.as_ref().ok_or_else(|| anyhow::anyhow!("no [kafka] is configured"))?;
        let routes = routes(tracker(config, kafka, clock)?.merge(answers(web, kpis)?));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(listen(web.listen));
        let listener = listener.with_context(|| {
            format!("cannot listen on {}: is something else listening there? Set another `listen` in [web]", web.listen)
        })?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("web".into())
            .spawn(move || runtime.block_on(serve(listener, routes, async { drop(stopped.await) })))?;
        Ok(Some(Site { address, stop, thread }))
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what was asked already, and ends.
    pub fn stop(self) -> anyhow::Result<()> {
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| anyhow::anyhow!("the web server\'s thread failed"))?.context("the web server")
    }
}

/// What is told to whoever has the token, where there is one.
fn answers(web: &Web, kpis: Option<Reader>) -> anyhow::Result<Router> {
    let (Some(token), Some(kpis)) = (&web.api_token, kpis) else { return Ok(Router::new()) };
    let token = token.secret().map_err(anyhow::Error::msg)?;
    let report = Box::new(move || serde_json::to_string(&kpis.report()).unwrap_or_default());
    Ok(answer::routes(Api { token, kpis: report }))
}

/// The links of mails, where they are configured.
fn tracker(config: &Config, kafka: &Kafka, clock: WallClock) -> anyhow::Result<Router> {
    let Some(tracking) = &config.tracking else { return Ok(Router::new()) };
    let secret = tracking.secret.secret().map_err(anyhow::Error::msg)?;
    let publish = Topic::open(&kafka.brokers, kafka.topic(Stream::Engagement)).context("a producer of engagement")?;
    let now_ms = Box::new(move || clock());
    Ok(track::routes(Tracker { seal: Seal::of(&secret), publish: Arc::new(publish), now_ms }))
}
