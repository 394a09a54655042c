//! SMTP on the wire, and what each reply makes of a delivery.

use std::net::SocketAddr;
use std::time::Duration;

use beckon::authorities::Authorities;
use beckon::decision::DeliveryState;
use beckon::sink::smtp::{Login, Smtp};

use crate::esp::nobody;
use crate::mail_server::{MailServer, Odd};
use crate::world::{World, key, send};

/// Long enough for a busy machine: no test here waits for it.
const TIMEOUT_MS: u64 = 10_000;

fn smtp(address: SocketAddr, login: Option<Login>) -> Smtp {
    let url = format!("smtp://{address}").parse().unwrap();
    Smtp::new(&url, true, &Authorities::default(), login, "example.com", TIMEOUT_MS).unwrap()
}

#[tokio::test]
async fn a_mail_goes_over_the_wire_and_the_connection_is_used_again() {
    let mut world = World::new();
    world.limits.concurrency = 1;
    let (server, address) = MailServer::start(None, []).await;
    let login = Login { username: "shop".into(), password: key("secret") };
    let (first, second) = (send("cart-9"), send("Grüße"));
    world.deliver(smtp(address, Some(login)), vec![first.clone(), second.clone()]).await.unwrap();
    assert_eq!(world.outcome(&first).0, DeliveryState::Accepted);
    assert_eq!(world.outcome(&second).0, DeliveryState::Accepted);
    let note = world.ledger.delivery(first.decision.decision_id).unwrap().unwrap().note;
    assert_eq!(note.as_deref(), Some("2.0.0 Ok: queued as Q1"));
    let told = server.told();
    assert_eq!(told.iter().filter(|line| *line == "(connection)").count(), 1);
    let dated = |line: &String| if line.starts_with("Date: ") { "Date: …".to_owned() } else { line.clone() };
    insta::assert_snapshot!("smtp", told.iter().map(dated).collect::<Vec<_>>().join("\n"));
}

/// Delivers one send to a server that is once odd. Returns the states that it went through.
async fn happens(odd: Odd) -> String {
    let world = World::new();
    let (_, address) = MailServer::start(None, [odd]).await;
    let login = Login { username: "shop".into(), password: key("secret") };
    world.deliver(smtp(address, Some(login)), vec![send("cart-9")]).await.unwrap();
    world.events().join(", ")
}

#[tokio::test]
async fn replies_are_told_apart_by_when_they_come_and_what_they_say() {
    let again = "in_flight 1, pending 1, in_flight 2, accepted 2";
    let refused = "in_flight 1, refused 1";
    let unknown = "in_flight 1, unknown 1";
    let cases = [
        (("RCPT", "550 5.1.1 no such user"), refused),
        (("MAIL", "553 5.7.1 not yours"), refused),
        ((".", "554 5.7.1 spam"), refused),
        (("RCPT", "450 4.2.0 greylisted"), again),
        ((".", "451 4.3.0 try again"), again),
        (("MAIL", "421 4.7.0 closing"), again),
        // The account.
        (("AUTH", "535 5.7.8 wrong"), again),
        (("MAIL", "530 5.7.0 authenticate first"), again),
        // It hangs up: nothing was handed over, or perhaps it was.
        (("EHLO", ""), again),
        (("RCPT", ""), again),
        (("DATA", ""), again),
        ((".", ""), unknown),
    ];
    for (odd, expected) in cases {
        assert_eq!(happens(odd).await, expected, "{odd:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_or_does_not_encrypt_gets_nothing() {
    let world = World::new();
    let cart = send("cart-9");
    world.record(std::slice::from_ref(&cart));
    let stop = || tokio::time::sleep(Duration::from_millis(100));
    world.deliver_until(smtp(nobody().await, None), vec![cart.clone()], stop()).await.unwrap();
    assert_eq!(world.outcome(&cart).0, DeliveryState::Pending);

    let (server, address) = MailServer::start(None, []).await;
    let url = format!("smtp://{address}").parse().unwrap();
    let encrypting = Smtp::new(&url, false, &Authorities::default(), None, "example.com", TIMEOUT_MS).unwrap();
    world.deliver_until(encrypting, vec![cart.clone()], stop()).await.unwrap();
    assert_eq!(world.outcome(&cart).0, DeliveryState::Pending);
    assert!(!server.told().iter().any(|line| line.starts_with("MAIL")), "{:?}", server.told());
}
