//! Connections and how long they may take. In: a listener and routes. Out: answers, until told to end. Fails never once it listens: a
//! connection that misbehaves is closed, and costs no other.
//!
//! Whoever is on the other side may be slow on purpose. So a request's head, and the silence between two requests, have a time; so has
//! a client that does not take what it is answered; and there are only so many connections, the rest wait until one is free. What
//! a body may take is for those who read it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;

/// The limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections_max: usize,
    /// How long a request's head may take, from the end of the one before.
    pub head_within: Duration,
    /// How long a client may take nothing of an answer.
    pub taken_within: Duration,
    /// How long those who are being answered have when the server ends.
    pub end_within: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 4096,
            head_within: Duration::from_secs(20),
            taken_within: Duration::from_secs(20),
            end_within: Duration::from_secs(15),
        }
    }
}

/// The largest head of a request, in bytes: what carries a token of a mail is far below.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// How long nothing is accepted after accepting failed: mostly for want of file descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Answers on `listener` until `shutdown` resolves, and then those who have asked already.
pub async fn serve(listener: TcpListener, routes: Router, shutdown: impl Future<Output = ()>) {
    serve_within(Limits::default(), listener, routes, shutdown).await;
}

/// The same within other limits.
pub async fn serve_within(limits: Limits, listener: TcpListener, routes: Router, shutdown: impl Future<Output = ()>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_within).max_buf_size(HEAD_BYTES_MAX);
    let (room, ending) = (Arc::new(Semaphore::new(limits.connections_max)), GracefulShutdown::new());
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, place) = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = &mut shutdown => break,
        };
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(limits.taken_within));
        let service = TowerToHyperService::new(routes.clone());
        let connection = ending.watch(http.serve_connection(TokioIo::new(Box::pin(stream)), service));
        tokio::spawn(async move {
            // That a client went away, or was too slow, is no fault of ours.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection was closed");
            }
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(limits.end_within, ending.shutdown()).await;
}

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // Never closed, so there is always a place in the end.
    let place = room.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}
