//! The generic HTTP ESP (`kind = "http"`): a small contract that a shop's own mail service, or a simulator, can fulfil.
//!
//! ```text
//! POST {base_url}/send
//! Content-Type: application/json
//! Authorization: Bearer API_KEY                    (when a key is configured)
//! Idempotency-Key: DECISION_ID
//!
//! {"decision_id":"…","to":{"email":"a@example.com"},"from":{"email":"shop@example.com","name":"Shop"},
//!  "subject":"…","text":"…","html":"…","headers":{"Message-ID":"<DECISION_ID@example.com>"}}
//! ```
//!
//! It answers any 2xx once it has taken the message, with `{"id":"…"}` in the body if it likes; 429 or 503, with
//! `Retry-After` if it likes, when it has not and wants to be asked again; any other 4xx to refuse it for good. It honours
//! the key: a second request of one key gives the first one's answer and no second mail.

use reqwest::{Client, Url};
use serde::{Deserialize, Serialize, Serializer};

use super::{Accepted, ApiKey, BoxFuture, Esp, SendError, SetupError, answer, endpoint};
use crate::decision::{DecisionId, Mailbox, Message};

/// A service that fulfils the contract above.
#[derive(Debug)]
pub struct Http {
    client: Client,
    url: Url,
    key: Option<ApiKey>,
    honours_idempotency: bool,
}

impl Http {
    /// `base_url` is where `/send` is; `honours_idempotency` whether the service keeps the last paragraph of the contract.
    pub fn new(
        client: Client,
        base_url: &str,
        key: Option<ApiKey>,
        honours_idempotency: bool,
    ) -> Result<Http, SetupError> {
        Ok(Http { client, url: endpoint(base_url, "/send")?, key, honours_idempotency })
    }
}

#[derive(Serialize)]
struct Body<'a> {
    decision_id: DecisionId,
    to: Address<'a>,
    from: Address<'a>,
    subject: &'a str,
    text: &'a str,
    html: &'a str,
    headers: Headers<'a>,
}

/// How both ESPs write a mailbox.
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

#[derive(Deserialize)]
struct Answer {
    id: Option<String>,
}

impl Esp for Http {
    fn send<'a>(&'a self, message: &'a Message, key: DecisionId) -> BoxFuture<'a, Result<Accepted, SendError>> {
        let body = Body {
            decision_id: key,
            to: (&message.to).into(),
            from: (&message.from).into(),
            subject: &message.subject,
            text: &message.text,
            html: &message.html,
            headers: Headers(message),
        };
        let mut request = self.client.post(self.url.clone()).header("Idempotency-Key", key.to_string()).json(&body);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose());
        }
        Box::pin(async move {
            let taken = answer::exchange(request).await?;
            let esp_id = serde_json::from_slice::<Answer>(&taken.body).ok().and_then(|answer| answer.id);
            Ok(Accepted { esp_id })
        })
    }

    fn honours_idempotency(&self) -> bool {
        self.honours_idempotency
    }
}
