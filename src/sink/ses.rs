//! Amazon SES, v2 ("SendEmail" in the Amazon SES API v2 reference): `POST {base_url}/v2/email/outbound-emails`, signed with Signature
//! Version 4, 200 with a `MessageId` once it has taken the mail. SES knows no idempotency key: a request without an answer is not made
//! again, but waits for the event notifications, which return the tag `decision_id`. It has no rate headers and no `Retry-After`: errors
//! are told apart by the name in `x-amzn-errortype`. SES writes a `Message-ID` of its own.
//!
//! `SendBulkEmail` fills one template of SES's own for many: no batch of mails that differ.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign};
use aws_sigv4::sign::v4;
use lettre::message::header::{From as FromHeader, Headers};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder, Url};
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::{Accepted, ApiKey, BoxFuture, Esp, SendError, SetupError, answer, endpoint};
use crate::decision::{Decision, DecisionId, Mailbox, Message};

/// Errors that say come back later, whatever their status ("Errors" of SendEmail, and "Common Errors").
const THROTTLED: [&str; 6] = [
    "TooManyRequestsException",
    "ThrottlingException",
    "Throttling",
    "LimitExceededException",
    "ServiceUnavailable",
    "RequestLimitExceeded",
];
/// Errors that concern the account, the sender or the clock of this machine, whatever the message (likewise, and "API Error Codes
/// Returned by Amazon SES" in its developer guide).
const DENIED: [&str; 17] = [
    "AccountSuspendedException",
    "SendingPausedException",
    "MailFromDomainNotVerifiedException",
    "NotFoundException",
    "AccessDeniedException",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "RequestExpired",
    "NotAuthorized",
    "InvalidClientTokenId",
    "MissingAuthenticationTokenException",
    "ExpiredTokenException",
    "OptInRequired",
    "UnknownOperationException",
    "InvalidAction",
];
/// What refuses a mail for what is in it, or for a sender that is not verified: "Email address is not verified" ("Amazon SES email
/// sending errors", <https://docs.aws.amazon.com/ses/latest/dg/troubleshoot-error-messages.html>).
const REJECTED: &str = "MessageRejected";
const NOT_VERIFIED: &str = "not verified";

/// An SES account in one region.
#[derive(Debug)]
pub struct Ses {
    client: Client,
    url: Url,
    account: Account,
}

/// Who sends, and from where.
#[derive(Debug)]
pub struct Account {
    /// Such as `eu-west-1`.
    pub region: String,
    /// The access key's id, which is no secret.
    pub access_key_id: String,
    /// The secret access key.
    pub secret: ApiKey,
    /// Of temporary credentials.
    pub session_token: Option<ApiKey>,
    /// The configuration set, which says where events go.
    pub configuration_set: Option<String>,
}

impl Ses {
    /// `base_url` is the region's endpoint, or a simulator's.
    pub fn new(client: Client, base_url: &str, account: Account) -> Result<Ses, SetupError> {
        Ok(Ses { client, url: endpoint(base_url, "/v2/email/outbound-emails")?, account })
    }

