//! Amazon SNS ("Verifying the signatures of Amazon SNS messages" in its developer guide). In: a message of a topic that is allowed. Out: the
//! message, once its signature (version 1, SHA-1, or 2, SHA-256) is that of a certificate of SNS's; and what confirms a subscription. Fails
//! for any other.
//!
//! The message names where its certificate is, and anybody could write one. So the place is compared with what it must be: the SNS host
//! of the region that the topic's ARN names, over TLS, and nothing but a certificate's path; and nothing is fetched for a topic
//! that is not allowed. SNS tries again for an hour.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Client, Url};
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RsaParameters, UnparsedPublicKey,
};
use serde::Deserialize;
use x509_parser::pem::parse_x509_pem;

use super::event::time_ms;
use super::{Refusal, Said, Soon, Told, in_time};

/// How long after it was published a message is taken: as long as SNS tries, and an hour more.
const WITHIN_MS: u64 = 2 * 3_600_000;

/// The most certificates that are kept; SNS has one at a time in a region.
const CERTIFICATES_MAX: usize = 32;

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Who fetches certificates and confirms subscriptions.
pub trait Fetch: Send + Sync {
    /// The body of a 200. Fails in words.
    fn get<'a>(&'a self, url: &'a Url) -> Soon<'a, Result<Vec<u8>, String>>;
}

/// HTTPS alone, without redirects.
pub struct Https(Client);

impl Https {
    /// A client. Fails when there can be none.
    pub fn new() -> reqwest::Result<Https> {
        // The process may have a provider already; either will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().https_only(true).redirect(reqwest::redirect::Policy::none());
        Ok(Https(client.timeout(ANSWER_WITHIN).build()?))
    }
}

impl Fetch for Https {
    fn get<'a>(&'a self, url: &'a Url) -> Soon<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let failed = |error: reqwest::Error| error.without_url().to_string();
            let mut answer = self.0.get(url.clone()).send().await.map_err(failed)?;
            if answer.status() != reqwest::StatusCode::OK {
                return Err(format!("status {}", answer.status()));
            }
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(failed)? {
                if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                    return Err(format!("more than {ANSWER_BYTES_MAX} bytes"));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        })
    }
}

/// A message of SNS's.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Message {
    r#type: String,
    pub message_id: String,
    topic_arn: String,
    pub message: String,
    subject: Option<String>,
    pub timestamp: String,
    token: Option<String>,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<String>,
    signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: String,
}

impl Message {
    /// What is signed: names and values, in the order of the names, each on a line.
    fn signed(&self) -> Option<String> {
        let line = |name: &str, value: &str| format!("{name}\n{value}\n");
        let (message, id) = (line("Message", &self.message), line("MessageId", &self.message_id));
        let (time, topic) = (line("Timestamp", &self.timestamp), line("TopicArn", &self.topic_arn));
        let kind = line("Type", &self.r#type);
        match self.r#type.as_str() {
            "Notification" => {
                let subject = self.subject.as_deref().map(|subject| line("Subject", subject)).unwrap_or_default();
                Some([message, id, subject, time, topic, kind].concat())
            }
            "SubscriptionConfirmation" | "UnsubscribeConfirmation" => {
                let url = line("SubscribeURL", self.subscribe_url.as_deref()?);
                let token = line("Token", self.token.as_deref()?);
                Some([message, id, url, time, token, topic, kind].concat())
            }
            _ => None,
        }
    }
}

/// Topics that are listened to.
pub(super) struct Sns {
    topics: Vec<String>,
    fetch: Arc<dyn Fetch>,
    certificates: Mutex<HashMap<Url, Certificate>>,
    /// Held by who fetches one, so that strangers have one fetched at a time at most.
    fetching: tokio::sync::Mutex<()>,
}

impl Sns {
    pub(super) fn new(topics: Vec<String>, fetch: Arc<dyn Fetch>) -> Sns {
        Sns { topics, fetch, certificates: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// The message of a request. What has to be done first is to confirm a subscription; such a message has no events.
    pub(super) async fn read<'a>(&'a self, told: &Told) -> Result<(Message, Said<'a>), Refusal> {
        let message: Message = serde_json::from_slice(&told.body).map_err(|_| Refusal::Forged)?;
        if !self.topics.contains(&message.topic_arn) {
            return Err(Refusal::Unasked("the topic is not among those allowed"));
        }
        let host = host(&message.topic_arn).ok_or(Refusal::Forged)?;
        let (signed, place) = (message.signed(), certificate_url(&message.signing_cert_url, &host));
        let (signed, place) = signed.zip(place).ok_or(Refusal::Forged)?;
        let parameters = match message.signature_version.as_str() {
            "1" => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            "2" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(Refusal::Forged),
        };
        let signature = BASE64_STANDARD.decode(&message.signature).map_err(|_| Refusal::Forged)?;
        let certificate = self.certificate(place, &host, told.now_ms).await?;
        if !certificate.verifies(parameters, signed.as_bytes(), &signature) {
            return Err(Refusal::Forged);
        }
        let at_ms = time_ms(&message.timestamp).ok_or(Refusal::Malformed)?;
        in_time(at_ms, WITHIN_MS, told.now_ms)?;
        let first = self.confirmation(&message, &host)?;
        let said = Said::of("ses", signed.as_bytes(), at_ms + WITHIN_MS, []);
        Ok((message, Said { first, ..said }))
    }

    /// What confirms a subscription; none of a notification. That somebody has unsubscribed us is taken note of, and no more.
    fn confirmation<'a>(
        &'a self,
        message: &Message,
        host: &str,
    ) -> Result<Option<Soon<'a, Result<(), Refusal>>>, Refusal> {
        if message.r#type == "Notification" {
            return Ok(None);
        }
        let topic = message.topic_arn.clone();
        if message.r#type == "UnsubscribeConfirmation" {
            return Ok(Some(Box::pin(async move {
                tracing::warn!(topic, "SNS says that this topic was unsubscribed from");
                Ok(())
            })));
        }
        let url = message.subscribe_url.as_deref().and_then(|url| on_host(url, host)).ok_or(Refusal::Malformed)?;
        Ok(Some(Box::pin(async move {
            let confirmed = self.fetch.get(&url).await;
            confirmed.map_err(|fault| Refusal::NotWritten(format!("the subscription was not confirmed: {fault}")))?;
            tracing::info!(topic, "the subscription is confirmed");
            Ok(())
        })))
    }

    async fn certificate(&self, place: Url, host: &str, now_ms: u64) -> Result<Certificate, Refusal> {
        let known = || self.known(&place, now_ms);
        if let Some(certificate) = known() {
            return Ok(certificate);
        }
        let _one_at_a_time = self.fetching.lock().await;
        if let Some(certificate) = known() {
            return Ok(certificate);
        }
        let fetched = self.fetch.get(&place).await;
        let pem = fetched.map_err(|fault| Refusal::NotWritten(format!("SNS's certificate cannot be had: {fault}")))?;
        let certificate = Certificate::of(&pem, host).filter(|it| it.is_valid(now_ms)).ok_or(Refusal::Forged)?;
        let mut certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if certificates.len() >= CERTIFICATES_MAX {
            certificates.clear();
        }
        certificates.insert(place, certificate.clone());
        Ok(certificate)
    }

    fn known(&self, place: &Url, now_ms: u64) -> Option<Certificate> {
        let certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        certificates.get(place).filter(|certificate| certificate.is_valid(now_ms)).cloned()
    }
}

