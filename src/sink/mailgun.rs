//! Mailgun, v3 ("Messages" in its API reference): `POST {base_url}/v3/DOMAIN/messages`, a form, `api` and the key as basic
//! authentication, 200 with an `id` once it has queued the mail. Mailgun knows no idempotency key: a request without an answer is not made
//! again, but waits for the webhooks, which return `user-variables.decision_id`. 429 says by its headers when to come back.
//!
//! Its batches (`recipient-variables`) are one text with gaps to at most 1,000: no batch of mails that differ.

use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use super::{Accepted, ApiKey, BoxFuture, Esp, SendError, SetupError, answer, endpoint};
use crate::decision::{Decision, Message};

/// A Mailgun domain.
#[derive(Debug)]
pub struct Mailgun {
    client: Client,
    url: Url,
    key: ApiKey,
}

impl Mailgun {
    /// `base_url` is that of the account's region, or a simulator's; `domain` the sending domain.
    pub fn new(client: Client, base_url: &str, key: ApiKey, domain: &str) -> Result<Mailgun, SetupError> {
        Ok(Mailgun { client, url: endpoint(base_url, &format!("/v3/{domain}/messages"))?, key })
    }
}

#[derive(Deserialize)]
struct Said {
    id: Option<String>,
}

/// The form's fields: `h:` headers, `v:` what webhooks return.
fn form(message: &Message, decision: &Decision) -> Vec<(String, String)> {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut form = vec![
        field("from", &message.from.quoted()),
        field("to", &message.to.quoted()),
        field("subject", &message.subject),
        field("text", &message.text),
        field("html", &message.html),
        field("h:Message-Id", &message.message_id),
        field("v:decision_id", &decision.decision_id.to_string()),
    ];
    form.extend(message.headers.iter().map(|header| field(&format!("h:{}", header.name()), header.value())));
    form
}

impl Esp for Mailgun {
    fn send<'a>(&'a self, message: &'a Message, decision: &'a Decision) -> BoxFuture<'a, Result<Accepted, SendError>> {
        let request = self.client.post(self.url.clone()).basic_auth("api", Some(self.key.expose()));
        let request = request.form(&form(message, decision));
        Box::pin(async move {
            let answer = answer::exchange(request).await?;
            // No such domain, or not yet known everywhere.
            if answer.status == StatusCode::NOT_FOUND {
                return Err(answer.denied(self.key.origin()));
            }
            let answer = answer.judged(self.key.origin())?;
            Ok(answer.accepted(answer.json::<Said>().and_then(|said| said.id)))
        })
    }

    fn honours_idempotency(&self) -> bool {
        false
    }
}
