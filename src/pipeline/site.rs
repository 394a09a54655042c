//! What a service answers over HTTP (SPEC §8), on a thread of its own: a browser that is slow delays no decision and no mail.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::http::HeaderValue;
use beckon_dataflows::model::Stream;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::answer::{Answers, Chooser, Desk, Now};
use super::live::WallClock;
use super::service::{Readings, Service};
use super::told::ToldByEsps;
use super::vitals::{self, Watched};
use crate::config::{Collect, Config, Kafka, SecretSource, Web, Webhooks};
use crate::decode::Check;
use crate::secret::Secret;
use crate::signing::{MacKey, P256Key};
use crate::tracking::Seal;
use crate::web;
use crate::web::answer::{self, Api};
use crate::web::choices::Choices;
use crate::web::collect::{self, Collector, Letters, WriteKey, WriteKeys};
use crate::web::dashboard;
use crate::web::letters::{self, LettersApi};
use crate::web::live::{self, LiveApi};
use crate::web::publish::Topic;
use crate::web::track::{self, Tracker};
use crate::web::webhooks::{self, Https, Mailgun, Postmark, Provider, Receiver, Replays, Resend, SendGrid, Ses};
use crate::web::{Queue, listen, routes, serve};

/// The room for webhooks that the broker has not acknowledged, in bytes.
const WEBHOOKS_BYTES_MAX: usize = 32 << 20;

