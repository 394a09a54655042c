//! Resend ("Send Email", "Idempotency Keys" and "Errors", <https://resend.com/docs/api-reference/errors>, in its API reference): `POST {base_url}/emails`, a bearer key, 200 with an
//! `id` once it has taken the mail. It honours `Idempotency-Key` for 24 h. Webhooks return the tag `decision_id`. `ratelimit-remaining`
//! and `ratelimit-reset` (seconds) come with every answer, `retry-after` with a 429.
//!
//! `/emails/batch` takes 100 mails under one key, and one that is wrong fails all. It is not used: ARCHITECTURE, "One request a mail".

use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::http::Further;
use super::{Accepted, ApiKey, BoxFuture, Esp, SendError, SetupError, answer, endpoint};
use crate::decision::{Decision, DecisionId, Message};

/// A Resend account.
#[derive(Debug)]
pub struct Resend {
    client: Client,
    url: Url,
    key: ApiKey,
}

impl Resend {
    /// `base_url` is Resend's, or a simulator's.
    pub fn new(client: Client, base_url: &str, key: ApiKey) -> Result<Resend, SetupError> {
        Ok(Resend { client, url: endpoint(base_url, "/emails")?, key })
    }
}

#[derive(Serialize)]
struct Body<'a> {
    from: String,
    to: [String; 1],
    subject: &'a str,
    html: &'a str,
    text: &'a str,
    headers: Further<'a>,
    tags: [Tag; 1],
}

#[derive(Serialize)]
struct Tag {
    name: &'static str,
    value: DecisionId,
}

#[derive(Deserialize)]
struct Said {
    id: Option<String>,
    /// Of an error.
    name: Option<String>,
    /// Of an error, for people; it alone tells a wrong key from a wrong field.
    message: Option<String>,
}

/// Whether an error with the status of a bad request is one of the account or the sender: a key that does not look like one, and a
/// `from` that Resend takes from nobody.
fn is_about_the_sender(status: StatusCode, said: &Said) -> bool {
    match (status, said.name.as_deref()) {
        (StatusCode::BAD_REQUEST, Some("validation_error")) => {
            said.message.as_deref().is_some_and(|message| message.starts_with("API key is invalid"))
        }
        (StatusCode::UNPROCESSABLE_ENTITY, Some("invalid_from_address")) => true,
        _ => false,
    }
}

/// What the answer says of the message.
fn judge(answer: Answer, account: &str) -> Result<Accepted, SendError> {
    let said = answer.json::<Said>();
    if answer.status == StatusCode::CONFLICT {
        return match said.and_then(|said| said.name).as_deref() {
            // A mail of this key, rendered at another moment, was taken before: the decision's, whatever stood in it.
            Some("invalid_idempotent_request") => Ok(answer.accepted(None)),
            // The request before this one is still under way.
            _ => Err(answer.unknown()),
        };
    }
    if said.as_ref().is_some_and(|said| is_about_the_sender(answer.status, said)) {
        return Err(answer.denied(account));
    }
    let answer = answer.judged_at("`base_url`", account)?;
    Ok(answer.accepted(said.and_then(|said| said.id)))
}

impl Esp for Resend {
    fn send<'a>(&'a self, message: &'a Message, decision: &'a Decision) -> BoxFuture<'a, Result<Accepted, SendError>> {
        let key = decision.decision_id;
        let body = Body {
            from: message.from.quoted(),
            to: [message.to.quoted()],
            subject: &message.subject,
            html: &message.html,
            text: &message.text,
            headers: Further(message),
            tags: [Tag { name: "decision_id", value: key }],
        };
        let request = self.client.post(self.url.clone()).bearer_auth(self.key.expose());
        let request = request.header("Idempotency-Key", key.to_string()).json(&body);
        Box::pin(async move { judge(answer::exchange(request).await?, self.key.origin()) })
    }

    fn honours_idempotency(&self) -> bool {
        true
    }
}
