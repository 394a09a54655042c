//! The timeline on disk: the [`Note`]s of a live run, one JSON object a line, appended to. In: notes. Out: after
//! [`Timeline::sync`], a file that says them again. Fails when the disk does, or when the file is not what was written.
//!
//! A file of its own beside the ledger, so that `replay` and `explain` can read it while the service runs. A line that was
//! cut off by a crash is dropped: nothing was decided from it yet. While partitions idle there is a line for each closed tick,
//! of which only the furthest tells anything; the file is written anew when it has become long.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use beckon_dataflows::model::{Stream, Tick};
use serde::{Deserialize, Serialize};

use super::{Binding, Note, Notes};
use crate::durable::{Appended, Disk, Machine};

/// The file in the configured `state` folder.
const FILE: &str = "timeline.jsonl";

/// After so many lines the file is written anew.
const LINES_MAX: u64 = 100_000;

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Bound {
        stream: Stream,
        partition: u32,
        #[serde(flatten)]
        binding: Binding,
    },
    /// The ticks before `closed` were closed; what comes in an idle partition from the offset named on is not before it.
    Closed { closed: Tick, next: Vec<(Stream, u32, u64)> },
}

/// The timeline of the running service. One thread notes, another syncs.
pub struct Timeline {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Mutex<Arc<dyn Appended>>,
    lines: AtomicU64,
    unsynced: AtomicBool,
}

impl Timeline {
    /// Reads the timeline in the folder `dir`: nothing where there is none.
    pub fn read(dir: &Path) -> Result<Notes, TimelineError> {
        Timeline::read_on(&Machine, dir)
    }

    /// The same on another disk than the machine's.
    pub fn read_on(disk: &dyn Disk, dir: &Path) -> Result<Notes, TimelineError> {
        read(disk, &dir.join(FILE))
    }

    /// Opens the timeline in the folder `dir`, made if there is none, and returns what it says. What it says of records that the
    /// log has dropped is dropped too: `retained` tells the first offset that a partition still has.
    pub fn open(dir: &Path, retained: &HashMap<(Stream, u32), u64>) -> Result<(Timeline, Notes), TimelineError> {
        Timeline::open_on(Arc::new(Machine), dir, retained)
    }