/// The running web server.
pub struct Site {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

/// What of a service the site tells, or tells it.
#[derive(Default)]
pub struct Behind {
    /// What can be told of customers and decisions, to who may read it.
    pub answers: Option<Answers>,
    /// The deliveries that webhooks are of, where they are this process's.
    pub told: Option<Arc<ToldByEsps>>,
    /// How it does.
    pub readings: Option<Readings>,
}

impl Behind {
    /// All that a service has.
    pub fn of(service: &Service) -> Behind {
        Behind { answers: service.answers(), told: service.told(), readings: Some(service.readings()) }
    }
}

impl Site {
    /// Starts answering on `threads` threads, where `[web]` is configured, with what is `behind` it. Fails when the address cannot be listened
    /// on, or a producer cannot be made.
    pub fn start(config: &Config, threads: usize, behind: Behind, clock: WallClock) -> anyhow::Result<Option<Site>> {
        let Some(web) = &config.web else { return Ok(None) };
        let kafka = config.kafka.as_ref().ok_or_else(|| anyhow::anyhow!("no [kafka] is configured"))?;
        let Behind { answers, told, readings } = behind;
        web::vitals::begin();
        let mut queues = Vec::new();
        let live = live(config, answers.clone())?;
        let tracker = tracker(config, kafka, answers.clone(), clock.clone())?;
        let (answers, feeding) = answering(config, web, answers, &clock)?;
        let mut parts = tracker.merge(live).merge(answers);
        if let Some(collect) = &config.collect {
            let queue = Queue::new(collect.queue_bytes);
            queues.push(("collect", queue.clone()));
            parts = parts.merge(collector(config, collect, kafka, clock.clone(), queue)?);
        }
        if let (Some(hooks), Some(told)) = (&config.webhooks, told) {
            let queue = Queue::new(WEBHOOKS_BYTES_MAX);
            queues.push(("webhooks", queue.clone()));
            parts = parts.merge(receiver(hooks, told, kafka, clock, queue)?);
        }
        let vitals = vitals::of(config, Watched { readings, queues })?;
        let routes = routes(parts.merge(web::vitals::routes(vitals)));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        let listener = runtime.block_on(listen(web.listen));
        let listener = listener.with_context(|| {
            format!("cannot listen on {}: is something else listening there? Set another `listen` in [web]", web.listen)
        })?;
        let address = listener.local_addr()?;
        runtime.spawn(web::vitals::upkeep());
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("web".into())
            .spawn(move || runtime.block_on(answer_until(stopped, listener, routes, feeding)))?;
        Ok(Some(Site { address, stop, thread }))
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what was asked already, and ends.
    pub fn stop(self) -> anyhow::Result<()> {
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| anyhow::anyhow!("the web server's thread failed"))
    }
}

/// Answers until told to end. Viewers of what flows are let go first: they would never end by themselves.
async fn answer_until(stopped: oneshot::Receiver<()>, listener: TcpListener, routes: Router, feeding: Option<Feeding>) {
    let feeding = feeding.map(tokio::spawn);
    let end = async {
        drop(stopped.await);
        feeding.iter().for_each(JoinHandle::abort);
    };
    serve(listener, routes, end).await;
}

/// Tells viewers what flows.
type Feeding = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is told to whoever has the token, where there is one: answers, dead letters, and the dashboard that shows both.
fn answering(
    config: &Config,
    web: &Web,
    answers: Option<Answers>,
    clock: &WallClock,
) -> anyhow::Result<(Router, Option<Feeding>)> {
    let (Some(token), Some(answers), Some(kafka)) = (&web.api_token, answers, &config.kafka) else {
        return Ok((Router::new(), None));
    };
    let token = token.secret().map_err(anyhow::Error::msg)?;
    let api = Arc::new(Api { token, is_open: web.open_figures, source: Arc::new(answers) });
    let letters = Arc::new(Desk::open(&config.state, kafka, clock.clone())?);
    let letters = letters::routes(LettersApi { api: api.clone(), letters });
    let (feed, feeding) = dashboard::feed(api.source.clone());
    let routes = answer::routes(api.clone()).merge(letters).merge(dashboard::routes(api, feed));
    Ok((routes, Some(Box::pin(feeding))))
}

/// The links of mails, where they are configured. Which mails are wanted is asked where there is a service that knows.
fn tracker(config: &Config, kafka: &Kafka, answers: Option<Answers>, clock: WallClock) -> anyhow::Result<Router> {
    let Some(tracking) = &config.tracking else { return Ok(Router::new()) };
    let secret = tracking.secret.secret().map_err(anyhow::Error::msg)?;
    let publish = Topic::open(&kafka.brokers, kafka.topic(Stream::Engagement)).context("a producer of engagement")?;
    let choices = answers.map(|answers| -> Arc<dyn Choices> { Chooser::of(answers, config) });
    Ok(track::routes(Tracker::new(Seal::of(&secret), Arc::new(publish), move || clock(), choices)))
}

/// The webhooks of the ESPs that are configured.
fn receiver(
    hooks: &Webhooks,
    told: Arc<ToldByEsps>,
    kafka: &Kafka,
    clock: WallClock,
    queue: Queue,
) -> anyhow::Result<Router> {
    let publish = Topic::open(&kafka.brokers, kafka.topic(Stream::Engagement)).context("a producer of engagement")?;
    let receiver = Receiver {
        publish: Arc::new(publish),
        deliveries: told,
        replays: Replays::default(),
        queue,
        now_ms: Box::new(move || clock()),
    };
    Ok(webhooks::routes(receiver, providers(hooks)?))
}

fn providers(hooks: &Webhooks) -> anyhow::Result<Vec<Box<dyn Provider>>> {
    let secret = |source: &SecretSource| -> anyhow::Result<Secret> { source.secret().map_err(anyhow::Error::msg) };
    let mut providers: Vec<Box<dyn Provider>> = Vec::new();
    if let Some(key) = &hooks.sendgrid {
        let key = P256Key::of(&secret(key)?).context("the key of SendGrid's webhook")?;
        providers.push(Box::new(SendGrid::new(key)));
    }
    if let Some(postmark) = &hooks.postmark {
        providers.push(Box::new(Postmark::new(&postmark.username, secret(&postmark.password)?)));
    }
    if let Some(key) = &hooks.mailgun {
        providers.push(Box::new(Mailgun::new(MacKey::of(&secret(key)?))));
    }
    if let Some(topics) = &hooks.ses {
        providers.push(Box::new(Ses::new(topics.clone(), Arc::new(Https::new()?))));
    }
    if let Some(key) = &hooks.resend {
        let key = MacKey::of_svix(&secret(key)?).context("the key of Resend's webhook")?;
        providers.push(Box::new(Resend::new(key)));
    }
    Ok(providers)
}

/// What is shown when mails are opened, where their links are configured and there is a service that knows.
fn live(config: &Config, answers: Option<Answers>) -> anyhow::Result<Router> {
    let (Some(tracking), Some(answers)) = (&config.tracking, answers) else { return Ok(Router::new()) };
    let secret = tracking.secret.secret().map_err(anyhow::Error::msg)?;
    Ok(live::routes(LiveApi::new(Seal::of(&secret), Arc::new(Now::of(answers, config)))))
}

/// What shops and their pages tell, where it is configured.
fn collector(
    config: &Config,
    collect: &Collect,
    kafka: &Kafka,
    clock: WallClock,
    queue: Queue,
) -> anyhow::Result<Router> {
    let key = |key: &crate::config::WriteKey| -> anyhow::Result<WriteKey> {
        Ok(WriteKey::new(&key.name, key.profiles, key.secret.secret().map_err(anyhow::Error::msg)?))
    };
    let origins = collect.origins.as_ref().map(|origins| origins.iter().map(|it| HeaderValue::from_str(it)).collect());
    let topic = |stream: Stream| {
        let opened = Topic::open(&kafka.brokers, kafka.topic(stream));
        opened.with_context(|| format!("a producer of {stream}")).map(Arc::new)
    };
    Ok(collect::routes(Collector {
        keys: WriteKeys::new(collect.keys.iter().map(key).collect::<anyhow::Result<_>>()?),
        origins: origins.transpose()?,
        clickstream: topic(Stream::Clickstream)?,
        profiles: topic(Stream::Profiles)?,
        letters: Arc::new(Letters::open(&config.state)?),
        queue,
        check: Check::new(),
        now_ms: Box::new(move || clock()),
    }))
}
