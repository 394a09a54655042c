//! SMTP over TLS, from the first byte and after STARTTLS: who proves to be the relay gets mails, and nobody else gets so much as a name.

use std::net::SocketAddr;

use beckon::authorities::Authorities;
use beckon::decision::DeliveryState;
use beckon::sink::smtp::{Login, Smtp};
use beckon::sink::{Esp, SendError};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use serde_json::Map;
use tokio_rustls::TlsAcceptor;

use crate::authority::Authority;
use crate::mail_server::{MailServer, Odd, Tls};
use crate::world::{World, key, message, send};

/// Long enough for a busy machine: no test here waits for it.
const TIMEOUT_MS: u64 = 10_000;

/// A way to encrypt: the scheme of its URL, and how a server does it.
type Way = (&'static str, fn(TlsAcceptor) -> Tls);

const WAYS: [Way; 2] = [("smtps", Tls::AtOnce), ("smtp", Tls::AfterStarttls)];

/// A sender that has a password, which nobody but the relay may see.
fn smtp(scheme: &str, address: SocketAddr, authorities: &Authorities) -> Smtp {
    let url = format!("{scheme}://localhost:{}", address.port()).parse().unwrap();
    let login = Login { username: "shop".into(), password: key("secret") };
    Smtp::new(&url, false, authorities, Some(login), "example.com", TIMEOUT_MS).unwrap()
}

#[tokio::test]
async fn a_relay_that_the_shop_s_own_authority_vouches_for_gets_mails() {
    let authority = Authority::new("shop");
    for (scheme, tls) in WAYS {
        let mut world = World::new();
        world.limits.concurrency = 1;
        let (server, address) = MailServer::start(Some(tls(authority.vouches_for("localhost", &[]))), []).await;
        let sends = vec![send("1"), send("2")];
        world.deliver(smtp(scheme, address, &authority.trusted()), sends.clone()).await.unwrap();
        for send in &sends {
            assert_eq!(world.outcome(send).0, DeliveryState::Accepted, "{scheme}");
        }
        let told = server.told();
        let place = |line: &str| told.iter().position(|told| told.starts_with(line)).unwrap();
        // One connection for both, on which nothing that matters is said in the clear.
        assert_eq!(told.iter().filter(|line| *line == "(connection)").count(), 1, "{told:#?}");
        assert!(place("(encrypted)") < place("AUTH") && place("AUTH") < place("MAIL"), "{told:#?}");
    }
}

#[tokio::test]
async fn who_does_not_prove_to_be_the_relay_gets_nothing() {
    let (authority, stranger) = (Authority::new("shop"), Authority::new("stranger"));
    let nobody = Authorities::default();
    let cases = [
        ("localhost", &nobody, "UnknownIssuer"),
        ("localhost", &stranger.trusted(), "UnknownIssuer"),
        ("mx.example.com", &authority.trusted(), "not valid for name \"localhost\""),
    ];
    for (scheme, tls) in WAYS {
        for (host, trusted, expected) in &cases {
            let (server, address) = MailServer::start(Some(tls(authority.vouches_for(host, &[]))), []).await;
            let cart = send("cart-9");
            let sent = smtp(scheme, address, trusted).send(&message(&cart, &Map::new()), &cart.decision).await;
            let Err(SendError::NotSent { reason }) = sent else { panic!("{scheme} {host}: {sent:?}") };
            assert!(reason.contains(expected), "{scheme} {host}: {reason}");
            let told = server.told();
            assert!(!told.iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")), "{told:#?}");
        }
    }
}

/// What somebody in the middle, who cannot encrypt for the relay, could answer beforehand to all that will be asked then.
const BEFOREHAND: Odd = (
    "STARTTLS",
    "220 go ahead\r\n250-mx.evil\r\n250 AUTH PLAIN\r\n235 ok\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 2.0.0 Ok: taken",
);

#[tokio::test]
async fn what_is_said_before_the_connection_is_encrypted_is_no_reply_of_after() {
    let authority = Authority::new("shop");
    let tls = Tls::AfterStarttls(authority.vouches_for("localhost", &[]));
    let (server, address) = MailServer::start(Some(tls), [BEFOREHAND]).await;
    let cart = send("cart-9");
    let smtp = smtp("smtp", address, &authority.trusted());
    let sent = smtp.send(&message(&cart, &Map::new()), &cart.decision).await;
    assert!(matches!(sent, Err(SendError::NotSent { .. })), "{sent:?}");
    assert!(!server.told().iter().any(|line| line.starts_with("AUTH")), "{:#?}", server.told());
}

/// Why there is `src/sink/starttls.rs`. When this fails, lettre has mended it, and that file can go.
#[tokio::test]
async fn lettre_alone_takes_it_for_one() {
    let authority = Authority::new("shop");
    let tls = Tls::AfterStarttls(authority.vouches_for("localhost", &[]));
    let (_, address) = MailServer::start(Some(tls), [BEFOREHAND]).await;
    let trusted = TlsParameters::builder("localhost".into());
    let trusted = trusted.add_root_certificate(Certificate::from_pem(authority.pem().as_bytes()).unwrap());
    let (hello, trusted) = (ClientId::Domain("example.com".into()), trusted.build().unwrap());
    let connecting = AsyncSmtpConnection::connect_tokio1(address, None, &hello, None, None);
    let mut connection = connecting.await.unwrap();
    connection.starttls(trusted, &hello).await.unwrap();
    assert_eq!(connection.server_info().name(), "mx.evil");
}
