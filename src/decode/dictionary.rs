//! Names and their ids. In: the text of a name. Out: its [`Id`], the same in every process and every run; and for an id, the
//! text again. Fails when two texts have one id, and then gives the second none.
//!
//! Shared by all threads and read far more than written: a known name takes one shard's read lock and one probe, which
//! compares 32 further bits of the hash and never touches the text. Texts are appended to chunks.
//!
//! A chunk is of one *generation*. Time goes on in generations of a fraction of the horizon; a name that is read again in a new
//! one has its text copied there; and a generation is dropped whole when nothing can stand any more that a record read in it
//! could have told of. For that a block of records pins the generation in which its decoding began, until it is known at which
//! ticks they take effect.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use beckon_dataflows::horizon::Horizon;
use beckon_dataflows::model::{Id, Namespace, Tick};
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use super::bad::{Collision, quoted};
use super::told::{Heard, Told};

/// Shards, each with a lock of its own.
const SHARDS: usize = 64;
/// A shard's chunk of text. Longer texts have a chunk to themselves.
const CHUNK_BYTES: usize = UNIT_BYTES << 16;
/// Texts start at multiples of this.
const UNIT_BYTES: usize = 4;
/// What the length of a text takes at most.
const LENGTH_BYTES_MAX: usize = 5;

/// A horizon is so many generations long.
const GENERATIONS: u64 = 4;
/// The generation of what is kept for good.
pub(super) const FOR_GOOD: u32 = u32::MAX;
/// The generation of a chunk that was dropped.
const DROPPED: u32 = 0;

/// The names that were read, by their ids, for as long as anything can stand for them.
pub struct Dictionary {
    shards: Box<[RwLock<Shard>]>,
    /// When names are dropped; none: never.
    horizon: Option<Horizon>,
    current: AtomicU32,
    /// The tick at which the next generation begins.
    next: AtomicU64,
    generations: Mutex<VecDeque<Generation>>,
    /// How many hold back all dropping.
    held: AtomicU64,
    /// What another process still has to be told, in order; none where nobody is.
    untold: Option<Mutex<Vec<Told>>>,
    /// What others have told.
    heard: Mutex<Heard>,
}

/// A name as it is written into a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Its id.
    pub id: Id,
    /// Further bits of its hash.
    pub check: u32,
    /// It is never dropped.
    pub for_good: bool,
    /// Itself.
    pub text: Box<str>,
}

