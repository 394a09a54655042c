//! A snapshot that is there to be used: found whole, all of it, before anything of it is handed out. In: a file. Out: its parts,
//! one at a time. Fails when the file changes afterwards.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use beckon_dataflows::model::Tick;

use super::format::{self, Fault, Head, Place, Step, Verifier};
use super::{Identity, Reason, StoreError, Workers};

/// How much of a file is read at once while it is verified.
const READ_BYTES: usize = 1 << 20;

/// A verified snapshot. Cheap to clone; several threads may read it, and it can be read after its file was removed.
#[derive(Clone, Debug)]
pub struct Snapshot {
    head: Head,
    path: PathBuf,
    bytes: u64,
    file: Arc<File>,
    sections: Arc<HashMap<String, Vec<Place>>>,
}

impl Snapshot {
    /// Opens and verifies the file of the tick that its name says, and refuses it where it is not this identity's.
    pub(super) fn open(path: &Path, named: Tick, identity: &Identity) -> Result<Snapshot, Reason> {
        let file = File::open(path).map_err(Reason::Unreadable)?;
        let mut verifier = Verifier::new(BufReader::with_capacity(READ_BYTES, &file));
        let head = verifier.head().map_err(|fault| reason(fault, &file))?;
        if head.tick != named {
            return Err(Reason::Damaged { what: format!("it is that of tick {}", head.tick) });
        }
        foreign(&head.identity, identity)?;
        let mut sections: HashMap<String, Vec<Place>> = HashMap::new();
        while let Step::Part { section, at } = verifier.step().map_err(|fault| reason(fault, &file))? {
            sections.entry(section).or_default().push(at);
        }
        let bytes = verifier.read_bytes();
        drop(verifier);
        let sections = Arc::new(sections);
        let snapshot = Snapshot { head, path: path.to_owned(), bytes, file: Arc::new(file), sections };
        if snapshot.workers() == identity.workers {
            Ok(snapshot)
        } else {
            let (found, here) = (snapshot.workers(), identity.workers);
            Err(Reason::Workers { found, here, snapshot: Box::new(snapshot) })
        }
    }

    /// The closed tick as of which the state is.
    pub fn tick(&self) -> Tick {
        self.head.tick
    }

    /// Whose pieces it has.
    pub fn workers(&self) -> Workers {
        self.head.identity.workers
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The length of its file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The parts of a section, in the order in which they were added; none where it has no such section. Each is read when it is
    /// asked for, and its checksum looked at once more.
    pub fn parts(&self, section: &str) -> impl Iterator<Item = Result<Vec<u8>, StoreError>> + use<'_> {
        let known = self.sections.get_key_value(section);
        known.into_iter().flat_map(|(section, places)| places.iter().map(|place| self.part(section, *place)))
    }

    fn part(&self, section: &str, place: Place) -> Result<Vec<u8>, StoreError> {
        let changed = || StoreError::Changed { path: self.path.clone(), section: section.to_owned(), at: place.at };
        match format::part(section, place, |bytes, at| self.file.read_exact_at(bytes, at)) {
            Ok(part) => part.ok_or_else(changed),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(changed()),
            Err(error) => Err(StoreError::of(error, self.path.clone())),
        }
    }
}

/// Why a snapshot of `found` is of no use to `here`, whoever's pieces it has.
fn foreign(found: &Identity, here: &Identity) -> Result<(), Reason> {
    if found.build != here.build {
        return Err(Reason::Build { found: found.build.clone(), here: here.build.clone() });
    }
    if found.configuration != here.configuration {
        return Err(Reason::Configuration { found: found.configuration, here: here.configuration });
    }
    Ok(())
}

fn reason(fault: Fault, file: &File) -> Reason {
    match fault {
        Fault::Disk(error) => Reason::Unreadable(error),
        Fault::Torn => match file.metadata() {
            Ok(metadata) => Reason::Torn { bytes: metadata.len() },
            Err(error) => Reason::Unreadable(error),
        },
        Fault::Damaged(what) => Reason::Damaged { what },
        Fault::Format(found) => Reason::Format { found, here: format::FORMAT },
    }
}
