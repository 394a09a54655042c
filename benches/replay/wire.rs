//! A wire between two processes that counts what goes over it. In: where the one listens. Out: where the other is to connect instead, and
//! the bytes of both directions. Fails when no port is free.

use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// The wire.
pub struct Wire {
    /// Where to connect.
    pub host: String,
    bytes: Arc<AtomicU64>,
}

impl Wire {
    /// A wire to whoever listens at `to`, now or later.
    pub fn to(to: String) -> io::Result<Wire> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (host, bytes) = (listener.local_addr()?.to_string(), Arc::new(AtomicU64::new(0)));
        let counted = bytes.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // Where nobody listens yet the caller finds itself hung up on, and calls again.
                if let Ok(far) = TcpStream::connect(&to) {
                    let _ = (near.set_nodelay(true), far.set_nodelay(true));
                    carry(&near, &far, &counted);
                    carry(&far, &near, &counted);
                }
            }
        });
        Ok(Wire { host, bytes })
    }

    /// Bytes that went over it so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Carries what comes from one end to the other until it ends, on a thread of its own.
fn carry(from: &TcpStream, to: &TcpStream, bytes: &Arc<AtomicU64>) {
    let (Ok(mut from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
    let mut to = Counting { to, bytes: bytes.clone() };
    thread::spawn(move || {
        // A process that is gone is for the other one to complain of.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.to.shutdown(Shutdown::Write);
    });
}

/// Counts what is written.
struct Counting {
    to: TcpStream,
    bytes: Arc<AtomicU64>,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
