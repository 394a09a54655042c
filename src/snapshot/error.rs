//! Why a snapshot is not used, and why one could not be written or read; in words that say what happened, where, and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use beckon_dataflows::model::Tick;

use super::{Build, Snapshot, Workers};

/// A snapshot that is not used.
#[derive(Debug)]
pub struct Refusal {
    /// Its file; or the folder, where that cannot be looked through.
    pub path: PathBuf,
    /// Why.
    pub reason: Reason,
}

/// Why a snapshot is not used. The state is as good without it: it is built from an older one, or from the log.
#[derive(Debug)]
pub enum Reason {
    /// The file cannot be read.
    Unreadable(io::Error),
    /// It ends before it is whole.
    Torn {
        /// How many bytes there are.
        bytes: u64,
    },
    /// Some of its bytes are not those that were written.
    Damaged {
        /// Where, or how it is seen.
        what: String,
    },
    /// It has another format.
    Format {
        /// Which.
        found: u32,
        /// The format that is read.
        here: u32,
    },
    /// Another program made it.
    Build {
        /// Which.
        found: Build,
        /// The one that runs.
        here: Build,
    },
    /// It was made under another configuration, as far as state depends on it.
    Configuration {
        /// Its hash.
        found: u64,
        /// The hash of the present one.
        here: u64,
    },
    /// Other workers made it. It is whole, and all else is right: who can part and join pieces may use it.
    Workers {
        /// Which.
        found: Workers,
        /// The present ones.
        here: Workers,
        /// It.
        snapshot: Box<Snapshot>,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.reason {
            Reason::Unreadable(error) => {
                write!(f, "{path} cannot be read: {error}; check the disk, and who may read the file")
            }
            Reason::Torn { bytes } => write!(
                f,
                "{path} ends after {bytes} bytes, before it is whole: the machine stopped, or the disk lost the rest; the next snapshot replaces it"
            ),
            Reason::Damaged { what } => write!(
                f,
                "{path} is damaged ({what}): check the disk, if nobody has changed the file; the next snapshot replaces it"
            ),
            Reason::Format { found, here } => write!(
                f,
                "{path} has format {found}, and this program reads {here}; run the one that wrote it, or let the next snapshot replace it"
            ),
            Reason::Build { found, here } => write!(
                f,
                "{path} was written by {found}, and this is {here}: only the same program reads it; the next snapshot replaces it"
            ),
            Reason::Configuration { .. } => write!(
                f,
                "{path} was taken under another configuration, under which the state was another; start with that one to use it, or let the next snapshot replace it"
            ),
            Reason::Workers { found, here, .. } => write!(
                f,
                "{path} has the state of {found}, and here run {here}; start as many as then to use it, or let the next snapshot replace it"
            ),
        }
    }
}

/// Why a snapshot could not be written or read. Nothing is lost by it but the time that it would have saved.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. What was written of the snapshot is removed, the earlier ones stay.
    #[error(
        "no space left for the snapshot {path}: it is given up, the earlier ones stay; free some, the next one is tried when it is due"
    )]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Anything else that the disk says.
    #[error(
        "cannot keep snapshots in {path}: {error}; check the disk and the folder's permissions. Until then a restart reads more of the log"
    )]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A part that a reader would refuse. A fault of the caller; nothing was written.
    #[error("the snapshot of tick {tick} cannot take a part of {bytes} bytes named {section:?}: {most}")]
    Part {
        /// Of which snapshot.
        tick: Tick,
        /// Its name.
        section: String,
        /// Its length.
        bytes: usize,
        /// What a part may be.
        most: &'static str,
    },
    /// A part reads otherwise than when the file was verified. The state that is being made of it has to be thrown away.
    #[error(
        "the snapshot {path} has changed since it was verified: its part at byte {at} of section {section:?}; check the disk, remove the file and start again"
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// The section.
        section: String,
        /// Where the part begins.
        at: u64,
    },
}

impl StoreError {
    pub(super) fn of(error: io::Error, path: PathBuf) -> StoreError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                StoreError::Full { path }
            }
            _ => StoreError::Disk { path, error },
        }
    }
}
