//! What can go wrong with the ledger, where, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::MirrorError;
use crate::decision::{DecisionId, DeliveryState};

/// Why the ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the ledger {path} is open in another process; stop that one, or give this one its own `state` folder")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Nothing was ever recorded there.
    #[error("there is no ledger {path}; name the configuration that `beckon run` is given")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Written by another version of Beckon, or no ledger at all.
    #[error(
        "the ledger {path} has format {found}, this version of Beckon reads {known}; run the version that wrote it, or move the file away and replay"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: String,
        /// The format that is read.
        known: u64,
    },
    /// It could not be made again from its mirror, or the mirror cannot be written.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// It could not be made again from its mirror.
    #[error("the ledger cannot be made again from its mirror: {0}")]
    Restore(LedgerError),
    /// What was journaled last could not be written into its file.
    #[error("the ledger cannot take up its journal: {0}")]
    Recover(LedgerError),
    /// The journal is of another version of Beckon.
    #[error(
        "the ledger's journal {path} has a frame {number} that cannot be read ({fault}); start the version of Beckon that wrote it once more, and stop it"
    )]
    Journal {
        /// The file.
        path: PathBuf,
        /// Which frame.
        number: u64,
        /// What is wrong with it.
        fault: String,
    },
    /// The disk is full.
    #[error("no space left for the ledger {path}; free some and start again")]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Anything else that the disk or the database says.
    #[error(
        "cannot open the ledger {path}: {source}; check the folder's permissions, or restore the file from a backup"
    )]
    Storage {
        /// The file.
        path: PathBuf,
        /// What was said.
        source: Box<redb::Error>,
    },
}

impl OpenError {
    pub(super) fn of(source: redb::Error, path: &Path) -> OpenError {
        let path = path.to_owned();
        match source {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => OpenError::Locked { path },
            source if is_full(&source) => OpenError::Full { path },
            source => OpenError::Storage { path, source: Box::new(source) },
        }
    }
}

/// Why something could not be written to or read from the open ledger.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// A state was asked to follow one that it may not. A fault of the caller; nothing was changed.
    #[error("delivery {id} is {from} and cannot become {to}")]
    Step {
        /// Which.
        id: DecisionId,
        /// Where it stands.
        from: DeliveryState,
        /// What was asked for.
        to: DeliveryState,
    },
    /// There is no delivery of this id. A fault of the caller; nothing was changed.
    #[error("the ledger has no delivery {id}; a send is recorded before it is delivered")]
    NoDelivery {
        /// Which.
        id: DecisionId,
    },
    /// The disk is full. The process has to be started again.
    #[error("no space left for the ledger {path}; free some and start again")]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Anything else that the disk or the database says. The process has to be started again.
    #[error("the ledger {path} failed: {source}; start again, and restore the file from a backup if it stays so")]
    Storage {
        /// The file.
        path: PathBuf,
        /// What was said; shared by all who waited for one commit.
        source: Arc<redb::Error>,
    },
    /// An entry does not read as what it should be.
    #[error("the ledger {path} has an entry {id} that cannot be read ({fault}); restore the file from a backup")]
    Entry {
        /// The file.
        path: PathBuf,
        /// Which.
        id: DecisionId,
        /// What is wrong with it.
        fault: String,
    },
    /// A decision cannot be written as JSON.
    #[error("decision {id} cannot be written: {fault}")]
    Unwritable {
        /// Which.
        id: DecisionId,
        /// What is wrong with it.
        fault: String,
    },
    /// The mirror. The process has to be started again.
    #[error(transparent)]
    Mirror(MirrorError),
    /// What decisions follow from could not be made durable before them. The process has to be started again.
    #[error("{0}")]
    First(Arc<dyn std::error::Error + Send + Sync>),
    /// The writer is gone, and has not said why: it has panicked.
    #[error("the ledger {path} has stopped; see the log, and start again")]
    Stopped {
        /// The file.
        path: PathBuf,
    },
}

impl LedgerError {
    pub(super) fn of(source: redb::Error, path: &Path) -> LedgerError {
        let path = path.to_owned();
        if is_full(&source) {
            LedgerError::Full { path }
        } else {
            LedgerError::Storage { path, source: Arc::new(source) }
        }
    }
}

fn is_full(source: &redb::Error) -> bool {
    matches!(source, redb::Error::Io(error)
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_so() {
        let full = || redb::Error::Io(io::Error::from(io::ErrorKind::StorageFull));
        let path = Path::new("state/ledger.redb");
        let advice = "no space left for the ledger state/ledger.redb; free some and start again";
        assert_eq!(LedgerError::of(full(), path).to_string(), advice);
        assert_eq!(OpenError::of(full(), path).to_string(), advice);
    }
}
