//! A snapshot that is being written. In: its parts. Out: after [`Draft::commit`] a durable file under its own name. Fails when the
//! disk does; what is not committed leaves nothing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use beckon_dataflows::model::Tick;
use xxhash_rust::xxh3::Xxh3Default;

use super::format::{self, Head, NAME_BYTES_MAX, PART_BYTES_MAX};
use super::{Folder, StoreError};
use crate::durable;

/// How much is written to the disk at once.
const WRITE_BYTES: usize = 1 << 20;

/// A snapshot that is being written, under a name that nobody reads.
pub struct Draft {
    folder: Arc<Folder>,
    tick: Tick,
    path: PathBuf,
    file: BufWriter<File>,
    whole: Xxh3Default,
    bytes: u64,
    parts: u64,
}

/// A snapshot that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its file.
    pub path: PathBuf,
    /// The length of it.
    pub bytes: u64,
}

impl Draft {
    pub(super) fn begin(folder: Arc<Folder>, tick: Tick) -> Result<Draft, StoreError> {
        let path = folder.draft_path(tick);
        let file = File::create(&path).map_err(|error| StoreError::of(error, path.clone()))?;
        let head = format::head(&Head { tick, identity: folder.identity.clone() });
        let file = BufWriter::with_capacity(WRITE_BYTES, file);
        let mut draft = Draft { folder, tick, path, file, whole: Xxh3Default::new(), bytes: 0, parts: 0 };
        draft.write(&head)?;
        Ok(draft)
    }

    /// Adds a part to a section. Parts of several sections may be mixed; those of one come back in this order. At most 64 MiB
    /// each, and better some 64 KiB.
    pub fn add(&mut self, section: &str, part: &[u8]) -> Result<(), StoreError> {
        if section.len() > NAME_BYTES_MAX || part.len() > PART_BYTES_MAX {
            let most = "a name has at most 255 bytes, a part 64 MiB";
            let (section, bytes) = (section.to_owned(), part.len());
            return Err(StoreError::Part { tick: self.tick, section, bytes, most });
        }
        let (before, checksum) = format::around(section, part);
        self.write(&before)?;
        self.write(part)?;
        self.write(&checksum)?;
        self.parts += 1;
        Ok(())
    }

    /// How many bytes it has so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it durable under its own name, and only then removes all others but the one before it.
    pub fn commit(mut self) -> Result<Written, StoreError> {
        self.write(&format::trailer(self.parts, self.bytes))?;
        let whole = self.whole.digest();
        self.write(&whole.to_le_bytes())?;
        let path = self.folder.path(self.tick);
        let finish = |draft: &mut Draft| {
            draft.file.flush()?;
            draft.file.get_ref().sync_all()?;
            durable::replace(&draft.path, &path)
        };
        finish(&mut self).map_err(|error| self.fault(error))?;
        self.folder.keep(self.tick)?;
        Ok(Written { path, bytes: self.bytes })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|error| self.fault(error))?;
        self.whole.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn fault(&self, error: io::Error) -> StoreError {
        StoreError::of(error, self.path.clone())
    }
}

impl Drop for Draft {
    /// Removes what was written, if it was not committed: then it has another name. What cannot be removed is when the store is opened again.
    fn drop(&mut self) {
        let _ = durable::clear(&self.path);
    }
}
