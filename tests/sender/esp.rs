//! An ESP on a port of this machine: it answers from a script and remembers what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::world::Events;

/// What it does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Answers with a status, headers and a body.
    Says(u16, Vec<(&'static str, String)>, &'static str),
    /// Reads the request and never answers.
    Hangs,
}

pub fn says(status: u16) -> Answer {
    Answer::Says(status, Vec::new(), "")
}

/// A running ESP. It says 202 when its script is at an end.
#[derive(Clone)]
pub struct FakeEsp {
    pub address: SocketAddr,
    script: Arc<Mutex<VecDeque<Answer>>>,
    down: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Value>>>,
    events: Events,
}

impl FakeEsp {
    pub async fn start(script: impl IntoIterator<Item = Answer>, events: Events) -> FakeEsp {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let esp = FakeEsp {
            address: listener.local_addr().unwrap(),
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            down: Arc::default(),
            requests: Arc::default(),
            events,
        };
        let app = Router::new().fallback(answer).with_state(esp.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        esp
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// While it is down it takes nothing, says 503, and leaves its script as it is.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Method, path, the headers that matter, and the body of every request.
    pub fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap().clone()
    }
}

async fn answer(State(esp): State<FakeEsp>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    if esp.down.load(Ordering::SeqCst) {
        esp.events.lock().unwrap().push(format!("turned away {}", body["subject"].as_str().unwrap()));
        return says(503).into_response();
    }
    let mut kept = serde_json::Map::new();
    for name in ["authorization", "content-type", "idempotency-key"] {
        if let Some(value) = headers.get(name) {
            kept.insert(name.to_owned(), value.to_str().unwrap().into());
        }
    }
    esp.events.lock().unwrap().push(format!("request {}", body["subject"].as_str().unwrap()));
    let request = json!({"method": method.as_str(), "path": uri.path(), "headers": kept, "body": body});
    esp.requests.lock().unwrap().push(request);
    let next = esp.script.lock().unwrap().pop_front();
    match next.unwrap_or(says(202)) {
        Answer::Hangs => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            says(500).into_response()
        }
        answer => answer.into_response(),
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Answer::Says(status, headers, body) = self else { unreachable!() };
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        response.body(body.into()).unwrap()
    }
}

/// A port that takes connections, reads something and hangs up without a word.
pub async fn hangs_up() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.readable().await.unwrap();
            let _ = stream.try_read(&mut [0; 64 * 1024]);
        }
    });
    address
}

/// A port on which nobody listens.
pub async fn nobody() -> SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