/// Holds back the dropping of any name.
pub struct Hold(Arc<Dictionary>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A generation of names.
#[derive(Clone, Copy)]
struct Generation {
    number: u32,
    /// Blocks whose decoding began in it, and of which it is not yet known when their records take effect.
    pinned: usize,
    /// The last tick at which a record takes effect that was read in it or before.
    last: Tick,
}

/// Holds back the dropping of the names in a block of records, from before it is decoded.
pub struct Pin {
    dictionary: Arc<Dictionary>,
    generation: u32,
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

impl Name {
    fn hash(&self) -> u64 {
        self.id.for_table()
    }
}

impl Dictionary {
    /// An empty dictionary that keeps every name.
    pub fn new() -> Self {
        let first = Generation { number: DROPPED + 1, pinned: 0, last: 0 };
        Dictionary {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            horizon: None,
            current: AtomicU32::new(first.number),
            next: AtomicU64::new(0),
            generations: Mutex::new([first].into()),
            held: AtomicU64::new(0),
            untold: None,
            heard: Mutex::default(),
        }
    }

    /// An empty dictionary that drops the names that nothing can stand for any more.
    pub fn forgetting(horizon: Horizon) -> Self {
        let ever = horizon.name(0) < Tick::MAX;
        Dictionary { horizon: ever.then_some(horizon), ..Dictionary::new() }
    }

    /// The same dictionary, of which another process is told: see [`Dictionary::untold`].
    pub fn telling(self) -> Self {
        Dictionary { untold: Some(Mutex::default()), ..self }
    }

    /// The id of `text`, which from here on is known. Fails when its id stands for another text already.
    pub fn intern(&self, namespace: Namespace, text: &str) -> Result<Id, Collision> {
        let (id, check) = Id::of(namespace, text);
        self.intern_hashed(namespace, text, id, check)
    }

    /// [`Dictionary::intern`] for a caller that has `Id::of(namespace, text)` already.
    pub(super) fn intern_hashed(&self, namespace: Namespace, text: &str, id: Id, check: u32) -> Result<Id, Collision> {
        self.intern_in(self.current(), namespace, text, id, check)
    }

    /// [`Dictionary::intern_hashed`] of a name that is never dropped.
    pub(super) fn intern_for_good(
        &self,
        namespace: Namespace,
        text: &str,
        id: Id,
        check: u32,
    ) -> Result<Id, Collision> {
        self.intern_in(FOR_GOOD, namespace, text, id, check)
    }

    fn intern_in(
        &self,
        generation: u32,
        namespace: Namespace,
        text: &str,
        id: Id,
        check: u32,
    ) -> Result<Id, Collision> {
        let known = self.read(id).find_in(id, generation).map(|name| name.check);
        let known = known.unwrap_or_else(|| self.insert(generation, namespace, id, check, text));
        // The id of "no name" can be no text's.
        if known == check && !id.is_none() { Ok(id) } else { Err(Collision { namespace, text: quoted(text) }) }
    }

    /// The generation that names are read in now.
    pub(super) fn current(&self) -> u32 {
        self.current.load(Ordering::Relaxed)
    }

    /// Whether names in a record that comes so long before its matter, ms, have to be kept for good.
    pub(super) fn is_far_ahead(&self, ahead_ms: u64) -> bool {
        self.horizon.is_some_and(|horizon| ahead_ms > horizon.after_ms())
    }

    /// Holds back the dropping of what is read from here on.
    pub fn pin(self: &Arc<Self>) -> Pin {
        let mut generations = self.generations();
        let generation = generations.back_mut().map_or(DROPPED, |current| {
            current.pinned += 1;
            current.number
        });
        Pin { dictionary: self.clone(), generation }
    }

    /// All ticks before `upper` are closed and decided: begins a new generation if it is time, and drops those that nothing can
    /// stand for. Takes long then (every name is looked at once), and no time otherwise.
    pub fn close(&self, upper: Tick) {
        let Some(horizon) = &self.horizon else { return };
        if upper < self.next.load(Ordering::Relaxed) || self.held.load(Ordering::Acquire) > 0 {
            return;
        }
        self.next.store(upper.saturating_add((horizon.after_ms() / GENERATIONS).max(1)), Ordering::Relaxed);
        let mut generations = self.generations();
        let mut dropped = None;
        while let Some(oldest) = generations.front().filter(|it| it.pinned == 0 && horizon.name(it.last) <= upper) {
            dropped = Some(oldest.number);
            generations.pop_front();
        }
        let number = self.current() + 1;
        // What takes effect in time to come may have been read in any generation before: names move from one to the next.
        let last = generations.back().map_or(0, |it| it.last);
        generations.push_back(Generation { number, pinned: 0, last });
        self.current.store(number, Ordering::Relaxed);
        drop(generations);
        if let Some(dropped) = dropped {
            for shard in &self.shards {
                shard.write().unwrap_or_else(PoisonError::into_inner).drop_to(dropped);
            }
        }
    }

    /// Holds back the dropping of names, of those that are known now and of later ones, until it is dropped itself.
    pub fn hold(self: &Arc<Self>) -> Hold {
        self.held.fetch_add(1, Ordering::AcqRel);
        Hold(self.clone())
    }

    /// All names, some at a time; interning waits no longer than for those.
    pub fn written(&self) -> impl Iterator<Item = Vec<Written>> + '_ {
        self.shards.iter().map(|shard| read(shard).written())
    }

    /// The last tick at which a record takes effect whose names are known, as far as that is known itself.
    pub fn last(&self) -> Tick {
        self.generations().back().map_or(0, |generation| generation.last)
    }

    /// Makes names known that a snapshot has, and keeps them as long as if all were read in records of tick `last`. Fails when one
    /// is not what it says.
    pub fn restore(&self, names: Vec<Written>, last: Tick) -> Result<(), Collision> {
        for Written { id, check, for_good, text } in names {
            let generation = if for_good { FOR_GOOD } else { self.current() };
            if id.is_none() || self.place(generation, id, check, &text, || ()) != check {
                return Err(Collision { namespace: Namespace::Text, text: quoted(&text) });
            }
        }
        let mut generations = self.generations();
        generations.iter_mut().for_each(|generation| generation.last = generation.last.max(last));
        Ok(())
    }

    /// What has become known since the last call, for the process that decides: names read first or first in a generation, and
    /// when blocks take effect. Whoever tells it before the records does so in time, because a name stands here before
    /// another thread can find it.
    pub fn untold(&self) -> Vec<Told> {
        self.untold.as_ref().map_or(Vec::new(), |untold| std::mem::take(&mut *lock(untold)))
    }

    fn tell(&self, told: impl FnOnce() -> Told) {
        if let Some(untold) = &self.untold {
            lock(untold).push(told());
        }
    }

    /// Takes up what the dictionary of the process `from` tells. Fails when a name has the id of another one here.
    pub fn hear(&self, from: usize, told: Told) -> Result<(), Collision> {
        let since = |generation| lock(&self.heard).since(from, generation, self.current());
        match told {
            Told::Name { generation: FOR_GOOD, namespace, text } => {
                let (id, check) = Id::of(namespace, &text);
                self.intern_for_good(namespace, &text, id, check)?;
            }
            Told::Name { generation, namespace, text } => {
                since(generation);
                self.intern(namespace, &text)?;
            }
            Told::Taken { generation, last } => self.taken(since(generation), last),
        }
        Ok(())
    }

    /// Records that were read in `generation` or later take effect at `last` or before.
    fn taken(&self, generation: u32, last: Tick) {
        for known in self.generations().iter_mut().filter(|it| it.number >= generation) {
            known.last = known.last.max(last);
        }
    }

    fn generations(&self) -> MutexGuard<'_, VecDeque<Generation>> {
        lock(&self.generations)
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

    /// Makes a name known in `generation`, unless another thread just did, and tells of it. The check bits that the id now has.
    #[cold]
    fn insert(&self, generation: u32, namespace: Namespace, id: Id, check: u32, text: &str) -> u32 {
        self.place(generation, id, check, text, || {
            self.tell(|| Told::Name { generation, namespace, text: text.to_owned() });
        })
    }

    /// Puts a name into its shard, unless it is there, and calls `placed` before anybody can find it. The check bits that the id
    /// now has.
    fn place(&self, generation: u32, id: Id, check: u32, text: &str, placed: impl FnOnce()) -> u32 {
        let mut shard = self.shard(id).write().unwrap_or_else(PoisonError::into_inner);
        match shard.find(id) {
            Some(name) if name.check != check || shard.texts.generation(name.at) >= generation => name.check,
            known => {
                let at = shard.texts.push(generation, text);
                match known.and_then(|_| shard.names.find_mut(id.for_table(), |name| name.id == id)) {
                    Some(name) => name.at = at,
                    None => drop(shard.names.insert_unique(id.for_table(), Name { id, check, at }, Name::hash)),
                }
                placed();
                check
            }
        }
    }

    fn read(&self, id: Id) -> RwLockReadGuard<'_, Shard> {
        read(self.shard(id))
    }

    fn shard(&self, id: Id) -> &RwLock<Shard> {
        &self.shards[id.shard(SHARDS)]
    }
}

