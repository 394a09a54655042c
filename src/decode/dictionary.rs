//! Names and their ids. In: the text of a name. Out: its [`Id`], the same in every process and every run; and for an id, the
//! text again. Fails when two texts have one id, and then gives the second none.
//!
//! Shared by all threads and read far more than written: a known name takes one shard's read lock and one probe, which
//! compares 32 further bits of the hash and never touches the text. Texts are appended to chunks and never moved or freed.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use beckon_dataflows::model::{Id, Namespace};
use hashbrown::HashTable;

use super::bad::{Collision, quoted};

/// Shards, each with a lock of its own.
const SHARDS: usize = 64;
/// A shard's chunk of text. Longer texts have a chunk to themselves.
const CHUNK_BYTES: usize = UNIT_BYTES << 16;
/// Texts start at multiples of this.
const UNIT_BYTES: usize = 4;

/// Every name that was read, by its id.
pub struct Dictionary {
    shards: Box<[RwLock<Shard>]>,
}

/// The names of one shard. Aligned so that no two locks share a cache line.
#[derive(Default)]
#[repr(align(128))]
struct Shard {
    names: HashTable<Name>,
    texts: Texts,
}

/// One name: 16 bytes.
#[derive(Clone, Copy)]
struct Name {
    id: Id,
    /// Hash bits beside the id, by which another text with this id is noticed.
    check: u32,
    /// Where its text is.
    at: TextAt,
}

impl Dictionary {
    /// An empty dictionary.
    pub fn new() -> Self {
        Dictionary { shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }

    /// The id of `text`, which from here on is known. Fails when its id stands for another text already.
    pub fn intern(&self, namespace: Namespace, text: &str) -> Result<Id, Collision> {
        let (id, check) = Id::of(namespace, text);
        self.intern_hashed(namespace, text, id, check)
    }

    /// [`Dictionary::intern`] for a caller that has `Id::of(namespace, text)` already.
    pub(super) fn intern_hashed(&self, namespace: Namespace, text: &str, id: Id, check: u32) -> Result<Id, Collision> {
        let known = self.read(id).find(id).map(|name| name.check);
        let known = known.unwrap_or_else(|| self.insert(id, check, text));
        // The id of "no name" can be no text's.
        if known == check && !id.is_none() { Ok(id) } else { Err(Collision { namespace, text: quoted(text) }) }
    }

    /// The text of an id; `None` for an id that was never interned here.
    pub fn text(&self, id: Id) -> Option<String> {
        let shard = self.read(id);
        shard.find(id).map(|name| shard.texts.get(name.at).to_owned())
    }

    /// Names known.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).names.len()).sum()
    }

    /// Whether no name is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory taken, in bytes.
    pub fn bytes(&self) -> usize {
        let of = |shard: &Shard| size_of::<Shard>() + shard.names.allocation_size() + shard.texts.bytes();
        self.shards.iter().map(|shard| of(&read(shard))).sum()
    }

    /// Makes a name known, unless another thread just did. The check bits that the id now has.
    #[cold]
    fn insert(&self, id: Id, check: u32, text: &str) -> u32 {
        let mut shard = self.shard(id).write().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = shard.find(id) {
            return name.check;
        }
        let at = shard.texts.push(text);
        shard.names.insert_unique(id.0, Name { id, check, at }, |name| name.id.0);
        check
    }

    fn read(&self, id: Id) -> RwLockReadGuard<'_, Shard> {
        read(self.shard(id))
    }

    /// The shard is chosen by bits that the hash table uses neither for its buckets (the low ones) nor for its tags (the top
    /// seven).
    fn shard(&self, id: Id) -> &RwLock<Shard> {
        &self.shards[(id.0 >> 48) as usize % SHARDS]
    }
}

impl Default for Dictionary {
    fn default() -> Self {
        Self::new()
    }
}

/// A panic elsewhere leaves a shard as it was: a text is appended before its name is.
fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn find(&self, id: Id) -> Option<Name> {
        self.names.find(id.0, |name| name.id == id).copied()
    }
}

/// Texts, appended. Each is its length in four bytes, then itself, then padding to a whole unit.
#[derive(Default)]
struct Texts {
    chunks: Vec<Vec<u8>>,
}

/// A text's place: 16 bits of chunk, 16 of unit in it.
#[derive(Clone, Copy)]
struct TextAt(u32);

impl Texts {
    fn push(&mut self, text: &str) -> TextAt {
        let bytes = (UNIT_BYTES + text.len()).next_multiple_of(UNIT_BYTES);
        if self.chunks.last().is_none_or(|chunk| chunk.len() + bytes > CHUNK_BYTES) {
            // A shard's first chunk grows from nothing, so that a small dictionary stays small.
            let capacity = if self.chunks.is_empty() { 0 } else { bytes.max(CHUNK_BYTES) };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        let chunk = self.chunks.len() - 1;
        assert!(chunk < 1 << 16, "a shard of the dictionary has 16 GiB of names; run more processes");
        let start = self.chunks[chunk].len();
        self.chunks[chunk].extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.chunks[chunk].extend_from_slice(text.as_bytes());
        self.chunks[chunk].resize(start + bytes, 0);
        TextAt((chunk as u32) << 16 | (start / UNIT_BYTES) as u32)
    }

    fn get(&self, at: TextAt) -> &str {
        let bytes = &self.chunks[at.0 as usize >> 16][(at.0 as usize & 0xFFFF) * UNIT_BYTES..];
        let length = bytes.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
        // What was pushed was text, so nothing is ever lost here.
        str::from_utf8(&bytes[UNIT_BYTES..UNIT_BYTES + length]).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Vec<u8>>() + self.chunks.iter().map(Vec::capacity).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_text_of_one_id_gets_none() {
        let dictionary = Dictionary::new();
        let (id, check) = Id::of(Namespace::Sku, "s1");
        assert_eq!(dictionary.intern_hashed(Namespace::Sku, "s1", id, check), Ok(id));
        let collision = Collision { namespace: Namespace::User, text: "u1".to_owned() };
        assert_eq!(dictionary.intern_hashed(Namespace::User, "u1", id, !check), Err(collision));
        assert_eq!(dictionary.text(id).as_deref(), Some("s1"), "the first keeps it");
        assert!(dictionary.intern_hashed(Namespace::Sku, "s2", Id::NONE, 7).is_err(), "the id of no name");
    }

    #[test]
    fn texts_come_back_whatever_their_length() {
        let mut texts = Texts::default();
        let written: Vec<String> =
            (0..2_000).map(|n| "ä".repeat(n % 700)).chain(["x".repeat(CHUNK_BYTES + 1)]).collect();
        let places: Vec<TextAt> = written.iter().map(|text| texts.push(text)).collect();
        assert!(texts.chunks.len() > 3);
        for (text, at) in written.iter().zip(places) {
            assert_eq!(texts.get(at), text);
        }
        assert!(texts.bytes() > written.iter().map(String::len).sum());
    }
}
