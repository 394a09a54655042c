//! Several processes that compute one dataflow (SPEC §7, `--process I --hosts FILE`). In: a file of hosts, and which of them this
//! process is. Out: connections to all others. Fails when the file is faulty, or when another process does not come or is at
//! odds with this one.
//!
//! Each process reads its share of the partitions and has workers of its own; the workers of all are one timely cluster. **Process 0
//! decides:** the changes that the graph concludes go to its workers, and state, ledger, mirror and sender are there alone; so are
//! the texts behind the ids, which `relay` brings there. A cluster starts and stops as one, and when one process dies all end.
//!
//! - `hosts`: the file.
//! - `connect`: connections, and that both ends agree.
//! - `relay`: what processes tell each other beside records.
//! - `together`: snapshots of one tick.
//! - `supervise`: starts the processes of one machine, and all anew when one ends.

mod connect;
mod hosts;
pub mod relay;
pub mod supervise;
pub mod together;

use std::path::{Path, PathBuf};

pub use connect::{ConnectError, PEERS_WAIT, Peers, Terms, end_with_peers};
pub use hosts::HostsFault;

/// Which process of which cluster this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    process: usize,
    hosts: Vec<String>,
}

impl Cluster {
    /// Process `process` of those that the file `hosts` lists: `host:port` a line, line I (from 0) is process I's. Fails with every
    /// fault of the file.
    pub fn of(process: usize, hosts: &Path) -> Result<Cluster, HostsFault> {
        let hosts = hosts::read(hosts, process)?;
        Ok(Cluster { process, hosts })
    }

    /// Process `process` of those at `hosts`.
    pub fn at(process: usize, hosts: Vec<String>) -> Cluster {
        Cluster { process, hosts }
    }

    /// Which process this is, from 0.
    pub fn process(&self) -> usize {
        self.process
    }

    /// Whether this is the process that decides.
    pub fn decides(&self) -> bool {
        self.process == 0
    }

    /// Where all of them are, in order.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Which partitions it reads.
    pub fn share(&self) -> Share {
        Share { process: self.process, processes: self.hosts.len() }
    }
}

/// Which partitions a process reads: of those of all topics, in order, each one in turn is another process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which process, from 0.
    pub process: usize,
    /// Of how many.
    pub processes: usize,
}

impl Share {
    /// Of a process that is alone.
    pub const ALL: Share = Share { process: 0, processes: 1 };

    /// Those of `partitions` that it reads.
    pub fn of<T>(self, partitions: Vec<T>) -> Vec<T> {
        let turns = partitions.into_iter().enumerate();
        turns.filter(|(turn, _)| turn % self.processes == self.process).map(|(_, partition)| partition).collect()
    }
}

/// The file that process `process` writes where process 0, or a service that is alone, writes `path`: `NAME-I.EXTENSION`.
pub fn file_of(path: &Path, process: usize) -> PathBuf {
    if process == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    path.with_file_name(format!("{stem}-{process}{}", extension.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_files_of_its_own() {
        let of = |path, process| file_of(Path::new(path), process).display().to_string();
        assert_eq!(of("state/timeline.jsonl", 0), "state/timeline.jsonl");
        assert_eq!(of("state/timeline.jsonl", 2), "state/timeline-2.jsonl");
        assert_eq!(of("dead", 1), "dead-1");
    }
}