impl Default for Dictionary {
    fn default() -> Self {
        Self::new()
    }
}

/// A panic elsewhere leaves what is behind a lock whole: each change of it is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A panic elsewhere leaves a shard as it was: a text is appended before its name is.
fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

impl Pin {
    /// The records that were read since take effect at `last` or before.
    pub fn taken(self, last: Tick) {
        self.dictionary.taken(self.generation, last);
        self.dictionary.tell(|| Told::Taken { generation: self.generation, last });
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut generations = self.dictionary.generations();
        let own = generations.iter_mut().find(|it| it.number == self.generation);
        own.into_iter().for_each(|it| it.pinned -= 1);
    }
}

impl Shard {
    fn find(&self, id: Id) -> Option<Name> {
        self.names.find(id.for_table(), |name| name.id == id).copied()
    }

    /// A name that need not be read into `generation`.
    fn find_in(&self, id: Id, generation: u32) -> Option<Name> {
        self.find(id).filter(|name| self.texts.generation(name.at) >= generation)
    }

    fn written(&self) -> Vec<Written> {
        let written = |name: &Name| Written {
            id: name.id,
            check: name.check,
            for_good: self.texts.generation(name.at) == FOR_GOOD,
            text: self.texts.get(name.at).into(),
        };
        self.names.iter().map(written).collect()
    }

