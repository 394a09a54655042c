//! What was committed since the database's file was last written to the disk. In: frames, each the steps of one batch. Out: after a crash the same
//! frames, in their order. Fails when the disk does.
//!
//! A transaction that the database makes durable by itself writes some thirty pages for one decision. Here a batch is one append and
//! one sync, and whoever waits for it waits for no more; the pages are written once for many batches, when nobody waits.
//!
//! A frame is its length and a checksum of the rest, then a number that grows by one with each, then JSON. What was being appended when the process
//! died is no whole frame; nobody was told that it is durable.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::Storage;
use crate::durable::Appended;

/// How long nobody must have waited before the database's file is written,
const IDLE: Duration = Duration::from_millis(20);

/// and it is not written more often than this,
const EVERY: Duration = Duration::from_secs(1);

/// unless the journal has grown so long: reading it again takes a fraction of a second.
const BYTES_MAX: u64 = 4 << 20;

/// What comes before a frame's number.
const HEAD: usize = mem::size_of::<u32>() + mem::size_of::<u64>();

const NUMBER: usize = mem::size_of::<u64>();

/// The open journal.
pub(super) struct Journal {
    disk: Arc<dyn Storage>,
    path: PathBuf,
    file: Arc<dyn Appended>,
    /// The last frame's, ever.
    number: u64,
    /// How long the file is.
    bytes: u64,
    bytes_max: u64,
    /// When it was last empty, and last appended to.
    emptied: Instant,
    appended: Instant,
}

/// A batch of steps that is known to be whole.
pub(super) struct Frame {
    pub number: u64,
    pub json: Vec<u8>,
}

impl Journal {
    /// The frames in the file at `path`, up to the first that is not whole; none where there is no file.
    pub fn read(disk: &dyn Storage, path: &Path) -> io::Result<Vec<Frame>> {
        let bytes = match disk.read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            bytes => bytes?,
        };
        let mut rest = bytes.as_slice();
        Ok(std::iter::from_fn(|| Frame::take(&mut rest)).collect())
    }

    /// An empty one in the place of what is at `path`. Its frames are numbered on from `number`.
    pub fn begin(disk: Arc<dyn Storage>, path: PathBuf, number: u64) -> io::Result<Journal> {
        let (file, now) = (empty(&*disk, &path)?, Instant::now());
        Ok(Journal { disk, path, file, number, bytes: 0, bytes_max: BYTES_MAX, emptied: now, appended: now })
    }

    /// The same, which is written back when it is so long, however busy it is.
    pub fn at_most(self, bytes_max: u64) -> Journal {
        Journal { bytes_max, ..self }
    }

    /// The number that the next frame has.
    pub fn next(&self) -> u64 {
        self.number + 1
    }

    /// Appends a frame. When this returns, the disk has it.
    pub fn append(&mut self, json: &[u8]) -> io::Result<()> {
        let frame = Frame::bytes(self.next(), json)?;
        self.file.append(&frame)?;
        self.file.sync()?;
        self.number += 1;
        self.bytes += frame.len() as u64;
        self.appended = Instant::now();
        Ok(())
    }

    /// Forgets all frames, once what they say is durable elsewhere.
    pub fn clear(&mut self) -> io::Result<()> {
        self.file = empty(&*self.disk, &self.path)?;
        (self.bytes, self.emptied) = (0, Instant::now());
        Ok(())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether it is time to write the database's file though somebody waits.
    pub fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// When it is time if nobody waits; never while it is empty.
    pub fn due(&self) -> Option<Instant> {
        (!self.is_empty()).then(|| (self.appended + IDLE).max(self.emptied + EVERY))
    }
}

/// Puts an empty file at `path`, whole and in one step.
fn empty(disk: &dyn Storage, path: &Path) -> io::Result<Arc<dyn Appended>> {
    let new = path.with_extension("journal.new");
    let file = disk.create(&new, &[])?;
    disk.replace(&new, path)?;
    Ok(file)
}

impl Frame {
    fn bytes(number: u64, json: &[u8]) -> io::Result<Vec<u8>> {
        let length = u32::try_from(json.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut bytes = vec![0; HEAD];
        bytes.extend(number.to_le_bytes());
        bytes.extend(json);
        let check = xxh3_64(&bytes[HEAD..]);
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[4..HEAD].copy_from_slice(&check.to_le_bytes());
        Ok(bytes)
    }

    /// Takes the first frame off `bytes`, if it is whole.
    fn take(bytes: &mut &[u8]) -> Option<Frame> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (check, rest) = rest.split_first_chunk()?;
        let (frame, rest) = rest.split_at_checked(NUMBER + u32::from_le_bytes(*length) as usize)?;
        let (number, json) = frame.split_first_chunk()?;
        *bytes = rest;
        let is_whole = xxh3_64(frame) == u64::from_le_bytes(*check);
        is_whole.then(|| Frame { number: u64::from_le_bytes(*number), json: json.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::Machine;

    fn read(path: &Path) -> Vec<(u64, String)> {
        let frames = Journal::read(&Machine, path).unwrap().into_iter();
        frames.map(|frame| (frame.number, String::from_utf8(frame.json).unwrap())).collect()
    }

    #[test]
    fn frames_are_read_again_up_to_the_first_that_is_cut_off_or_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.journal");
        assert!(read(&path).is_empty());
        let mut journal = Journal::begin(Arc::new(Machine), path.clone(), 41).unwrap();
        assert!(journal.due().is_none() && journal.is_empty());
        for json in ["[1]", "[]", "[\"three\"]"] {
            journal.append(json.as_bytes()).unwrap();
        }
        assert!(journal.due().is_some() && !journal.is_full());
        let all = [(42, "[1]".to_owned()), (43, "[]".to_owned()), (44, "[\"three\"]".to_owned())];
        assert_eq!(read(&path), all);

        let whole = std::fs::read(&path).unwrap();
        let [first, second] = [HEAD + NUMBER + 3, 2 * (HEAD + NUMBER) + 5];
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            assert_eq!(read(&path), all[..usize::from(end >= first) + usize::from(end >= second)], "cut off at {end}");
        }
        for at in second..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(read(&path), all[..2], "damaged at {at}");
        }

        journal.clear().unwrap();
        assert!(read(&path).is_empty() && journal.due().is_none());
        journal.append(b"[4]").unwrap();
        assert_eq!(read(&path), [(45, "[4]".to_owned())]);
    }
}
