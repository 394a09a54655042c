//! Connections between the processes of a cluster. In: where all are. Out: one connection to each of the others, over which both
//! ends have found that they run the same thing. Fails when one does not come in time, or is at odds.
//!
//! Whoever connects begins: each process to those before it, which listen. What else comes to the port is turned away. There is no
//! encryption and no password: the ports of a cluster belong in a private network.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::initialize::Hooks;

use beckon_dataflows::model::Tick;

use super::Cluster;

/// How long a process waits for the others when it starts: one may have to make its ledger again from the mirror first.
pub const PEERS_WAIT: Duration = Duration::from_secs(300);

/// How often it says that it waits.
const REPORT: Duration = Duration::from_secs(10);

/// Between two looks at who has come.
const LOOK: Duration = Duration::from_millis(50);

/// How long one attempt to connect, or to hear who it is, may take.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// What a greeting begins with, the last byte its version.
const MAGIC: [u8; 8] = *b"beckon\0\x02";

/// How many snapshots a process says that it has: as many as are kept.
const OFFERS: usize = 2;

const GREETING_BYTES: usize = 28 + OFFERS * 8;

/// What all processes of a cluster must have alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Workers of each process.
    pub workers: usize,
    /// A hash of the build and of what is configured, as far as it decides.
    pub fingerprint: u64,
}

/// The connections to the other processes, and who this one is among them.
pub struct Peers {
    cluster: Cluster,
    sockets: Vec<Option<TcpStream>>,
    common: Option<Tick>,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody can connect to this process.
    #[error(
        "cannot listen at {host}, where the file of hosts has process {process}: {error}\n  the host must be one of this machine's, and the port free"
    )]
    Listen {
        /// Where.
        host: String,
        /// Which process this is.
        process: usize,
        /// Why.
        error: io::Error,
    },
    /// Some did not come.
    #[error("process {} not there after {waited_s} s\n  start every process of the file of hosts, and see their logs", missing.join(" and process "))]
    Missing {
        /// Which, with host and, where it is known, why.
        missing: Vec<String>,
        /// How long they were waited for, s.
        waited_s: u64,
    },
    /// One is there and runs something else.
    #[error("process {process} at {host} has {theirs}, this one {ours}\n  {hint}")]
    AtOdds {
        /// Which.
        process: usize,
        /// Where.
        host: String,
        /// What it has.
        theirs: String,
        /// What this one has.
        ours: String,
        /// What to do.
        hint: &'static str,
    },
}

/// What a process says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Greeting {
    process: u32,
    processes: u32,
    workers: u32,
    fingerprint: u64,
    /// The ticks of its snapshots; 0: none.
    offers: [Tick; OFFERS],
}

impl Cluster {
    /// Connects to all other processes, which have `wait` to come. This one can go on from snapshots of the ticks `offers`, of which no more
    /// are told than are kept.
    pub fn connect(&self, terms: Terms, offers: &[Tick], wait: Duration) -> Result<Peers, ConnectError> {
        let began = Instant::now();
        let listener = self.listen(began + wait)?;
        let greeting = self.greeting(terms, offers);
        let mut offered = vec![greeting.offers; self.hosts.len()];
        let mut sockets: Vec<Option<TcpStream>> = self.hosts.iter().map(|_| None).collect();
        let mut said = vec![String::new(); self.hosts.len()];
        let mut reported = began;
        while !self.missing(&sockets).is_empty() {
            for process in self.missing(&sockets).into_iter().filter(|it| *it < self.process) {
                match self.call(process, greeting)? {
                    Ok((theirs, socket)) => (offered[process], sockets[process]) = (theirs.offers, Some(socket)),
                    Err(error) => said[process] = format!(" ({error})"),
                }
            }
            while let Ok((socket, _)) = listener.accept() {
                if let Some((theirs, socket)) = self.answer(socket, greeting)? {
                    let process = theirs.process as usize;
                    (offered[process], sockets[process]) = (theirs.offers, Some(socket));
                }
            }
            if began.elapsed() > wait {
                let missing = self
                    .missing(&sockets)
                    .into_iter()
                    .map(|it| format!("{it} at {}{} is", self.hosts[it], said[it]))
                    .collect();
                return Err(ConnectError::Missing { missing, waited_s: wait.as_secs() });
            }
            if reported.elapsed() > REPORT {
                reported = Instant::now();
                tracing::warn!(processes = ?self.missing(&sockets), "waiting for other processes of the cluster");
            }
            std::thread::sleep(LOOK);
        }
        Ok(Peers { cluster: self.clone(), sockets, common: common(&offered) })
    }

