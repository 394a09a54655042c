//! What was committed since the database's file was last written to the disk. In: frames, each the steps of one batch. Out: after a crash the same
//! frames, in their order. Fails when the disk does.
//!
//! A transaction that the database makes durable by itself writes some thirty pages for one decision. Here a batch is one write and
//! one sync, and whoever waits for it waits for no more; the pages are written once for many batches, when nobody waits. Then the
//! frames are wiped out, and others come in their place: to write over what is there takes the disk half as long as to let a file grow.
//!
//! A frame is its length and a checksum of the rest, then a number that grows by one with each, then JSON. What was being written when the process
//! died is no whole frame; nobody was told that it is durable.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::Storage;
use crate::durable::Appended;

/// How long nobody must have waited before the database's file is written,
const IDLE: Duration = Duration::from_millis(20);

/// and it is not written more often than this, because whoever comes while it is waits for some ten milliseconds,
const EVERY: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });

/// unless the journal has grown so long: reading it again takes a fraction of a second.
pub(super) const BYTES_MAX: u64 = 4 << 20;

/// For so great a part of that the file has room from the beginning.
const ROOM: u64 = 4;

/// What comes before a frame's number.
const HEAD: usize = mem::size_of::<u32>() + mem::size_of::<u64>();

const NUMBER: usize = mem::size_of::<u64>();

/// The open journal.
pub(super) struct Journal {
    file: Arc<dyn Appended>,
    /// The last frame's, ever.
    number: u64,
    /// How long the frames are.
    bytes: u64,
    bytes_max: u64,
    /// When there was last none, and when one last came.
    emptied: Instant,
    written: Instant,
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

    /// An empty one in the place of what is at `path`. Its frames are numbered on from `number`; with so many bytes it is full.
    pub fn begin(disk: &dyn Storage, path: &Path, number: u64, bytes_max: u64) -> io::Result<Journal> {
        let (file, now) = (empty(disk, path, bytes_max)?, Instant::now());
        Ok(Journal { file, number, bytes: 0, bytes_max, emptied: now, written: now })
    }

    /// The number that the next frame has.
    pub fn next(&self) -> u64 {
        self.number + 1
    }

    /// Appends a frame. When this returns, the disk has it.
    pub fn append(&mut self, json: &[u8]) -> io::Result<()> {
        let frame = Frame::bytes(self.next(), json)?;
        self.file.write_at(self.bytes, &frame)?;
        self.file.sync()?;
        self.number += 1;
        self.bytes += frame.len() as u64;
        self.written = Instant::now();
        Ok(())
    }

    /// Wipes out all frames, once what they say is durable elsewhere.
    pub fn clear(&mut self) -> io::Result<()> {
        self.file.write_at(0, &vec![0; self.bytes as usize])?;
        self.file.sync()?;
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
        (!self.is_empty()).then(|| (self.written + IDLE).max(self.emptied + EVERY))
    }
}

/// Puts a file without a frame at `path`, whole and in one step, with some room.
fn empty(disk: &dyn Storage, path: &Path, bytes_max: u64) -> io::Result<Arc<dyn Appended>> {
    let new = path.with_extension("journal.new");
    let file = disk.create(&new, &vec![0; (bytes_max / ROOM) as usize])?;
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
        let mut journal = Journal::begin(&Machine, &path, 41, 160).unwrap();
        assert!(read(&path).is_empty() && journal.due().is_none() && journal.is_empty());
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
    }

    #[test]
    fn what_was_cleared_leaves_not_a_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.journal");
        let mut journal = Journal::begin(&Machine, &path, 0, 160).unwrap();
        while !journal.is_full() {
            journal.append(b"[1234]").unwrap();
        }
        let bytes = std::fs::read(&path).unwrap().len();
        journal.clear().unwrap();
        assert!(journal.is_empty() && journal.due().is_none());
        assert_eq!(std::fs::read(&path).unwrap(), vec![0; bytes]);
        journal.append(b"[5]").unwrap();
        assert_eq!(read(&path), [(8, "[5]".to_owned())]);
    }
}
