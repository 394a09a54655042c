//! A connection from which nothing is read ahead until it is encrypted. lettre reads through a buffer that it keeps over STARTTLS, so
//! what somebody in the middle says in the clear right after the server's 220 would be taken for the replies of afterwards ("Why TLS is
//! better without STARTTLS", USENIX Security 2021, response injection): a mail would count as taken that the server never saw. In: a TCP
//! connection. Out: a stream for lettre. Fails as TCP does.
//!
//! Read byte by byte, the buffer has nothing but the replies that were asked for; whatever follows them is for TLS to read, which it
//! breaks. That is a system call a byte for three replies a connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The first byte that a client of TLS writes, which is a handshake's (RFC 8446 §5.1). No command begins with it.
const HANDSHAKE: u8 = 22;

/// The connection, in the clear or with TLS on it.
#[derive(Debug)]
pub(super) struct NothingAhead {
    tcp: TcpStream,
    is_encrypted: bool,
}

impl NothingAhead {
    /// One that nothing was said on yet.
    pub fn new(tcp: TcpStream) -> NothingAhead {
        NothingAhead { tcp, is_encrypted: false }
    }
}

impl AsyncTokioStream for NothingAhead {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }
}

impl AsyncRead for NothingAhead {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_encrypted {
            return Pin::new(&mut self.tcp).poll_read(context, into);
        }
        let mut byte = [0];
        let mut read = ReadBuf::new(&mut byte[..into.remaining().min(1)]);
        ready!(Pin::new(&mut self.tcp).poll_read(context, &mut read))?;
        into.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for NothingAhead {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_encrypted |= bytes.first() == Some(&HANDSHAKE);
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
