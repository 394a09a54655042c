//! The generic HTTP ESP (`kind = "http"`): a small contract that a shop's own mail service, or a simulator, can fulfil; or, with a body of
//! the configuration's own, the one of any service that takes JSON.
//!
//! ```text
//! POST {base_url}/send                             (or another `path`)
//! Content-Type: application/json
//! Authorization: Bearer API_KEY                    (when a key is configured; or the key alone in `auth_header`)
//! Idempotency-Key: DECISION_ID
//!
//! {"decision_id":"…","as_of":"2026-01-01T10:30:00.000Z","to":{"email":"a@example.com"},"from":{"email":"shop@example.com","name":"Shop"},
//!  "subject":"…","text":"…","html":"…","headers":{"Message-ID":"<DECISION_ID@example.com>"}}
//! ```
//!
//! `as_of` is the tick that decided it: how old the decision is, is for whoever wants to know.
//!
//! It answers any 2xx once it has taken the message, with `{"id":"…"}` in the body if it likes; 429 or 503, with
//! `Retry-After` if it likes, when it has not and wants to be asked again; 401 or 403 when it refuses the key; any other 4xx to refuse
//! the message for good. It honours the key: a second request of one key gives the first one's answer and no second mail.

use reqwest::header::HeaderName;
use reqwest::{Client, Url};
use serde::{Deserialize, Serialize, Serializer};

use super::{Accepted, ApiKey, BoxFuture, Esp, SendError, SetupError, answer, endpoint};
use crate::body_template::BodyTemplate;
use crate::decision::{Decision, DecisionId, Mailbox, Message, Moment};

/// Who is asked where no key is configured.
const NO_KEY: &str = "`api_key_env`: none is configured";

/// A service that fulfils the contract above.
#[derive(Debug)]
pub struct Http {
    client: Client,
    url: Url,
    key: Option<ApiKey>,
    honours_idempotency: bool,
    auth_header: Option<HeaderName>,
    body: Option<BodyTemplate>,
}

/// Where a service differs from the contract.
#[derive(Debug, Default)]
pub struct Differs {
    /// Where requests go below `base_url`; `/send` unless given.
    pub path: Option<String>,
    /// The header that the key alone goes into.
    pub auth_header: Option<String>,
    /// The body of requests.
    pub body: Option<BodyTemplate>,
}

impl Http {
    /// `base_url` is where `/send` is; `honours_idempotency` whether the service keeps the last sentence of the contract.
    pub fn new(
        client: Client,
        base_url: &str,
        key: Option<ApiKey>,
        honours_idempotency: bool,
        differs: Differs,
    ) -> Result<Http, SetupError> {
        let Differs { path, auth_header, body } = differs;
        let url = endpoint(base_url, path.as_deref().unwrap_or("/send"))?;
        let header = |name: String| name.parse().map_err(|_| SetupError::Header(name));
        let auth_header = auth_header.map(header).transpose()?;
        Ok(Http { client, url, key, honours_idempotency, auth_header, body })
    }
}

#[derive(Serialize)]
struct Body<'a> {
    decision_id: DecisionId,
    as_of: Moment,
    to: Address<'a>,
    from: Address<'a>,
    subject: &'a str,
    text: &'a str,
    html: &'a str,
    headers: Headers<'a>,
}

/// How this contract and SendGrid write a mailbox.
#[derive(Serialize)]
pub(super) struct Address<'a> {
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

impl<'a> From<&'a Mailbox> for Address<'a> {
    fn from(mailbox: &'a Mailbox) -> Self {
        Address { email: &mailbox.address, name: mailbox.name.as_deref() }
    }
}

/// Headers of the mail itself, as an object: the `Message-ID` and what else the message has.
pub(super) struct Headers<'a>(pub &'a Message);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let own = self.0.headers.iter().map(|header| (header.name(), header.value()));
        serializer.collect_map(std::iter::once(("Message-ID", self.0.message_id.as_str())).chain(own))
    }
}

/// The same without the `Message-ID`, for ESPs that write their own.
pub(super) struct Further<'a>(pub &'a Message);

impl Serialize for Further<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.headers.iter().map(|header| (header.name(), header.value())))
    }
}

/// What services call the name of a message.
#[derive(Deserialize)]
struct Said {
    #[serde(alias = "message_id", alias = "messageId", alias = "MessageID")]
    id: Option<String>,
}

impl Esp for Http {
    fn send<'a>(&'a self, message: &'a Message, decision: &'a Decision) -> BoxFuture<'a, Result<Accepted, SendError>> {
        let key = decision.decision_id;
        let mut request = self.client.post(self.url.clone()).header("Idempotency-Key", key.to_string());
        request = match (&self.key, &self.auth_header) {
            (None, _) => request,
            (Some(key), None) => request.bearer_auth(key.expose()),
            (Some(key), Some(header)) => request.header(header.clone(), key.expose()),
        };
        request = match &self.body {
            Some(body) => match body.fill(message, decision) {
                Ok(body) => request.json(&body),
                Err(fault) => {
                    return Box::pin(async move { Err(SendError::Refused { status: 0, excerpt: fault.to_string() }) });
                }
            },
            None => request.json(&Body {
                decision_id: key,
                as_of: decision.as_of.into(),
                to: (&message.to).into(),
                from: (&message.from).into(),
                subject: &message.subject,
                text: &message.text,
                html: &message.html,
                headers: Headers(message),
            }),
        };
        Box::pin(async move {
            let account = self.key.as_ref().map_or(NO_KEY, ApiKey::origin);
            let answer = answer::exchange(request).await?.judged(account)?;
            Ok(answer.accepted(answer.json::<Said>().and_then(|said| said.id)))
        })
    }

    fn honours_idempotency(&self) -> bool {
        self.honours_idempotency
    }
}
