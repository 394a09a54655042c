//! Those who get the demo's mails: some are bounced, some open, some follow a link, a few want no more. In: what the simulated ESP has
//! taken. Out: requests for the mails' own links, over HTTP as a mail program makes them; and of what an ESP's webhook would tell,
//! `engagement` records. Who does what follows from the mail's id alone.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use beckon_dataflows::model::Stream;
use beckon_datagen::esp::{EspHandle, Message};
use reqwest::Client;
use reqwest::header::USER_AGENT;
use reqwest::redirect::Policy;
use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

use crate::pipeline::live::WallClock;
use crate::web::publish::{Publish, Topic};

/// How often it is looked for new mails.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How many of the latest are looked at.
const LATEST: usize = 500;

/// How long, at most, a mail lies before it is opened, ms of the shop's time.
const LIES_MOST_MS: u64 = 40 * 60_000;

/// A person's mail program.
const PERSON: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148";

/// A prefetch: it opens what nobody has read.
const MACHINE: &str = "Mozilla/5.0";

/// What becomes of mails, as shares of all; the rest is delivered and never opened.
const BOUNCED: f64 = 0.01;
const PREFETCHED: f64 = 0.15;
const OPENED: f64 = 0.38;
const CLICKED_OF_OPENED: f64 = 0.36;
const UNSUBSCRIBED_OF_OPENED: f64 = 0.01;

/// The recipients of one shop.
pub struct Recipients {
    /// Where mails arrive.
    pub esp: Arc<EspHandle>,
    /// What mails' links begin with.
    pub base_url: String,
    /// Where what a webhook would tell goes.
    pub engagement: Topic,
    /// The shop's clock, and how many times faster than life it is.
    pub clock: WallClock,
    /// See `clock`.
    pub speed: u32,
}

impl Recipients {
    /// A producer of engagement for `brokers`.
    pub fn topic(brokers: &str) -> anyhow::Result<Topic> {
        Ok(Topic::open(brokers, Stream::Engagement.name())?)
    }

    /// Reads mails until told to stop.
    pub async fn run(self, stop: Arc<AtomicBool>) -> anyhow::Result<()> {
        let client = Client::builder().no_proxy().redirect(Policy::none()).timeout(Duration::from_secs(5)).build()?;
        let (recipients, mut seen) = (Arc::new(self), HashSet::new());
        while !stop.load(Ordering::Relaxed) {
            for mail in recipients.esp.latest_messages(LATEST) {
                if seen.insert(mail.message_id.clone()) {
                    let (recipients, client) = (recipients.clone(), client.clone());
                    tokio::spawn(async move {
                        // A demo that ends meanwhile leaves mails unread.
                        if let Err(fault) = recipients.get(&client, &mail).await {
                            tracing::debug!("a mail of the demo was not read: {fault:#}");
                        }
                    });
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Somebody gets a mail.
    async fn get(&self, client: &Client, mail: &Message) -> anyhow::Result<()> {
        let Some(id) = mail.key.as_deref() else { return Ok(()) };
        let draw = |what: &str| xxh3_64(format!("{what} {id}").as_bytes()) as f64 / 2f64.powi(64);
        if draw("bounced") < BOUNCED {
            return self.tell("bounced", id).await;
        }
        self.tell("delivered", id).await?;
        let html = mail.body["html"].as_str().unwrap_or_default();
        let (pixel, link, leave) = (self.link(html, "o"), self.link(html, "c"), self.link(html, "u"));
        if draw("prefetched") < PREFETCHED {
            follow(client, pixel.as_deref(), MACHINE).await?;
        }
        if draw("opened") >= OPENED {
            return Ok(());
        }
        let lies_ms = (draw("lies") * LIES_MOST_MS as f64) as u64 / u64::from(self.speed.max(1));
        tokio::time::sleep(Duration::from_millis(lies_ms)).await;
        follow(client, pixel.as_deref(), PERSON).await?;
        if draw("clicked") < CLICKED_OF_OPENED {
            follow(client, link.as_deref(), PERSON).await?;
        }
        if let Some(leave) = leave.filter(|_| draw("unsubscribed") < UNSUBSCRIBED_OF_OPENED) {
            client.post(leave).header(USER_AGENT, PERSON).send().await?;
        }
        Ok(())
    }

    /// The first link of a kind in a mail.
    fn link(&self, html: &str, kind: &str) -> Option<String> {
        let begin = format!("{}/{kind}/", self.base_url);
        let rest = &html[html.find(&begin)?..];
        rest.split(['"', '\'', '<', ' ']).next().map(str::to_owned)
    }

    /// What an ESP's webhook would tell.
    async fn tell(&self, kind: &str, id: &str) -> anyhow::Result<()> {
        let event_id = format!("{kind}-{id}");
        let record = json!({ "event_id": event_id, "type": kind, "decision_id": id, "occurred_at": (self.clock)() });
        Ok(self.engagement.publish(&event_id, record.to_string().as_bytes()).await?)
    }
}

async fn follow(client: &Client, link: Option<&str>, agent: &str) -> reqwest::Result<()> {
    if let Some(link) = link {
        client.get(link).header(USER_AGENT, agent).send().await?;
    }
    Ok(())
}
