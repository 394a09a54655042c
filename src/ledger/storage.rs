//! Where the ledger's file is. In: a path. Out: the database there. Fails when the disk does, or when another has it open.

use std::path::Path;

use redb::{Database, DatabaseError};

use crate::durable::{Disk, Machine};

/// What is kept of the file in memory, bytes. redb's own choice is 1 GiB, which a large ledger would come to fill; the system's page
/// cache has the rest.
const CACHE_BYTES: usize = 64 << 20;

/// A disk that a database can be on.
pub trait Storage: Disk {
    /// Opens the database in the file `path`, made if there is none.
    fn database(&self, path: &Path) -> Result<Database, DatabaseError>;
}

impl Storage for Machine {
    fn database(&self, path: &Path) -> Result<Database, DatabaseError> {
        Database::builder().set_cache_size(CACHE_BYTES).create(path)
    }
}