    /// Which processes are not connected yet.
    fn missing(&self, sockets: &[Option<TcpStream>]) -> Vec<usize> {
        let others = sockets.iter().enumerate().filter(|(process, _)| *process != self.process);
        others.filter(|(_, socket)| socket.is_none()).map(|(process, _)| process).collect()
    }

    /// Listens at its own host: one that was just killed may still have the port.
    fn listen(&self, until: Instant) -> Result<TcpListener, ConnectError> {
        let host = &self.hosts[self.process];
        loop {
            let listening = TcpListener::bind(host).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            });
            match listening {
                Ok(listener) => return Ok(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                    std::thread::sleep(LOOK);
                }
                Err(error) => {
                    return Err(ConnectError::Listen { host: host.clone(), process: self.process, error });
                }
            }
        }
    }

    fn greeting(&self, terms: Terms, snapshots: &[Tick]) -> Greeting {
        let mut offers = [0; OFFERS];
        offers.iter_mut().zip(snapshots).for_each(|(offer, tick)| *offer = *tick);
        Greeting {
            offers,
            process: self.process as u32,
            processes: self.hosts.len() as u32,
            workers: terms.workers as u32,
            fingerprint: terms.fingerprint,
        }
    }

    /// Connects to one before this; that it is not there yet is no failure.
    fn call(&self, process: usize, ours: Greeting) -> Result<io::Result<(Greeting, TcpStream)>, ConnectError> {
        let greet = || {
            let address = self.hosts[process].to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
            let mut socket = TcpStream::connect_timeout(&address, ANSWER_WAIT)?;
            // Where nobody listens, a connection to a port of this machine may have come by that very port.
            if socket.local_addr()? == socket.peer_addr()? {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            prepare(&socket)?;
            socket.write_all(&ours.bytes())?;
            Ok((Greeting::read(&mut socket)?, socket))
        };
        match greet() {
            Ok((theirs, socket)) => {
                self.judge(process, theirs, ours)?;
                Ok(open_ended(socket).map(|socket| (theirs, socket)))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// Answers whoever has connected; none where that is no process after this.
    fn answer(&self, mut socket: TcpStream, ours: Greeting) -> Result<Option<(Greeting, TcpStream)>, ConnectError> {
        let hear = |socket: &mut TcpStream| {
            socket.set_nonblocking(false)?;
            prepare(socket)?;
            let theirs = Greeting::read(socket)?;
            socket.write_all(&ours.bytes())?;
            Ok::<_, io::Error>(theirs)
        };
        let theirs = match hear(&mut socket) {
            Ok(theirs) => theirs,
            Err(error) => {
                tracing::warn!(%error, from = ?socket.peer_addr().ok(), "turned away who is no process of this cluster");
                return Ok(None);
            }
        };
        let process = theirs.process as usize;
        self.judge(process, theirs, ours)?;
        let is_after = process > self.process && process < self.hosts.len();
        Ok(is_after.then_some(socket).and_then(|socket| open_ended(socket).ok()).map(|socket| (theirs, socket)))
    }

    /// Whether a process that greeted runs the same.
    fn judge(&self, process: usize, theirs: Greeting, ours: Greeting) -> Result<(), ConnectError> {
        let ours = Greeting { process: process as u32, ..ours };
        let said = |what: fn(&Greeting) -> String, hint| {
            let host = self.hosts.get(process).cloned().unwrap_or_else(|| "a host of its own file".to_owned());
            let (theirs, ours) = (what(&theirs), what(&ours));
            (theirs != ours).then_some(ConnectError::AtOdds { process, host, theirs, ours, hint })
        };
        let odds = said(|it| format!("{} processes", it.processes), "give all the same file of hosts")
            .or_else(|| said(|it| format!("the number {}", it.process), "give all the same file of hosts"))
            .or_else(|| said(|it| format!("{} workers", it.workers), "give all the same --workers"))
            .or_else(|| {
                said(
                    |it| format!("build and configuration {:016x}", it.fingerprint),
                    "run the same build on the same configuration everywhere",
                )
            });
        odds.map_or(Ok(()), Err)
    }
}

/// Both ends answer at once, or something is wrong.
fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(ANSWER_WAIT))?;
    socket.set_read_timeout(Some(ANSWER_WAIT))
}

/// From here on a connection may be silent for as long as it likes.
fn open_ended(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_write_timeout(None)?;
    socket.set_read_timeout(None)?;
    Ok(socket)
}

impl Greeting {
    fn bytes(self) -> [u8; GREETING_BYTES] {
        let mut bytes = [0; GREETING_BYTES];
        let (magic, rest) = bytes.split_at_mut(MAGIC.len());
        magic.copy_from_slice(&MAGIC);
        for (number, at) in [self.process, self.processes, self.workers].into_iter().zip(rest[..12].chunks_mut(4)) {
            at.copy_from_slice(&number.to_be_bytes());
        }
        for (number, at) in [self.fingerprint].iter().chain(&self.offers).zip(rest[12..].chunks_mut(8)) {
            at.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    fn read(from: &mut impl Read) -> io::Result<Greeting> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no greeting of this version"));
        }
        let mut number = || {
            let mut bytes = [0; 4];
            from.read_exact(&mut bytes).map(|()| u32::from_be_bytes(bytes))
        };
        let (process, processes, workers) = (number()?, number()?, number()?);
        let mut number = || {
            let mut bytes = [0; 8];
            from.read_exact(&mut bytes).map(|()| u64::from_be_bytes(bytes))
        };
        let fingerprint = number()?;
        let mut offers = [0; OFFERS];
        for offer in &mut offers {
            *offer = number()?;
        }
        Ok(Greeting { process, processes, workers, fingerprint, offers })
    }
}

/// The newest tick of which all have a snapshot.
fn common(offered: &[[Tick; OFFERS]]) -> Option<Tick> {
    let (first, others) = offered.split_first()?;
    let has = |tick: &Tick| *tick > 0 && others.iter().all(|offers| offers.contains(tick));
    first.iter().copied().filter(has).max()
}

impl Peers {
    /// Who this process is among them.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The tick of the newest snapshot that all processes can go on from.
    pub fn common(&self) -> Option<Tick> {
        self.common
    }

    /// What timely makes workers from, `threads` in each process.
    pub(crate) fn into_allocators(
        self,
        threads: usize,
    ) -> io::Result<(Vec<AllocatorBuilder>, Box<dyn std::any::Any + Send>)> {
        let hooks = Hooks::default();
        let local = ProcessBuilder::new_typed_vector(threads, hooks.refill.clone(), None);
        let (workers, connections) =
            initialize_networking_from_sockets(local, self.sockets, self.cluster.process, threads, hooks)?;
        Ok((workers.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(connections)))
    }
}

/// From here on this process ends, with code 1, when the connection to another does; and when a thread of its own panics, whatever
/// the build's panic strategy is: the others would wait for it for ever.
pub fn end_with_peers(cluster: &Cluster) {
    let hosts = cluster.hosts.clone();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        let lost = name.strip_prefix("timely:recv-").or_else(|| name.strip_prefix("timely:send-"));
        match lost.and_then(|process| process.parse::<usize>().ok()) {
            Some(process) => {
                let host = hosts.get(process).map_or("its host", String::as_str);
                eprintln!(
                    "process {process} at {host} is gone\n  this one ends too, and all have to be started again; the log of that one says why"
                );
            }
            None => usual(panic),
        }
        std::process::exit(1);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hosts on which nothing listens.
    fn hosts(count: usize) -> Vec<String> {
        let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        held.iter().map(|it| it.local_addr().unwrap().to_string()).collect()
    }

    const TERMS: Terms = Terms { workers: 2, fingerprint: 7 };

    const WAIT: Duration = Duration::from_secs(20);

    /// What each process comes to, of which process I has `terms(I)`.
    fn connect(
        count: usize,
        wait: Duration,
        terms: impl Fn(usize) -> Terms + Sync,
    ) -> Vec<Result<Peers, ConnectError>> {
        connect_offering(count, wait, terms, |_| Vec::new())
    }

    fn connect_offering(
        count: usize,
        wait: Duration,
        terms: impl Fn(usize) -> Terms + Sync,
        offers: impl Fn(usize) -> Vec<Tick> + Sync,
    ) -> Vec<Result<Peers, ConnectError>> {
        let (hosts, terms, offers) = (hosts(count), &terms, &offers);
        std::thread::scope(|scope| {
            let start = |process| {
                let cluster = Cluster::at(process, hosts.clone());
                scope.spawn(move || cluster.connect(terms(process), &offers(process), wait))
            };
            let started: Vec<_> = (0..count).rev().map(start).collect();
            started.into_iter().map(|it| it.join().unwrap()).collect()
        })
    }

    #[test]
    fn all_are_connected_to_all() {
        for peers in connect(3, WAIT, |_| TERMS) {
            let peers = peers.unwrap();
            let own = peers.cluster.process;
            assert!(peers.sockets.iter().enumerate().all(|(process, socket)| socket.is_none() == (process == own)));
        }
    }

    #[test]
    fn all_go_on_from_the_newest_that_all_have() {
        let of = |offers: [&[Tick]; 3]| {
            let ended = connect_offering(3, WAIT, |_| TERMS, |process| offers[process].to_vec());
            let common: Vec<Option<Tick>> = ended.into_iter().map(|peers| peers.unwrap().common()).collect();
            assert!(common.windows(2).all(|two| two[0] == two[1]), "{common:?}");
            common[0]
        };
        assert_eq!(of([&[9, 7], &[7, 5], &[9, 7]]), Some(7));
        assert_eq!(of([&[9, 7], &[9, 7], &[9, 7]]), Some(9));
        assert_eq!(of([&[9, 7], &[5], &[]]), None);
    }

    #[test]
    fn who_is_at_odds_is_told() {
        let ended = connect(2, WAIT, |process| Terms { workers: 1 + process, ..TERMS });
        let said: Vec<String> = ended.into_iter().filter_map(|it| it.err()).map(|error| error.to_string()).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[1].contains("has 2 workers, this one 1 workers\n  give all the same --workers"), "{said:?}");
    }

    #[test]
    fn who_does_not_come_is_named() {
        let hosts = hosts(3);
        let error =
            Cluster::at(1, hosts.clone()).connect(TERMS, &[], Duration::from_millis(100)).err().unwrap().to_string();
        assert!(error.contains(&format!("process 0 at {} (", hosts[0])), "{error}");
        assert!(error.contains(&format!("and process 2 at {} is not there after", hosts[2])), "{error}");
    }

    #[test]
    fn a_stranger_is_turned_away() {
        let hosts = hosts(2);
        let [first, second] = [0, 1].map(|process| Cluster::at(process, hosts.clone()));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || first.connect(TERMS, &[], WAIT));
            let mut stranger = loop {
                match TcpStream::connect(&hosts[0]) {
                    Ok(socket) => break socket,
                    Err(_) => std::thread::sleep(LOOK),
                }
            };
            stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            let connected = second.connect(TERMS, &[], WAIT);
            assert!(connected.is_ok() && waiting.join().unwrap().is_ok());
        });
    }

    #[test]
    fn a_greeting_is_read_as_it_was_written() {
        let greeting = Greeting { process: 1, processes: 3, workers: 256, fingerprint: u64::MAX - 5, offers: [8, 0] };
        assert_eq!(Greeting::read(&mut &greeting.bytes()[..]).unwrap(), greeting);
        assert!(Greeting::read(&mut &b"SSH-2.0-OpenSSH_9.2\r\n        "[..]).is_err());
        assert!(Greeting::read(&mut &greeting.bytes()[..20]).is_err());
    }
}
