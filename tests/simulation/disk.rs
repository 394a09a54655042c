//! A disk that fails and forgets. In: writes and syncs. Out: what was written, or an error. Writes are seen at once and durable when
//! synced. At a write or a sync it may say that it is full or broken, having done a part; there, too, the process may die. After that
//! nothing reaches it any more until it is mounted again. When the power fails, of what was not synced a random part is left: of
//! the database any sectors, of a file that is appended to its beginning.
//!
//! Not simulated: bits that rot, and a sync that says it was done and was not.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use beckon::durable::{Appended, Disk};
use beckon::ledger::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use redb::{Database, DatabaseError, StorageBackend};
use tokio::sync::Notify;

use super::trace::Trace;

/// What is written as one.
const SECTOR: usize = 512;

/// The disk as the outside knows it.
#[derive(Clone)]
pub struct Platter {
    held: Arc<Mutex<Held>>,
    /// Told when the process dies.
    pub died: Arc<Notify>,
}

struct Held {
    rng: ChaCha8Rng,
    trace: Trace,
    /// How likely a write or sync fails.
    fault: f64,
    /// So many more writes and syncs, and the process dies at the next.
    dies_in: Option<u64>,
    /// Which process may use it; none when it died.
    mounted: Option<u64>,
    mounts: u64,
    files: BTreeMap<PathBuf, usize>,
    contents: Vec<Content>,
}

/// What a file holds.
#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    /// Whether it is only ever appended to.
    grows: bool,
    synced_len: usize,
    /// What stood in the sectors that were written since the last sync.
    before: BTreeMap<usize, Vec<u8>>,
}

/// How much of a step is done.
#[derive(Clone, Copy, PartialEq)]
enum Share {
    Whole,
    Part(f64),
}

impl Platter {
    /// An empty disk, whose faults are drawn from `seed`.
    pub fn new(seed: u64, fault: f64, trace: Trace) -> Platter {
        let held = Held {
            rng: ChaCha8Rng::seed_from_u64(seed),
            trace,
            fault,
            dies_in: None,
            mounted: None,
            mounts: 0,
            files: BTreeMap::new(),
            contents: Vec::new(),
        };
        Platter { held: Arc::new(Mutex::new(held)), died: Arc::default() }
    }

    /// The disk as the next process sees it, which dies after `dies_in` writes and syncs, if any.
    pub fn mount(&self, dies_in: Option<u64>) -> SimulatedDisk {
        let mut held = self.held();
        held.mounts += 1;
        (held.mounted, held.dies_in) = (Some(held.mounts), dies_in);
        SimulatedDisk { platter: self.clone(), mount: held.mounts }
    }

    /// The process dies now.
    pub fn die(&self, at: &str) {
        self.held().die(at);
        self.died.notify_one();
    }

    /// Whether there is a process.
    pub fn is_alive(&self) -> bool {
        self.held().mounted.is_some()
    }

    /// Nobody uses it any more.
    pub fn unmount(&self) {
        self.held().mounted = None;
    }

    /// Forgets some of what was not synced.
    pub fn lose_power(&self) {
        let Held { contents, rng, trace, .. } = &mut *self.held();
        let forgotten: usize = contents.iter_mut().map(|content| content.forget(rng)).sum();
        trace.tell("power: lost", format!("{forgotten} writes forgotten"));
    }

    /// No more faults.
    pub fn heal(&self) {
        let mut held = self.held();
        (held.fault, held.dies_in) = (0.0, None);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn die(&mut self, at: &str) {
        self.trace.tell(&format!("crash: {at}"), "");
        (self.mounted, self.dies_in) = (None, None);
    }

    fn file(&mut self, path: &Path) -> io::Result<usize> {
        self.files.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn make(&mut self, path: &Path, content: Content) -> usize {
        self.contents.push(content);
        self.files.insert(path.into(), self.contents.len() - 1);
        self.contents.len() - 1
    }
}

impl Content {
    /// What is written at `offset` may be forgotten until the next sync.
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.bytes.len()));
            self.before.entry(sector).or_insert_with(|| self.bytes.get(from..to).unwrap_or_default().to_vec());
        }
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
    }

    fn sync(&mut self) {
        self.before.clear();
        self.synced_len = self.bytes.len();
    }

    /// How many sectors were forgotten.
    fn forget(&mut self, rng: &mut ChaCha8Rng) -> usize {
        let mut forgotten = 0;
        if self.grows {
            let kept = rng.random_range(self.synced_len.min(self.bytes.len())..=self.bytes.len());
            forgotten = (self.bytes.len() - kept).div_ceil(SECTOR);
            self.bytes.truncate(kept);
        } else {
            for (sector, before) in std::mem::take(&mut self.before) {
                let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.bytes.len()));
                if from < to && rng.random_bool(0.5) {
                    let mut before = before;
                    before.resize(to - from, 0);
                    self.bytes[from..to].copy_from_slice(&before);
                    forgotten += 1;
                }
            }
            if self.bytes.len() > self.synced_len && rng.random_bool(0.5) {
                self.bytes.truncate(self.synced_len);
            }
        }
        self.sync();
        forgotten
    }
}

/// The disk as one process sees it.
#[derive(Clone)]
pub struct SimulatedDisk {
    platter: Platter,
    mount: u64,
}

impl std::fmt::Debug for SimulatedDisk {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "SimulatedDisk({})", self.mount)
    }
}

