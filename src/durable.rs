//! Where the files are kept that must outlive the process: the timeline, the ledger and the snapshots. In: paths. Out: their bytes,
//! and files that are appended to, or put in the place of others so that a crash leaves one of the two. Fails when the disk does.
//!
//! What timeline and ledger do stands behind [`Disk`], so that what becomes of them on a disk that fails, or forgets what was not
//! synced, can be seen.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

/// A disk.
pub trait Disk: Debug + Send + Sync {
    /// Makes the folder, and those above it, where they are missing.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;

    /// How long a file is, bytes; none where there is none.
    fn size(&self, path: &Path) -> io::Result<Option<u64>>;

    /// The names of what is in a folder; none where there is no folder.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// A file whole.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Makes a file of these bytes, which are synced, to be appended to; what was there before is gone.
    fn create(&self, path: &Path, bytes: &[u8]) -> io::Result<Arc<dyn Appended>>;

    /// Puts the file `new`, which is whole and synced, in the place of `path`. After a crash there is the one or the other.
    fn replace(&self, new: &Path, path: &Path) -> io::Result<()>;

    /// Removes what an attempt that was cut off has left at `path`, if anything.
    fn clear(&self, path: &Path) -> io::Result<()>;
}

/// A file that is appended to, or written over from some place on.
pub trait Appended: Debug + Send + Sync {
    /// Appends all of it; where that fails, perhaps its beginning.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Writes all of it over what is at `place`; where that fails, perhaps a part. A file is either appended to or written over.
    fn write_at(&self, place: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes durable what was written before.
    fn sync(&self) -> io::Result<()>;
}

/// The machine's own.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

impl Disk for Machine {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)
    }

    fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(path) {
            Ok(file) => Ok(Some(file.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
        Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn create(&self, path: &Path, bytes: &[u8]) -> io::Result<Arc<dyn Appended>> {
        fs::write(path, bytes)?;
        let mut file = File::options().write(true).open(path)?;
        file.seek(SeekFrom::End(0))?;
        file.sync_all()?;
        Ok(Arc::new(file))
    }

    fn replace(&self, new: &Path, path: &Path) -> io::Result<()> {
        replace(new, path)
    }

    fn clear(&self, path: &Path) -> io::Result<()> {
        clear(path)
    }
}

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

impl Appended for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&*self).write_all(bytes)
    }

    fn write_at(&self, place: u64, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.seek(SeekFrom::Start(place))?;
        file.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