    /// The request, signed as of `now`.
    fn signed(&self, body: Vec<u8>, now: SystemTime) -> Result<RequestBuilder, String> {
        let Account { region, access_key_id, secret, session_token, .. } = &self.account;
        let token = session_token.as_ref().map(|token| token.expose().to_owned());
        let credentials = Credentials::new(access_key_id, secret.expose(), token, None, "configuration");
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("ses")
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?;
        let json = [("content-type", "application/json")];
        let signable = SignableRequest::new("POST", self.url.as_str(), json.into_iter(), SignableBody::Bytes(&body));
        let signable = signable.map_err(|error| error.to_string())?;
        let signed = sign(signable, &SigningParams::V4(params)).map_err(|error| error.to_string())?;
        let mut request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        for (name, value) in signed.output().headers() {
            request = request.header(name, value);
        }
        Ok(request.body(body))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    from_email_address: String,
    destination: Destination,
    content: Content<'a>,
    email_tags: [Pair<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration_set_name: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Destination {
    to_addresses: [String; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Content<'a> {
    simple: Simple<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Simple<'a> {
    subject: Text<'a>,
    body: Parts<'a>,
    headers: Vec<Pair<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Parts<'a> {
    text: Text<'a>,
    html: Text<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Text<'a> {
    data: &'a str,
    charset: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pair<'a> {
    name: &'a str,
    value: String,
}

fn text(data: &str) -> Text<'_> {
    Text { data, charset: "UTF-8" }
}

/// The request's body.
fn body<'a>(message: &'a Message, id: DecisionId, configuration_set: Option<&'a str>) -> Body<'a> {
    let header = |header: &'a crate::decision::Header| Pair { name: header.name(), value: header.value().to_owned() };
    Body {
        from_email_address: encoded(&message.from),
        destination: Destination { to_addresses: [encoded(&message.to)] },
        content: Content {
            simple: Simple {
                subject: text(&message.subject),
                body: Parts { text: text(&message.text), html: text(&message.html) },
                headers: message.headers.iter().map(header).collect(),
            },
        },
        email_tags: [Pair { name: "decision_id", value: id.to_string() }],
        configuration_set_name: configuration_set,
    }
}

/// The mailbox in ASCII, as SES asks for: the name in encoded words where it must be (RFC 2047).
fn encoded(mailbox: &Mailbox) -> String {
    let Ok(address) = mailbox.address.parse() else { return mailbox.quoted() };
    let mailboxes = lettre::message::Mailbox::new(mailbox.name.clone(), address);
    let mut headers = Headers::new();
    headers.set(FromHeader::from(lettre::message::Mailboxes::from(mailboxes)));
    let written = headers.to_string();
    written.trim_start_matches("From:").replace("\r\n", "").trim().to_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Said {
    message_id: Option<String>,
}

/// What an error says of itself in its body.
#[derive(Default, Deserialize)]
struct Error {
    #[serde(alias = "__type")]
    code: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

/// The error's name, which is in a header or the body, and may have a namespace before it (`#`) and an address after it (`:`;
/// "Operation error serialization" of Smithy's restJson1, the protocol of SES).
fn name_of<'a>(answer: &'a Answer, error: &'a Error) -> &'a str {
    let name = answer.header("x-amzn-errortype").or(error.code.as_deref()).unwrap_or_default();
    let name = name.split(':').next().unwrap_or_default();
    name.split_once('#').map_or(name, |(_, name)| name)
}

/// What the answer says of the message.
fn judge(answer: Answer, account: &str) -> Result<Accepted, SendError> {
    let error = answer.json::<Error>().unwrap_or_default();
    let named = name_of(&answer, &error);
    if THROTTLED.contains(&named) {
        return Err(answer.throttled());
    }
    let is_not_verified = error.message.as_ref().is_some_and(|message| message.contains(NOT_VERIFIED));
    if DENIED.contains(&named) || named == REJECTED && is_not_verified {
        return Err(answer.denied(account));
    }
    let answer = answer.judged_at("`base_url`", account)?;
    Ok(answer.accepted(answer.json::<Said>().and_then(|said| said.message_id)))
}

impl Esp for Ses {
    fn send<'a>(&'a self, message: &'a Message, decision: &'a Decision) -> BoxFuture<'a, Result<Accepted, SendError>> {
        Box::pin(async move {
            let body = body(message, decision.decision_id, self.account.configuration_set.as_deref());
            let not_sent = |reason: String| SendError::NotSent { reason };
            let body = serde_json::to_vec(&body).map_err(|error| not_sent(error.to_string()))?;
            let request = self.signed(body, SystemTime::now()).map_err(not_sent)?;
            judge(answer::exchange(request).await?, self.account.secret.origin())
        })
    }

    fn honours_idempotency(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn names_are_written_in_ascii() {
        let mailbox = |text: &str| encoded(&text.parse().unwrap());
        assert_eq!(mailbox("Shop <shop@example.com>"), "Shop <shop@example.com>");
        assert_eq!(mailbox("shop@example.com"), "shop@example.com");
        let long = mailbox(&format!("{} <info@example.com>", "Müller & Söhne ".repeat(8)));
        assert!(long.is_ascii() && long.contains("=?utf-8?") && !long.contains('\n'), "{long}");
    }

    #[test]
    fn a_request_is_signed_for_the_region_and_the_moment() {
        let key = |text| ApiKey::new(text, "a test").unwrap();
        let account = Account {
            region: "eu-west-1".into(),
            access_key_id: "AKIDEXAMPLE".into(),
            secret: key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: Some(key("token")),
            configuration_set: None,
        };
        let ses =
            Ses::new(crate::sink::client(1_000).unwrap(), "https://email.eu-west-1.amazonaws.com", account).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_767_261_600);
        let signature = |body: &[u8]| {
            let request = ses.signed(body.to_vec(), now).unwrap().build().unwrap();
            let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
            assert_eq!(
                (header("x-amz-date"), header("x-amz-security-token")),
                ("20260101T100000Z".into(), "token".into())
            );
            header("authorization")
        };
        let signed = signature(b"{}");
        let (scope, signature_of_it) = signed.split_once(", Signature=").unwrap();
        assert_eq!(
            scope,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu-west-1/ses/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token"
        );
        // What botocore 1.44.8, of Amazon's SDK for Python, makes of the same request.
        assert_eq!(signature_of_it, "62bfc55a65edf75d88477bab4c1a9a6b36d2108a189dbee18cb143d5430de643");
        assert_ne!(signed, signature(b"{ }"));
    }
}
