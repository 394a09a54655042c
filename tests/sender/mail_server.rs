//! An SMTP server on a port of this machine: it replies from a script and remembers what it was told. It encrypts at once, after
//! STARTTLS, or never.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// When the server does something unusual, once: at a command that begins so (`.` is the end of a message), and what it replies then;
/// nothing: it hangs up.
pub type Odd = (&'static str, &'static str);

/// When the server encrypts.
#[derive(Clone)]
pub enum Tls {
    AtOnce(TlsAcceptor),
    AfterStarttls(TlsAcceptor),
}

#[derive(Clone)]
pub struct MailServer {
    odd: Arc<Mutex<VecDeque<Odd>>>,
    tls: Option<Tls>,
    /// Every line it was told; a new connection is a line of its own, as is one that is encrypted from here on.
    told: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    pub async fn start(tls: Option<Tls>, odd: impl IntoIterator<Item = Odd>) -> (MailServer, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let odd = Arc::new(Mutex::new(odd.into_iter().collect()));
        let server = MailServer { odd, tls, told: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        (server, address)
    }

    async fn serve(self, stream: TcpStream) {
        self.hear("(connection)");
        match &self.tls {
            None => drop(self.converse(stream, true, false).await),
            Some(Tls::AtOnce(acceptor)) => self.encrypted(acceptor, stream, true).await,
            Some(Tls::AfterStarttls(acceptor)) => {
                if let Some(stream) = self.converse(stream, true, true).await {
                    self.encrypted(acceptor, stream, false).await;
                }
            }
        }
    }

    /// Goes on over TLS, if the other side believes who this is.
    async fn encrypted(&self, acceptor: &TlsAcceptor, stream: TcpStream, greets: bool) {
        let Ok(stream) = acceptor.accept(stream).await else { return };
        self.hear("(encrypted)");
        self.converse(stream, greets, false).await;
    }

    /// Talks until the other side hangs up, or asks to encrypt where that is offered: then the stream is returned.
    async fn converse<S>(&self, stream: S, greets: bool, offers_starttls: bool) -> Option<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = BufReader::new(stream);
        if greets {
            stream.write_all(b"220 mx.test ESMTP\r\n").await.unwrap();
        }
        let hello = if offers_starttls {
            "250-mx.test\r\n250-8BITMIME\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN"
        } else {
            "250-mx.test\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN"
        };
        let mut in_message = false;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end_matches(['\r', '\n']);
            self.hear(line);
            let usual = match line.split(' ').next().unwrap_or_default() {
                "." if in_message => "250 2.0.0 Ok: queued as Q1",
                _ if in_message => continue,
                "EHLO" => hello,
                "STARTTLS" if offers_starttls => "220 2.0.0 go ahead",
                "AUTH" => "235 2.7.0 Authenticated",
                "DATA" => "354 go on",
                "QUIT" => "221 bye",
                _ => "250 2.1.0 Ok",
            };
            let reply = self.reply(line, usual);
            in_message = reply.starts_with("354");
            if reply.is_empty() {
                return None;
            }
            stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
            if line == "STARTTLS" && offers_starttls {
                return Some(stream.into_inner());
            }
        }
    }

    /// What it says to a line that begins so.
    fn reply(&self, line: &str, usual: &'static str) -> &'static str {
        let mut odd = self.odd.lock().unwrap();
        if odd.front().is_some_and(|(at, _)| line.starts_with(at)) { odd.pop_front().unwrap().1 } else { usual }
    }

    fn hear(&self, line: &str) {
        self.told.lock().unwrap().push(line.to_owned());
    }

    pub fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}