    /// Drops what was not read after the generation `last`.
    fn drop_to(&mut self, last: u32) {
        self.texts.drop_to(last);
        let Shard { names, texts } = self;
        names.retain(|name| texts.generation(name.at) != DROPPED);
        if names.len() < names.capacity() / 4 {
            names.shrink_to(2 * names.len(), Name::hash);
        }
    }
}

/// Texts, appended. Each is as postcard writes it, its length and itself, then padding to a whole unit.
#[derive(Default)]
struct Texts {
    chunks: Vec<Chunk>,
    /// The chunk that texts are appended to, and the one for those kept for good.
    open: [Option<usize>; 2],
}

/// Texts of one generation.
struct Chunk {
    generation: u32,
    texts: Vec<u8>,
}

/// A text's place: 16 bits of chunk, 16 of unit in it.
#[derive(Clone, Copy)]
struct TextAt(u32);

impl Texts {
    fn push(&mut self, generation: u32, text: &str) -> TextAt {
        let bytes = (LENGTH_BYTES_MAX + text.len()).next_multiple_of(UNIT_BYTES);
        let chunk = self.with_room(generation, bytes);
        let texts = &mut self.chunks[chunk].texts;
        let start = texts.len();
        // Into memory postcard writes any text.
        *texts = postcard::to_extend(text, std::mem::take(texts)).unwrap_or_default();
        texts.resize(texts.len().next_multiple_of(UNIT_BYTES), 0);
        TextAt((chunk as u32) << 16 | (start / UNIT_BYTES) as u32)
    }

    /// A chunk of `generation` with room for so many bytes.
    fn with_room(&mut self, generation: u32, bytes: usize) -> usize {
        let open = usize::from(generation == FOR_GOOD);
        let own = self.open[open].filter(|chunk| self.chunks[*chunk].generation == generation);
        if let Some(chunk) = own.filter(|chunk| self.chunks[*chunk].texts.len() + bytes <= CHUNK_BYTES) {
            return chunk;
        }
        // A generation's first chunk grows from nothing, so that a small one stays small.
        let capacity = if own.is_some() { bytes.max(CHUNK_BYTES) } else { 0 };
        let fresh = Chunk { generation, texts: Vec::with_capacity(capacity) };
        let chunk = self.chunks.iter().position(|chunk| chunk.generation == DROPPED).unwrap_or(self.chunks.len());
        assert!(chunk < 1 << 16, "a shard of the dictionary has 16 GiB of names; run more processes");
        match self.chunks.get_mut(chunk) {
            Some(dropped) => *dropped = fresh,
            None => self.chunks.push(fresh),
        }
        self.open[open] = Some(chunk);
        chunk
    }

    fn generation(&self, at: TextAt) -> u32 {
        self.chunks[at.0 as usize >> 16].generation
    }

