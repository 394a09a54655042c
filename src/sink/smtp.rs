//! Any SMTP server (RFC 5321). A reply to the message's end says whether it was taken: 2xx is taken, 4xx is not and may be tried again,
//! 5xx never will be; 530, 534, 535 and 538 refuse the account. What fails before the message was handed over was never sent; what
//! fails after it, without a reply, may have been taken, and is not sent again: SMTP knows no idempotency key. The decision's id is in
//! the `Message-ID`, which bounces return.
//!
//! Connections are kept and used again, one mail after the other. lettre speaks the protocol and writes the mail; the steps are taken
//! here one by one, because only so it is known which of them failed.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use lettre::Address;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use reqwest::Url;
use tokio::net::TcpStream;

use super::answer::excerpt;
use super::starttls::NothingAhead;
use super::{Accepted, ApiKey, BoxFuture, Esp, SendError, SetupError};
use crate::authorities::Authorities;
use crate::decision::{Decision, DecisionId, Mailbox, Message};

/// A connection that idles for longer is not used again: servers close them.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Replies that refuse the account (RFC 4954 §6).
const ACCOUNT_CODES: [u16; 4] = [530, 534, 535, 538];
/// The server is about to close the connection (RFC 5321 §3.8).
const CLOSING_CODE: u16 = 421;

/// An SMTP server.
pub struct Smtp {
    host: String,
    port: u16,
    encryption: Encryption,
    login: Option<Login>,
    hello: ClientId,
    timeout: Duration,
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

/// When a connection is encrypted.
enum Encryption {
    /// From the first byte (`smtps`).
    AtOnce(TlsParameters),
    /// By STARTTLS, before anything is said; else nothing is sent.
    Before(TlsParameters),
    /// Never.
    Never,
}

/// Who we are to the server.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: ApiKey,
}

impl Smtp {
    /// `url` is `smtp://HOST:PORT` (25 unless given), encrypted by STARTTLS unless `in_the_clear`, or `smtps://HOST:PORT` (465).
    /// Who encrypts proves to be that host, by a certificate that this machine or `authorities` vouch for. A reply is awaited for
    /// `timeout_ms`, a connection for a third of that. `domain` is what the server is told we are.
    pub fn new(
        url: &Url,
        in_the_clear: bool,
        authorities: &Authorities,
        login: Option<Login>,
        domain: &str,
        timeout_ms: u64,
    ) -> Result<Smtp, SetupError> {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let (encryption, port) = match (url.scheme(), in_the_clear) {
            ("smtps", _) => (Encryption::AtOnce(tls(&host, authorities)?), 465),
            (_, true) => (Encryption::Never, 25),
            (_, false) => (Encryption::Before(tls(&host, authorities)?), 25),
        };
        Ok(Smtp {
            host,
            port: url.port().unwrap_or(port),
            encryption,
            login,
            hello: ClientId::Domain(domain.to_owned()),
            timeout: Duration::from_millis(timeout_ms),
            idle: Mutex::default(),
        })
    }

    /// A connection that may be used: one that was kept, or a new one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, SendError> {
        loop {
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((mut connection, since)) = kept else { break };
            if since.elapsed() < IDLE_MAX && connection.test_connected().await {
                return Ok(connection);
            }
        }
        let connecting = tokio::time::timeout(self.timeout / 3, self.connect());
        connecting.await.map_err(|_| not_sent("timed out while connecting"))?
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((connection, Instant::now()));
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SendError> {
        let mut connection = match &self.encryption {
            Encryption::AtOnce(tls) => self.connect_at_once(Some(tls.clone())).await?,
            Encryption::Never => self.connect_at_once(None).await?,
            Encryption::Before(tls) => self.connect_and_encrypt(tls.clone()).await?,
        };
        if let Some(Login { username, password }) = &self.login {
            let credentials = Credentials::new(username.clone(), password.expose().to_owned());
            let authenticating = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials);
            authenticating.await.map_err(|error| match code_of(&error) {
                Some(status @ 500..) => self.denied(status, &error),
                _ => self.before_handing_over(&error),
            })?;
        }
        Ok(connection)
    }

    async fn connect_at_once(&self, tls: Option<TlsParameters>) -> Result<AsyncSmtpConnection, SendError> {
        let server = (self.host.as_str(), self.port);
        let connecting = AsyncSmtpConnection::connect_tokio1(server, Some(self.timeout / 3), &self.hello, tls, None);
        connecting.await.map_err(|error| self.before_handing_over(&error))
    }

    async fn connect_and_encrypt(&self, tls: TlsParameters) -> Result<AsyncSmtpConnection, SendError> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = NothingAhead::new(tcp.map_err(|error| not_sent(&error.to_string()))?);
        let greeting = AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello);
        let mut connection = greeting.await.map_err(|error| self.before_handing_over(&error))?;
        let encrypting = connection.starttls(tls, &self.hello);
        encrypting.await.map_err(|error| self.before_handing_over(&error))?;
        Ok(connection)
    }

    /// Names sender and recipient, and asks for leave to hand the message over.
    async fn announce(&self, connection: &mut AsyncSmtpConnection, letter: &Letter) -> Result<(), SendError> {
        let Letter { from, to, bytes } = letter;
        let mut parameters = Vec::new();
        let is_ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
        if !(is_ascii(from) && is_ascii(to)) {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(SendError::Refused { status: 553, excerpt: "the server takes no such address".into() });
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !bytes.is_ascii() && connection.server_info().supports_feature(Extension::EightBitMime) {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let fault = |error: lettre::transport::smtp::Error| self.before_handing_over(&error);
        connection.command(Mail::new(Some(from.clone()), parameters)).await.map_err(fault)?;
        connection.command(Rcpt::new(to.clone(), Vec::new())).await.map_err(fault)?;
        connection.command(Data).await.map_err(fault)?;
        Ok(())
    }

    async fn hand_over(&self, letter: Letter) -> Result<Accepted, SendError> {
        let started = Instant::now();
        let mut connection = self.connection().await?;
        let announcing = tokio::time::timeout(self.timeout, self.announce(&mut connection, &letter));
        match announcing.await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => {
                self.reset(connection, &fault).await;
                return Err(fault);
            }
            Err(_) => return Err(not_sent("timed out before the message was handed over")),
        }
        let unknown = |reason: String| SendError::Unknown {
            status: None,
            waited_ms: started.elapsed().as_millis() as u64,
            reason,
        };
        let handing = tokio::time::timeout(self.timeout, connection.message(&letter.bytes)).await;
        let fault = match handing {
            Ok(Ok(reply)) => {
                self.keep(connection);
                return Ok(Accepted { esp_id: first_line(&reply), rest_ms: None });
            }
            Ok(Err(error)) if code_of(&error).is_some() => self.before_handing_over(&error),
            Ok(Err(error)) => unknown(causes(&error)),
            Err(_) => unknown("timed out".into()),
        };
        self.reset(connection, &fault).await;
        Err(fault)
    }

    /// Keeps a connection on which the server said no, if it can still be used.
    async fn reset(&self, mut connection: AsyncSmtpConnection, fault: &SendError) {
        let goes_on = match fault {
            SendError::Refused { .. } => true,
            SendError::Throttled { status, .. } => *status != CLOSING_CODE,
            _ => false,
        };
        let resetting = tokio::time::timeout(self.timeout, connection.command(Rset));
        if goes_on && matches!(resetting.await, Ok(Ok(_))) {
            self.keep(connection);
        }
    }

    /// What an error says while nothing can have been taken: before the message, or by the server's own word after it.
    fn before_handing_over(&self, error: &lettre::transport::smtp::Error) -> SendError {
        match code_of(error) {
            None => not_sent(&causes(error)),
            Some(status) if ACCOUNT_CODES.contains(&status) => self.denied(status, error),
            Some(status @ ..500) => SendError::Throttled { status, retry_after_ms: None },
            Some(status) => SendError::Refused { status, excerpt: excerpt(causes(error).as_bytes()) },
        }
    }

    fn denied(&self, status: u16, error: &lettre::transport::smtp::Error) -> SendError {
        let account = self.login.as_ref().map_or("`username`: none is configured", |login| login.password.origin());
        SendError::Denied { status, account: account.to_owned(), excerpt: excerpt(causes(error).as_bytes()) }
    }
}

