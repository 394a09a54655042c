//! Amazon SES ("Contents of event data that Amazon SES publishes to Amazon SNS" and "… notification contents" in its developer guide): what
//! SNS brings (`sns`) of a configuration set's events, or of an identity's notifications. Tags of the mail have the decision; notifications
//! have none, so events are what to configure.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use super::event::time_ms;
use super::sns::{Fetch, Message, Sns};
use super::{Event, Provider, Refusal, Said, Soon, Told};
use crate::web::engagement::Kind;
use crate::web::machine::is_machine_agent;

/// SES by way of SNS.
pub struct Ses(Sns);

impl Ses {
    /// Events of these topics, by their ARNs; certificates are fetched with `fetch`.
    pub fn new(topics: Vec<String>, fetch: Arc<dyn Fetch>) -> Ses {
        Ses(Sns::new(topics, fetch))
    }

    async fn said(&self, told: &Told) -> Result<Said<'_>, Refusal> {
        let (message, mut said) = self.0.read(told).await?;
        if said.first.is_none() {
            said.events = event(&message).into_iter().collect();
            said.passed_over = 1 - said.events.len();
        }
        Ok(said)
    }
}

impl Provider for Ses {
    fn name(&self) -> &'static str {
        "ses"
    }

    fn read<'a>(&'a self, told: &'a Told) -> Soon<'a, Result<Said<'a>, Refusal>> {
        Box::pin(self.said(told))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct One {
    #[serde(alias = "notificationType")]
    event_type: String,
    mail: Mail,
    bounce: Option<Happened>,
    complaint: Option<Happened>,
    delivery: Option<Happened>,
    open: Option<Happened>,
    click: Option<Happened>,
    subscription: Option<Happened>,
}

#[derive(Deserialize)]
struct Mail {
    #[serde(default)]
    tags: HashMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Happened {
    timestamp: Option<String>,
    bounce_type: Option<String>,
    link: Option<String>,
    user_agent: Option<String>,
    new_topic_preferences: Option<Preferences>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preferences {
    #[serde(default)]
    unsubscribe_all: bool,
}

fn event(message: &Message) -> Option<Event> {
    let one: One = serde_json::from_str(&message.message).ok()?;
    let decision = one.mail.tags.get("decision_id")?.first()?.parse().ok()?;
    let (kind, happened) = match one.event_type.as_str() {
        "Delivery" => (Some(Kind::Delivered), one.delivery),
        "Open" => (Some(Kind::Opened), one.open),
        "Click" => (Some(Kind::Clicked), one.click),
        "Complaint" => (Some(Kind::Complained), one.complaint),
        "Bounce" => {
            let is_for_good = one.bounce.as_ref().is_some_and(|it| it.bounce_type.as_deref() == Some("Permanent"));
            (is_for_good.then_some(Kind::Bounced), one.bounce)
        }
        "Subscription" => {
            let preferences = one.subscription.as_ref().and_then(|it| it.new_topic_preferences.as_ref());
            (preferences.is_some_and(|it| it.unsubscribe_all).then_some(Kind::Unsubscribed), one.subscription)
        }
        "Send" | "DeliveryDelay" => (None, None),
        _ => return None,
    };
    let Happened { timestamp, link, user_agent, .. } = happened.unwrap_or(NOTHING);
    let at_ms = timestamp.as_deref().or(Some(&message.timestamp)).and_then(time_ms)?;
    let machine =
        matches!(kind, Some(Kind::Opened | Kind::Clicked)) && user_agent.as_deref().is_some_and(is_machine_agent);
    let url = link.filter(|_| kind == Some(Kind::Clicked));
    Some(Event { id: message.message_id.clone(), decision, kind, at_ms, url, machine })
}

/// Of what SES says nothing about.
const NOTHING: Happened =
    Happened { timestamp: None, bounce_type: None, link: None, user_agent: None, new_topic_preferences: None };