    /// The same on another disk than the machine's.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        retained: &HashMap<(Stream, u32), u64>,
    ) -> Result<(Timeline, Notes), TimelineError> {
        let mut notes = Timeline::read_on(&*disk, dir)?;
        notes.iter_mut().for_each(|(partition, notes)| {
            let first = retained.get(partition).copied().unwrap_or(0);
            notes.retain(|note| match note {
                Note::Bound(binding) => binding.last >= first,
                Note::Closed { next, .. } => *next >= first,
            });
        });
        let path = dir.join(FILE);
        let file = rewrite(&*disk, &path, &notes).map_err(|error| TimelineError::Disk { path: path.clone(), error })?;
        let (file, lines) = (Mutex::new(file), AtomicU64::new(0));
        Ok((Timeline { disk, path, file, lines, unsynced: AtomicBool::new(false) }, notes))
    }

    /// Notes how records were bound. It is durable after the next [`Timeline::sync`].
    pub fn bound(&self, (stream, partition): (Stream, u32), binding: Binding) -> Result<(), TimelineError> {
        self.append(&Line::Bound { stream, partition, binding })
    }

    /// Notes that all ticks before `closed` are, though of these partitions no record says so from this offset on. It is durable
    /// after the next [`Timeline::sync`].
    pub fn closed(&self, closed: Tick, idle: &[((Stream, u32), u64)]) -> Result<(), TimelineError> {
        if idle.is_empty() {
            return Ok(());
        }
        let next = idle.iter().map(|((stream, partition), next)| (*stream, *partition, *next)).collect();
        self.append(&Line::Closed { closed, next })
    }

    /// Makes durable what was noted before this call. Costs nothing where nothing was.
    pub fn sync(&self) -> Result<(), TimelineError> {
        if self.unsynced.swap(false, Ordering::AcqRel) {
            let file = self.file().clone();
            file.sync().map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    fn append(&self, line: &Line) -> Result<(), TimelineError> {
        if self.lines.fetch_add(1, Ordering::Relaxed) >= LINES_MAX {
            let notes = read(&*self.disk, &self.path)?;
            *self.file() = rewrite(&*self.disk, &self.path, &notes).map_err(|error| self.failed(error))?;
            self.lines.store(0, Ordering::Relaxed);
        }
        self.file().append(&json(line)).map_err(|error| self.failed(error))?;
        self.unsynced.store(true, Ordering::Release);
        Ok(())
    }

    fn file(&self) -> MutexGuard<'_, Arc<dyn Appended>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: io::Error) -> TimelineError {
        TimelineError::Disk { path: self.path.clone(), error }
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Notes, TimelineError> {
    match disk.read(path) {
        Ok(bytes) => parse(path, whole_lines(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Notes::new()),
        Err(error) => Err(TimelineError::Disk { path: path.into(), error }),
    }
}

/// Up to the last newline; what comes after it was being written when the process ended.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memrchr(b'\n', bytes).map_or(0, |end| end + 1)]
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Notes, TimelineError> {
    let mut notes = Notes::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.is_empty()) {
        let fault = |why: String| TimelineError::Line { path: path.into(), number, why };
        let line: Line = serde_json::from_slice(line).map_err(|error| fault(error.to_string()))?;
        for (partition, note) in line.notes() {
            take(notes.entry(partition).or_default(), note).map_err(fault)?;
        }
    }
    Ok(notes)
}

impl Line {
    fn notes(self) -> Vec<((Stream, u32), Note)> {
        match self {
            Line::Bound { stream, partition, binding } => vec![((stream, partition), Note::Bound(binding))],
            Line::Closed { closed: open, next } => {
                let note = |(stream, partition, next)| ((stream, partition), Note::Closed { next, open });
                next.into_iter().map(note).collect()
            }
        }
    }
}

/// Takes up the next note of a partition. Of closings before one record only the furthest tells anything: that is not always the
/// last, for a process that was started again closes once more what an earlier one had closed.
fn take(notes: &mut Vec<Note>, mut note: Note) -> Result<(), String> {
    let after = match notes.last() {
        None => 0,
        Some(Note::Bound(before)) => before.last + 1,
        Some(Note::Closed { next, .. }) => *next,
    };
    if note.first() < after || matches!(note, Note::Bound(binding) if binding.last < binding.first) {
        return Err(format!("its offsets do not follow those before it, which end at {after}"));
    }
    if let (Some(Note::Closed { next, open: before }), Note::Closed { next: again, open }) = (notes.last(), &mut note)
        && next == again
    {
        *open = (*open).max(*before);
        notes.pop();
    }
    notes.push(note);
    Ok(())
}

fn json(line: &Line) -> Vec<u8> {
    // Plain numbers and names: that cannot fail.
    let mut json = serde_json::to_vec(line).unwrap_or_default();
    json.push(b'\n');
    json
}

/// Writes the file anew and puts it in the place of the old one, which is whole until then.
fn rewrite(disk: &dyn Disk, path: &Path, notes: &Notes) -> io::Result<Arc<dyn Appended>> {
    disk.make_folder(path.parent().unwrap_or(Path::new(".")))?;
    let mut partitions: Vec<_> = notes.iter().collect();
    partitions.sort_unstable_by_key(|(partition, _)| **partition);
    let lines = partitions.into_iter().flat_map(|((stream, partition), notes)| {
        notes.iter().map(|note| match *note {
            Note::Bound(binding) => Line::Bound { stream: *stream, partition: *partition, binding },
            Note::Closed { next, open } => Line::Closed { closed: open, next: vec![(*stream, *partition, next)] },
        })
    });
    let bytes: Vec<u8> = lines.flat_map(|line| json(&line)).collect();
    let new = path.with_extension("new");
    let file = disk.create(&new, &bytes)?;
    disk.replace(&new, path)?;
    Ok(file)
}

/// Why the timeline cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TimelineError {
    /// The disk.
    #[error(
        "cannot keep the timeline {path}: {error}\n  nothing is decided that a replay could not repeat; free space or check the disk, and start again"
    )]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A line that was not written so.
    #[error(
        "{path}, line {number}: {why}\n  restore the file; or move it away, and late records may be decided upon otherwise than they were"
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        number: usize,
        /// What is wrong.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const CARTS: (Stream, u32) = (Stream::Carts, 3);

    fn binding(first: u64, last: u64) -> Binding {
        Binding { first, last, greatest_ms: Some(40_000), now_ms: 41_000 }
    }

    fn bound(first: u64, last: u64) -> Note {
        Note::Bound(binding(first, last))
    }

    fn open(dir: &Path) -> (Timeline, Notes) {
        Timeline::open(dir, &HashMap::new()).unwrap()
    }

    #[test]
    fn what_was_noted_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (timeline, before) = open(dir.path());
        assert!(before.is_empty());
        timeline.bound(CARTS, binding(2, 5)).unwrap();
        timeline.bound((Stream::Orders, 0), binding(0, 0)).unwrap();
        timeline.bound(CARTS, binding(9, 9)).unwrap();
        timeline.sync().unwrap();
        // Also while the service runs.
        let read = Timeline::read(dir.path()).unwrap();
        assert_eq!(read[&CARTS], [bound(2, 5), bound(9, 9)]);
        drop(timeline);
        let (timeline, again) = open(dir.path());
        assert_eq!(again, read);
        timeline.bound(CARTS, binding(10, 12)).unwrap();
        assert_eq!(Timeline::read(dir.path()).unwrap()[&CARTS].len(), 3);
    }

    #[test]
    fn a_line_cut_off_by_a_crash_is_dropped_and_any_other_fault_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (timeline, _) = open(dir.path());
        timeline.bound(CARTS, binding(2, 5)).unwrap();
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for end in 0..whole.len() {
            fs::write(&path, [&whole[..], &whole[..end]].concat()).unwrap();
            assert_eq!(open(dir.path()).1[&CARTS], [bound(2, 5)], "cut off after {end} bytes");
        }
        fs::write(&path, [&whole[..20], b"\n", &whole[..]].concat()).unwrap();
        let error = Timeline::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
        fs::write(&path, [&whole[..], &whole[..]].concat()).unwrap();
        let error = Timeline::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("line 2: its offsets do not follow"), "{error}");
    }

    /// Found by simulation: a process was started again, closed earlier ticks than the one before it had, and died.
    #[test]
    fn what_was_closed_is_not_opened_again_by_a_later_closing() {
        let dir = tempfile::tempdir().unwrap();
        let (timeline, _) = open(dir.path());
        timeline.closed(526_000, &[(CARTS, 2)]).unwrap();
        let (again, _) = open(dir.path());
        again.closed(524_000, &[(CARTS, 2)]).unwrap();
        assert_eq!(open(dir.path()).1[&CARTS], [Note::Closed { next: 2, open: 526_000 }]);
    }

    #[test]
    fn of_closings_before_one_record_only_the_furthest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (timeline, _) = open(dir.path());
        let orders = (Stream::Orders, 1);
        timeline.closed(50_000, &[(CARTS, 4), (orders, 7)]).unwrap();
        timeline.closed(51_000, &[(CARTS, 4), (orders, 7)]).unwrap();
        timeline.bound(orders, binding(7, 8)).unwrap();
        timeline.closed(52_000, &[(CARTS, 4), (orders, 9)]).unwrap();
        let closed = |next, open| Note::Closed { next, open };
        let notes = Timeline::read(dir.path()).unwrap();
        assert_eq!(notes[&CARTS], [closed(4, 52_000)]);
        assert_eq!(notes[&orders], [closed(7, 51_000), bound(7, 8), closed(9, 52_000)]);
        for tick in 0..2 * LINES_MAX {
            timeline.closed(60_000 + tick, &[(CARTS, 4)]).unwrap();
        }
        timeline.sync().unwrap();
        assert_eq!(open(dir.path()).1[&CARTS], [closed(4, 60_000 + 2 * LINES_MAX - 1)]);
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap().lines().count(), 4);
    }

    #[test]
    fn what_the_log_has_dropped_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let (timeline, _) = open(dir.path());
        timeline.bound(CARTS, binding(2, 5)).unwrap();
        timeline.bound(CARTS, binding(6, 8)).unwrap();
        assert_eq!(Timeline::read(dir.path()).unwrap()[&CARTS].len(), 2);
        let (_, kept) = Timeline::open(dir.path(), &HashMap::from([(CARTS, 6)])).unwrap();
        assert_eq!(kept[&CARTS], [bound(6, 8)]);
        assert_eq!(Timeline::read(dir.path()).unwrap(), kept);
    }
}
