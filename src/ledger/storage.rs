//! Where the ledger's file is. In: a path. Out: the database there. Fails when the disk does, or when another has it open.

use std::path::Path;

use redb::{Database, DatabaseError};

use crate::durable::{Disk, Machine};

/// A disk that a database can be on.
pub trait Storage: Disk {
    /// Opens the database in the file `path`, made if there is none.
    fn database(&self, path: &Path) -> Result<Database, DatabaseError>;
}

impl Storage for Machine {
    fn database(&self, path: &Path) -> Result<Database, DatabaseError> {
        Database::create(path)
    }
}
