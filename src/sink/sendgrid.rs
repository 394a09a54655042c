//! SendGrid, v3 Mail Send ("Mail Send" in the v3 API reference): `POST {base_url}/v3/mail/send`, a bearer key, 202 with
//! `X-Message-Id` once it has taken the mail. SendGrid knows no idempotency key: a request without an answer is not made again, but
//! waits for the event webhook, which returns `custom_args.decision_id`. `X-RateLimit-Reset` is an epoch second. Statuses are those of
//! <https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/errors>; 401 is also what it says when the credits
//! are used up, and 403 of a sender that is not verified.
//!
//! Its `personalizations` are one mail to many: no batch of mails that differ.

use reqwest::{Client, StatusCode, Url};
use serde::Serialize;

use super::answer::Answer;
use super::http::{Address, Headers};
use super::{Accepted, ApiKey, BoxFuture, Esp, SendError, SetupError, answer, endpoint};
use crate::decision::{Decision, DecisionId, Message};

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

/// What the answer says of the message. 451: the account's data are to stay in another region than `base_url`'s.
fn judge(answer: Answer, account: &str) -> Result<Accepted, SendError> {
    if answer.status == StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS {
        return Err(answer.denied("`base_url`"));
    }
    let answer = answer.judged_at("`base_url`", account)?;
    Ok(answer.accepted(answer.header("x-message-id").map(str::to_owned)))
}

impl Esp for SendGrid {
    fn send<'a>(&'a self, message: &'a Message, decision: &'a Decision) -> BoxFuture<'a, Result<Accepted, SendError>> {
        let body = Body {
            personalizations: [Personalization { to: [(&message.to).into()] }],
            from: (&message.from).into(),
            subject: &message.subject,
            content: [
                Content { r#type: "text/plain", value: &message.text },
                Content { r#type: "text/html", value: &message.html },
            ],
            headers: Headers(message),
            custom_args: CustomArgs { decision_id: decision.decision_id },
        };
        let request = self.client.post(self.url.clone()).bearer_auth(self.key.expose()).json(&body);
        Box::pin(async move { judge(answer::exchange(request).await?, self.key.origin()) })
    }

    fn honours_idempotency(&self) -> bool {
        false
    }
}