    fn drop_to(&mut self, last: u32) {
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.generation <= last) {
            *chunk = Chunk { generation: DROPPED, texts: Vec::new() };
        }
    }

    fn get(&self, at: TextAt) -> &str {
        let bytes = &self.chunks[at.0 as usize >> 16].texts[(at.0 as usize & 0xFFFF) * UNIT_BYTES..];
        // What was pushed was text, so nothing is ever lost here.
        postcard::from_bytes(bytes).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Chunk>() + self.chunks.iter().map(|it| it.texts.capacity()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use beckon_dataflows::plan::Plan;

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
        let places: Vec<TextAt> = written.iter().map(|text| texts.push(1, text)).collect();
        assert!(texts.chunks.len() > 3);
        for (text, at) in written.iter().zip(places) {
            assert_eq!(texts.get(at), text);
        }
        assert!(texts.bytes() > written.iter().map(String::len).sum());
    }

    #[test]
    fn a_name_is_kept_while_records_that_name_it_can_matter() {
        let plan = Plan::new(10, Vec::new(), 100);
        let dictionary = Arc::new(Dictionary::forgetting(Horizon::of(&plan)));
        let intern = |text| dictionary.intern(Namespace::Sku, text).unwrap();
        let pin = dictionary.pin();
        let [once, often, in_flight] = ["once", "often", "in flight"].map(intern);
        let (hashed, check) = Id::of(Namespace::User, "for good");
        let for_good = dictionary.intern_for_good(Namespace::User, "for good", hashed, check).unwrap();
        pin.taken(50);
        let pinned = dictionary.pin();
        let known = || [once, often, in_flight, for_good].map(|id| dictionary.text(id).is_some());
        for upper in (0..=500).step_by(10) {
            dictionary.close(upper);
            intern("often");
        }
        assert_eq!(known(), [true; 4], "a block that began to be decoded in the first generation is still under way");
        pinned.taken(400);
        dictionary.close(590);
        assert_eq!(known(), [true; 4], "and takes effect at 400: what it told of can stand until 600");
        for upper in (600..=1_000).step_by(10) {
            dictionary.close(upper);
            intern("often");
        }
        assert_eq!(known(), [false, true, false, true]);
        assert_eq!(dictionary.len(), 2);
    }

    #[test]
    fn what_one_process_reads_another_knows_as_long() {
        let plan = Plan::new(10, Vec::new(), 100);
        let dictionary = || Dictionary::forgetting(Horizon::of(&plan));
        let (reads, decides) = (Arc::new(dictionary().telling()), dictionary());
        let tell = || reads.untold().into_iter().for_each(|told| decides.hear(1, told).unwrap());
        let intern = |text| reads.intern(Namespace::Sku, text).unwrap();
        let pin = reads.pin();
        let [once, often] = ["once", "often"].map(intern);
        let (hashed, check) = Id::of(Namespace::User, "for good");
        let for_good = reads.intern_for_good(Namespace::User, "for good", hashed, check).unwrap();
        assert_eq!(decides.text(once), None);
        pin.taken(400);
        tell();
        assert_eq!(decides.text(once).as_deref(), Some("once"));
        let known = || [once, often, for_good].map(|id| decides.text(id).is_some());
        for upper in (0..=590).step_by(10) {
            // The one that decides is behind, and so its generations are others.
            decides.close(upper);
            reads.close(upper + 70);
            intern("often");
            tell();
        }
        assert_eq!(known(), [true; 3], "it takes effect at 400: what it told of can stand until 600");
        for upper in (600..=1_000).step_by(10) {
            decides.close(upper);
            reads.close(upper + 70);
            let pin = reads.pin();
            intern("often");
            pin.taken(upper);
            tell();
        }
        assert_eq!(known(), [false, true, true]);
        let renamed = Told::Name { generation: 1, namespace: Namespace::User, text: "for good".to_owned() };
        assert_eq!(decides.hear(2, renamed), Ok(()), "the same name from another process");
    }
}