/// How `host` proves who it is.
fn tls(host: &str, authorities: &Authorities) -> Result<TlsParameters, SetupError> {
    let mut parameters = TlsParameters::builder(host.to_owned());
    for certificate in authorities.certificates() {
        parameters = parameters.add_root_certificate(Certificate::from_der(certificate.to_owned())?);
    }
    Ok(parameters.build()?)
}

/// A mail as it goes over the wire.
struct Letter {
    from: Address,
    to: Address,
    bytes: Vec<u8>,
}

/// Writes the mail. Fails when an address is none.
fn letter(message: &Message, id: DecisionId, now: SystemTime) -> Result<Letter, SendError> {
    let broken = |fault: String| SendError::Refused { status: 553, excerpt: fault };
    let address = |of: &Mailbox| of.address.parse::<Address>().map_err(|fault| broken(format!("{of}: {fault}")));
    let (from, to) = (address(&message.from)?, address(&message.to)?);
    let mailbox = |of: &Mailbox, address: &Address| lettre::message::Mailbox::new(of.name.clone(), address.clone());
    let part = |kind: ContentType, text: &str| {
        SinglePart::builder().header(kind).header(ContentTransferEncoding::QuotedPrintable).body(text.to_owned())
    };
    let mut builder = lettre::Message::builder()
        .from(mailbox(&message.from, &from))
        .to(mailbox(&message.to, &to))
        .subject(message.subject.as_str())
        .date(now)
        .message_id(Some(message.message_id.clone()));
    for header in &message.headers {
        let name = HeaderName::new_from_ascii(header.name().to_owned()).map_err(|fault| broken(fault.to_string()))?;
        builder = builder.raw_header(HeaderValue::new(name, header.value().to_owned()));
    }
    // The same in every attempt, and in no mail's text by chance.
    let parts = MultiPart::alternative().boundary(format!("=_beckon_{id}"));
    let parts = parts
        .singlepart(part(ContentType::TEXT_PLAIN, &message.text))
        .singlepart(part(ContentType::TEXT_HTML, &message.html));
    let mail = builder.multipart(parts).map_err(|fault| broken(fault.to_string()))?;
    Ok(Letter { from, to, bytes: mail.formatted() })
}

fn not_sent(reason: &str) -> SendError {
    SendError::NotSent { reason: reason.to_owned() }
}

/// The reply's code, if there was a reply.
fn code_of(error: &lettre::transport::smtp::Error) -> Option<u16> {
    error.status().map(u16::from)
}

/// The error with its causes, on one line.
fn causes(error: &lettre::transport::smtp::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// What the server calls the mail, such as `2.0.0 Ok: queued as 4B2F`.
fn first_line(reply: &Response) -> Option<String> {
    reply.first_line().map(|line| excerpt(line.as_bytes()))
}

impl Esp for Smtp {
    fn send<'a>(&'a self, message: &'a Message, decision: &'a Decision) -> BoxFuture<'a, Result<Accepted, SendError>> {
        Box::pin(async move { self.hand_over(letter(message, decision.decision_id, SystemTime::now())?).await })
    }

    fn honours_idempotency(&self) -> bool {
        false
    }
}
