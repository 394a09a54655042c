//! SendGrid, v3 Mail Send: `POST {base_url}/v3/mail/send`, a bearer key, 202 with `X-Message-Id` once it has taken the mail.
//! SendGrid knows no idempotency key: a request without an answer is not made again, but waits for the event webhook,
//! which returns `custom_args.decision_id`.

use reqwest::{Client, Url};
use serde::Serialize;

use super::http::{Address, Headers};
use super::{Accepted, ApiKey, BoxFuture, Esp, SendError, SetupError, answer, endpoint};
use crate::decision::{DecisionId, Message};

/// Where SendGrid is, unless configured otherwise.
pub const BASE_URL: &str = "https://api.sendgrid.com";

/// A SendGrid account.
#[derive(Debug)]
pub struct SendGrid {
    client: Client,
    url: Url,
    key: ApiKey,
}

impl SendGrid {
    /// `base_url` is [`BASE_URL`], or a simulator's.
    pub fn new(client: Client, base_url: &str, key: ApiKey) -> Result<SendGrid, SetupError> {
        Ok(SendGrid { client, url: endpoint(base_url, "/v3/mail/send")?, key })
    }
}

#[derive(Serialize)]
struct Body<'a> {
    personalizations: [Personalization<'a>; 1],
    from: Address<'a>,
    subject: &'a str,
    /// Plain text first: SendGrid refuses any other order.
    content: [Content<'a>; 2],
    headers: Headers<'a>,
    custom_args: CustomArgs,
}

#[derive(Serialize)]
struct Personalization<'a> {
    to: [Address<'a>; 1],
}

#[derive(Serialize)]
struct Content<'a> {
    r#type: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
struct CustomArgs {
    decision_id: DecisionId,
}

impl Esp for SendGrid {
    fn send<'a>(&'a self, message: &'a Message, key: DecisionId) -> BoxFuture<'a, Result<Accepted, SendError>> {
        let body = Body {
            personalizations: [Personalization { to: [(&message.to).into()] }],
            from: (&message.from).into(),
            subject: &message.subject,
            content: [
                Content { r#type: "text/plain", value: &message.text },
                Content { r#type: "text/html", value: &message.html },
            ],
            headers: Headers(message),
            custom_args: CustomArgs { decision_id: key },
        };
        let request = self.client.post(self.url.clone()).bearer_auth(self.key.expose()).json(&body);
        Box::pin(async move {
            let taken = answer::exchange(request).await?;
            let esp_id = taken.headers.get("x-message-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
            Ok(Accepted { esp_id })
        })
    }

    fn honours_idempotency(&self) -> bool {
        false
    }
}
