//! A snapshot's file, byte by byte. All numbers are little-endian.
//!
//! ```text
//! head     8 bytes "bkn-snap", format u32, length of the text u32, text (JSON: tick, identity), XXH3-64 of all before
//! part     1, length of the section's name u8, length of the part u32, name, part, XXH3-64 of all these
//! trailer  0, number of parts u64, bytes before the trailer u64, XXH3-64 of the whole file up to here
//! ```
//!
//! Every length is bounded before anything of that length is read, and nothing of a part is interpreted before the whole file is
//! verified.

use std::io::{self, Read};

use beckon_dataflows::model::Tick;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::Identity;

pub(super) const MAGIC: &[u8; 8] = b"bkn-snap";
/// Counted up when this page changes.
pub(super) const FORMAT: u32 = 1;
/// The longest text of a head.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// The longest part.
pub(super) const PART_BYTES_MAX: usize = 64 << 20;
/// The longest name of a section.
pub(super) const NAME_BYTES_MAX: usize = u8::MAX as usize;

const PART: u8 = 1;
const TRAILER: u8 = 0;
/// What is written before the name and after the part.
const PART_HEAD_BYTES: usize = 6;
const CHECKSUM_BYTES: usize = 8;

/// What the text of a head says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) tick: Tick,
    #[serde(flatten)]
    pub(super) identity: Identity,
}

/// The bytes of a head.
pub(super) fn head(head: &Head) -> Vec<u8> {
    // Numbers and a version: that cannot fail.
    let text = serde_json::to_vec(head).unwrap_or_default();
    let mut bytes = MAGIC.to_vec();
    bytes.extend(FORMAT.to_le_bytes());
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text);
    let checksum = xxh3_64(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

/// What is written before a part, and after it. Both lengths are within their bounds.
pub(super) fn around(section: &str, part: &[u8]) -> (Vec<u8>, [u8; CHECKSUM_BYTES]) {
    let mut before = vec![PART, section.len() as u8];
    before.extend((part.len() as u32).to_le_bytes());
    before.extend(section.as_bytes());
    let mut hash = Xxh3Default::new();
    hash.update(&before);
    hash.update(part);
    (before, hash.digest().to_le_bytes())
}

/// The trailer without the checksum of the whole file, which comes after it.
pub(super) fn trailer(parts: u64, bytes: u64) -> Vec<u8> {
    let mut trailer = vec![TRAILER];
    trailer.extend(parts.to_le_bytes());
    trailer.extend(bytes.to_le_bytes());
    trailer
}

/// What does not read as a snapshot.
pub(super) enum Fault {
    Disk(io::Error),
    Torn,
    Damaged(String),
    Format(u32),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Torn,
            _ => Fault::Disk(error),
        }
    }
}

/// One step of a file that is verified.
pub(super) enum Step {
    /// A part whose checksum is right.
    Part { section: String, at: Place },
    /// The end, at which all is right.
    End,
}

/// Where a part lies in its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The first byte of what is around it.
    pub(super) at: u64,
    /// The length of the part.
    pub(super) length: usize,
}

/// Reads a file from its begin, in one pass, and verifies it. Has one part in memory at a time.
pub(super) struct Verifier<R> {
    source: R,
    read: u64,
    whole: Xxh3Default,
    parts: u64,
    part: Vec<u8>,
}

impl<R: Read> Verifier<R> {
    pub(super) fn new(source: R) -> Verifier<R> {
        Verifier { source, read: 0, whole: Xxh3Default::new(), parts: 0, part: Vec::new() }
    }

    /// How far the file has been read.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read
    }

    /// The head. To be asked first, once.
    pub(super) fn head(&mut self) -> Result<Head, Fault> {
        let mut bytes = self.take::<16>()?.to_vec();
        if bytes[..8] != *MAGIC {
            return Err(Fault::Damaged("it does not begin as a snapshot does".into()));
        }
        let number = |from: usize| u32::from_le_bytes([bytes[from], bytes[from + 1], bytes[from + 2], bytes[from + 3]]);
        let (format, length) = (number(8), number(12) as usize);
        if format != FORMAT {
            return Err(Fault::Format(format));
        }
        if length > TEXT_BYTES_MAX {
            return Err(Fault::Damaged(format!("its head says to have {length} bytes")));
        }
        self.take_part(length)?;
        bytes.extend(&self.part);
        let checksum = u64::from_le_bytes(self.take()?);
        if checksum != xxh3_64(&bytes) {
            return Err(Fault::Damaged("the checksum of its head".into()));
        }
        serde_json::from_slice(&self.part).map_err(|error| Fault::Damaged(format!("its head: {error}")))
    }

    /// The next step. To be asked until it is the end.
    pub(super) fn step(&mut self) -> Result<Step, Fault> {
        let at = self.read;
        match self.take::<1>()? {
            [PART] => self.part_at(at),
            [TRAILER] => self.trailer_at(at),
            _ => Err(Fault::Damaged(format!("neither a part nor the end, at byte {at}"))),
        }
    }

    fn part_at(&mut self, at: u64) -> Result<Step, Fault> {
        let [name, length @ ..] = self.take::<{ PART_HEAD_BYTES - 1 }>()?;
        let length = u32::from_le_bytes(length) as usize;
        if length > PART_BYTES_MAX {
            return Err(Fault::Damaged(format!("a part of {length} bytes, at byte {at}")));
        }
        self.take_part(usize::from(name) + length)?;
        let (section, part) = self.part.split_at(usize::from(name));
        let named = str::from_utf8(section).ok().map(|section| (section.to_owned(), around(section, part).1));
        let found = self.take::<CHECKSUM_BYTES>()?;
        let damaged = || Fault::Damaged(format!("the checksum of the part at byte {at}"));
        let (section, _) = named.filter(|(_, checksum)| *checksum == found).ok_or_else(damaged)?;
        self.parts += 1;
        Ok(Step::Part { section, at: Place { at, length } })
    }

    fn trailer_at(&mut self, at: u64) -> Result<Step, Fault> {
        let parts = u64::from_le_bytes(self.take()?);
        let bytes = u64::from_le_bytes(self.take()?);
        let whole = self.whole.digest();
        let found = u64::from_le_bytes(self.take()?);
        if (parts, bytes, found) != (self.parts, at, whole) {
            return Err(Fault::Damaged("the checksum of the whole".into()));
        }
        match self.source.read(&mut [0])? {
            0 => Ok(Step::End),
            _ => Err(Fault::Damaged(format!("it goes on after its end at byte {}", self.read))),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        self.whole.update(&bytes);
        self.read += N as u64;
        Ok(bytes)
    }

    /// Reads so many bytes into `self.part`, which grows with what there is, not with what a length says.
    fn take_part(&mut self, length: usize) -> Result<(), Fault> {
        self.part.clear();
        let read = self.source.by_ref().take(length as u64).read_to_end(&mut self.part)?;
        self.read += read as u64;
        self.whole.update(&self.part);
        if read < length { Err(Fault::Torn) } else { Ok(()) }
    }
}

/// The part at `place` of a verified file, read by `read_exact_at`; `None` where it is not what was verified.
pub(super) fn part(
    section: &str,
    place: Place,
    read_exact_at: impl Fn(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<Option<Vec<u8>>> {
    let before = PART_HEAD_BYTES + section.len();
    let mut part = vec![0; place.length];
    read_exact_at(&mut part, place.at + before as u64)?;
    let mut found = [0; CHECKSUM_BYTES];
    read_exact_at(&mut found, place.at + (before + place.length) as u64)?;
    Ok((around(section, &part).1 == found).then_some(part))
}