/// The key that a certificate of SNS's vouches for, and when.
#[derive(Clone)]
struct Certificate {
    key: Vec<u8>,
    /// Epoch seconds.
    from: i64,
    until: i64,
}

impl Certificate {
    /// The certificate in a PEM file; none if it is not SNS's. Who its issuer is was vouched for by the connection that it came over.
    fn of(pem: &[u8], host: &str) -> Option<Certificate> {
        let (_, pem) = parse_x509_pem(pem).ok()?;
        let certificate = pem.parse_x509().ok()?;
        let mut names = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names.find(|name| *name == "sns.amazonaws.com" || *name == host)?;
        let (key, validity) = (certificate.public_key().subject_public_key.data.to_vec(), certificate.validity());
        Some(Certificate { key, from: validity.not_before.timestamp(), until: validity.not_after.timestamp() })
    }

    fn is_valid(&self, now_ms: u64) -> bool {
        i64::try_from(now_ms / 1000).is_ok_and(|now| (self.from..=self.until).contains(&now))
    }

    fn verifies(&self, parameters: &'static RsaParameters, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(parameters, &self.key).verify(message, signature).is_ok()
    }
}

/// The SNS host of the region that a topic's ARN names: `arn:aws:sns:REGION:ACCOUNT:NAME`.
fn host(arn: &str) -> Option<String> {
    let mut parts = arn.split(':');
    let (arn, partition, service, region) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_region = !region.is_empty()
        && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let domain = match partition {
        "aws" | "aws-us-gov" => "amazonaws.com",
        "aws-cn" => "amazonaws.com.cn",
        _ => return None,
    };
    (arn == "arn" && service == "sns" && is_region).then(|| format!("sns.{region}.{domain}"))
}

/// A URL on that host, over TLS, with nothing unusual in it.
fn on_host(text: &str, host: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.port().is_none();
    (url.scheme() == "https" && url.host_str() == Some(host) && is_plain).then_some(url)
}

/// The place of a certificate.
fn certificate_url(text: &str, host: &str) -> Option<Url> {
    let url = on_host(text, host)?;
    let name = url.path().strip_prefix("/SimpleNotificationService-")?.strip_suffix(".pem")?;
    let is_name = !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_name && url.query().is_none() && url.fragment().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_only_taken_from_the_topic_s_own_region() {
        let host = host("arn:aws:sns:us-west-2:131990247566:topic").unwrap();
        assert_eq!(host, "sns.us-west-2.amazonaws.com");
        assert_eq!(super::host("arn:aws-cn:sns:cn-north-1:1:t").unwrap(), "sns.cn-north-1.amazonaws.com.cn");
        for arn in ["", "arn:aws:sqs:us-west-2:1:t", "arn:evil:sns:us-west-2:1:t", "arn:aws:sns:x.evil.example/:1:t"] {
            assert_eq!(super::host(arn), None, "{arn}");
        }
        let path = "SimpleNotificationService-7506a1e35b36ef5a444dd1a8e7cc3ed8.pem";
        assert!(certificate_url(&format!("https://{host}/{path}"), &host).is_some());
        for wrong in [
            format!("http://{host}/{path}"),
            format!("https://{host}:8443/{path}"),
            format!("https://user@{host}/{path}"),
            format!("https://{host}.evil.example/{path}"),
            format!("https://evil.example/{path}?{host}"),
            format!("https://evil.example#@{host}/{path}"),
            format!("https://sns.eu-west-1.amazonaws.com/{path}"),
            format!("https://s3.us-west-2.amazonaws.com/bucket/{path}"),
            format!("https://{host}/other/{path}"),
            format!("https://{host}/SimpleNotificationService-..%2fx.pem"),
            format!("https://{host}/?{path}"),
            format!("https://{host}/{path}?x=1"),
            "https://".to_owned(),
        ] {
            assert!(certificate_url(&wrong, &host).is_none(), "{wrong}");
        }
    }
}
