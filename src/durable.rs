//! Files that are put in the place of others, durably: the timeline and the ledger, when they are written anew. In: paths. Fails
//! when the disk does.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Puts the file `new`, which is whole and synced, in the place of `path`. After a crash there is the one or the other.
pub fn replace(new: &Path, path: &Path) -> io::Result<()> {
    fs::rename(new, path)?;
    File::open(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
}

/// Removes what an attempt that was cut off has left at `path`, if anything.
pub fn clear(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
