//! Whose a snapshot is: what must be the same for it to be used. Fails when the running program cannot be read.
//!
//! State is what this program makes of the log under this configuration, so the layout of what is serialised is not all that
//! counts: a mended rule would have made another state. Hence the build is known by the program itself, its bytes, and not by numbers
//! that somebody has to remember to count up. A new build reads the log once.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

/// What must be the same for a snapshot to be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Which program made it.
    pub build: Build,
    /// A hash of all of the configuration that state depends on, and of nothing else.
    pub configuration: u64,
    /// Whose pieces are in it.
    pub workers: Workers,
}

/// Which workers' pieces a snapshot has: those of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workers {
    /// How many there are in all processes.
    pub total: usize,
    /// The first of this process, from 0.
    pub first: usize,
    /// How many this process has.
    pub own: usize,
}

impl Workers {
    /// All workers, where there is one process.
    pub fn all(total: usize) -> Workers {
        Workers { total, first: 0, own: total }
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Workers { total, first, own } = self;
        match (*total, *own) {
            (1, 1) => write!(f, "1 worker"),
            (total, own) if total == own => write!(f, "{total} workers"),
            (total, 1) => write!(f, "worker {first} of {total}"),
            (total, own) => write!(f, "workers {first} to {} of {total}", first + own - 1),
        }
    }
}

/// A program: its version, and a hash of its executable file, which changes with every type, rule and library in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Beckon's version.
    pub version: String,
    /// XXH3-64 of the executable.
    pub program: u64,
}

impl Build {
    /// The running program. Its file is read once, some tens of milliseconds.
    pub fn running() -> Result<Build, BuildError> {
        static PROGRAM: OnceLock<u64> = OnceLock::new();
        let program = match PROGRAM.get() {
            Some(program) => *program,
            None => *PROGRAM.get_or_init({
                let hash = hash_of_program()?;
                move || hash
            }),
        };
        Ok(Build { version: env!("CARGO_PKG_VERSION").to_owned(), program })
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} (program {:016x})", self.version, self.program)
    }
}

/// The executable of the running program cannot be read, and so no snapshot be told from those of others.
#[derive(Debug, thiserror::Error)]
#[error("cannot read Beckon's own program{}: {error}; let the user it runs as read the file, or turn snapshots off", path.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default())]
pub struct BuildError {
    /// The executable, where that much is known.
    pub path: Option<PathBuf>,
    /// Why.
    pub error: io::Error,
}

fn hash_of_program() -> Result<u64, BuildError> {
    // On Linux this names the very file that runs, also when another was put in its place since.
    let linux = PathBuf::from("/proc/self/exe");
    let path = if linux.exists() { Ok(linux) } else { std::env::current_exe() };
    let path = path.map_err(|error| BuildError { path: None, error })?;
    let hash = || {
        let mut hash = Hashed(Xxh3Default::new());
        io::copy(&mut File::open(&path)?, &mut hash)?;
        Ok(hash.0.digest())
    };
    hash().map_err(|error| BuildError { path: Some(path.clone()), error })
}

/// Hashes what is written to it.
struct Hashed(Xxh3Default);

impl io::Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
