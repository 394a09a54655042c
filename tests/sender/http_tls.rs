//! HTTP over TLS: whom an ESP has to be vouched for by, and how many connections it is asked over, in HTTP/2 and in HTTP/1.1.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, Version};
use beckon::authorities::Authorities;
use beckon::decision;
use beckon::sink::http::{Differs, Http};
use beckon::sink::{Accepted, Esp, SendError, client_trusting};
use futures_util::future::join_all;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Map;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::authority::Authority;
use crate::world::{World, message, send};

/// Long enough for a busy machine: no test here waits for it.
const TIMEOUT_MS: u64 = 10_000;
/// How long the ESP thinks about a mail: long enough for others to be sent meanwhile.
const THINKS: Duration = Duration::from_millis(200);

const BOTH: [&str; 2] = ["h2", "http/1.1"];

/// An ESP that takes every mail, and remembers over which connection it came, and in which version of HTTP.
#[derive(Clone)]
struct Server {
    tls: TlsAcceptor,
    asked: Arc<Mutex<Vec<(usize, Version)>>>,
}

impl Server {
    async fn start(tls: TlsAcceptor) -> (Server, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server { tls, asked: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(serving.clone().serve(connection, stream));
            }
        });
        (server, address)
    }

    async fn serve(self, connection: usize, stream: TcpStream) {
        let Ok(stream) = self.tls.accept(stream).await else { return };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let service = service_fn(move |request: Request<Incoming>| {
            self.asked.lock().unwrap().push((connection, request.version()));
            async {
                tokio::time::sleep(THINKS).await;
                Ok::<_, Infallible>(Response::builder().status(202).body(Body::empty()).unwrap())
            }
        });
        let stream = TokioIo::new(stream);
        // A client that hangs up is none of the test's business.
        let _ = if is_http2 {
            http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await
        } else {
            http1::Builder::new().serve_connection(stream, service).await
        };
    }

    /// The connections that mails came over, in order and each once, and the versions of HTTP likewise.
    fn asked(&self) -> (Vec<usize>, Vec<Version>) {
        let (mut connections, mut versions): (Vec<_>, Vec<_>) = self.asked.lock().unwrap().iter().copied().unzip();
        connections.sort_unstable();
        connections.dedup();
        versions.dedup();
        (connections, versions)
    }
}

fn http(address: SocketAddr, authorities: &Authorities) -> Http {
    let client = client_trusting(TIMEOUT_MS, authorities).unwrap();
    let base_url = format!("https://localhost:{}", address.port());
    Http::new(client, &base_url, None, true, Differs::default()).unwrap()
}

async fn sent(esp: &Http, send: &decision::Send) -> Result<Accepted, SendError> {
    esp.send(&message(send, &Map::new()), &send.decision).await
}

#[tokio::test]
async fn many_mails_at_a_time_share_one_connection_of_http_2() {
    let authority = Authority::new("shop");
    let (server, address) = Server::start(authority.vouches_for("localhost", &BOTH)).await;
    let esp = http(address, &authority.trusted());
    sent(&esp, &send("first")).await.unwrap();
    let began = std::time::Instant::now();
    let sends: Vec<_> = (0..32).map(|n| send(&n.to_string())).collect();
    for accepted in join_all(sends.iter().map(|send| sent(&esp, send))).await {
        accepted.unwrap();
    }
    assert!(began.elapsed() < THINKS * 16, "one after the other: {:?}", began.elapsed());
    assert_eq!(server.asked(), (vec![0], vec![Version::HTTP_2]));
}

#[tokio::test]
async fn a_sender_that_begins_with_many_at_a_time_comes_to_one_connection() {
    let authority = Authority::new("shop");
    let (server, address) = Server::start(authority.vouches_for("localhost", &BOTH)).await;
    let mut world = World::new();
    world.limits.concurrency = 16;
    let sends: Vec<_> = (0..64).map(|n| send(&n.to_string())).collect();
    world.deliver(http(address, &authority.trusted()), sends.clone()).await.unwrap();
    assert!(sends.iter().all(|send| world.outcome(send).0.name() == "accepted"));
    let (connections, versions) = server.asked();
    assert_eq!((connections.len(), versions), (1, vec![Version::HTTP_2]), "{connections:?}");
}

#[tokio::test]
async fn an_esp_without_http_2_is_asked_over_connections_that_are_kept() {
    let authority = Authority::new("shop");
    for protocols in [&["http/1.1"][..], &[]] {
        let (server, address) = Server::start(authority.vouches_for("localhost", protocols)).await;
        let esp = http(address, &authority.trusted());
        for n in 0..5 {
            sent(&esp, &send(&n.to_string())).await.unwrap();
        }
        assert_eq!(server.asked(), (vec![0], vec![Version::HTTP_11]), "{protocols:?}");
        let at_a_time: Vec<_> = (0..4).map(|n| send(&format!("at a time {n}"))).collect();
        for _ in 0..3 {
            for accepted in join_all(at_a_time.iter().map(|send| sent(&esp, send))).await {
                accepted.unwrap();
            }
        }
        assert_eq!(server.asked().0.len(), 4, "{protocols:?}");
    }
}

#[tokio::test]
async fn who_does_not_prove_to_be_the_esp_gets_nothing() {
    let (authority, stranger) = (Authority::new("shop"), Authority::new("stranger"));
    let cases = [
        ("localhost", &Authorities::default(), "UnknownIssuer"),
        ("localhost", &stranger.trusted(), "UnknownIssuer"),
        ("esp.example.com", &authority.trusted(), "not valid for name \"localhost\""),
    ];
    for (host, trusted, expected) in cases {
        let (server, address) = Server::start(authority.vouches_for(host, &BOTH)).await;
        let sent = sent(&http(address, trusted), &send("cart-9")).await;
        let Err(SendError::NotSent { reason }) = sent else { panic!("{host}: {sent:?}") };
        assert!(reason.contains(expected), "{host}: {reason}");
        assert_eq!(server.asked().0, [0; 0]);
    }
}
