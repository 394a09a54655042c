//! Mailgun, v3 ("Messages" in its API reference): `POST {base_url}/v3/DOMAIN/messages`, a form, `api` and the key as basic
//! authentication, 200 with an `id` once it has queued the mail. Mailgun knows no idempotency key: a request without an answer is not made
//! again, but waits for the webhooks, which return `user-variables.decision_id`. 429 says by its headers when to come back
//! ("API Response Codes", <https://documentation.mailgun.com/docs/mailgun/quickstart-guide/responses>).
//!
//! Its batches (`recipient-variables`) are one text with gaps to at most 1,000: no batch of mails that differ.

use reqwest::{Client, Url};
use serde::Deserialize;

use super::answer::Answer;
use super::{Accepted, ApiKey, BoxFuture, Esp, SendError, SetupError, answer, endpoint};
use crate::decision::{Decision, Message};

/// What Mailgun says of the domain rather than of a mail, with 400, 403, 420 or 429: it is unverified, disabled, on probation, or has sent
/// as much as it may for now. No list of theirs has the last; they explain it in <https://github.com/mailgun/mailgun-java/issues/50>.
const NOT_ALLOWED: &str = "is not allowed to send";
/// In the last case, as in `recipient limit exceeded, try again after Mon, 25 Aug 2025 07:00:31 UTC`. It may lack the time.
const LIMIT_EXCEEDED: &str = "limit exceeded";
/// Before that time.
const AGAIN_AFTER: &str = "try again after ";

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
    /// For people.
    message: Option<String>,
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

/// What the answer says of the message.
fn judge(answer: Answer, account: &str) -> Result<Accepted, SendError> {
    let said = answer.json::<Said>();
    let message = said.as_ref().and_then(|said| said.message.as_deref()).unwrap_or_default();
    if answer.status.is_client_error() && message.contains(NOT_ALLOWED) {
        let is_for_now = message.contains(LIMIT_EXCEEDED);
        return Err(if is_for_now { answer.throttled_until(AGAIN_AFTER) } else { answer.denied(account) });
    }
    // No such domain, or not yet known everywhere.
    let answer = answer.judged_at("`domain` and `base_url`", account)?;
    Ok(answer.accepted(said.and_then(|said| said.id)))
}

impl Esp for Mailgun {
    fn send<'a>(&'a self, message: &'a Message, decision: &'a Decision) -> BoxFuture<'a, Result<Accepted, SendError>> {
        let request = self.client.post(self.url.clone()).basic_auth("api", Some(self.key.expose()));
        let request = request.form(&form(message, decision));
        Box::pin(async move { judge(answer::exchange(request).await?, self.key.origin()) })
    }

    fn honours_idempotency(&self) -> bool {
        false
    }
}
