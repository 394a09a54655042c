//! The state of a closed tick on disk, so that a restart need not read the whole log. In: parts of bytes by section, which whoever
//! serialises gives and reads; this stage does not know what they mean. Out: the newest snapshot that is whole and of this
//! [`Identity`], and for each that is not its [`Reason`]. Fails when the disk does, and nothing is lost by it: the state is a
//! function of the log.
//!
//! One file a snapshot, `TICK.snapshot`, in a folder that one process has for itself; `format.rs` says what is in it. It is written
//! under another name, synced, renamed, and the folder synced; the two newest are kept. After a crash at any point there is the one
//! before, or both.

mod draft;
mod error;
mod file;
mod format;
mod identity;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use beckon_dataflows::model::Tick;

pub use draft::{Draft, Written};
pub use error::{Reason, Refusal, StoreError};
pub use file::Snapshot;
pub use identity::{Build, BuildError, Identity, Workers};

use crate::durable;

/// What a snapshot's name ends with.
const SNAPSHOT: &str = "snapshot";
/// What the name of one that is being written ends with.
const DRAFT: &str = "draft";

/// The snapshots of one process.
pub struct Store {
    folder: Arc<Folder>,
}

/// Where they are, whose they are, and which of them is the newest good one.
struct Folder {
    dir: PathBuf,
    identity: Identity,
    good: Mutex<Option<Tick>>,
}

impl Store {
    /// Opens the folder, made if there is none, and removes what a crash has left of a snapshot that was being written. No other
    /// process may have the folder.
    pub fn open(dir: &Path, identity: Identity) -> Result<Store, StoreError> {
        let folder = Folder { dir: dir.to_owned(), identity, good: Mutex::new(None) };
        let disk = |error| StoreError::of(error, dir.to_owned());
        fs::create_dir_all(dir).map_err(disk)?;
        for (_, path) in folder.files(DRAFT).map_err(disk)? {
            durable::clear(&path).map_err(|error| StoreError::of(error, path.clone()))?;
        }
        Ok(Store { folder: Arc::new(folder) })
    }

    /// What must be the same for a snapshot to be used.
    pub fn identity(&self) -> &Identity {
        &self.folder.identity
    }

    /// The newest snapshot that can be used, verified whole; and of those that are newer why they cannot.
    pub fn newest(&self) -> (Option<Snapshot>, Vec<Refusal>) {
        let (mut found, refused) = self.take_until(1);
        let newest = found.pop();
        newest.iter().for_each(|newest| self.use_from(newest.tick()));
        (newest, refused)
    }

    /// All that can be used, the newest first, each verified whole: for processes that must all begin at one tick. [`Store::use_from`] is
    /// to be told of which. And why others cannot.
    pub fn all(&self) -> (Vec<Snapshot>, Vec<Refusal>) {
        self.take_until(usize::MAX)
    }

    /// It is gone on from the snapshot of this tick: it is the one to keep beside the next.
    pub fn use_from(&self, tick: Tick) {
        self.folder.found(tick);
    }

    /// Removes the snapshot of this tick, which turned out to be of no use.
    pub fn discard(&self, tick: Tick) -> Result<(), StoreError> {
        let path = self.folder.path(tick);
        durable::clear(&path).map_err(|error| StoreError::of(error, path.clone()))
    }

    /// The newest so many that can be used, and why others that are newer than the last of them cannot.
    fn take_until(&self, count: usize) -> (Vec<Snapshot>, Vec<Refusal>) {
        let (mut found, mut refused) = (Vec::new(), Vec::new());
        let mut files = match self.folder.files(SNAPSHOT) {
            Ok(files) => files,
            Err(error) => {
                let reason = Reason::Unreadable(error);
                return (found, vec![Refusal { path: self.folder.dir.clone(), reason }]);
            }
        };
        files.sort_unstable();
        for (tick, path) in files.into_iter().rev() {
            match Snapshot::open(&path, tick, &self.folder.identity) {
                Ok(snapshot) => found.push(snapshot),
                Err(reason) => refused.push(Refusal { path, reason }),
            }
            if found.len() == count {
                break;
            }
        }
        (found, refused)
    }

    /// Begins the snapshot of the closed tick `tick`. Until it is committed it is not there.
    pub fn begin(&self, tick: Tick) -> Result<Draft, StoreError> {
        Draft::begin(Arc::clone(&self.folder), tick)
    }
}

impl Folder {
    fn path(&self, tick: Tick) -> PathBuf {
        self.dir.join(format!("{tick}.{SNAPSHOT}"))
    }

    fn draft_path(&self, tick: Tick) -> PathBuf {
        self.dir.join(format!("{tick}.{DRAFT}"))
    }

    /// The files whose names are those of ticks and end so. What else is there is not ours.
    fn files(&self, ending: &str) -> io::Result<Vec<(Tick, PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let tick = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let (Some(tick), true) = (tick, path.extension().is_some_and(|found| found == ending)) {
                files.push((tick, path));
            }
        }
        Ok(files)
    }

    /// Notes that the snapshot of this tick is a good one.
    fn found(&self, tick: Tick) {
        *self.good.lock().unwrap_or_else(PoisonError::into_inner) = Some(tick);
    }

    /// Keeps the snapshot of this tick, which was just written, and the good one before it. All others go: older ones, and those that
    /// were refused.
    fn keep(&self, written: Tick) -> Result<(), StoreError> {
        let before = self.good.lock().unwrap_or_else(PoisonError::into_inner).replace(written);
        let disk = |error| StoreError::of(error, self.dir.clone());
        for (tick, path) in self.files(SNAPSHOT).map_err(disk)? {
            if tick != written && Some(tick) != before {
                durable::clear(&path).map_err(|error| StoreError::of(error, path.clone()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