impl SimulatedDisk {
    /// Looks at what is there.
    fn look<T>(&self, look: impl FnOnce(&mut Held) -> io::Result<T>) -> io::Result<T> {
        let mut held = self.platter.held();
        if held.mounted != Some(self.mount) {
            return Err(io::Error::other("the process is dead"));
        }
        look(&mut held)
    }

    /// Does a step, of which little or nothing may be done where it fails; some of it also if the process dies over it.
    fn act<T>(&self, step: &str, path: &Path, act: impl FnOnce(&mut Held, Share) -> io::Result<T>) -> io::Result<T> {
        self.look(|held| {
            let at = || format!("{} {step}", path.file_stem().unwrap_or_default().to_string_lossy());
            if held.dies_in == Some(0) {
                held.die(&at());
                self.platter.died.notify_one();
                let share = held.rng.random_range(0.0..2.0);
                let share = if share >= 1.0 { Share::Whole } else { Share::Part(share) };
                // Nobody is left to hear of it.
                let _ = act(held, share);
                return Err(io::Error::other("the process is dead"));
            }
            held.dies_in = held.dies_in.map(|left| left - 1);
            if held.fault > 0.0 && held.rng.random_bool(held.fault) {
                held.trace.tell(&format!("disk: {} failed", at()), "");
                let share = held.rng.random_range(0.0..1.0);
                let full = step != "sync" && held.rng.random_bool(0.5);
                let _ = act(held, Share::Part(share));
                return Err(if full { io::ErrorKind::StorageFull.into() } else { io::Error::from_raw_os_error(5) });
            }
            act(held, Share::Whole)
        })
    }

    fn open(&self, path: &Path, content: usize) -> Open {
        Open { disk: self.clone(), content, path: path.into() }
    }
}

impl Share {
    fn of(self, length: usize) -> usize {
        match self {
            Share::Whole => length,
            Share::Part(share) => (length as f64 * share) as usize,
        }
    }
}

impl Disk for SimulatedDisk {
    fn make_folder(&self, _folder: &Path) -> io::Result<()> {
        self.look(|_| Ok(()))
    }

    fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        self.look(|held| Ok(held.files.get(path).copied().map(|content| held.contents[content].bytes.len() as u64)))
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.look(|held| {
            let within = held.files.keys().filter(|path| path.parent() == Some(folder));
            let names = within.filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
            Ok(names.collect())
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.look(|held| {
            let content = held.file(path)?;
            Ok(held.contents[content].bytes.clone())
        })
    }

    fn create(&self, path: &Path, bytes: &[u8]) -> io::Result<Arc<dyn Appended>> {
        let content = self.act("create", path, |held, share| {
            let mut content =
                Content { bytes: bytes[..share.of(bytes.len())].to_vec(), grows: true, ..Content::default() };
            if share == Share::Whole {
                content.sync();
            }
            Ok(held.make(path, content))
        })?;
        Ok(Arc::new(self.open(path, content)))
    }

    fn replace(&self, new: &Path, path: &Path) -> io::Result<()> {
        self.act("replace", path, |held, share| {
            if share == Share::Whole {
                let content = held.files.remove(new).ok_or(io::ErrorKind::NotFound)?;
                held.files.insert(path.into(), content);
            }
            Ok(())
        })
    }

    fn clear(&self, path: &Path) -> io::Result<()> {
        self.act("clear", path, |held, share| {
            if share == Share::Whole {
                held.files.remove(path);
            }
            Ok(())
        })
    }
}

impl Storage for SimulatedDisk {
    fn database(&self, path: &Path) -> Result<Database, DatabaseError> {
        let content = self.look(|held| Ok(held.file(path).unwrap_or_else(|_| held.make(path, Content::default()))));
        let content = content.map_err(|error| DatabaseError::Storage(redb::StorageError::Io(error)))?;
        Database::builder().set_cache_size(1 << 20).create_with_backend(self.open(path, content))
    }
}

/// An open file.
#[derive(Clone, Debug)]
struct Open {
    disk: SimulatedDisk,
    content: usize,
    path: PathBuf,
}

impl Open {
    fn act<T>(&self, step: &str, act: impl FnOnce(&mut Content, Share) -> io::Result<T>) -> io::Result<T> {
        self.disk.act(step, &self.path, |held, share| act(&mut held.contents[self.content], share))
    }

    fn sync_content(&self) -> io::Result<()> {
        self.act("sync", |content, share| {
            if share == Share::Whole {
                content.sync();
            }
            Ok(())
        })
    }
}

impl Appended for Open {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.act("append", |content, share| {
            content.bytes.extend_from_slice(&bytes[..share.of(bytes.len())]);
            Ok(())
        })
    }

    fn write_at(&self, place: u64, bytes: &[u8]) -> io::Result<()> {
        self.act("write", |content, share| {
            content.grows = false;
            content.write(place as usize, &bytes[..share.of(bytes.len())]);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_content()
    }
}

impl StorageBackend for Open {
    fn len(&self) -> io::Result<u64> {
        self.disk.look(|held| Ok(held.contents[self.content].bytes.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (from, to) = (offset as usize, offset as usize + out.len());
        self.disk.look(|held| {
            let bytes = held.contents[self.content].bytes.get(from..to);
            out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.act("resize", |content, share| {
            if share == Share::Whole {
                content.bytes.resize(len as usize, 0);
                content.synced_len = content.synced_len.min(len as usize);
            }
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync_content()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.act("write", |content, share| {
            content.write(offset as usize, &data[..share.of(data.len())]);
            Ok(())
        })
    }
}
