//! Postmark ("Email API" in its developer documentation): `POST {base_url}/email`, the server's token in `X-Postmark-Server-Token`,
//! 200 with `ErrorCode` 0 and `MessageID` once it has taken the mail. Postmark knows no idempotency key: a request without an answer is
//! not made again, but waits for the webhooks, which return `Metadata.decision_id`. It has no rate headers, only 429.
//!
//! `/email/batch` takes 500 mails. It is not used: ARCHITECTURE, "One request a mail".

use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::{Accepted, ApiKey, BoxFuture, Esp, SendError, SetupError, answer, endpoint};
use crate::decision::{Decision, DecisionId, Message};

/// Codes that concern the account or the sender, whatever the message ("API error codes" in
/// <https://postmarkapp.com/developer/api/overview>): token, sender signature not found or not confirmed, no credits, account pending,
/// account stopped, no such message stream, one that nothing can be sent to.
const ACCOUNT_CODES: [u32; 8] = [10, 400, 401, 405, 412, 413, 1235, 1236];
/// Postmark is being maintained.
const MAINTENANCE_CODE: u32 = 100;

/// A Postmark server.
#[derive(Debug)]
pub struct Postmark {
    client: Client,
    url: Url,
    token: ApiKey,
    stream: String,
}

impl Postmark {
    /// `stream` is the message stream, `outbound` where an account has no other.
    pub fn new(client: Client, base_url: &str, token: ApiKey, stream: &str) -> Result<Postmark, SetupError> {
        Ok(Postmark { client, url: endpoint(base_url, "/email")?, token, stream: stream.to_owned() })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    from: String,
    to: String,
    subject: &'a str,
    html_body: &'a str,
    text_body: &'a str,
    message_stream: &'a str,
    headers: Vec<Header<'a>>,
    metadata: Metadata,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Header<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct Metadata {
    decision_id: DecisionId,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Said {
    error_code: u32,
    #[serde(rename = "MessageID")]
    message_id: Option<String>,
}

/// The message's headers. Postmark keeps a `Message-ID` of ours only if it is told to.
fn headers(message: &Message) -> Vec<Header<'_>> {
    let ours = [("Message-ID", message.message_id.as_str()), ("X-PM-KeepID", "true")].into_iter();
    let further = message.headers.iter().map(|header| (header.name(), header.value()));
    ours.chain(further).map(|(name, value)| Header { name, value }).collect()
}

/// What the answer says of the message: `ErrorCode` is more exact than the status.
fn judge(answer: Answer, account: &str) -> Result<Accepted, SendError> {
    let said = answer.json::<Said>();
    let code = said.as_ref().map(|said| said.error_code);
    match code {
        Some(0) if answer.status.is_success() => Ok(answer.accepted(said.and_then(|said| said.message_id))),
        Some(code) if ACCOUNT_CODES.contains(&code) => Err(answer.denied(account)),
        Some(MAINTENANCE_CODE) => Err(answer.throttled()),
        Some(_) if answer.status == StatusCode::OK => Err(answer.refused()),
        _ => answer.judged_at("`base_url`", account).map(|answer| answer.accepted(None)),
    }
}

impl Esp for Postmark {
    fn send<'a>(&'a self, message: &'a Message, decision: &'a Decision) -> BoxFuture<'a, Result<Accepted, SendError>> {
        let body = Body {
            from: message.from.quoted(),
            to: message.to.quoted(),
            subject: &message.subject,
            html_body: &message.html,
            text_body: &message.text,
            message_stream: &self.stream,
            headers: headers(message),
            metadata: Metadata { decision_id: decision.decision_id },
        };
        let request = self.client.post(self.url.clone()).header("X-Postmark-Server-Token", self.token.expose());
        let request = request.header("Accept", "application/json").json(&body);
        Box::pin(async move { judge(answer::exchange(request).await?, self.token.origin()) })
    }

    fn honours_idempotency(&self) -> bool {
        false
    }
}
